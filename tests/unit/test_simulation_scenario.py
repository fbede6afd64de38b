"""Scenario files: what is wrong is told with file, key and limit."""

from pathlib import Path

import msgspec
import pytest

from farstage.simulation import scenario as scenario_module
from farstage.simulation.layout import all_edges, all_nodes, all_sites
from farstage.simulation.reading import ScenarioError, find, parse, shipped
from farstage.simulation.scenario import Scenario, Table
from tests.support.scenarios import TINY, crash, document


def error(text: str) -> str:
    with pytest.raises(ScenarioError) as caught:
        parse(text.encode(), "mine.toml")
    return str(caught.value)


def toml(**changes) -> str:
    """The tiny scenario as a file. JSON's strings, numbers and arrays are TOML's too."""
    lines = []
    for key, value in document(**changes).items():
        lines.append(f"{key} = {_value(value)}")
    return "\n".join(lines)


def _value(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return msgspec.json.encode(value).decode()


def first(key: str, **changes) -> list[dict]:
    """A list of the tiny scenario, its first entry changed."""
    return [{**TINY[key][0], **changes}, *TINY[key][1:]]


def test_a_scenario_is_read_with_defaults_for_what_it_leaves_out() -> None:
    scenario = parse(toml().encode(), "mine.toml")
    assert scenario == msgspec.convert(TINY, Scenario)
    assert (scenario.seed, scenario.policy, scenario.clock.heartbeat_s) == (1, "best_value", 0.2)
    assert scenario.people == 12


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"duration_s": 0}, ["mine.toml", "duration_s", ">= 1"]),
        ({"sites": first("sites", pue=0.5)}, ["mine.toml", "sites[0].pue", ">= 1.0"]),
        ({"lines": first("lines", loss=1.5)}, ["lines[0].loss", "<= 1.0"]),
        ({"rooms": first("rooms", mode="walk")}, ["rooms[0].mode", "walk"]),
        ({"sites": first("sites", name="Östlich")}, ["sites[0].name"]),
        ({"sites": first("sites", pu=1.0)}, ["sites[0]", "pu"]),
        ({"speed": 3}, ["speed"]),
        ({"places": []}, ["places", ">= 1"]),
        ({"policy": "best"}, ["policy", "best_value"]),
        ({"nodes": first("nodes", site="north")}, ["nodes[0].site", "north", "east, west"]),
        ({"nodes": first("nodes", kind="tpu")}, ["nodes[0].kind", "tpu", "card"]),
        ({"edges": first("edges", network="air")}, ["edges[0].network", "air", "net"]),
        ({"crowds": [{"rooms": "club", "at_s": 1, "people": 1}]}, ["crowds[0].rooms", "club", "hall, team"]),
        ({"incidents": [crash("north")]}, ["incidents[0].target", "north", "east-card-0"]),
        ({"sites": first("sites", name="west")}, ["sites", "west", "2 times"]),
        ({"nodes": first("nodes", site="west")}, ["nodes", "west and card", "count"]),
        ({"nodes": first("nodes", count=20_000)}, ["20002 nodes", "20000"]),
        ({"rooms": first("rooms", people=200_000)}, ["200004 people", "200000"]),
        ({"rooms": first("rooms", max_participants=2)}, ["team", "max_participants", "people_per_room"]),
        ({"places": first("places", from_ms=5.0)}, ["places[0]", "from_ms", "to_ms"]),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_limit(changes: dict, words: list[str]) -> None:
    message = error(toml(**changes))
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", ["title = ", "= 3", "[[rooms]", "\x00", 'title = "no more"'])
def test_what_is_no_scenario_is_told_with_the_file(text: str) -> None:
    assert error(text).startswith("mine.toml: ")


def test_what_is_no_text_or_too_much_of_it_is_told(tmp_path: Path) -> None:
    for content in (b"\xff\xfe", b"#" * (1 << 20) + b"\n"):
        file = tmp_path / "big.toml"
        file.write_bytes(content)
        with pytest.raises(ScenarioError, match=r"big\.toml"):
            find(str(file))
    with pytest.raises(ScenarioError, match="Is a directory"):
        find(str(tmp_path))


def test_an_unknown_name_tells_those_that_ship() -> None:
    with pytest.raises(ScenarioError, match="reference"):
        find("refrence")


def test_a_path_is_read(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(toml(title="Mine"))
    assert find(str(file)).title == "Mine"


def test_every_shipped_scenario_is_whole_and_says_what_it_is() -> None:
    scenarios = shipped()
    assert {"reference", "ten-thousand-nodes", "small-city"} <= scenarios.keys()
    assert all("\n" not in scenario.title for scenario in scenarios.values())
    assert len(all_nodes(scenarios["ten-thousand-nodes"])) == 10_000


def test_a_site_with_a_count_stands_so_many_times_with_all_its_machines() -> None:
    scenario = parse(toml(sites=first("sites", count=3)).encode(), "mine.toml")
    sites = {site.name: site.bearing_degrees for site in all_sites(scenario)}
    assert sites == {"east-0": 0.0, "east-1": 120.0, "east-2": 240.0, "west": 180.0}
    assert sum(seat.site.startswith("east") for seat in all_nodes(scenario)) == 6
    assert {seat.name for seat in all_edges(scenario)} == {"east-0-net-0", "east-1-net-0", "east-2-net-0", "west-net-0"}


def test_every_key_is_in_the_document() -> None:
    text = (Path(__file__).parents[2] / "docs" / "scenarios.md").read_text("utf-8")
    tables = [kind for kind in vars(scenario_module).values() if isinstance(kind, type) and issubclass(kind, Table)]
    keys = {field.encode_name for kind in tables for field in msgspec.structs.fields(kind)}
    assert len(keys) > 60
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []
