"""The encoders, each judged by what a real decoder makes of its pictures."""

import asyncio
import sys
import threading
import time
from dataclasses import replace

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from broker.protocol import Codec, H264Profile
from render_farm.encoder.interface import EncoderError, EncoderSettings, VideoEncoder
from render_farm.encoder.opening import available_encoders, open_encoder
from render_farm.encoder.parameters import HEADROOM
from render_farm.encoder.pyav_encoder import PyAvEncoder
from render_farm.renderer.cpu import CpuRenderer
from render_farm.renderer.interface import AvatarFrame, Camera, PixelLayout, PlanarFrame, View
from render_farm.scene.model import Geometry, Places, Scene

WIDTH, HEIGHT, FPS = 640, 360, 30
BITRATE_BPS = 800_000
MAIN = EncoderSettings(Codec.H264, WIDTH, HEIGHT, FPS, BITRATE_BPS, H264Profile.MAIN)
BASELINE = replace(MAIN, profile=H264Profile.CONSTRAINED_BASELINE)
VP8 = EncoderSettings(Codec.VP8, WIDTH, HEIGHT, FPS, BITRATE_BPS)
EVERY = pytest.mark.parametrize("settings", [MAIN, BASELINE, VP8], ids=["main", "baseline", "vp8"])

_PLACES = Places(
    bounds=(-100, -100, 100, 100),
    spawns=np.zeros((1, 4), np.float32),
    seats=np.zeros((0, 4), np.float32),
    walls=np.array([[-9, -16, -2, -15], [3, -16, 9, -15]], np.float32),
)
_SCENE = Scene("test", _PLACES, Geometry((), (), (), np.zeros(0, np.uint32), np.zeros((0, 4, 4), np.float32)))


@pytest.fixture(scope="module")
def walk() -> list[PlanarFrame]:
    """Ninety pictures of a walk with turning, as a visitor sees it."""

    async def pictures() -> list[PlanarFrame]:
        renderer = CpuRenderer()
        frames = []
        for number in range(90):
            camera = Camera((0.0, 1.65, -0.08 * number), 0.25 * np.sin(number / 20), -0.05)
            frame = (await renderer.render([View(_SCENE, AvatarFrame.empty(), camera, WIDTH, HEIGHT)]))[0]
            frames.append(replace(frame, pixels=frame.pixels.copy()))
        return frames

    return asyncio.run(pictures())


class Decoder:
    """A real decoder that is given one picture at a time."""

    def __init__(self, settings: EncoderSettings) -> None:
        self._context = av.CodecContext.create("h264" if settings.codec is Codec.H264 else "vp8", "r")
        self._context.flags |= 1 << 19  # low delay: give each picture back at once

    def decode(self, payload: bytes) -> NDArray[np.uint8] | None:
        frames = self._context.decode(av.Packet(payload))
        return frames[0].to_ndarray() if frames else None


def luma_psnr_db(received: NDArray[np.uint8] | None, frame: PlanarFrame) -> float:
    assert received is not None
    error = received[: frame.height].astype(float) - frame.pixels[: frame.height]
    return float(10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)))


def nal_types(payload: bytes) -> list[int]:
    starts = [at for at in range(len(payload) - 3) if payload[at : at + 3] == b"\0\0\1"]
    return [payload[at + 3] & 0x1F for at in starts]


def rate_bps(encoder: VideoEncoder, frames: list[PlanarFrame]) -> float:
    return sum(len(encoder.encode(frame).payload) for frame in frames) * 8 * FPS / len(frames)


def as_nv12(frame: PlanarFrame) -> PlanarFrame:
    chroma = frame.pixels[frame.height :].reshape(2, -1)
    pixels = frame.pixels.copy()
    pixels[frame.height :] = chroma.T.reshape(frame.height // 2, frame.width)
    return replace(frame, pixels=pixels, layout=PixelLayout.NV12)


@EVERY
def test_every_frame_gives_its_picture_at_once(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder, decoder = open_encoder(settings), Decoder(settings)
    for number, frame in enumerate(walk[:30]):
        picture = encoder.encode(frame)
        assert picture.keyframe == (number == 0)
        assert luma_psnr_db(decoder.decode(picture.payload), frame) > 27
    encoder.close()


@EVERY
@pytest.mark.parametrize("layout", list(PixelLayout))
@pytest.mark.parametrize(("width", "height"), [(320, 240), (320, 238), (1278, 718), (844, 390)])
def test_colours_stay_where_the_brightness_is(
    settings: EncoderSettings, layout: PixelLayout, width: int, height: int
) -> None:
    border = height // 2 // 2 * 2
    pixels = np.full((height * 3 // 2, width), 90, np.uint8)
    pixels[border:height] = 170
    chroma = np.full((2, height // 2, width // 2), 90, np.uint8)
    chroma[:, border // 2 :] = 170
    planes = chroma if layout is PixelLayout.I420 else chroma.transpose(1, 2, 0)
    pixels[height:] = planes.reshape(height // 2, width)
    encoder, decoder = open_encoder(replace(settings, width=width, height=height)), Decoder(settings)
    frame = PlanarFrame(pixels, width, height, layout)
    for _ in range(3):
        received = decoder.decode(encoder.encode(frame).payload)
    encoder.close()
    assert received is not None
    seen = received[height:].reshape(2, height // 2, width // 2).astype(int)
    assert (abs(seen[:, : border // 2 - 1] - 90) < 12).all()
    assert (abs(seen[:, border // 2 + 1 :] - 170) < 12).all()


@EVERY
@pytest.mark.parametrize(("width", "height"), [(160, 160), (360, 640), (1278, 718), (1920, 1080)])
def test_any_even_size_can_be_encoded(settings: EncoderSettings, width: int, height: int) -> None:
    encoder, decoder = open_encoder(replace(settings, width=width, height=height)), Decoder(settings)
    ramp = np.add.outer(np.arange(height * 3 // 2), np.arange(width)) // 12 % 200 + 20
    frame = PlanarFrame(ramp.astype(np.uint8), width, height, PixelLayout.I420)
    for _ in range(3):
        received = decoder.decode(encoder.encode(frame).payload)
    assert received is not None
    assert received.shape == (height * 3 // 2, width)


@EVERY
def test_nv12_and_i420_give_the_same_colours(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    for given in (walk[0], as_nv12(walk[0])):
        encoder, decoder = open_encoder(settings), Decoder(settings)
        for _ in range(8):
            received = decoder.decode(encoder.encode(given).payload)
        assert received is not None
        assert np.abs(received.astype(int) - walk[0].pixels).mean() < 3


@EVERY
def test_requested_keyframe_starts_a_new_decoder(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(settings)
    for frame in walk[:7]:
        encoder.encode(frame)
    late = Decoder(settings)
    picture = encoder.encode(walk[7], keyframe=True)
    assert picture.keyframe
    assert luma_psnr_db(late.decode(picture.payload), walk[7]) > 22
    for frame in walk[8:20]:
        picture = encoder.encode(frame)
        assert not picture.keyframe
        received = late.decode(picture.payload)
    assert luma_psnr_db(received, walk[19]) > 27


@pytest.mark.parametrize("settings", [MAIN, BASELINE], ids=["main", "baseline"])
def test_h264_keyframes_carry_their_parameter_sets(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(settings)
    for number, frame in enumerate(walk[:80]):
        types = nal_types(encoder.encode(frame, keyframe=number == 40).payload)
        assert [kind for kind in types if kind in (1, 5)] == ([5] if number in (0, 40) else [1])
        if 5 in types:
            assert types.index(7) < types.index(8) < types.index(5)


@pytest.mark.parametrize(("settings", "profile_idc"), [(MAIN, 77), (BASELINE, 66)], ids=["main", "baseline"])
def test_h264_profile_and_colours_are_those_negotiated(
    settings: EncoderSettings, profile_idc: int, walk: list[PlanarFrame]
) -> None:
    payload = open_encoder(settings).encode(walk[0]).payload
    sps = payload.index(b"\0\0\1\x67") + 4
    assert payload[sps] == profile_idc
    if settings is BASELINE:
        assert payload[sps + 1] & 0x40, "constraint_set1: also decodable as Main"
    decoder = av.CodecContext.create("h264", "r")
    decoder.decode(av.Packet(payload))
    decoder.decode(None)
    assert (decoder.color_range, decoder.colorspace, decoder.color_primaries) == (1, 1, 1)


@EVERY
def test_stream_keeps_to_its_bitrate(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(settings)
    encoder.encode(walk[0])
    assert rate_bps(encoder, walk[1:61]) == pytest.approx(BITRATE_BPS, rel=0.3)


@pytest.mark.parametrize("settings", [MAIN, BASELINE], ids=["main", "baseline"])
def test_bitrate_change_shows_within_a_second_without_keyframe(
    settings: EncoderSettings, walk: list[PlanarFrame]
) -> None:
    encoder = open_encoder(settings)
    there_and_back = walk + walk[::-1]
    for frame in there_and_back[:60]:
        encoder.encode(frame)
    for target_bps in (250_000, 1_600_000, 400_000):
        encoder.set_bitrate(target_bps)
        pictures = [encoder.encode(frame) for frame in there_and_back[60:120]]
        assert not any(picture.keyframe for picture in pictures)
        settled = sum(len(picture.payload) for picture in pictures[FPS:]) * 8
        assert settled == pytest.approx(target_bps, rel=0.35)


def test_bitrate_above_the_headroom_is_reached_after_the_next_keyframe(walk: list[PlanarFrame]) -> None:
    low = replace(MAIN, bitrate_bps=100_000)
    encoder = open_encoder(low)
    encoder.encode(walk[0])
    encoder.set_bitrate(100_000 * HEADROOM * 4)
    assert rate_bps(encoder, walk[1:31]) < 100_000 * HEADROOM * 1.5
    encoder.encode(walk[31], keyframe=True)
    assert rate_bps(encoder, walk[32:62]) > 100_000 * HEADROOM * 2


def test_vp8_takes_a_lasting_bitrate_change_with_one_keyframe(walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(VP8)
    frames = walk + walk[::-1] + walk
    for frame in frames[:100]:
        encoder.encode(frame)
    encoder.set_bitrate(250_000)
    pictures = [encoder.encode(frame) for frame in frames[100:190]]
    assert [picture.keyframe for picture in pictures].count(True) == 1
    assert sum(len(picture.payload) for picture in pictures[FPS:]) * 8 / 2 == pytest.approx(250_000, rel=0.4)


@EVERY
def test_picture_at_rest_becomes_visually_lossless_without_a_burst(
    settings: EncoderSettings, walk: list[PlanarFrame]
) -> None:
    encoder, decoder = open_encoder(settings), Decoder(settings)
    for frame in walk[:40]:
        received = decoder.decode(encoder.encode(frame).payload)
    before_db = luma_psnr_db(received, walk[39])
    sizes = []
    while (picture := encoder.refine(walk[39], step=len(sizes))) is not None:
        assert not picture.keyframe
        received = decoder.decode(picture.payload)
        sizes.append(len(picture.payload))
    assert luma_psnr_db(received, walk[39]) > max(42, before_db + 3)
    assert max(sizes) < 3 * BITRATE_BPS / 8 / FPS
    assert encoder.refine(walk[39], step=len(sizes)) is None


@EVERY
def test_movement_goes_on_from_the_refined_picture(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder, decoder = open_encoder(settings), Decoder(settings)
    for frame in walk[:30]:
        decoder.decode(encoder.encode(frame).payload)
    step = 0
    while (picture := encoder.refine(walk[29], step=step)) is not None:
        decoder.decode(picture.payload)
        step += 1
    for frame in walk[30:60]:
        picture = encoder.encode(frame)
        assert not picture.keyframe
        assert luma_psnr_db(decoder.decode(picture.payload), frame) > 26
    assert encoder.refine(walk[59], step=0) is not None


@pytest.mark.parametrize("settings", [MAIN], ids=["main"])
def test_damaged_picture_heals_without_a_keyframe(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    """Intra refresh: a viewer that lost pictures sees a sound one again within two refresh periods."""
    encoder, sound, damaged = open_encoder(settings), Decoder(settings), Decoder(settings)
    still_damaged = 0.0
    frames = (walk + walk[::-1])[:165]
    for number, frame in enumerate(frames):
        payload = encoder.encode(frame).payload
        intact = sound.decode(payload)
        if number not in range(5, 10):
            received = damaged.decode(payload)
        if number == 12:
            still_damaged = luma_psnr_db(received, frame)
    assert intact is not None
    assert luma_psnr_db(received, frames[-1]) > still_damaged
    assert luma_psnr_db(received, frames[-1]) == pytest.approx(luma_psnr_db(intact, frames[-1]), abs=1.5)


def test_encoding_leaves_the_interpreter_free(walk: list[PlanarFrame]) -> None:
    """While one thread encodes, another runs Python; so encoders in threads use several cores.

    Nobody is made to yield the interpreter during the test, so whoever sees `inside` was let in by `encode`.
    """
    encoder = open_encoder(MAIN)
    inside, seen = False, 0

    def encode_all() -> None:
        nonlocal inside
        for frame in walk:
            inside = True
            encoder.encode(frame)
            inside = False

    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(60)
    try:
        worker = threading.Thread(target=encode_all)
        worker.start()
        while worker.is_alive():
            seen += inside
            time.sleep(0)
    finally:
        sys.setswitchinterval(interval_s)
    assert seen > len(walk) // 4


async def test_many_encoders_in_threads_keep_their_streams_apart(walk: list[PlanarFrame]) -> None:
    def run(offset: int) -> float:
        encoder, decoder = open_encoder(MAIN), Decoder(MAIN)
        for frame in walk[offset : offset + 15]:
            received = decoder.decode(encoder.encode(frame).payload)
        return luma_psnr_db(received, walk[offset + 14])

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(asyncio.to_thread(run, offset)) for offset in range(0, 60, 10)]
    assert min(task.result() for task in tasks) > 27


@EVERY
def test_frame_may_be_overwritten_once_encode_has_returned(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    kept, reused = open_encoder(settings), open_encoder(settings)
    buffer = replace(walk[0], pixels=walk[0].pixels.copy())
    for frame in walk[:10]:
        buffer.pixels[:] = frame.pixels
        payload = reused.encode(buffer).payload
        buffer.pixels[:] = 0
        assert payload == kept.encode(frame).payload


@EVERY
def test_frame_of_another_size_is_refused_naming_both(settings: EncoderSettings, walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(settings)
    encoder.encode(walk[0])
    wrong = PlanarFrame(np.zeros((180 * 3 // 2, 320), np.uint8), 320, 180, PixelLayout.I420)
    with pytest.raises(EncoderError, match=r"640x360.*320x180"):
        encoder.encode(wrong)
    with pytest.raises(EncoderError, match=r"\(540, 640\).*\(360, 640\)"):
        encoder.encode(replace(walk[0], pixels=np.ascontiguousarray(walk[0].pixels[:360])))
    with pytest.raises(EncoderError, match="C-contiguous"):
        encoder.encode(replace(walk[0], pixels=walk[0].pixels[:, ::-1]))
    with pytest.raises(EncoderError, match="int16"):
        encoder.encode(replace(walk[0], pixels=walk[0].pixels.astype(np.int16)))
    assert not encoder.encode(walk[1]).keyframe


def test_encoder_that_cannot_open_names_codec_and_cause() -> None:
    with pytest.raises(EncoderError, match="libx264 cannot be opened for 7x5"):
        PyAvEncoder(replace(MAIN, width=7, height=5))
    with pytest.raises(EncoderError, match="0 bit/s"):
        open_encoder(MAIN).set_bitrate(0)


def test_closed_encoder_says_so(walk: list[PlanarFrame]) -> None:
    encoder = open_encoder(MAIN)
    encoder.close()
    encoder.close()
    with pytest.raises(EncoderError, match="closed"):
        encoder.encode(walk[0])


def test_available_encoders_are_those_that_open() -> None:
    found = available_encoders()
    assert found[Codec.VP8] == "libvpx"
    assert found[Codec.H264] in ("libx264", "h264_nvenc")
    assert open_encoder(MAIN).name == found[Codec.H264]
