"""Publishers (WHIP, RFC 9725) at the native engine, on real sockets: aiortc, FFmpeg and Chromium send to it."""

import asyncio
import itertools
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import av
import pytest
from aiohttp import web
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc import VideoStreamTrack as AiortcVideoTrack

from broker.protocol import Codec, EndReason, H264Profile
from edge.aiortc_engine import AiortcEngine
from edge.engine import OfferError, PublishedPicture, PublisherAnswer, PublisherSettings
from edge.native_engine import NativeEngine
from tests.contract.test_engine_contract import Client, Handler, Sine, dominant_hertz, settings, soon
from tests.contract.test_native_engine import engine
from tests.support.browser import launched
from tests.support.drawn import BARS, NUMBERS, read_number, video_frame


def published(session: str = "p1", codec: Codec = Codec.VP8, **more) -> PublisherSettings:
    return PublisherSettings(session, codec, **more)


class Drawing(AiortcVideoTrack):
    """Pictures numbered from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        frame = video_frame(self.number)
        frame.pts, frame.time_base = pts, time_base
        self.number += 1
        return frame


class Decoder:
    """Decodes one layer from its first keyframe on."""

    def __init__(self, codec: Codec) -> None:
        self._context = av.CodecContext.create({Codec.VP8: "vp8", Codec.H264: "h264"}[codec], "r")
        self._started = False

    def decode(self, picture: PublishedPicture) -> list[av.VideoFrame]:
        self._started = self._started or picture.keyframe
        return list(self._context.decode(av.Packet(picture.payload))) if self._started else []


def check_drawn(taken: list[PublishedPicture], codec: Codec, *, least: int) -> None:
    """Pictures decode, and none of those that were drawn is missing."""
    decoder = Decoder(codec)
    drawn = [read_number(frame) for picture in taken for frame in decoder.decode(picture)]
    assert len(drawn) >= least
    assert {(after - before) % NUMBERS for before, after in itertools.pairwise(drawn)} == {1}, drawn


class Publisher:
    """aiortc as a publisher of pictures in one codec, and of a tone."""

    def __init__(self, mime: str) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        video = self.connection.addTransceiver(Drawing(), direction="sendonly")
        codecs = RTCRtpSender.getCapabilities("video").codecs
        video.setCodecPreferences([codec for codec in codecs if codec.mimeType in (mime, "video/rtx")])
        self.connection.addTransceiver(Sine(440), direction="sendonly")

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))


@asynccontextmanager
async def publishing(media: NativeEngine, publisher: PublisherSettings) -> AsyncIterator[Publisher]:
    client = Publisher({Codec.VP8: "video/VP8", Codec.H264: "video/H264"}[publisher.codec])
    try:
        answer = await media.answer_publisher(publisher, await client.offer())
        await client.accept(answer.sdp)
        yield client
    finally:
        await client.connection.close()


async def pictures(handler: Handler, until: Callable[[list[PublishedPicture]], bool], seconds: float = 20) -> list:
    """What is published until the condition holds of it."""
    taken: list[PublishedPicture] = []
    async with asyncio.timeout(seconds):
        while not until(taken):
            taken.append((await handler.published.get())[1])
    return taken


@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
async def test_pictures_of_aiortc_arrive_whole_in_order_and_decode_to_what_was_drawn(codec: Codec) -> None:
    async with engine() as (media, handler), publishing(media, published(codec=codec)):
        assert await soon(handler.connected.get()) == "p1"
        taken = await pictures(handler, lambda taken: len(taken) >= 40)
        assert taken[0].keyframe
        check_drawn(taken, codec, least=35)
        assert [picture.sequence for picture in taken] == list(range(taken[0].sequence, taken[0].sequence + len(taken)))
        times = [picture.capture_time_us for picture in taken]
        assert times == sorted(set(times))
        assert abs(times[-1] / 1e6 - time.time()) < 2.0
        assert media.core.counters()["panics"] == 0
        assert len(media.statistics()) == 0, "publishers are not among the viewers"


async def test_sound_of_a_publisher_arrives_frame_by_frame() -> None:
    async with engine() as (media, handler), publishing(media, published()):
        decoder = av.CodecContext.create("opus", "r")
        interleaved = av.AudioResampler(format="s16", layout="stereo")
        sound: list[av.AudioFrame] = []
        async with asyncio.timeout(15):
            while len(sound) < 60:
                session, opus_frame = await handler.voices.get()
                assert session == "p1"
                for frame in decoder.decode(av.Packet(opus_frame)):
                    sound.extend(interleaved.resample(frame))
        assert dominant_hertz(sound[20:]) == pytest.approx(440, abs=15)


async def test_publisher_sends_a_keyframe_when_asked() -> None:
    async with engine() as (media, handler), publishing(media, published()):
        await pictures(handler, lambda taken: len(taken) >= 5)
        media.request_picture_start("p1", 0)
        media.request_picture_start("nobody", 0)
        media.request_picture_start("p1", 7)
        await pictures(handler, lambda taken: bool(taken) and taken[-1].keyframe)


async def test_closing_ends_a_publisher_and_answering_again_replaces_it() -> None:
    async with engine() as (media, handler), publishing(media, published()) as first:
        await pictures(handler, lambda taken: len(taken) >= 3)
        async with publishing(media, published()) as second:
            await soon(handler.connected.get())
            await soon(handler.connected.get())
            handler.published = asyncio.Queue()
            await pictures(handler, lambda taken: len(taken) >= 3)
            assert first.connection.connectionState == "connected", "it hears no farewell"
            await media.close("p1")
            async with asyncio.timeout(5):
                while second.connection.connectionState == "connected":
                    await asyncio.sleep(0.05)
            assert handler.gone.empty()


async def test_publisher_that_leaves_is_gone() -> None:
    async with engine() as (media, handler):
        async with publishing(media, published()):
            await pictures(handler, lambda taken: len(taken) >= 3)
        assert await soon(handler.gone.get()) == ("p1", EndReason.CONNECTION_LOST)


async def test_offers_of_viewers_and_of_other_codecs_are_refused_with_a_reason() -> None:
    async with engine() as (media, _):
        client, publisher = Client(), Publisher("video/VP8")
        with pytest.raises(OfferError, match="the video section must send"):
            await media.answer_publisher(published(), await client.offer())
        offer = await publisher.offer()
        with pytest.raises(OfferError, match="must receive"):
            await media.answer(settings(), offer)
        with pytest.raises(OfferError, match="no payload type for H264"):
            await media.answer_publisher(published(codec=Codec.H264), offer)
        aiortc_engine = AiortcEngine(Handler())
        with pytest.raises(OfferError, match="publishing needs the native engine"):
            await aiortc_engine.answer_publisher(published(), offer)
        aiortc_engine.request_picture_start("p1", 0)
        for connection in (client.connection, publisher.connection):
            await connection.close()


# --- over HTTP ---


@asynccontextmanager
async def endpoint(
    media: NativeEngine, publisher: PublisherSettings
) -> AsyncIterator[tuple[str, list[PublisherAnswer]]]:
    """The least of a WHIP endpoint (RFC 9725, section 4.2), and the answers it gave."""
    answers: list[PublisherAnswer] = []

    async def create(request: web.Request) -> web.Response:
        answers.append(await media.answer_publisher(publisher, await request.text()))
        headers = {"Location": "/whip/1", "Access-Control-Allow-Origin": "*"}
        return web.Response(status=201, text=answers[-1].sdp, content_type="application/sdp", headers=headers)

    async def end(_: web.Request) -> web.Response:
        await media.close(publisher.session)
        return web.Response()

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><canvas></canvas>", content_type="text/html")

    app = web.Application()
    app.add_routes([web.post("/whip", create), web.delete("/whip/1", end), web.get("/", page)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", answers
    finally:
        await runner.cleanup()


async def test_ffmpeg_publishes() -> None:
    async with engine(host_addresses=["127.0.0.1"]) as (media, handler):
        publisher = published(codec=Codec.H264, profile=H264Profile.CONSTRAINED_BASELINE)
        async with endpoint(media, publisher) as (url, answers):
            command = (sys.executable, "-m", "tests.support.ffmpeg_publisher", f"{url}/whip", "60")
            sending = await asyncio.create_subprocess_exec(*command)
            taken = await pictures(handler, lambda taken: len(taken) >= 40)
            assert await asyncio.wait_for(sending.wait(), 10) == 0
        check_drawn(taken, Codec.H264, least=35)
        assert answers[0].rids == ("",)


SIMULCAST_PAGE = """async ([url, mimeType, bars, frameRate]) => {
  const canvas = Object.assign(document.querySelector('canvas'), {width: 1280, height: 720});
  const context = canvas.getContext('2d');
  let number = 0;
  setInterval(() => {
    for (let bar = 0; bar < bars; bar++) {
      context.fillStyle = number >> bar & 1 ? '#d0d0d0' : '#202020';
      context.fillRect(bar * canvas.width / bars, 0, canvas.width / bars, canvas.height);
    }
    number++;
  }, 1000 / frameRate);
  const peer = window.peer = new RTCPeerConnection();
  const sendEncodings = [
    {rid: 'high', maxBitrate: 900000},
    {rid: 'half', scaleResolutionDownBy: 2, maxBitrate: 300000},
    {rid: 'low', scaleResolutionDownBy: 4, maxBitrate: 100000},
  ];
  const [track] = canvas.captureStream(frameRate).getVideoTracks();
  const sender = peer.addTransceiver(track, {direction: 'sendonly', sendEncodings});
  const {codecs} = RTCRtpSender.getCapabilities('video');
  sender.setCodecPreferences(codecs.filter((codec) => [mimeType, 'video/rtx'].includes(codec.mimeType)));
  await peer.setLocalDescription();
  const answer = await fetch(url, {method: 'POST', body: peer.localDescription.sdp});
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
}"""


@pytest.mark.chromium
@pytest.mark.parametrize("codec", [Codec.VP8, Codec.H264])
async def test_chromium_publishes_three_layers_on_one_timeline(codec: Codec) -> None:
    async with engine(host_addresses=["127.0.0.1"]) as (media, handler), launched() as browser:
        async with endpoint(media, published(codec=codec)) as (url, answers):
            page = await browser.new_page()
            await page.goto(url)
            mime = {Codec.VP8: "video/VP8", Codec.H264: "video/H264"}[codec]
            await page.evaluate(SIMULCAST_PAGE, [f"{url}/whip", mime, BARS, 15])

            def all_layers_played(taken: list[PublishedPicture]) -> bool:
                return min(sum(picture.layer == layer for picture in taken) for layer in range(3)) >= 60

            taken = await pictures(handler, all_layers_played, seconds=60)
        assert answers[0].rids == ("high", "half", "low")
        layers = [read_layer([picture for picture in taken if picture.layer == at], codec) for at in range(3)]
        assert [layer[0].width for layer in layers] == [1280, 640, 320]
        until_us = min(layer[-1].capture_time_us for layer in layers)
        moments = [shown for shown in layers[2] if shown.capture_time_us <= until_us][-20:]
        for other in layers[:2]:
            found = [apart for shown in moments if (apart := apart_us(shown, other)) is not None]
            assert len(found) >= 10
            assert max(found) <= 1000, found


@dataclass(frozen=True)
class Shown:
    """A picture that was decoded."""

    number: int
    width: int
    capture_time_us: int


def read_layer(taken: list[PublishedPicture], codec: Codec) -> list[Shown]:
    decoder = Decoder(codec)
    shown = [(frame, picture) for picture in taken for frame in decoder.decode(picture)]
    return [Shown(read_number(frame), frame.width, picture.capture_time_us) for frame, picture in shown]


def apart_us(shown: Shown, layer: list[Shown]) -> int | None:
    """How far from it the same picture of another layer is said to be; `None` if that layer has left it out."""
    near = min(layer, key=lambda other: abs(other.capture_time_us - shown.capture_time_us))
    return abs(near.capture_time_us - shown.capture_time_us) if near.number == shown.number else None
