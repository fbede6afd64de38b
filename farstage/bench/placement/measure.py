"""Runs the core's placement, the optimum and the rules of others over one world."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from broker.core.placement import PlacementRequest, search
from broker.core.policies import BestValue
from broker.core.pools import NodePools
from broker.core.quality import GOOD, PERFECT
from broker.core.refusals import Refusal
from broker.core.reoptimisation import Problem, solve
from broker.core.ways import EdgePools
from broker.protocol import Codec
from farstage.bench.machine import machine
from farstage.bench.placement import optimum
from farstage.bench.placement.rules import RULES, Choice, Free, Rule
from farstage.bench.placement.world import UNIT, Floats, Ints, World, build, site_name
from farstage.collector import calm_down

REOPTIMISATIONS = 4
NOBODY = -1


class PlacementSettings(msgspec.Struct, frozen=True):
    """Size and seed of the world."""

    nodes: int
    clients: int
    seed: int = 1


class DecisionTime(msgspec.Struct):
    """Microseconds of a decision, its claim noted."""

    p50: float
    p99: float


class Outcome(msgspec.Struct):
    """What a rule made of the world. `cost_ratio`: its points ÷ those of the exact optimum, who is not placed counting
    as in the optimum; `below_good`: share of clients with less than good quality; `mean_quality`: 0 to 100."""

    cost_ratio: float
    below_good: float
    mean_quality: float
    unplaced: int


class PlacementReport(msgspec.Struct):
    """The figures. `fewer_below_good`: the best of the others against us, share of its clients below good."""

    nodes: int
    clients: int
    sites: int
    decisions_per_s: float
    decision_us: DecisionTime
    cost_ratio_online: float
    cost_ratio_reoptimised: float
    capacity_violations: int
    moves: int
    reoptimisation_s: float
    optimum_points: float
    optimum_s: float
    ours: Outcome
    baselines: dict[str, Outcome]
    fewer_below_good: float
    machine: dict[str, Any]


class Assignment:
    """Who is served by which edge and node; `NOBODY` where there is none."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.edge: Ints = np.full(world.clients, NOBODY)
        self.node: Ints = np.full(world.clients, NOBODY)

    @property
    def placed(self) -> Ints:
        """Indices of the clients that are served."""
        return np.flatnonzero(self.node != NOBODY)

    def points(self) -> float:
        """The sum that the optimum minimises."""
        placed = self.placed
        site = self.world.site_of_node[self.node[placed]]
        lost = self.world.lost_points(placed, self.edge[placed], site)
        unplaced = self.world.clients - len(placed)
        return float(lost.sum() + self.world.site_points()[site].sum() + optimum.UNPLACED * unplaced)

    def quality(self) -> Floats:
        """Of all clients; 0 for those that are not placed."""
        placed, quality = self.placed, np.zeros(self.world.clients)
        site = self.world.site_of_node[self.node[placed]]
        quality[placed] = np.maximum(0.0, PERFECT - self.world.lost_points(placed, self.edge[placed], site))
        return quality

    def violations(self) -> int:
        """Nodes and edges with more than they take."""
        placed = self.placed
        units = np.bincount(self.node[placed], minlength=len(self.world.node_units))
        places = np.bincount(self.edge[placed], minlength=len(self.world.site_of_edge))
        return int((units > self.world.node_units).sum() + (places > self.world.edge_capacity).sum())

    def outcome(self, optimal_points: float) -> Outcome:
        """In short."""
        quality = self.quality()
        return Outcome(
            cost_ratio=self.points() / optimal_points,
            below_good=float((quality < GOOD).mean()),
            mean_quality=float(quality.mean()),
            unplaced=self.world.clients - len(self.placed),
        )


async def measure(settings: PlacementSettings, progress: Callable[[str], None]) -> PlacementReport:
    """Measure all of it, one after the other; with the garbage collector as a broker has it."""
    calm_down()
    progress(f"a world of {settings.nodes:,} nodes and {settings.clients:,} clients")
    world = build(settings.nodes, settings.clients, settings.seed)
    progress("placing one after the other")
    ours, times_us = _place_all(world)
    online_points, violations = ours.points(), ours.violations()
    progress("the exact optimum")
    begun = time.perf_counter()
    best = optimum.solve(world)
    optimum_s = time.perf_counter() - begun
    progress("re-optimising")
    begun = time.perf_counter()
    outcome_online = ours.outcome(best.points)
    moves = _reoptimise(ours)
    reoptimisation_s = time.perf_counter() - begun
    baselines = {}
    for name, rule in RULES.items():
        progress(f"the rule {name}")
        baselines[name] = _by_rule(world, rule, settings.seed).outcome(best.points)
    rival = min(outcome.below_good for outcome in baselines.values())
    return PlacementReport(
        nodes=settings.nodes,
        clients=settings.clients,
        sites=world.sites,
        decisions_per_s=1e6 * len(times_us) / float(times_us.sum()),
        decision_us=DecisionTime(*(float(np.percentile(times_us, at)) for at in (50, 99))),
        cost_ratio_online=online_points / best.points,
        cost_ratio_reoptimised=ours.points() / best.points,
        capacity_violations=violations + ours.violations(),
        moves=moves,
        reoptimisation_s=reoptimisation_s,
        optimum_points=best.points,
        optimum_s=optimum_s,
        ours=outcome_online,
        baselines=baselines,
        fewer_below_good=1.0 - outcome_online.below_good / rival if rival else 0.0,
        machine=machine(),
    )


def _place_all(world: World) -> tuple[Assignment, Floats]:
    """Everybody joins, as the core does it: search, then the claims are noted at once. Returns microseconds of each."""
    edges, nodes = EdgePools(world.edge_offers()), NodePools(world.node_offers())
    policy, points = BestValue(world.values), _site_points(world)
    requests = [
        PlacementRequest(scene="campus", codec=Codec.H264, milliunits=UNIT, probes=world.probes(client))
        for client in range(world.clients)
    ]
    viewers: dict[str, int] = {}
    claimed: dict[str, int] = {}
    assignment, times_us = Assignment(world), np.zeros(world.clients)
    for client, request in enumerate(requests):
        begun = time.perf_counter_ns()
        try:
            found = search(request, edges, nodes, policy, points.__getitem__)
        except Refusal:
            continue
        viewers[found.edge] = viewers.get(found.edge, 0) + 1
        claimed[found.node] = claimed.get(found.node, 0) + UNIT
        edges.claimed(found.edge, viewers[found.edge])
        nodes.claimed(found.node, claimed[found.node])
        times_us[client] = (time.perf_counter_ns() - begun) / 1_000.0
        assignment.edge[client] = int(found.edge.rpartition("-")[2])
        assignment.node[client] = int(found.node.rpartition("-")[2])
    return assignment, times_us


def _site_points(world: World) -> dict[str, float]:
    return {site_name(site): points for site, points in enumerate(world.site_points().tolist())}


def _reoptimise(assignment: Assignment) -> int:
    """Let the core think the whole assignment over, a few times, and make the moves that there is room for."""
    made = 0
    for _ in range(REOPTIMISATIONS):
        moves = solve(_problem(assignment))
        done = _make(assignment, [(int(move.room), int(move.region.rpartition("-")[2])) for move in moves])
        made += done
        if not done:
            break
    return made


def _problem(assignment: Assignment) -> Problem:
    world, placed = assignment.world, assignment.placed
    sites = np.arange(world.sites)
    lost = world.lost_points(placed[:, None], assignment.edge[placed][:, None], sites[None, :])
    return Problem(
        rooms=tuple(str(client) for client in placed),
        regions=tuple(site_name(site) for site in range(world.sites)),
        costs=lost + world.site_points()[None, :],
        milliunits=np.full(len(placed), UNIT),
        current=world.site_of_node[assignment.node[placed]],
        capacity=world.site_units() * UNIT,
    )


def _make(assignment: Assignment, moves: list[tuple[int, int]]) -> int:
    """Make the moves whose region has a free node, again and again, as moves make room for others."""
    world = assignment.world
    used = np.bincount(assignment.node[assignment.placed], minlength=len(world.node_units))
    nodes_at = [np.flatnonzero(world.site_of_node == site) for site in range(world.sites)]
    made = 0
    while moves:
        waiting = []
        for client, site in moves:
            nodes = nodes_at[site]
            free = nodes[used[nodes] < world.node_units[nodes]]
            if not len(free):
                waiting.append((client, site))
                continue
            used[assignment.node[client]] -= 1
            assignment.node[client] = free[0]
            used[free[0]] += 1
            made += 1
        if len(waiting) == len(moves):
            break
        moves = waiting
    return made


def _by_rule(world: World, rule: Rule, seed: int) -> Assignment:
    """Everybody joins, as others would place them."""
    free, assignment = Free(world, seed), Assignment(world)
    for client in range(world.clients):
        choice: Choice | None = rule(free, client)
        if choice is not None:
            free.take(*choice)
            assignment.edge[client], assignment.node[client] = choice
    return assignment
