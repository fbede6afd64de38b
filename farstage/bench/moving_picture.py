"""A generated picture that moves: what the stream of the comparison shows.

Four textures pass over one another in different directions under a little grain that is new in every picture, so
that an encoder has about as much to do in each picture as in the one before, and never runs out of detail.
"""

import numpy as np
from numpy.typing import NDArray

from render_farm import barcode
from render_farm.renderer.interface import PixelLayout, PlanarFrame

_MOTIONS_PX = ((3, 1), (-2, 2), (1, -3), (-1, -1))
_CELLS_PX = (64, 32, 16, 8)
_CONTRASTS = (40.0, 30.0, 20.0, 12.0)
_GRAIN = 6
_SEED = 20


class MovingPicture:
    """Draws picture after picture; the same ones in every run. `width` and `height` are multiples of 16."""

    def __init__(self, width: int, height: int, fps: int) -> None:
        self._width, self._height, self._fps = width, height, fps
        self._random = np.random.default_rng(_SEED)
        self._textures = [_texture(self._random, width, height, cell) for cell in _CELLS_PX]
        self._number = 0

    def next(self) -> PlanarFrame:
        """Return the next picture, stamped with a barcode of its number and its time in the stream."""
        pixels = np.full((self._height * 3 // 2, self._width), 128, np.uint8)
        pixels[: self._height] = self._luma()
        pixels[self._height :] = self._chroma()
        frame = PlanarFrame(pixels, self._width, self._height, PixelLayout.I420)
        barcode.draw(frame, barcode.Stamp(self._number, self._number * 1000 // self._fps, 0))
        self._number += 1
        return frame

    def _luma(self) -> NDArray[np.uint8]:
        total = self._random.integers(-_GRAIN, _GRAIN + 1, (self._height, self._width)).astype(np.float32) + 126.0
        for texture, (down, right), contrast in zip(self._textures, _MOTIONS_PX, _CONTRASTS, strict=True):
            total += contrast * np.roll(texture, (down * self._number, right * self._number), (0, 1))
        luma: NDArray[np.uint8] = np.clip(total, 16, 235).astype(np.uint8)
        return luma

    def _chroma(self) -> NDArray[np.uint8]:
        moved = np.roll(self._textures[0], (2 * self._number, -self._number), (0, 1))
        planes = np.stack([moved[::2, ::2], -moved[::2, ::2]])
        return (128 + 40 * planes).astype(np.uint8).reshape(self._height // 2, self._width)


def _texture(random: np.random.Generator, width: int, height: int, cell_px: int) -> NDArray[np.float32]:
    """Random cells, smoothed, float32 (height, width) within -1 and 1; it wraps around at its edges."""
    cells = random.uniform(-1.0, 1.0, (height // cell_px + 1, width // cell_px + 1)).astype(np.float32)
    texture = np.kron(cells, np.ones((cell_px, cell_px), np.float32))[:height, :width]
    for axis in (0, 1):
        texture = (texture + np.roll(texture, cell_px // 2, axis) + np.roll(texture, cell_px // 4, axis)) / 3
    return texture
