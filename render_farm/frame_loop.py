"""The heartbeat of a node: sample the worlds, draw all due views in one batch, encode in threads, send.

The renderer may reuse a frame's memory two batches later, so at most two batches are being encoded at a time. A view
may be drawn while its last picture is still being encoded, so that drawing and encoding overlap; with two pictures
under way it loses the tick and no more.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog

from render_farm.encoder.interface import EncodedPicture, EncoderError
from render_farm.pacing import Work
from render_farm.renderer.interface import AvatarFrame, PlanarFrame, Renderer, RenderError, View
from render_farm.view import LiveView, Shot, capture_time_us
from render_farm.world.world import World

_log = structlog.get_logger(__name__)

MAX_BATCHES_IN_FLIGHT = 2
MAX_PICTURES_UNDER_WAY = 2
IDLE_WAIT_S = 0.5
STATISTICS_LENGTH = 200


@dataclass(slots=True)
class LoopStatistics:
    """What the loop measured lately; durations in milliseconds, newest last."""

    frames: int = 0
    frames_dropped: int = 0
    render_ms: deque[float] = field(default_factory=lambda: deque(maxlen=STATISTICS_LENGTH))
    encode_ms: deque[float] = field(default_factory=lambda: deque(maxlen=STATISTICS_LENGTH))


class FrameLoop:
    """Draws `views` of `worlds` with `renderer`. `on_failed` is told when a view cannot be drawn or encoded."""

    def __init__(
        self,
        renderer: Renderer,
        *,
        world_of: Callable[[LiveView], World | None],
        on_started: Callable[[LiveView], None],
        on_failed: Callable[[LiveView, str], None],
    ) -> None:
        self.views: dict[str, LiveView] = {}
        self.statistics = LoopStatistics()
        self._renderer = renderer
        self._world_of = world_of
        self._on_started = on_started
        self._on_failed = on_failed
        self._pool = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 2), thread_name_prefix="encode")
        self._in_flight: deque[list[asyncio.Task[None]]] = deque()
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something changed that may make a view due."""
        self._wake.set()

    async def run(self) -> None:
        """Draw until cancelled."""
        try:
            while True:
                await self._wait_until_due()
                await self._tick()
        finally:
            for batch in self._in_flight:
                await asyncio.gather(*batch, return_exceptions=True)
            self._pool.shutdown()

    async def _wait_until_due(self) -> None:
        due_s = min((view.pacing.next_s for view in self.views.values() if view.watched), default=float("inf"))
        pause_s = min(max(0.0, due_s - time.monotonic()), IDLE_WAIT_S)
        self._wake.clear()
        try:
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _tick(self) -> None:
        shots = self._take_shots(time.monotonic())
        most = self._renderer.max_views
        for start in range(0, len(shots), most):
            await self._draw(shots[start : start + most])

    async def _draw(self, shots: list[tuple[LiveView, Shot, View]]) -> None:
        while len(self._in_flight) >= MAX_BATCHES_IN_FLIGHT:
            await asyncio.gather(*self._in_flight.popleft())
        begun = time.monotonic()
        try:
            frames = await self._renderer.render([view for _, _, view in shots])
        except RenderError as error:
            _log.error("render_failed", views=len(shots), error=str(error))
            for live, _, _ in shots:
                live.picture_done()
                self._on_failed(live, str(error))
            return
        self.statistics.render_ms.append((time.monotonic() - begun) * 1000.0)
        self._in_flight.append(
            [
                asyncio.create_task(self._encode_and_send(live, shot, frame))
                for (live, shot, _), frame in zip(shots, frames, strict=True)
            ]
        )

    def _take_shots(self, now: float) -> list[tuple[LiveView, Shot, View]]:
        shots: list[tuple[LiveView, Shot, View]] = []
        sampled: dict[str, AvatarFrame] = {}
        for live in list(self.views.values()):
            world = self._world_of(live)
            if world is None:
                continue
            demand = live.demand(resting=world.resting(live.put.participant, now))
            work = live.pacing.plan(now, demand)
            if work is Work.NOTHING:
                continue
            if live.under_way >= (1 if work is Work.REFINE else MAX_PICTURES_UNDER_WAY):
                live.frames_dropped += 1
                self.statistics.frames_dropped += 1
                continue
            if world.room not in sampled:
                world.step(now)
                sampled[world.room] = world.avatars()
            live.under_way += 1
            shot = live.take_shot(world.input_sequence(live.put.participant), work, capture_time_us(), now)
            shots.append((live, shot, _view(live, world, sampled[world.room], work)))
        return shots

    async def _encode_and_send(self, live: LiveView, shot: Shot, frame: PlanarFrame) -> None:
        try:
            async with live.encoding:
                layers = [self._encode_layer(live, shot, frame, layer) for layer in shot.layers]
                outcomes = await asyncio.gather(*layers, return_exceptions=True)
        finally:
            live.picture_done()
        for outcome in outcomes:
            if isinstance(outcome, EncoderError):
                _log.error("encode_failed", view=live.put.view, error=str(outcome))
                self._on_failed(live, str(outcome))
                return
            if isinstance(outcome, BaseException):
                raise outcome
        if shot.work is Work.REFINE:
            live.pacing.refinement_sent(finished=not any(outcomes))

    async def _encode_layer(self, live: LiveView, shot: Shot, frame: PlanarFrame, layer: int) -> bool:
        """Encode and send one layer; whether there was anything to send."""
        begun = time.monotonic()
        encoded = asyncio.get_running_loop().run_in_executor(self._pool, live.encode, frame, shot, layer)
        picture = await encoded
        self.statistics.encode_ms.append((time.monotonic() - begun) * 1000.0)
        if picture is not None:
            self._send(live, shot, picture, layer)
        return picture is not None

    def _send(self, live: LiveView, shot: Shot, picture: EncodedPicture, layer: int) -> None:
        self.statistics.frames += 1
        if live.send(picture, shot, layer) and not live.started:
            live.started = True
            self._on_started(live)


def _view(live: LiveView, world: World, avatars: AvatarFrame, work: Work) -> View:
    owner = live.put.participant
    hidden = avatars.ids.index(owner) if owner in avatars.ids else None
    return View(
        scene=world.scene,
        avatars=avatars,
        camera=world.camera(owner, live.put.width / live.put.height),
        width=live.put.width,
        height=live.put.height,
        hidden_avatar=hidden,
        refine=work is Work.REFINE,
    )
