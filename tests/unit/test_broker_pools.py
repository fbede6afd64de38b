"""The search over pools finds what a scan of all pairs would find, whatever the fleet went through."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from broker.core.placement import PlacementRequest, search
from broker.core.policies import POLICIES, guessed_trunk_rtt_ms, policy_named
from broker.core.pools import SCARCITY_POINTS, NodeOffer, NodePools
from broker.core.prices import SitePrices, Values
from broker.core.quality import UNKNOWN_RTT_MS
from broker.core.refusals import Refusal, RefusalKind
from broker.core.ways import RTT_STEP_MS, EdgeOffer, EdgePools
from broker.protocol import Codec, Probe

REGIONS = ("north", "south", "west")
VALUES = Values(
    sites={
        "north": SitePrices(price_per_unit_hour=0.02),
        "south": SitePrices(price_per_unit_hour=0.2, grams_co2_per_kwh=600.0),
    }
)

nodes_strategy = st.lists(
    st.builds(
        lambda region, capacity, claimed, scenes, codecs: (region, capacity, min(claimed, capacity), scenes, codecs),
        st.sampled_from(REGIONS),
        st.sampled_from([0, 1000, 4000]),
        st.integers(0, 4).map(lambda units: units * 500),
        st.sampled_from([frozenset({"campus"}), frozenset({"campus", "hall"})]),
        st.sampled_from([frozenset({Codec.H264}), frozenset(Codec)]),
    ),
    max_size=8,
)
edges_strategy = st.lists(
    st.tuples(
        st.sampled_from(REGIONS),
        st.integers(0, 3),
        st.dictionaries(st.sampled_from(REGIONS), st.integers(0, 90).map(float)),
    ),
    max_size=5,
)
probes_strategy = st.dictionaries(
    st.integers(0, 4),
    st.builds(
        lambda rtt, jitter, loss: (rtt, jitter, loss),
        st.integers(0, 300).map(float),
        st.floats(0, 20),
        st.floats(0, 0.2),
    ),
)


def fleet(nodes, edges) -> tuple[list[EdgeOffer], list[NodeOffer]]:
    node_offers = [
        NodeOffer(node=f"n{i}", region=region, claimed=claimed, capacity=capacity, codecs=codecs, scenes=scenes)
        for i, (region, capacity, claimed, scenes, codecs) in enumerate(nodes)
    ]
    edge_offers = [
        EdgeOffer(
            edge=f"e{i}",
            region=region,
            viewers=viewers,
            max_viewers=3,
            node_rtt_ms={n.node: rtt[n.region] for n in node_offers if n.region in rtt},
        )
        for i, (region, viewers, rtt) in enumerate(edges)
    ]
    return edge_offers, node_offers


def assumed(request: PlacementRequest) -> Probe | None:
    """The line to an edge that was not measured: as the second best that was, and never a near one."""
    ranked = sorted(request.probes, key=lambda probe: probe.rtt_ms)
    return None if len(ranked) < 2 else structs.replace(ranked[1], rtt_ms=max(UNKNOWN_RTT_MS, ranked[1].rtt_ms))


def scanned(request: PlacementRequest, edges, nodes, policy) -> float | None:
    """The least cost over all pairs."""
    probes = {probe.edge: probe for probe in request.probes}
    costs = []
    regions = {node.node: node.region for node in nodes}
    measured: dict[tuple[str, str], float] = {}
    for edge in edges:
        for node, rtt in edge.node_rtt_ms.items():
            key = (edge.region, regions[node])
            measured[key] = min(rtt, measured.get(key, rtt))
    for edge, node in itertools.product(edges, nodes):
        fits = node.free >= request.milliunits and request.codec in node.codecs and request.scene in node.scenes
        if edge.viewers >= edge.max_viewers or not fits or node.node in request.excluded_nodes:
            continue
        probe = probes.get(edge.edge, assumed(request))
        trunk = measured.get((edge.region, node.region), guessed_trunk_rtt_ms(edge.region, node.region))
        if (probe.rtt_ms if probe else 0.0) + trunk > request.latency_cap_ms:
            continue
        line = policy.line(probe, edge.viewers / edge.max_viewers)
        site = [other for other in nodes if other.region == node.region]
        load = sum(other.claimed for other in site) / (sum(other.capacity for other in site) or 1)
        load = load if any(other.capacity for other in site) else 1.0
        points = VALUES.site_points(node.region) + SCARCITY_POINTS * load**2
        costs.append(policy.cost(line, trunk, node.load_ratio, points))
    return min(costs, default=None)


@settings(max_examples=300)
@given(
    nodes_strategy,
    edges_strategy,
    probes_strategy,
    st.sampled_from(POLICIES),
    st.sampled_from([500, 1000, 3000]),
    st.sampled_from(["campus", "hall"]),
    st.sets(st.integers(0, 7).map(lambda i: f"n{i}"), max_size=2),
    st.sampled_from([math.inf, 60.0]),
)
def test_the_search_finds_the_exact_minimum(nodes, edges, probes, name, milliunits, scene, excluded, cap_ms):
    policy = policy_named(name, VALUES)
    edge_offers, node_offers = fleet(nodes, edges)
    request = PlacementRequest(
        scene=scene,
        codec=Codec.VP8,
        milliunits=milliunits,
        probes=[Probe(edge=f"e{i}", rtt_ms=r, jitter_ms=j, loss=lost) for i, (r, j, lost) in probes.items()],
        excluded_nodes=frozenset(excluded),
        latency_cap_ms=cap_ms,
    )
    least = scanned(request, edge_offers, node_offers, policy)
    if least is None:
        with pytest.raises(Refusal):
            search(request, EdgePools(edge_offers), NodePools(node_offers), policy, VALUES.site_points)
    else:
        found = search(request, EdgePools(edge_offers), NodePools(node_offers), policy, VALUES.site_points)
        assert found.cost == pytest.approx(least)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(-1, 4)), max_size=60))
def test_the_least_loaded_node_is_found_whatever_came_and_went(changes):
    pools, truth = NodePools(), {}
    for number, claimed in changes:
        node = f"n{number}"
        if claimed < 0:
            pools.drop(node)
            truth.pop(node, None)
        elif node in truth:
            pools.claimed(node, claimed)
            truth[node] = claimed
        else:
            offer = NodeOffer(
                node=node, region="r", claimed=claimed, capacity=4, codecs=frozenset(Codec), scenes=frozenset()
            )
            pools.put(offer)
            truth[node] = claimed
        least = min(((amount, name) for name, amount in truth.items()), default=None)
        assert [pool.least() for pool in pools] == ([least] if least else [])
        assert {offer.node: offer.claimed for offer in pools.offers()} == truth


def test_a_node_beyond_the_rooms_latency_cap_is_refused_as_too_far():
    edge_offers, node_offers = fleet(
        [("north", 4000, 0, frozenset({"campus"}), frozenset(Codec))], [("south", 0, {"north": 50.0})]
    )
    request = PlacementRequest(
        scene="campus",
        codec=Codec.H264,
        milliunits=1000,
        probes=[Probe(edge="e0", rtt_ms=20.0)],
        latency_cap_ms=60.0,
    )
    with pytest.raises(Refusal) as caught:
        search(request, EdgePools(edge_offers), NodePools(node_offers), policy_named("best_value", VALUES), lambda _: 0)
    assert caught.value.kind is RefusalKind.TOO_FAR
    assert "60 ms" in caught.value.detail


def test_ways_are_ranked_anew_only_when_a_heartbeat_tells_something_else():
    policy = policy_named("best_value", VALUES)
    edge_offers, node_offers = fleet(
        [
            ("north", 4000, 0, frozenset({"campus"}), frozenset(Codec)),
            ("south", 4000, 0, frozenset(), frozenset(Codec)),
        ],
        [("north", 0, {"north": 5.0, "south": 30.0})],
    )
    (edge,), edges, nodes = edge_offers, EdgePools(edge_offers), NodePools(node_offers)

    def ranked() -> list[float]:
        vantage = edges.get("e0").vantage
        return [way[2] for way in vantage.ways(nodes, VALUES.site_points, policy, 10.0)]

    first = edges.get("e0").vantage.ways(nodes, VALUES.site_points, policy, 10.0)
    edges.put(structs.replace(edge, viewers=2, node_rtt_ms={"n0": 5.0 + 0.9 * RTT_STEP_MS, "n1": 30.0}))
    assert edges.get("e0").viewers == 2
    assert edges.get("e0").node_rtt_ms["n0"] > 5.0
    assert edges.get("e0").vantage.ways(nodes, VALUES.site_points, policy, 10.0) is first
    edges.put(structs.replace(edge, node_rtt_ms={"n0": 5.0 + RTT_STEP_MS, "n1": 30.0}))
    assert 5.0 + RTT_STEP_MS in ranked()
    fresh = edges.get("e0").vantage.ways(nodes, VALUES.site_points, policy, 10.0)
    twin = structs.replace(node_offers[0], node="n9")
    nodes.put(twin)
    edges.put(structs.replace(edge, node_rtt_ms={"n0": 5.0 + RTT_STEP_MS, "n1": 30.0, "n9": 8.0}))
    assert edges.get("e0").vantage.ways(nodes, VALUES.site_points, policy, 10.0) is fresh, "one more trunk, no nearer"
    edges.put(structs.replace(edge, node_rtt_ms={"n1": 30.0}))
    assert sorted(ranked()) == [guessed_trunk_rtt_ms("north", "north"), 30.0]
