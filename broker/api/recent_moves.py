"""The last moves of views between nodes, for operators who look at what the broker does."""

from collections import Counter, deque
from collections.abc import Iterable
from typing import NamedTuple

from broker.core.effects import ViewMoved
from broker.core.state import State
from broker.protocol.regions import MAX_SHOWN


class RoomMoved(NamedTuple):
    """Views of one room that took the same way in one step."""

    unix_s: float
    room: str
    views: int
    from_node: str | None
    from_region: str | None
    to_node: str
    to_region: str | None
    planned: bool


class RecentMoves:
    """Since the broker started, the latest first; the oldest is forgotten."""

    def __init__(self) -> None:
        self.latest: deque[RoomMoved] = deque(maxlen=MAX_SHOWN)

    def note(self, moved: Iterable[ViewMoved], state: State, unix_s: float) -> None:
        """What one step has moved."""
        ways = Counter((move.room, move.former, move.node, move.is_planned) for move in moved)
        for (room, former, node, planned), views in ways.items():
            regions = (_region(state, former), _region(state, node))
            self.latest.appendleft(RoomMoved(unix_s, room, views, former, regions[0], node, regions[1], planned))


def _region(state: State, node: str | None) -> str | None:
    known = state.nodes.get(node or "")
    return None if known is None else known.region
