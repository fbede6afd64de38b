"""The edges as placement sees them: those that take new viewers, and the ways from their regions to the nodes' regions.

A region is one vantage point: what any of its edges has measured to any node of a region holds between the two. So of
the edges of a region that a client has measured only those matter whose line is not worse than another's.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
from msgspec import Struct

from broker.core.policies import PlacementPolicy, guessed_trunk_rtt_ms, trunk_rtt_ms
from broker.core.pools import NodeOffer, NodePools, Region

SitePoints = Callable[[str], float]
DELAY_STEP_MS = 8.0
"""Lines whose delay differs by less share a ranking of ways."""
ROUNDING = 1e-9
"""By so much costs of many at once may differ from those of one."""
RTT_STEP_MS = 1.0
"""Round trips that heartbeats tell change by less all the time: ways are ranked anew only beyond it."""


class EdgeOffer(Struct, frozen=True, kw_only=True):
    """An edge that is alive and not draining. `node_rtt_ms` by node; nodes it has no trunk to are absent."""

    edge: str
    region: str
    viewers: int
    max_viewers: int
    node_rtt_ms: dict[str, float]
    takes_publishers: bool = False


Way = tuple[float, str, float, Region, float]
"""From one region to another: what a pair by this way costs at least, but for a line's rest and what is scarce; the
other region's name; the trunk's round trip in ms; the region; what drawing there costs."""


class Vantage:
    """A region with ready edges, and its ways to the regions that have ready nodes."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.edges: dict[str, ReadyEdge] = {}
        self._reach: list[tuple[float, Region, float]] = []
        self._trunks_ms = self._points = np.zeros(0)
        self._ways: dict[int, list[Way]] = {}
        self._version = -1
        self._basis: dict[str, float] = {}
        """The measured round trips by which the ways are ranked, to each region."""
        self._is_stale = True
        self.generation = 0
        """Rises when the ways are ranked anew."""

    def measured_anew(self) -> None:
        """An edge has told new round trips, or has come or gone."""
        self._is_stale = True

    def ways(self, pools: NodePools, site_points: SitePoints, policy: PlacementPolicy, delay_ms: float) -> list[Way]:
        """All ways, the cheapest first for lines of at least about this delay; ranked once for all lines like it."""
        if self._is_stale or self._version != pools.version:
            self._look_anew(pools, site_points)
        step = int(delay_ms / DELAY_STEP_MS)
        known = self._ways.get(step)
        if known is None:
            known = self._ways[step] = self._ranked(policy, step * DELAY_STEP_MS)
        return known

    def least(self, pools: NodePools, site_points: SitePoints, policy: PlacementPolicy, delay_ms: float) -> float:
        """What a pair with any edge here costs at least by lines of about this delay, but for the rest of the line."""
        ways = self.ways(pools, site_points, policy, delay_ms)
        return ways[0][0] if ways else float("inf")

    def _ranked(self, policy: PlacementPolicy, delay_ms: float) -> list[Way]:
        costs = policy.cost((delay_ms, 0.0), self._trunks_ms, 1.0 if policy.packs else 0.0, self._points)
        return sorted(
            (least, region.name, trunk_rtt_ms, region, points)
            for least, (trunk_rtt_ms, region, points) in zip((costs - ROUNDING).tolist(), self._reach, strict=True)
        )

    def trunks_ms(self, pools: NodePools, site_points: SitePoints) -> dict[str, float]:
        """Round trips to all regions that have ready nodes."""
        self.look(pools, site_points)
        return {region.name: rtt_ms for rtt_ms, region, _ in self._reach}

    def look(self, pools: NodePools, site_points: SitePoints) -> None:
        """Take note of what has been told since the ways were ranked."""
        if self._is_stale or self._version != pools.version:
            self._look_anew(pools, site_points)

    def _look_anew(self, pools: NodePools, site_points: SitePoints) -> None:
        """Forget what was ranked, if regions came or went, or the round trip to one has changed."""
        measured, is_same = self._measured(pools), self._version == pools.version
        self._version, self._is_stale = pools.version, False
        if is_same and _are_alike(measured, self._basis):
            return
        self._basis = measured
        self.generation += 1
        self._reach = self._all(pools, site_points)
        self._trunks_ms = np.array([trunk_rtt_ms for trunk_rtt_ms, _, _ in self._reach])
        self._points = np.array([points for _, _, points in self._reach])
        self._ways = {}

    def _all(self, pools: NodePools, site_points: SitePoints) -> list[tuple[float, Region, float]]:
        return [
            (self._basis.get(name, guessed_trunk_rtt_ms(self.name, name)), region, site_points(name))
            for name, region in pools.regions.items()
        ]

    def _measured(self, pools: NodePools) -> dict[str, float]:
        """The shortest round trip that was measured to each region."""
        least: dict[str, float] = {}
        for edge in self.edges.values():
            for node, rtt_ms in edge.node_rtt_ms.items():
                region = pools.region_of(node)
                if region is not None and rtt_ms < least.get(region, math.inf):
                    least[region] = rtt_ms
        return least


def _are_alike(measured: Mapping[str, float], basis: Mapping[str, float]) -> bool:
    """Whether ways that were ranked by the one hold for the other: trunks to more nodes of a region change little."""
    return measured.keys() == basis.keys() and all(
        abs(rtt_ms - basis[region]) < RTT_STEP_MS for region, rtt_ms in measured.items()
    )


class ReadyEdge:
    """An edge that takes viewers."""

    __slots__ = ("edge", "max_viewers", "node_rtt_ms", "takes_publishers", "vantage", "viewers")

    def __init__(self, offer: EdgeOffer, vantage: Vantage) -> None:
        self.edge, self.vantage = offer.edge, vantage
        self.viewers, self.max_viewers = offer.viewers, offer.max_viewers
        self.node_rtt_ms = offer.node_rtt_ms
        self.takes_publishers = offer.takes_publishers

    def takes(self, offer: EdgeOffer) -> bool:
        """Take an offer of this edge; false if it is another one now."""
        offered = (offer.region, offer.max_viewers, offer.takes_publishers)
        if (self.vantage.name, self.max_viewers, self.takes_publishers) != offered:
            return False
        if self.node_rtt_ms != offer.node_rtt_ms:
            self.vantage.measured_anew()
        self.viewers, self.node_rtt_ms = offer.viewers, offer.node_rtt_ms
        return True

    def trunk_rtt_ms(self, node: NodeOffer) -> float:
        """Round trip to this very node."""
        return trunk_rtt_ms(self.node_rtt_ms, self.vantage.name, node.node, node.region)


class EdgePools:
    """All ready edges."""

    def __init__(self, offers: Iterable[EdgeOffer] = ()) -> None:
        self._edges: dict[str, ReadyEdge] = {}
        self.get = self._edges.get
        """An edge by its name, if it is ready."""
        self._vantages: dict[str, Vantage] = {}
        self._ranked: dict[int, list[tuple[float, str, Vantage]]] = {}
        self._told: set[Vantage] = set()
        """Whose edges have been heard of since."""
        self._generations: dict[str, int] = {}
        self._version = -1
        for offer in offers:
            self.put(offer)

    def put(self, offer: EdgeOffer) -> None:
        """An edge takes viewers, as told here: at first, and with each heartbeat."""
        known = self._edges.get(offer.edge)
        if known is not None and known.takes(offer):
            self._told.add(known.vantage)
            return
        self.drop(offer.edge)
        vantage = self._vantages.setdefault(offer.region, Vantage(offer.region))
        self._edges[offer.edge] = vantage.edges[offer.edge] = ReadyEdge(offer, vantage)
        vantage.measured_anew()

    def drop(self, edge: str) -> None:
        """An edge takes no viewers any more."""
        self._version = -1
        if (known := self._edges.pop(edge, None)) is not None:
            del known.vantage.edges[edge]
            known.vantage.measured_anew()
            if not known.vantage.edges:
                del self._vantages[known.vantage.name]
                self._told.discard(known.vantage)
                self._generations.pop(known.vantage.name, None)

    def claimed(self, edge: str, viewers: int) -> None:
        """So many places of an edge are taken now."""
        if (known := self._edges.get(edge)) is not None:
            known.viewers = viewers

    def ranked(
        self, pools: NodePools, site_points: SitePoints, policy: PlacementPolicy, delay_ms: float
    ) -> list[tuple[float, str, Vantage]]:
        """All vantage points by `Vantage.least`, the name, and they themselves; ranked once for all lines like it."""
        if self._version != pools.version:
            self._version, self._ranked = pools.version, {}
        if self._told:
            self._hear(pools, site_points)
        step = int(delay_ms / DELAY_STEP_MS)
        known = self._ranked.get(step)
        if known is None:
            known = self._ranked[step] = sorted(
                (vantage.least(pools, site_points, policy, delay_ms), vantage.name, vantage)
                for vantage in self._vantages.values()
            )
        return known

    def _hear(self, pools: NodePools, site_points: SitePoints) -> None:
        """Forget the ranking if heartbeats have told what ranks a vantage point's ways anew."""
        for vantage in self._told:
            vantage.look(pools, site_points)
            if self._generations.get(vantage.name) != vantage.generation:
                self._generations[vantage.name], self._ranked = vantage.generation, {}
        self._told.clear()

    def vantage(self, region: str) -> Vantage:
        """A region that has ready edges."""
        return self._vantages[region]

    @property
    def vantages(self) -> Iterable[Vantage]:
        """Regions with ready edges."""
        return self._vantages.values()

    def __iter__(self) -> Iterator[ReadyEdge]:
        return iter(self._edges.values())
