import itertools

from hypothesis import given
from hypothesis import strategies as st

from edge.switching import KEYFRAME_REQUEST_INTERVAL_S, MAX_CLOCK_JUMP_S, RTP_HZ, SourceFrame, SourceKind, StreamSwitch

FRAME_S = 1 / 30


class Player:
    """Plays a source into a switch, one frame each 1/30 s of its own capture clock."""

    def __init__(self, switch: StreamSwitch[str], name: str, clock_us: int = 1_000_000) -> None:
        self.switch = switch
        self.name = name
        self.clock_us = clock_us
        self.sequence = 0

    def play_layers(self, now: float, layers: list[int], *, keyframe: bool = False) -> list:
        """One picture in some layers."""
        self.sequence += 1
        self.clock_us += round(FRAME_S * 1e6)
        frames = [SourceFrame(b"x", keyframe, self.sequence, self.clock_us, layer) for layer in layers]
        return [self.switch.frame(self.name, frame, now)[0] for frame in frames]

    def play(self, now: float, *, keyframe: bool = False, skip: int = 0):
        self.sequence += 1 + skip
        self.clock_us += round(FRAME_S * 1e6) * (1 + skip)
        arrived = SourceFrame(b"x", keyframe, self.sequence, self.clock_us)
        return self.switch.frame(self.name, arrived, now)


def opened(fence: int = 1) -> tuple[StreamSwitch[str], Player]:
    switch: StreamSwitch[str] = StreamSwitch()
    assert switch.open("a", fence) is None
    return switch, Player(switch, "a")


def test_nothing_is_shown_before_the_first_keyframe() -> None:
    switch, a = opened()
    assert a.play(0.0)[0] is None
    assert switch.shown is None
    picture, _ = a.play(0.1, keyframe=True)
    assert picture is not None
    assert switch.shown == "a"


def test_new_source_takes_over_at_its_keyframe_and_the_old_is_shown_until_then() -> None:
    switch, a = opened(1)
    a.play(0.0, keyframe=True)
    assert switch.open("b", 2) is None
    b = Player(switch, "b", clock_us=999_000_000_000)
    assert b.play(0.03)[0] is None
    assert a.play(0.04)[0] is not None
    picture, superseded = b.play(0.07, keyframe=True)
    assert picture is not None
    assert superseded == ["a"]
    assert a.play(0.08)[0] is None


def test_timeline_rises_steadily_across_a_switch_between_clocks() -> None:
    switch, a = opened(1)
    stamps = [a.play(FRAME_S * n, keyframe=n == 0)[0].timestamp for n in range(30)]
    switch.open("b", 2)
    b = Player(switch, "b", clock_us=7)
    stamps += [b.play(1.0 + FRAME_S * n, keyframe=n == 0)[0].timestamp for n in range(30)]
    steps = [later - earlier for earlier, later in itertools.pairwise(stamps)]
    assert all(abs(step - RTP_HZ / 30) < RTP_HZ / 300 for step in steps), steps


def test_zombie_source_is_refused_by_its_fence() -> None:
    switch, _ = opened(5)
    assert "older" in (switch.open("zombie", 4) or "")
    assert switch.owner == "a"


def test_required_fence_refuses_sources_that_are_not_shown() -> None:
    switch, _a = opened(1)
    assert switch.require_fence(2) == ["a"]
    shown, player = opened(1)
    player.play(0.0, keyframe=True)
    assert shown.require_fence(2) == []


def test_of_two_sources_with_one_fence_the_later_takes_over_at_its_keyframe() -> None:
    switch, a = opened(1)
    a.play(0.0, keyframe=True)
    assert switch.open("b", 1) is None
    assert switch.owner == "b", "input goes where the stream will come from"
    b = Player(switch, "b")
    assert a.play(0.03, keyframe=True)[0] is not None
    assert b.play(0.03)[0] is None
    picture, superseded = b.play(0.06, keyframe=True)
    assert picture is not None
    assert superseded == ["a"]


def test_earlier_source_does_not_take_the_picture_back() -> None:
    switch, _a = opened(1)
    switch.open("b", 1)
    switch.open("c", 1)
    c, b = Player(switch, "c"), Player(switch, "b")
    c.play(0.0, keyframe=True)
    assert b.play(0.1, keyframe=True)[0] is None
    assert switch.shown == "c"


def test_picture_goes_on_when_the_owner_is_lost_before_its_keyframe() -> None:
    switch, a = opened(1)
    a.play(0.0, keyframe=True)
    switch.open("b", 2)
    switch.close("b")
    assert a.play(0.1)[0] is not None


def test_gap_stops_the_picture_until_a_keyframe_which_is_requested() -> None:
    switch, a = opened()
    a.play(0.0, keyframe=True)
    switch.keyframe_requests_due(0.0)
    assert a.play(1.0, skip=3)[0] is None
    assert switch.keyframe_requests_due(1.0)
    assert a.play(1.1)[0] is None
    assert a.play(1.2, keyframe=True)[0] is not None
    assert a.play(1.3)[0] is not None


def test_keyframe_requests_are_coalesced_and_end_with_the_keyframe() -> None:
    switch, a = opened()
    assert switch.keyframe_requests_due(10.0)
    for _ in range(100):
        switch.want_keyframe()
        assert not switch.keyframe_requests_due(10.0 + KEYFRAME_REQUEST_INTERVAL_S / 2)
    assert switch.keyframe_requests_due(10.0 + KEYFRAME_REQUEST_INTERVAL_S)
    a.play(11.0, keyframe=True)
    assert not switch.keyframe_requests_due(12.0)


def test_capture_clock_that_leaps_does_not_stop_the_timeline() -> None:
    _switch, a = opened()
    first = a.play(0.0, keyframe=True)[0]
    a.clock_us += int(3600e6)
    second = a.play(FRAME_S)[0]
    assert 0 < second.timestamp - first.timestamp < MAX_CLOCK_JUMP_S * RTP_HZ


# --- Layers ---------------------------------------------------------------------------------------------


def layered(layers: int = 3) -> tuple[StreamSwitch[str], Player]:
    switch: StreamSwitch[str] = StreamSwitch()
    switch.open("a", 1, layers=layers)
    return switch, Player(switch, "a")


def test_layers_of_a_picture_bear_the_same_time() -> None:
    _, a = layered()
    for number in range(10):
        pictures = a.play_layers(number * FRAME_S, [0, 1, 2], keyframe=number == 0)
        assert [picture.layer for picture in pictures] == [0, 1, 2]
        assert len({picture.timestamp for picture in pictures}) == 1


def test_layer_that_is_late_keeps_its_own_order_and_time() -> None:
    switch, _ = layered(2)
    stamps: dict[int, list[int]] = {0: [], 1: []}
    for number in range(8):
        for layer, lag in ((0, 0), (1, 1)):
            picture, _ = switch.frame(
                "a", SourceFrame(b"x", True, number, (number - lag) * 33_333, layer), number * FRAME_S
            )
            stamps[layer].append(picture.timestamp)
    assert stamps[0] == sorted(set(stamps[0]))
    assert stamps[1] == sorted(set(stamps[1]))
    assert stamps[0][:-1] == stamps[1][1:]


def test_gap_in_one_layer_does_not_stop_the_others() -> None:
    switch, a = layered(2)
    a.play_layers(0.0, [0, 1], keyframe=True)
    switch.keyframe_requests_due(0.0)
    a.play_layers(0.1, [0])
    low, high = a.play_layers(1.0, [0, 1])
    assert low is not None
    assert high is None
    assert switch.keyframe_requests_due(1.0) == [1]


def test_keyframes_are_asked_for_layer_by_layer() -> None:
    switch, a = layered()
    assert switch.keyframe_requests_due(0.0) == [0, 1, 2]
    a.play_layers(0.1, [0, 1, 2], keyframe=True)
    switch.want_keyframe(2)
    assert switch.keyframe_requests_due(1.0) == [2]
    switch.want_keyframe(0)
    assert switch.keyframe_requests_due(1.1) == [0]


def test_layers_that_the_source_does_not_have_are_neither_shown_nor_asked_for() -> None:
    switch, a = layered(1)
    a.play_layers(0.0, [0], keyframe=True)
    assert a.play_layers(0.1, [3], keyframe=True) == [None]
    switch.want_keyframe(3)
    assert switch.keyframe_requests_due(1.0) == []


# --- Publishers -----------------------------------------------------------------------------------------


def test_publisher_is_shown_from_its_keyframe_on_and_the_node_keeps_the_stream() -> None:
    switch, node = opened(7)
    node.play(0.0, keyframe=True)
    switch.open("p", 0, kind=SourceKind.PUBLISHER)
    publisher = Player(switch, "p")
    assert publisher.play(0.1)[0] is None
    assert node.play(0.1)[0] is not None
    picture, superseded = publisher.play(0.2, keyframe=True)
    assert picture is not None
    assert superseded == []
    assert (switch.shown, switch.owner, switch.preferred) == ("p", "a", "p")
    assert node.play(0.3, keyframe=True)[0] is None


def test_node_takes_over_again_when_the_publisher_leaves() -> None:
    switch, node = opened(7)
    node.play(0.0, keyframe=True)
    switch.open("p", 0, kind=SourceKind.PUBLISHER)
    publisher = Player(switch, "p", clock_us=5)
    last = publisher.play(0.2, keyframe=True)[0].timestamp
    switch.keyframe_requests_due(0.2)
    switch.close("p")
    assert switch.keyframe_requests_due(1.0) == [0]
    assert node.play(1.0)[0] is None
    picture = node.play(1.1, keyframe=True)[0]
    assert picture.timestamp - last == round(0.9 * RTP_HZ)


def test_new_node_does_not_end_a_publisher() -> None:
    switch, _ = opened(7)
    switch.open("p", 0, kind=SourceKind.PUBLISHER)
    Player(switch, "p").play(0.0, keyframe=True)
    switch.open("b", 8)
    assert Player(switch, "b").play(0.1, keyframe=True)[0] is None
    assert switch.require_fence(9) == ["a", "b"]
    assert switch.shown == "p"


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.booleans(),
            st.integers(0, 3),
            st.integers(0, 2**40),
            st.sampled_from(["frame", "open", "close"]),
            st.integers(0, 9),
        ),
        max_size=120,
    )
)
def test_timeline_never_runs_backwards_whatever_sources_do(events) -> None:
    switch: StreamSwitch[str] = StreamSwitch()
    sequence = dict.fromkeys("abc", 0)
    last, now = None, 0.0
    for source, keyframe, skip, clock_us, kind, fence in events:
        now += 0.01
        if kind == "open":
            switch.open(source, fence)
        elif kind == "close":
            switch.close(source)
        else:
            sequence[source] += 1 + skip
            picture, _ = switch.frame(source, SourceFrame(b"", keyframe, sequence[source], clock_us), now)
            if picture is not None:
                assert last is None or picture.timestamp > last
                last = picture.timestamp
