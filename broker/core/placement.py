"""Placement: which edge serves a viewer and which node draws for them. A pure function.

First a filter (alive, not draining, room left, codec, scene, the room's node), then the lowest cost by a
`PlacementPolicy`. Edge and node are chosen jointly: the nearest edge may be far from every node that is free.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from broker.core.refusals import Refusal, RefusalKind
from broker.protocol import Codec, Probe

RETRY_WHEN_FULL_S = 10.0
RETRY_WHEN_ABSENT_S = 5.0


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


class PlacementRequest(Struct, frozen=True, kw_only=True):
    """What is to be placed. `milliunits` is 0 when the view is drawn already; `room_node` is where the world lives."""

    scene: str
    codec: Codec
    milliunits: int
    probes: Sequence[Probe] = ()
    room_node: str | None = None
    excluded_nodes: frozenset[str] = frozenset()
    excluded_edges: frozenset[str] = frozenset()
    publishes: bool = False


class Candidate(Struct, frozen=True, kw_only=True):
    """A pair that could serve the request. `probe` is what the client measured to this edge, if it did."""

    edge: EdgeOffer
    node: NodeOffer
    probe: Probe | None


class Placement(Struct, frozen=True, kw_only=True):
    """The pair chosen and its cost."""

    edge: str
    node: str
    cost: float


class PlacementPolicy(Protocol):
    """Tells what a candidate costs; the lowest wins, ties by name so that the choice is repeatable."""

    name: str

    def cost(self, candidate: Candidate) -> float:
        """The cost in milliseconds or their equivalent; finite."""


def place(
    request: PlacementRequest,
    edges: Iterable[EdgeOffer],
    nodes: Iterable[NodeOffer],
    policy: PlacementPolicy,
) -> Placement:
    """The cheapest pair that can serve the request; raises `Refusal` saying what is missing."""
    usable_edges = _usable_edges(request, edges)
    usable_nodes = usable_nodes_for(request, nodes)
    probes = {probe.edge: probe for probe in request.probes}
    ranked = (
        (policy.cost(Candidate(edge=edge, node=node, probe=probes.get(edge.edge))), edge.edge, node.node)
        for edge in usable_edges
        for node in usable_nodes
    )
    cost, edge_name, node_name = min(ranked)
    return Placement(edge=edge_name, node=node_name, cost=cost)


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


def largest_free(request: PlacementRequest, nodes: Iterable[NodeOffer]) -> int:
    """The milliunits free on the roomiest node that can draw the request; 0 when there is none."""
    return max((node.free for node in nodes if _is_able(request, node)), default=0)


def _is_able(request: PlacementRequest, node: NodeOffer) -> bool:
    return (
        node.node not in request.excluded_nodes
        and request.codec in node.codecs
        and request.scene.lower() in node.scenes
        and request.room_node in (None, node.node)
    )


def _usable_edges(request: PlacementRequest, edges: Iterable[EdgeOffer]) -> list[EdgeOffer]:
    ready = [edge for edge in edges if edge.edge not in request.excluded_edges]
    if request.publishes:
        ready = [edge for edge in ready if edge.takes_publishers]
    if not ready:
        whom = "publishers" if request.publishes else "viewers"
        raise Refusal(RefusalKind.NO_EDGE, f"no edge is ready to take {whom}", RETRY_WHEN_ABSENT_S)
    free = [edge for edge in ready if edge.viewers < edge.max_viewers]
    if not free:
        raise Refusal(RefusalKind.FARM_FULL, "every edge has as many viewers as it can take", RETRY_WHEN_FULL_S)
    return free
