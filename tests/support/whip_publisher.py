"""FFmpeg as a WHIP publisher in a process of its own: a moving picture with a barcode that counts, and a tone.

python -m tests.support.whip_publisher URL TOKEN FIRST_NUMBER
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import av
import numpy as np

from render_farm import barcode
from render_farm.renderer.interface import PixelLayout, PlanarFrame
from tests.support.ffmpeg_publisher import identity

WIDTH, HEIGHT, FPS = 640, 360, 30
SAMPLE_RATE_HZ, TONE_HZ = 48_000, 440
SAMPLES = SAMPLE_RATE_HZ // FPS


def picture(number: int) -> av.VideoFrame:
    pixels = np.full((HEIGHT * 3 // 2, WIDTH), 128, np.uint8)
    pixels[:HEIGHT] = np.roll(np.linspace(30, 220, WIDTH, dtype=np.uint8), number * 4)
    frame = PlanarFrame(pixels, WIDTH, HEIGHT, PixelLayout.I420)
    barcode.draw(frame, barcode.Stamp(number, time.time_ns() // 1_000_000, 0))
    return av.VideoFrame.from_ndarray(pixels, format="yuv420p")


def tone(number: int) -> av.AudioFrame:
    at = (np.arange(SAMPLES) + number * SAMPLES) / SAMPLE_RATE_HZ
    wave = (np.sin(at * TONE_HZ * 2 * np.pi) * 12_000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(np.repeat(wave, 2)[None], format="s16", layout="stereo")
    frame.sample_rate, frame.time_base, frame.pts = SAMPLE_RATE_HZ, Fraction(1, SAMPLE_RATE_HZ), number * SAMPLES
    return frame


def publish(url: str, token: str, first: int) -> None:
    """Publish in real time until the process is ended."""
    with (
        tempfile.TemporaryDirectory() as folder,
        av.open(url, "w", format="whip", options={"authorization": token, **identity(folder)}) as output,
    ):
        options = {"profile": "baseline", "preset": "ultrafast", "tune": "zerolatency", "bf": "0", "g": str(FPS)}
        video = output.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt, video.bit_rate = WIDTH, HEIGHT, "yuv420p", 1_000_000
        audio = output.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="stereo")
        begun = time.monotonic()
        for number in range(1_000_000):
            time.sleep(max(0.0, begun + number / FPS - time.monotonic()))
            shown = picture(first + number)
            shown.pts, shown.time_base = number, Fraction(1, FPS)
            output.mux(video.encode(shown))
            output.mux(audio.encode(tone(number)))


@asynccontextmanager
async def publishing(url: str, token: str, first: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A running publisher; it is killed at the end."""
    command = [sys.executable, "-m", "tests.support.whip_publisher", url, token, str(first)]
    process = await asyncio.create_subprocess_exec(*command)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


if __name__ == "__main__":
    publish(sys.argv[1], sys.argv[2], int(sys.argv[3]))
