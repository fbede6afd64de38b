"""Decodes the pictures of some viewers and reads the barcode in them: what arrived, in order, and how late."""

import asyncio
import shutil
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from client_demo.headless import barcode

CODECS = {1: "h264", 2: "vp8"}
HEADER_BYTES = 22
MAX_RECORD_BYTES = 8 * 1024 * 1024
MAX_DELAYS = 1_000_000
MAX_ARRIVALS = 256
"""Pictures inside a decoder, at most."""
_CLOCK_MODULUS = 1 << 24
_MAX_DELAY_MS = 60_000
"""A longer one belongs to another clock, or to a picture that was encoded long ago."""
_FRAME_MODULUS = 1 << 24
_MAX_GAP = 1000
"""A larger step of the frame number is another source, not a loss."""


@dataclass(slots=True)
class Seen:
    """What the decoding viewers saw since the mark. `delays_ms`: barcode's time to arrival of the last packet."""

    pictures: int = 0
    barcodes: int = 0
    unreadable: int = 0
    frames_lost: int = 0
    decode_errors: int = 0
    delays_ms: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_DELAYS))


class _Decoder:
    """One viewer's decoder."""

    def __init__(self, codec: str) -> None:
        context = av.CodecContext.create(codec, "r")
        assert isinstance(context, av.VideoCodecContext)
        context.thread_type = "SLICE"
        self._context = context
        self._arrivals: dict[int, int] = {}
        self._count = 0
        self._frame_number: int | None = None

    def take(self, data: bytes, arrival_us: int, seen: Seen) -> None:
        packet = av.Packet(data)
        packet.pts = self._count
        self._arrivals[self._count] = arrival_us
        self._count += 1
        try:
            frames = self._context.decode(packet)
        except av.FFmpegError:
            seen.decode_errors += 1
            return
        for frame in frames:
            self._look(frame, seen)
        while len(self._arrivals) > MAX_ARRIVALS:
            self._arrivals.pop(next(iter(self._arrivals)))

    def _look(self, frame: av.VideoFrame, seen: Seen) -> None:
        seen.pictures += 1
        arrival_us = self._arrivals.pop(frame.pts if frame.pts is not None else -1, 0)
        plane = frame.planes[0]
        luma = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]
        reading = barcode.read(luma)
        if reading is None:
            seen.unreadable += 1
            return
        seen.barcodes += 1
        if self._frame_number is not None:
            step = (reading.frame_number - self._frame_number) % _FRAME_MODULUS
            seen.frames_lost += step - 1 if 1 < step < _MAX_GAP else 0
        self._frame_number = reading.frame_number
        delay_ms = (arrival_us // 1000 - reading.time_ms) % _CLOCK_MODULUS
        if arrival_us and delay_ms <= _MAX_DELAY_MS:
            seen.delays_ms.append(float(delay_ms))


class PictureReader:
    """Takes pictures from the native viewers at a Unix socket and decodes them in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen = Seen()
        self._decoders: dict[int, _Decoder] = {}
        self._thread = ThreadPoolExecutor(1, "pictures")

    @staticmethod
    @asynccontextmanager
    async def opened() -> "AsyncIterator[PictureReader]":
        """A reader that listens."""
        folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="farstage-load-")
        reader = PictureReader(Path(folder) / "pictures")
        try:
            async with await asyncio.start_unix_server(reader._serve, reader.path, limit=MAX_RECORD_BYTES):
                yield reader
        finally:
            await asyncio.to_thread(reader._thread.shutdown, cancel_futures=True)
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def mark(self) -> None:
        """Begin to measure."""
        self.seen = Seen()

    async def _serve(self, stream: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        try:
            while True:
                length = int.from_bytes(await stream.readexactly(4))
                record = await stream.readexactly(min(length, MAX_RECORD_BYTES))
                await loop.run_in_executor(self._thread, self._take, record)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    def _take(self, record: bytes) -> None:
        viewer, arrival_us = int.from_bytes(record[:8]), int.from_bytes(record[8:16])
        codec = CODECS.get(record[20])
        if codec is None:
            return
        decoder = self._decoders.setdefault(viewer, _Decoder(codec))
        decoder.take(record[HEADER_BYTES:], arrival_us, self.seen)
