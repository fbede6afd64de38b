"""Small convex solids with flat faces, for exhibits and pedestals: each distinct, each different from every side."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.cpu_canvas import Canvas, Color
from render_farm.renderer.cpu_ground import HAZE, haze_share
from render_farm.renderer.cpu_projection import Projection

LIGHT = np.array([-0.45, 0.75, -0.48])
"""Direction towards the light; it agrees with the sky's sun."""


@dataclass(frozen=True, slots=True)
class Solid:
    """A convex solid around the origin, inside the unit sphere.

    `corners`: float64 (faces, 4, 3), in order around the face; a triangle repeats its last corner.
    `normals`: float64 (faces, 3). `tones`: float64 (faces,), a factor on the colour, so that faces differ.
    """

    corners: NDArray[np.float64]
    normals: NDArray[np.float64]
    tones: NDArray[np.float64]

    @staticmethod
    def lathe(profile: list[tuple[float, float]], sides: int, contrast: float = 0.12) -> "Solid":
        """Turn a profile of (radius, height), bottom to top, into a solid of `sides` sides."""
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        rings = [np.stack([r * np.cos(angle), np.full(sides, h), r * np.sin(angle)], axis=1) for r, h in profile]
        faces = []
        for low, high in pairwise(rings):
            following = np.roll(np.arange(sides), -1)
            faces.append(np.stack([low[following], low, high, high[following]], axis=1))
        return Solid._of(np.concatenate(faces), contrast)

    @staticmethod
    def box(width: float, height: float, depth: float) -> "Solid":
        """Return a box that stands on the origin's level, without a bottom."""
        x, z = width / 2, depth / 2
        square = np.array([(x, 0, -z), (-x, 0, -z), (-x, 0, z), (x, 0, z)], dtype=np.float64)
        roof = np.add(square, (0, height, 0))
        following = np.roll(np.arange(4), -1)
        walls = np.stack([square, square[following], roof[following], roof], axis=1)
        return Solid._of(np.concatenate([walls, roof[None]]), 0.0)

    @staticmethod
    def _of(corners: NDArray[np.float64], contrast: float) -> "Solid":
        diagonals = corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]
        normals = np.cross(*diagonals)
        length = np.linalg.norm(normals, axis=1)
        kept = length > 1e-9
        corners, normals = corners[kept], normals[kept] / length[kept, None]
        outward = np.sign(np.einsum("ij,ij->i", normals, corners.mean(axis=1) - corners.mean(axis=(0, 1))))
        normals = normals * outward[:, None]
        tones = 1 + contrast * np.sin(np.arange(len(corners)) * 2.4)
        return Solid(corners, normals, tones)

    def draw(
        self,
        canvas: Canvas,
        projection: Projection,
        position: NDArray[np.float64],
        size_m: float,
        yaw: float,
        color: Color,
    ) -> None:
        """Draw it at `position`, `size_m` times as large, turned by `yaw` about the vertical."""
        turn = _turn(yaw)
        corners = self.corners @ turn.T * size_m + position
        normals = self.normals @ turn.T
        facing = np.einsum("ij,ij->i", normals, corners[:, 0] - projection.position) < 0
        seen = projection.to_camera(corners[facing])
        light = (0.62 + 0.45 * np.clip(normals[facing] @ LIGHT, -0.4, 1)) * self.tones[facing]
        haze = haze_share(float(np.linalg.norm(position - projection.position)))
        for face, brightness in zip(seen, light.tolist(), strict=True):
            canvas.polygon(projection.polygon_from_camera(face), color.lit(brightness).mixed(HAZE, haze))


def _turn(yaw: float) -> NDArray[np.float64]:
    sine, cosine = np.sin(yaw), np.cos(yaw)
    return np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])


def _globe() -> Solid:
    elevation = np.linspace(-np.pi / 2, np.pi / 2, 9)
    return Solid.lathe([(float(np.cos(e)), float(np.sin(e))) for e in elevation], 16, 0.3)


RELICS = (
    Solid.lathe([(0.35, -0.9), (0.62, -0.35), (0.70, 0.1), (0.45, 0.62), (0.30, 0.9), (0, 0.9)], 12),
    _globe(),
    Solid.lathe([(0.62, -0.75), (0.62, 0.75), (0, 0.75)], 6, 0.3),
    Solid.lathe([(0, -1.0), (0.75, 0.0), (0, 1.0)], 8, 0.2),
    Solid.lathe([(0.8, -0.6), (0.0, 0.95)], 4, 0.25),
    Solid.lathe([(0.55, -0.8), (0.82, 0.2), (0.78, 0.5), (0, 0.5)], 10),
    Solid.lathe([(0.7, -0.68), (0.7, 0.7), (0, 0.7)], 4, 0.3),
    Solid.lathe([(0.3, -0.95), (0.25, 0.75), (0, 0.95)], 5, 0.3),
)
"""What exhibits look like, in turn; the CPU renderer knows nothing of a scene's meshes."""

PEDESTAL = Solid.box(1.0, 1.0, 1.0)
