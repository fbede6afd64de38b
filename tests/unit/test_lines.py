"""What is known of a session's lines: what a server has measured outranks what a client claims."""

import pytest

from broker.core.lines import current_line, known_lines
from broker.core.state import SessionRecord
from broker.protocol import Mode, Probe
from tests.support.broker_farm import Farm, edge_key

NEAR = Probe(edge="e1", rtt_ms=4.0, bandwidth_bps=9e6)
NEXT = Probe(edge="e2", rtt_ms=10.0)


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    for name in ("e1", "e2", "e3"):
        farm.edge(name, region=name)
    farm.node("n1", units=8, region="e1")
    return farm


@pytest.fixture
def session(farm: Farm) -> SessionRecord:
    farm.room("demo")
    session = farm.join_live(probes=[NEAR, NEXT])
    assert session.edge == "e1"
    return session


def test_claims_count_until_the_edge_has_measured(farm: Farm, session: SessionRecord) -> None:
    assert list(known_lines(farm.state, session)) == [NEAR, NEXT]
    assert current_line(farm.state, session) == NEAR
    farm.report(session, sent_bps=1e6)
    assert current_line(farm.state, session) == NEAR, "nothing has been measured yet"
    farm.report(session, rtt_ms=30.0, jitter_ms=2.0, loss=0.01, estimate_bps=1e6)
    line = current_line(farm.state, session)
    assert line is not None
    assert (line.edge, line.rtt_ms, line.jitter_ms) == ("e1", pytest.approx(30.0), pytest.approx(2.0))


def test_who_flatters_its_line_has_all_its_claims_raised(farm: Farm, session: SessionRecord) -> None:
    farm.report(session, rtt_ms=30.0)
    rtt_ms = {probe.edge: probe.rtt_ms for probe in known_lines(farm.state, session)}
    assert rtt_ms == {"e1": pytest.approx(30.0), "e2": pytest.approx(36.0)}
    again = [Probe(edge="e3", rtt_ms=1.0)]
    assert {probe.edge: probe.rtt_ms for probe in known_lines(farm.state, session, again)} == {
        "e1": pytest.approx(30.0),
        "e3": pytest.approx(27.0),
    }


def test_who_makes_its_line_look_bad_has_its_other_claims_left(farm: Farm, session: SessionRecord) -> None:
    farm.report(session, rtt_ms=1.0)
    assert {probe.edge: probe.rtt_ms for probe in known_lines(farm.state, session)} == {"e1": 1.0, "e2": 10.0}


def test_measured_bandwidth_is_what_the_stream_needed_and_does_not_outrank_the_probe(
    farm: Farm, session: SessionRecord
) -> None:
    farm.report(session, rtt_ms=4.0, estimate_bps=400_000.0)
    line = known_lines(farm.state, session)[0]
    assert line.bandwidth_bps == 9e6


def test_a_liar_changes_nobody_elses_place(farm: Farm) -> None:
    """The same people come once with a liar among them and once without; all others are placed the same."""

    def places(lie: list[Probe]) -> list[str | None]:
        farm = Farm()
        for name in ("e1", "e2", "e3"):
            farm.edge(name, region=name)
            farm.node(f"n-{name}", region=name, units=8)
        farm.room("liar")
        liar = farm.join_live("liar", probes=lie, network="203.0.113.0/24")
        farm.report(liar, 60, rtt_ms=3_000.0, loss=1.0)
        rooms = []
        for number in range(6):
            farm.room(f"room-{number}")
            probes = [Probe(edge=f"e{1 + number % 3}", rtt_ms=5.0)] if number < 3 else []
            session = farm.join_live(f"room-{number}", probes=probes, network="203.0.113.0/24")
            farm.report(session, 5, rtt_ms=5.0)
            rooms.append(session.edge)
        return rooms

    honest = places([Probe(edge="e1", rtt_ms=5.0)])
    assert places([Probe(edge="e1", rtt_ms=0.0), Probe(edge="e2", rtt_ms=60_000.0, loss=1.0)]) == honest


def test_reports_stop_counting_when_the_edge_changes(farm: Farm, session: SessionRecord) -> None:
    farm.report(session, rtt_ms=30.0)
    farm.drop(edge_key("e1"))
    farm.wait(5.0)
    farm.carry_out(farm.brain.resume(session.session, [Probe(edge="e2", rtt_ms=9.0)], farm.now))
    assert session.edge == "e2"
    assert farm.state.telemetry.report(session.session) is None
    assert current_line(farm.state, session) == Probe(edge="e2", rtt_ms=9.0)


def test_a_restored_broker_expects_the_reports_of_those_it_knew(farm: Farm, session: SessionRecord) -> None:
    farm.room("hall", mode=Mode.CONFERENCE)
    restored = Farm()
    state = farm.state
    restored.brain.restore(
        state.rooms.values(),
        state.views.values(),
        state.sessions.values(),
        [*state.nodes.values(), *state.edges.values()],
        restored.now,
    )
    assert restored.state.telemetry.expected() == {session.session}
