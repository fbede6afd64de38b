"""Cameras and lights as matrices, in float64 and rounded once; points are column vectors, y is up.

Depth is reversed with the far plane at infinity: 1 at the near plane, falling to 0, so that the bits of a depth are
ordered like the nearness of the point.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.interface import Camera

NEAR_M = 0.05
SUN_DIRECTION = (0.48, 0.70, 0.53)
"""Towards the sun; the same as in `shaders/frame.wgsl`."""

Matrix = NDArray[np.float64]
Box = tuple[tuple[float, float, float], tuple[float, float, float]]


@dataclass(frozen=True, slots=True)
class CameraMatrices:
    """`view_projection` (4, 4); `right` and `up` (3,) reach the picture's edges at distance one; `planes` (5, 4)."""

    view_projection: Matrix
    right: Matrix
    up: Matrix
    forward: Matrix
    planes: Matrix


def camera_matrices(camera: Camera, aspect: float) -> CameraMatrices:
    """What a camera sees; `aspect` is width over height."""
    forward, right, up = _axes(camera)
    tangent = math.tan(camera.vertical_fov / 2)
    position = np.array(camera.position, np.float64)
    rows = np.zeros((4, 4))
    rows[0, :3] = right / (tangent * aspect)
    rows[1, :3] = up / tangent
    rows[3, :3] = forward
    rows[:, 3] = -rows[:, :3] @ position
    rows[2] = (0.0, 0.0, 0.0, NEAR_M)
    planes = np.stack([rows[3] + rows[0], rows[3] - rows[0], rows[3] + rows[1], rows[3] - rows[1], rows[3]])
    planes /= np.linalg.norm(planes[:, :3], axis=1, keepdims=True)
    return CameraMatrices(rows, right * tangent * aspect, up * tangent, forward, planes)


def _axes(camera: Camera) -> tuple[Matrix, Matrix, Matrix]:
    cos_pitch = math.cos(camera.pitch)
    forward = np.array(
        [-math.sin(camera.yaw) * cos_pitch, math.sin(camera.pitch), -math.cos(camera.yaw) * cos_pitch], np.float64
    )
    right = np.array([math.cos(camera.yaw), 0.0, -math.sin(camera.yaw)], np.float64)
    return forward, right, np.cross(right, forward)


def sun_matrix(box: Box) -> Matrix:
    """An orthographic projection along the sunlight that encloses a box."""
    toward = np.array(SUN_DIRECTION) / np.linalg.norm(SUN_DIRECTION)
    right = np.cross((0.0, 1.0, 0.0), toward)
    right /= np.linalg.norm(right)
    return _orthographic(box, right, np.cross(toward, right), -toward)


def roof_matrix(box: Box) -> Matrix:
    """An orthographic projection straight down that encloses a box."""
    return _orthographic(box, np.array([1.0, 0, 0]), np.array([0, 0, -1.0]), np.array([0, -1.0, 0]))


def _orthographic(box: Box, right: Matrix, up: Matrix, forward: Matrix) -> Matrix:
    """x and y in [-1, 1], depth in [0, 1] away from the light."""
    corners = np.array(
        [[x, y, z] for x in (box[0][0], box[1][0]) for y in (box[0][1], box[1][1]) for z in (box[0][2], box[1][2])]
    )
    matrix = np.eye(4)
    for row, (axis, span) in enumerate(((right, 2.0), (up, 2.0), (forward, 1.0))):
        along = corners @ axis
        low, size = float(along.min()), max(float(along.max() - along.min()), 1e-3)
        matrix[row, :3] = axis * (span / size)
        matrix[row, 3] = -low * (span / size) - (span - 1.0)
    return matrix


def for_gpu(matrix: Matrix) -> NDArray[np.float32]:
    """A matrix as WGSL stores it, column by column."""
    return np.ascontiguousarray(matrix.T, np.float32)
