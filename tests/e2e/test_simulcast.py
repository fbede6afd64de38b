"""A browser behind a line that changes: it is shown the layer that fits, and its picture goes on."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from playwright.async_api import Browser, Page

from broker.protocol import Codec, EndReason, H264Profile
from edge.engine import MediaEngine, MediaFrame, ViewerSettings
from edge.native_engine import NativeEngine
from render_farm.encoder.interface import EncodedPicture, EncoderSettings
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.interface import PixelLayout, PlanarFrame
from tests.support.network import EmulatedNetwork, Line

FPS = 30
LAYERS = ((320, 192, 300_000), (640, 384, 1_500_000))
PROFILE = H264Profile.CONSTRAINED_BASELINE
WIDE_BPS, NARROW_BPS = 8_000_000, 700_000

CONNECT = """async () => {
  const connection = window.connection = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  connection.addTransceiver('video', { direction: 'recvonly' });
  const video = Object.assign(document.createElement('video'), { muted: true, autoplay: true });
  document.body.append(video);
  connection.addEventListener('track', ({ track }) => { video.srcObject = new MediaStream([track]); });
  await connection.setLocalDescription();
  const answer = await window.answerOffer(connection.localDescription.sdp);
  await connection.setRemoteDescription({ type: 'answer', sdp: answer });
}"""
LOOK = """async () => {
  const stats = [...(await window.connection.getStats()).values()];
  const video = stats.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video') ?? {};
  const { frameWidth = 0, framesDecoded = 0, pliCount = 0 } = video;
  return { frameWidth, framesDecoded, pliCount };
}"""


class LayerCamera:
    """One layer's encoder, before pictures a part of which is new each time, so that they need their bits."""

    def __init__(self, width: int, height: int, bitrate_bps: int) -> None:
        self.encoder = open_encoder(EncoderSettings(Codec.H264, width, height, FPS, bitrate_bps, PROFILE))
        self.noise = np.random.default_rng(1).integers(40, 200, (8, height * 3 // 2, width), np.uint8)

    def picture(self, number: int, *, keyframe: bool) -> EncodedPicture:
        pixels = self.noise[0].copy()
        fresh = pixels.shape[0] // 6
        pixels[:fresh] = self.noise[number % 8, :fresh]
        frame = PlanarFrame(pixels, pixels.shape[1], pixels.shape[0] * 2 // 3, PixelLayout.I420)
        return self.encoder.encode(frame, keyframe=keyframe)


class Simulcast:
    """A source of layers, and the engine's handler: each layer's keyframes come when they are asked for."""

    def __init__(self) -> None:
        self.asked: set[int] = set()

    async def play(self, engine: MediaEngine) -> None:
        """Send pictures as they are due; encoding in a thread, as the emulated network lives on the event loop."""
        engine.set_layers("stage", [bitrate_bps for _, _, bitrate_bps in LAYERS])
        cameras = [LayerCamera(*layer) for layer in LAYERS]
        loop = asyncio.get_running_loop()
        start = loop.time()
        for number in range(1, 1_000_000):
            for layer, camera in enumerate(cameras):
                keyframe = layer in self.asked
                self.asked.discard(layer)
                encoded = await asyncio.to_thread(camera.picture, number, keyframe=keyframe)
                engine.send("stage", MediaFrame(encoded.payload, encoded.keyframe, number * 90_000 // FPS, layer))
            await asyncio.sleep(max(0.0, start + number / FPS - loop.time()))

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        self.asked.add(layer)

    def on_connected(self, session: str) -> None: ...
    def on_channel_open(self, session: str, channel: str) -> None: ...
    def on_message(self, session: str, channel: str, data: bytes) -> None: ...
    def on_voice(self, session: str, opus_frame: bytes) -> None: ...
    def on_picture_leaving(self, stream: str, timestamp: int) -> None: ...
    def on_gone(self, session: str, reason: EndReason) -> None: ...


@asynccontextmanager
async def watching(browser: Browser, network: EmulatedNetwork) -> AsyncIterator[tuple[Page, NativeEngine]]:
    source = Simulcast()
    engine = NativeEngine(source, ["127.0.0.1"])
    playing = asyncio.create_task(source.play(engine))

    async def answer_offer(offer: str) -> str:
        viewer = ViewerSettings("s1", "stage", Codec.H264, PROFILE, 2_500_000.0)
        return await network.behind(await engine.answer(viewer, offer))

    page = await browser.new_page()
    try:
        await page.expose_function("answerOffer", answer_offer)
        await page.evaluate(CONNECT)
        yield page, engine
    finally:
        playing.cancel()
        await asyncio.gather(playing, return_exceptions=True)
        await page.close()
        await engine.shutdown()


async def until(page: Page, condition: Callable[[dict], bool], seconds: float) -> dict:
    """What the page's statistics say once the condition holds."""
    seen: dict = {}
    async with asyncio.timeout(seconds):
        while not condition(seen := await page.evaluate(LOOK)):
            await asyncio.sleep(0.1)
    return seen


@pytest.mark.chromium
async def test_browser_is_shown_the_layer_that_its_line_takes(browser: Browser) -> None:
    line = Line(delay_s=0.015, rate_bps=WIDE_BPS)
    async with EmulatedNetwork(up=line, down=line) as network, watching(browser, network) as (page, engine):
        await until(page, lambda seen: seen["frameWidth"] == 640 and seen["framesDecoded"] > 90, 15)
        network.change(rate_bps=NARROW_BPS)
        await until(page, lambda seen: seen["frameWidth"] == 320, 10)
        await asyncio.sleep(2)
        settled, sent = await page.evaluate(LOOK), engine.statistics()[0]
        await asyncio.sleep(4)
        low = await page.evaluate(LOOK)
        assert low["frameWidth"] == 320
        assert low["framesDecoded"] - settled["framesDecoded"] > 2 * FPS
        network.change(rate_bps=WIDE_BPS)
        await until(page, lambda seen: seen["frameWidth"] == 640, 30)
        await asyncio.sleep(3)
        high, row = await page.evaluate(LOOK), engine.statistics()[0]
        assert high["frameWidth"] == 640
        assert high["pliCount"] == settled["pliCount"], "the picture went on while the layer changed"
        assert (row["layer"], row["wanted_layer"]) == (1, 1)
        for counter in ("freezes", "frames_skipped", "keyframe_requests"):
            assert row[counter] == sent[counter], counter
