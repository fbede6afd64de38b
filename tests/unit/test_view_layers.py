"""Simulcast at the node: which layers are encoded, for whom, and that each begins with a keyframe."""

import av
import msgspec
import numpy as np
import pytest

from edge.trunk import StreamFeedback
from render_farm.layers import KEPT_S, LayerDemand, describe
from render_farm.pacing import Work
from render_farm.renderer.interface import PixelLayout, PlanarFrame
from render_farm.view import LiveView
from tests.unit.test_live_view import Stream, view

WIDTH, HEIGHT = 1280, 720


def layered(layers: int = 3) -> tuple[LiveView, Stream]:
    put = msgspec.structs.replace(view().put, width=WIDTH, height=HEIGHT, layers=layers, max_bitrate_bps=3_000_000)
    live, stream = LiveView(put, stamped=True), Stream()
    live.feed(stream, "e")
    live.opened(stream, 0.0)
    return live, stream


def wanted(live: LiveView, stream: Stream, layers: list[int], now: float) -> None:
    live.take_feedback(stream, StreamFeedback(viewers=sum(layers), bitrate_bps=2e6, layers=layers), now)


def frame() -> PlanarFrame:
    pixels = np.random.default_rng(1).integers(60, 180, (HEIGHT * 3 // 2, WIDTH), np.uint8)
    return PlanarFrame(pixels, WIDTH, HEIGHT, PixelLayout.I420)


def test_layers_are_described_from_the_lowest_each_twice_as_wide_and_high() -> None:
    layers = describe(WIDTH, HEIGHT, 3_200_000, 3)
    assert [(layer.width, layer.height) for layer in layers] == [(320, 180), (640, 360), (1280, 720)]
    assert [layer.max_bitrate_bps for layer in layers] == [200_000, 800_000, 3_200_000]
    assert describe(WIDTH, HEIGHT, 3_200_000, 1) == []


def test_everything_is_encoded_for_an_edge_that_has_just_come_and_then_what_its_viewers_get() -> None:
    live, stream = layered()
    wanted(live, stream, [0, 0, 5], 0.1)
    assert live.take_shot(0, Work.ENCODE, 1, 0.2).layers == {0, 1, 2}
    wanted(live, stream, [0, 0, 5], KEPT_S)
    assert live.take_shot(0, Work.ENCODE, 2, KEPT_S + 0.2).layers == {2}


def test_layer_wanted_again_begins_with_a_keyframe_of_that_layer_only() -> None:
    live, stream = layered()
    live.take_shot(0, Work.ENCODE, 1, 0.1)
    wanted(live, stream, [0, 0, 5], KEPT_S)
    assert live.take_shot(0, Work.ENCODE, 2, KEPT_S + 0.2).keyframes == set()
    wanted(live, stream, [1, 0, 4], KEPT_S + 1)
    shot = live.take_shot(0, Work.ENCODE, 3, KEPT_S + 1.1)
    assert (shot.layers, shot.keyframes) == ({0, 2}, {0})
    assert live.take_shot(0, Work.ENCODE, 4, KEPT_S + 1.2).keyframes == set()


def test_keyframe_request_for_a_layer_nobody_had_starts_it() -> None:
    live, stream = layered()
    wanted(live, stream, [0, 0, 5], KEPT_S)
    assert 1 not in live.take_shot(0, Work.ENCODE, 1, KEPT_S + 0.2).layers
    live.want_keyframe(stream, 1, KEPT_S + 0.3)
    shot = live.take_shot(0, Work.ENCODE, 2, KEPT_S + 0.4)
    assert 1 in shot.layers & shot.keyframes


def test_request_for_a_layer_that_does_not_exist_changes_nothing() -> None:
    live, stream = layered(1)
    live.take_shot(0, Work.ENCODE, 1, 0.1)
    live.want_keyframe(stream, 3, 0.2)
    assert live.take_shot(0, Work.ENCODE, 2, 0.3).keyframes == set()


def test_edge_gets_only_the_layers_it_wants_and_none_before_its_keyframe() -> None:
    live, first = layered()
    second = Stream()
    live.take_shot(0, Work.ENCODE, 1, 0.0)
    live.feed(second, "e2")
    wanted(live, first, [1, 0, 0], 1e12)
    wanted(live, second, [0, 0, 1], 1e12)
    shot = live.take_shot(0, Work.ENCODE, 2, 1e12)
    for layer in sorted(shot.layers):
        picture = live.encode(frame(), shot, layer)
        assert picture is not None
        assert picture.keyframe
        live.send(picture, shot, layer)
    assert [sent["layer"] for sent in first.sent] == [0]
    assert [sent["layer"] for sent in second.sent] == [2]


def test_layers_show_the_same_picture_in_their_sizes() -> None:
    live, _ = layered()
    gradient = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    gradient[:HEIGHT] = np.linspace(40, 200, WIDTH, dtype=np.uint8)
    shot = live.take_shot(0, Work.ENCODE, 1_000_000, 0.0)
    for layer, size in enumerate([(320, 180), (640, 360), (1280, 720)]):
        picture = live.encode(PlanarFrame(gradient.copy(), WIDTH, HEIGHT, PixelLayout.I420), shot, layer)
        decoded = decode(picture.payload)
        assert (decoded.shape[1], decoded.shape[0]) == size
        row = decoded[decoded.shape[0] // 2].astype(float)
        expected = np.linspace(40, 200, size[0])
        assert np.abs(row - expected).max() < 12


def decode(payload: bytes) -> np.ndarray:
    decoder = av.CodecContext.create("h264", "r")
    (picture,) = decoder.decode(av.Packet(payload)) or decoder.decode(None)
    return picture.to_ndarray(format="yuv420p")[: picture.height]


@pytest.mark.parametrize("counts", [[], [0, 0, 0, 9, 9]])
def test_feedback_that_does_not_fit_the_layers_is_taken_as_far_as_it_does(counts: list[int]) -> None:
    demand = LayerDemand(3)
    demand.told("e", counts, 0.0)
    assert demand.of("e", 0.1) == set()


def test_edge_that_left_wants_nothing() -> None:
    demand = LayerDemand(2)
    demand.ask("e", 1, 0.0)
    demand.forget("e")
    assert demand.of("e", 0.1) == set()
