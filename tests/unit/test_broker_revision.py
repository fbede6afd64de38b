"""Rooms are moved to where they are served better: as far as it pays, a few at a time, and with nothing lost."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.core.effects import ViewMoved
from broker.core.prices import SitePrices, Values
from broker.core.reoptimisation import Problem, solve
from broker.core.state import CoreSettings
from broker.protocol import EdgeHeartbeat, EdgeLoad, Mode, Probe, PutView
from tests.support.broker_farm import Farm, edge_key

NEAR_MS, FAR_MS = 1.0, 90.0


def problem(costs, milliunits, current, capacity) -> Problem:
    rooms, regions = np.array(costs).shape
    return Problem(
        rooms=tuple(f"room{i}" for i in range(rooms)),
        regions=tuple(f"r{i}" for i in range(regions)),
        costs=np.array(costs, dtype=float),
        milliunits=np.array(milliunits),
        current=np.array(current),
        capacity=np.array(capacity),
    )


def sums(given_problem: Problem, assignment) -> float:
    return float(sum(given_problem.costs[room, region] for room, region in enumerate(assignment)))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda rooms: st.tuples(
            st.lists(st.lists(st.integers(0, 60), min_size=3, max_size=3), min_size=rooms, max_size=rooms),
            st.lists(st.integers(0, 2), min_size=rooms, max_size=rooms),
        )
    ),
    st.lists(st.integers(0, 2), min_size=3, max_size=3),
)
def test_moves_reach_the_least_sum_that_capacity_allows(drawn, spare):
    costs, current = drawn
    capacity = [1_000 * (spare[region] + current.count(region)) for region in range(3)]
    given_problem = problem(costs, [1_000] * len(costs), current, capacity)
    after = list(current)
    for move in solve(given_problem, move_points=0.0):
        after[int(move.room[4:])] = int(move.region[1:])
    assert all(1_000 * after.count(region) <= capacity[region] for region in range(3))
    fitting = (
        choice
        for choice in itertools.product(range(3), repeat=len(costs))
        if all(1_000 * choice.count(region) <= capacity[region] for region in range(3))
    )
    assert sums(given_problem, after) == pytest.approx(min(sums(given_problem, choice) for choice in fitting))


def test_a_move_that_does_not_pay_is_not_made():
    staying = problem([[10.0, 9.8]], [1_000], [0], [1_000, 1_000])
    assert solve(staying, move_points=0.5) == []
    (move,) = solve(problem([[10.0, 9.0]], [1_000], [0], [1_000, 1_000]), move_points=0.5)
    assert (move.room, move.region, move.gain) == ("room0", "r1", pytest.approx(1.0))


def test_a_region_that_cannot_draw_a_room_is_never_chosen():
    assert solve(problem([[50.0, np.inf]], [1_000], [0], [1_000, 1_000])) == []


def test_nothing_is_moved_where_there_is_no_choice():
    assert solve(problem(np.zeros((0, 2)), [], [], [0, 0])) == []
    assert solve(problem([[5.0]], [1_000], [0], [1_000])) == []


# --- The core -------------------------------------------------------------------------------------------


def test_a_room_costs_what_placement_counts_for_each_of_its_people():
    farm = Farm()
    for region in ("r1", "r2"):
        farm.node(f"node-{region}", units=8.0, region=region)
        farm.edge(f"edge-{region}", region=region)
    farm.room("walk")
    farm.room("hall", mode=Mode.CONFERENCE)
    for rtt_ms, room in ((5.0, "walk"), (40.0, "walk"), (90.0, "hall"), (15.0, "hall")):
        farm.join_live(room, probes=[Probe(edge="edge-r1", rtt_ms=rtt_ms, jitter_ms=2.0, loss=0.01)])
    found = farm.brain.reoptimisation(farm.now)
    for row, name in enumerate(found.rooms):
        for column, region in enumerate(found.regions):
            assert found.costs[row, column] == pytest.approx(_counted(farm, name, region))


def _counted(farm: Farm, room: str, region: str) -> float:
    """The same, one by one with the policy itself."""
    state = farm.state
    sessions = [state.sessions[name] for name in state.rooms[room].sessions]
    units = sum(state.views[name].claimed for name in state.rooms[room].views) / 1_000.0
    points = units * state.site_points(region)
    for session in sessions:
        edge = state.ready_edges.get(session.edge)
        probe = next((probe for probe in session.probes if probe.edge == session.edge), None)
        trunk_ms = edge.vantage.trunks_ms(state.ready_nodes, state.site_points)[region]
        points += state.policy.cost(state.policy.line(probe, 0.0), trunk_ms, 0.0, 0.0)
    return points


def measure(farm: Farm, edge: str, **rtt_ms: float) -> None:
    farm.say(edge_key(edge), EdgeHeartbeat(load=EdgeLoad(node_rtt_ms=rtt_ms)))


@pytest.fixture
def farm() -> Farm:
    """An edge beside a full node, and a far one that had room; then the near one gets room."""
    farm = Farm(CoreSettings(values=Values(sites={"*": SitePrices()})))
    farm.edge("e1", region="near")
    farm.node("far", region="far", units=8)
    measure(farm, "e1", far=FAR_MS)
    for number in range(3):
        farm.room(f"team{number}")
        farm.join_live(f"team{number}", probes=[Probe(edge="e1", rtt_ms=5.0)])
    farm.node("near", region="near", units=2)
    measure(farm, "e1", near=NEAR_MS, far=FAR_MS)
    return farm


def reoptimise(farm: Farm) -> list:
    found = farm.brain.reoptimisation(farm.now)
    return farm.carry_out(farm.brain.move_rooms(solve(found) if found is not None else [], farm.now))


def nodes(farm: Farm) -> list:
    return [farm.state.rooms[f"team{number}"].node for number in range(3)]


def test_rooms_move_to_the_near_region_as_far_as_it_has_room_and_the_old_node_draws_until_the_new_one_does(farm):
    assert nodes(farm) == ["far", "far", "far"]
    effects = reoptimise(farm)
    assert sorted(nodes(farm)) == ["far", "near", "near"]
    assert sum(isinstance(effect, ViewMoved) for effect in effects) == 2
    moved = [view for view in farm.state.views.values() if view.node == "near"]
    assert all([holding.node for holding in view.previous] == ["far"] for view in moved)
    assert len(farm.to("node:near", PutView)) == 2
    for view in moved:
        farm.start_view(view)
    assert all(not view.previous for view in moved)
    assert reoptimise(farm) == [], "and there they stay"


def test_a_room_that_was_moved_stays_for_a_while(farm):
    farm.state.settings = CoreSettings(values=farm.state.settings.values, move_again_after_s=60.0)
    reoptimise(farm)
    for view in [view for view in farm.state.views.values() if view.node == "near"]:
        farm.start_view(view)
    measure(farm, "e1", near=FAR_MS, far=NEAR_MS)
    assert reoptimise(farm) == []
    farm.now += 61.0
    assert any(isinstance(effect, ViewMoved) for effect in reoptimise(farm))


def test_no_more_rooms_move_at_once_than_one_round_may(farm):
    farm.state.settings = CoreSettings(values=farm.state.settings.values, moves_per_round=1)
    reoptimise(farm)
    assert sorted(nodes(farm)) == ["far", "far", "near"]


def test_rooms_that_do_not_run_undisturbed_are_left_alone(farm):
    farm.room("starting")
    farm.join("starting", probes=[Probe(edge="e1", rtt_ms=5.0)])
    found = farm.brain.reoptimisation(farm.now)
    assert found is not None
    assert "starting" not in found.rooms


def test_a_stage_moves_for_all_who_watch_it(farm):
    farm.node("near2", region="near", units=8)
    farm.carry_out(farm.brain.disconnected(edge_key("e1"), farm.now))
    farm.edge("e1", region="near", sessions=[s.session for s in farm.state.sessions.values()])
    measure(farm, "e1", near=FAR_MS, near2=FAR_MS, far=NEAR_MS)
    farm.room("hall", mode=Mode.CONFERENCE)
    for _ in range(5):
        session = farm.join("hall", probes=[Probe(edge="e1", rtt_ms=5.0)])
    farm.start_view(farm.view(session))
    assert farm.state.rooms["hall"].node == "far"
    measure(farm, "e1", near=NEAR_MS, near2=NEAR_MS, far=FAR_MS)
    found = farm.brain.reoptimisation(farm.now)
    assert found is not None
    at = found.rooms.index("hall")
    per_viewer = found.costs[found.rooms.index("team0")]
    assert found.costs[at].max() - found.costs[at].min() == pytest.approx(5 * (per_viewer.max() - per_viewer.min()))
    reoptimise(farm)
    assert farm.state.rooms["hall"].node in ("near", "near2")


def test_another_policy_than_the_default_moves_nothing(farm):
    farm.state.policy = type("Other", (), {"name": "lowest_latency"})()
    assert farm.brain.reoptimisation(farm.now) is None
