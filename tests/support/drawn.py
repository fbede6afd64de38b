"""Pictures that carry a number through any codec: its lowest bits as bars, dark or bright."""

import fractions

import av
import numpy as np

WIDTH, HEIGHT, FPS = 320, 192, 30
BARS = 4
NUMBERS = 1 << BARS


def video_frame(number: int) -> av.VideoFrame:
    """The picture of a number, at its time."""
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    for bar in range(BARS):
        left, right = bar * WIDTH // BARS, (bar + 1) * WIDTH // BARS
        pixels[:HEIGHT, left:right] = 200 if number >> bar & 1 else 50
    frame = av.VideoFrame.from_ndarray(pixels, format="yuv420p")
    frame.pts, frame.time_base = number, fractions.Fraction(1, FPS)
    return frame


def read_number(frame: av.VideoFrame) -> int:
    """The number, modulo `NUMBERS`, that is drawn in a picture of any size."""
    luma = frame.to_ndarray(format="gray")
    bars = np.array_split(luma, BARS, axis=1)
    return sum(int(bar[:, bar.shape[1] // 4 : -bar.shape[1] // 4].mean() > 125) << at for at, bar in enumerate(bars))
