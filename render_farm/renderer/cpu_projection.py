"""The pinhole camera of the CPU renderer: from world metres to pixels, and the clipping that goes before."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.interface import Camera

NEAR_M = 0.2
"""What is nearer to the camera's plane than this is cut off."""

_LEAST_HEIGHT_M = 0.05
_RASTERISER_LIMIT_PX = 8000
_NEAR_PLANE = np.array([0.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Projection:
    """One camera on one picture size. Rows of `axes` are the camera's right, up and forward in the world."""

    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    yaw: float
    pitch: float
    focal_px: float
    width: int
    height: int

    @staticmethod
    def of(camera: Camera, width: int, height: int) -> "Projection":
        """Return the projection of `camera` onto a picture of this size."""
        sin_yaw, cos_yaw = math.sin(camera.yaw), math.cos(camera.yaw)
        sin_pitch, cos_pitch = math.sin(camera.pitch), math.cos(camera.pitch)
        axes = np.array(
            [
                [cos_yaw, 0.0, -sin_yaw],
                [sin_yaw * sin_pitch, cos_pitch, cos_yaw * sin_pitch],
                [-sin_yaw * cos_pitch, sin_pitch, -cos_yaw * cos_pitch],
            ]
        )
        focal_px = height / 2 / math.tan(camera.vertical_fov / 2)
        return Projection(np.array(camera.position), axes, camera.yaw, camera.pitch, focal_px, width, height)

    @property
    def height_m(self) -> float:
        """Height of the camera above the ground, which it is never below."""
        return max(float(self.position[1]), _LEAST_HEIGHT_M)

    def to_camera(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """World points (..., 3) to metres right of, above and in front of the camera (..., 3)."""
        seen: NDArray[np.float64] = (points - self.position) @ self.axes.T
        return seen

    def directions_to_camera(self, directions: NDArray[np.floating]) -> NDArray[np.float64]:
        """World directions (..., 3), things infinitely far away, to right, up and forward (..., 3)."""
        seen: NDArray[np.float64] = directions @ self.axes.T
        return seen

    def to_pixels(self, seen: NDArray[np.float64]) -> NDArray[np.float64]:
        """Camera coordinates (..., 3), all in front of it, to pixels x (right) and y (down), (..., 2)."""
        scale = self.focal_px / seen[..., 2:3]
        pixels: NDArray[np.float64] = seen[..., :2] * scale * (1.0, -1.0) + (self.width / 2, self.height / 2)
        return pixels

    def polygon(self, points: NDArray[np.floating]) -> list[tuple[float, float]]:
        """World polygon (n, 3) to its visible part in pixels; empty when it is behind the camera or off the picture."""
        return self.polygon_from_camera(self.to_camera(points))

    def polygon_from_camera(self, seen: NDArray[np.float64]) -> list[tuple[float, float]]:
        """Like `polygon`, from camera coordinates."""
        if seen[:, 2].min() < NEAR_M:
            seen = clip(seen, _NEAR_PLANE, NEAR_M)
        if len(seen) < 3:
            return []
        pixels = self.to_pixels(seen).tolist()
        if self._is_far_outside(pixels):
            for plane in self._side_planes():
                seen = clip(seen, plane, 0.0)
                if len(seen) < 3:
                    return []
            pixels = self.to_pixels(seen).tolist()
        return [(x, y) for x, y in pixels]

    def _is_far_outside(self, pixels: list[list[float]]) -> bool:
        """Whether coordinates are so large that the rasteriser's arithmetic could suffer."""
        return any(abs(x) > _RASTERISER_LIMIT_PX or abs(y) > _RASTERISER_LIMIT_PX for x, y in pixels)

    def _side_planes(self) -> list[NDArray[np.float64]]:
        """Inward normals of the frustum's sides, a little outside of the picture's."""
        across = (self.width / 2 + 2) / self.focal_px
        upward = (self.height / 2 + 2) / self.focal_px
        normals = ((1, 0, across), (-1, 0, across), (0, 1, upward), (0, -1, upward))
        return [np.array(normal, np.float64) for normal in normals]

    def is_beside(self, seen: NDArray[np.float64], radius_m: float) -> bool:
        """Whether a ball around `seen` (camera coordinates, (3,)) is wholly behind the camera or beside the picture."""
        reach = max(float(seen[2]), 0.0) * self.width / 2 / self.focal_px
        margin = radius_m * math.hypot(1, self.width / 2 / self.focal_px)
        return float(seen[2]) < NEAR_M - radius_m or abs(float(seen[0])) > reach + margin


def clip(seen: NDArray[np.float64], normal: NDArray[np.float64], offset: float) -> NDArray[np.float64]:
    """Cut a polygon (n, 3) to where `point . normal >= offset` (Sutherland and Hodgman, one plane)."""
    kept: list[NDArray[np.float64]] = []
    sides = seen @ normal - offset
    previous, previous_side = seen[-1], float(sides[-1])
    for point, side in zip(seen, sides.tolist(), strict=True):
        if (side >= 0) != (previous_side >= 0):
            kept.append(previous + previous_side / (previous_side - side) * (point - previous))
        if side >= 0:
            kept.append(point)
        previous, previous_side = point, side
    return np.array(kept).reshape(-1, 3)
