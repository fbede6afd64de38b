"""Name tags: text rasterised once by Pillow into masks, with a font that knows Chinese when the machine has one."""

from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIZES_PX = (11, 14, 18, 24, 32)
"""Text is drawn at these heights only, so that a walk does not rasterise a name at every distance."""

_FONTS = (
    "NotoSansCJK-Regular.ttc",
    "/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc",
    "wqy-microhei.ttc",
    "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc",
    "PingFang.ttc",
    "msyh.ttc",
    "DejaVuSans.ttf",
)


@cache
def _font_file() -> str | None:
    """Return the first font that opens; `None` leaves Pillow's own, which lacks Chinese."""
    for name in _FONTS:
        if name.startswith("/") and not Path(name).is_file():
            continue
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        return name
    return None


@cache
def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    name = _font_file()
    return ImageFont.truetype(name, size_px) if name else ImageFont.load_default(size_px)


@lru_cache(maxsize=2048)
def mask(text: str, size_px: int) -> NDArray[np.uint8]:
    """Return `text` as uint8 (height, width), 255 where there is ink, with a margin; read-only."""
    font = _font(size_px)
    left, _, right, _ = font.getbbox(text)
    margin = max(2, size_px // 4)
    image = Image.new("L", (max(1, int(right - left)) + 2 * margin, size_px + 2 * margin))
    ImageDraw.Draw(image).text((margin - left, image.height / 2), text, fill=255, font=font, anchor="lm")
    pixels = np.array(image)
    pixels.flags.writeable = False
    return pixels


def size_for(wanted_px: float) -> int:
    """Return the largest size in `SIZES_PX` that is at most `wanted_px`, or the smallest."""
    return max((size for size in SIZES_PX if size <= wanted_px), default=SIZES_PX[0])
