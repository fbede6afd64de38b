"""Locked rooms and waiting rooms in the core: who goes in, who waits, and how every ticket ends."""

import pytest

from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import CoreSettings
from broker.core.waiting import positions
from broker.protocol import (
    EndReason,
    Mode,
    ParticipantPatch,
    Role,
    RoomPatch,
    TellViewers,
    TicketState,
    ViewerGone,
    WaitingChanged,
)
from tests.support.broker_farm import Farm, edge_key


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.node("n1")
    farm.edge("e1")
    farm.room("demo", waiting_room=True)
    return farm


def patch(farm: Farm, **changes) -> None:
    farm.carry_out(farm.brain.patch_room("demo", RoomPatch(**changes), farm.now))


def end_of(farm: Farm, ticket) -> TicketState:
    return farm.state.ended_tickets[ticket.ticket]


def test_a_locked_room_takes_hosts_only_and_keeps_who_is_there(farm):
    patch(farm, waiting_room=False)
    guest = farm.join_live()
    patch(farm, locked=True)
    for role in (Role.SPEAKER, Role.VISITOR, Role.SPECTATOR):
        assert farm.refusal(role=role).kind is RefusalKind.ROOM_LOCKED
    farm.join(role=Role.HOST)
    farm.carry_out(farm.brain.resume(guest.session, [], farm.now))
    patch(farm, locked=False)
    farm.join()


def test_a_publisher_comes_back_to_a_locked_conference(farm):
    farm.room("hall", mode=Mode.CONFERENCE, locked=True, waiting_room=True)
    assert farm.join("hall", role=Role.SPEAKER, publishes=True).publishes


def test_hosts_and_speakers_go_straight_in_while_others_wait(farm):
    farm.join(role=Role.HOST)
    farm.join(role=Role.SPEAKER)
    for role in (Role.VISITOR, Role.SPECTATOR):
        assert farm.refusal(role=role).kind is RefusalKind.WAITING_ROOM


def test_places_are_in_order_of_coming_and_move_up(farm):
    first, second, third = farm.knock(), farm.knock(), farm.knock()
    room = farm.state.rooms["demo"]
    assert positions(farm.state, room) == {first.ticket: 1, second.ticket: 2, third.ticket: 3}
    assert farm.decide("demo", [second.ticket], admitted=True) == [second.ticket]
    assert positions(farm.state, room) == {first.ticket: 1, third.ticket: 2}


def test_an_admitted_ticket_makes_one_session_with_its_role(farm):
    ticket = farm.knock()
    with pytest.raises(Refusal, match="nobody has let you in"):
        farm.join(ticket=ticket.ticket)
    farm.decide("demo", [ticket.ticket], admitted=True)
    farm.join(ticket=ticket.ticket)
    assert end_of(farm, ticket) is TicketState.JOINED
    with pytest.raises(Refusal, match="joined") as caught:
        farm.join(ticket=ticket.ticket)
    assert caught.value.kind is RefusalKind.TICKET_ENDED


def test_a_ticket_of_another_room_opens_no_door(farm):
    farm.room("other", waiting_room=True)
    ticket = farm.knock("other")
    farm.decide("other", None, admitted=True)
    assert farm.refusal("demo", ticket=ticket.ticket).kind is RefusalKind.TICKET_UNKNOWN


def test_a_place_that_cannot_be_given_leaves_the_ticket_good(farm):
    ticket = farm.knock()
    farm.decide("demo", None, admitted=True)
    farm.refuse_pools = ["edge:e1"] * 4
    assert farm.refusal(ticket=ticket.ticket).kind is RefusalKind.NO_EDGE
    farm.refuse_pools = []
    assert ticket.state is TicketState.ADMITTED
    farm.join(ticket=ticket.ticket)


def test_the_same_invitation_keeps_its_place(farm):
    first = farm.knock(token_id="invitation")
    farm.knock()
    assert farm.knock(token_id="invitation") is first
    assert len(farm.state.tickets) == 2


def test_a_ticket_nobody_polls_expires_and_a_polled_one_lasts(farm):
    quiet, polled = farm.knock(), farm.knock()
    for _ in range(6):
        farm.wait(10)
        farm.carry_out(farm.brain.poll_ticket("demo", polled.ticket, farm.now))
    assert end_of(farm, quiet) is TicketState.EXPIRED
    assert polled.ticket in farm.state.tickets


def test_nobody_polls_for_ever():
    farm = Farm(CoreSettings(waiting_limit_s=20.0))
    farm.room("demo", waiting_room=True)
    ticket = farm.knock()
    for _ in range(3):
        farm.wait(7)
        if ticket.ticket in farm.state.tickets:
            farm.carry_out(farm.brain.poll_ticket("demo", ticket.ticket, farm.now))
    assert end_of(farm, ticket) is TicketState.EXPIRED


def test_who_was_let_in_and_does_not_come_loses_the_ticket(farm):
    ticket = farm.knock()
    farm.decide("demo", None, admitted=True)
    farm.wait(59)
    assert ticket.ticket in farm.state.tickets
    farm.wait(2)
    assert end_of(farm, ticket) is TicketState.EXPIRED


def test_all_are_refused_at_once_and_an_unknown_ticket_changes_nothing(farm):
    first, second = farm.knock(), farm.knock()
    with pytest.raises(Refusal, match="no ticket"):
        farm.brain.decide("demo", [first.ticket, "w9"], farm.now, admitted=False)
    assert first.state is TicketState.WAITING
    assert farm.decide("demo", None, admitted=False) == [first.ticket, second.ticket]
    assert end_of(farm, first) is end_of(farm, second) is TicketState.REFUSED


def test_queues_are_bounded_each_and_together():
    farm = Farm(CoreSettings(max_waiting_in_room=2, max_waiting=3))
    farm.room("a", waiting_room=True)
    farm.room("b", waiting_room=True)
    for room in ("a", "a", "b"):
        farm.knock(room)
    for room in ("a", "b"):
        with pytest.raises(Refusal) as caught:
            farm.knock(room)
        assert caught.value.kind is RefusalKind.WAITING_ROOM_FULL
        assert caught.value.retry_after_s


def test_a_lock_closes_the_queue_too_but_the_admitted_come_in(farm):
    ticket = farm.knock()
    patch(farm, locked=True)
    with pytest.raises(Refusal) as caught:
        farm.knock()
    assert caught.value.kind is RefusalKind.ROOM_LOCKED
    farm.decide("demo", [ticket.ticket], admitted=True)
    farm.join(ticket=ticket.ticket)


def test_abolishing_the_waiting_room_lets_everybody_in(farm):
    tickets = [farm.knock(), farm.knock()]
    patch(farm, waiting_room=False)
    for ticket in tickets:
        farm.join(ticket=ticket.ticket)


def test_a_closing_room_tells_who_waits_and_waiting_keeps_a_room_open(farm):
    ticket = farm.knock()
    for _ in range(11):
        farm.wait(30)
        farm.carry_out(farm.brain.poll_ticket("demo", ticket.ticket, farm.now))
    farm.carry_out(farm.brain.close_room("demo"))
    assert end_of(farm, ticket) is TicketState.ROOM_CLOSED


def test_tickets_survive_the_broker_and_keep_their_order(farm):
    first, second = farm.knock(), farm.knock()
    room = farm.state.rooms["demo"]
    room.tickets = []
    successor = Farm()
    successor.brain.restore([room], [], [], [], successor.now, [second, first])
    assert positions(successor.state, successor.state.rooms["demo"]) == {first.ticket: 1, second.ticket: 2}
    successor.wait(1)
    assert len(successor.state.tickets) == 2


def hosts_told(farm: Farm) -> list[int]:
    return [told.event.waiting for told in farm.to("edge:e1", TellViewers) if isinstance(told.event, WaitingChanged)]


def test_hosts_are_told_once_a_tick_how_many_wait(farm):
    host = farm.join_live(role=Role.HOST)
    tickets = [farm.knock() for _ in range(5)]
    farm.wait(0.3)
    assert hosts_told(farm) == [5]
    (told,) = farm.to("edge:e1", TellViewers)
    assert told.roles == [Role.HOST]
    farm.decide("demo", [tickets[0].ticket], admitted=True)
    farm.decide("demo", [tickets[1].ticket], admitted=False)
    farm.wait(0.3)
    assert hosts_told(farm) == [5, 3]
    farm.say(edge_key("e1"), ViewerGone(session=host.session, reason=EndReason.LEFT))
    farm.knock()
    farm.wait(0.3)
    assert hosts_told(farm) == [5, 3], "nobody is there to be told"


def test_who_comes_as_a_host_or_is_made_one_learns_who_waits_already(farm):
    farm.knock()
    farm.wait(0.3)
    speaker = farm.join_live(role=Role.SPEAKER)
    farm.wait(0.3)
    assert hosts_told(farm) == []
    farm.carry_out(farm.brain.patch_participant("demo", speaker.participant, ParticipantPatch(role=Role.HOST)))
    farm.wait(0.3)
    assert hosts_told(farm) == [1]
    farm.join_live(role=Role.HOST)
    farm.wait(0.3)
    assert hosts_told(farm) == [1, 1]
