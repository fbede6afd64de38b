"""How others place, in the same world: each takes one client after the other and knows what is free.

All serve a client by the edge it measured as nearest, unless the rule binds the edge to the node's site.
"""

from collections.abc import Callable

import numpy as np

from farstage.bench.placement.world import Ints, World

Choice = tuple[int, int]
"""Edge and node."""
FULL = 0.9
"""LiveKit's default limit of load, beyond which a node is only taken if all are."""
CAPS_MS = (50.0, 100.0, 200.0, np.inf)
"""GameLift's caps of latency, relaxed one after the other."""


class Free:
    """What is free, in units and places."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = np.random.default_rng(seed)
        self.units = world.node_units.copy()
        self.places = np.full(len(world.site_of_edge), world.edge_capacity)
        self.nodes_at = [np.flatnonzero(world.site_of_node == site) for site in range(world.sites)]

    def take(self, edge: int, node: int) -> None:
        """One client is placed."""
        self.units[node] -= 1
        self.places[edge] -= 1

    def load(self, nodes: Ints) -> np.ndarray:
        """Share in use of each of these nodes."""
        return 1.0 - self.units[nodes] / self.world.node_units[nodes]

    def nearest_edge(self, client: int) -> int | None:
        """The measured edge with the shortest round trip that has a place."""
        edges = self.world.probed[client]
        edges = edges[self.places[edges] > 0]
        return int(edges[np.argmin(self.world.rtt_ms[client, edges])]) if len(edges) else None

    def edge_at(self, site: int) -> int | None:
        """The edge of a site with most places."""
        edges = np.flatnonzero(self.world.site_of_edge == site)
        best = int(edges[np.argmax(self.places[edges])])
        return best if self.places[best] > 0 else None

    def least_loaded(self, nodes: Ints) -> int | None:
        """The least loaded of these nodes that has a unit."""
        free = nodes[self.units[nodes] > 0]
        return int(free[np.argmin(self.load(free))]) if len(free) else None

    def better_of_two(self, nodes: Ints) -> int | None:
        """Two of these nodes by chance, and the less loaded of them."""
        free = nodes[self.units[nodes] > 0]
        return self.least_loaded(self.random.choice(free, 2)) if len(free) else None


Rule = Callable[[Free, int], Choice | None]
"""Edge and node for a client, or none."""


def nearest_region(free: Free, client: int) -> Choice | None:
    """The nearest site on the map that has room; its edge and its least loaded node."""
    for site in np.argsort(free.world.map_km[client]):
        edge, node = free.edge_at(int(site)), free.least_loaded(free.nodes_at[site])
        if edge is not None and node is not None:
            return edge, node
    return None


def least_loaded(free: Free, client: int) -> Choice | None:
    """The least loaded node of all."""
    edge, node = free.nearest_edge(client), free.least_loaded(np.arange(len(free.units)))
    return None if edge is None or node is None else (edge, node)


def two_random_choices(free: Free, client: int) -> Choice | None:
    """The less loaded of two nodes by chance."""
    edge, node = free.nearest_edge(client), free.better_of_two(np.arange(len(free.units)))
    return None if edge is None or node is None else (edge, node)


def livekit(free: Free, client: int) -> Choice | None:
    """The nearest site on the map with a node below the limit of load, and there the less loaded of two by chance."""
    sites = np.argsort(free.world.map_km[client])
    for limit in (FULL, np.inf):
        for site in sites:
            nodes = free.nodes_at[site]
            nodes = nodes[free.load(nodes) < limit]
            edge, node = free.edge_at(int(site)), free.better_of_two(nodes)
            if edge is not None and node is not None:
                return edge, node
    return None


def gamelift(free: Free, client: int) -> Choice | None:
    """The site with the lowest measured latency that has room, under caps that relax; its edge and any node there."""
    world = free.world
    edges = world.probed[client]
    order = edges[np.argsort(world.rtt_ms[client, edges])]
    for cap_ms in CAPS_MS:
        for edge in order:
            nodes = free.nodes_at[world.site_of_edge[edge]]
            nodes = nodes[free.units[nodes] > 0]
            if world.rtt_ms[client, edge] <= cap_ms and free.places[edge] > 0 and len(nodes):
                return int(edge), int(nodes[0])
    return nearest_region(free, client)


RULES: dict[str, Rule] = {
    "nearest_region": nearest_region,
    "least_loaded": least_loaded,
    "two_random_choices": two_random_choices,
    "livekit": livekit,
    "gamelift": gamelift,
}
