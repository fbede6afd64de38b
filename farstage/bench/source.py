"""The stream of the comparison: 720p H.264, encoded once before the run, then played in a loop at exact pace.

Encoded as a render node encodes (constrained baseline, pictures of even size, healing by intra refresh), with one
keyframe at the start of the loop; a player jumps there when a viewer needs one, at most every 500 ms.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from broker.protocol import Codec, H264Profile
from farstage.bench.moving_picture import MovingPicture
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.pyav_encoder import PyAvEncoder

WIDTH, HEIGHT = 1280, 720
LOOP_S = 10.0
KEYFRAME_INTERVAL_S = 0.5
"""Requests for a keyframe are answered at most this often, however many viewers ask."""
CLOCK_HZ = 90_000


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """One access unit in Annex B format. `timestamp`: 90 kHz, rising over loops and jumps, not wrapped."""

    payload: bytes
    keyframe: bool
    timestamp: int


@dataclass(frozen=True, slots=True)
class EncodedLoop:
    """The encoded pictures of one loop; the first and only the first is a keyframe."""

    payloads: tuple[bytes, ...]
    fps: int

    @property
    def bitrate_bps(self) -> float:
        """What the loop comes to, headers of RTP and below not counted."""
        return 8.0 * sum(map(len, self.payloads)) * self.fps / len(self.payloads)


def encode_loop(
    bitrate_bps: int, fps: int, seconds: float = LOOP_S, width: int = WIDTH, height: int = HEIGHT
) -> EncodedLoop:
    """Encode the moving picture; the same bytes in every run of one version of the encoder."""
    picture = MovingPicture(width, height, fps)
    settings = EncoderSettings(Codec.H264, width, height, fps, bitrate_bps, H264Profile.CONSTRAINED_BASELINE)
    encoder = PyAvEncoder(settings, "libx264")
    payloads = tuple(encoder.encode(picture.next()).payload for _ in range(max(2, round(seconds * fps))))
    encoder.close()
    return EncodedLoop(payloads, fps)


class LoopPosition:
    """Which picture of the loop comes next: pure, told the time by its caller."""

    def __init__(self, loop: EncodedLoop) -> None:
        self._loop = loop
        self._next = 0
        self._count = 0
        self._answered_at_s = float("-inf")
        self._keyframe_wanted = False

    def want_keyframe(self) -> None:
        """A viewer cannot decode before the next keyframe."""
        self._keyframe_wanted = True

    def advance(self, now_s: float) -> SourceFrame:
        """Return the picture due now."""
        if self._keyframe_wanted and now_s - self._answered_at_s >= KEYFRAME_INTERVAL_S:
            self._next, self._answered_at_s = 0, now_s
        index = self._next
        self._next = (index + 1) % len(self._loop.payloads)
        if index == 0:
            self._keyframe_wanted = False
        self._count += 1
        timestamp = self._count * CLOCK_HZ // self._loop.fps
        return SourceFrame(self._loop.payloads[index], index == 0, timestamp)


class LoopPlayer:
    """Hands a consumer every picture when it is due; a late event loop is caught up with, no picture is left out."""

    def __init__(self, loop: EncodedLoop, consume: Callable[[SourceFrame], None]) -> None:
        self._position = LoopPosition(loop)
        self._interval_s = 1.0 / loop.fps
        self._consume = consume
        self.frames = 0

    def want_keyframe(self) -> None:
        """See `LoopPosition.want_keyframe`."""
        self._position.want_keyframe()

    async def run(self) -> None:
        """Play until cancelled."""
        start_s = time.monotonic()
        while True:
            self._consume(self._position.advance(time.monotonic()))
            self.frames += 1
            await asyncio.sleep(max(0.0, start_s + self.frames * self._interval_s - time.monotonic()))
