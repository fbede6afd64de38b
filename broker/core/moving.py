"""Moving a participant to another room: a place is kept there first, and the old session ends when the new one stands.

So a move that comes to nothing (the farm is full, the client is gone) leaves the participant where they are, and the
place kept is free again after a while. To undo a move is to move back. Who is moved passes a waiting room, as an
operator has decided; a locked room takes hosts only, as ever. Kept places are stored, so they outlive the broker.
"""

from collections.abc import Iterable

from broker.core import sessions, views, waiting
from broker.core.effects import Send
from broker.core.limits import require_place
from broker.core.moves import MoveRecord
from broker.core.refusals import Refusal, RefusalKind
from broker.core.schedule import require_open
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import EndReason, MoveTo, TellViewers


def begin(state: State, session: SessionRecord, to: str, token: str, token_id: str, now: float) -> None:
    """Keep a place and tell the client to come there with `token`. Raises `Refusal`."""
    target = state.room(to)
    _require_movable(state, session, target)
    waiting.require_unlocked(target, session.role)
    require_open(to, target.schedule, session.role, now)
    require_place(state, target, session.role)
    keep_s = state.settings.move_within_s
    move = MoveRecord(
        token_id=token_id,
        session=session.session,
        room=session.room,
        to=to,
        role=session.role,
        expires_at=now + keep_s,
    )
    state.moves[token_id] = move
    state.persist(move)
    event = MoveTo(room=to, token=token, within_s=keep_s)
    message = TellViewers(room=session.room, sessions=[session.session], event=event)
    state.emit(Send(views.edge_key(str(session.edge)), message))


def _require_movable(state: State, session: SessionRecord, target: RoomRecord) -> None:
    why = ""
    if target.room == session.room:
        why = "is in that room already"
    elif session.publishes:
        why = "publishes: an encoder cannot be told to go elsewhere"
    elif not session.connected:
        why = "is not connected and cannot be told"
    elif any(move.session == session.session for move in state.moves.values()):
        why = "is being moved already"
    if why:
        raise Refusal(RefusalKind.NOT_MOVABLE, f"participant {session.participant!r} {why}")


def expected(state: State, room: RoomRecord, token_id: str | None) -> MoveRecord | None:
    """The move by which the bearer of a join token comes here, if there is one."""
    move = state.moves.get(token_id) if token_id is not None else None
    return move if move is not None and move.to == room.room else None


def inherit(state: State, session: SessionRecord, move: MoveRecord) -> None:
    """Make the new session what the old one was: as silent, and withdrawn with the same token."""
    session.moved_from = move.session
    if (former := state.sessions.get(move.session)) is not None:
        session.muted, session.token_id = former.muted, former.token_id


def given_up(state: State, session: SessionRecord) -> None:
    """Who has left, or was removed, is not on the way any more."""
    _forget(state, [move for move in state.moves.values() if move.session == session.session])


def arrived(state: State, session: SessionRecord) -> None:
    """The session is placed; if its participant was moved here, the one they had before ends."""
    former, session.moved_from = session.moved_from, None
    if former is None:
        return
    if former in state.sessions:
        sessions.end(state, state.sessions[former], EndReason.MOVED)


def expire(state: State, now: float) -> None:
    """Give up the places of those who did not come."""
    _forget(state, [move for move in state.moves.values() if now >= move.expires_at])


def room_closed(state: State, room: RoomRecord) -> None:
    """Nobody comes here any more."""
    _forget(state, [move for move in state.moves.values() if move.to == room.room])


def _forget(state: State, moves: Iterable[MoveRecord]) -> None:
    for move in moves:
        del state.moves[move.token_id]
        state.persist(move)


def restore(state: State, moves: Iterable[MoveRecord], now: float) -> None:
    """Take over what an earlier broker left: places stay kept, for as long as a new one would be."""
    for move in moves:
        if move.to in state.rooms:
            move.expires_at = now + state.settings.move_within_s
            state.moves[move.token_id] = move
