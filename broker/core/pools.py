"""The fleet as placement sees it: ready nodes in heaps by region, ready edges with their way to each region.

Nodes of one region that have the same capacity, codecs and scenes are equals: they form a pool, of which only the
least loaded matters. So a decision looks at a few pools, not at ten thousand nodes. What is claimed counts at once,
also while the store has not answered yet (in-flight correction): the ledger tells each change.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec import Struct, structs

from broker.core.policies import guessed_trunk_rtt_ms
from broker.protocol import Codec

_STALE_FACTOR = 4
"""A heap with this many times more entries than its pool has nodes is built anew."""


class EdgeOffer(Struct, frozen=True, kw_only=True):
    """An edge that is alive and not draining. `node_rtt_ms` by node; nodes it has no trunk to are absent."""

    edge: str
    region: str
    viewers: int
    max_viewers: int
    node_rtt_ms: dict[str, float]
    takes_publishers: bool = False

    @property
    def load_ratio(self) -> float:
        """Share of its places taken."""
        return self.viewers / self.max_viewers


class NodeOffer(Struct, frozen=True, kw_only=True):
    """A node that is alive and not draining; capacities in milliunits, scenes in lower case, as their case is free."""

    node: str
    region: str
    claimed: int
    capacity: int
    codecs: frozenset[Codec]
    scenes: frozenset[str]

    @property
    def load_ratio(self) -> float:
        """Share of its capacity claimed; a node without capacity is full."""
        return self.claimed / self.capacity if self.capacity else 1.0

    @property
    def free(self) -> int:
        """Milliunits that can still be claimed."""
        return self.capacity - self.claimed


class PoolKind(NamedTuple):
    """What makes nodes equals."""

    region: str
    capacity: int
    codecs: frozenset[Codec]
    scenes: frozenset[str]


class Pool:
    """Nodes that are equals, the least loaded first. `members`: claimed milliunits by node."""

    def __init__(self, kind: PoolKind) -> None:
        self.kind = kind
        self.members: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def put(self, node: str, claimed: int) -> None:
        """A node is here, with so much claimed."""
        self.members[node] = claimed
        heapq.heappush(self._heap, (claimed, node))
        if len(self._heap) > _STALE_FACTOR * len(self.members) + 16:
            self._heap = [(amount, name) for name, amount in self.members.items()]
            heapq.heapify(self._heap)

    def least(self) -> tuple[int, str] | None:
        """The least claimed milliunits and the node that has them; `None` if there is no node."""
        heap, members = self._heap, self.members
        while heap:
            top = heap[0]
            if members.get(top[1]) == top[0]:
                return top
            heapq.heappop(heap)
        return None

    def ranked(self, excluded: frozenset[str], *, fullest_first: bool) -> list[tuple[int, str]]:
        """All nodes but these, by load; a scan."""
        nodes = [(amount, name) for name, amount in self.members.items() if name not in excluded]
        return sorted(nodes, key=lambda entry: (-entry[0], entry[1])) if fullest_first else sorted(nodes)


class NodePools:
    """All ready nodes."""

    def __init__(self, offers: Iterable[NodeOffer] = ()) -> None:
        self._pools: dict[PoolKind, Pool] = {}
        self._pool_of: dict[str, Pool] = {}
        self._by_region: dict[str, list[Pool]] = {}
        for offer in offers:
            self.put(offer)

    def put(self, offer: NodeOffer) -> None:
        """A node takes views, as told here."""
        kind = PoolKind(offer.region, offer.capacity, offer.codecs, offer.scenes)
        former = self._pool_of.get(offer.node)
        if former is not None and former.kind != kind:
            self.drop(offer.node)
        elif former is not None and former.members[offer.node] == offer.claimed:
            return
        pool = self._pools.get(kind)
        if pool is None:
            pool = self._pools[kind] = Pool(kind)
            self._by_region.setdefault(offer.region, []).append(pool)
        self._pool_of[offer.node] = pool
        pool.put(offer.node, offer.claimed)

    def drop(self, node: str) -> None:
        """A node takes no views any more."""
        pool = self._pool_of.pop(node, None)
        if pool is None:
            return
        del pool.members[node]
        if not pool.members:
            kind = pool.kind
            del self._pools[kind]
            self._by_region[kind.region].remove(pool)
            if not self._by_region[kind.region]:
                del self._by_region[kind.region]

    def claimed(self, node: str, amount: int) -> None:
        """So much of a node is claimed now; one that is not here stays away."""
        pool = self._pool_of.get(node)
        if pool is not None and pool.members[node] != amount:
            pool.put(node, amount)

    def __contains__(self, node: str) -> bool:
        return node in self._pool_of

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def regions(self) -> Mapping[str, list[Pool]]:
        """Pools by region; regions without a ready node are absent."""
        return self._by_region

    def offer(self, node: str) -> NodeOffer | None:
        """A node as it stands, if it is ready."""
        pool = self._pool_of.get(node)
        return None if pool is None else _offer(pool, node)

    def offers(self) -> list[NodeOffer]:
        """All of them."""
        return [_offer(pool, node) for pool in self for node in pool.members]


def _offer(pool: Pool, node: str) -> NodeOffer:
    kind = pool.kind
    return NodeOffer(
        node=node,
        region=kind.region,
        claimed=pool.members[node],
        capacity=kind.capacity,
        codecs=kind.codecs,
        scenes=kind.scenes,
    )


class Way(NamedTuple):
    """From an edge to a region. `cheapest` are the least site points of this region and all that are farther."""

    trunk_rtt_ms: float
    region: str
    cheapest: float


class EdgeWays:
    """One ready edge: its load, and its ways to the regions of nodes, the nearest first."""

    def __init__(self, offer: EdgeOffer) -> None:
        self.offer = offer
        self.viewers = offer.viewers
        self._ways: list[Way] = []
        self._known: tuple[str, ...] = ()

    @property
    def load_ratio(self) -> float:
        """Share of its places taken."""
        return self.viewers / self.offer.max_viewers

    def ways(self, pools: NodePools, site_points: Callable[[str], float]) -> list[Way]:
        """The regions that have ready nodes."""
        regions = pools.regions
        if len(self._known) != len(regions) or any(region not in regions for region in self._known):
            self._known = tuple(sorted(regions))
            self._ways = self._ranked(pools, site_points)
        return self._ways

    def _ranked(self, pools: NodePools, site_points: Callable[[str], float]) -> list[Way]:
        measured: dict[str, float] = {}
        for node, rtt_ms in self.offer.node_rtt_ms.items():
            known = pools.offer(node)
            if known is not None:
                measured[known.region] = min(rtt_ms, measured.get(known.region, rtt_ms))
        own = self.offer.region
        reach = [(measured.get(region, guessed_trunk_rtt_ms(own, region)), region) for region in self._known]
        ways, cheapest = [], float("inf")
        for rtt_ms, region in sorted(reach, reverse=True):
            cheapest = min(cheapest, site_points(region))
            ways.append(Way(rtt_ms, region, cheapest))
        return ways[::-1]

    def trunk_rtt_ms(self, node: NodeOffer) -> float:
        """Round trip to this very node: as measured on the trunk, else guessed from the regions."""
        measured = self.offer.node_rtt_ms.get(node.node)
        return guessed_trunk_rtt_ms(self.offer.region, node.region) if measured is None else measured


class EdgePools:
    """All ready edges."""

    def __init__(self, offers: Iterable[EdgeOffer] = ()) -> None:
        self._edges: dict[str, EdgeWays] = {}
        for offer in offers:
            self.put(offer)

    def put(self, offer: EdgeOffer) -> None:
        """An edge takes viewers, as told here."""
        known = self._edges.get(offer.edge)
        if known is not None and known.offer == structs.replace(offer, viewers=known.offer.viewers):
            known.viewers = offer.viewers
        else:
            self._edges[offer.edge] = EdgeWays(offer)

    def drop(self, edge: str) -> None:
        """An edge takes no viewers any more."""
        self._edges.pop(edge, None)

    def claimed(self, edge: str, viewers: int) -> None:
        """So many places of an edge are taken now."""
        if (known := self._edges.get(edge)) is not None:
            known.viewers = viewers

    def get(self, edge: str) -> EdgeWays | None:
        """An edge, if it is ready."""
        return self._edges.get(edge)

    def __iter__(self) -> Iterator[EdgeWays]:
        return iter(self._edges.values())

    def __len__(self) -> int:
        return len(self._edges)
