"""Reads the barcode in the top rows of a received picture (the node's test mode stamps it there).

Eighty cells, most significant bit first: frame number (24 bits), capture time in Unix milliseconds (24), last
applied input's `seq` (16), CRC-16/CCITT-FALSE of the eight bytes before it (16). Pictures at least 640 wide have
one row of 80 cells, narrower ones two rows of 40; a cell is a square whose side is the largest even number of
pixels of which that many fit into the width. White is one.
"""

import binascii
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

THRESHOLD_LUMA = 126


@dataclass(frozen=True, slots=True)
class Reading:
    """What a barcode said; every number wraps at the size of its field."""

    frame_number: int
    """Modulo 2**24."""
    time_ms: int
    """Unix milliseconds modulo 2**24."""
    input_seq: int
    """Modulo 2**16."""


def read(luma: NDArray[np.uint8]) -> Reading | None:
    """Read the code from a luma plane, uint8 (height, width); `None` if its checksum does not hold."""
    levels = _cell_means(luma)
    if levels is None:
        return None
    code = np.packbits(levels > THRESHOLD_LUMA).tobytes()
    if binascii.crc_hqx(code[:8], 0xFFFF) != int.from_bytes(code[8:]):
        return None
    return Reading(int.from_bytes(code[0:3]), int.from_bytes(code[3:6]), int.from_bytes(code[6:8]))


def _cell_means(luma: NDArray[np.uint8]) -> NDArray[np.float64] | None:
    """Return the 80 mean lumas of the cells' central halves, or `None` if the picture cannot hold a code."""
    height, width = luma.shape
    columns = 80 if width >= 640 else 40
    rows = 80 // columns
    side = width // columns & ~1
    if side < 4 or height < rows * side:
        return None
    cells = luma[: rows * side, : columns * side].reshape(rows, side, columns, side)
    margin = side // 4
    centre = cells[:, margin : side - margin, :, margin : side - margin]
    means: NDArray[np.float64] = centre.mean(axis=(1, 3)).reshape(80)
    return means
