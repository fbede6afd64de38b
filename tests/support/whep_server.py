"""A WHEP server around a media engine, with a camera that stamps the barcode on its pictures."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
from aiohttp import web

from broker.protocol import Codec, EndReason, H264Profile
from edge.engine import MediaEngine, MediaFrame, OfferError, ViewerHandler, ViewerSettings
from render_farm import barcode
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.interface import PixelLayout, PlanarFrame

WIDTH, HEIGHT, FPS = 320, 192, 30
STREAM = "stage"


class WhepServer:
    """One stream on `POST /whep`; the engine's handler too. `token`: what a viewer must bring, empty for nothing."""

    def __init__(self, token: str = "", codec: Codec = Codec.H264) -> None:
        self.url = ""
        self.token = token
        self.posted = 0
        self.deleted: list[str] = []
        self.gone: list[str] = []
        self.change_answer: Callable[[str], str] = lambda answer: answer
        self.engine: MediaEngine
        self._codec = codec
        self._profile = H264Profile.CONSTRAINED_BASELINE if codec is Codec.H264 else None
        self._keyframe_needed = True

    @asynccontextmanager
    async def running(self, open_engine: Callable[[ViewerHandler], MediaEngine]) -> "AsyncIterator[WhepServer]":
        """Serve and play."""
        self.engine = open_engine(self)
        application = web.Application()
        application.router.add_post("/whep", self._offer)
        application.router.add_delete("/whep/{session}", self._end)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        playing = asyncio.create_task(self._play())
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/whep"
            yield self
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await runner.cleanup()
            await self.engine.shutdown()

    async def _play(self) -> None:
        encoder = open_encoder(EncoderSettings(self._codec, WIDTH, HEIGHT, FPS, 400_000, self._profile))
        noise = np.random.default_rng(1).integers(60, 90, (HEIGHT * 3 // 2, WIDTH), np.uint8)
        number = 0
        while True:
            number += 1
            frame = PlanarFrame(np.roll(noise, number, axis=1), WIDTH, HEIGHT, PixelLayout.I420)
            barcode.draw(frame, barcode.Stamp(number, time.time_ns() // 1_000_000, 0))
            keyframe, self._keyframe_needed = self._keyframe_needed, False
            encoded = encoder.encode(frame, keyframe=keyframe)
            self.engine.send(STREAM, MediaFrame(encoded.payload, encoded.keyframe, number * 90_000 // FPS))
            await asyncio.sleep(1 / FPS)

    async def _offer(self, request: web.Request) -> web.Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        self.posted += 1
        session = f"s{self.posted}"
        viewer = ViewerSettings(session, STREAM, self._codec, self._profile)
        try:
            answer = await self.engine.answer(viewer, await request.text())
        except OfferError as error:
            return web.Response(status=400, text=str(error))
        headers = {"Location": f"/whep/{session}"}
        return web.Response(
            status=201, text=self.change_answer(answer), content_type="application/sdp", headers=headers
        )

    async def _end(self, request: web.Request) -> web.Response:
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        self.deleted.append(request.match_info["session"])
        await self.engine.close(request.match_info["session"])
        return web.Response()

    def on_connected(self, session: str) -> None:
        pass

    def on_channel_open(self, session: str, channel: str) -> None:
        pass

    def on_message(self, session: str, channel: str, data: bytes) -> None:
        pass

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        pass

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        self._keyframe_needed = True

    def on_picture_leaving(self, stream: str, timestamp: int) -> None:
        pass

    def on_gone(self, session: str, reason: EndReason) -> None:
        self.gone.append(session)
