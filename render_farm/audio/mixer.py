"""What people in a world hear: voices by distance and direction, or all alike; pure signal processing, no I/O.

One `mix` a tick of 20 ms takes one frame from each speaker's queue and returns what each listener hears, stereo.
Nobody hears themself. Positions and yaws are the world's: right-handed, y up, at yaw 0 one looks along -z.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 48_000
FRAME_SAMPLES = 960
MAX_QUEUED_FRAMES = 3
"""60 ms a speaker: more would be heard as delay, so the oldest frame is dropped."""
MAX_SPEAKERS = 256
"""Stops a room full of open microphones from taking memory and time without bound; further voices are not taken."""
SILENCE_PEAK = 32
"""A frame whose peak is not above this (-60 dBFS) is silence, and costs nothing."""

NEAR_M = 1.5
"""Up to this distance a voice has its full level."""
ROLLOFF = 0.7
"""How much faster than by distance alone a voice fades; larger is faster."""
HEARING_M = 40.0
"""From this distance on a voice is not heard; over the last quarter it fades out."""
_CENTRE = (math.sqrt(0.5), math.sqrt(0.5))
_KNEE = 0.75
_FULL_SCALE = 32_767.0

Position = tuple[float, float, float]
Gains = tuple[float, float]
Glide = tuple[tuple[Gains, ...], tuple[Gains, ...]]


@dataclass(frozen=True, slots=True)
class Listener:
    """Someone who hears; `position` in metres, `yaw` in radians. Without a position they hear all alike."""

    position: Position | None = None
    yaw: float = 0.0


class Mixer:
    """Queues of speakers and the gains last used, for one world. Not thread-safe."""

    def __init__(self, rate: int = SAMPLE_RATE_HZ, frame: int = FRAME_SAMPLES) -> None:
        """`frame` is the number of samples a tick, at `rate` samples a second."""
        self.rate = rate
        self.frame = frame
        self._queues: dict[str, deque[NDArray[np.int16]]] = {}
        self._gains: dict[tuple[str, str], Gains] = {}
        self._ramp = np.linspace(0, 1, frame, endpoint=False, dtype=np.float32)
        self.dropped_frames = 0
        """Frames not heard because a queue or the number of speakers was at its bound."""

    def push(self, participant: str, pcm: NDArray[np.int16]) -> None:
        """Queue one frame, int16 (frame,), of a participant's voice. Raises `ValueError` for any other shape."""
        if pcm.shape != (self.frame,) or pcm.dtype != np.int16:
            raise ValueError(f"a voice frame is int16 ({self.frame},), not {pcm.dtype} {pcm.shape}")
        queue = self._queues.get(participant)
        if queue is None:
            if len(self._queues) >= MAX_SPEAKERS:
                self.dropped_frames += 1
                return
            queue = self._queues[participant] = deque(maxlen=MAX_QUEUED_FRAMES)
        self.dropped_frames += len(queue) == MAX_QUEUED_FRAMES
        queue.append(pcm)

    def mix(
        self, listeners: Mapping[str, Listener], speakers: Mapping[str, Position | None]
    ) -> dict[str, NDArray[np.int16]]:
        """Return int16 (frame, 2), left and right, for each listener who hears something in this tick.

        `speakers` are those who may be heard, without the muted, each with a position or, to be heard alike
        everywhere, `None`. Listeners who hear exactly the same share one array, so it is encoded once.
        """
        voices = self._take(speakers)
        if not voices:
            self._gains.clear()
            return {}
        samples = np.stack(list(voices.values())).astype(np.float32) / np.float32(_FULL_SCALE)
        rising = samples * self._ramp
        alike = ((_CENTRE,) * len(voices), (_CENTRE,) * len(voices))
        glides = {
            name: alike
            if listener.position is None and name not in voices
            else self._glide(name, listener, list(voices), speakers)
            for name, listener in listeners.items()
        }
        self._gains = {
            (name, speaker): gain
            for name, (_, wanted) in glides.items()
            if listeners[name].position is not None
            for speaker, gain in zip(voices, wanted, strict=True)
        }
        heard = {
            glide: _render(samples, rising, *glide)
            for glide in set(glides.values())
            if any(left or right for gains in glide for left, right in gains)
        }
        return {name: heard[glide] for name, glide in glides.items() if glide in heard}

    def _glide(
        self, name: str, listener: Listener, voices: Sequence[str], speakers: Mapping[str, Position | None]
    ) -> Glide:
        """Return the gains of each voice for this listener: those of the last tick, and those wanted now."""
        wanted = tuple(_gains(name, listener, speaker, speakers[speaker]) for speaker in voices)
        before = tuple(self._gains.get((name, speaker), gain) for speaker, gain in zip(voices, wanted, strict=True))
        return before, wanted

    def _take(self, speakers: Mapping[str, Position | None]) -> dict[str, NDArray[np.int16]]:
        """Take the oldest frame of every queue; return those of `speakers` that are not silent."""
        voices = {}
        for participant, queue in list(self._queues.items()):
            frame = queue.popleft()
            if not queue:
                del self._queues[participant]
            if participant in speakers and _is_audible(frame):
                voices[participant] = frame
        return voices


def _is_audible(frame: NDArray[np.int16]) -> bool:
    return int(frame.max()) > SILENCE_PEAK or int(frame.min()) < -SILENCE_PEAK


def _gains(name: str, listener: Listener, speaker: str, position: Position | None) -> Gains:
    """Return left and right gain with which `name` hears `speaker`."""
    if name == speaker:
        return 0.0, 0.0
    if position is None or listener.position is None:
        return _CENTRE
    level = attenuation(math.dist(position, listener.position))
    if not level:
        return 0.0, 0.0
    return _pan(level, position[0] - listener.position[0], position[2] - listener.position[2], listener.yaw)


def attenuation(distance_m: float) -> float:
    """Return a voice's gain at a distance: 1 up to `NEAR_M`, then by inverse distance, 0 from `HEARING_M` on."""
    inverse = NEAR_M / (NEAR_M + ROLLOFF * max(0.0, distance_m - NEAR_M))
    fade = (HEARING_M - distance_m) / (HEARING_M / 4)
    return inverse * min(1.0, max(0.0, fade))


def _pan(level: float, east_m: float, south_m: float, yaw: float) -> Gains:
    """Return left and right gain of a voice at this offset, at equal power for every direction."""
    horizontal_m = math.hypot(east_m, south_m)
    right_m = east_m * math.cos(yaw) - south_m * math.sin(yaw)
    side = right_m / max(horizontal_m, NEAR_M / 2)
    angle = (side + 1) * math.pi / 4
    return level * max(0.0, math.cos(angle)), level * max(0.0, math.sin(angle))


def _render(
    samples: NDArray[np.float32], rising: NDArray[np.float32], before: Sequence[Gains], wanted: Sequence[Gains]
) -> NDArray[np.int16]:
    """Mix voices (speakers, frame), gliding from the gains `before` to `wanted` so that movement does not click."""
    start = np.array(before, np.float32).T
    change = np.array(wanted, np.float32).T - start
    return _limited((start @ samples + change @ rising).T.astype(np.float32))


def _limited(mixed: NDArray[np.float32]) -> NDArray[np.int16]:
    """Float samples (1 is full scale) to int16, bending what is above the knee so that nothing ever clips."""
    magnitude = np.abs(mixed)
    over = magnitude > _KNEE
    if over.any():
        bent = _KNEE + (1 - _KNEE) * np.tanh((magnitude - _KNEE) / (1 - _KNEE))
        mixed = np.where(over, np.copysign(bent, mixed), mixed)
    limited: NDArray[np.int16] = np.rint(mixed * np.float32(_FULL_SCALE)).astype(np.int16)
    return limited
