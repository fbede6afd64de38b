"""The CPU renderer: NumPy and Pillow, no GPU, the same bytes for the same view everywhere.

It draws I420 at once: paving and sky for the whole picture, then walls, exhibits, seats and people from far to near.
It knows a scene's places, not its meshes. It serves tests, and machines without Vulkan.
"""

import asyncio
import platform
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer import cpu_avatars, cpu_places
from render_farm.renderer.cpu_canvas import Canvas
from render_farm.renderer.cpu_ground import Ground
from render_farm.renderer.cpu_places import OpenColumns, ScenePlaces
from render_farm.renderer.cpu_projection import NEAR_M, Projection
from render_farm.renderer.cpu_sky import Sky
from render_farm.renderer.interface import AvatarFrame, PlanarFrame, RenderError, RendererSettings, View
from render_farm.scene.model import Scene

SUPERSAMPLING = 2
"""A refined view is drawn so many times as wide and high, then averaged."""
REMEMBERED_AVATARS = 100
"""Views of so many people (an assembly), and refined ones, are remembered: they are dear, and often the same again."""
MAX_REMEMBERED = 4
_GENERATIONS = 2
"""Batches whose frames stay valid at a time; see `PlanarFrame`."""


class CpuRenderer:
    """Implements `Renderer`. Drawing runs in a worker thread; the event loop only hands it over."""

    name = "cpu"

    def __init__(self, settings: RendererSettings | None = None) -> None:
        self.device = platform.processor() or platform.machine()
        self._settings = settings or RendererSettings()
        self.max_views = self._settings.max_views
        self._ground = Ground()
        self._sky = Sky()
        self._scenes: dict[Scene, ScenePlaces] = {}
        self._canvases = _CanvasPool()
        self._memory = _Memory()
        self._drawing = asyncio.Lock()

    async def load(self, scene: Scene) -> None:
        """Prepare a scene's places; see `Renderer.load`."""
        if scene not in self._scenes:
            self._scenes[scene] = await asyncio.to_thread(ScenePlaces, scene.places)

    async def unload(self, scene: Scene) -> None:
        """See `Renderer.unload`."""
        async with self._drawing:
            self._scenes.pop(scene, None)
            self._memory.clear()

    async def render(self, views: Sequence[View]) -> Sequence[PlanarFrame]:
        """Draw all views; see `Renderer.render`."""
        if len(views) > self.max_views:
            raise RenderError(f"{len(views)} views in a batch, at most {self.max_views}: use more batches")
        for view in views:
            self._check(view)
        async with self._drawing:
            for view in views:
                await self.load(view.scene)
            return await asyncio.to_thread(self._render_all, views)

    def close(self) -> None:
        """Free all memory."""
        self._scenes.clear()
        self._canvases.clear()
        self._memory.clear()

    def _check(self, view: View) -> None:
        size = f"a view of {view.width}x{view.height}"
        if view.width % 2 or view.height % 2 or min(view.width, view.height) < 2:
            raise RenderError(f"{size} cannot be drawn: both must be even and positive")
        if view.width * view.height > self._settings.max_view_pixels:
            raise RenderError(f"{size} is larger than {self._settings.max_view_pixels} pixels: ask for a smaller one")

    def _render_all(self, views: Sequence[View]) -> list[PlanarFrame]:
        self._canvases.begin_batch()
        return [self._render_one(view) for view in views]

    def _render_one(self, view: View) -> PlanarFrame:
        canvas = self._canvases.take(view.width, view.height)
        if not (view.refine or len(view.avatars.ids) >= REMEMBERED_AVATARS):
            self._draw(canvas, view)
        elif not self._memory.recall(view, canvas.pixels):
            self._draw_refined(canvas, view) if view.refine else self._draw(canvas, view)
            self._memory.store(view, canvas.pixels)
        return canvas.frame()

    def _draw_refined(self, canvas: Canvas, view: View) -> None:
        large = self._canvases.take(view.width * SUPERSAMPLING, view.height * SUPERSAMPLING)
        self._draw(large, view)
        large.halve_into(canvas)

    def _draw(self, canvas: Canvas, view: View) -> None:
        places = self._scenes[view.scene]
        projection = Projection.of(view.camera, canvas.width, canvas.height)
        horizon_row = self._ground.draw(canvas, projection)
        places.draw_lawn(canvas, projection)
        self._sky.draw(canvas, projection, horizon_row)
        for draw in reversed(_near_to_far(canvas, projection, places, view)):
            draw()


@dataclass(frozen=True, slots=True)
class _Thing:
    """Something that stands on the ground: how far away, whether it shows past nearer walls, how to draw it."""

    distance_m: float
    shows: Callable[[], bool]
    draw: Callable[[], None]


def _near_to_far(canvas: Canvas, projection: Projection, places: ScenePlaces, view: View) -> list[Callable[[], None]]:
    """Return how to draw what stands on the ground and is not behind walls, near to far."""
    columns = OpenColumns(projection)
    things = [
        _Thing(
            segment.distance_m,
            partial(columns.admit, segment),
            partial(cpu_places.draw_segment, canvas, projection, segment),
        )
        for segment in places.segments_in(projection)
    ]
    things += [
        _Thing(top.distance_m, _always, partial(cpu_places.draw_top, canvas, projection, top))
        for top in places.tops_in(projection)
    ]
    things += _exhibits(canvas, projection, places, columns)
    for distance_m, seen in places.visible_seats(projection):
        draw = partial(cpu_places.draw_seat, canvas, projection, seen)
        things.append(_Thing(distance_m, partial(_ball_shows, projection, columns, seen, 0.4), draw))
    for figure in cpu_avatars.figures(projection, view.avatars, view.hidden_avatar):
        shows = partial(columns.shows, *figure.span_px())
        things.append(_Thing(figure.distance_m, shows, partial(cpu_avatars.draw, canvas, figure, view.avatars)))
    things.sort(key=attrgetter("distance_m"))
    return [thing.draw for thing in things if thing.shows()]


def _always() -> bool:
    return True


def _exhibits(canvas: Canvas, projection: Projection, places: ScenePlaces, columns: OpenColumns) -> list[_Thing]:
    things = []
    for number, exhibit in enumerate(places.exhibits):
        seen = projection.to_camera(np.array(exhibit.position))
        if not projection.is_beside(seen, exhibit.radius * 1.3):
            shows = partial(_ball_shows, projection, columns, seen, exhibit.radius)
            draw = partial(cpu_places.draw_exhibit, canvas, projection, exhibit, number)
            things.append(_Thing(float(np.linalg.norm(seen)), shows, draw))
    return things


def _ball_shows(projection: Projection, columns: OpenColumns, seen: NDArray[np.float64], radius_m: float) -> bool:
    """Whether a ball around `seen`, in camera coordinates, is partly in an open column."""
    if seen[2] < radius_m + NEAR_M:
        return True
    unit_px = projection.focal_px / float(seen[2])
    middle_px = projection.width / 2 + float(seen[0]) * unit_px
    return columns.shows(middle_px - radius_m * unit_px, middle_px + radius_m * unit_px)


class _Memory:
    """The last pictures of dear views, given out again while nothing in them has changed."""

    def __init__(self) -> None:
        self._pictures: OrderedDict[tuple[Hashable, ...], tuple[AvatarFrame, NDArray[np.uint8]]] = OrderedDict()

    def recall(self, view: View, into: NDArray[np.uint8]) -> bool:
        """Copy the picture of `view` into `into`, if it is known and shows the same people in the same places."""
        known = self._pictures.get(_key(view))
        if known is None or not _are_same(known[0], view.avatars):
            return False
        into[:] = known[1]
        return True

    def store(self, view: View, pixels: NDArray[np.uint8]) -> None:
        """Remember the picture of `view`, and forget the one longest known."""
        self._pictures.pop(_key(view), None)
        self._pictures[_key(view)] = (_copied(view.avatars), pixels.copy())
        if len(self._pictures) > MAX_REMEMBERED:
            self._pictures.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._pictures.clear()


def _key(view: View) -> tuple[Hashable, ...]:
    return view.scene, view.camera, view.width, view.height, view.hidden_avatar, view.refine


def _arrays(avatars: AvatarFrame) -> list[NDArray[Any]]:
    return [avatars.positions, avatars.yaws, avatars.hues, avatars.hands_raised, avatars.seated]


def _are_same(one: AvatarFrame, other: AvatarFrame) -> bool:
    return one.names == other.names and all(map(np.array_equal, _arrays(one), _arrays(other)))


def _copied(avatars: AvatarFrame) -> AvatarFrame:
    """Return a copy that its maker cannot change afterwards."""
    positions, yaws, hues, hands_raised, seated = (array.copy() for array in _arrays(avatars))
    return AvatarFrame(positions, yaws, hues, avatars.names, hands_raised, seated, avatars.ids)


class _CanvasPool:
    """Canvases by size, reused once the frames of the last but one batch may go; sizes no longer used are freed."""

    def __init__(self) -> None:
        self._generations: list[dict[tuple[int, int], list[Canvas]]] = [{} for _ in range(_GENERATIONS)]
        self._free: dict[tuple[int, int], list[Canvas]] = {}

    def begin_batch(self) -> None:
        """Make the canvases of the last but one batch free for this one."""
        self._free = self._generations.pop(0)
        self._generations.append({})

    def take(self, width: int, height: int) -> Canvas:
        """Return a canvas whose content is undefined."""
        size = (width, height)
        free = self._free.get(size)
        canvas = free.pop() if free else Canvas(width, height)
        self._generations[-1].setdefault(size, []).append(canvas)
        return canvas

    def clear(self) -> None:
        """Free everything."""
        self._generations = [{} for _ in range(_GENERATIONS)]
        self._free = {}
