"""Opus (RFC 6716) to and from samples, through libopus in PyAV: frames of 20 ms at 48 kHz."""

from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from numpy.typing import NDArray

from render_farm.audio.mixer import FRAME_SAMPLES, SAMPLE_RATE_HZ

MAX_PACKET_BYTES = 1500
"""A packet of speech or music of 20 ms takes at most 1,275 bytes (RFC 6716, section 3.2.1)."""
MAX_PACKET_SAMPLES = 5760
"""RFC 6716, section 2.1.4: at most 120 ms a packet."""
VOICE_BITRATE_BPS = 48_000
ENCODER_OPTIONS = {"application": "lowdelay", "compression_level": "5", "frame_duration": "20", "vbr": "on"}
"""`lowdelay` looks 2.5 ms ahead, `voip` 6.5, and with complexity 5 of 10 speech takes about half the time to encode,
which matters as each listener of a walk has a mix of their own."""


class AudioError(Exception):
    """A packet is not Opus, or samples are not what the encoder takes; the message names what was wrong."""


class OpusDecoder:
    """Decodes one participant's voice to mono. Not thread-safe."""

    def __init__(self) -> None:
        self._context = _open("r", "mono")
        self._rest = np.empty(0, np.int16)

    def decode(self, packet: bytes) -> list[NDArray[np.int16]]:
        """Decode a packet into frames of int16 (960,): one for a packet of 20 ms, and what adds up for others.

        Raises `AudioError` for what is not Opus; the decoder stays usable.
        """
        if not 0 < len(packet) <= MAX_PACKET_BYTES:
            raise AudioError(f"an Opus packet has 1 to {MAX_PACKET_BYTES} bytes, not {len(packet)}")
        try:
            decoded = self._context.decode(av.Packet(packet))
        except (av.FFmpegError, ValueError) as error:
            raise AudioError(f"not an Opus packet: {error}") from error
        samples = np.concatenate([self._rest, *(_mono(frame) for frame in decoded)])[-MAX_PACKET_SAMPLES:]
        whole = len(samples) // FRAME_SAMPLES * FRAME_SAMPLES
        self._rest = samples[whole:]
        return list(samples[:whole].reshape(-1, FRAME_SAMPLES))


class OpusEncoder:
    """Encodes what one listener (or many who hear the same) hears. Not thread-safe."""

    def __init__(self, bitrate_bps: int = VOICE_BITRATE_BPS) -> None:
        self._context = _open("w", "stereo", bitrate_bps)
        self._pts = 0

    def encode(self, pcm: NDArray[np.int16]) -> bytes:
        """Encode int16 (960, 2), left and right, into one packet. Raises `AudioError` for any other shape."""
        if pcm.shape != (FRAME_SAMPLES, 2) or pcm.dtype != np.int16:
            raise AudioError(f"a frame to encode is int16 ({FRAME_SAMPLES}, 2), not {pcm.dtype} {pcm.shape}")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm).reshape(1, -1), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self._pts, Fraction(1, SAMPLE_RATE_HZ)
        self._pts += FRAME_SAMPLES
        return b"".join(bytes(packet) for packet in self._context.encode(frame))


def _open(mode: str, layout: str, bitrate_bps: int | None = None) -> AudioCodecContext:
    context = av.CodecContext.create("libopus", "r" if mode == "r" else "w")
    assert isinstance(context, AudioCodecContext)
    context.format, context.layout, context.sample_rate = "s16", layout, SAMPLE_RATE_HZ
    if bitrate_bps is not None:
        context.bit_rate = bitrate_bps
        context.options = dict(ENCODER_OPTIONS)
    context.open()
    return context


def _mono(frame: av.AudioFrame) -> NDArray[np.int16]:
    channels = len(frame.layout.channels)
    samples = frame.to_ndarray().reshape(-1, channels)
    return samples.mean(axis=1).astype(np.int16) if channels > 1 else samples[:, 0].astype(np.int16)
