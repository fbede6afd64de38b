"""The edges as placement sees them: those that take new viewers, and the ways from their regions to the nodes' regions.

A region is one vantage point: what any of its edges has measured to any node of a region holds between the two. So of
the edges of a region that a client has measured only those matter whose line is not worse than another's.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from broker.core.policies import guessed_trunk_rtt_ms
from broker.core.pools import NodeOffer, NodePools, Region

SitePoints = Callable[[str], float]


class EdgeOffer(Struct, frozen=True, kw_only=True):
    """An edge that is alive and not draining. `node_rtt_ms` by node; nodes it has no trunk to are absent."""

    edge: str
    region: str
    viewers: int
    max_viewers: int
    node_rtt_ms: dict[str, float]
    takes_publishers: bool = False


class Way(NamedTuple):
    """From one region to another, and that one's site points; `cheapest`: the least of it and all that are farther."""

    trunk_rtt_ms: float
    region: Region
    points: float
    cheapest: float


class Vantage:
    """A region with ready edges, and its ways to the regions that have ready nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.edges: dict[str, ReadyEdge] = {}
        self._ways: list[Way] = []
        self._version = -1

    def measured_anew(self) -> None:
        """An edge has told new round trips."""
        self._version = -1

    def ways(self, pools: NodePools, site_points: SitePoints) -> list[Way]:
        """The nearest region first."""
        if self._version != pools.version:
            self._version = pools.version
            self._ways = self._ranked(pools, site_points)
        return self._ways

    def _ranked(self, pools: NodePools, site_points: SitePoints) -> list[Way]:
        measured = self._measured(pools)
        reach = [(measured.get(name, guessed_trunk_rtt_ms(self.name, name)), name) for name in pools.regions]
        ways, cheapest = [], float("inf")
        for rtt_ms, name in sorted(reach, reverse=True):
            points = site_points(name)
            cheapest = min(cheapest, points)
            ways.append(Way(rtt_ms, pools.regions[name], points, cheapest))
        return ways[::-1]

    def _measured(self, pools: NodePools) -> dict[str, float]:
        """The shortest round trip that was measured to each region."""
        least: dict[str, float] = {}
        for edge in self.edges.values():
            for node, rtt_ms in edge.node_rtt_ms.items():
                known = pools.offer(node)
                if known is not None:
                    least[known.region] = min(rtt_ms, least.get(known.region, rtt_ms))
        return least


class ReadyEdge:
    """An edge that takes viewers."""

    __slots__ = ("edge", "max_viewers", "node_rtt_ms", "takes_publishers", "vantage", "viewers")

    def __init__(self, offer: EdgeOffer, vantage: Vantage) -> None:
        self.edge, self.vantage = offer.edge, vantage
        self.viewers, self.max_viewers = offer.viewers, offer.max_viewers
        self.node_rtt_ms, self.takes_publishers = offer.node_rtt_ms, offer.takes_publishers

    def trunk_rtt_ms(self, node: NodeOffer) -> float:
        """Round trip to this very node: as measured on the trunk, else guessed from the regions."""
        measured = self.node_rtt_ms.get(node.node)
        return guessed_trunk_rtt_ms(self.vantage.name, node.region) if measured is None else measured


class EdgePools:
    """All ready edges."""

    def __init__(self, offers: Iterable[EdgeOffer] = ()) -> None:
        self._edges: dict[str, ReadyEdge] = {}
        self._vantages: dict[str, Vantage] = {}
        for offer in offers:
            self.put(offer)

    def put(self, offer: EdgeOffer) -> None:
        """An edge takes viewers, as told here."""
        self.drop(offer.edge)
        vantage = self._vantages.setdefault(offer.region, Vantage(offer.region))
        self._edges[offer.edge] = vantage.edges[offer.edge] = ReadyEdge(offer, vantage)
        vantage.measured_anew()

    def drop(self, edge: str) -> None:
        """An edge takes no viewers any more."""
        if (known := self._edges.pop(edge, None)) is not None:
            del known.vantage.edges[edge]
            known.vantage.measured_anew()
            if not known.vantage.edges:
                del self._vantages[known.vantage.name]

    def claimed(self, edge: str, viewers: int) -> None:
        """So many places of an edge are taken now."""
        if (known := self._edges.get(edge)) is not None:
            known.viewers = viewers

    def get(self, edge: str) -> ReadyEdge | None:
        """An edge, if it is ready."""
        return self._edges.get(edge)

    @property
    def vantages(self) -> Iterable[Vantage]:
        """Regions with ready edges."""
        return self._vantages.values()

    def __iter__(self) -> Iterator[ReadyEdge]:
        return iter(self._edges.values())
