"""What each libav encoder is opened with to stream one view live.

The rate controller is opened at a ceiling, `HEADROOM` times the bitrate asked for, in constant-bitrate mode, and
steered below it: libx264 re-reads only its average bitrate while open, and obeys it quickly only while the buffer
model it was opened with is a tight one (measured: within half a second either way; with a loose buffer model, after
half a minute of stream, not at all).
"""

from dataclasses import dataclass

from broker.protocol import Codec, H264Profile
from render_farm.encoder.interface import EncoderSettings

HEADROOM = 4
"""How far above the bitrate it was opened for an encoder can be steered without a keyframe."""
BUFFERED_PICTURES = 1.5
"""Size of the rate controller's buffer, in pictures at the ceiling: what one picture, a keyframe too, may take."""
REFRESH_S = 2.0
"""A column of intra blocks crosses the picture in this time, so a damaged picture heals without a keyframe.

It costs 0.1 dB; keyframes at the same distance would each be three times as large as the pictures around them.
"""
NEVER = 1 << 30

_X264_PROFILES = {H264Profile.CONSTRAINED_BASELINE: "baseline", H264Profile.MAIN: "main"}


@dataclass(frozen=True, slots=True)
class EncoderParameters:
    """How to open one libav encoder: its name, distance of refreshes or keyframes in pictures, private options."""

    name: str
    gop_size: int
    options: dict[str, str]
    ceiling_bps: int
    """The bitrate it is opened at; what it is steered to is at most this."""
    steerable: bool
    """Whether it re-reads the bitrate while open."""
    layouts: tuple[str, ...]
    """Pixel formats it reads without conversion."""
    measures_psnr: bool
    """Whether it can tell the fidelity of each picture at no cost (x264: 0%; libvpx: 20% of its time)."""
    fine_quantiser: float
    """Where it does not: the quantiser, on its own scale, from which a picture at rest counts as lossless."""


def parameters_for(name: str, settings: EncoderSettings) -> EncoderParameters:
    """Return how the encoder `name` (`libx264`, `h264_nvenc` or `libvpx`) is opened for `settings`."""
    return {"libx264": _x264, "h264_nvenc": _nvenc, "libvpx": _libvpx}[name](settings)


def names_for(codec: Codec) -> tuple[str, ...]:
    """Return the encoders that can serve `codec`, best first; whether one opens is another matter."""
    return {Codec.H264: ("h264_nvenc", "libx264"), Codec.VP8: ("libvpx",)}[codec]


def _profile(settings: EncoderSettings) -> H264Profile:
    return settings.profile or H264Profile.CONSTRAINED_BASELINE


def _x264(settings: EncoderSettings) -> EncoderParameters:
    ceiling_bps = settings.bitrate_bps * HEADROOM
    options = {
        "preset": "superfast",
        "tune": "zerolatency",
        "profile": _X264_PROFILES[_profile(settings)],
        "intra-refresh": "1",
        "forced-idr": "1",
        "maxrate": str(ceiling_bps),
        "bufsize": str(int(ceiling_bps / settings.fps * BUFFERED_PICTURES)),
        "x264-params": "sliced-threads=0:slices=1:repeat-headers=1:bframes=0:annexb=1",
    }
    gop_size = max(int(REFRESH_S * settings.fps), 2)
    return EncoderParameters("libx264", gop_size, options, ceiling_bps, True, ("yuv420p", "nv12"), True, 16)


def _nvenc(settings: EncoderSettings) -> EncoderParameters:
    ceiling_bps = settings.bitrate_bps
    options = {
        "preset": "p1",
        "tune": "ull",
        "rc": "cbr",
        "profile": _X264_PROFILES[_profile(settings)],
        "zerolatency": "1",
        "delay": "0",
        "forced-idr": "1",
        "bf": "0",
        "bufsize": str(int(ceiling_bps / settings.fps * BUFFERED_PICTURES * HEADROOM)),
    }
    return EncoderParameters("h264_nvenc", NEVER, options, ceiling_bps, True, ("yuv420p", "nv12"), False, 16)


def _libvpx(settings: EncoderSettings) -> EncoderParameters:
    rate = str(settings.bitrate_bps)
    options = {
        "deadline": "realtime",
        "cpu-used": "-8",
        "lag-in-frames": "0",
        "error-resilient": "default",
        "minrate": rate,
        "maxrate": rate,
        "bufsize": str(settings.bitrate_bps // 2),
        "undershoot-pct": "100",
        "overshoot-pct": "15",
        "max-intra-rate": str(int(HEADROOM * BUFFERED_PICTURES * 100)),
        "static-thresh": "0",
        "qmin": "2",
        "qmax": "56",
    }
    return EncoderParameters("libvpx", NEVER, options, settings.bitrate_bps, False, ("yuv420p",), False, 12)
