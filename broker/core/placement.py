"""Placement: which edge serves a viewer and which node draws for them. A pure function.

First a filter (alive, not draining, room left, codec, scene, the room's node, the room's latency cap), then the
lowest cost by a `PlacementPolicy`. Edge and node are chosen jointly: the nearest edge may be far from every node that
is free. The answer is the exact minimum: a region is left out only when nothing in it could cost less.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec import Struct, structs

from broker.core.policies import LineCost, PlacementPolicy
from broker.core.pools import EdgeOffer, EdgePools, EdgeWays, NodeOffer, NodePools, Pool
from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import Codec, Probe

__all__ = ["EdgeOffer", "NodeOffer", "Placement", "PlacementRequest", "largest_free", "place", "search"]

RETRY_WHEN_FULL_S = 10.0
RETRY_WHEN_ABSENT_S = 5.0

SitePoints = Callable[[str], float]


class PlacementRequest(Struct, frozen=True, kw_only=True):
    """What is to be placed. `milliunits` is 0 when the view is drawn already; `room_node` is where the world lives.

    `latency_cap_ms` bounds the round trip from client to node, as far as it is known; `among_edges`, if there are any,
    are the only edges that may serve.
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


class Placement(Struct, frozen=True, kw_only=True):
    """The pair chosen and its cost in the policy's measure."""

    edge: str
    node: str
    cost: float


_NOTHING = (math.inf, "", "")
_Best = tuple[float, str, str]


def place(
    request: PlacementRequest,
    edges: Iterable[EdgeOffer],
    nodes: Iterable[NodeOffer],
    policy: PlacementPolicy,
    site_points: SitePoints = lambda region: 0.0,
) -> Placement:
    """The cheapest pair among these offers; raises `Refusal` saying what is missing."""
    return search(request, EdgePools(edges), NodePools(nodes), policy, site_points)


def search(
    request: PlacementRequest,
    edges: EdgePools,
    nodes: NodePools,
    policy: PlacementPolicy,
    site_points: SitePoints,
) -> Placement:
    """The cheapest pair that can serve the request; raises `Refusal` saying what is missing."""
    probes = {probe.edge: probe for probe in request.probes}
    best = _NOTHING
    for ways in _usable_edges(request, edges, probes):
        probe = probes.get(ways.offer.edge)
        line = policy.line(probe, ways.viewers / ways.offer.max_viewers)
        rtt_ms = 0.0 if probe is None else probe.rtt_ms
        if request.room_node is not None:
            best = min(best, _at_home(request, ways, nodes, policy, line, rtt_ms, site_points))
        else:
            best = _over_regions(request, ways, nodes, policy, line, rtt_ms, site_points, best)
    if best is _NOTHING:
        raise _explained(request, edges, nodes)
    return Placement(edge=best[1], node=best[2], cost=best[0])


def _usable_edges(request: PlacementRequest, edges: EdgePools, probes: dict[str, Probe]) -> Iterator[EdgeWays]:
    """Those that were measured first: the better the best is known, the earlier the rest is left out."""
    measured = [known for name in probes if (known := edges.get(name)) is not None]
    for ways in measured:
        if _takes(request, ways):
            yield ways
    for ways in edges:
        if ways.offer.edge not in probes and _takes(request, ways):
            yield ways


def _takes(request: PlacementRequest, ways: EdgeWays) -> bool:
    return ways.viewers < ways.offer.max_viewers and _may_serve(request, ways)


def _may_serve(request: PlacementRequest, ways: EdgeWays) -> bool:
    name = ways.offer.edge
    return (
        name not in request.excluded_edges
        and (request.among_edges is None or name in request.among_edges)
        and (ways.offer.takes_publishers or not request.publishes)
    )


def _at_home(
    request: PlacementRequest,
    ways: EdgeWays,
    nodes: NodePools,
    policy: PlacementPolicy,
    line: LineCost,
    rtt_ms: float,
    site_points: SitePoints,
) -> _Best:
    """The room's own node behind this edge."""
    node = nodes.offer(str(request.room_node))
    if node is None or not _is_able(request, node) or node.free < request.milliunits:
        return _NOTHING
    trunk_rtt_ms = ways.trunk_rtt_ms(node)
    if rtt_ms + trunk_rtt_ms > request.latency_cap_ms:
        return _NOTHING
    cost = policy.cost(line, trunk_rtt_ms, node.load_ratio, site_points(node.region))
    return cost, ways.offer.edge, node.node


def _over_regions(
    request: PlacementRequest,
    ways: EdgeWays,
    nodes: NodePools,
    policy: PlacementPolicy,
    line: LineCost,
    rtt_ms: float,
    site_points: SitePoints,
    best: _Best,
) -> _Best:
    """The best pair of this edge and any node, if it is better than `best`; regions from near to far."""
    edge, cost_of, regions = ways.offer.edge, policy.cost, nodes.regions
    fullest_load = 1.0 if policy.packs else 0.0
    for trunk_rtt_ms, region, cheapest in ways.ways(nodes, site_points):
        if cost_of(line, trunk_rtt_ms, fullest_load, cheapest) > best[0]:
            break
        if rtt_ms + trunk_rtt_ms > request.latency_cap_ms:
            break
        points = site_points(region)
        for pool in regions[region]:
            found = _first_fitting(request, pool, packs=policy.packs)
            if found is not None:
                capacity = pool.kind.capacity
                cost = cost_of(line, trunk_rtt_ms, found[0] / capacity if capacity else 1.0, points)
                if cost < best[0] or (cost == best[0] and (edge, found[1]) < best[1:]):
                    best = cost, edge, found[1]
    return best


def _first_fitting(request: PlacementRequest, pool: Pool, *, packs: bool) -> tuple[int, str] | None:
    """The node of a pool that the policy likes best among those with room."""
    kind = pool.kind
    if request.codec not in kind.codecs or request.scene.lower() not in kind.scenes:
        return None
    most = kind.capacity - request.milliunits
    if not packs and not request.excluded_nodes:
        top = pool.least()
        return top if top is not None and top[0] <= most else None
    ranked = pool.ranked(request.excluded_nodes, fullest_first=packs)
    return next((entry for entry in ranked if entry[0] <= most), None)


def _explained(request: PlacementRequest, edges: EdgePools, nodes: NodePools) -> Refusal:
    """Why nothing was found."""
    whom = "publishers" if request.publishes else "viewers"
    if not any(_may_serve(request, ways) for ways in edges):
        return Refusal(RefusalKind.NO_EDGE, f"no edge is ready to take {whom}", RETRY_WHEN_ABSENT_S)
    if not any(_takes(request, ways) for ways in edges):
        return Refusal(RefusalKind.FARM_FULL, "every edge has as many viewers as it can take", RETRY_WHEN_FULL_S)
    try:
        usable_nodes_for(request, nodes.offers())
    except Refusal as refusal:
        return refusal
    return Refusal(
        RefusalKind.TOO_FAR,
        f"every free render node is farther than the {request.latency_cap_ms:g} ms that the room allows",
        RETRY_WHEN_FULL_S,
    )


def usable_nodes_for(request: PlacementRequest, nodes: Iterable[NodeOffer]) -> list[NodeOffer]:
    """The nodes that can draw the request; raises `Refusal` when there is none."""
    able = [node for node in nodes if _is_able(request, node)]
    if not able:
        raise Refusal(
            RefusalKind.NO_NODE,
            f"no render node that is ready draws scene {request.scene!r} in {request.codec.value}",
            RETRY_WHEN_ABSENT_S,
        )
    free = [node for node in able if node.free >= request.milliunits]
    if not free:
        raise Refusal(
            RefusalKind.FARM_FULL,
            f"every suitable render node is full: {request.milliunits / 1000:.2f} units are needed",
            RETRY_WHEN_FULL_S,
        )
    return free


def largest_free(request: PlacementRequest, nodes: NodePools) -> int:
    """The milliunits free on the roomiest node that can draw the request; 0 when there is none."""
    if request.room_node is not None:
        node = nodes.offer(request.room_node)
        return node.free if node is not None and _is_able(request, node) else 0
    free_of_charge = structs.replace(request, milliunits=0)
    found = ((pool, _first_fitting(free_of_charge, pool, packs=False)) for pool in nodes)
    return max((pool.kind.capacity - entry[0] for pool, entry in found if entry is not None), default=0)


def _is_able(request: PlacementRequest, node: NodeOffer) -> bool:
    return (
        node.node not in request.excluded_nodes
        and request.codec in node.codecs
        and request.scene.lower() in node.scenes
        and request.room_node in (None, node.node)
    )
