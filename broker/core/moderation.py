"""What hosts and operators do to a whole room: mute everybody, send data to the clients."""

from collections.abc import Collection, Sequence

from broker.core import views
from broker.core.effects import Send
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import MuteAll, Role, RoomClosing, RoomData, TellViewers, WaitingChanged


def mute_all(state: State, room: RoomRecord, body: MuteAll) -> int:
    """Mute (or unmute) everybody but those excepted; how many this changed."""
    changed = [session for session in views.room_sessions(state, room) if _is_changed(session, body)]
    for session in changed:
        session.muted = body.muted
        views.put_participant(state, room, session)
        views.put_session(state, session)
        state.persist(session)
    return len(changed)


def _is_changed(session: SessionRecord, body: MuteAll) -> bool:
    return (
        session.muted is not body.muted
        and session.role in body.roles
        and session.participant not in body.except_participants
    )


def audience(
    state: State, room: RoomRecord, to: Sequence[str] | None = None, roles: Collection[Role] | None = None
) -> list[SessionRecord]:
    """The connected viewers of these names and roles; `None` is everybody.

    Raises `Refusal` if somebody named is not in the room.
    """
    sessions = views.room_sessions(state, room)
    if missing := sorted(set(to or ()) - {session.participant for session in sessions}):
        raise Refusal(RefusalKind.PARTICIPANT_UNKNOWN, f"room {room.room!r} has no participant {missing[0]!r}")
    return [
        session
        for session in sessions
        if session.connected
        and not session.publishes
        and (to is None or session.participant in to)
        and (roles is None or session.role in roles)
    ]


def send_data(
    state: State, room: RoomRecord, data: RoomData, to: Sequence[str] | None, roles: Collection[Role] | None
) -> int:
    """Have the edges hand `data` to these clients, one message an edge; to how many. Raises `Refusal`."""
    sessions = audience(state, room, to, roles)
    tell(state, room, data, sessions, roles or (), named=to is not None)
    return len(sessions)


def tell(
    state: State,
    room: RoomRecord,
    event: RoomData | RoomClosing | WaitingChanged,
    sessions: Sequence[SessionRecord],
    roles: Collection[Role] = (),
    *,
    named: bool = False,
) -> None:
    """Have each edge of these sessions tell its viewers of the room: of these roles, if any, or just those `named`."""
    for edge in sorted({session.edge for session in sessions if session.edge is not None}):
        names = [session.session for session in sessions if session.edge == edge] if named else None
        message = TellViewers(room=room.room, sessions=names, roles=sorted(set(roles)), event=event)
        state.emit(Send(views.edge_key(edge), message))
