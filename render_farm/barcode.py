"""The barcode a node stamps on a picture after rendering, so that delay and integrity are measured in what arrives.

Eighty cells in the top rows of the picture, most significant bit first. There are 80 columns if the width is at
least 640, otherwise 40 (hence two rows); the side `c` of a cell is the largest even number not above
`width // columns`. Cell `i` covers pixels `[c * (i % columns), +c)` by `[c * (i // columns), +c)`. A one is white
(luma 235), a zero black (luma 16), chroma neutral.

The bits: frame number (24), capture time in Unix milliseconds (24), last applied input's `seq` (16), then the
CRC-16/CCITT-FALSE of those eight bytes (16). Numbers wrap: they are taken modulo the size of their field.
"""

import binascii
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.interface import PixelLayout, PlanarFrame

CELLS = 80
WHITE_LUMA = 235
BLACK_LUMA = 16
NEUTRAL_CHROMA = 128
MINIMUM_WIDTH = 160
"""Below it a cell is smaller than a 4 by 4 transform block, and does not survive coding."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a barcode says; each number is stored modulo the size of its field."""

    frame_number: int
    """Number of the frame in its stream (24 bits)."""
    time_ms: int
    """When the frame was captured, Unix milliseconds (24 bits: wraps every 4 h 39 min)."""
    input_seq: int
    """`Input.seq` of the last input the picture shows (16 bits)."""

    def to_bytes(self) -> bytes:
        """Return the ten bytes of the code, checksum included."""
        body = (self.frame_number & 0xFFFFFF).to_bytes(3) + (self.time_ms & 0xFFFFFF).to_bytes(3)
        body += (self.input_seq & 0xFFFF).to_bytes(2)
        return body + binascii.crc_hqx(body, 0xFFFF).to_bytes(2)


@dataclass(frozen=True, slots=True)
class _Grid:
    columns: int
    rows: int
    cell_px: int

    @property
    def width_px(self) -> int:
        return self.columns * self.cell_px

    @property
    def height_px(self) -> int:
        return self.rows * self.cell_px


@lru_cache(maxsize=64)
def _grid(width: int) -> _Grid:
    columns = CELLS if width >= 640 else CELLS // 2
    return _Grid(columns, CELLS // columns, width // columns // 2 * 2)


def draw(frame: PlanarFrame, stamp: Stamp) -> None:
    """Stamp `frame` in place. Raises `ValueError` when it is too small to hold a readable code."""
    grid = _grid(frame.width)
    if frame.width < MINIMUM_WIDTH or frame.height < grid.height_px:
        raise ValueError(
            f"a frame of {frame.width}x{frame.height} is too small for a barcode (least {MINIMUM_WIDTH}x8)"
        )
    _draw_luma(frame.pixels, grid, stamp)
    for plane, width_px in _chroma_planes(frame, grid):
        plane[: grid.height_px // 2, :width_px] = NEUTRAL_CHROMA


def _draw_luma(pixels: NDArray[np.uint8], grid: _Grid, stamp: Stamp) -> None:
    bits = np.unpackbits(np.frombuffer(stamp.to_bytes(), np.uint8)).reshape(grid.rows, grid.columns)
    levels = np.repeat(bits * np.uint8(WHITE_LUMA - BLACK_LUMA) + np.uint8(BLACK_LUMA), grid.cell_px, axis=1)
    cells = pixels[: grid.height_px, : grid.width_px].reshape(grid.rows, grid.cell_px, grid.width_px)
    cells[:] = levels[:, None, :]


def _chroma_planes(frame: PlanarFrame, grid: _Grid) -> list[tuple[NDArray[np.uint8], int]]:
    """Return writable views of the chroma planes, each with how many of its columns lie under the code."""
    chroma = frame.pixels[frame.height :].reshape(-1)
    if frame.layout is PixelLayout.NV12:
        return [(chroma.reshape(frame.height // 2, frame.width), grid.width_px)]
    planes = chroma.reshape(2, frame.height // 2, frame.width // 2)
    return [(planes[0], grid.width_px // 2), (planes[1], grid.width_px // 2)]
