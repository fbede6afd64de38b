"""The barcode survives the codecs at the bitrates we serve, and damage to it never passes for a reading."""

from fractions import Fraction

import av
import numpy as np
import pytest

from client_demo.headless import barcode as reader
from render_farm import barcode
from render_farm.renderer.interface import PixelLayout, PlanarFrame

SIZES = [(1280, 720), (640, 360), (360, 640), (720, 1280), (1278, 718), (322, 182), (160, 160)]


def textured_frame(width: int, height: int, layout: PixelLayout = PixelLayout.I420, shift: int = 0) -> PlanarFrame:
    rows, columns = np.mgrid[0 : height * 3 // 2, 0:width]
    pixels = (128 + 60 * np.sin((columns + 3 * shift) / 9) * np.cos(rows / 7)).astype(np.uint8)
    return PlanarFrame(pixels, width, height, layout)


def planes(frame: PlanarFrame) -> np.ndarray:
    return frame.pixels[: frame.height]


def through_codec(codec: str, options: dict[str, str], frames: list[PlanarFrame], bitrate_bps: int) -> list[np.ndarray]:
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt = frames[0].width, frames[0].height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.bit_rate = Fraction(1, 30), Fraction(30), bitrate_bps
    encoder.options = options
    decoder = av.CodecContext.create("h264" if codec == "libx264" else "vp8", "r")
    lumas = []
    for index, frame in enumerate(frames):
        picture = av.VideoFrame.from_ndarray(frame.pixels, format="yuv420p")
        picture.pts = index
        for packet in encoder.encode(picture):
            lumas += [decoded.to_ndarray()[: frame.height] for decoded in decoder.decode(packet)]
    for packet in encoder.encode(None):
        lumas += [decoded.to_ndarray()[: frame.height] for decoded in decoder.decode(packet)]
    return lumas + [decoded.to_ndarray()[: frame.height] for decoded in decoder.decode(None)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("layout", list(PixelLayout))
def test_stamp_is_read_back_from_every_size_and_layout(width: int, height: int, layout: PixelLayout) -> None:
    frame = textured_frame(width, height, layout)
    barcode.draw(frame, barcode.Stamp(0x123456, 1_764_000_000_123, 0x1FFFF))
    assert reader.read(planes(frame)) == reader.Reading(0x123456, 1_764_000_000_123 % 2**24, 0xFFFF)


@pytest.mark.parametrize(("width", "height"), SIZES[:5])
@pytest.mark.parametrize(
    ("codec", "options"),
    [
        ("libx264", {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline"}),
        ("libvpx", {"deadline": "realtime", "cpu-used": "-8", "lag-in-frames": "0"}),
    ],
)
def test_stamp_survives_coding_at_low_bitrate(codec: str, options: dict[str, str], width: int, height: int) -> None:
    frames = [textured_frame(width, height, shift=index) for index in range(12)]
    stamps = [barcode.Stamp(index * 77_777, index * 99_991, index * 4_321) for index in range(12)]
    for frame, stamp in zip(frames, stamps, strict=True):
        barcode.draw(frame, stamp)
    received = through_codec(codec, options, frames, bitrate_bps=500_000 if width * height > 300_000 else 150_000)
    assert len(received) >= 8
    readings = [reader.read(luma) for luma in received]
    by_number = {stamp.frame_number: stamp for stamp in stamps}
    for reading in readings:
        assert reading is not None
        assert reading.time_ms == by_number[reading.frame_number].time_ms
        assert reading.input_seq == by_number[reading.frame_number].input_seq


@pytest.mark.parametrize("layout", list(PixelLayout))
def test_chroma_is_neutral_under_the_code_and_untouched_elsewhere(layout: PixelLayout) -> None:
    frame = textured_frame(640, 360, layout)
    frame.pixels[360:] = 90
    barcode.draw(frame, barcode.Stamp(1, 2, 3))
    chroma = frame.pixels[360:].reshape(-1)
    assert set(np.unique(chroma).tolist()) == {90, 128}
    assert int((chroma == 128).sum()) == 2 * 320 * 4
    if layout is PixelLayout.NV12:
        assert (chroma[: 640 * 4] == 128).all()
    else:
        assert (chroma[: 320 * 4] == 128).all()
        assert (chroma[320 * 180 :][: 320 * 4] == 128).all()


def test_nothing_below_the_code_is_drawn_on() -> None:
    frame, untouched = textured_frame(1280, 720), textured_frame(1280, 720)
    barcode.draw(frame, barcode.Stamp(1, 2, 3))
    assert np.array_equal(frame.pixels[16:720], untouched.pixels[16:720])


@pytest.mark.parametrize("bit", [0, 23, 24, 47, 48, 63, 64, 79])
def test_one_wrong_cell_is_caught_by_the_checksum(bit: int) -> None:
    frame = textured_frame(1280, 720)
    barcode.draw(frame, barcode.Stamp(99, 98, 97))
    frame.pixels[:16, bit * 16 : bit * 16 + 16] = 251 - frame.pixels[0, bit * 16]
    assert reader.read(planes(frame)) is None


def test_picture_without_a_code_gives_no_reading() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        assert reader.read(random.integers(0, 256, (90, 160), np.uint8)) is None
    assert reader.read(np.zeros((4, 40), np.uint8)) is None


def test_frame_too_small_for_the_code_is_refused() -> None:
    with pytest.raises(ValueError, match="120x90"):
        barcode.draw(textured_frame(120, 90), barcode.Stamp(1, 2, 3))
