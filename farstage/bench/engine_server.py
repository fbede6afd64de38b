"""One of our media engines behind a minimal WHEP server, playing the stream of the comparison.

python -m farstage.bench.engine_server --engine native|aiortc [--kbps 2500] [--fps 30] [--cores 1]

Prints one JSON line with its WHEP URL and process id when ready; ends on SIGTERM.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.protocol import Codec, EndReason, H264Profile
from edge.engine import MediaEngine, MediaFrame, OfferError, PublishedPicture, ViewerHandler, ViewerSettings
from farstage.bench.source import EncodedLoop, LoopPlayer, SourceFrame, encode_loop
from farstage.bench.whep_front import OfferRefused, serve

ENGINES = ("native", "aiortc")
STREAM = "stream"


def keep_to_cores(count: int) -> None:
    """Let this process use so many cores only."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def open_engine(name: str, handler: ViewerHandler, cores: int) -> MediaEngine:
    """Open the engine; it takes connections on loopback."""
    addresses = ["127.0.0.1"]
    if name == "aiortc":
        from edge.aiortc_engine import AiortcEngine

        return AiortcEngine(handler, addresses)
    from edge.native_engine import NativeEngine

    return NativeEngine(handler, addresses, shards=cores)


class EngineAnswerer:
    """`Answerer` over an engine; also the engine's handler, which passes keyframe requests to the player."""

    def __init__(self, name: str, loop: EncodedLoop, cores: int) -> None:
        self.pid = os.getpid()
        self._engine = open_engine(name, self, cores)
        self.player = LoopPlayer(loop, self._send)
        self._gone_packets = 0

    def _send(self, frame: SourceFrame) -> None:
        self._engine.send(STREAM, MediaFrame(frame.payload, frame.keyframe, frame.timestamp))

    async def answer(self, viewer: str, offer_sdp: str) -> str:
        """See `Answerer.answer`."""
        try:
            settings = ViewerSettings(viewer, STREAM, Codec.H264, H264Profile.CONSTRAINED_BASELINE)
            return await self._engine.answer(settings, offer_sdp)
        except OfferError as error:
            raise OfferRefused(str(error)) from error

    async def close(self, viewer: str) -> None:
        """See `Answerer.close`."""
        rows = self._engine.statistics()
        self._gone_packets += int(rows["packets_sent"][rows["session"] == viewer].sum())
        await self._engine.close(viewer)

    def viewers(self) -> int:
        """See `Answerer.viewers`."""
        return len(self._engine.statistics())

    def sent_packets(self) -> int:
        """See `Answerer.sent_packets`; packets to viewers that vanished are not in it."""
        return self._gone_packets + int(self._engine.statistics()["packets_sent"].sum())

    async def shutdown(self) -> None:
        """End all viewers."""
        await self._engine.shutdown()

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        """See `ViewerHandler`."""
        self.player.want_keyframe()

    def on_connected(self, session: str) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_channel_open(self, session: str, channel: str) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_message(self, session: str, channel: str, data: bytes) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_published(self, session: str, picture: PublishedPicture) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_picture_leaving(self, stream: str, timestamp: int) -> None:
        """See `ViewerHandler`; nothing to do."""

    def on_gone(self, session: str, reason: EndReason) -> None:
        """See `ViewerHandler`; nothing to do."""


@asynccontextmanager
async def playing_engine(name: str, loop: EncodedLoop, cores: int = 0) -> AsyncIterator[EngineAnswerer]:
    """An engine with the stream running."""
    answerer = EngineAnswerer(name, loop, cores)
    playing = asyncio.create_task(answerer.player.run())
    try:
        yield answerer
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await answerer.shutdown()


def main() -> None:
    """Encode, then serve."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=ENGINES, required=True)
    parser.add_argument("--kbps", type=int, default=2500)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--cores", type=int, default=0, help="use so many cores only; 0: all")
    options = parser.parse_args()
    if options.cores:
        keep_to_cores(options.cores)
    loop = encode_loop(options.kbps * 1000, options.fps)
    serve(lambda: playing_engine(options.engine, loop, options.cores))


if __name__ == "__main__":
    main()
