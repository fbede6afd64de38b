"""The scenario all rules are judged by: sites on a map, nodes and edges in them, people around them.

Everything comes from one seed. People live where the cities are; half of the hardware stands where they live and half
is spread evenly, so that popular sites are short of it. Lines differ (fibre to congested mobile), and the way from a
provider to a site is longer than the map says, by a factor that no map shows: that is why clients measure.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.core.pools import NodeOffer
from broker.core.prices import SitePrices, Values
from broker.core.quality import QualityModel
from broker.core.ways import EdgeOffer
from broker.protocol import Codec, Probe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MAP_KM = 8_000.0
RTT_MS_PER_KM = 0.015
"""Light in fibre, there and back, with the usual detours of cables."""
PROVIDERS = 12
EDGES_A_SITE = 2
PROBED = 6
"""Edges that a client measures: the nearest on the map, as the broker tells it."""
UNIT = 1_000
LOAD = 0.75
"""Share of all capacity that is in use once everybody is placed."""
NODE_UNITS = (2, 2, 3, 4)
"""Capacities of nodes in units: mostly small ones."""
LINES = (
    # share, access round trip ms, jitter ms, loss
    (0.45, 4.0, 0.5, 0.0),
    (0.30, 12.0, 2.0, 0.001),
    (0.20, 28.0, 6.0, 0.005),
    (0.05, 55.0, 15.0, 0.03),
)


@dataclass(frozen=True)
class World:
    """Positions and distances; arrays are indexed by client, site, edge or node.

    `rtt_ms`: (clients, edges); `map_km`: (clients, sites); `trunk_ms`: (sites, sites); `probed`: (clients, PROBED)
    edges, the nearest on the map first.
    """

    clients: int
    site_of_edge: Ints
    edge_capacity: int
    site_of_node: Ints
    node_units: Ints
    rtt_ms: Floats
    jitter_ms: Floats
    loss: Floats
    map_km: Floats
    trunk_ms: Floats
    probed: Ints
    values: Values

    @property
    def sites(self) -> int:
        """How many."""
        return len(self.trunk_ms)

    def site_units(self) -> Ints:
        """Capacity of each site in units."""
        return np.bincount(self.site_of_node, weights=self.node_units, minlength=self.sites).astype(np.int64)

    def site_points(self) -> Floats:
        """What drawing a unit at each site costs, in points."""
        return np.array([self.values.site_points(site_name(site)) for site in range(self.sites)])

    def lost_points(self, client: Ints, edge: Ints, site: Ints) -> Floats:
        """Points of quality that these clients lose by these edges and sites, on idle nodes; elementwise."""
        model = self.values.model
        jitter, loss = self.jitter_ms[client], self.loss[client]
        delay = self.rtt_ms[client, edge] + model.jitter_weight * jitter + self.trunk_ms[self.site_of_edge[edge], site]
        felt = (delay / model.unbearable_ms) ** model.delay_power
        return 100.0 * felt / (1.0 + felt) - 100.0 * np.expm1(-model.loss_rate * loss)

    def probes(self, client: int) -> list[Probe]:
        """What a client measured before joining."""
        jitter, loss = float(self.jitter_ms[client]), float(self.loss[client])
        return [
            Probe(edge=edge_name(edge), rtt_ms=float(self.rtt_ms[client, edge]), jitter_ms=jitter, loss=loss)
            for edge in self.probed[client]
        ]

    def node_offers(self) -> list[NodeOffer]:
        """All nodes, idle."""
        codecs, scenes = frozenset({Codec.H264}), frozenset({"campus"})
        return [
            NodeOffer(
                node=node_name(node),
                region=site_name(int(site)),
                claimed=0,
                capacity=int(units) * UNIT,
                codecs=codecs,
                scenes=scenes,
            )
            for node, (site, units) in enumerate(zip(self.site_of_node, self.node_units, strict=True))
        ]

    def edge_offers(self) -> list[EdgeOffer]:
        """All edges, idle; each has measured the way to one node of every site."""
        first = [node_name(int(np.argmax(self.site_of_node == site))) for site in range(self.sites)]
        return [
            EdgeOffer(
                edge=edge_name(edge),
                region=site_name(int(site)),
                viewers=0,
                max_viewers=self.edge_capacity,
                node_rtt_ms={name: float(self.trunk_ms[site, at]) for at, name in enumerate(first)},
            )
            for edge, site in enumerate(self.site_of_edge)
        ]


def site_name(site: int) -> str:
    """Of its region."""
    return f"site-{site:02}"


def edge_name(edge: int) -> str:
    """Sorts as its number."""
    return f"edge-{edge:03}"


def node_name(node: int) -> str:
    """Sorts as its number."""
    return f"node-{node:05}"


def build(nodes: int, clients: int, seed: int) -> World:
    """A world of this size; sites follow from the number of nodes."""
    random = np.random.default_rng(seed)
    sites = max(2, min(50, nodes // 8))
    site_km = random.uniform(0, MAP_KM, (sites, 2))
    people = random.pareto(1.3, sites) + 0.2
    people /= people.sum()
    home = random.choice(sites, clients, p=people)
    client_km = site_km[home] + random.normal(0, 60.0, (clients, 2))
    map_km = np.linalg.norm(client_km[:, None] - site_km[None], axis=2)
    line = random.choice(len(LINES), clients, p=[share for share, *_ in LINES])
    access, jitter, loss = (np.array([row[at] for row in LINES])[line] for at in (1, 2, 3))
    detour = 1.0 + random.lognormal(-1.2, 0.8, (PROVIDERS, sites))
    peering_ms = random.exponential(3.0, (PROVIDERS, sites))
    provider = random.integers(0, PROVIDERS, clients)
    site_rtt = access[:, None] + map_km * RTT_MS_PER_KM * detour[provider] + peering_ms[provider]
    site_of_edge = np.repeat(np.arange(sites), EDGES_A_SITE)
    site_of_node, node_units = _hardware(nodes, clients, people, random)
    return World(
        clients=clients,
        site_of_edge=site_of_edge,
        edge_capacity=max(4, int(3.0 * clients * people.max() / EDGES_A_SITE)),
        site_of_node=site_of_node,
        node_units=node_units,
        rtt_ms=site_rtt[:, site_of_edge] + random.uniform(0, 0.5, (clients, len(site_of_edge))),
        jitter_ms=jitter * random.uniform(0.5, 1.5, clients),
        loss=loss * random.uniform(0.5, 1.5, clients),
        map_km=map_km,
        trunk_ms=0.5 + np.linalg.norm(site_km[:, None] - site_km[None], axis=2) * RTT_MS_PER_KM,
        probed=np.argsort(map_km[:, site_of_edge], axis=1, kind="stable")[:, :PROBED],
        values=_values(sites, random),
    )


def _hardware(nodes: int, clients: int, people: Floats, random: np.random.Generator) -> tuple[Ints, Ints]:
    """Which site each node stands in, and its units: as many in all as makes `LOAD` of them used."""
    share = 0.5 * people + 0.5 / len(people)
    site = np.sort(random.choice(len(people), nodes, p=share))
    site[: len(people)] = np.arange(len(people))
    units = random.choice(NODE_UNITS, nodes).astype(np.float64)
    scaled = np.maximum(1, np.round(units * clients / LOAD / units.sum()))
    return np.sort(site).astype(np.int64), scaled.astype(np.int64)


def _values(sites: int, random: np.random.Generator) -> Values:
    """Prices from 0.03 to 0.12 an hour, grids from hydropower to coal."""
    prices = {
        site_name(site): SitePrices(
            price_per_unit_hour=float(random.uniform(0.03, 0.12)),
            grams_co2_per_kwh=float(random.uniform(20.0, 700.0)),
            pue=float(random.uniform(1.1, 1.6)),
        )
        for site in range(sites)
    }
    return Values(model=QualityModel(), sites=prices)
