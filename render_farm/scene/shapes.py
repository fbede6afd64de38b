"""Solid shapes for generated scenes: boxes, surfaces of revolution, spheres, lofts, and what is composed of them.

Texture coordinates are in metres (the scene writer divides by the size of the material's texture), so that a
texture has the same scale on every surface. Triangles are counter-clockwise seen from outside; y is up.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Point = tuple[float, float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """A triangle mesh: `positions`, `normals` float64 (n, 3); `uvs` float64 (n, 2) in metres; `indices` int64 (3t,)."""

    positions: Floats
    normals: Floats
    uvs: Floats
    indices: NDArray[np.int64]

    def moved(self, offset: Point) -> "Shape":
        """The shape shifted by `offset`."""
        return Shape(self.positions + np.array(offset), self.normals, self.uvs, self.indices)

    def turned(self, axis: int, angle: float) -> "Shape":
        """The shape turned about the x (0), y (1) or z (2) axis by `angle` radians, right-handed."""
        matrix = axis_rotation(axis, angle)
        return Shape(self.positions @ matrix.T, self.normals @ matrix.T, self.uvs, self.indices)

    def scaled(self, factors: Point) -> "Shape":
        """The shape scaled along each axis; texture coordinates keep their metres only for small changes."""
        normals = self.normals / np.array(factors)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return Shape(self.positions * np.array(factors), normals, self.uvs, self.indices)


def axis_rotation(axis: int, angle: float) -> Floats:
    """Rotation about a coordinate axis, float64 (3, 3)."""
    cosine, sine = math.cos(angle), math.sin(angle)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


def merge(shapes: Iterable[Shape]) -> Shape:
    """All shapes as one."""
    parts = list(shapes)
    offsets = np.cumsum([0] + [len(part.positions) for part in parts[:-1]])
    return Shape(
        np.concatenate([part.positions for part in parts]),
        np.concatenate([part.normals for part in parts]),
        np.concatenate([part.uvs for part in parts]),
        np.concatenate([part.indices + offset for part, offset in zip(parts, offsets, strict=True)]),
    )


_BOX_FACES: tuple[tuple[str, int, int], ...] = (
    ("right", 0, 1),
    ("left", 0, -1),
    ("top", 1, 1),
    ("bottom", 1, -1),
    ("front", 2, 1),
    ("back", 2, -1),
)


def box(low: Point, high: Point, omit: Sequence[str] = ("bottom",)) -> Shape:
    """An axis-aligned box without the faces named in `omit` (right +x, left, top +y, bottom, front +z, back)."""
    return merge(_box_face(low, high, axis, sign) for name, axis, sign in _BOX_FACES if name not in omit)


def _box_face(low: Point, high: Point, axis: int, sign: int) -> Shape:
    across = 2 if axis == 0 else 0
    upward = 1 if axis != 1 else 2
    corners = np.empty((4, 3))
    corners[:, axis] = high[axis] if sign > 0 else low[axis]
    corners[:, across] = [low[across], high[across], high[across], low[across]]
    corners[:, upward] = [low[upward], low[upward], high[upward], high[upward]]
    normal = np.zeros(3)
    normal[axis] = sign
    facing = np.cross(corners[1] - corners[0], corners[2] - corners[0]) @ normal > 0
    indices = np.array([0, 1, 2, 0, 2, 3] if facing else [0, 2, 1, 0, 3, 2])
    uvs = np.stack([corners[:, across], -corners[:, upward] if upward == 1 else corners[:, upward]], axis=1)
    return Shape(corners, np.tile(normal, (4, 1)), uvs, indices)


def centred_box(centre: Point, size: Point, omit: Sequence[str] = ("bottom",)) -> Shape:
    """A box by its centre and size."""
    low = (centre[0] - size[0] / 2, centre[1] - size[1] / 2, centre[2] - size[2] / 2)
    high = (centre[0] + size[0] / 2, centre[1] + size[1] / 2, centre[2] + size[2] / 2)
    return box(low, high, omit)


def floor(low_x: float, low_z: float, high_x: float, high_z: float, y: float = 0.0) -> Shape:
    """A horizontal rectangle facing up."""
    return box((low_x, y - 1.0, low_z), (high_x, y, high_z), ("right", "left", "bottom", "front", "back"))


def grid_surface(points: Floats, *, closed_u: bool = False) -> Shape:
    """A smooth surface through a grid of points (rows, columns, 3); outside is to the left of rows x columns.

    `closed_u` says that the last column coincides with the first, so that the normals are smooth over the seam.
    """
    rows, columns = points.shape[:2]
    normals = _grid_normals(points, closed_u)
    steps_u = np.linalg.norm(np.diff(points, axis=1), axis=2).mean(axis=0)
    steps_v = np.linalg.norm(np.diff(points, axis=0), axis=2).mean(axis=1)
    along_u, along_v = np.concatenate([[0.0], np.cumsum(steps_u)]), np.concatenate([[0.0], np.cumsum(steps_v)])
    uvs = np.stack(np.broadcast_arrays(along_u[None, :], -along_v[:, None]), axis=2)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).reshape(-1, 1)
    indices = (corner + np.array([0, columns, 1, 1, columns, columns + 1])).reshape(-1)
    return Shape(points.reshape(-1, 3), normals.reshape(-1, 3), uvs.reshape(-1, 2), indices)


def _grid_normals(points: Floats, closed_u: bool) -> Floats:
    padded = np.concatenate([points[:, -2:-1], points, points[:, 1:2]], axis=1) if closed_u else points
    across = np.gradient(padded, axis=1)
    if closed_u:
        across = across[:, 1:-1]
    down = np.gradient(points, axis=0)
    normals = np.cross(down, across)
    lengths = np.linalg.norm(normals, axis=2, keepdims=True)
    flat = np.where(lengths > 1e-9, normals / np.maximum(lengths, 1e-9), np.array([0.0, 1.0, 0.0]))
    return np.asarray(flat, np.float64)


def lathe(profile: Sequence[tuple[float, float]], segments: int = 24, *, sharp: bool = False) -> Shape:
    """A profile of (radius, height) points, from top to bottom, turned about the y axis.

    `sharp` gives every band of the profile its own normals (turned stone); otherwise the surface is smooth. The seam of
    the texture is at the back (-z).
    """
    if sharp:
        return merge(_band(profile[row : row + 2], segments) for row in range(len(profile) - 1))
    return _band(profile, segments)


def _band(profile: Sequence[tuple[float, float]], segments: int) -> Shape:
    angles = math.pi + np.arange(segments + 1) * (2 * math.pi / segments)
    radii = np.maximum(np.array([radius for radius, _ in profile]), 1e-4)
    heights = np.array([height for _, height in profile])
    points = np.empty((len(profile), segments + 1, 3))
    points[:, :, 0] = radii[:, None] * np.sin(angles)
    points[:, :, 1] = heights[:, None]
    points[:, :, 2] = radii[:, None] * np.cos(angles)
    return grid_surface(points, closed_u=True)


def prism(profile: Sequence[tuple[float, float]], sides: int) -> Shape:
    """Like `lathe`, but with flat sides and edges (a hexagonal lantern, a column's square base)."""
    angles = (np.arange(sides + 1) + 0.5) * (2 * math.pi / sides)
    parts = []
    for row in range(len(profile) - 1):
        (top_radius, top), (low_radius, low) = profile[row], profile[row + 1]
        for side in range(sides):
            points = np.empty((2, 2, 3))
            for line, (radius, height) in enumerate(((top_radius, top), (low_radius, low))):
                for column in range(2):
                    angle = angles[side + column]
                    points[line, column] = (radius * math.sin(angle), height, radius * math.cos(angle))
            parts.append(_flat_quad(points))
    return merge(parts)


def _flat_quad(points: Floats) -> Shape:
    surface = grid_surface(points)
    corners = points.reshape(4, 3)
    normal = np.cross(corners[3] - corners[0], corners[1] - corners[2])
    normal = normal / max(float(np.linalg.norm(normal)), 1e-9)
    return Shape(surface.positions, np.tile(normal, (4, 1)), surface.uvs, surface.indices)


def sphere(radius: float, segments: int = 16, rings: int = 10) -> Shape:
    """A sphere about the origin."""
    angles = [math.pi * ring / rings for ring in range(rings + 1)]
    return lathe([(radius * math.sin(a), radius * math.cos(a)) for a in angles], segments)


def tube(path: Sequence[Point], radii: Sequence[float], segments: int = 8) -> Shape:
    """A round tube along a path of at least two points, with a radius at each."""
    points = np.array(path)
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    angles = np.arange(segments + 1) * (2 * math.pi / segments)
    grid = np.empty((len(points), segments + 1, 3))
    for row, (centre, tangent, radius) in enumerate(zip(points, tangents, radii, strict=True)):
        helper = np.array([0.0, 0.0, 1.0]) if abs(tangent[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        side = np.cross(tangent, helper)
        side /= np.linalg.norm(side)
        other = np.cross(tangent, side)
        grid[row] = centre + radius * (np.outer(np.cos(angles), side) - np.outer(np.sin(angles), other))
    return grid_surface(grid, closed_u=True)
