"""Who sees a picture, from the true state of all machines, and for how long somebody saw none, and why."""

from collections.abc import Callable

from farstage.simulation.distribution import Distribution
from farstage.simulation.fleet import Edge, Fleet, Node
from farstage.simulation.visitor import Visitor

DARK_BIN_S, DARK_TOP_S = 0.01, 120.0
JOINING = "joining"
"""Why one who has just come sees nothing yet."""
GIVEN_UP = "their node was given up"
"""The broker took a view from a node that draws on: edges show the old picture no longer."""


def dark_times() -> Distribution:
    """Of seconds without a picture."""
    return Distribution(DARK_BIN_S, DARK_TOP_S)


class Pictures:
    """Keeps `Visitor.node` true. Call `look` whenever something changed that may matter to somebody."""

    def __init__(self, fleet: Fleet, now: Callable[[], float]) -> None:
        self.visitors: dict[str, Visitor] = {}
        """Everybody who has a session, by its name."""
        self.waits_s = dark_times()
        """From coming to the first picture."""
        self.dark_s: dict[str, Distribution] = {}
        """Without a picture, by cause."""
        self._fleet = fleet
        self._now = now

    def look(self, visitor: Visitor, cause: str) -> None:
        """See whether they see a picture; `cause` is what has happened, in case they see none."""
        node = self._shown(visitor)
        if node is None and visitor.node is not None:
            visitor.dark_since, visitor.cause = self._now(), cause
        elif node is not None and visitor.dark_since is not None:
            self._light(visitor)
        visitor.node = node

    def _shown(self, visitor: Visitor) -> Node | None:
        edge = visitor.edge
        admitted = edge.sessions.get(visitor.session) if edge is not None else None
        if edge is None or admitted is None or not visitor.connected or not edge.is_alive:
            return None
        return self._fleet.source(admitted.stream, edge, admitted.fence)

    def _light(self, visitor: Visitor) -> None:
        """There is a picture, at first or again."""
        now = self._now()
        if visitor.picture_at is None:
            visitor.picture_at = now
            self.waits_s.add(now - visitor.arrived_at)
        elif visitor.dark_since is not None:
            self.dark_s.setdefault(visitor.cause, dark_times()).add(now - visitor.dark_since)
        visitor.dark_since = None

    def look_at_stream(self, stream: str, cause: str) -> None:
        """A view's sources have changed."""
        for session in list(self._fleet.watchers.get(stream, ())):
            visitor = self.visitors.get(session)
            if visitor is not None:
                self.look(visitor, cause)

    def look_at_node(self, node: Node, cause: str) -> None:
        """A node has died or come back to life."""
        for stream in list(node.drawings):
            self.look_at_stream(stream, cause)

    def look_at_edge(self, edge: Edge, cause: str) -> None:
        """An edge has died, and with it what it passed on."""
        streams = {command.stream: None for command in edge.sessions.values()} | dict.fromkeys(edge.relays)
        for stream in streams:
            self.look_at_stream(stream, cause)
