"""Whole rooms: muted at once, told something at once; and people who are moved arrive, or stay."""

import pytest

from broker.core.effects import Collection, Persist
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import SessionRecord
from broker.protocol import (
    EndReason,
    MoveTo,
    MuteAll,
    ParticipantPatch,
    Probe,
    PutSession,
    Role,
    RoomData,
    RoomPatch,
    TellViewers,
    TicketState,
    ViewerGone,
)
from tests.support.broker_farm import Farm, edge_key, node_key

NEWS = RoomData(topic="news", value={"open": True})


@pytest.fixture
def farm() -> Farm:
    farm = Farm()
    farm.edge("e1")
    farm.edge("e2")
    farm.node("n1", units=40)
    farm.room("demo")
    farm.room("other")
    return farm


def mute(farm: Farm, **body) -> int:
    effects, count = farm.brain.mute_all("demo", MuteAll(**body))
    farm.carry_out(effects)
    return count


def tell(farm: Farm, to=None, roles=None) -> int:
    effects, count = farm.brain.send_data("demo", NEWS, to, roles)
    farm.carry_out(effects)
    return count


def told(farm: Farm) -> list[TellViewers]:
    return [message for edge in ("edge:e1", "edge:e2") for message in farm.to(edge, TellViewers)]


def move(farm: Farm, session: SessionRecord, to: str = "other", token_id: str = "m1") -> None:
    farm.carry_out(farm.brain.move(session.session, to, "a token", token_id, farm.now))


def move_refused(farm: Farm, session: SessionRecord, to: str = "other", token_id: str = "m1") -> RefusalKind:
    before = dict(farm.state.moves)
    with pytest.raises(Refusal) as caught:
        move(farm, session, to, token_id)
    assert farm.state.moves == before
    assert session.session in farm.state.sessions
    return caught.value.kind


def test_all_but_hosts_are_muted_once_and_one_can_be_unmuted(farm):
    host, *guests = (farm.join(role=role) for role in (Role.HOST, Role.SPEAKER, Role.VISITOR))
    assert mute(farm) == 2
    assert [s.muted for s in (host, *guests)] == [False, True, True]
    assert {put.session for name, put in farm.sent if isinstance(put, PutSession) and put.muted} == {
        guest.session for guest in guests
    }
    assert mute(farm) == 0
    farm.carry_out(farm.brain.patch_participant("demo", guests[0].participant, ParticipantPatch(muted=False)))
    assert not guests[0].muted
    assert mute(farm, muted=False) == 1
    assert not farm.join().muted


def test_only_the_named_roles_are_muted_and_not_who_is_excepted(farm):
    visitor, speaker, excepted = (farm.join(role=role) for role in (Role.VISITOR, Role.SPEAKER, Role.SPEAKER))
    assert mute(farm, roles=(Role.SPEAKER,), except_participants=[excepted.participant]) == 1
    assert [s.muted for s in (visitor, speaker, excepted)] == [False, True, False]


def test_data_goes_once_to_each_edge_that_has_viewers(farm):
    for edge in ("e1", "e2", "e1", "e2"):
        farm.join_live(probes=[Probe(edge=edge, rtt_ms=1.0)])
    farm.join("other")
    assert tell(farm) == 4
    assert [(m.room, m.event, m.sessions, m.roles) for m in told(farm)] == [("demo", NEWS, None, [])] * 2


def test_data_for_some_names_them_and_a_stranger_is_refused(farm):
    first, second = farm.join_live(), farm.join_live(role=Role.SPEAKER)
    assert tell(farm, to=[first.participant]) == 1
    assert told(farm)[-1].sessions == [first.session]
    assert tell(farm, roles=[Role.SPEAKER]) == 1
    assert told(farm)[-1].roles == [Role.SPEAKER]
    assert tell(farm, to=[first.participant], roles=[Role.SPEAKER]) == 0
    with pytest.raises(Refusal) as caught:
        tell(farm, to=[second.participant, "nobody"])
    assert caught.value.kind is RefusalKind.PARTICIPANT_UNKNOWN


def test_who_is_not_connected_is_not_counted(farm):
    farm.join()
    assert tell(farm) == 0
    assert told(farm) == []


def test_who_is_moved_keeps_role_and_mute_and_leaves_when_placed(farm):
    session = farm.join_live(role=Role.SPEAKER)
    session.muted = True
    move(farm, session)
    (message,) = told(farm)
    assert (message.sessions, message.event) == (
        [session.session],
        MoveTo(room="other", token="a token", within_s=farm.state.settings.move_within_s),
    )
    assert farm.ended == {}
    arrived = farm.join("other", role=Role.SPEAKER, token_id="m1")
    assert arrived.muted
    assert farm.ended == {session.session: EndReason.MOVED}
    assert farm.state.moves == {}


def test_a_kept_place_is_nobody_elses_and_is_free_again_after_a_while(farm):
    farm.carry_out(farm.brain.patch_room("other", RoomPatch(max_participants=1), farm.now))
    session = farm.join_live()
    move(farm, session)
    assert farm.refusal("other").kind is RefusalKind.ROOM_FULL
    farm.wait(farm.state.settings.move_within_s + 0.2)
    assert session.session in farm.state.sessions
    farm.join("other")


def test_a_full_or_locked_room_refuses_and_nobody_is_lost(farm):
    session, host = farm.join_live(), farm.join_live(role=Role.HOST)
    farm.carry_out(farm.brain.patch_room("other", RoomPatch(locked=True), farm.now))
    assert move_refused(farm, session) is RefusalKind.ROOM_LOCKED
    move(farm, host)
    farm.carry_out(farm.brain.patch_room("other", RoomPatch(locked=False, max_participants=1), farm.now))
    assert move_refused(farm, session, token_id="m2") is RefusalKind.ROOM_FULL
    assert move_refused(farm, session, "nowhere") is RefusalKind.ROOM_UNKNOWN


def test_who_is_moved_passes_a_waiting_room(farm):
    farm.carry_out(farm.brain.patch_room("other", RoomPatch(waiting_room=True), farm.now))
    move(farm, farm.join_live())
    assert farm.refusal("other").kind is RefusalKind.WAITING_ROOM
    farm.join("other", token_id="m1")


def test_who_cannot_be_told_or_is_there_or_on_the_way_is_not_moved(farm):
    session = farm.join()
    assert move_refused(farm, session) is RefusalKind.NOT_MOVABLE
    live = farm.join_live()
    assert move_refused(farm, live, "demo") is RefusalKind.NOT_MOVABLE
    move(farm, live)
    assert move_refused(farm, live, token_id="m2") is RefusalKind.NOT_MOVABLE


def test_a_move_that_finds_no_capacity_leaves_everybody_where_they_are(farm):
    session = farm.join_live()
    move(farm, session)
    farm.drop(node_key("n1"))
    assert farm.refusal("other", token_id="m1").kind in (RefusalKind.NO_NODE, RefusalKind.FARM_FULL)
    assert session.session in farm.state.sessions
    assert "m1" in farm.state.moves


def test_the_target_may_close_and_the_mover_may_leave_on_the_way(farm):
    session, other = farm.join_live(), farm.join_live()
    move(farm, session)
    move(farm, other, token_id="m2")
    farm.say(edge_key(str(session.edge)), ViewerGone(session=session.session, reason=EndReason.LEFT))
    assert set(farm.state.moves) == {"m2"}, "no place is kept for one who has left"
    farm.carry_out(farm.brain.close_room("other"))
    assert farm.state.moves == {}
    assert other.session in farm.state.sessions


def test_a_withdrawn_token_ends_what_came_of_it_wherever_that_is(farm):
    farm.room("waiting", waiting_room=True)
    session, bystander = farm.join_live(token_id="invitation"), farm.join_live()
    ticket = farm.knock("waiting", token_id="invitation")
    move(farm, session)
    arrived = farm.join("other", token_id="m1")
    farm.carry_out(farm.brain.revoke("invitation"))
    assert farm.ended == {session.session: EndReason.MOVED, arrived.session: EndReason.TOKEN_REVOKED}
    assert farm.state.ended_tickets[ticket.ticket] is TicketState.REFUSED
    assert set(farm.state.sessions) == {bystander.session}
    farm.carry_out(farm.brain.revoke("invitation"))


def test_a_kept_place_is_stored_and_kept_again_by_the_next_broker(farm):
    session = farm.join_live()
    effects = farm.carry_out(farm.brain.move(session.session, "other", "token", "m1", farm.now))
    assert Persist(Collection.MOVES, "m1") in effects
    state, after = farm.state, Farm()
    after.brain.restore(
        state.rooms.values(), state.views.values(), state.sessions.values(), [], 5.0, moves=state.moves.values()
    )
    assert after.state.moves["m1"].expires_at == 5.0 + after.state.settings.move_within_s
    assert Persist(Collection.MOVES, "m1") in after.brain.tick(6.0 + after.state.settings.move_within_s)
