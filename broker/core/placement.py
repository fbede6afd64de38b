"""Placement: which edge serves a viewer and which node draws for them. A pure function.

First a filter (alive, not draining, room left, codec, scene, the room's node, the room's latency cap), then the
lowest cost by a `PlacementPolicy`. Edge and node are chosen jointly: the nearest edge may be far from every node that
is free. The answer is the exact minimum: a region is left out only when nothing in it could cost less.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter

from msgspec import Struct, structs

from broker.core.policies import LineCost, Measured, PlacementPolicy
from broker.core.pools import Fit, NodeOffer, NodePools, Region, want
from broker.core.quality import UNKNOWN_RTT_MS
from broker.core.refusals import Refusal, RefusalKind
from broker.core.ways import EdgePools, ReadyEdge, SitePoints, Vantage, Way
from broker.protocol import Codec, Probe

RETRY_WHEN_FULL_S = 10.0
RETRY_WHEN_ABSENT_S = 5.0


class PlacementRequest(Struct, frozen=True, kw_only=True):
    """What is to be placed. `milliunits` is 0 when the view is drawn already; `room_node` is where the world lives.

    `latency_cap_ms` bounds the round trip from client to node, as far as it is known; `among_edges`, if there are any,
    are the only edges that may serve. `region_lines` are lines to be expected to edges of these regions, where `probes`
    has none.
    """

    scene: str
    codec: Codec
    milliunits: int
    probes: Sequence[Probe] = ()
    room_node: str | None = None
    excluded_nodes: frozenset[str] = frozenset()
    excluded_edges: frozenset[str] = frozenset()
    among_edges: frozenset[str] | None = None
    publishes: bool = False
    latency_cap_ms: float = math.inf
    region_lines: Mapping[str, Measured] = {}


class Placement(Struct, frozen=True, kw_only=True):
    """The pair chosen and its cost in the policy's measure."""

    edge: str
    node: str
    cost: float


def search(
    request: PlacementRequest,
    edges: EdgePools,
    nodes: NodePools,
    policy: PlacementPolicy,
    site_points: SitePoints,
) -> Placement:
    """The cheapest pair that can serve the request; raises `Refusal` saying what is missing."""
    searching = _Search(request, nodes, policy, site_points)
    probes = sorted(request.probes, key=_rtt_ms)
    for probe in probes:
        if (edge := edges.get(probe.edge)) is not None:
            searching.behind(edge, probe)
    for region, line in request.region_lines.items():
        searching.unmeasured(edges.vantage(region), line)
    if searching.may_gain_by_unmeasured(edges):
        assumed = _assumed(probes)
        for vantage in searching.that_may_gain_by(assumed, edges):
            if vantage.name not in request.region_lines:
                searching.unmeasured(vantage, assumed)
    if not searching.node:
        raise _explained(request, edges, nodes)
    return Placement(edge=searching.edge, node=searching.node, cost=searching.cost)


def _assumed(probes: Sequence[Probe]) -> Probe | None:
    """The line to an edge that the client has not measured, from those it has, the nearest first; `None`: unknown.

    One bad measurement may be that edge's fault. Where two were made, the second best tells of the client's own line,
    and an edge that was not even worth measuring is no nearer.
    """
    if len(probes) < 2:
        return None
    second = probes[1]
    return second if second.rtt_ms > UNKNOWN_RTT_MS else structs.replace(second, rtt_ms=UNKNOWN_RTT_MS)


_rtt_ms = attrgetter("rtt_ms")


class _Search:
    """The best pair so far: `node` on `edge` at `cost`. What a decision does thousands of times is written out."""

    __slots__ = (
        "_any_edge", "_is_capped", "_is_free", "_is_plain", "_latency_cap_ms", "_lines", "_measured", "_nodes",
        "_policy", "_request", "_site_points", "_wanted", "cost", "edge", "node",
    )  # fmt: skip

    def __init__(
        self, request: PlacementRequest, nodes: NodePools, policy: PlacementPolicy, site_points: SitePoints
    ) -> None:
        self.edge = self.node = ""
        self.cost = math.inf
        self._request = request
        self._nodes = nodes
        self._policy = policy
        self._site_points = site_points
        self._wanted = want(request.codec, request.scene, request.milliunits)
        self._measured: set[str] | None = None
        self._lines: dict[str, LineCost] = {}
        """A line to each region that was looked at."""
        self._latency_cap_ms = request.latency_cap_ms
        self._is_capped = self._latency_cap_ms < math.inf
        self._is_free = request.room_node is None
        self._is_plain = not policy.packs and not request.excluded_nodes
        self._any_edge = not request.excluded_edges and request.among_edges is None and not request.publishes

    def may_gain_by_unmeasured(self, edges: EdgePools) -> bool:
        """Whether some edge could give a better pair by a line that is no longer than any that is assumed."""
        ranked = edges.ranked(self._nodes, self._site_points, self._policy, UNKNOWN_RTT_MS)
        return bool(ranked) and ranked[0][0] <= self.cost

    def that_may_gain_by(self, assumed: Measured | None, edges: EdgePools) -> Iterator[Vantage]:
        """The vantage points behind which, with such a line, there could be a better pair, the most promising first."""
        delay_ms, rest = self._policy.line(assumed, 0.0)
        for least, _, vantage in edges.ranked(self._nodes, self._site_points, self._policy, delay_ms):
            if least + rest > self.cost:
                return
            yield vantage

    def unmeasured(self, vantage: Vantage, line: Measured | None) -> None:
        """Look behind the edges here that the client has not measured, as if they had this line."""
        if self._measured is None:
            self._measured = {probe.edge for probe in self._request.probes}
        for edge in vantage.edges.values():
            if edge.edge not in self._measured:
                self.behind(edge, line)

    def behind(self, edge: ReadyEdge, probe: Measured | None) -> None:
        """Look at the pairs with this edge, if it has a place and no other edge of its region has a line as good."""
        if edge.viewers >= edge.max_viewers or not (self._any_edge or _may_serve(self._request, edge)):
            return
        line, vantage, most_trunk_ms = self._policy.line(probe, edge.viewers / edge.max_viewers), edge.vantage, math.inf
        if self._is_capped:
            most_trunk_ms = self._latency_cap_ms - (0.0 if probe is None else probe.rtt_ms)
        else:
            known = self._lines.get(vantage.name)
            if known is None or known > line or known[1] > line[1]:
                self._lines[vantage.name] = line
            elif known != line:
                return
        if self._is_free:
            ways = vantage.ways(self._nodes, self._site_points, self._policy, line[0])
            if ways and ways[0][0] + line[1] <= self.cost:
                self._over_regions(edge, line, most_trunk_ms, ways)
        else:
            self._at_home(edge, line, most_trunk_ms)

    def _over_regions(self, edge: ReadyEdge, line: LineCost, most_trunk_ms: float, ways: list[Way]) -> None:
        """The cheapest ways first, until no other could be better."""
        cost_of, wanted, is_plain, rest, best = self._policy.cost, self._wanted, self._is_plain, line[1], self.cost
        for least, _, trunk_rtt_ms, region, points in ways:
            if least + rest > best:
                return
            if least + rest + region.scarcity > best:
                continue
            fit = region.fit(wanted) if is_plain else self._scan(region)
            if fit is not None and trunk_rtt_ms <= most_trunk_ms:
                cost = cost_of(line, trunk_rtt_ms, fit[0], points + region.scarcity)
                if cost <= best:
                    self._take(cost, edge.edge, fit[1])
                    best = cost

    def _scan(self, region: Region) -> Fit | None:
        return region.scan(self._wanted, self._request.excluded_nodes, fullest=self._policy.packs)

    def _take(self, cost: float, edge: str, node: str) -> None:
        """Take a pair that is at least as good; of equals the first by name."""
        if cost < self.cost or (edge, node) < (self.edge, self.node):
            self.cost, self.edge, self.node = cost, edge, node

    def _at_home(self, edge: ReadyEdge, line: LineCost, most_trunk_ms: float) -> None:
        """The room's own node."""
        node = self._nodes.offer(str(self._request.room_node))
        if node is None or not _is_able(self._request, node) or node.free < self._request.milliunits:
            return
        trunk_rtt_ms = edge.trunk_rtt_ms(node)
        if trunk_rtt_ms <= most_trunk_ms:
            points = self._site_points(node.region) + self._nodes.regions[node.region].scarcity
            cost = self._policy.cost(line, trunk_rtt_ms, node.load_ratio, points)
            if cost <= self.cost:
                self._take(cost, edge.edge, node.node)


def _may_serve(request: PlacementRequest, edge: ReadyEdge) -> bool:
    return (
        edge.edge not in request.excluded_edges
        and (request.among_edges is None or edge.edge in request.among_edges)
        and (edge.takes_publishers or not request.publishes)
    )


def _explained(request: PlacementRequest, edges: EdgePools, nodes: NodePools) -> Refusal:
    """Why nothing was found."""
    whom = "publishers" if request.publishes else "viewers"
    if not any(_may_serve(request, edge) for edge in edges):
        return Refusal(RefusalKind.NO_EDGE, f"no edge is ready to take {whom}", RETRY_WHEN_ABSENT_S)
    if not any(edge.viewers < edge.max_viewers and _may_serve(request, edge) for edge in edges):
        return Refusal(RefusalKind.FARM_FULL, "every edge has as many viewers as it can take", RETRY_WHEN_FULL_S)
    home = nodes.offer(request.room_node) if request.room_node is not None else None
    candidates = nodes.least_loaded(request.excluded_nodes) if home is None else [home]
    return _without_node(request, candidates) or Refusal(
        RefusalKind.TOO_FAR,
        f"every free render node is farther than the {request.latency_cap_ms:g} ms that the room allows",
        RETRY_WHEN_FULL_S,
    )


def _without_node(request: PlacementRequest, nodes: Iterable[NodeOffer]) -> Refusal | None:
    """Why none of these nodes can draw the request; `None` if one can."""
    able = [node for node in nodes if _is_able(request, node)]
    if not able:
        return Refusal(
            RefusalKind.NO_NODE,
            f"no render node that is ready draws scene {request.scene!r} in {request.codec.value}",
            RETRY_WHEN_ABSENT_S,
        )
    if all(node.free < request.milliunits for node in able):
        return Refusal(
            RefusalKind.FARM_FULL,
            f"every suitable render node is full: {request.milliunits / 1000:.2f} units are needed",
            RETRY_WHEN_FULL_S,
        )
    return None


def largest_free(request: PlacementRequest, nodes: NodePools) -> int:
    """The milliunits free on the roomiest node that can draw the request; 0 when there is none."""
    if request.room_node is not None:
        node = nodes.offer(request.room_node)
        return node.free if node is not None and _is_able(request, node) else 0
    wanted = want(request.codec, request.scene, 0)
    least = ((pool, pool.least(request.excluded_nodes)) for pool in nodes if pool.can(wanted))
    return max((pool.kind.capacity - top[0] for pool, top in least if top is not None), default=0)


def _is_able(request: PlacementRequest, node: NodeOffer) -> bool:
    return (
        node.node not in request.excluded_nodes
        and request.codec in node.codecs
        and request.scene.lower() in node.scenes
        and request.room_node in (None, node.node)
    )
