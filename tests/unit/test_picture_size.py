"""Sizes of keyframes as encoders make them, and of bytes that nobody should have sent."""

import time
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.protocol import Codec
from edge.picture_size import MAX_SIDE, picture_size

SIZES = [(1280, 720), (1920, 1080), (640, 360), (322, 182), (176, 144)]


def keyframe(encoder: str, size: tuple[int, int], options: dict[str, str]) -> bytes:
    context = av.CodecContext.create(encoder, "w")
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.options = "yuv420p", Fraction(1, 30), options
    picture = av.VideoFrame.from_ndarray(np.full((size[1] * 3 // 2, size[0]), 128, np.uint8), format="yuv420p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in context.encode(picture) + context.encode(None))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
def test_h264_tells_its_size_with_cropping(profile, size):
    options = {"profile": profile, "tune": "zerolatency", "x264-params": "annexb=1:repeat-headers=1"}
    assert picture_size(Codec.H264, keyframe("libx264", size, options)) == size


@pytest.mark.parametrize("size", SIZES)
def test_vp8_tells_its_size(size):
    assert picture_size(Codec.VP8, keyframe("libvpx", size, {"lag-in-frames": "0", "deadline": "realtime"})) == size


def test_scaling_lists_are_passed_over():
    options = {"profile": "high", "x264-params": "annexb=1:repeat-headers=1:cqm=jvt"}
    assert picture_size(Codec.H264, keyframe("libx264", (640, 368), options)) == (640, 368)


@pytest.mark.parametrize("codec", list(Codec))
@given(payload=st.binary(max_size=200))
def test_any_bytes_give_a_size_or_none(codec, payload):
    for start in (b"", b"\0\0\1\x67", b"\0\0\1\x67\x64", b"\x10\0\0\x9d\x01\x2a"):
        size = picture_size(codec, start + payload)
        assert size is None or all(0 < side <= MAX_SIDE for side in size)


@pytest.mark.parametrize("length", range(0, 30, 3))
def test_truncated_keyframe_gives_a_size_or_none(length):
    options = {"profile": "high", "x264-params": "annexb=1:repeat-headers=1"}
    whole = keyframe("libx264", (640, 360), options)
    assert picture_size(Codec.H264, whole[:length]) in (None, (640, 360))


def test_many_units_before_the_parameter_sets_are_not_searched():
    payload = b"\0\0\1\x09" * 1_000_000
    started = time.perf_counter()
    assert picture_size(Codec.H264, payload) is None
    assert time.perf_counter() - started < 0.05
