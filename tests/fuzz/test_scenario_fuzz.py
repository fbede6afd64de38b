"""Whatever a scenario file holds, it is read or refused in one line; and what is read can be run."""

import contextlib

import hypothesis.strategies as st
import msgspec
from hypothesis import HealthCheck, given, settings

from broker.protocol import Mode
from farstage.simulation.reading import ScenarioError, parse
from farstage.simulation.run import Simulation
from farstage.simulation.scenario import Scenario, What
from tests.support.scenarios import TINY, document

SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=40)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
)
KEYS = st.sampled_from(sorted({field.encode_name for field in msgspec.structs.fields(Scenario)})) | st.text(max_size=9)
BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def toml(value) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(key)} = {toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return str(value)
    return '""' if value is None else msgspec.json.encode(value).decode()


def read(text: bytes) -> None:
    with contextlib.suppress(ScenarioError):
        parse(text, "fuzzed.toml")


@BOUNDED
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    read(text)


@BOUNDED
@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_any_values_under_known_keys_are_read_or_refused(changes: dict) -> None:
    document_ = document(**changes)
    read("\n".join(f"{toml(key)} = {toml(value)}" for key, value in document_.items()).encode())


def entries(key: str, **fields: st.SearchStrategy) -> st.SearchStrategy:
    """A list of the tiny scenario with some fields of its entries exchanged."""
    changes = st.fixed_dictionaries({}, optional=fields)
    return st.tuples(*([changes] * len(TINY[key]))).map(
        lambda drawn: [{**entry, **change} for entry, change in zip(TINY[key], drawn, strict=True)]
    )


TARGETS = st.sampled_from(["east", "west", "east-card-0", "west-net-0", "busiest-node", "busiest-edge"])
INCIDENTS = st.fixed_dictionaries(
    {"what": st.sampled_from(list(What)).map(str), "target": TARGETS, "at_s": st.floats(0.0, 15.0)},
    optional={"for_s": st.floats(0.01, 15.0), "deadline_s": st.floats(0.0, 20.0)},
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    incidents=st.lists(INCIDENTS, max_size=4),
    rooms=entries(
        "rooms",
        mode=st.sampled_from(list(Mode)).map(str),
        people=st.integers(1, 20),
        people_per_room=st.integers(1, 20),
        stay_s=st.floats(10.0, 60.0),
        gather_s=st.floats(0.0, 20.0),
    ),
    nodes=entries("nodes", count=st.integers(1, 3)),
    edges=entries("edges", max_viewers=st.integers(1, 10)),
    lines=entries("lines", rtt_ms=st.floats(0.0, 1000.0), loss=st.floats(0.0, 1.0), jitter_ms=st.floats(0.0, 1000.0)),
    mobility=st.fixed_dictionaries({"changes_per_hour": st.floats(0.0, 600.0), "breaks": st.floats(0.0, 1.0)}),
    seed=st.integers(0, 2**53),
)
def test_whatever_happens_the_core_never_contradicts_itself(**changes) -> None:
    scenario = msgspec.convert(document(duration_s=30.0, **changes), Scenario)
    report = Simulation(scenario, validates=True).run()
    assert report.violations.nodes_over_capacity == 0
    assert report.violations.edges_over_capacity == 0
    assert report.violations.claims_refused == 0
    assert report.joins.placed + report.joins.turned_away <= report.joins.asked
