"""Drawn frames as libav takes them, and made smaller for a lower simulcast layer."""

import av
import numpy as np

from render_farm.renderer.interface import PlanarFrame


def aliased(frame: PlanarFrame) -> av.VideoFrame:
    """The frame for libav, sharing its memory if it can."""
    if frame.height % 4:
        # PyAV takes a buffer's height down to a multiple of four, which would shift its chroma; a copy is right.
        return av.VideoFrame.from_ndarray(frame.pixels, format=frame.layout.value)
    return av.VideoFrame.from_numpy_buffer(frame.pixels, format=frame.layout.value)


def scaled(frame: PlanarFrame, width: int, height: int) -> PlanarFrame:
    """The frame in another size, in memory of its own; each pixel is the mean of those it covers."""
    smaller = aliased(frame).reformat(width=width, height=height, interpolation="AREA")
    pixels = smaller.to_ndarray().astype(np.uint8, copy=False)
    return PlanarFrame(pixels, width, height, frame.layout)
