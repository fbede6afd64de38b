"""The node's 20 ms heartbeat of sound: freeze who hears whom, mix in a worker thread, send.

All rooms in which somebody speaks share one call to the worker a beat, so that pictures and input never wait for
sound. Beats stand on a grid and do not drift; one that is too late is left out. The first comes half a beat after the
first packet, so that the speaker's next ones arrive between beats and not around them.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from render_farm.audio.room_audio import TICK_S, Hearing, RoomAudio, Sound
from render_farm.world.world import World

TICK_US = round(TICK_S * 1_000_000)
MAX_BEATS_LATE = 3
"""A loop further behind than this does not catch up, as nobody could hear the sounds in time."""
STATISTICS_LENGTH = 200

Mixed = list[tuple[str, list[Sound]]]


@dataclass(slots=True)
class AudioStatistics:
    """What the loop did since its start; `mix_ms`, latest last, is the time a beat spends in the worker."""

    sounds: int = 0
    beats_left_out: int = 0
    mix_ms: deque[float] = field(default_factory=lambda: deque(maxlen=STATISTICS_LENGTH))


class AudioLoop:
    """Mixes the voices of `rooms`.

    `world_of` is a room's world, `present` its participants with a viewer; `deliver` is told the room, its sounds and
    the Unix microseconds at which their 20 ms begin.
    """

    def __init__(
        self,
        *,
        world_of: Callable[[str], World | None],
        present: Callable[[str], Iterable[str]],
        deliver: Callable[[str, list[Sound], int], None],
    ) -> None:
        self.rooms: dict[str, RoomAudio] = {}
        self.statistics = AudioStatistics()
        self._world_of = world_of
        self._present = present
        self._deliver = deliver
        self._spoken = asyncio.Event()
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="audio")

    def take(self, room: str, participant: str, opus_frame: bytes) -> None:
        """A packet of a participant's voice has arrived; kept until the next beat."""
        audio = self.rooms.get(room)
        if audio is None:
            audio = self.rooms[room] = RoomAudio()
        audio.take(participant, opus_frame, time.monotonic())
        self._spoken.set()

    async def run(self) -> None:
        """Beat whenever somebody speaks, until cancelled."""
        try:
            while True:
                await self._spoken.wait()
                self._spoken.clear()
                await self._beat_until_silent()
        finally:
            self._pool.shutdown()

    async def _beat_until_silent(self) -> None:
        begun_s, begun_us = time.monotonic() + TICK_S / 2, time.time_ns() // 1000 // TICK_US * TICK_US
        beat = 0
        await asyncio.sleep(TICK_S / 2)
        while self._keep_awake(time.monotonic()):
            behind = int((time.monotonic() - begun_s) / TICK_S) - beat
            if behind > MAX_BEATS_LATE:
                beat += behind
                self.statistics.beats_left_out += behind
            await self._beat(begun_us + beat * TICK_US)
            beat += 1
            await asyncio.sleep(max(0.0, begun_s + beat * TICK_S - time.monotonic()))

    def _keep_awake(self, now: float) -> bool:
        """Forget rooms that are silent or gone; returns whether any is left."""
        for room, audio in list(self.rooms.items()):
            if not audio.awake(now) or self._world_of(room) is None:
                del self.rooms[room]
        return bool(self.rooms)

    async def _beat(self, capture_time_us: int) -> None:
        planned = []
        for room, audio in self.rooms.items():
            world = self._world_of(room)
            if world is not None:
                planned.append((room, audio, audio.plan(world, self._present(room), time.monotonic())))
        begun_s = time.monotonic()
        mixed = await asyncio.get_running_loop().run_in_executor(self._pool, _render, planned)
        self.statistics.mix_ms.append((time.monotonic() - begun_s) * 1000.0)
        for room, sounds in mixed:
            self.statistics.sounds += len(sounds)
            self._deliver(room, sounds, capture_time_us)


def _render(planned: list[tuple[str, RoomAudio, Hearing]]) -> Mixed:
    return [(room, audio.render(hearing)) for room, audio, hearing in planned]
