"""What the CPU renderer draws on: the three planes of an I420 picture, and flat shapes in Y'CbCr colours."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from render_farm.renderer.interface import PixelLayout, PlanarFrame


class Color(NamedTuple):
    """A colour as video stores it: BT.709, limited range, 8 bits."""

    luma: int
    blue: int
    red: int

    @staticmethod
    def from_rgb(red: float, green: float, blue: float) -> "Color":
        """Convert gamma-encoded RGB in [0, 1] (ITU-R BT.709-6, items 3.2 to 3.5)."""
        luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        return Color(
            round(16 + 219 * luma),
            round(128 + 224 * (blue - luma) / 1.8556),
            round(128 + 224 * (red - luma) / 1.5748),
        )

    @staticmethod
    def from_hue(hue: float, saturation: float, lightness: float) -> "Color":
        """Return the colour of `hue` in [0, 1) at equal brightness for all hues; good for telling people apart."""
        angle = 2 * math.pi * hue
        return Color(
            round(16 + 219 * lightness),
            round(128 + 90 * saturation * math.sin(angle)),
            round(128 + 90 * saturation * math.cos(angle)),
        )

    def mixed(self, other: "Color", share: float) -> "Color":
        """Return this colour with `share` in [0, 1] of `other`."""
        return Color(
            round(self.luma + (other.luma - self.luma) * share),
            round(self.blue + (other.blue - self.blue) * share),
            round(self.red + (other.red - self.red) * share),
        )

    def lit(self, light: float) -> "Color":
        """Return this colour under `light` (1 leaves it)."""
        return Color(
            min(235, round(16 + (self.luma - 16) * light)),
            round(128 + (self.blue - 128) * min(light, 1.1)),
            round(128 + (self.red - 128) * min(light, 1.1)),
        )


class Canvas:
    """The planes of one picture. Shapes are drawn straight into `pixels` by Pillow; coordinates are luma pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.pixels = np.empty((height * 3 // 2, width), np.uint8)
        self.luma = self.pixels[:height]
        chroma = self.pixels[height:].reshape(2, height // 2, width // 2)
        self.blue: NDArray[np.uint8] = chroma[0]
        self.red: NDArray[np.uint8] = chroma[1]
        self._pens = tuple(_pen(plane) for plane in (self.luma, self.blue, self.red))

    def frame(self) -> PlanarFrame:
        """Return the picture; it shares the canvas's memory."""
        return PlanarFrame(self.pixels, self.width, self.height, PixelLayout.I420)

    def polygon(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """Fill a polygon."""
        if len(points) < 3:
            return
        halved = [(x / 2, y / 2) for x, y in points]
        self._pens[0].polygon(points, fill=color.luma)
        self._pens[1].polygon(halved, fill=color.blue)
        self._pens[2].polygon(halved, fill=color.red)

    def ellipse(self, x: float, y: float, radius_x: float, radius_y: float, color: Color) -> None:
        """Fill an ellipse around (x, y)."""
        box = (x - radius_x, y - radius_y, x + radius_x, y + radius_y)
        halved = tuple(side / 2 for side in box)
        for pen, corners, level in zip(self._pens, (box, halved, halved), color, strict=True):
            pen.ellipse(corners, fill=level)

    def rectangle(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        """Fill a rectangle; what lies outside the picture is cut off."""
        x0, x1 = _span(left, right, self.width)
        y0, y1 = _span(top, bottom, self.height)
        self.luma[y0:y1, x0:x1] = color.luma
        self.blue[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2] = color.blue
        self.red[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2] = color.red

    def label(self, left: int, top: int, mask: NDArray[np.uint8], color: Color, plate: float) -> None:
        """Blend a text `mask` (uint8 (h, w), 255 where ink is) over a plate that darkens by `plate` in [0, 1]."""
        height, width = mask.shape
        x0, x1 = _span(left, left + width, self.width)
        y0, y1 = _span(top, top + height, self.height)
        if x0 >= x1 or y0 >= y1:
            return
        ink = mask[y0 - top : y1 - top, x0 - left : x1 - left].astype(np.float32) / 255
        under = 16 + (self.luma[y0:y1, x0:x1] - np.float32(16)) * np.float32(1 - plate)
        self.luma[y0:y1, x0:x1] = under + (color.luma - under) * ink
        area = np.s_[y0 // 2 : (y1 + 1) // 2, x0 // 2 : (x1 + 1) // 2]
        for plane, level in ((self.blue, color.blue), (self.red, color.red)):
            plane[area] = (plane[area].astype(np.int16) + level) // 2

    def halve_into(self, target: "Canvas") -> None:
        """Average 2 by 2 pixels into `target`, a canvas of half the size."""
        for mine, theirs in ((self.luma, target.luma), (self.blue, target.blue), (self.red, target.red)):
            sums = mine[0::2, 0::2].astype(np.uint16)
            for part in (mine[0::2, 1::2], mine[1::2, 0::2], mine[1::2, 1::2]):
                sums += part
            theirs[:] = (sums + 2) >> 2


def _pen(plane: NDArray[np.uint8]) -> ImageDraw.ImageDraw:
    height, width = plane.shape
    image = Image.frombuffer("L", (width, height), plane, "raw", "L", 0, 1)
    image.readonly = 0  # Pillow would copy the plane at the first stroke otherwise
    return ImageDraw.Draw(image)


def _span(low: float, high: float, limit: int) -> tuple[int, int]:
    return max(0, min(round(low), limit)), max(0, min(round(high), limit))
