"""Cascades: which edge gets a stream from where, when a node cannot feed all edges by itself. A pure function.

The tree has the node at its root; an edge's parent is another edge, or `None` for the node. A plan changes as little as
it can: an edge keeps its parent while that can be had, so losing an edge moves only those it fed. Who needs a new
parent gets, of those with room, the nearest to the node in its own region; so a stream enters a region once while there
is room behind that entry. Names break ties, so a plan can be repeated.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum

from msgspec import Struct

MAX_DEPTH = 4
"""Edges in a row that a plan aims at; each adds a hop's latency. Exceeded only where a stream would not arrive else."""


class Standing(IntEnum):
    """What an edge may be to others, best first. Lower ranks are planned last, and feed others only in need."""

    FEEDS = 0
    """It takes new children."""
    KEEPS = 1
    """It keeps those it has: its connection to the broker broke a moment ago."""
    LEAVES = 2
    """It is being drained."""
    GONE = 3
    """It is taken for dead; should it live, it is fed where there is room."""


class Seat(Struct, frozen=True, kw_only=True):
    """An edge that needs the stream. `free`: how many more viewers it takes; a child counts as one."""

    edge: str
    region: str
    free: int
    standing: Standing = Standing.FEEDS


class Limits(Struct, frozen=True):
    """How many edges a node feeds, and how many an edge; each at least one."""

    node_fan_out: int
    edge_fan_out: int


Parents = dict[str, str | None]
"""The parent of each edge; `None` for those the node feeds."""


def reach(limits: Limits, *, rooted: bool) -> int:
    """How many edges a tree of `MAX_DEPTH` holds. `rooted`: the node feeds one edge only."""
    width = 1 if rooted else limits.node_fan_out
    return sum(width * limits.edge_fan_out**level for level in range(MAX_DEPTH))


def plan(
    seats: Iterable[Seat],
    node_region: str | None,
    limits: Limits,
    *,
    previous: Mapping[str, str | None] | None = None,
    root: str | None = None,
) -> Parents:
    """A parent for every seat. `root` is the one edge the node feeds; nobody is reached while that is not seated."""
    by_name = {seat.edge: seat for seat in seats}
    if root is not None and root not in by_name:
        return {}
    return _Planner(by_name, node_region, limits, dict(previous or {}), root).plan()


class _Planner:
    """One plan in the making: `parents` has those who are reached so far."""

    def __init__(
        self,
        seats: dict[str, Seat],
        node_region: str | None,
        limits: Limits,
        previous: Parents,
        root: str | None,
    ) -> None:
        self.parents: Parents = {}
        self._seats = seats
        self._node_region = node_region
        self._limits = limits
        self._previous = {edge: parent for edge, parent in previous.items() if _ends(previous, edge)}
        self._root = root
        self._depths: dict[str | None, int] = {None: 0}
        self._children: dict[str | None, int] = {None: 0}
        self._kept = self._kept_links()

    def plan(self) -> Parents:
        """Keep what can be kept, then attach the rest with all that hangs below them."""
        if self._root is not None:
            self._reach(self._root, None)
        for edge in self._kept.get(None, []):
            self._reach(edge, None)
        for edge in sorted(self._orphans(), key=self._urgency):
            if edge not in self.parents:
                self._reach(edge, self._best_parent(edge))
        return self.parents

    def _kept_links(self) -> dict[str | None, list[str]]:
        """Children by parent, as far as they can stay: lively ones whose parent still feeds, within its fan-out."""
        kept: dict[str | None, list[str]] = {}
        for edge in sorted(self._seats):
            if edge not in self._previous or edge == self._root or self._seats[edge].standing >= Standing.LEAVES:
                continue
            parent = self._previous[edge]
            if self._may_keep(parent) and len(kept.get(parent, [])) < self._fan_out(parent):
                kept.setdefault(parent, []).append(edge)
        return kept

    def _may_keep(self, parent: str | None) -> bool:
        if parent is None:
            return self._root is None
        seat = self._seats.get(parent)
        return seat is not None and seat.standing <= Standing.KEEPS

    def _fan_out(self, parent: str | None) -> int:
        if parent is not None:
            return self._limits.edge_fan_out
        return self._limits.node_fan_out if self._root is None else 1

    def _reach(self, edge: str, parent: str | None) -> None:
        """The edge has its parent; so have those who keep theirs below it."""
        waiting: list[tuple[str, str | None]] = [(edge, parent)]
        while waiting:
            name, above = waiting.pop()
            self.parents[name] = above
            self._children[above] += 1
            self._children[name] = 0
            self._depths[name] = self._depths[above] + 1
            waiting += [(child, name) for child in self._kept.get(name, []) if child not in self.parents]

    def _orphans(self) -> list[str]:
        """Those who need a new parent, without those who hang below one of them."""
        kept = {child for children in self._kept.values() for child in children}
        return [edge for edge in self._seats if edge not in kept and edge not in self.parents]

    def _urgency(self, edge: str) -> tuple[bool, int, int, str]:
        """Who is placed first: the lively, those with the most behind them, those who can feed the most."""
        seat = self._seats[edge]
        capacity = min(self._limits.edge_fan_out, max(seat.free, 0))
        return seat.standing >= Standing.LEAVES, -self._height(edge), -capacity, edge

    def _height(self, edge: str) -> int:
        """How many edges in a row hang below this one."""
        height, level = 0, self._kept.get(edge, [])
        while level:
            height += 1
            level = [child for name in level for child in self._kept.get(name, [])]
        return height

    def _best_parent(self, edge: str) -> str | None:
        height = self._height(edge)
        able = [parent for parent in self._depths if self._children[parent] < self._fan_out(parent)]
        return min(able, key=lambda parent: self._cost(edge, height, parent))

    def _cost(self, edge: str, height: int, parent: str | None) -> tuple[object, ...]:
        seat = None if parent is None else self._seats[parent]
        region = self._node_region if seat is None else seat.region
        has_places = seat is None or self._children[parent] < seat.free
        depth = self._depths[parent]
        return (
            Standing.FEEDS if seat is None else seat.standing,
            depth + 1 + height > MAX_DEPTH,
            not has_places,
            region is not None and region != self._seats[edge].region,
            parent != self._previous.get(edge, "") if self._seats[edge].standing >= Standing.LEAVES else False,
            depth,
            self._children[parent],
            parent or "",
        )


def _ends(parents: Parents, edge: str) -> bool:
    """Whether the way up from this edge ends somewhere, rather than going in a circle."""
    passed: set[str] = set()
    above: str | None = edge
    while above is not None and above not in passed:
        passed.add(above)
        above = parents.get(above)
    return above is None
