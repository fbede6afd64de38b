"""Why the broker says no: one small hierarchy, each with a stable kind and, where waiting helps, for how long."""

from enum import StrEnum


class RefusalKind(StrEnum):
    """Stable names of refusals; the API turns them into problem documents."""

    ROOM_UNKNOWN = "room-unknown"
    ROOM_EXISTS = "room-exists"
    SCENE_UNKNOWN = "scene-unknown"
    ROOM_FULL = "room-full"
    ROLE_FULL = "role-full"
    ROOM_NOT_OPEN = "room-not-open"
    ROOM_LOCKED = "room-locked"
    WAITING_ROOM = "waiting-room"
    WAITING_ROOM_FULL = "waiting-room-full"
    STILL_WAITING = "still-waiting"
    TICKET_UNKNOWN = "ticket-unknown"
    TICKET_ENDED = "ticket-ended"
    TOO_MANY_ROOMS = "too-many-rooms"
    PARTICIPANT_UNKNOWN = "participant-unknown"
    NOT_MOVABLE = "not-movable"
    SESSION_UNKNOWN = "session-unknown"
    SESSION_ENDED = "session-ended"
    NO_STAGE = "no-stage"
    STAGE_TAKEN = "stage-taken"
    AGENT_UNKNOWN = "agent-unknown"
    REGION_UNKNOWN = "region-unknown"
    NO_EDGE = "no-edge"
    NO_NODE = "no-node"
    FARM_FULL = "farm-full"
    TOO_FAR = "too-far"


class Refusal(Exception):
    """A request the core does not carry out; nothing has changed. `retry_after_s` is set when waiting can help."""

    def __init__(self, kind: RefusalKind, detail: str, retry_after_s: float | None = None) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.retry_after_s = retry_after_s
