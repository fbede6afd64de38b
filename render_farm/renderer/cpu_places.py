"""A scene's places as the CPU renderer shows them: walls, exhibits on pedestals, seats, lawn around the bounds.

Walls are cut into short segments, so that sorting by distance draws what is near over what is far.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.cpu_canvas import Canvas, Color
from render_farm.renderer.cpu_ground import HAZE, haze_share
from render_farm.renderer.cpu_projection import NEAR_M, Projection
from render_farm.renderer.cpu_solids import LIGHT, PEDESTAL, RELICS
from render_farm.scene.model import Exhibit, Places

WALL_HEIGHT_M = 4.0
WALL_THICKNESS_M = 2.0
PILLAR_HEIGHT_M = 3.0
PILLAR_SIDE_M = 0.9
PLINTH_HEIGHT_M = 0.8
PLINTH_SIDE_M = 2.6
PLATFORM_HEIGHT_M = 0.4
"""Places say where nobody walks, not how high it is; the shape on the ground tells: see `_height_of`."""
SEGMENT_M = 4.0
LONG_SEGMENT_M = 16.0
FAR_M = 45.0
"""From this distance on walls are drawn in long pieces."""
COURSES = np.array([0.0, 0.12, 0.9, 1.0])
"""Where skirting ends and cornice begins, as shares of a wall's height."""
LEAST_WALL_PX = 5
"""Lower walls and narrower pillars are lost in the haze, and not drawn."""
DETAILED_WITHIN_M = 30.0
DETAILED_EXHIBIT_PX = 24
"""An exhibit of a smaller radius is an ellipse on a block."""
MAX_SEGMENTS = 20_000
"""Bounds the memory and time that a scene with absurdly long walls can take; further segments are not drawn."""
LAWN_REACH_M = 2000.0
SEATS_WITHIN_M = 60.0
MAX_SEATS = 300
SEAT_CUSHIONS_WITHIN_M = 15.0
TOPS_WITHIN_M = 60.0
CLIP_BEYOND_PX = 8000
COLUMN_PX = 8
"""Occlusion by walls is kept for columns of this width."""

_WALL = Color.from_rgb(0.85, 0.82, 0.76)
_SKIRTING = Color.from_rgb(0.45, 0.40, 0.36)
_CORNICE = Color.from_rgb(0.62, 0.28, 0.24)
_LAWN = Color.from_rgb(0.42, 0.55, 0.32)
_MARBLE = Color.from_rgb(0.80, 0.79, 0.77)
_TOP = Color.from_rgb(0.76, 0.74, 0.70)
_SEAT = Color.from_rgb(0.55, 0.20, 0.20)


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of wall that may be visible.

    `courses`: float64 (4, 2, 3), its left and right ends in camera coordinates at `COURSES` of its height.
    """

    distance_m: float
    courses: NDArray[np.float64]
    pixels: NDArray[np.float64] | None
    """`courses` on the picture, float64 (4, 2, 2); `None` if part of it is behind the camera."""
    light: float
    tall: bool

    def outline(self, projection: Projection, low: int, high: int) -> list[tuple[float, float]]:
        """Return the polygon between two of its courses on the picture."""
        if self.pixels is None or np.abs(self.pixels).max() > CLIP_BEYOND_PX:
            return projection.polygon_from_camera(np.concatenate([self.courses[low], self.courses[high][::-1]]))
        (x0, y0), (x1, y1) = self.pixels[low].tolist()
        (x2, y2), (x3, y3) = self.pixels[high].tolist()
        return [(x0, y0), (x1, y1), (x3, y3), (x2, y2)]


@dataclass(frozen=True, slots=True)
class Top:
    """The level top of something low: its distance (infinite for a platform, which all else stands on) and corners."""

    distance_m: float
    corners: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Segments:
    """All pieces of wall: `feet` float64 (n, 2, 3), outward `normals` (n, 3), `heights` (n,), `lights` (n,).

    Every wall is here twice, in long pieces (`is_long`, bool (n,)) for the distance and in short ones for nearby;
    `long_middles` (n, 3) is the middle of the long piece that each is or belongs to, by which one is chosen.
    """

    feet: NDArray[np.float64]
    long_middles: NDArray[np.float64]
    is_long: NDArray[np.bool_]
    normals: NDArray[np.float64]
    heights: NDArray[np.float64]
    lights: NDArray[np.float64]


class ScenePlaces:
    """What of one scene's `Places` can be prepared once."""

    def __init__(self, places: Places) -> None:
        barriers = _barriers(places)
        self._segments = _cut(barriers)
        self._tops = [barrier.top() for barrier in barriers if barrier.height_m < WALL_HEIGHT_M]
        self._top_middles = np.array([top.corners.mean(axis=0) for top in self._tops]).reshape(-1, 3)
        self._lawn = _lawn(places.bounds)
        self.exhibits = places.exhibits
        self._seats = places.seats.astype(np.float64)

    def draw_lawn(self, canvas: Canvas, projection: Projection) -> None:
        """Draw grass outside the bounds, on top of the paving."""
        for piece in self._lawn:
            canvas.polygon(projection.polygon(piece), _LAWN)

    def segments_in(self, projection: Projection) -> list[Segment]:
        """Return the pieces of wall that face the camera and reach into the picture."""
        segments = self._segments
        middle = segments.feet.mean(axis=1)
        facing = np.einsum("ij,ij->i", segments.normals, projection.position - middle) > 0
        facing &= (np.linalg.norm(segments.long_middles - projection.position, axis=1) > FAR_M) == segments.is_long
        indices = np.flatnonzero(facing)
        rise = COURSES[:, None, None] * np.array([0.0, 1.0, 0.0])
        courses = segments.feet[indices, None] + rise * segments.heights[indices, None, None, None]
        seen = projection.to_camera(courses)
        reach = np.maximum(seen[..., 2], NEAR_M) * (projection.width / 2 / projection.focal_px)
        shown = (seen[..., 2] > NEAR_M).any(axis=(1, 2))
        length = np.linalg.norm(segments.feet[indices, 1] - segments.feet[indices, 0], axis=1)
        least = np.minimum(segments.heights[indices], length)
        shown &= least * projection.focal_px > LEAST_WALL_PX * np.maximum(seen[..., 2].min(axis=(1, 2)), NEAR_M)
        shown &= (seen[..., 0] > -reach).any(axis=(1, 2)) & (seen[..., 0] < reach).any(axis=(1, 2))
        kept = np.flatnonzero(shown)
        indices, seen = indices[kept], seen[kept]
        distance = np.linalg.norm(middle[indices] - projection.position, axis=1).tolist()
        tall = (segments.heights[indices] > projection.height_m).tolist()
        lights = segments.lights[indices].tolist()
        whole = seen[..., 2].min(axis=(1, 2)) > NEAR_M
        pixels = projection.to_pixels(np.maximum(seen, (-np.inf, -np.inf, NEAR_M)))
        return [
            Segment(distance[i], seen[i], pixels[i] if whole[i] else None, lights[i], tall[i]) for i in range(len(kept))
        ]

    def tops_in(self, projection: Projection) -> list[Top]:
        """Return the tops below the camera, nearby."""
        offsets = self._top_middles - projection.position
        distances = np.linalg.norm(offsets, axis=1)
        found = []
        for index in np.flatnonzero(offsets[:, 1] < 0):
            top = self._tops[index]
            distance_m = max(float(distances[index]), top.distance_m)
            if distance_m < TOPS_WITHIN_M or math.isinf(distance_m):
                found.append(Top(distance_m, top.corners))
        return found

    def visible_seats(self, projection: Projection) -> list[tuple[float, NDArray[np.float64]]]:
        """Return distance and position of the nearest seats in front of the camera."""
        if not len(self._seats):
            return []
        seen = projection.to_camera(self._seats[:, :3])
        inside = (seen[:, 2] > 1.0) & (seen[:, 2] < SEATS_WITHIN_M)
        inside &= np.abs(seen[:, 0]) < seen[:, 2] * (projection.width / 2 / projection.focal_px) + 0.5
        near = np.flatnonzero(inside)
        near = near[np.argsort(seen[near, 2], kind="stable")[:MAX_SEATS]]
        return [(float(np.linalg.norm(seen[i])), seen[i]) for i in near]


def draw_segment(canvas: Canvas, projection: Projection, segment: Segment) -> None:
    """Draw a piece of wall; near ones with skirting and cornice."""
    haze = haze_share(segment.distance_m)
    bands = [(0, 3, _WALL)]
    if segment.tall and segment.distance_m < DETAILED_WITHIN_M:
        bands = [(0, 1, _SKIRTING), (1, 2, _WALL), (2, 3, _CORNICE)]
    for low, high, color in bands:
        outline = segment.outline(projection, low, high)
        canvas.polygon(outline, _shaded(color, segment.light, round(haze, 2)))


@lru_cache(maxsize=4096)
def _shaded(color: Color, light: float, haze: float) -> Color:
    return color.lit(light).mixed(HAZE, haze)


def draw_top(canvas: Canvas, projection: Projection, top: Top) -> None:
    """Draw the top of a plinth or platform."""
    haze = haze_share(float(np.linalg.norm(top.corners[0] - projection.position)))
    canvas.polygon(projection.polygon(top.corners), _TOP.mixed(HAZE, haze))


def draw_exhibit(canvas: Canvas, projection: Projection, exhibit: Exhibit, number: int) -> None:
    """Draw an exhibit as one of the relics on a pedestal."""
    position = np.array(exhibit.position)
    radius = max(exhibit.radius, 0.05)
    color = Color.from_hue((number * 0.618034) % 1, 0.8, 0.55)
    seen = projection.to_camera(position)
    if seen[2] > radius and radius * projection.focal_px / seen[2] < DETAILED_EXHIBIT_PX:
        _draw_small_exhibit(canvas, projection, exhibit, seen, color)
        return
    base = position - (0.0, radius, 0.0)
    if base[1] > 0.05:
        foot = np.array([base[0], 0.0, base[2]])
        _pedestal(canvas, projection, foot, float(base[1]), radius)
    RELICS[number % len(RELICS)].draw(canvas, projection, position, radius, exhibit.yaw, color)


def _draw_small_exhibit(
    canvas: Canvas, projection: Projection, exhibit: Exhibit, seen: NDArray[np.float64], color: Color
) -> None:
    haze = haze_share(float(seen[2]))
    (x, y), unit = projection.to_pixels(seen).tolist(), projection.focal_px / float(seen[2])
    half = 0.75 * exhibit.radius * unit
    foot = y + exhibit.position[1] * unit
    canvas.rectangle(x - half, y + exhibit.radius * unit, x + half, foot, _MARBLE.lit(0.75).mixed(HAZE, haze))
    canvas.ellipse(x, y, half, exhibit.radius * unit, color.mixed(HAZE, haze))


def draw_seat(canvas: Canvas, projection: Projection, seen: NDArray[np.float64]) -> None:
    """Draw a seat, whose ground point in camera coordinates is `seen`, as a chair's back."""
    x, y = projection.to_pixels(seen).tolist()
    unit = projection.focal_px / float(seen[2])
    color = _SEAT.mixed(HAZE, haze_share(float(seen[2])))
    canvas.rectangle(x - 0.25 * unit, y - 0.85 * unit, x + 0.25 * unit, y - 0.40 * unit, color)
    if seen[2] < SEAT_CUSHIONS_WITHIN_M:
        canvas.rectangle(x - 0.25 * unit, y - 0.45 * unit, x + 0.25 * unit, y - 0.30 * unit, color.lit(1.3))


def _pedestal(
    canvas: Canvas, projection: Projection, foot: NDArray[np.float64], height_m: float, radius_m: float
) -> None:
    scaled = type(PEDESTAL)(
        PEDESTAL.corners * (1.5 * radius_m, height_m, 1.5 * radius_m), PEDESTAL.normals, PEDESTAL.tones
    )
    scaled.draw(canvas, projection, foot, 1.0, 0.0, _MARBLE)


class OpenColumns:
    """Which columns of the picture are not yet closed, from the ground to above the horizon, by nearer walls.

    Asked from near to far. Exact enough while the camera is nearly level and below the walls' tops; otherwise
    everything is open.
    """

    def __init__(self, projection: Projection) -> None:
        self._projection = projection
        self._closed = 0
        """One bit a column: on integers of this size, Python is faster than NumPy."""
        self._usable = abs(projection.pitch) < 0.3

    def shows(self, left_px: float, right_px: float) -> bool:
        """Whether a thing between these columns is at least partly in an open one."""
        asked = self._bits(math.floor(left_px / COLUMN_PX), math.ceil(right_px / COLUMN_PX))
        return asked & ~self._closed != 0

    def _bits(self, first: int, last: int) -> int:
        """Return the bits of columns [first, last), as far as they are on the picture."""
        limit = -(-self._projection.width // COLUMN_PX)
        first, last = max(0, min(first, limit)), max(0, min(last, limit))
        return (1 << last) - (1 << first) if last > first else 0

    def admit(self, segment: Segment) -> bool:
        """Whether a piece of wall shows; if it does, it closes the columns it fills."""
        if segment.pixels is None or not self._usable:
            return True
        left, right = sorted(segment.pixels[..., 0].T.tolist())
        if not self.shows(min(left), max(right)):
            return False
        if segment.tall:
            self._closed |= self._bits(math.ceil(max(left) / COLUMN_PX), math.floor(min(right) / COLUMN_PX))
        return True


@dataclass(frozen=True, slots=True)
class _Barrier:
    """A rectangle on the ground (min x, min z, max x, max z), given a height."""

    rectangle: tuple[float, float, float, float]
    height_m: float

    def sides(self) -> list[tuple[tuple[float, float], tuple[float, float], tuple[float, float, float]]]:
        """Return the four sides as start, end (x, z) and outward normal."""
        x0, z0, x1, z1 = self.rectangle
        return [
            ((x0, z0), (x1, z0), (0.0, 0.0, -1.0)),
            ((x1, z1), (x0, z1), (0.0, 0.0, 1.0)),
            ((x0, z1), (x0, z0), (-1.0, 0.0, 0.0)),
            ((x1, z0), (x1, z1), (1.0, 0.0, 0.0)),
        ]

    def top(self) -> Top:
        """Return the top face; distance 0 stands for the distance of its middle."""
        x0, z0, x1, z1 = self.rectangle
        y = self.height_m
        corners = np.array([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)])
        return Top(math.inf if y == PLATFORM_HEIGHT_M else 0.0, corners)


def _height_of(rectangle: tuple[float, float, float, float]) -> float:
    """Guess from its shape on the ground what a barrier is: pillar, plinth or bench, wall, or platform."""
    short, long = sorted((rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]))
    if long <= PILLAR_SIDE_M:
        return PILLAR_HEIGHT_M
    if long <= PLINTH_SIDE_M:
        return PLINTH_HEIGHT_M
    return WALL_HEIGHT_M if short <= WALL_THICKNESS_M else PLATFORM_HEIGHT_M


def _barriers(places: Places) -> list[_Barrier]:
    """Return what is drawn of the walls: not those around seats or exhibits, which are drawn themselves."""
    drawn = [(seat[0], seat[2]) for seat in places.seats.tolist()]
    drawn += [(exhibit.position[0], exhibit.position[2]) for exhibit in places.exhibits]
    points = np.array(drawn).reshape(-1, 2)
    barriers = []
    for x0, z0, x1, z1 in places.walls.astype(np.float64).tolist():
        inside = (points[:, 0] > x0) & (points[:, 0] < x1) & (points[:, 1] > z0) & (points[:, 1] < z1)
        if not inside.any():
            barriers.append(_Barrier((x0, z0, x1, z1), _height_of((x0, z0, x1, z1))))
    return barriers


def _lawn(bounds: tuple[float, float, float, float]) -> list[NDArray[np.float64]]:
    """Return four ground rectangles (4, 3) around the bounds."""
    x0, z0, x1, z1 = bounds
    far = LAWN_REACH_M
    sides = [
        (x0 - far, z0 - far, x1 + far, z0),
        (x0 - far, z1, x1 + far, z1 + far),
        (x0 - far, z0, x0, z1),
        (x1, z0, x1 + far, z1),
    ]
    return [np.array([(a, 0.0, b), (c, 0.0, b), (c, 0.0, d), (a, 0.0, d)]) for a, b, c, d in sides]


def _cut(barriers: list[_Barrier]) -> _Segments:
    """Cut the sides of all barriers into pieces, long ones and short ones."""
    feet: list[NDArray[np.float64]] = []
    middles: list[NDArray[np.float64]] = []
    kinds: list[tuple[bool, float, tuple[float, float, float]]] = []
    for barrier in barriers:
        for start, end, normal in barrier.sides():
            for long in _pieces(np.array([(start[0], 0.0, start[1]), (end[0], 0.0, end[1])]), LONG_SEGMENT_M):
                pieces = [long, *_pieces(long, SEGMENT_M)]
                if len(feet) + len(pieces) > MAX_SEGMENTS:
                    continue
                feet += pieces
                middles += [long.mean(axis=0)] * len(pieces)
                kinds += [(number == 0, barrier.height_m, normal) for number in range(len(pieces))]
    outward = np.array([normal for _, _, normal in kinds]).reshape(-1, 3)
    return _Segments(
        feet=np.array(feet).reshape(-1, 2, 3),
        long_middles=np.array(middles).reshape(-1, 3),
        is_long=np.array([is_long for is_long, _, _ in kinds], np.bool_),
        normals=outward,
        heights=np.array([height_m for _, height_m, _ in kinds]),
        lights=0.78 + 0.3 * np.clip(outward @ LIGHT, -0.5, 1),
    )


def _pieces(ends: NDArray[np.float64], most_m: float) -> list[NDArray[np.float64]]:
    """Cut a line (2, 3) into equal pieces of `most_m` at most."""
    count = min(max(1, math.ceil(float(np.linalg.norm(ends[1] - ends[0])) / most_m)), MAX_SEGMENTS)
    cuts = np.linspace(ends[0], ends[1], count + 1)
    return list(np.stack([cuts[:-1], cuts[1:]], axis=1))
