"""Rooms: made, changed, closed when empty for too long; and what a host or operator does to participants."""

from msgspec import UNSET

from broker.core import sessions, views, waiting
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import EndReason, ParticipantPatch, RoomPatch


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


def patch(state: State, name: str, changes: RoomPatch, now: float) -> None:
    """Change what may be changed. A lower limit sends nobody away; it only keeps newcomers out."""
    room = state.room(name)
    if changes.max_participants is not UNSET:
        room.max_participants = changes.max_participants
    if changes.empty_timeout_s is not UNSET:
        room.empty_timeout_s = changes.empty_timeout_s
    if changes.open is not UNSET:
        room.open = changes.open
    if changes.metadata is not UNSET:
        room.metadata = changes.metadata
    _patch_door(state, room, changes, now)
    state.persist(room)


def _patch_door(state: State, room: RoomRecord, changes: RoomPatch, now: float) -> None:
    if changes.locked is not UNSET:
        room.locked = changes.locked
    if changes.waiting_room is not UNSET:
        room.waiting_room = changes.waiting_room
        if not room.waiting_room:
            waiting.open_doors(state, room, now)


def close(state: State, name: str) -> None:
    """End everybody's session and forget the room."""
    room = state.room(name)
    for session in views.room_sessions(state, room):
        sessions.end(state, session, EndReason.ROOM_CLOSED)
    waiting.send_all_away(state, room)
    del state.rooms[name]
    state.persist(room)


def participant(state: State, room_name: str, name: str) -> SessionRecord:
    """The session of a participant of a room, else `Refusal`."""
    for session in views.room_sessions(state, state.room(room_name)):
        if session.participant == name:
            return session
    raise Refusal(RefusalKind.PARTICIPANT_UNKNOWN, f"room {room_name!r} has no participant {name!r}")


def patch_participant(state: State, room_name: str, name: str, changes: ParticipantPatch) -> None:
    """Change somebody's role or mute them; world and edge learn of it."""
    session = participant(state, room_name, name)
    if changes.role is not UNSET:
        session.role = changes.role
    if changes.muted is not UNSET:
        session.muted = changes.muted
    views.put_participant(state, state.rooms[room_name], session)
    views.put_session(state, session)
    state.persist(session)


def close_empty(state: State, now: float) -> None:
    """Close the rooms that have been empty for longer than they allow; 0 keeps a room for ever."""
    for room in list(state.rooms.values()):
        if room.sessions or room.tickets:
            room.empty_since = None
        elif room.empty_since is None:
            room.empty_since = now
        elif room.empty_timeout_s and now - room.empty_since >= room.empty_timeout_s:
            close(state, room.room)
