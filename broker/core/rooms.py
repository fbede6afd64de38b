"""Rooms: made, changed, closed when empty for too long; and what a host or operator does to participants."""

from msgspec import UNSET

from broker.core import moderation, moving, sessions, views, waiting
from broker.core.effects import RoomClosed, RoomCreated
from broker.core.limits import require_role
from broker.core.refusals import Refusal, RefusalKind
from broker.core.schedule import Schedule
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import EndReason, ParticipantPatch, RoomClosing, RoomPatch


def create(state: State, room: RoomRecord, now: float) -> None:
    """Add a room; raises `Refusal` if the name is taken, no node knows the scene, or there are too many."""
    if room.room in state.rooms:
        raise Refusal(RefusalKind.ROOM_EXISTS, f"room {room.room!r} exists already")
    if len(state.rooms) >= state.settings.max_rooms:
        raise Refusal(RefusalKind.TOO_MANY_ROOMS, f"the limit of {state.settings.max_rooms} rooms is reached", 60.0)
    _require_scene(state, room.scene)
    room.empty_since = now
    state.rooms[room.room] = room
    state.persist(room)
    state.emit(RoomCreated(room.room))


def _require_scene(state: State, scene: str) -> None:
    """Some node must have it, if there are any nodes: nobody could ever enter otherwise, and would be told to wait."""
    if any(scene.lower() in pool.kind.scenes for pool in state.ready_nodes):
        return
    known = {name.lower(): name for node in state.nodes.values() for name in node.capability.scenes}
    if known and scene.lower() not in known:
        raise Refusal(
            RefusalKind.SCENE_UNKNOWN,
            f"no render node has scene {scene!r}; known are {', '.join(sorted(known.values()))}",
        )


def patch(state: State, name: str, changes: RoomPatch, schedule: Schedule | None, now: float) -> None:
    """Change what may be changed, and the schedule if there is a new one.

    A lower limit sends nobody away; it only keeps newcomers out.
    """
    room = state.room(name)
    if schedule is not None:
        room.schedule, room.is_warned = schedule, False
    if changes.max_participants is not UNSET:
        room.max_participants = changes.max_participants
    if changes.empty_timeout_s is not UNSET:
        room.empty_timeout_s = changes.empty_timeout_s
    if changes.open is not UNSET:
        room.open = changes.open
    if changes.metadata is not UNSET:
        room.metadata = changes.metadata
    if changes.limits is not UNSET:
        room.limits = changes.limits
    if changes.latency_caps is not UNSET:
        room.latency_caps = changes.latency_caps
    _patch_door(state, room, changes, now)
    state.persist(room)


def _patch_door(state: State, room: RoomRecord, changes: RoomPatch, now: float) -> None:
    if changes.locked is not UNSET:
        room.locked = changes.locked
    if changes.waiting_room is not UNSET:
        room.waiting_room = changes.waiting_room
        if not room.waiting_room:
            waiting.open_doors(state, room, now)


def close(state: State, name: str, reason: EndReason = EndReason.ROOM_CLOSED) -> None:
    """End everybody's session and forget the room."""
    room = state.room(name)
    for session in views.room_sessions(state, room):
        sessions.end(state, session, reason)
    waiting.send_all_away(state, room)
    moving.room_closed(state, room)
    del state.rooms[name]
    state.persist(room)
    state.emit(RoomClosed(name))


def participant(state: State, room_name: str, name: str) -> SessionRecord:
    """The session of a participant of a room, else `Refusal`."""
    for session in views.room_sessions(state, state.room(room_name)):
        if session.participant == name:
            return session
    raise Refusal(RefusalKind.PARTICIPANT_UNKNOWN, f"room {room_name!r} has no participant {name!r}")


def patch_participant(state: State, room_name: str, name: str, changes: ParticipantPatch) -> None:
    """Change somebody's role, if the room takes one more of it, or mute them; world and edge learn of it."""
    session = participant(state, room_name, name)
    if changes.role is not UNSET and changes.role is not session.role:
        require_role(state, state.rooms[room_name], changes.role)
        session.role = changes.role
    if changes.muted is not UNSET:
        session.muted = changes.muted
    views.put_participant(state, state.rooms[room_name], session)
    views.put_session(state, session)
    waiting.host_came(state, session)
    state.persist(session)


def follow_schedules(state: State, now: float) -> None:
    """Close the rooms whose time is over, and warn those whose time soon is."""
    for room in list(state.rooms.values()):
        if room.schedule.is_over(now):
            close(state, room.room, EndReason.SCHEDULE_ENDED)
        elif room.schedule.ends_soon(now) and not room.is_warned:
            room.is_warned = True
            state.persist(room)
            moderation.tell(state, room, RoomClosing(in_s=_left_s(room, now)), moderation.audience(state, room))


def warn_newcomer(state: State, session: SessionRecord, now: float) -> None:
    """Tell one who has just connected what those in the room know already."""
    room = state.rooms[session.room]
    if room.is_warned:
        moderation.tell(state, room, RoomClosing(in_s=_left_s(room, now)), [session], named=True)


def _left_s(room: RoomRecord, now: float) -> float:
    return max(0.0, (room.schedule.closes_at_s or now) - now)


def close_empty(state: State, now: float) -> None:
    """Close the rooms that have been empty for longer than they allow; 0 keeps a room for ever."""
    for room in list(state.rooms.values()):
        if room.sessions or room.tickets or room.schedule.keeps_room(now):
            room.empty_since = None
        elif room.empty_since is None:
            room.empty_since = now
        elif room.empty_timeout_s and now - room.empty_since >= room.empty_timeout_s:
            close(state, room.room)
