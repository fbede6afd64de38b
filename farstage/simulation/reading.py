"""Scenario files: finding them, reading them, and saying what is wrong with them."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import msgspec

from broker.core.policies import POLICIES
from farstage.simulation.layout import all_edges, all_nodes, all_sites
from farstage.simulation.scenario import (
    BUSIEST_EDGE,
    BUSIEST_NODE,
    MAX_EDGES,
    MAX_NODES,
    MAX_PEOPLE,
    MAX_SITES,
    Place,
    Scenario,
)

SUFFIX = ".toml"
MAX_FILE_BYTES = 1 << 20
"""Stops a wrong path, such as a disk image, from filling memory."""
NAMED = ("places", "networks", "lines", "node_kinds", "rooms")
_SHIPPED = resources.files("farstage.simulation") / "scenarios"


class ScenarioError(Exception):
    """A scenario cannot be used; the message names the file, the key and the limit."""


def shipped() -> dict[str, Scenario]:
    """The scenarios that come with Farstage, by name."""
    names = sorted(entry.name for entry in _SHIPPED.iterdir() if entry.name.endswith(SUFFIX))
    return {name.removesuffix(SUFFIX): parse((_SHIPPED / name).read_bytes(), name) for name in names}


def find(name: str) -> Scenario:
    """A scenario by the name of a shipped one, or by the path of a file. Raises `ScenarioError`."""
    inside = _SHIPPED / f"{name}{SUFFIX}"
    if "/" not in name and inside.is_file():
        return parse(inside.read_bytes(), name)
    return parse(_read(Path(name)), name)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        known = ", ".join(sorted(entry.name.removesuffix(SUFFIX) for entry in _SHIPPED.iterdir()))
        raise ScenarioError(f"{path}: there is no such file, nor such a scenario; known are {known}") from None
    except (OSError, ValueError) as error:
        raise ScenarioError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if len(text) > MAX_FILE_BYTES:
        raise ScenarioError(f"{path}: the file is larger than {MAX_FILE_BYTES} bytes")
    return text


def parse(text: bytes, source: str) -> Scenario:
    """Read a scenario; `source` names it in errors. Raises `ScenarioError`."""
    try:
        scenario = msgspec.convert(tomllib.loads(text.decode()), Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{source}: {str(error).replace('`$.', '`')}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScenarioError(f"{source}: {error}") from error
    for complaint in _complaints(scenario):
        raise ScenarioError(f"{source}: {complaint}")
    return scenario


def _complaints(scenario: Scenario) -> Iterable[str]:
    """What contradicts itself or goes beyond a limit of the whole."""
    if scenario.policy not in POLICIES:
        yield f"policy is {scenario.policy!r}; it must be one of {', '.join(POLICIES)}"
    yield from _repeated_names(scenario)
    yield from _sizes(scenario)
    yield from _unknown_names(scenario)
    for at, place in enumerate(scenario.places):
        yield from _place(f"places[{at}]", place)


def _repeated_names(scenario: Scenario) -> Iterable[str]:
    names = {key: [entry.name for entry in getattr(scenario, key)] for key in NAMED}
    names["sites"] = [site.name for site in all_sites(scenario)]
    for key, given in names.items():
        yield from (f"{key}: the name {name!r} is given {n} times" for name, n in Counter(given).items() if n > 1)
    for key, twins in (
        ("nodes", Counter((entry.site, entry.kind) for entry in scenario.nodes)),
        ("edges", Counter((entry.site, entry.network) for entry in scenario.edges)),
    ):
        yield from (f"{key}: {' and '.join(pair)} are given twice; use count" for pair, n in twins.items() if n > 1)


def _unknown_names(scenario: Scenario) -> Iterable[str]:
    sites = {site.name for site in scenario.sites}
    kinds = {kind.name for kind in scenario.node_kinds}
    networks = {network.name for network in scenario.networks}
    rooms = {group.name for group in scenario.rooms}
    targets = {BUSIEST_NODE, BUSIEST_EDGE, *(site.name for site in all_sites(scenario))}
    targets |= {seat.name for seat in all_nodes(scenario)} | {seat.name for seat in all_edges(scenario)}
    references = [
        *((f"nodes[{at}].site", entry.site, sites) for at, entry in enumerate(scenario.nodes)),
        *((f"nodes[{at}].kind", entry.kind, kinds) for at, entry in enumerate(scenario.nodes)),
        *((f"edges[{at}].site", entry.site, sites) for at, entry in enumerate(scenario.edges)),
        *((f"edges[{at}].network", entry.network, networks) for at, entry in enumerate(scenario.edges)),
        *((f"crowds[{at}].rooms", entry.rooms, rooms) for at, entry in enumerate(scenario.crowds)),
        *((f"incidents[{at}].target", entry.target, targets) for at, entry in enumerate(scenario.incidents)),
    ]
    for key, name, known in references:
        if name not in known:
            yield f"{key} is {name!r}; known are {_some(known)}"


def _some(names: Iterable[str], most: int = 12) -> str:
    ranked = sorted(names)
    return ", ".join(ranked[:most]) + (f" and {len(ranked) - most} more" if len(ranked) > most else "")


def _sizes(scenario: Scenario) -> Iterable[str]:
    people = scenario.people + sum(crowd.people for crowd in scenario.crowds)
    alike = {site.name: site.count for site in scenario.sites}
    counts = (
        ("sites", sum(alike.values()), MAX_SITES),
        ("people", people, MAX_PEOPLE),
        ("nodes", sum(entry.count * alike.get(entry.site, 1) for entry in scenario.nodes), MAX_NODES),
        ("edges", sum(entry.count * alike.get(entry.site, 1) for entry in scenario.edges), MAX_EDGES),
    )
    for what, count, limit in counts:
        if count > limit:
            yield f"there are {count} {what}; the limit is {limit}"
    for group in scenario.rooms:
        if 0 < group.max_participants < group.people_per_room:
            yield f"rooms {group.name!r}: max_participants is less than people_per_room"


def _place(key: str, place: Place) -> Iterable[str]:
    if place.from_ms > place.to_ms:
        yield f"{key}: from_ms is {place.from_ms:g}, more than to_ms, which is {place.to_ms:g}"
