"""The node's heartbeat over a renderer that only paints grey: batches, faults, overload."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from broker.protocol import Codec, H264Profile, Input, Mode, PutView, Role, WorldParticipant
from edge.trunk import StreamFeedback
from render_farm.frame_loop import FrameLoop
from render_farm.renderer.interface import PixelLayout, PlanarFrame, RenderError, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene
from render_farm.view import LiveView
from render_farm.world.world import World
from tests.support.waiting import until
from tests.unit.test_live_view import Stream

SCENE = SceneLibrary().load("campus")
FPS = 30


class Grey:
    """A renderer of grey pictures that notes its batches."""

    name, device, max_views = "grey", "none", 4

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.refined = 0
        self.fault: str | None = None

    async def load(self, scene: Scene) -> None:
        """Nothing to load."""

    async def unload(self, scene: Scene) -> None:
        """Nothing to free."""

    async def render(self, views: Sequence[View]) -> Sequence[PlanarFrame]:
        self.batches.append(len(views))
        self.refined += sum(view.refine for view in views)
        if self.fault is not None:
            raise RenderError(self.fault)
        return [grey(view) for view in views]

    def close(self) -> None:
        """Nothing to close."""


def grey(view: View) -> PlanarFrame:
    pixels = np.full((view.height * 3 // 2, view.width), 128, np.uint8)
    return PlanarFrame(pixels, view.width, view.height, PixelLayout.I420)


class Node:
    """A frame loop with one world and some watched views."""

    def __init__(self, views: int, mode: Mode) -> None:
        self.renderer = Grey()
        self.world = World("r", mode, SCENE)
        self.started: list[str] = []
        self.failed: list[tuple[str, str]] = []
        self.loop = FrameLoop(
            self.renderer, world_of=lambda _: self.world, on_started=self.note_start, on_failed=self.note_failure
        )
        self.streams = {f"v{number}": Stream() for number in range(views)}
        for name, stream in self.streams.items():
            self.add(name, stream)

    def note_start(self, live: LiveView) -> None:
        self.started.append(live.put.view)

    def note_failure(self, live: LiveView, reason: str) -> None:
        self.failed.append((live.put.view, reason))
        self.loop.views.pop(live.put.view, None)

    def add(self, name: str, stream: Stream) -> None:
        self.world.put_participant(WorldParticipant(participant=name, display_name=name, role=Role.VISITOR))
        live = LiveView(
            PutView(
                view=name,
                stream=name,
                fence=1,
                room="r",
                participant=name,
                width=160,
                height=160,
                fps=FPS,
                codec=Codec.H264,
                profile=H264Profile.CONSTRAINED_BASELINE,
                max_bitrate_bps=300_000,
                targets=[],
            ),
            stamped=False,
        )
        live.streams[stream] = StreamFeedback(viewers=1)
        self.loop.views[name] = live

    def sent(self) -> list[int]:
        return [len(stream.sent) for stream in self.streams.values()]


@asynccontextmanager
async def running(views: int, mode: Mode = Mode.EXPLORE) -> AsyncIterator[Node]:
    node = Node(views, mode)
    task = asyncio.create_task(node.loop.run())
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        for live in node.loop.views.values():
            live.close_encoders()


async def test_more_views_than_the_renderer_takes_at_once_are_drawn_in_several_batches() -> None:
    async with running(views=10) as node:
        await until(lambda: min(node.sent()) >= 3, "three pictures of each view")
        assert max(node.renderer.batches) == Grey.max_views
        assert node.failed == []
        assert sorted(node.started) == sorted(node.streams)


async def test_picture_tells_which_input_it_shows() -> None:
    async with running(views=1) as node:
        node.world.take("v0", Input(seq=7, yaw=0.3), asyncio.get_running_loop().time())
        (stream,) = node.streams.values()
        await until(lambda: bool(stream.sent) and stream.sent[-1]["input_sequence"] == 7, "the input in a picture")


async def test_picture_at_rest_is_refined_and_then_nothing_is_drawn_before_there_is_input() -> None:
    async with running(views=1, mode=Mode.GALLERY) as node:
        await until(lambda: node.renderer.refined > 0, "a refinement")
        await asyncio.sleep(0.5)
        drawn = len(node.renderer.batches)
        await asyncio.sleep(0.5)
        assert len(node.renderer.batches) == drawn
        node.world.take("v0", Input(seq=1, yaw=0.3), asyncio.get_running_loop().time())
        await until(lambda: len(node.renderer.batches) > drawn, "pictures again")


async def test_view_nobody_watches_is_not_drawn() -> None:
    async with running(views=2) as node:
        (unwatched,) = node.loop.views["v1"].streams
        await until(lambda: min(node.sent()) >= 1, "first pictures")
        node.loop.views["v1"].take_feedback(unwatched, StreamFeedback(viewers=0), 0.0)
        await until(lambda: node.renderer.batches[-1] == 1, "a batch without it")
        first, second = node.sent()
        await until(lambda: node.sent()[0] >= first + 5, "five more pictures of the other")
        assert node.sent()[1] <= second + 1, "one may have been under way"


async def test_fault_of_the_renderer_is_told_and_the_loop_goes_on() -> None:
    async with running(views=2) as node:
        await until(lambda: min(node.sent()) >= 1, "first pictures")
        node.renderer.fault = "the device is lost"
        await until(lambda: len(node.failed) == 2, "both views to fail")
        assert {reason for _, reason in node.failed} == {"the device is lost"}
        node.renderer.fault = None
        node.streams["late"] = Stream()
        node.add("late", node.streams["late"])
        node.loop.wake()
        await until(lambda: bool(node.streams["late"].sent), "a picture of a view that came later")


async def test_encoder_slower_than_the_frame_rate_drops_pictures_and_keeps_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(views=1) as node:
        live = node.loop.views["v0"]
        encode, gate = live.encode, asyncio.get_running_loop()

        def slow(*arguments):
            asyncio.run_coroutine_threadsafe(asyncio.sleep(4 / FPS), gate).result()
            return encode(*arguments)

        monkeypatch.setattr(live, "encode", slow)
        await until(lambda: live.frames_dropped >= 5 and len(node.streams["v0"].sent) >= 3, "pictures left out")
        times = [sent["capture_time_us"] for sent in node.streams["v0"].sent]
        assert times == sorted(times)
        assert live.under_way <= 2
