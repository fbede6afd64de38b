"""Queues for places: fair order, position and estimate, nobody overtakes, caps of latency that relax."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core import queues
from broker.core.joining import latency_cap_ms
from broker.core.queues import FARM, estimated_wait_s, position
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import SessionRecord
from broker.core.tickets import TicketRecord
from broker.protocol import AgentState, EndReason, LatencyCap, Mode, Probe, TicketState, ViewerConnected
from tests.support.broker_farm import Farm, edge_key, node_key


def small_farm(units: float) -> Farm:
    """One node; a picture takes a unit."""
    farm = Farm()
    farm.node("n1", units=units)
    farm.edge("e1")
    for room in ("demo", "other"):
        farm.room(room)
    return farm


@pytest.fixture
def full() -> tuple[Farm, list[SessionRecord]]:
    """A farm in which the last place was just taken."""
    farm = small_farm(4.0)
    inside = []
    while True:
        arrived = farm.join_or_wait()
        if isinstance(arrived, TicketRecord):
            farm.carry_out(farm.brain.leave_queue("demo", arrived.ticket))
            return farm, inside
        inside.append(settle(farm, arrived))


def settle(farm: Farm, session: SessionRecord) -> SessionRecord:
    """The viewer connects and sees the picture, so that the session stays."""
    farm.say(edge_key("e1"), ViewerConnected(session=session.session))
    farm.start_view(farm.view(session))
    return session


def wait_in(farm: Farm, room: str = "demo", **more) -> TicketRecord:
    ticket = farm.join_or_wait(room, **more)
    assert isinstance(ticket, TicketRecord)
    return ticket


def leave(farm: Farm, session: SessionRecord) -> None:
    farm.carry_out(farm.brain.end_session(session.session, EndReason.LEFT))


def poll_all(farm: Farm) -> None:
    for ticket in list(farm.state.tickets.values()):
        farm.carry_out(farm.brain.poll_ticket(ticket.room, ticket.ticket, farm.now))


def redeem(farm: Farm, ticket: TicketRecord) -> SessionRecord:
    return settle(farm, farm.join(ticket.room, ticket=ticket.ticket, role=ticket.role, probes=ticket.wish.probes))


def test_who_comes_to_a_full_farm_waits_and_is_admitted_in_the_order_of_coming(full) -> None:
    farm, inside = full
    first, second, third = wait_in(farm), wait_in(farm, "other"), wait_in(farm)
    assert [position(farm.state, ticket) for ticket in (first, second, third)] == [1, 2, 3]
    farm.wait(1.0)
    assert {first.state, second.state, third.state} == {TicketState.WAITING}
    leave(farm, inside[0])
    farm.wait(0.2)
    assert [first.state, second.state, third.state] == [
        TicketState.ADMITTED, TicketState.WAITING, TicketState.WAITING,
    ]  # fmt: skip
    assert [position(farm.state, ticket) for ticket in (first, second, third)] == [None, 1, 2]
    redeem(farm, first)
    farm.wait(0.2)
    assert second.state is TicketState.WAITING
    leave(farm, inside[1])
    farm.wait(0.2)
    assert (second.state, third.state) == (TicketState.ADMITTED, TicketState.WAITING)


def test_nobody_overtakes_those_who_wait_or_were_admitted_and_are_coming(full) -> None:
    farm, inside = full
    ticket = wait_in(farm)
    leave(farm, inside[0])
    refusal = farm.refusal("other")
    assert refusal.kind is RefusalKind.FARM_FULL, "the place is the first one's, before any tick"
    farm.wait(0.2)
    assert ticket.state is TicketState.ADMITTED
    assert farm.refusal("other").kind is RefusalKind.FARM_FULL, "also while they are on their way"
    redeem(farm, ticket)
    leave(farm, inside[1])
    farm.join("other")


def test_newcomers_get_what_is_left_beyond_those_who_were_admitted(full) -> None:
    farm, inside = full
    ticket = wait_in(farm)
    leave(farm, inside[0])
    farm.wait(0.2)
    assert ticket.state is TicketState.ADMITTED
    leave(farm, inside[1])
    farm.join("other")
    redeem(farm, ticket)
    assert not farm.state.queues


def test_no_more_are_admitted_than_there_are_places_for(full) -> None:
    farm, inside = full
    tickets = [wait_in(farm) for _ in range(5)]
    leave(farm, inside[0])
    leave(farm, inside[1])
    farm.wait(1.0)
    admitted = [ticket for ticket in tickets if ticket.state is TicketState.ADMITTED]
    assert admitted == tickets[:2]
    for ticket in admitted:
        redeem(farm, ticket)


def test_who_does_not_come_in_time_loses_the_place_to_the_next(full) -> None:
    farm, inside = full
    first, second = wait_in(farm), wait_in(farm)
    leave(farm, inside[0])
    farm.wait(0.2)
    assert first.state is TicketState.ADMITTED
    for _ in range(int(farm.state.settings.admitted_for_s) + 1):
        farm.wait(1.0)
        if second.ticket in farm.state.tickets:
            farm.carry_out(farm.brain.poll_ticket("demo", second.ticket, farm.now))
    assert farm.state.ended_tickets[first.ticket] is TicketState.EXPIRED
    assert second.state is TicketState.ADMITTED


def test_who_leaves_the_queue_or_vanishes_from_it_holds_nobody_up(full) -> None:
    farm, inside = full
    leaver, sleeper, third = wait_in(farm), wait_in(farm), wait_in(farm)
    farm.carry_out(farm.brain.leave_queue("demo", leaver.ticket))
    assert position(farm.state, third) == 2
    for _ in range(50):
        farm.wait(1.0)
        farm.carry_out(farm.brain.poll_ticket("demo", third.ticket, farm.now))
    assert farm.state.ended_tickets[sleeper.ticket] is TicketState.EXPIRED
    leave(farm, inside[0])
    farm.wait(0.2)
    assert third.state is TicketState.ADMITTED


def test_the_estimate_is_the_pace_of_those_who_were_admitted(full) -> None:
    farm, inside = full
    tickets = [wait_in(farm) for _ in range(6)]
    assert estimated_wait_s(farm.state, tickets[5], farm.now) is None, "there is no pace yet"
    for number in range(3):
        leave(farm, inside[number])
        farm.wait(10.0)
        poll_all(farm)
        redeem(farm, tickets[number])
    waits = [estimated_wait_s(farm.state, ticket, farm.now) for ticket in tickets[3:]]
    assert waits[0] == pytest.approx(10.0, rel=0.2)
    assert waits[2] == pytest.approx(30.0, rel=0.2)
    assert estimated_wait_s(farm.state, tickets[0], farm.now) is None, "who is in waits no longer"


def test_a_full_room_has_a_queue_of_its_own_and_holds_up_no_other_room() -> None:
    farm = small_farm(50.0)
    farm.room("tiny", max_participants=1)
    inside = farm.join("tiny")
    ticket = wait_in(farm, "tiny")
    farm.join("demo")
    leave(farm, inside)
    assert farm.refusal("tiny").kind is RefusalKind.ROOM_FULL, "somebody waits"
    farm.wait(0.2)
    assert ticket.state is TicketState.ADMITTED
    redeem(farm, ticket)


def test_who_waits_for_a_room_waits_for_the_farm_when_that_is_full_too(full) -> None:
    farm, inside = full
    farm.room("tiny", max_participants=1)
    leave(farm, inside[0])
    in_tiny = farm.join("tiny")
    ticket = wait_in(farm, "tiny")
    assert ticket.queue == "room:tiny"
    leave(farm, in_tiny)
    farm.join("other")
    farm.wait(0.2)
    assert (ticket.queue, ticket.state) == (FARM, TicketState.WAITING)
    leave(farm, inside[1])
    farm.wait(0.2)
    assert ticket.state is TicketState.ADMITTED


def test_an_admitted_one_whose_place_is_gone_waits_again_before_all_others(full) -> None:
    farm, inside = full
    first, second = wait_in(farm), wait_in(farm)
    leave(farm, inside[0])
    farm.wait(0.2)
    farm.node("n1", units=3.0, views=farm.holdings("n1"))
    with pytest.raises(Refusal) as refused:
        redeem(farm, first)
    farm.carry_out(farm.brain.wait_again("demo", first.ticket, refused.value.kind, farm.now))
    assert [position(farm.state, ticket) for ticket in (first, second)] == [1, 2]


def test_a_drawn_stage_is_not_held_up_by_those_who_wait_for_a_renderer(full) -> None:
    farm, inside = full
    farm.room("hall", mode=Mode.CONFERENCE)
    for session in inside:
        leave(farm, session)
    farm.join("hall")
    tickets = [ticket for ticket in (farm.join_or_wait() for _ in range(12)) if isinstance(ticket, TicketRecord)]
    assert tickets
    farm.join("hall")


def test_hosts_do_not_decide_on_those_who_wait_for_a_place(full) -> None:
    farm, _ = full
    ticket = wait_in(farm)
    assert farm.decide("demo", None, admitted=True) == []
    assert farm.decide("demo", [ticket.ticket], admitted=True) == []
    assert ticket.state is TicketState.WAITING
    assert farm.decide("demo", [ticket.ticket], admitted=False) == [ticket.ticket], "they can send them away"


def test_a_restarted_broker_keeps_the_order(full) -> None:
    farm, _ = full
    tickets = [wait_in(farm) for _ in range(3)]
    state, restored = farm.state, Farm()
    agents = [*state.nodes.values(), *state.edges.values()]
    restored.brain.restore(
        state.rooms.values(), state.views.values(), state.sessions.values(), agents, restored.now, reversed(tickets)
    )
    assert list(restored.state.queues[FARM].tickets) == [ticket.ticket for ticket in tickets]


def test_those_who_wait_for_the_farm_are_demand(full) -> None:
    farm, inside = full
    for _ in range(6):
        wait_in(farm)
    for _ in range(4):
        farm.wait(20.0)
        poll_all(farm)
    latest = farm.state.demand.samples[-1]
    assert latest.viewers == len(inside) + 6
    assert latest.units == pytest.approx(4.0 + 6)


# --- Latency caps ---------------------------------------------------------------------------------------

CAPS = [LatencyCap(rtt_ms=50.0), LatencyCap(after_s=10.0, rtt_ms=100.0), LatencyCap(after_s=20.0, rtt_ms=200.0)]


def test_caps_relax_with_the_time_of_waiting() -> None:
    assert [latency_cap_ms(CAPS, waited_s) for waited_s in (0.0, 9.9, 10.0, 25.0)] == [50.0, 50.0, 100.0, 200.0]
    assert latency_cap_ms([], 5.0) is None
    assert latency_cap_ms(CAPS[1:], 5.0) == 0.0


def test_one_who_is_too_far_waits_until_the_cap_has_relaxed_and_holds_nobody_up() -> None:
    farm = small_farm(50.0)
    farm.room("near", latency_caps=CAPS)
    far = [Probe(edge="e1", rtt_ms=80.0)]
    assert farm.refusal("near", probes=far).kind is RefusalKind.TOO_FAR
    ticket = wait_in(farm, "near", probes=far)
    farm.join("near", probes=[Probe(edge="e1", rtt_ms=5.0)])
    farm.wait(9.0)
    assert ticket.state is TicketState.WAITING
    farm.wait(1.5)
    assert ticket.state is TicketState.ADMITTED
    redeem(farm, ticket)


def test_one_who_is_too_far_does_not_hold_up_a_nearer_one_who_came_later() -> None:
    farm = small_farm(50.0)
    farm.room("near", latency_caps=CAPS)
    farthest = wait_in(farm, "near", probes=[Probe(edge="e1", rtt_ms=500.0)])
    nearer = wait_in(farm, "near", probes=[Probe(edge="e1", rtt_ms=80.0)])
    farm.wait(10.5)
    assert (farthest.state, nearer.state) == (TicketState.WAITING, TicketState.ADMITTED)
    redeem(farm, nearer)


def test_one_who_stays_too_far_never_comes_in() -> None:
    farm = small_farm(50.0)
    farm.room("near", latency_caps=CAPS)
    ticket = wait_in(farm, "near", probes=[Probe(edge="e1", rtt_ms=500.0)])
    for _ in range(4):
        farm.wait(10.0)
        poll_all(farm)
    assert ticket.state is TicketState.WAITING


# --- Fairness -------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["come", "come", "leave", "tick", "redeem", "give up", "drain", "back"]), max_size=40))
def test_places_are_given_in_the_order_of_coming_whatever_happens(steps: list[str]) -> None:
    farm = small_farm(3.0)
    farm.node("n2", units=1.0)
    waiting: list[TicketRecord] = []
    inside: list[SessionRecord] = []
    for step in steps:
        if step == "come":
            arrived = farm.join_or_wait()
            if isinstance(arrived, SessionRecord):
                assert not [t for t in waiting if t.state is TicketState.WAITING], "nobody was overtaken"
                inside.append(arrived)
            else:
                waiting.append(arrived)
        elif step == "leave" and inside:
            leave(farm, inside.pop(0))
        elif step == "redeem":
            for ticket in [t for t in waiting if t.state is TicketState.ADMITTED]:
                try:
                    inside.append(redeem(farm, ticket))
                    waiting.remove(ticket)
                except Refusal as refusal:
                    if refusal.kind not in queues.CURABLE:
                        raise
                    farm.carry_out(farm.brain.wait_again("demo", ticket.ticket, refusal.kind, farm.now))
        elif step == "give up" and waiting:
            farm.carry_out(farm.brain.leave_queue("demo", waiting.pop().ticket))
        elif step == "drain":
            farm.carry_out(farm.brain.drain(node_key("n2"), 600.0, farm.now))
        elif step == "back" and farm.state.nodes["n2"].state is not AgentState.READY:
            farm.carry_out(farm.brain.cancel_drain(node_key("n2")))
        farm.wait(0.1)
        inside = [session for session in inside if session.session in farm.state.sessions]
        states = [ticket.state for ticket in waiting]
        assert states == sorted(states, key=[TicketState.ADMITTED, TicketState.WAITING].index), "in the order of coming"
