"""Clients measure edges of as many regions as they can, and not all of them the same ones."""

import itertools

from broker.core.probing import MAX_PROBE_TARGETS, probe_targets
from tests.support.broker_farm import Farm, edge_key


def named(farm: Farm, start: int = 0) -> list[tuple[str, str]]:
    return [(edge.region, edge.edge) for edge in probe_targets(farm.state.edges.values(), start)]


def farm_of(regions: int, edges: int) -> Farm:
    farm = Farm()
    for region in range(regions):
        for edge in range(edges):
            farm.edge(f"e{region:02}-{edge:02}", region=f"r{region:02}")
    return farm


def test_all_edges_are_measured_where_they_are_few() -> None:
    farm = farm_of(4, 4)
    assert {edge for _, edge in named(farm)} == farm.state.edges.keys()
    assert probe_targets([], 3) == []


def test_no_region_is_left_out_because_of_its_name() -> None:
    farm = farm_of(6, 5)
    regions = [region for region, _ in named(farm)]
    assert len(regions) == MAX_PROBE_TARGETS
    assert all(regions.count(f"r{at:02}") in (2, 3) for at in range(6))


def test_of_many_regions_clients_measure_different_ones_each_spread_over_all() -> None:
    farm = farm_of(50, 2)
    seen = set()
    for start in range(100):
        targets = named(farm, start)
        numbers = sorted(int(region[1:]) for region, _ in targets)
        assert len(set(numbers)) == MAX_PROBE_TARGETS
        assert max(b - a for a, b in itertools.pairwise(numbers)) <= 4
        seen |= set(targets)
    assert len(seen) == 100


def test_who_drains_or_is_gone_is_not_measured() -> None:
    farm = farm_of(3, 1)
    farm.drop(edge_key("e00-00"))
    farm.carry_out(farm.brain.drain(edge_key("e01-00"), 60.0, farm.now))
    assert named(farm) == [("r02", "e02-00")]
