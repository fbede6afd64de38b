import msgspec
import numpy as np
import pytest

from broker.protocol import Codec, H264Profile, PutView, TrunkTarget
from edge.trunk import Flag, StreamFeedback
from render_farm import barcode
from render_farm.layers import MIN_BITRATE_BPS
from render_farm.pacing import Work
from render_farm.renderer.interface import PixelLayout, PlanarFrame
from render_farm.view import LiveView, Shot

WIDTH, HEIGHT = 640, 360


class Stream:
    """An outgoing stream that records."""

    def __init__(self, *, accepted: bool = True, taking: bool = True) -> None:
        self.accepted, self.taking = accepted, taking
        self.sent: list[dict] = []

    def send(self, payload: bytes, **details) -> bool:
        if self.accepted and self.taking:
            self.sent.append({"payload": payload, **details})
        return self.accepted and self.taking


def view(*, stamped: bool = True, max_bitrate_bps: int = 3_000_000) -> LiveView:
    put = PutView(
        view="v",
        stream="s",
        fence=1,
        room="r",
        participant="p",
        width=WIDTH,
        height=HEIGHT,
        fps=30,
        codec=Codec.H264,
        profile=H264Profile.MAIN,
        max_bitrate_bps=max_bitrate_bps,
        targets=[TrunkTarget(edge="e", url="ws://x", token="t")],
    )
    return LiveView(put, stamped=stamped)


def frame(seed: int = 0) -> PlanarFrame:
    pixels = np.random.default_rng(seed).integers(60, 180, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    return PlanarFrame(pixels, WIDTH, HEIGHT, PixelLayout.I420)


def shot(number: int = 1, *, work: Work = Work.ENCODE, keyframe: bool = False) -> Shot:
    return Shot(number, 1_700_000_000_000_000, 77, work, 0, keyframes=frozenset({0} if keyframe else ()))


def test_changed_frame_rate_is_drawn_at() -> None:
    live = view()
    live.update(msgspec.structs.replace(live.put, fps=10))
    assert live.pacing.interval_s == pytest.approx(0.1)


def test_view_is_watched_only_through_an_accepted_stream_with_viewers() -> None:
    live = view()
    assert not live.watched
    stream = Stream(accepted=False)
    live.streams[stream] = StreamFeedback(viewers=3)
    assert not live.watched
    stream.accepted = True
    assert live.watched
    live.take_feedback(stream, StreamFeedback(viewers=0), 0.0)
    assert not live.watched


@pytest.mark.parametrize(("reported", "used"), [(1e6, 1e6), (1e9, 3e6), (1.0, MIN_BITRATE_BPS)])
def test_bitrate_follows_what_the_network_takes_within_bounds(reported: float, used: float) -> None:
    live = view()
    fast, slow = Stream(), Stream()
    live.streams[fast] = live.streams[slow] = StreamFeedback(viewers=1)
    live.take_feedback(fast, StreamFeedback(viewers=1, bitrate_bps=5e9), 0.0)
    live.take_feedback(slow, StreamFeedback(viewers=1, bitrate_bps=reported), 0.0)
    live.encode(frame(), shot(keyframe=True))
    sizes = [len(live.encode(frame(n), shot(n)).payload) for n in range(2, 32)]
    assert live._encoders[0].bitrate_bps == used
    assert sum(sizes) * 8 < used * 1.6 + 60_000


def test_slow_node_uses_the_bitrate_it_may_and_no_more() -> None:
    live = view(max_bitrate_bps=400_000)
    stream = Stream()
    live.streams[stream] = StreamFeedback(viewers=1)
    live.take_feedback(stream, StreamFeedback(viewers=1, bitrate_bps=400_000), 0.0)
    interval_s = 4 / live.put.fps
    sizes = []
    for number in range(90):
        moment = live.take_shot(0, Work.ENCODE, int((100 + number * interval_s) * 1e6), 0.0)
        sizes.append(len(live.encode(frame(number), moment).payload))
    rate_bps = sum(sizes[60:]) * 8 / (30 * interval_s)
    assert 0.7 * 400_000 < rate_bps < 1.3 * 400_000


def test_edge_without_viewers_does_not_hold_the_bitrate_down() -> None:
    live = view()
    empty, watched = Stream(), Stream()
    live.streams[empty] = live.streams[watched] = StreamFeedback(viewers=1)
    live.take_feedback(watched, StreamFeedback(viewers=5, bitrate_bps=2e6), 0.0)
    live.take_feedback(empty, StreamFeedback(viewers=0, bitrate_bps=2e5), 0.0)
    live.encode(frame(), shot())
    assert live._encoders[0].bitrate_bps == 2_000_000


def test_picture_carries_number_time_and_input_in_its_barcode_and_header() -> None:
    live = view()
    stream = Stream()
    live.streams[stream] = StreamFeedback(viewers=1)
    drawn = frame()
    picture = live.encode(drawn, shot(5, keyframe=True))
    expected = frame()
    barcode.draw(expected, barcode.Stamp(5, 1_700_000_000_000, 77))
    np.testing.assert_array_equal(drawn.pixels, expected.pixels)
    assert live.send(picture, shot(5, keyframe=True))
    (sent,) = stream.sent
    assert sent["flags"] == Flag.KEYFRAME
    assert (sent["input_sequence"], sent["capture_time_us"]) == (77, 1_700_000_000_000_000)


def test_unstamped_view_leaves_the_picture_as_drawn() -> None:
    live = view(stamped=False)
    drawn = frame()
    live.encode(drawn, shot())
    np.testing.assert_array_equal(drawn.pixels, frame().pixels)


def test_dropped_picture_makes_the_next_one_a_keyframe() -> None:
    live = view()
    stream = Stream()
    live.streams[stream] = StreamFeedback(viewers=1)
    first, second = (live.take_shot(0, Work.ENCODE, number, 0.0) for number in (1, 2))
    assert (first.keyframes, second.keyframes) == ({0}, set())
    live.send(live.encode(frame(), first), first)
    stream.taking = False
    assert not live.send(live.encode(frame(), second), second)
    assert live.take_shot(0, Work.ENCODE, 3, 0.0).keyframes == {0}


def test_one_encoding_serves_every_edge() -> None:
    live = view()
    streams = [Stream(), Stream(), Stream()]
    for stream in streams:
        live.streams[stream] = StreamFeedback(viewers=1)
    picture = live.encode(frame(), shot(keyframe=True))
    live.send(picture, shot(keyframe=True))
    assert all(stream.sent[0]["payload"] is picture.payload for stream in streams)


def test_picture_drawn_before_the_view_changed_its_size_is_encoded_as_it_is() -> None:
    live = view()
    live.encode(frame(), shot())
    live.update(msgspec.structs.replace(live.put, width=HEIGHT, height=WIDTH))
    assert live.encode(frame(), shot(2)) is not None
    turned = PlanarFrame(np.full((WIDTH * 3 // 2, HEIGHT), 90, np.uint8), HEIGHT, WIDTH, PixelLayout.I420)
    picture = live.encode(turned, shot(3))
    assert picture is not None
    assert picture.keyframe


def test_ended_view_frees_its_encoder_even_while_a_picture_is_under_way() -> None:
    live = view()
    live.encode(frame(), shot())
    live.under_way = 1
    live.close_when_idle()
    live.encode(frame(), shot())
    assert live._encoders[0].is_open
    live.picture_done()
    assert not live._encoders[0].is_open
