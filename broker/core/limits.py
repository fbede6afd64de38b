"""How many a room holds, in all and of each role. A lower limit sends nobody away; it keeps newcomers out."""

from broker.core.placement import RETRY_WHEN_FULL_S
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, State
from broker.protocol import Role


def require_place(state: State, room: RoomRecord, role: Role, *, besides: str | None = None) -> None:
    """Raise `Refusal` if there is no place for one more of this role.

    Places kept for those on their way here count, but for the one of the bearer of join token `besides`.
    """
    coming = [move for move in state.moves.values() if move.to == room.room and move.token_id != besides]
    if len(room.sessions) + len(coming) >= room.max_participants:
        detail = f"room {room.room!r} holds {room.max_participants} participants and is full"
        raise Refusal(RefusalKind.ROOM_FULL, detail, RETRY_WHEN_FULL_S)
    require_role(state, room, role, coming=sum(move.role is role for move in coming))


def require_role(state: State, room: RoomRecord, role: Role, *, coming: int = 0) -> None:
    """Raise `Refusal` if the room has as many of this role as it may, with those who are on their way."""
    limit = room.limits.get(role)
    if limit is None:
        return
    present = sum(state.sessions[name].role is role for name in room.sessions)
    if present + coming >= limit:
        detail = f"room {room.room!r} takes {limit} of the role {role.value} and has them"
        raise Refusal(RefusalKind.ROLE_FULL, detail, RETRY_WHEN_FULL_S)
