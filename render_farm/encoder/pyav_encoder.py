"""The video encoder on top of PyAV: x264, NVENC and libvpx behind `VideoEncoder`.

A picture that a decoder can start from is sent only when asked for (and first): an IDR with SPS and PPS, or a VP8
key frame. Between them H.264 heals by intra refresh. The bitrate is changed while the encoder is open where it
re-reads it; libvpx through libav does not, so for VP8 (the fallback) a lasting change reopens it with a keyframe.
"""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from broker.protocol import Codec
from render_farm.encoder import quality
from render_farm.encoder.frames import aliased
from render_farm.encoder.interface import EncodedPicture, EncoderError, EncoderSettings
from render_farm.encoder.parameters import NEVER, EncoderParameters, parameters_for
from render_farm.encoder.quality import Quality
from render_farm.encoder.refinement import BITRATE_FACTOR, Refinement
from render_farm.renderer.interface import PixelLayout, PlanarFrame

REOPEN_RATIO = 1.25
"""An encoder that cannot be steered is reopened when the bitrate is this factor off what it was opened with."""
REOPEN_INTERVAL_S = 3.0
"""And not more often than this, for it costs a keyframe."""

_COLOR_BT709 = 1
_RANGE_LIMITED = 1


class PyAvEncoder:
    """One view's encoder. Not thread-safe: used by one thread at a time, from any thread."""

    def __init__(self, settings: EncoderSettings, name: str | None = None) -> None:
        """Open the encoder `name` (default: libx264 or libvpx). Raises `EncoderError` with libav's reason."""
        self.name = name or ("libx264" if settings.codec is Codec.H264 else "libvpx")
        self._settings = settings
        self._target_bps = settings.bitrate_bps
        self._layout = PixelLayout.I420
        self._pts = 0
        self._quality: Quality | None = None
        self._context: av.VideoCodecContext | None = None
        self._open()
        self._refinement = Refinement(self._parameters.fine_quantiser)

    def _open(self) -> None:
        """Open anew at the bitrate now wanted; the next picture is a keyframe."""
        self._opened_bps = self._target_bps
        self._opened_pts = self._pts
        self._parameters = parameters_for(self.name, replace(self._settings, bitrate_bps=self._target_bps))
        self._context = _open_context(self._settings, self._parameters, self._layout)
        self._steer(self._target_bps)

    def encode(self, frame: PlanarFrame, *, keyframe: bool = False) -> EncodedPicture:
        """Encode one frame; see `VideoEncoder.encode`."""
        self._check(frame)
        self._refinement.reset()
        self._steer(self._target_bps)
        return self._encode(frame, keyframe=keyframe)

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Change the target from the next frame on. Above `HEADROOM` it takes effect at the next keyframe."""
        if bitrate_bps <= 0:
            raise EncoderError(f"{self.name}: a bitrate of {bitrate_bps} bit/s is not above 0")
        self._target_bps = bitrate_bps

    def refine(self, frame: PlanarFrame, *, step: int) -> EncodedPicture | None:
        """Encode a frame at rest, a step nearer to visually lossless; `None` when done."""
        self._check(frame)
        if step == 0:
            self._refinement.reset()
        if self._refinement.finished:
            return None
        self._steer(int(self._target_bps * BITRATE_FACTOR))
        picture = self._encode(frame, keyframe=False)
        self._refinement.sent(self._quality)
        return picture

    def close(self) -> None:
        """Free the encoder; using it afterwards raises `EncoderError`. Closing twice is harmless."""
        self._context = None

    def _check(self, frame: PlanarFrame) -> None:
        settings = self._settings
        if self._context is None:
            raise EncoderError(f"{self.name}: used after it was closed")
        if (frame.width, frame.height) != (settings.width, settings.height):
            raise EncoderError(
                f"{self.name}: opened for {settings.width}x{settings.height}, given a frame of "
                f"{frame.width}x{frame.height}: open an encoder of that size"
            )
        shape = (frame.height * 3 // 2, frame.width)
        if frame.pixels.shape != shape or frame.pixels.dtype != np.uint8 or not frame.pixels.flags.c_contiguous:
            raise EncoderError(
                f"{self.name}: a {frame.width}x{frame.height} {frame.layout} frame is C-contiguous uint8 {shape}, "
                f"not {frame.pixels.dtype} {frame.pixels.shape}"
            )

    def _steer(self, bitrate_bps: int) -> None:
        if self._parameters.steerable and self._context is not None:
            self._context.bit_rate = min(bitrate_bps, self._parameters.ceiling_bps)

    def _must_reopen(self, frame: PlanarFrame, keyframe: bool) -> bool:
        if frame.layout is not self._layout and frame.layout.value in self._parameters.layouts:
            return True
        ratio = self._target_bps / self._opened_bps
        if 1 / REOPEN_RATIO <= ratio <= REOPEN_RATIO:
            return False
        waited = self._pts - self._opened_pts >= REOPEN_INTERVAL_S * self._settings.fps
        return keyframe or (not self._parameters.steerable and waited)

    def _encode(self, frame: PlanarFrame, *, keyframe: bool) -> EncodedPicture:
        if self._must_reopen(frame, keyframe):
            if frame.layout.value in self._parameters.layouts:
                self._layout = frame.layout
            self._open()
        picture = aliased(frame)
        picture.pts = self._pts
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        _signal_color(picture)
        self._pts += 1
        payload = self._run(picture)
        return EncodedPicture(payload, _is_keyframe(self._settings.codec, payload))

    def _run(self, picture: av.VideoFrame) -> bytes:
        assert self._context is not None
        try:
            packets = self._context.encode(picture)
        except (av.FFmpegError, ValueError) as error:
            raise EncoderError(f"{self.name} failed on picture {self._pts - 1}: {error}") from error
        if not packets:
            raise EncoderError(f"{self.name} held picture {self._pts - 1} back instead of returning it")
        self._quality = quality.of_packet(packets[-1], self._settings.width * self._settings.height)
        return b"".join(bytes(packet) for packet in packets)


def _open_context(
    settings: EncoderSettings, parameters: EncoderParameters, layout: PixelLayout
) -> av.VideoCodecContext:
    try:
        context = av.CodecContext.create(parameters.name, "w")
        assert isinstance(context, av.VideoCodecContext)
        context.width, context.height = settings.width, settings.height
        context.pix_fmt = layout.value
        context.framerate, context.time_base = Fraction(settings.fps), Fraction(1, settings.fps)
        context.bit_rate = parameters.ceiling_bps
        context.gop_size = min(parameters.gop_size, NEVER)
        context.max_b_frames = 0
        context.thread_count = 1
        context.color_range = _RANGE_LIMITED
        context.colorspace = context.color_primaries = context.color_trc = _COLOR_BT709
        if parameters.measures_psnr:
            context.flags |= Flags.psnr
        context.options = parameters.options
        context.open()
    except (av.FFmpegError, ValueError) as error:
        size = f"{settings.width}x{settings.height} at {settings.fps}/s"
        raise EncoderError(f"{parameters.name} cannot be opened for {size}: {error}") from error
    return context


def _signal_color(picture: av.VideoFrame) -> None:
    picture.color_range = _RANGE_LIMITED
    picture.colorspace = picture.color_primaries = picture.color_trc = _COLOR_BT709


def _is_keyframe(codec: Codec, payload: bytes) -> bool:
    """Whether a decoder can start here; libav's own flag is also set on recovery points, where it cannot."""
    if codec is Codec.VP8:
        return bool(payload) and not payload[0] & 1
    return _contains_idr(payload)


def _contains_idr(payload: bytes) -> bool:
    start = payload.find(b"\0\0\1")
    while 0 <= start < len(payload) - 3:
        unit_type = payload[start + 3] & 0x1F
        if unit_type in (1, 5):
            return unit_type == 5
        start = payload.find(b"\0\0\1", start + 3)
    return False
