"""Rooms that open and close by the clock, and places that are counted by role."""

import pytest

from broker.core.refusals import Refusal, RefusalKind
from broker.core.schedule import ARRIVAL_S, LEAD_S, WARNED_BEFORE_S, Schedule
from broker.core.state import CoreSettings
from broker.core.wanted import scaling
from broker.protocol import (
    EndReason,
    Mode,
    ParticipantPatch,
    Role,
    RoomClosing,
    RoomPatch,
    TellViewers,
    TicketState,
    ViewerConnected,
)
from tests.support.broker_farm import Farm, edge_key


@pytest.fixture
def farm() -> Farm:
    farm = Farm(CoreSettings(heartbeat_interval_s=100_000.0))
    farm.edge("e1")
    farm.node("n1", units=40)
    return farm


def between(
    farm: Farm, opens_in_s: float | None = None, closes_in_s: float | None = None, audience: int = 0
) -> Schedule:
    return Schedule(
        open_at=None if opens_in_s is None else "2030-01-01T10:00:00Z",
        opens_at_s=None if opens_in_s is None else farm.now + opens_in_s,
        close_at=None if closes_in_s is None else "2030-01-01T11:00:00Z",
        closes_at_s=None if closes_in_s is None else farm.now + closes_in_s,
        expected_audience=audience,
    )


def later(farm: Farm, seconds: float) -> None:
    farm.now += seconds
    farm.carry_out(farm.brain.tick(farm.now))


def closings(farm: Farm) -> list[TellViewers]:
    return [told for told in farm.to("edge:e1", TellViewers) if isinstance(told.event, RoomClosing)]


def test_before_it_opens_a_room_lets_in_hosts_and_publishers_and_tells_all_others_when_to_come(farm):
    farm.room(mode=Mode.CONFERENCE, schedule=between(farm, opens_in_s=90.0))
    farm.join(role=Role.HOST)
    farm.join(role=Role.SPEAKER, publishes=True)
    for role in (Role.SPEAKER, Role.VISITOR, Role.SPECTATOR):
        refusal = farm.refusal(role=role)
        assert (refusal.kind, refusal.retry_after_s) == (RefusalKind.ROOM_NOT_OPEN, 90.0)
        assert "2030-01-01T10:00:00Z" in refusal.detail
    farm.now += 90.0
    farm.join()


def test_nobody_waits_before_the_door_of_a_room_that_is_not_open_nor_is_moved_there(farm):
    farm.room("demo")
    farm.room("later", waiting_room=True, schedule=between(farm, opens_in_s=90.0))
    with pytest.raises(Refusal) as caught:
        farm.knock("later")
    assert caught.value.kind is RefusalKind.ROOM_NOT_OPEN
    session = farm.join_live()
    with pytest.raises(Refusal) as caught:
        farm.brain.move(session.session, "later", "token", "m1", farm.now)
    assert caught.value.kind is RefusalKind.ROOM_NOT_OPEN


def test_a_room_closes_on_time_and_says_why(farm):
    farm.room(waiting_room=True, schedule=between(farm, closes_in_s=1000.0))
    session, ticket = farm.join_live(role=Role.SPEAKER), farm.knock()
    later(farm, 999.0)
    assert session.session in farm.state.sessions
    ticket = farm.knock()
    later(farm, 1.0)
    assert farm.ended == {session.session: EndReason.SCHEDULE_ENDED}
    assert "demo" not in farm.state.rooms
    assert farm.state.ended_tickets[ticket.ticket] is TicketState.ROOM_CLOSED


def test_those_in_the_room_are_warned_once_and_newcomers_when_they_connect(farm):
    farm.room(schedule=between(farm, closes_in_s=1000.0))
    farm.join_live()
    later(farm, 1000.0 - WARNED_BEFORE_S - 1.0)
    assert closings(farm) == []
    later(farm, 1.0)
    later(farm, 10.0)
    (warning,) = closings(farm)
    assert (warning.sessions, warning.event) == (None, RoomClosing(in_s=WARNED_BEFORE_S))
    newcomer = farm.join_live()
    assert closings(farm)[1:] == [
        TellViewers(room="demo", sessions=[newcomer.session], event=RoomClosing(in_s=WARNED_BEFORE_S - 10.0))
    ]


def test_a_new_end_is_warned_of_anew(farm):
    farm.room(schedule=between(farm, closes_in_s=10.0))
    session = farm.join_live()
    later(farm, 1.0)
    longer = between(farm, closes_in_s=1000.0)
    farm.carry_out(farm.brain.patch_room("demo", RoomPatch(), farm.now, longer))
    later(farm, 100.0)
    assert session.session in farm.state.sessions
    assert len(closings(farm)) == 1
    farm.say(edge_key("e1"), ViewerConnected(session=session.session))
    assert len(closings(farm)) == 1
    later(farm, 700.0)
    assert len(closings(farm)) == 2


def test_a_scheduled_room_is_not_closed_for_being_empty_before_its_time(farm):
    farm.room("soon", empty_timeout_s=60.0, schedule=between(farm, opens_in_s=600.0))
    farm.room("bounded", empty_timeout_s=60.0, schedule=between(farm, closes_in_s=3600.0))
    for _ in range(6):
        later(farm, 99.0)
    assert set(farm.state.rooms) == {"soon", "bounded"}
    later(farm, 30.0)
    later(farm, 61.0)
    assert set(farm.state.rooms) == {"bounded"}


def test_the_audience_of_a_room_wants_machines_in_time_and_is_counted_once(farm):
    farm.room("hall", mode=Mode.CONFERENCE, schedule=between(farm, opens_in_s=LEAD_S + 10.0, audience=300))
    farm.room("walk", schedule=between(farm, opens_in_s=LEAD_S + 10.0, audience=30))
    assert scaling(farm.state, farm.now).edges.scheduled == 0.0
    later(farm, 10.0)
    told = scaling(farm.state, farm.now)
    assert (told.edges.scheduled, told.edges.wanted) == (330.0, 5)
    stage_units = 1280 * 720 * 30 * (1 + 1 / 4) / (1280 * 720 * 30)
    assert told.nodes.scheduled == pytest.approx(30.0 + stage_units, abs=0.5)
    assert told.nodes.expected == told.nodes.now + told.nodes.scheduled
    later(farm, LEAD_S)
    for _ in range(10):
        farm.join("walk")
    later(farm, 6.0)
    told = scaling(farm.state, farm.now)
    assert (told.edges.now, told.edges.scheduled) == (10.0, 320.0)
    farm.now += ARRIVAL_S
    assert scaling(farm.state, farm.now).edges.scheduled == 0.0


def test_a_room_takes_only_so_many_of_a_role_at_the_door_and_by_promotion(farm):
    farm.room(limits={Role.SPEAKER: 1, Role.SPECTATOR: 0})
    farm.join(role=Role.SPEAKER)
    visitor = farm.join()
    assert farm.refusal(role=Role.SPEAKER).kind is RefusalKind.ROLE_FULL
    assert farm.refusal(role=Role.SPECTATOR).kind is RefusalKind.ROLE_FULL
    with pytest.raises(Refusal) as caught:
        farm.brain.patch_participant("demo", visitor.participant, ParticipantPatch(role=Role.SPEAKER, muted=True))
    assert caught.value.kind is RefusalKind.ROLE_FULL
    assert (visitor.role, visitor.muted) == (Role.VISITOR, False)
    farm.carry_out(farm.brain.patch_room("demo", RoomPatch(limits={Role.SPEAKER: 2}), farm.now))
    farm.carry_out(farm.brain.patch_participant("demo", visitor.participant, ParticipantPatch(role=Role.SPEAKER)))
    farm.carry_out(farm.brain.patch_room("demo", RoomPatch(limits={Role.SPEAKER: 0}), farm.now))
    again = ParticipantPatch(role=Role.SPEAKER, muted=True)
    farm.carry_out(farm.brain.patch_participant("demo", visitor.participant, again))
    assert (visitor.role, visitor.muted) == (Role.SPEAKER, True)


def test_a_place_kept_for_a_speaker_counts_as_one(farm):
    farm.room("demo")
    farm.room("hall", limits={Role.SPEAKER: 1})
    speaker = farm.join_live(role=Role.SPEAKER)
    farm.carry_out(farm.brain.move(speaker.session, "hall", "token", "m1", farm.now))
    assert farm.refusal("hall", role=Role.SPEAKER).kind is RefusalKind.ROLE_FULL
    farm.join("hall")
    farm.join("hall", role=Role.SPEAKER, token_id="m1")
