"""Walking: held input moves a person over the ground, around walls, within the scene's bounds."""

import math

import numpy as np
from numpy.typing import NDArray

from broker.protocol import Input
from render_farm.scene.model import Places

WALK_M_PER_S = 2.4
RUN_M_PER_S = 6.0
BODY_RADIUS_M = 0.3
EYE_HEIGHT_M = 1.62
MAX_STEP_M = 0.25
"""A step longer than this is cut up, so that nobody passes through a wall."""


def walk(
    position: tuple[float, float, float], yaw: float, held: Input, elapsed_s: float, places: Places
) -> tuple[float, float, float]:
    """Where somebody stands after holding `held` for `elapsed_s`, sliding along what is in the way."""
    strength = math.hypot(held.move_x, held.move_z)
    if strength == 0.0:
        return position
    speed = (RUN_M_PER_S if held.run else WALK_M_PER_S) / max(1.0, strength)
    right, forward = held.move_x * speed * elapsed_s, held.move_z * speed * elapsed_s
    delta_x = right * math.cos(yaw) - forward * math.sin(yaw)
    delta_z = -right * math.sin(yaw) - forward * math.cos(yaw)
    steps = max(1, math.ceil(math.hypot(delta_x, delta_z) / MAX_STEP_M))
    x, y, z = position
    for _ in range(steps):
        x = _advance(x, z, delta_x / steps, 0, places)
        z = _advance(z, x, delta_z / steps, 1, places)
    return x, y, z


def _advance(along: float, across: float, delta: float, axis: int, places: Places) -> float:
    """Move `delta` along axis 0 (x) or 1 (z) unless that ends inside a wall or outside the bounds."""
    target = along + delta
    low, high = places.bounds[axis], places.bounds[axis + 2]
    target = min(max(target, low + BODY_RADIUS_M), high - BODY_RADIUS_M)
    x, z = (target, across) if axis == 0 else (across, target)
    return along if _blocked(x, z, places.walls) else target


def _blocked(x: float, z: float, walls: NDArray[np.float32]) -> bool:
    return bool(
        np.any(
            (walls[:, 0] - BODY_RADIUS_M < x)
            & (x < walls[:, 2] + BODY_RADIUS_M)
            & (walls[:, 1] - BODY_RADIUS_M < z)
            & (z < walls[:, 3] + BODY_RADIUS_M)
        )
    )
