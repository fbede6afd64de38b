"""Networks: what is expected of people of whom nothing is known, and what one client can do to its neighbours."""

import msgspec
import numpy as np
import pytest

from broker.core.lines import first_bandwidth_bps
from broker.core.networks import HALF_LIFE_S, SAMPLES_A_SESSION, SESSIONS_TO_KNOW, Networks
from broker.core.state import SessionRecord
from broker.protocol import Probe, PutSession
from tests.support.broker_farm import Farm

HOME = "203.0.113.0/24"
OTHER = "198.51.100.0/24"


def tell(
    networks: Networks,
    network: str,
    rtt_ms: float,
    *,
    sessions: int = SESSIONS_TO_KNOW,
    now: float = 0.0,
    region: str = "r1",
) -> None:
    """So many sessions of the network, ten reports each."""
    for _ in range(sessions):
        pair = np.array([networks.enter(network, region)])
        networks.count_sessions(pair, now)
        for _ in range(10):
            networks.add(pair, np.array([[rtt_ms, 1.0, 0.0, 3e6]]), now)
        networks.leave(int(pair[0]))


def test_lines_are_known_once_enough_sessions_have_been_there() -> None:
    networks = Networks()
    tell(networks, HOME, 23.0, sessions=SESSIONS_TO_KNOW - 1)
    assert networks.line(HOME, "r1") is None
    tell(networks, HOME, 23.0, sessions=1)
    line = networks.line(HOME, "r1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(23.0, rel=0.1)
    assert line.loss == 0.0
    assert line.bandwidth_bps == pytest.approx(3e6, rel=0.25)
    assert networks.line(HOME, "r2") is None
    assert networks.line(OTHER, "r1") is None


def test_one_of_many_lies_moves_nothing() -> None:
    networks = Networks()
    tell(networks, HOME, 20.0, sessions=6)
    tell(networks, HOME, 4_000.0, sessions=2)
    line = networks.line(HOME, "r1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(20.0, rel=0.1)


def test_what_was_long_ago_gives_way_to_what_is_now() -> None:
    networks = Networks()
    tell(networks, HOME, 20.0, sessions=20)
    tell(networks, HOME, 90.0, sessions=5, now=6 * HALF_LIFE_S)
    line = networks.line(HOME, "r1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(90.0, rel=0.1)


def test_weights_stay_numbers_over_months() -> None:
    networks = Networks()
    for day in range(0, 120, 5):
        tell(networks, HOME, 20.0, now=day * 86_400.0)
    line = networks.line(HOME, "r1")
    assert line is not None
    assert line.rtt_ms == pytest.approx(20.0, rel=0.1)


def test_memory_is_bounded_and_who_is_inside_is_not_forgotten() -> None:
    networks = Networks(max_pairs=3)
    tell(networks, HOME, 20.0, now=5.0)
    inside = networks.enter(OTHER, "r1")
    tell(networks, "192.0.2.0/24", 20.0, now=10.0)
    tell(networks, "10.0.0.0/24", 20.0, now=11.0)
    assert len(networks) == 3
    assert networks.line(HOME, "r1") is None, "heard of longest ago"
    assert networks.line("192.0.2.0/24", "r1") is not None
    assert networks.enter("10.0.1.0/24", "r1") >= 0
    assert networks.enter("10.0.2.0/24", "r1") >= 0
    assert networks.enter("10.0.3.0/24", "r1") == -1, "somebody is in each"
    assert networks.enter(OTHER, "r1") == inside


def test_what_is_known_comes_back_from_its_records_and_yields_to_what_is_heard() -> None:
    networks = Networks()
    tell(networks, HOME, 23.0, sessions=5, now=10 * HALF_LIFE_S)
    tell(networks, OTHER, 23.0, sessions=1)
    (record,) = networks.records(0.0)
    read = msgspec.json.decode(msgspec.json.encode(record), type=type(record))
    restored = Networks()
    tell(restored, OTHER, 50.0, now=0.0)
    restored.restore(read)
    was, line = networks.line(HOME, "r1"), restored.line(HOME, "r1")
    assert was is not None
    assert line is not None
    assert line.rtt_ms == pytest.approx(was.rtt_ms, rel=0.01)
    assert line.bandwidth_bps == pytest.approx(was.bandwidth_bps, rel=0.01)
    heard = Networks()
    tell(heard, HOME, 90.0)
    heard.restore(read)
    known = heard.line(HOME, "r1")
    assert known is not None
    assert known.rtt_ms == pytest.approx(90.0, rel=0.1)


def test_records_of_pairs_are_those_that_have_changed() -> None:
    networks = Networks()
    tell(networks, HOME, 23.0, now=5.0)
    tell(networks, OTHER, 23.0, now=50.0)
    assert [record.network for record in networks.records(20.0)] == [OTHER]
    assert len(networks.records(0.0)) == 2


# --- In the core ----------------------------------------------------------------------------------------


@pytest.fixture
def farm() -> Farm:
    """Two regions; nothing but measurements tells them apart."""
    farm = Farm()
    for region in ("north", "south"):
        farm.edge(f"edge-{region}", region=region)
        farm.node(f"node-{region}", region=region, units=40)
    return farm


def join_from(farm: Farm, network: str, room: str, probes: list[Probe] | None = None) -> SessionRecord:
    farm.room(room)
    return farm.join_live(room, network=network, probes=probes or [])


def measured_in(farm: Farm, region: str, network: str, rtt_ms: float, room: str, seconds: int = 5) -> SessionRecord:
    """Somebody of this network in this region, whose edge measures this."""
    session = join_from(farm, network, room, [Probe(edge=f"edge-{region}", rtt_ms=1.0)])
    assert session.edge == f"edge-{region}"
    farm.report(session, seconds, rtt_ms=rtt_ms, jitter_ms=1.0, loss=0.0, estimate_bps=600_000.0)
    return session


def test_who_brings_no_probes_is_placed_as_others_of_its_network_were(farm: Farm) -> None:
    for number in range(3):
        measured_in(farm, "north", HOME, 150.0, f"far-{number}")
        measured_in(farm, "south", HOME, 9.0, f"near-{number}")
        measured_in(farm, "north", OTHER, 9.0, f"near-other-{number}")
        measured_in(farm, "south", OTHER, 150.0, f"far-other-{number}")
    assert join_from(farm, HOME, "a").edge == "edge-south"
    assert join_from(farm, OTHER, "b").edge == "edge-north"


def test_own_probes_outrank_what_the_network_has_shown(farm: Farm) -> None:
    for number in range(3):
        measured_in(farm, "south", HOME, 9.0, f"near-{number}")
    probes = [Probe(edge="edge-north", rtt_ms=5.0), Probe(edge="edge-south", rtt_ms=200.0)]
    assert join_from(farm, HOME, "a", probes).edge == "edge-north"


def test_a_stream_begins_with_what_the_lines_of_the_network_have_taken(farm: Farm) -> None:
    for number in range(3):
        measured_in(farm, "south", HOME, 9.0, f"near-{number}")
    newcomer = join_from(farm, HOME, "a")
    assert newcomer.edge == "edge-south"
    assert first_bandwidth_bps(farm.state, newcomer) == pytest.approx(600_000.0, rel=0.25)
    told = [put for put in farm.to("edge:edge-south", PutSession) if put.session == newcomer.session]
    assert told[-1].bandwidth_bps == pytest.approx(600_000.0, rel=0.25)
    probed = join_from(farm, HOME, "b", [Probe(edge="edge-south", rtt_ms=1.0, bandwidth_bps=9e6)])
    assert first_bandwidth_bps(farm.state, probed) == 9e6


def test_a_session_speaks_for_its_network_for_its_first_minute_only(farm: Farm) -> None:
    measured_in(farm, "south", HOME, 9.0, "near-1")
    measured_in(farm, "south", HOME, 9.0, "near-2", SAMPLES_A_SESSION)
    slow = measured_in(farm, "south", HOME, 9.0, "slow", SAMPLES_A_SESSION)
    farm.report(slow, 500, rtt_ms=900.0)
    line = farm.state.telemetry.networks.line(HOME, "south")
    assert line is not None
    assert line.rtt_ms == pytest.approx(9.0, rel=0.1)


def test_nobody_without_an_address_shares_a_history(farm: Farm) -> None:
    for number in range(4):
        measured_in(farm, "south", "", 9.0, f"near-{number}")
    assert len(farm.state.telemetry.networks) == 0
