"""The nodes as placement sees them: those that take new views, in heaps by region.

Nodes of one region that have the same capacity, codecs and scenes are equals: they form a pool, of which only the
least loaded matters. So a decision looks at a few pools, not at ten thousand nodes. What is claimed counts at once,
also while the store has not answered yet (in-flight correction): the ledger tells each change.
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from msgspec import Struct

from broker.protocol import Codec

SCARCITY_POINTS = 5.0
"""Points for a place in a region that is full; they rise with the square of its load. Who comes early leaves room in a
region that others will need more: the price that the best assignment in hindsight would put on it, guessed."""
_STALE_FACTOR = 4
"""A heap with this many times more entries than its pool has nodes is built anew."""


def load_ratio(claimed: int, capacity: int) -> float:
    """Share claimed; a node without capacity is full."""
    return claimed / capacity if capacity else 1.0


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
        """Share of its capacity claimed."""
        return load_ratio(self.claimed, self.capacity)

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
        self.region = kind.region
        self.members: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def put(self, node: str, claimed: int) -> None:
        """A node is here, with so much claimed."""
        self.members[node] = claimed
        if self._heap and self._heap[0][1] == node:
            heapq.heapreplace(self._heap, (claimed, node))
            return
        heapq.heappush(self._heap, (claimed, node))
        if len(self._heap) > _STALE_FACTOR * len(self.members) + 16:
            self._heap = [(amount, name) for name, amount in self.members.items()]
            heapq.heapify(self._heap)

    def least(self, excluded: frozenset[str] = frozenset()) -> tuple[int, str] | None:
        """The least claimed milliunits and the node that has them, but these; `None` if there is no node."""
        heap, members = self._heap, self.members
        if excluded:
            return min(((amount, node) for node, amount in members.items() if node not in excluded), default=None)
        while heap:
            top = heap[0]
            if members.get(top[1]) == top[0]:
                return top
            heapq.heappop(heap)
        return None

    def can(self, wanted: "Wanted") -> bool:
        """Whether its nodes encode and show what is wanted."""
        return wanted.codec in self.kind.codecs and wanted.scene in self.kind.scenes


@lru_cache(maxsize=4096)
def want(codec: Codec, scene: str, milliunits: int) -> "Wanted":
    """What a node must have; the same again where it was asked for lately."""
    return Wanted(codec, scene, milliunits)


class Wanted:
    """What a node must have: a codec, a scene in lower case, so many free milliunits.

    `ability` stands for the first two, `key` for all three.
    """

    __slots__ = ("ability", "codec", "key", "milliunits", "scene")

    def __init__(self, codec: Codec, scene: str, milliunits: int) -> None:
        self.codec, self.scene, self.milliunits = codec, scene.lower(), milliunits
        self.ability = f"{codec.value} {self.scene}"
        self.key = f"{milliunits} {self.ability}"


Fit = tuple[float, str]
"""What share of a node is claimed, and the node."""


class Region:
    """The ready nodes of one region. `scarcity`: points for taking a place here, by how full it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pools: list[Pool] = []
        self.scarcity = 0.0
        self._claimed = self._capacity = 0
        self._fits: dict[str, Fit | None] = {}
        self._able: dict[str, list[tuple[Pool, int]]] = {}

    def add(self, pool: Pool) -> None:
        """A kind of nodes appears."""
        self.pools.append(pool)
        self._able.clear()

    def remove(self, pool: Pool) -> None:
        """The last node of its kind has gone."""
        self.pools.remove(pool)
        self._able.clear()

    def count(self, claimed: int, capacity: int = 0) -> None:
        """So much more is claimed, and so much more there is."""
        self._claimed += claimed
        self._capacity += capacity
        load = self._claimed / self._capacity if self._capacity else 1.0
        self.scarcity = SCARCITY_POINTS * load * load
        self._fits.clear()

    @property
    def free(self) -> int:
        """Milliunits that can still be claimed, on all nodes together."""
        return self._capacity - self._claimed

    def fit(self, wanted: Wanted) -> Fit | None:
        """The least loaded node that has what is wanted."""
        try:
            return self._fits[wanted.key]
        except KeyError:
            found = self._fits[wanted.key] = self._least_loaded(wanted)
            return found

    def _least_loaded(self, wanted: Wanted) -> Fit | None:
        least = None
        able = self._able.get(wanted.ability) or self._find_able(wanted)
        for pool, capacity in able:
            top = pool.least()
            if top is not None and top[0] <= capacity - wanted.milliunits:
                fit = (top[0] / capacity if capacity else 1.0, top[1])
                if least is None or fit < least:
                    least = fit
        return least

    def _find_able(self, wanted: Wanted) -> list[tuple[Pool, int]]:
        """Pools that can draw it, and their nodes' capacity."""
        found = self._able[wanted.ability] = [(pool, pool.kind.capacity) for pool in self.pools if pool.can(wanted)]
        return found

    def scan(self, wanted: Wanted, excluded: frozenset[str], *, fullest: bool) -> Fit | None:
        """The least loaded node but these that has what is wanted, or the fullest one: a scan of all."""
        fits = [
            (load_ratio(amount, pool.kind.capacity), node)
            for pool in self.pools
            if pool.can(wanted)
            for node, amount in pool.members.items()
            if node not in excluded and amount <= pool.kind.capacity - wanted.milliunits
        ]
        return min(fits, key=lambda fit: (-fit[0] if fullest else fit[0], fit[1]), default=None)


class NodePools:
    """All ready nodes."""

    def __init__(self, offers: Iterable[NodeOffer] = ()) -> None:
        self._pools: dict[PoolKind, Pool] = {}
        self._pool_of: dict[str, Pool] = {}
        self._regions: dict[str, Region] = {}
        self.version = 0
        """Rises when a region appears or disappears."""
        for offer in offers:
            self.put(offer)

    def put(self, offer: NodeOffer) -> None:
        """A node takes views, as told here."""
        kind = PoolKind(offer.region, offer.capacity, offer.codecs, offer.scenes)
        former = self._pool_of.get(offer.node)
        if former is not None and former.kind == kind:
            self.claimed(offer.node, offer.claimed)
            return
        if former is not None:
            self.drop(offer.node)
        pool = self._pools.get(kind) or self._new_pool(kind)
        self._pool_of[offer.node] = pool
        pool.put(offer.node, offer.claimed)
        self._regions[kind.region].count(offer.claimed, kind.capacity)

    def _new_pool(self, kind: PoolKind) -> Pool:
        pool = self._pools[kind] = Pool(kind)
        if kind.region not in self._regions:
            self._regions[kind.region] = Region(kind.region)
            self.version += 1
        self._regions[kind.region].add(pool)
        return pool

    def drop(self, node: str) -> None:
        """A node takes no views any more."""
        pool = self._pool_of.pop(node, None)
        if pool is None:
            return
        kind, region = pool.kind, self._regions[pool.kind.region]
        region.count(-pool.members.pop(node), -kind.capacity)
        if not pool.members:
            del self._pools[kind]
            region.remove(pool)
        if not region.pools:
            del self._regions[kind.region]
            self.version += 1

    def claimed(self, node: str, amount: int) -> None:
        """So much of a node is claimed now; one that is not here stays away."""
        pool = self._pool_of.get(node)
        if pool is not None and (was := pool.members[node]) != amount:
            self._regions[pool.region].count(amount - was)
            pool.put(node, amount)

    def __contains__(self, node: str) -> bool:
        return node in self._pool_of

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def regions(self) -> Mapping[str, Region]:
        """By name; regions without a ready node are absent."""
        return self._regions

    def has_room_for(self, wanted: Wanted, count: int) -> bool:
        """Whether so many of these fit, one beside the other."""
        for pool in self:
            if pool.can(wanted):
                for claimed in pool.members.values():
                    count -= (pool.kind.capacity - claimed) // max(wanted.milliunits, 1)
                    if count <= 0:
                        return True
        return False

    def region_of(self, node: str) -> str | None:
        """Where a node is, if it is ready."""
        pool = self._pool_of.get(node)
        return None if pool is None else pool.kind.region

    def offer(self, node: str) -> NodeOffer | None:
        """A node as it stands, if it is ready."""
        pool = self._pool_of.get(node)
        return None if pool is None else _offer(pool, node)

    def least_loaded(self, excluded: frozenset[str]) -> list[NodeOffer]:
        """Of each pool the least loaded node, which has the most room, but for these."""
        tops = ((pool, pool.least(excluded)) for pool in self)
        return [_offer(pool, top[1]) for pool, top in tops if top is not None]

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
