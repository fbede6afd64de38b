"""What each role may do, part of the public contract: edges and worlds ask it before they act on a client's message."""

from enum import StrEnum

from broker.protocol import Mode, Role


class Permission(StrEnum):
    """A thing a participant can be allowed to do. `SPEAK` is to those around, `ADDRESS_HALL` to a whole conference."""

    MOVE = "move"
    CHAT = "chat"
    RAISE_HAND = "raise_hand"
    SELECT_EXHIBIT = "select_exhibit"
    SPEAK = "speak"
    ADDRESS_HALL = "address_hall"
    MOVE_STAGE_CAMERA = "move_stage_camera"


_SPECTATOR = frozenset({Permission.MOVE, Permission.SELECT_EXHIBIT})
_VISITOR = _SPECTATOR | {Permission.CHAT, Permission.RAISE_HAND, Permission.SPEAK}
_SPEAKER = _VISITOR | {Permission.ADDRESS_HALL}
_HOST = _SPEAKER | {Permission.MOVE_STAGE_CAMERA}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.SPECTATOR: _SPECTATOR,
    Role.VISITOR: _VISITOR,
    Role.SPEAKER: _SPEAKER,
    Role.HOST: _HOST,
}


def permits(role: Role, permission: Permission) -> bool:
    """Whether `role` may do it."""
    return permission in PERMISSIONS[role]


def may_be_heard(role: Role, mode: Mode, *, muted: bool) -> bool:
    """Whether the others in a room of this mode hear the microphone of somebody with this role."""
    needed = Permission.ADDRESS_HALL if mode is Mode.CONFERENCE else Permission.SPEAK
    return not muted and permits(role, needed)
