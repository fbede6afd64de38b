"""Real 3D through Vulkan: all views of a tick in one submission, on a GPU or on Mesa's lavapipe.

A tick is: one upload of cameras, people and draw ranges; one cull dispatch that writes the draw arguments; one
indirect multi-draw per pipeline for every view of a world; one compute pass that settles the colour of every pixel and
makes NV12 pictures; one read-back.

Instead of tiles of one atlas, all views are rasterised around the centre of the same square and a fragment competes
for its place in its own view's range of a key buffer with a 64-bit atomic maximum of (depth, colour). A raster
position never depends on the other views, so a picture is the same to the byte drawn alone or among many; in an
atlas the rounding of positions and interpolants depends on the tile.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

import numpy as np
import wgpu
from numpy.typing import NDArray

from render_farm.renderer.interface import PixelLayout, PlanarFrame, RenderError, RendererSettings, View
from render_farm.renderer.name_tags import TagCells, TagPainter
from render_farm.renderer.wgpu_batch import Batch, SceneCounts, make_batch, row_words, split_views
from render_farm.renderer.wgpu_device import OpenedDevice, open_device
from render_farm.renderer.wgpu_frame import FrameResources
from render_farm.renderer.wgpu_pipelines import RASTER_SIZE_PX, make_pipelines
from render_farm.renderer.wgpu_scene import ResidentScene, make_resident
from render_farm.scene.model import Scene

_NEW_TAGS_PER_TICK = 32
_GPU_TIMEOUT_S = 60.0
_Result = TypeVar("_Result")


class WgpuRenderer:
    """A `Renderer`; make it with `create`."""

    name = "wgpu"

    def __init__(self, settings: RendererSettings, opened: OpenedDevice) -> None:
        self.device = opened.description
        self.max_views = settings.max_views
        self._settings = settings
        self._gpu = opened.device
        self._max_key_bytes = opened.max_binding_bytes
        self._pipelines = make_pipelines(opened.device)
        self._frame = FrameResources(opened.device, self._pipelines, software=opened.software)
        self._scenes: dict[Scene, ResidentScene] = {}
        self._tags, self._painter = TagCells(), TagPainter()
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="wgpu")

    @staticmethod
    def create(settings: RendererSettings | None = None) -> "WgpuRenderer":
        """Open the Vulkan device and compile the shaders. Blocks for up to seconds; raises `RenderError`."""
        return WgpuRenderer(settings or RendererSettings(), open_device())

    async def load(self, scene: Scene) -> None:
        """See `Renderer.load`."""
        async with self._lock:
            await self._load(scene)

    async def unload(self, scene: Scene) -> None:
        """See `Renderer.unload`."""
        async with self._lock:
            self._scenes.pop(scene, None)

    async def render(self, views: Sequence[View]) -> Sequence[PlanarFrame]:
        """See `Renderer.render`."""
        self._check(views)
        if not views:
            return []
        async with self._lock:
            for scene in dict.fromkeys(view.scene for view in views):
                await self._load(scene)
            await self._paint_new_tags(views)
            frames: dict[int, PlanarFrame] = {}
            for group in split_views(views, self._max_key_bytes):
                drawn = await self._on_gpu_thread(partial(self._draw, [views[position] for position in group]))
                frames.update(zip(group, drawn, strict=True))
        return [frames[position] for position in range(len(views))]

    def close(self) -> None:
        """See `Renderer.close`."""
        self._scenes.clear()
        self._thread.submit(self._gpu.destroy)
        self._thread.shutdown()

    def _check(self, views: Sequence[View]) -> None:
        if len(views) > self.max_views:
            raise RenderError(f"{len(views)} views in one batch, the limit is {self.max_views}")
        for view in views:
            if view.width * view.height > self._settings.max_view_pixels:
                limit = self._settings.max_view_pixels
                raise RenderError(f"a view of {view.width}x{view.height} exceeds the limit of {limit} pixels")
            if view.width % 2 or view.height % 2 or min(view.width, view.height) < 2:
                raise RenderError(f"a view of {view.width}x{view.height}: width and height must be even")
            if max(view.width, view.height) > RASTER_SIZE_PX:
                raise RenderError(f"a view of {view.width}x{view.height} exceeds {RASTER_SIZE_PX} pixels on one side")

    async def _load(self, scene: Scene) -> None:
        if scene in self._scenes:
            return
        samplers = (self._frame.texture_sampler, self._frame.shadow_sampler)
        try:
            resident = await self._on_gpu_thread(partial(make_resident, self._gpu, self._pipelines, scene, samplers))
        except (RuntimeError, ValueError, RenderError) as error:
            raise RenderError(f"scene {scene.name!r} does not fit {self.device}: {error}") from error
        self._scenes[scene] = resident

    async def _paint_new_tags(self, views: Sequence[View]) -> None:
        frames = {id(view.avatars): view.avatars for view in views}
        names = [name for avatars in frames.values() for name in avatars.names]
        fresh = self._tags.claim(names, _NEW_TAGS_PER_TICK)
        if fresh:
            await self._on_gpu_thread(partial(self._paint, fresh))

    async def _on_gpu_thread(self, work: Callable[[], _Result]) -> _Result:
        """Run a piece of work on the one thread that talks to the device.

        Any call into wgpu may wait for the device. A cancelled caller's work runs to its end before the next begins.
        """
        try:
            async with asyncio.timeout(_GPU_TIMEOUT_S):
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except TimeoutError as error:
            raise RenderError(f"{self.device} did not answer for {_GPU_TIMEOUT_S:g} s; restart the node") from error
        except wgpu.GPUError as error:
            raise RenderError(f"{self.device} refused the work: {error}") from error

    def _draw(self, views: Sequence[View]) -> list[PlanarFrame]:
        batch = make_batch(views, self._counts, self._tags.cell, self._frame.avatar_indices)
        staging = self._frame.submit(batch, [self._scenes[world.scene] for world in batch.worlds])
        size = batch.picture_words * 4
        staging.map_sync("READ", 0, size)
        try:
            return _cut(views, batch, np.frombuffer(staging.read_mapped(0, size), np.uint8))
        finally:
            staging.unmap()

    def _paint(self, fresh: Sequence[tuple[str, int]]) -> None:
        for name, cell in fresh:
            self._frame.write_tag(cell, self._painter.paint(name))

    def _counts(self, scene: Scene) -> SceneCounts:
        resident = self._scenes[scene]
        return SceneCounts(resident.object_count, resident.chunk_count)


def _cut(views: Sequence[View], batch: Batch, data: NDArray[np.uint8]) -> list[PlanarFrame]:
    frames: dict[int, PlanarFrame] = {}
    for row, position in enumerate(batch.order):
        view = views[position]
        start, stride = int(batch.view_table["picture"][row, 2]) * 4, row_words(view) * 4
        rows = view.height * 3 // 2
        pixels = data[start : start + rows * stride].reshape(rows, stride)[:, : view.width]
        frames[position] = PlanarFrame(np.ascontiguousarray(pixels), view.width, view.height, PixelLayout.NV12)
    return [frames[position] for position in range(len(views))]
