"""Publishers: who sends a stage its picture from outside, instead of the render node.

A publisher is a participant whose session sends. While it is connected its picture is shown on the stage, its sound
is mixed with the others' by the node that hosts the world, and nobody waits for that node's pictures.
"""

from collections.abc import Iterable, Iterator

from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, SessionRecord, State, ViewRecord
from broker.protocol import Mode


def require_stage(room: RoomRecord) -> None:
    """Raise `Refusal` where there is no stage."""
    if room.mode is not Mode.CONFERENCE:
        raise Refusal(
            RefusalKind.NO_STAGE, f"room {room.room!r} is of mode {room.mode.value}; only a conference has a stage"
        )


def require_free_stage(state: State, room: RoomRecord) -> None:
    """Raise `Refusal` where there is no stage, or it has a publisher."""
    require_stage(room)
    if (publisher := of_room(state, room)) is not None:
        raise Refusal(RefusalKind.STAGE_TAKEN, f"{publisher.display_name!r} publishes in room {room.room!r} already")


def of_room(state: State, room: RoomRecord) -> SessionRecord | None:
    """The session that publishes in a room, connected or not."""
    return next(_publishers(state, room.sessions), None)


def edge_of(state: State, view: ViewRecord) -> str | None:
    """The edge to which a view's publisher sends, if there is one."""
    return next((session.edge for session in _publishers(state, view.sessions)), None)


def is_on_air(state: State, view: ViewRecord) -> bool:
    """Whether a view's picture comes from a publisher."""
    return any(session.connected for session in _publishers(state, view.sessions))


def _publishers(state: State, sessions: Iterable[str]) -> Iterator[SessionRecord]:
    return (session for name in sorted(sessions) if (session := state.sessions[name]).publishes)
