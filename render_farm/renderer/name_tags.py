"""Name tags: names drawn as text into the cells of one atlas, the least recently seen giving way to new ones."""

from collections import OrderedDict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

CELL_WIDTH, CELL_HEIGHT = 256, 48
COLUMNS, ROWS = 8, 128
NO_TAG = 0xFFFFFFFF
_FONTS = ("NotoSansCJK-Regular.ttc", "NotoSerifCJK-Regular.ttc", "NotoSerifCJK-Bold.ttc", "DejaVuSans.ttf")
_LARGEST_PX, _SMALLEST_PX = 30, 12


def load_font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The best font this machine has: one with Chinese, Japanese and Korean if possible, else Pillow's own."""
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size_px)
        except OSError:
            continue
    return ImageFont.load_default(size_px)


class TagCells:
    """Which name stands in which of the atlas's 1,024 cells. Pure bookkeeping."""

    def __init__(self, capacity: int = COLUMNS * ROWS) -> None:
        self._capacity = capacity
        self._cells: OrderedDict[str, int] = OrderedDict()

    def cell(self, name: str) -> int:
        """The cell of a name, or `NO_TAG`."""
        return self._cells.get(name, NO_TAG)

    def claim(self, names: Iterable[str], most_new: int) -> list[tuple[str, int]]:
        """Note that `names` are in use; returns up to `most_new` of them that now own a cell to be drawn anew.

        Names beyond the capacity stay without a tag.
        """
        wanted = dict.fromkeys(names)
        for name in wanted:
            if name in self._cells:
                self._cells.move_to_end(name)
        fresh: list[tuple[str, int]] = []
        for name in wanted:
            if name in self._cells:
                continue
            cell = self._free_cell(wanted) if len(fresh) < most_new else None
            if cell is None:
                break
            self._cells[name] = cell
            fresh.append((name, cell))
        return fresh

    def _free_cell(self, in_use: Iterable[str]) -> int | None:
        if len(self._cells) < self._capacity:
            return len(self._cells)
        oldest = next(iter(self._cells))
        return None if oldest in in_use else self._cells.pop(oldest)


class TagPainter:
    """Draws names. Fonts are opened once."""

    def __init__(self) -> None:
        self._fonts = {size: load_font(size) for size in range(_LARGEST_PX, _SMALLEST_PX - 1, -3)}

    def paint(self, name: str) -> NDArray[np.uint8]:
        """A cell: uint8 (48, 256, 2), the text's coverage and the panel's."""
        panel, text = Image.new("L", (CELL_WIDTH, CELL_HEIGHT)), Image.new("L", (CELL_WIDTH, CELL_HEIGHT))
        brush = ImageDraw.Draw(text)
        font = next(
            (font for font in self._fonts.values() if brush.textlength(name, font) <= CELL_WIDTH - 24),
            self._fonts[min(self._fonts)],
        )
        shown = name
        while len(shown) > 1 and brush.textlength(shown, font) > CELL_WIDTH - 24:
            shown = shown[:-2].rstrip() + "…"
        brush.text((CELL_WIDTH / 2, CELL_HEIGHT / 2), shown, 255, font, anchor="mm")
        half = min(CELL_WIDTH / 2 - 2, brush.textlength(shown, font) / 2 + 14)
        edges = (CELL_WIDTH / 2 - half, 2, CELL_WIDTH / 2 + half, CELL_HEIGHT - 3)
        ImageDraw.Draw(panel).rounded_rectangle(edges, radius=14, fill=255)
        return np.stack([np.asarray(text), np.asarray(panel)], axis=2)
