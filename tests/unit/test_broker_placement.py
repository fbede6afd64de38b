"""Placement chooses well, says what is missing, and always gives the same answer to the same question."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.core.picture import PictureLimits, codec_choices, own_picture, stage_choices
from broker.core.placement import Placement, PlacementRequest, search
from broker.core.policies import POLICIES, LeastLoaded, LowestLatency, Packed, policy_named
from broker.core.pools import NodeOffer, NodePools
from broker.core.prices import Values
from broker.core.refusals import Refusal, RefusalKind
from broker.core.ways import EdgeOffer, EdgePools
from broker.permissions import PERMISSIONS, Permission, permits
from broker.protocol import Codec, H264Profile, Probe, Role, VideoCapability, Viewport

LIMITS = PictureLimits()
BASELINE = (Codec.H264, H264Profile.CONSTRAINED_BASELINE)


def edge(name: str, region: str = "r1", viewers: int = 0, max_viewers: int = 100, **rtt: float) -> EdgeOffer:
    return EdgeOffer(edge=name, region=region, viewers=viewers, max_viewers=max_viewers, node_rtt_ms=rtt)


def node(name: str, region: str = "r1", claimed: int = 0, capacity: int = 4000, **more) -> NodeOffer:
    codecs, scenes = more.get("codecs", frozenset(Codec)), more.get("scenes", frozenset({"campus"}))
    return NodeOffer(node=name, region=region, claimed=claimed, capacity=capacity, codecs=codecs, scenes=scenes)


def request(**more) -> PlacementRequest:
    return PlacementRequest(**({"scene": "campus", "codec": Codec.H264, "milliunits": 1000} | more))


def place(req, edges, nodes, policy) -> Placement:
    return search(req, EdgePools(edges), NodePools(nodes), policy, lambda _: 0.0)


def chosen(req, edges, nodes, policy=None) -> tuple[str, str]:
    placement = place(req, edges, nodes, policy or LowestLatency())
    return placement.edge, placement.node


def refused(req, edges, nodes) -> RefusalKind:
    with pytest.raises(Refusal) as caught:
        place(req, edges, nodes, LowestLatency())
    assert caught.value.retry_after_s
    return caught.value.kind


def test_the_edge_nearest_to_the_client_wins():
    probes = [Probe(edge="far", rtt_ms=120), Probe(edge="near", rtt_ms=8)]
    assert chosen(request(probes=probes), [edge("far"), edge("near")], [node("n")]) == ("near", "n")


def test_edge_and_node_are_chosen_together():
    """The nearest edge loses when every free node is far from it."""
    edges = [edge("near", "r1", n2=200.0), edge("middle", "r2", n2=1.0)]
    probes = [Probe(edge="near", rtt_ms=5), Probe(edge="middle", rtt_ms=30)]
    assert chosen(request(probes=probes), edges, [node("n2", "r2")]) == ("middle", "n2")


def test_loss_and_jitter_count():
    probes = [Probe(edge="lossy", rtt_ms=10, loss=0.05), Probe(edge="clean", rtt_ms=40)]
    assert chosen(request(probes=probes), [edge("lossy"), edge("clean")], [node("n")])[0] == "clean"
    probes = [Probe(edge="shaky", rtt_ms=10, jitter_ms=30), Probe(edge="clean", rtt_ms=40)]
    assert chosen(request(probes=probes), [edge("shaky"), edge("clean")], [node("n")])[0] == "clean"


def test_without_probes_the_idle_pair_in_one_region_wins():
    edges = [edge("busy", viewers=90), edge("idle")]
    nodes = [node("abroad", "r9"), node("home"), node("full", claimed=3000)]
    assert chosen(request(), edges, nodes) == ("idle", "home")


def test_an_unprobed_edge_may_beat_a_bad_one_but_not_a_good_one():
    edges = [edge("a"), edge("b")]
    assert chosen(request(probes=[Probe(edge="a", rtt_ms=400)]), edges, [node("n")])[0] == "b"
    assert chosen(request(probes=[Probe(edge="a", rtt_ms=20)]), edges, [node("n")])[0] == "a"


def test_the_rooms_node_is_kept():
    assert chosen(request(room_node="n2"), [edge("e")], [node("n1"), node("n2", claimed=2000)])[1] == "n2"


@pytest.mark.parametrize(
    ("req", "edges", "nodes", "kind"),
    [
        (request(), [], [node("n")], RefusalKind.NO_EDGE),
        (request(), [edge("e")], [], RefusalKind.NO_NODE),
        (request(), [edge("e", viewers=100)], [node("n")], RefusalKind.FARM_FULL),
        (request(), [edge("e")], [node("n", claimed=3001)], RefusalKind.FARM_FULL),
        (request(scene="moon"), [edge("e")], [node("n")], RefusalKind.NO_NODE),
        (request(codec=Codec.VP8), [edge("e")], [node("n", codecs=frozenset({Codec.H264}))], RefusalKind.NO_NODE),
        (request(room_node="gone"), [edge("e")], [node("n")], RefusalKind.NO_NODE),
        (request(excluded_nodes=frozenset({"n"})), [edge("e")], [node("n")], RefusalKind.NO_NODE),
        (request(excluded_edges=frozenset({"e"})), [edge("e")], [node("n")], RefusalKind.NO_EDGE),
        (request(), [edge("e")], [node("n", capacity=0)], RefusalKind.FARM_FULL),
    ],
)
def test_what_is_missing_is_told(req, edges, nodes, kind):
    assert refused(req, edges, nodes) is kind


def test_a_view_drawn_already_needs_no_capacity():
    full = node("n", claimed=4000)
    assert chosen(request(milliunits=0, room_node="n"), [edge("e")], [full]) == ("e", "n")


def test_policies_differ_where_they_should():
    nodes = [node("empty"), node("half", claimed=2000)]
    assert chosen(request(), [edge("e")], nodes, LeastLoaded())[1] == "empty"
    assert chosen(request(), [edge("e")], nodes, Packed())[1] == "half"


@pytest.mark.parametrize("policy", [policy_named(name, Values()) for name in POLICIES], ids=POLICIES)
def test_the_order_of_offers_does_not_matter(policy):
    edges, nodes = [edge("a"), edge("b"), edge("c", viewers=5)], [node("x"), node("y"), node("z", "r2")]
    answers = {
        chosen(request(), list(e), list(n), policy)
        for e, n in itertools.product(itertools.permutations(edges), itertools.permutations(nodes))
    }
    assert len(answers) == 1


def test_many_joins_spread_over_equal_nodes():
    claimed = {f"n{i}": 0 for i in range(10)}
    for _ in range(40):
        offers = [node(name, claimed=used, capacity=8000) for name, used in claimed.items()]
        random.Random(1).shuffle(offers)
        claimed[chosen(request(), [edge("e")], offers)[1]] += 1000
    assert set(claimed.values()) == {4000}


# --- Pictures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("viewport", "size"),
    [
        (Viewport(width=1920, height=1080), (1280, 720)),
        (Viewport(width=1080, height=1920), (720, 1280)),
        (Viewport(width=2000, height=2000), (960, 960)),
        (Viewport(width=801, height=451), (800, 448)),
        (Viewport(width=1, height=1), (160, 160)),
        (Viewport(width=16_384, height=10), (1280, 160)),
    ],
)
def test_pictures_keep_the_viewports_aspect_within_the_limits(viewport, size):
    picture = own_picture(viewport, LIMITS, BASELINE)
    assert (picture.width, picture.height) == size


@given(st.integers(1, 16_384), st.integers(1, 16_384), st.integers(1, 120))
def test_pictures_are_always_encodable_and_affordable(width, height, max_fps):
    picture = own_picture(Viewport(width=width, height=height, max_fps=max_fps), LIMITS, BASELINE)
    assert picture.width % 2 == picture.height % 4 == 0
    assert min(picture.width, picture.height) >= 160
    assert max(picture.width, picture.height) <= 1280
    assert picture.width * picture.height <= 1280 * 720
    assert 1 <= picture.fps <= 30
    assert 1 <= picture.milliunits <= 1000
    assert 50_000 <= picture.max_bitrate_bps <= 100_000_000


def test_one_unit_is_one_720p_view():
    assert own_picture(Viewport(width=1280, height=720, max_fps=60), LIMITS, BASELINE).milliunits == 1000
    assert own_picture(Viewport(max_fps=60), PictureLimits(fps=60), BASELINE).milliunits == 2000


def h264(*profiles: str) -> VideoCapability:
    return VideoCapability(codec=Codec.H264, profiles=list(profiles))


VP8 = VideoCapability(codec=Codec.VP8)


@pytest.mark.parametrize(
    ("capabilities", "best"),
    [
        ([], BASELINE),
        ([h264("42e0")], BASELINE),
        ([h264()], BASELINE),
        ([VP8, h264("42e0", "4d00")], (Codec.H264, H264Profile.MAIN)),
        ([h264("640c")], (Codec.H264, H264Profile.MAIN)),
        ([VP8], (Codec.VP8, None)),
        ([h264("ffff"), VP8], (Codec.VP8, None)),
        ([h264("4200")], BASELINE),
    ],
)
def test_the_best_codec_both_have_is_chosen(capabilities, best):
    assert codec_choices(capabilities)[0] == best


def test_a_stage_is_never_main_profile():
    assert stage_choices([h264("64", "42e0"), VP8])[0] == BASELINE


def test_roles_may_more_from_spectator_to_host():
    ranks = [PERMISSIONS[role] for role in (Role.SPECTATOR, Role.VISITOR, Role.SPEAKER, Role.HOST)]
    assert all(lower < higher for lower, higher in itertools.pairwise(ranks))
    assert permits(Role.HOST, Permission.MOVE_STAGE_CAMERA)
    assert permits(Role.SPEAKER, Permission.ADDRESS_HALL)
    assert not permits(Role.VISITOR, Permission.ADDRESS_HALL)
    assert not permits(Role.SPEAKER, Permission.MOVE_STAGE_CAMERA)
    assert not permits(Role.SPECTATOR, Permission.RAISE_HAND)
