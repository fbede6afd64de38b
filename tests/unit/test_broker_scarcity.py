"""Where capacity is scarce viewers get smaller pictures before anybody is refused, and never more than there is."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from broker.core.picture import Picture, PictureLadder, fit, own_picture, rungs, within_bandwidth, within_budget
from broker.core.refusals import RefusalKind
from broker.core.state import node_pool
from broker.protocol import Codec, EndReason, Mode, PutView, SessionState, Viewport
from tests.support.broker_farm import Farm, node_key

LADDER = PictureLadder()


def picture(width: int = 1280, height: int = 720, fps: int = 30) -> Picture:
    return Picture(width=width, height=height, fps=fps, codec=Codec.VP8, profile=None)


pictures = st.builds(
    picture, st.integers(80, 960).map(lambda n: 2 * n), st.integers(80, 960).map(lambda n: 2 * n), st.integers(1, 60)
)


def small_farm(units: float, max_viewers: int = 100) -> Farm:
    farm = Farm()
    farm.node("n1", units=units)
    farm.edge("e1", max_viewers=max_viewers)
    return farm


# --- A budget ---


@given(wished=pictures, budget=pictures)
def test_picture_within_a_budget_costs_no_more_whatever_its_shape(wished, budget):
    assert within_budget(wished, budget.milliunits).milliunits <= budget.milliunits


def test_strip_within_the_least_budget_is_the_least_picture():
    least = picture(160, 160, 1)
    assert within_budget(picture(216, 160, 1), least.milliunits) == least


# --- The ladder ---


def test_ladder_goes_down_in_size_then_in_rate():
    offered = [(rung.width, rung.height, rung.fps) for rung in rungs(picture(), LADDER)]
    assert offered == [(1280, 720, 30), (960, 540, 30), (640, 360, 30), (640, 360, 15), (320, 180, 15)]


@given(wished=pictures)
def test_rungs_are_even_ever_cheaper_and_not_tiny_unless_wished(wished):
    offered = rungs(wished, LADDER)
    assert offered[0] == wished
    costs = [rung.milliunits for rung in offered]
    assert costs == sorted(set(costs), reverse=True)
    for rung in offered:
        assert rung.width % 2 == 0
        assert rung.height % 2 == 0
        assert max(rung.width, rung.height) >= min(LADDER.min_long_side, max(wished.width, wished.height)) - 2
        assert rung.fps >= 1


@given(wished=pictures)
def test_rungs_keep_the_aspect(wished):
    for rung in rungs(wished, LADDER):
        assert rung.width / wished.width == pytest.approx(rung.height / wished.height, abs=0.02)


@given(wishes=st.lists(pictures, max_size=6), free=st.integers(0, 8000))
def test_shared_capacity_is_never_exceeded_and_used_when_the_lowest_rungs_fit(wishes, free):
    chosen = fit(wishes, free, LADDER)
    lowest = sum(rungs(wish, LADDER)[-1].milliunits for wish in wishes)
    if chosen is None:
        assert lowest > free
    else:
        assert sum(rung.milliunits for rung in chosen) <= free
        assert all(rung in rungs(wish, LADDER) for wish, rung in zip(wishes, chosen, strict=True))


def test_the_dearest_view_steps_down_first():
    chosen = fit([picture(), picture(640, 360)], 900, LADDER)
    assert chosen is not None
    assert [(rung.width, rung.fps) for rung in chosen] == [(960, 30), (640, 30)]


# --- Joins ---


def test_the_second_visitor_of_a_small_node_gets_a_smaller_picture():
    farm = small_farm(units=1.6)
    farm.room()
    first, second = farm.join(), farm.join()
    assert [farm.view(session).picture.width for session in (first, second)] == [1280, 960]
    assert [(put.width, put.height) for put in farm.to("node:n1", PutView)] == [(1280, 720), (960, 540)]


def test_a_shared_stage_steps_down_too():
    farm = small_farm(units=0.6)
    farm.room(mode=Mode.CONFERENCE)
    assert farm.view(farm.join()).picture.width == 960


def test_a_roomier_node_is_preferred_to_a_smaller_picture():
    farm = small_farm(units=0.6)
    farm.node("n2", units=1.0)
    farm.room()
    session = farm.join()
    assert (farm.view(session).node, farm.view(session).picture.width) == ("n2", 1280)


def test_a_place_another_broker_took_is_sought_again_with_the_whole_wish():
    farm = small_farm(units=2.0)
    farm.room()
    farm.refuse_pools = ["edge:e1"]
    farm.edge("e2")
    assert farm.view(farm.join()).picture.width == 1280


def test_who_cannot_even_get_the_smallest_picture_is_refused():
    farm = small_farm(units=0.03)
    farm.room()
    refusal = farm.refusal()
    assert refusal.kind is RefusalKind.FARM_FULL
    assert refusal.retry_after_s


viewports = st.builds(
    Viewport, width=st.integers(100, 3000), height=st.integers(100, 3000), max_fps=st.sampled_from([15, 30, 60])
)


@given(
    units=st.lists(st.floats(0.0, 3.0), min_size=1, max_size=3),
    joins=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), viewports, st.booleans()), max_size=12),
)
def test_capacity_holds_and_only_who_cannot_get_the_smallest_picture_is_refused(units, joins):
    farm = Farm()
    farm.edge("e1")
    for index, amount in enumerate(units):
        farm.node(f"n{index}", units=amount)
    for room in "abc":
        farm.room(room)
    for room, viewport, leaves in joins:
        wished = own_picture(viewport, farm.state.settings.picture, (Codec.VP8, None))
        hosts = [n for n in farm.state.ready_nodes.offers() if farm.state.rooms[room].node in (None, n.node)]
        if rungs(wished, LADDER)[-1].milliunits > max(offer.free for offer in hosts):
            assert farm.refusal(room, viewport=viewport).kind is RefusalKind.FARM_FULL
            continue
        session = farm.join(room, viewport=viewport)
        if leaves:
            farm.carry_out(farm.brain.end_session(session.session, EndReason.LEFT))
    for node in farm.state.nodes.values():
        assert farm.state.ledger.claimed(node_pool(node.node)) <= node.capacity


# --- Moves ---


def outgrown(units: float = 1.0, region: str = "r1") -> Farm:
    """A room whose node is full, and another node with room for two."""
    farm = small_farm(units=1.0)
    farm.room()
    farm.join_live()
    farm.node("n2", units=units, region=region)
    return farm


def test_a_room_that_outgrows_its_node_moves_to_one_with_room_for_all():
    farm = outgrown(units=2.0)
    (first,) = farm.state.sessions.values()
    second = farm.join_live()
    assert [farm.view(session).node for session in (first, second)] == ["n2", "n2"]
    assert farm.view(second).picture.width == 1280
    assert first.state is SessionState.LIVE
    assert farm.state.ledger.claimed(node_pool("n1")) == 1000
    farm.start_view(farm.view(first))
    assert farm.state.ledger.claimed(node_pool("n1")) == 0
    assert farm.ended == {}


@pytest.mark.parametrize(("units", "region"), [(1.9, "r1"), (2.0, "r2")])
def test_a_room_that_outgrows_its_node_stays_where_there_is_no_room_for_all_in_its_region(units, region):
    farm = outgrown(units, region)
    assert farm.refusal().kind is RefusalKind.FARM_FULL
    assert [view.node for view in farm.state.views.values()] == ["n1"]


def test_a_room_is_not_moved_for_one_who_finds_no_edge():
    farm = small_farm(units=1.0, max_viewers=1)
    farm.room()
    farm.join_live()
    farm.node("n2", units=2.0)
    assert farm.refusal().kind is RefusalKind.FARM_FULL
    assert [view.node for view in farm.state.views.values()] == ["n1"]


def test_a_newcomer_is_refused_when_another_broker_takes_the_place_that_the_room_was_to_move_to():
    farm = outgrown(units=2.0)
    farm.refuse_pools = ["node:n2"]
    assert farm.refusal().kind is RefusalKind.FARM_FULL
    (view,) = farm.state.views.values()
    assert [holding.node for holding in view.previous] == ["n1"]


def test_views_of_a_lost_node_go_on_smaller_on_a_smaller_one():
    farm = small_farm(units=3.0)
    farm.room()
    sessions = [farm.join_live() for _ in range(3)]
    farm.node("n2", units=2.0)
    farm.drop(node_key("n1"))
    farm.wait(2)
    assert [farm.view(session).node for session in sessions] == ["n2"] * 3
    assert sorted(farm.view(session).picture.width for session in sessions) == [960, 960, 960]
    assert farm.state.ledger.claimed(node_pool("n2")) == sum(farm.view(s).picture.milliunits for s in sessions)
    for put in farm.to("node:n2", PutView):
        assert (put.width, put.fence) == (960, farm.state.views[put.view].fence)


def test_a_drained_node_counts_what_it_draws_until_the_smaller_picture_is_out():
    farm = small_farm(units=1.0)
    farm.room()
    session = farm.join_live()
    farm.node("n2", units=0.6)
    farm.carry_out(farm.brain.drain(node_key("n1"), 10.0, farm.now))
    assert (farm.view(session).node, farm.view(session).picture.width) == ("n2", 960)
    assert farm.state.ledger.claimed(node_pool("n1")) == 1000
    farm.start_view(farm.view(session))
    assert farm.state.ledger.claimed(node_pool("n1")) == 0


def test_a_view_that_moves_back_before_it_has_arrived_is_claimed_once():
    farm = small_farm(units=2.0)
    farm.room()
    session = farm.join_live()
    farm.node("n2", units=1.0)
    farm.carry_out(farm.brain.drain(node_key("n1"), 10.0, farm.now))
    farm.carry_out(farm.brain.cancel_drain(node_key("n1")))
    farm.carry_out(farm.brain.drain(node_key("n2"), 10.0, farm.now))
    view = farm.view(session)
    assert view.node == "n1"
    farm.start_view(view)
    assert view.previous == []
    assert farm.state.ledger.claimed(node_pool(str(view.node))) == 1000


@pytest.mark.parametrize(
    ("bandwidth_bps", "size"),
    [
        (None, (1280, 720, 30)),
        (5e6, (1280, 720, 30)),
        (1.2e6, (960, 540, 30)),
        (600_000, (640, 360, 30)),
        (250_000, (640, 360, 15)),
        (10_000, (320, 180, 15)),
    ],
)
def test_narrow_line_gets_a_smaller_picture(bandwidth_bps: float | None, size: tuple[int, int, int]) -> None:
    fair = within_bandwidth(picture(), bandwidth_bps, LADDER)
    assert (fair.width, fair.height, fair.fps) == size
