"""The textured ground of the CPU renderer: stone paving, seen through a perspective camera, row by row.

Without roll, ground coordinates are an affine function of the column within a row. Both coordinates of a sample
travel in one 64-bit integer (z in the upper half, x in the lower, each 2**32 to a tile), so that a row costs one
multiplication and one addition a sample and wraps around the tile for nothing. Samples are one to two columns wide:
exactly a chroma sample.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.cpu_canvas import Canvas, Color
from render_farm.renderer.cpu_projection import Projection

TILE_M = 32.0
"""Side of the ground's repeating tile."""
TILE_BITS = 9
"""The finest tile is 2**9 texels wide: 16 texels a metre."""
LEVELS = 8
CHUNK_SAMPLES = 24_000
"""Samples processed at a time, so that the intermediate arrays stay in the second-level cache."""

HAZE = Color.from_rgb(0.80, 0.84, 0.88)
HAZE_DISTANCE_M = 220.0

_STONE = Color.from_rgb(0.66, 0.62, 0.56)


@dataclass(frozen=True, slots=True)
class _Level:
    bits: int
    luma: NDArray[np.uint8]
    blue: NDArray[np.uint8]
    red: NDArray[np.uint8]


def haze_share(distance_m: float) -> float:
    """How much of the haze's colour lies over something at this distance, in [0, 1)."""
    return float(1 - np.exp(-distance_m / HAZE_DISTANCE_M))


def _paving() -> NDArray[np.float64]:
    """Return the luma of one tile: slabs of a metre in running bond, joints, and a dark band every eight metres."""
    side = 1 << TILE_BITS
    texel = np.arange(side)
    per_metre = int(side / TILE_M)
    row = texel // per_metre
    shifted = texel[None, :] + (row[:, None] % 2) * (per_metre // 2)
    slab = (shifted // per_metre % int(TILE_M), np.broadcast_to(row[:, None], shifted.shape))
    tone = ((slab[0] * 7919 + slab[1] * 104_729) * 2_654_435_761 >> 7) % 32
    luma = _STONE.luma + (tone - 15.5) * 1.1
    luma -= 26 * ((shifted % per_metre == 0) | (texel[:, None] % per_metre == 0))
    band = 8 * per_metre
    luma -= 30 * ((texel[None, :] % band < per_metre // 2) | (texel[:, None] % band < per_metre // 2))
    grain = (texel[None, :] * 1_103_515_245 + texel[:, None] * 12_345_678_9 >> 3) % 7
    return np.asarray(luma + grain - 3, np.float64)


def _pyramid() -> tuple[_Level, ...]:
    luma = _paving()
    levels = []
    for number in range(LEVELS):
        tint = (luma - _STONE.luma) / 12
        levels.append(
            _Level(
                TILE_BITS - number,
                np.rint(luma).astype(np.uint8).ravel(),
                np.rint(_STONE.blue - tint).astype(np.uint8).ravel(),
                np.rint(_STONE.red + tint).astype(np.uint8).ravel(),
            )
        )
        luma = (luma[0::2, 0::2] + luma[1::2, 0::2] + luma[0::2, 1::2] + luma[1::2, 1::2]) / 4
    return tuple(levels)


class Ground:
    """Draws the paving; holds the texture pyramid and scratch memory (not thread-safe)."""

    def __init__(self) -> None:
        self._levels = _pyramid()
        self._samples = np.empty(CHUNK_SAMPLES + 4096, np.int64)
        self._scratch = np.empty(CHUNK_SAMPLES + 4096, np.int64)

    def draw(self, canvas: Canvas, projection: Projection) -> int:
        """Draw all rows below the horizon and return the first of them (even; `canvas.height` if there are none)."""
        rows = _Rows.of(projection)
        position = rows.first
        while position < canvas.height:
            level = rows.level[position - rows.first]
            end = rows.end_of_run(position, max(2, CHUNK_SAMPLES // (canvas.width // 2) // 2 * 2))
            self._draw_rows(canvas, rows, self._levels[level], position, end)
            position = end
        return rows.first

    def _draw_rows(self, canvas: Canvas, rows: "_Rows", level: _Level, top: int, bottom: int) -> None:
        columns = canvas.width // 2
        shape = (bottom - top, columns)
        index = self._index(rows, level.bits, top, bottom, columns)
        texels = np.take(level.luma, index.ravel(), mode="clip").reshape(shape)
        texels = rows.hazed(texels, HAZE.luma, top, bottom, 1)
        canvas.luma[top:bottom, 0::2] = texels
        canvas.luma[top:bottom, 1::2] = texels
        coarse = np.ascontiguousarray(index[::2])
        half = np.s_[top // 2 : bottom // 2]
        canvas.blue[half] = rows.hazed(np.take(level.blue, coarse, mode="clip"), HAZE.blue, top, bottom, 2)
        canvas.red[half] = rows.hazed(np.take(level.red, coarse, mode="clip"), HAZE.red, top, bottom, 2)

    def _index(self, rows: "_Rows", bits: int, top: int, bottom: int, columns: int) -> NDArray[np.int64]:
        """Texel numbers of the samples of these rows, int64 (rows, columns)."""
        shape, size = (bottom - top, columns), (bottom - top) * columns
        samples, scratch = self._samples[:size].reshape(shape), self._scratch[:size].reshape(shape)
        span = np.s_[top - rows.first : bottom - rows.first]
        np.multiply(rows.step[span, None], rows.offsets[None, :], out=samples)
        samples += rows.start[span, None]
        side = (1 << bits) - 1
        np.right_shift(samples, 32 - bits, out=scratch)
        scratch &= side
        samples >>= 64 - 2 * bits
        samples &= side << bits
        samples |= scratch
        return samples


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows `first` and on: where each starts on the tile, its step a sample (packed), its pyramid level."""

    first: int
    start: NDArray[np.int64]
    step: NDArray[np.int64]
    offsets: NDArray[np.int64]
    level: NDArray[np.intp]
    haze: NDArray[np.uint16]
    """Share of the haze in 256ths, falling from the horizon down."""

    @staticmethod
    def of(projection: Projection) -> "_Rows":
        up_px = projection.height / 2 - (np.arange(projection.height) + 0.5)
        sin_pitch, cos_pitch = np.sin(projection.pitch), np.cos(projection.pitch)
        fall = -(up_px * cos_pitch + projection.focal_px * sin_pitch)
        below = np.flatnonzero(fall > projection.focal_px * 1e-4)
        first = int(below[0]) + 1 & ~1 if len(below) else projection.height
        up_px, fall = up_px[first:], fall[first:]
        scale = projection.height_m / fall
        ahead = (projection.focal_px * cos_pitch - up_px * sin_pitch) * scale
        right, forward = _ground_axes(projection.yaw)
        origin = projection.position[[0, 2]] + ahead[:, None] * forward
        columns = projection.width // 2
        offsets = np.arange(columns, dtype=np.int64) - columns // 2
        centre = origin + (scale * (1 - columns % 2))[:, None] * right
        step_m = scale * 2
        reach = np.hypot(ahead, projection.height_m)
        footprint = step_m * np.sqrt(np.maximum(reach / projection.height_m / 2, 0.5))
        level = np.clip(np.floor(np.log2(np.maximum(footprint * (1 << TILE_BITS) / TILE_M, 1))), 0, LEVELS - 1)
        haze = np.rint(256 * (1 - np.exp(-reach / HAZE_DISTANCE_M))).astype(np.uint16)
        packed_step = _pack(step_m[:, None] * right)
        return _Rows(first, _pack(centre), packed_step, offsets, level.astype(np.intp), haze)

    def end_of_run(self, row: int, most: int) -> int:
        """Return where the run of rows of one level that begins at `row` ends, at most `most` on; even."""
        levels = self.level[row - self.first : row - self.first + most]
        other = np.flatnonzero(levels[::2] != levels[0])
        return row + (int(other[0]) * 2 if len(other) else len(levels))

    def hazed(self, texels: NDArray[np.uint8], haze: int, top: int, bottom: int, stride: int) -> NDArray[np.uint8]:
        """Blend every `stride`-th row of [top, bottom) with the haze by its distance; rows hardly touched are kept."""
        share = self.haze[top - self.first : bottom - self.first : stride, None]
        if share[0, 0] < 6:
            return texels
        mixed = texels * (256 - share)
        mixed += share * np.uint16(haze)
        mixed >>= 8
        return mixed.astype(np.uint8)


def _ground_axes(yaw: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return right and forward on the ground, each (x, z)."""
    return np.array([np.cos(yaw), -np.sin(yaw)]), np.array([-np.sin(yaw), -np.cos(yaw)])


def _pack(ground: NDArray[np.float64]) -> NDArray[np.int64]:
    """Ground metres (n, 2) of x and z to tile coordinates packed in one integer each, int64 (n,)."""
    tiles = ground / TILE_M
    fixed = np.floor((tiles - np.rint(tiles)) * 2.0**32).astype(np.int64)
    packed: NDArray[np.int64] = (fixed[:, 1] << 32) + fixed[:, 0]
    return packed
