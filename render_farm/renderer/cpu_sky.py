"""The sky of the CPU renderer: a gradient, the sun, clouds and hills, all infinitely far, so that turning shows."""

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.cpu_canvas import Canvas, Color
from render_farm.renderer.cpu_ground import HAZE
from render_farm.renderer.cpu_projection import Projection

ZENITH = Color.from_rgb(0.30, 0.50, 0.78)
SUN = Color.from_rgb(1.0, 0.96, 0.82)
CLOUD = Color.from_rgb(0.97, 0.97, 0.98)
RIDGES = (
    (Color.from_rgb(0.62, 0.70, 0.78), 0.085, 11.0),
    (Color.from_rgb(0.48, 0.58, 0.58), 0.050, 23.0),
)
"""Colour, height (tangent of the elevation) and waviness of each ridge of hills, far to near."""

SUN_AZIMUTH = 0.6
SUN_ELEVATION = 0.42
_SUN_RADIUS = 0.035
_RIDGE_POINTS = 180
_CLOUDS = 14


def _direction(azimuth: NDArray[np.floating], rise: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return directions (n, 3) at `azimuth` (as yaw) that rise by `rise` a metre."""
    return np.stack([-np.sin(azimuth), rise, -np.cos(azimuth)], axis=-1)


def _ridge(height: float, waviness: float) -> NDArray[np.float64]:
    azimuth = np.linspace(0, 2 * np.pi, _RIDGE_POINTS, endpoint=False)
    wave = np.sin(3 * azimuth + waviness) + 0.6 * np.sin(7 * azimuth + 2 * waviness)
    wave += 0.4 * np.sin(17 * azimuth) + 0.2 * np.sin(41 * azimuth + waviness)
    return _direction(azimuth, height * (0.62 + 0.22 * wave))


def _clouds() -> NDArray[np.float64]:
    """Return clouds as rows of direction (3), half width and half height at unit distance."""
    number = np.arange(_CLOUDS)
    azimuth = number * 2.399963
    rise = 0.22 + 0.38 * ((number * 0.618034) % 1)
    directions = _direction(azimuth, rise)
    widths = 0.08 + 0.10 * ((number * 0.754878) % 1)
    return np.column_stack([directions, widths, widths * 0.18])


class Sky:
    """Draws everything above the horizon; immutable."""

    def __init__(self) -> None:
        self._ridges = [(color, _ridge(height, waviness)) for color, height, waviness in RIDGES]
        self._clouds = _clouds()

    def draw(self, canvas: Canvas, projection: Projection, horizon_row: int) -> None:
        """Fill rows [0, horizon_row), and hills down to the horizon."""
        if horizon_row > 0:
            _draw_gradient(canvas, projection, horizon_row)
            self._draw_sun(canvas, projection)
            self._draw_clouds(canvas, projection)
            self._draw_ridges(canvas, projection)

    def _draw_sun(self, canvas: Canvas, projection: Projection) -> None:
        direction = _direction(np.array(SUN_AZIMUTH), np.array(np.tan(SUN_ELEVATION)))
        seen = projection.directions_to_camera(direction)
        if seen[2] <= 0.1:
            return
        x, y = projection.to_pixels(seen).tolist()
        radius = projection.focal_px * _SUN_RADIUS
        canvas.ellipse(x, y, radius * 1.5, radius * 1.5, SUN.mixed(HAZE, 0.6))
        canvas.ellipse(x, y, radius, radius, SUN)

    def _draw_clouds(self, canvas: Canvas, projection: Projection) -> None:
        seen = projection.directions_to_camera(self._clouds[:, :3])
        front = np.flatnonzero(seen[:, 2] > 0.25)
        pixels = projection.to_pixels(seen[front])
        sizes = self._clouds[front, 3:] * projection.focal_px / seen[front, 2:3]
        for (x, y), (half_width, half_height) in zip(pixels.tolist(), sizes.tolist(), strict=True):
            if -half_width < x < canvas.width + half_width and y > -2 * half_height:
                _draw_cloud(canvas, x, y, half_width, half_height)

    def _draw_ridges(self, canvas: Canvas, projection: Projection) -> None:
        for color, ridge in self._ridges:
            tops = projection.directions_to_camera(ridge)
            feet = projection.directions_to_camera(ridge * (1.0, 0.0, 1.0))
            for outline in _visible_runs(projection, tops, feet):
                canvas.polygon(outline, color)


def _draw_gradient(canvas: Canvas, projection: Projection, rows: int) -> None:
    """Fill rows with the sky's colour at the elevation of their middle column."""
    offset_px = canvas.height / 2 - (np.arange(rows) + 0.5)
    elevation = projection.pitch + np.arctan2(offset_px, projection.focal_px)
    share = np.clip(np.sin(np.minimum(elevation, np.pi / 2)) * 1.4, 0, 1) ** 0.6
    luma = np.rint(HAZE.luma + (ZENITH.luma - HAZE.luma) * share)
    canvas.luma[:rows] = luma.astype(np.uint8)[:, None]
    for plane, low, high in ((canvas.blue, HAZE.blue, ZENITH.blue), (canvas.red, HAZE.red, ZENITH.red)):
        plane[: rows // 2] = np.rint(low + (high - low) * share[::2]).astype(np.uint8)[:, None]


def _draw_cloud(canvas: Canvas, x: float, y: float, half_width: float, half_height: float) -> None:
    soft = CLOUD.mixed(HAZE, 0.45)
    canvas.ellipse(x, y, half_width, half_height, soft)
    canvas.ellipse(x - half_width * 0.25, y - half_height * 0.7, half_width * 0.5, half_height, soft)
    canvas.ellipse(x + half_width * 0.1, y - half_height * 0.5, half_width * 0.6, half_height * 0.8, CLOUD)


def _visible_runs(
    projection: Projection, tops: NDArray[np.float64], feet: NDArray[np.float64]
) -> list[list[tuple[float, float]]]:
    """Return a strip around the camera as the polygons of its parts that are in front."""
    front = (tops[:, 2] > 0.05) & (feet[:, 2] > 0.05)
    if front.all() or not front.any():
        chains = [np.append(np.arange(len(front)), 0)] if front.all() else []
    else:
        start = int(np.flatnonzero(front & ~np.roll(front, 1))[0])
        order = (start + np.arange(len(front))) % len(front)
        chains = [run for run in np.split(order, np.flatnonzero(~front[order])) if len(run) > 2]
        chains = [run[front[run]] for run in chains]
    outlines = []
    for chain in chains:
        points = projection.to_pixels(np.concatenate([tops[chain], feet[chain][::-1]]))
        outlines.append([(x, y) for x, y in np.clip(points, -8192, 8192).tolist()])
    return outlines
