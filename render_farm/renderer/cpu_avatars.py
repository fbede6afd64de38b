"""People as the CPU renderer draws them: upright figures that face where they look, with a raised arm and a name."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer import cpu_text
from render_farm.renderer.cpu_canvas import Canvas, Color
from render_farm.renderer.cpu_ground import HAZE, haze_share
from render_farm.renderer.cpu_projection import Projection
from render_farm.renderer.interface import AvatarFrame

HEIGHT_M = 1.75
SEATED_DROP_M = 0.45
"""How much lower a seated person's head is."""
NAMED_WITHIN_M = 25.0
SEATED_NAMED_WITHIN_M = 12.0
"""The names of a seated audience would hide it; who raises a hand is named from afar."""
MAX_NAMES = 60
"""The nearest so many people have their names above them; more cannot be read anyway."""
NAME_HEIGHT_M = 0.22
DETAILED_PX = 44
"""A figure smaller than this is a body and a head only."""
NEAREST_M = 0.5
"""A person nearer than this would fill the picture, and is not drawn."""
MAX_DRAWN = 1200
"""The nearest so many people are drawn; a hall holds a thousand."""

_SKIN = Color.from_rgb(0.86, 0.68, 0.56)
_HAIR = Color.from_rgb(0.20, 0.17, 0.15)
_TROUSERS = Color.from_rgb(0.25, 0.27, 0.33)
_WHITE = Color(235, 128, 128)


@dataclass(frozen=True, slots=True)
class Figure:
    """One person on one picture: where the feet are, what a metre across and a metre up is there, in pixels."""

    index: int
    distance_m: float
    foot: tuple[float, float]
    across_px: float
    up_px: tuple[float, float]
    named: bool
    facing: float
    """Angle by which the person looks past the camera: 0 towards it, pi away, positive to the picture's right."""

    def at(self, across_m: float, up_m: float) -> tuple[float, float]:
        """Return the pixel so far to the right of and above the feet."""
        return (
            self.foot[0] + across_m * self.across_px + up_m * self.up_px[0],
            self.foot[1] + up_m * self.up_px[1],
        )

    def span_px(self) -> tuple[float, float]:
        """Return the columns the figure may reach from and to, arms and name included."""
        return self.foot[0] - 1.2 * self.across_px, self.foot[0] + 1.2 * self.across_px


def figures(projection: Projection, avatars: AvatarFrame, hidden: int | None) -> list[Figure]:
    """Return the people who are in the picture, in any order, the `MAX_DRAWN` nearest at most."""
    if not len(avatars.positions):
        return []
    feet = projection.to_camera(avatars.positions.astype(np.float64))
    heads = projection.to_camera(avatars.positions + np.array([0.0, HEIGHT_M, 0.0]))
    shown = _in_picture(projection, feet, heads)
    if hidden is not None:
        shown[hidden] = False
    indices = np.flatnonzero(shown)
    if len(indices) > MAX_DRAWN:
        indices = np.sort(indices[np.argsort(feet[indices, 2], kind="stable")[:MAX_DRAWN]])
    return _figures_at(projection, avatars, indices, feet[indices], heads[indices])


def _in_picture(projection: Projection, feet: NDArray[np.float64], heads: NDArray[np.float64]) -> NDArray[np.bool_]:
    near = np.minimum(feet[:, 2], heads[:, 2])
    shown = near > NEAREST_M
    reach = projection.width / 2 / projection.focal_px
    shown &= np.abs(feet[:, 0]) < np.maximum(feet[:, 2], heads[:, 2]) * reach + 1.0
    inside: NDArray[np.bool_] = shown
    return inside


def _figures_at(
    projection: Projection,
    avatars: AvatarFrame,
    indices: NDArray[np.intp],
    feet: NDArray[np.float64],
    heads: NDArray[np.float64],
) -> list[Figure]:
    foot_px, head_px = projection.to_pixels(feet), projection.to_pixels(heads)
    across_px = projection.focal_px * 2 / (feet[:, 2] + heads[:, 2])
    up_px = (head_px - foot_px) / HEIGHT_M
    offset = projection.position[[0, 2]] - avatars.positions[indices][:, [0, 2]]
    towards = np.arctan2(-offset[:, 0], -offset[:, 1])
    facing = np.remainder(avatars.yaws[indices] - towards + np.pi, 2 * np.pi) - np.pi
    distance = np.linalg.norm(avatars.positions[indices] - projection.position, axis=1)
    quiet = avatars.seated[indices] & ~avatars.hands_raised[indices]
    named = distance < np.where(quiet, SEATED_NAMED_WITHIN_M, NAMED_WITHIN_M)
    named &= distance <= np.sort(distance[named])[: MAX_NAMES + 1].max(initial=0.0)
    return [
        Figure(index, distance_m, (foot[0], foot[1]), across, (up[0], up[1]), is_named, turned)
        for index, distance_m, foot, across, up, is_named, turned in zip(
            indices.tolist(),
            distance.tolist(),
            foot_px.tolist(),
            across_px.tolist(),
            up_px.tolist(),
            named.tolist(),
            facing.tolist(),
            strict=True,
        )
    ]


def draw(canvas: Canvas, figure: Figure, avatars: AvatarFrame) -> None:
    """Draw one person."""
    haze = haze_share(figure.distance_m)
    coat = Color.from_hue(float(avatars.hues[figure.index]), 1.0, 0.48).mixed(HAZE, haze)
    seated = bool(avatars.seated[figure.index])
    raised = bool(avatars.hands_raised[figure.index])
    base = -SEATED_DROP_M if seated else 0.0
    if -figure.up_px[1] * HEIGHT_M < DETAILED_PX:
        _draw_small(canvas, figure, coat, base, haze)
    else:
        _draw_body(canvas, figure, coat, base, haze, seated)
        _draw_head(canvas, figure, base, haze)
    if raised:
        _draw_raised_arm(canvas, figure, coat, base, haze)
    if figure.named:
        _draw_name(canvas, figure, avatars.names[figure.index], base, raised)


def _draw_small(canvas: Canvas, figure: Figure, coat: Color, base: float, haze: float) -> None:
    _fill(canvas, figure, [(-0.24, 1.48 + base), (0.24, 1.48 + base), (0.16, 0.0), (-0.16, 0.0)], coat)
    x, y = figure.at(0, 1.60 + base)
    canvas.ellipse(x, y, max(1.0, 0.13 * figure.across_px), max(1.0, 0.15 * figure.across_px), _SKIN.mixed(HAZE, haze))


def _draw_body(canvas: Canvas, figure: Figure, coat: Color, base: float, haze: float, seated: bool) -> None:
    x, y = figure.at(0, 0.02)
    canvas.ellipse(x, y, 0.34 * figure.across_px, 0.08 * figure.across_px, Color(70, 128, 128).mixed(HAZE, haze))
    trousers = _TROUSERS.mixed(HAZE, haze)
    hip = 0.85 + base
    for side in (-1, 1):
        leg = [(side * 0.03, hip), (side * 0.21, hip), (side * 0.17, 0.0), (side * 0.05, 0.0)]
        _fill(canvas, figure, leg, trousers)
    dark = coat.lit(0.72)
    for side in (-1, 1):
        arm = [(side * 0.22, 1.42), (side * 0.34, 1.32), (side * 0.36, 0.82), (side * 0.25, 0.82)]
        _fill(canvas, figure, [(across, up + base) for across, up in arm], dark)
    torso = [(-0.20, 1.48), (0.20, 1.48), (0.27, 1.38), (0.23, 0.80), (-0.23, 0.80), (-0.27, 1.38)]
    _fill(canvas, figure, [(across, up + base) for across, up in torso], coat)
    if abs(figure.facing) < math.pi / 2:
        middle = 0.20 * math.sin(figure.facing)
        collar = [(middle - 0.07, 1.48), (middle + 0.07, 1.48), (middle, 1.22)]
        _fill(canvas, figure, [(across, up + base) for across, up in collar], _WHITE.mixed(HAZE, haze))


def _draw_head(canvas: Canvas, figure: Figure, base: float, haze: float) -> None:
    unit = figure.across_px
    x, y = figure.at(0, 1.61 + base)
    canvas.ellipse(x, y, 0.125 * unit, 0.15 * unit, _HAIR.mixed(HAZE, haze))
    if abs(figure.facing) > 2.2:
        return
    middle = math.sin(figure.facing)
    x, y = figure.at(0.045 * middle, 1.585 + base)
    canvas.ellipse(x, y, (0.11 - 0.03 * abs(middle)) * unit, 0.125 * unit, _SKIN.mixed(HAZE, haze))
    if abs(figure.facing) < 1.3 and unit > 60:
        for side in (-0.04, 0.04):
            x, y = figure.at(0.10 * middle + side * math.cos(figure.facing), 1.60 + base)
            canvas.ellipse(x, y, 0.013 * unit, 0.018 * unit, _HAIR)


def _draw_raised_arm(canvas: Canvas, figure: Figure, coat: Color, base: float, haze: float) -> None:
    arm = [(0.18, 1.40), (0.28, 1.36), (0.40, 2.00), (0.30, 2.02)]
    _fill(canvas, figure, [(across, up + base) for across, up in arm], coat.lit(1.15))
    x, y = figure.at(0.355, 2.07 + base)
    canvas.ellipse(x, y, max(1.5, 0.075 * figure.across_px), max(1.5, 0.09 * figure.across_px), _SKIN.mixed(HAZE, haze))


def _draw_name(canvas: Canvas, figure: Figure, name: str, base: float, raised: bool) -> None:
    mask = cpu_text.mask(name, cpu_text.size_for(NAME_HEIGHT_M * figure.across_px))
    x, y = figure.at(0, 1.85 + base + (0.4 if raised else 0))
    canvas.label(round(x - mask.shape[1] / 2), round(y - mask.shape[0]), mask, _WHITE, 0.55)


def _fill(canvas: Canvas, figure: Figure, outline: list[tuple[float, float]], color: Color) -> None:
    canvas.polygon([figure.at(across, up) for across, up in outline], color)
