"""Trees by which a stream reaches its edges: the plan by itself, and what nodes and edges are told."""

from collections import Counter

import hypothesis.strategies as st
from hypothesis import given

from broker.core.cascade import MAX_DEPTH, Limits, Seat, Standing, plan, reach
from broker.core.state import CoreSettings
from broker.protocol import DrainRequested, Mode, Probe, PutRelay, PutView, SourceLost
from tests.support.broker_farm import Farm, edge_key, node_key

NAMES = [f"e{number}" for number in range(12)]
REGIONS = ["here", "there", "far"]

seats = st.lists(
    st.builds(
        Seat,
        edge=st.sampled_from(NAMES),
        region=st.sampled_from(REGIONS),
        free=st.integers(-2, 20),
        standing=st.sampled_from(Standing),
    ),
    unique_by=lambda seat: seat.edge,
)
limits = st.builds(Limits, st.integers(1, 4), st.integers(1, 4))
previous_trees = st.dictionaries(st.sampled_from(NAMES), st.sampled_from([None, *NAMES]))


def depth(parents, edge) -> int:
    steps = 0
    while edge is not None:
        edge, steps = parents[edge], steps + 1
        assert steps <= len(parents), "a circle"
    return steps


def fresh(count: int, allowed: Limits, **more) -> dict:
    return plan([Seat(edge=f"e{n}", region="here", free=100) for n in range(count)], "here", allowed, **more)


@given(seats, limits, previous_trees, st.sampled_from([None, *REGIONS]), st.booleans())
def test_every_edge_is_reached_and_nobody_feeds_more_than_it_may(seated, allowed, previous, region, rooted) -> None:
    root = seated[0].edge if rooted and seated else None
    parents = plan(seated, region, allowed, previous=previous, root=root)
    assert parents.keys() == {seat.edge for seat in seated}
    for edge in parents:
        depth(parents, edge)
    fed = Counter(parents.values())
    node_feeds = fed.pop(None, 0)
    assert node_feeds <= (1 if rooted else allowed.node_fan_out)
    assert all(count <= allowed.edge_fan_out for count in fed.values())
    if root is not None:
        assert parents[root] is None


@given(seats, limits, st.sampled_from(REGIONS))
def test_plan_does_not_change_while_nothing_else_does(seated, allowed, region) -> None:
    parents = plan(seated, region, allowed)
    assert plan(reversed(seated), region, allowed, previous=parents) == parents
    assert plan(reversed(seated), region, allowed) == parents


@given(st.integers(2, 12), limits, st.data())
def test_losing_an_edge_moves_only_those_it_fed(count, allowed, data) -> None:
    before = fresh(count, allowed)
    lost = data.draw(st.sampled_from(sorted(before)))
    seated = [Seat(edge=edge, region="here", free=100) for edge in before if edge != lost]
    after = plan(seated, "here", allowed, previous=before)
    moved = {edge for edge in after if after[edge] != before[edge]}
    assert moved == {edge for edge, parent in before.items() if parent == lost}


@given(st.integers(1, 40), limits)
def test_tree_of_one_region_is_as_shallow_as_it_can_be(count, allowed) -> None:
    parents = fresh(count, allowed)
    widths, width = [], allowed.node_fan_out
    while sum(widths) < count:
        widths.append(min(width, count - sum(widths)))
        width = widths[-1] * allowed.edge_fan_out
    assert Counter(depth(parents, edge) for edge in parents) == Counter(
        {level + 1: number for level, number in enumerate(widths)}
    )


def test_stream_enters_a_region_once() -> None:
    seated = [Seat(edge=f"{region}-{n}", region=region, free=50) for region in REGIONS for n in range(4)]
    parents = plan(seated, "here", Limits(4, 4))
    regions = {seat.edge: seat.region for seat in seated}
    crossings = [edge for edge, above in parents.items() if (regions[above] if above else "here") != regions[edge]]
    assert sorted(regions[edge] for edge in crossings) == ["far", "there"]


def test_edge_without_places_feeds_nobody_while_others_can() -> None:
    seated = [Seat(edge="a-full", region="here", free=0), Seat(edge="b", region="here", free=9)]
    seated += [Seat(edge=f"c{n}", region="here", free=9) for n in range(3)]
    parents = plan(seated, "here", Limits(2, 4), previous={"a-full": None})
    assert set(Counter(parents.values())) == {None, "b"}


def test_edge_that_is_drained_or_thought_dead_gives_its_place_to_the_living() -> None:
    for standing in (Standing.LEAVES, Standing.GONE):
        seated = [Seat(edge="a", region="here", free=9, standing=standing)]
        seated += [Seat(edge=name, region="here", free=9) for name in "bc"]
        parents = plan(seated, "here", Limits(1, 1), previous={"a": None, "b": "a", "c": "b"})
        assert parents == {"b": None, "c": "b", "a": "c"}
    roomy = plan(seated, "here", Limits(2, 2), previous={"a": None, "b": "a", "c": "b"})
    assert roomy["a"] is None, "where there is room it keeps its place"


def test_edge_whose_line_broke_a_moment_ago_keeps_its_children_and_gets_no_more() -> None:
    seated = [Seat(edge="a", region="here", free=9, standing=Standing.KEEPS)]
    seated += [Seat(edge=name, region="here", free=9) for name in "bc"]
    parents = plan(seated, "here", Limits(1, 4), previous={"a": None, "b": "a"})
    assert parents == {"a": None, "b": "a", "c": "b"}


def test_root_is_the_only_edge_the_node_feeds() -> None:
    parents = fresh(9, Limits(4, 3), root="e5")
    assert [edge for edge, above in parents.items() if above is None] == ["e5"]
    assert plan([], "here", Limits(4, 4), root="gone") == {}


def test_reach_is_what_a_tree_of_bounded_depth_holds() -> None:
    assert reach(Limits(4, 8), rooted=False) == 4 * (1 + 8 + 64 + 512)
    assert reach(Limits(4, 8), rooted=True) == 1 + 8 + 64 + 512
    tree = fresh(reach(Limits(1, 2), rooted=False), Limits(1, 2))
    assert max(depth(tree, edge) for edge in tree) == MAX_DEPTH


# --- What is told ---------------------------------------------------------------------------------------


class Hall(Farm):
    """A conference with a viewer on each of several edges, and a node that feeds one."""

    def __init__(self, *edges: str, node_fan_out: int = 1, edge_fan_out: int = 2) -> None:
        super().__init__(CoreSettings(fan_out=Limits(node_fan_out, edge_fan_out)))
        self.room(mode=Mode.CONFERENCE)
        self.node("n")
        for edge in edges:
            self.edge(edge)
            self.come(edge)
        self.stage = next(iter(self.state.views.values()))
        self.sent.clear()

    def come(self, edge: str, **more):
        return self.join_live(probes=[Probe(edge=edge, rtt_ms=1.0)], **more)

    def fed_by(self, parent: str) -> list[str] | None:
        """Whom an edge, or the node, was last told to feed."""
        commands = self.to(parent, PutView if parent.startswith("node:") else PutRelay)
        return [target.edge for target in commands[-1].targets] if commands else None


def test_edges_beyond_the_nodes_fan_out_are_fed_by_edges() -> None:
    farm = Hall("a", "b", "c", "d")
    assert farm.stage.parents == {"a": None, "b": "a", "c": "a", "d": "b"}
    farm.edge("e")
    farm.come("e")
    ((parent, relay),) = [(name, message) for name, message in farm.sent if isinstance(message, PutRelay)]
    assert parent == "edge:c"
    assert (relay.stream, relay.fence) == (farm.stage.view, farm.stage.fence)
    assert [(target.edge, target.url) for target in relay.targets] == [("e", "wss://e.example/trunk")]
    assert farm.fed_by("node:n") is None, "nobody else is told anything"


def test_children_of_an_edge_both_sides_have_lost_are_fed_by_others_at_once() -> None:
    for says_first in (True, False):
        farm = Hall("a", "b", "c")
        says = [lambda f=farm: f.say(edge_key("b"), SourceLost(stream=f.stage.view))]
        breaks = [lambda f=farm: f.drop(edge_key("a"))]
        for step in says + breaks if says_first else breaks + says:
            assert farm.stage.parents["b"] == "a", "one observer alone may be mistaken"
            step()
        assert farm.stage.parents["b"] is None
        assert farm.fed_by("node:n") == ["b"]
        farm.wait(1.2)
        assert farm.stage.parents["c"] == "b"
        assert "c" in farm.fed_by("edge:b")


def test_children_of_an_edge_that_stays_away_are_fed_by_others_after_the_grace() -> None:
    farm = Hall("a", "b", "c")
    farm.drop(edge_key("a"))
    farm.wait(0.8)
    assert farm.stage.parents == {"a": None, "b": "a", "c": "a"}
    farm.wait(0.4)
    assert farm.stage.parents == {"b": None, "c": "b", "a": "b"}


def test_old_word_of_a_lost_source_does_not_count_against_a_line_that_breaks_later() -> None:
    farm = Hall("a", "b")
    farm.say(edge_key("b"), SourceLost(stream=farm.stage.view))
    assert farm.fed_by("edge:a") == ["b"], "its parent is told once more"
    farm.wait(3.0)
    farm.drop(edge_key("a"))
    assert farm.stage.parents["b"] == "a"


def test_drained_edge_feeds_nobody_and_stays_fed() -> None:
    farm = Hall("a", "b", "c")
    farm.carry_out(farm.brain.drain(edge_key("a"), 60.0, farm.now))
    assert farm.stage.parents == {"b": None, "c": "b", "a": "b"}
    assert farm.fed_by("edge:a") == []
    relays = [name for name, message in farm.sent if isinstance(message, PutRelay)]
    assert relays.index("edge:b") < relays.index("edge:a"), "make before break"


def test_departing_edge_is_relieved_of_its_children() -> None:
    farm = Hall("a", "b")
    farm.say(edge_key("a"), DrainRequested(deadline_s=10.0))
    assert farm.stage.parents["b"] is None


def test_edge_without_viewers_leaves_the_tree() -> None:
    farm = Hall("a", "b", "c")
    (session,) = [name for name in farm.stage.sessions if farm.state.sessions[name].edge == "a"]
    farm.carry_out(farm.brain.end_session(session, "removed"))
    assert farm.stage.parents == {"b": None, "c": "b"}
    assert farm.fed_by("edge:a") == []


def test_end_of_a_view_that_has_lost_its_node_ends_its_relays() -> None:
    farm = Hall("a", "b")
    farm.drop(node_key("n"))
    farm.wait(1.2)
    assert farm.stage.node is None
    assert farm.fed_by("edge:a") is None, "they go on until there is another node"
    for session in list(farm.stage.sessions):
        farm.carry_out(farm.brain.end_session(session, "removed"))
    assert farm.fed_by("edge:a") == []


def test_end_of_a_view_ends_its_relays() -> None:
    farm = Hall("a", "b")
    for session in list(farm.stage.sessions):
        farm.carry_out(farm.brain.end_session(session, "removed"))
    assert farm.fed_by("edge:a") == []


def test_exchanged_node_feeds_the_same_tree_under_a_new_fence() -> None:
    farm = Hall("a", "b", "c")
    farm.node("n2")
    before, fence = dict(farm.stage.parents), farm.stage.fence
    farm.drop(node_key("n"))
    farm.wait(1.2)
    assert farm.stage.node == "n2"
    assert farm.stage.parents == before
    assert farm.fed_by("node:n2") == ["a"]
    relay = farm.to("edge:a", PutRelay)[-1]
    assert relay.fence == farm.stage.fence > fence


def test_edge_that_registers_again_is_told_whom_to_feed_and_what_it_feeds_no_longer() -> None:
    farm = Hall("a", "b")
    mine = [name for name in farm.stage.sessions if farm.state.sessions[name].edge == "a"]
    farm.drop(edge_key("a"))
    farm.sent.clear()
    farm.edge("a", sessions=mine, relays=[farm.stage.view, "of-old"])
    told = {message.stream: [target.edge for target in message.targets] for message in farm.to("edge:a", PutRelay)}
    assert told == {"of-old": [], farm.stage.view: ["b"]}
    assert farm.fed_by("node:n") == ["a"], "its own source is told again, too"


def test_publisher_is_the_way_by_which_a_stage_reaches_everybody_while_it_publishes() -> None:
    farm = Hall("a", "b", "c", node_fan_out=4)
    farm.edge("r", publishers=True)
    publisher = farm.come("r", publishes=True)
    assert [edge for edge, parent in farm.stage.parents.items() if parent is None] == ["r"]
    assert farm.stage.parents.keys() == set("abcr")
    assert farm.fed_by("node:n") == ["r"]
    farm.carry_out(farm.brain.end_session(publisher.session, "left"))
    assert "r" not in farm.stage.parents
    assert len(farm.fed_by("node:n")) > 1


def test_newcomer_is_placed_on_an_edge_that_is_fed_when_a_tree_can_hold_no_more() -> None:
    farm = Hall(*[f"e{number}" for number in range(MAX_DEPTH)], edge_fan_out=1)
    farm.edge("further")
    assert farm.come("further").edge != "further"


def test_tree_survives_a_broker() -> None:
    farm = Hall("a", "b", "c")
    old = farm.state
    successor = Farm(old.settings)
    successor.brain.restore(
        old.rooms.values(), old.views.values(), old.sessions.values(), [*old.nodes.values(), *old.edges.values()], 0.0
    )
    successor.carry_out([])
    (stage,) = successor.state.views.values()
    assert stage.parents == {"a": None, "b": "a", "c": "a"}
