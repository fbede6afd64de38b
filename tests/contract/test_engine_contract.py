"""What every media engine must do, seen from an independent WebRTC client."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import av
import numpy as np
import pytest
from aiortc import AudioStreamTrack, RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamTrack
from aiortc.rtp import RtpPacket

from broker.protocol import Codec, EndReason, H264Profile
from edge.aiortc_engine import AiortcEngine
from edge.engine import (
    VIEWER_STATISTICS,
    MediaEngine,
    MediaFrame,
    OfferError,
    PublishedPicture,
    RestartUnsupported,
    ViewerSettings,
    ice_credentials,
)
from edge.native_engine import NativeEngine
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.interface import PixelLayout, PlanarFrame

WIDTH, HEIGHT, FPS = 320, 192, 30


class Handler:
    """Records what an engine tells."""

    def __init__(self) -> None:
        self.connected: asyncio.Queue[str] = asyncio.Queue()
        self.gone: asyncio.Queue[tuple[str, EndReason]] = asyncio.Queue()
        self.messages: asyncio.Queue[tuple[str, str, bytes]] = asyncio.Queue()
        self.channels: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.voices: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.published: asyncio.Queue[tuple[str, PublishedPicture]] = asyncio.Queue()
        self.keyframes_needed = 0
        self.layers_asked: list[int] = []
        self.pictures_left: list[int] = []

    def on_connected(self, session: str) -> None:
        self.connected.put_nowait(session)

    def on_channel_open(self, session: str, channel: str) -> None:
        self.channels.put_nowait((session, channel))

    def on_message(self, session: str, channel: str, data: bytes) -> None:
        self.messages.put_nowait((session, channel, data))

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        self.voices.put_nowait((session, opus_frame))

    def on_published(self, session: str, picture: PublishedPicture) -> None:
        self.published.put_nowait((session, picture))

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        self.keyframes_needed += 1
        self.layers_asked.append(layer)

    def on_picture_leaving(self, stream: str, timestamp: int) -> None:
        self.pictures_left.append(timestamp)

    def on_gone(self, session: str, reason: EndReason) -> None:
        self.gone.put_nowait((session, reason))


ENGINES: dict[str, Callable[[Handler], MediaEngine]] = {
    "native": lambda handler: NativeEngine(handler),
    "aiortc": lambda handler: AiortcEngine(handler),
}


@pytest.fixture(params=list(ENGINES))
async def engine(request: pytest.FixtureRequest) -> AsyncIterator[tuple[MediaEngine, Handler]]:
    handler = Handler()
    made = ENGINES[request.param](handler)
    yield made, handler
    await made.shutdown()


class Client:
    """A browser's part, by aiortc; with a microphone if it has `voice`, with a loudspeaker if `hears`."""

    def __init__(self, voice: MediaStreamTrack | None = None, *, hears: bool = False) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self.connection.addTransceiver("video", direction="recvonly")
        if voice is not None:
            self.connection.addTransceiver(voice, direction="sendrecv" if hears else "sendonly")
        elif hears:
            self.connection.addTransceiver("audio", direction="recvonly")
        self.control = self.connection.createDataChannel("control")
        self.received: asyncio.Queue[str] = asyncio.Queue()
        self.control.on("message", self.received.put_nowait)
        self.opened = asyncio.Event()
        self.control.on("open", self.opened.set)
        self.pictures: asyncio.Queue[av.VideoFrame] = asyncio.Queue()
        self.sounds: asyncio.Queue[av.AudioFrame] = asyncio.Queue()
        self.connection.on("track", self._read)
        self._tasks: list[asyncio.Task[None]] = []

    def _read(self, track) -> None:
        async def read() -> None:
            received = self.pictures if track.kind == "video" else self.sounds
            while True:
                received.put_nowait(await track.recv())

        self._tasks.append(asyncio.create_task(read()))

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def accept(self, answer: str) -> None:
        await self.connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()


def settings(session: str = "s1", codec: Codec = Codec.H264, profile: H264Profile | None = None) -> ViewerSettings:
    return ViewerSettings(session, "stream", codec, profile)


@asynccontextmanager
async def viewing(
    engine: MediaEngine, viewer: ViewerSettings, voice: MediaStreamTrack | None = None, *, hears: bool = False
) -> AsyncIterator[Client]:
    client = Client(voice, hears=hears)
    try:
        await client.accept(await engine.answer(viewer, await client.offer()))
        await asyncio.wait_for(client.opened.wait(), 10)
        yield client
    finally:
        await client.close()


class Sine(AudioStreamTrack):
    """A microphone that hears a tone, at the pace of aiortc's own silent track."""

    def __init__(self, hertz: float) -> None:
        super().__init__()
        self._hertz, self._sample = hertz, 0

    async def recv(self) -> av.AudioFrame:
        silent = await super().recv()
        time_s = (self._sample + np.arange(silent.samples)) / silent.sample_rate
        self._sample += silent.samples
        tone = np.rint(10_000 * np.sin(2 * np.pi * self._hertz * time_s)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.sample_rate, frame.time_base = silent.pts, silent.sample_rate, silent.time_base
        return frame


def dominant_hertz(frames: list[av.AudioFrame]) -> float:
    """The strongest frequency of received sound."""
    signal = np.concatenate([frame.to_ndarray().reshape(-1, 2)[:, 0] for frame in frames]).astype(float)
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal))))
    return float(np.argmax(spectrum) * frames[0].sample_rate / len(signal))


async def relay(engine: MediaEngine, handler: Handler, to: str, until: Callable[[], bool]) -> None:
    """Send one session's voice to another, as the node would."""
    timestamp = 0
    async with asyncio.timeout(15):
        while not until():
            _, opus_frame = await handler.voices.get()
            timestamp += 960
            engine.send_audio(to, opus_frame, timestamp)


class Camera:
    """Encodes a brightening picture, `scale` times as wide and high in higher layers."""

    def __init__(
        self,
        codec: Codec = Codec.H264,
        profile: H264Profile | None = H264Profile.MAIN,
        *,
        scale: int = 1,
        layer: int = 0,
    ) -> None:
        chosen = profile if codec is Codec.H264 else None
        self.width, self.height, self.layer = WIDTH * scale, HEIGHT * scale, layer
        self.encoder = open_encoder(EncoderSettings(codec, self.width, self.height, FPS, 500_000, chosen))
        self.number = 0

    def picture(self, *, keyframe: bool = False) -> MediaFrame:
        self.number += 1
        pixels = np.full((self.height * 3 // 2, self.width), 128, np.uint8)
        pixels[: self.height] = 40 + self.number % 150
        frame = PlanarFrame(pixels, self.width, self.height, PixelLayout.I420)
        encoded = self.encoder.encode(frame, keyframe=keyframe)
        return MediaFrame(encoded.payload, encoded.keyframe, self.number * 3000, self.layer)


async def play_until(
    engine: MediaEngine, camera: Camera, until: Callable[[], bool], *, seconds: float = 10, asked: Handler | None = None
) -> None:
    """Send pictures at the frame rate until the condition holds: the first one a keyframe, or when `asked` to."""
    keyframe, answered = asked is None, 0
    async with asyncio.timeout(seconds):
        while not until():
            engine.send("stream", camera.picture(keyframe=keyframe))
            await asyncio.sleep(1 / FPS)
            keyframe = asked is not None and asked.keyframes_needed > answered
            answered = asked.keyframes_needed if asked is not None else 0


async def play_layers_until(
    engine: MediaEngine, cameras: list[Camera], until: Callable[[], bool], handler: Handler, *, encoded: int = 2
) -> None:
    """The same of a stream in layers, of which the first so many are encoded; keyframes as the handler is asked."""
    handled = len(handler.layers_asked)
    async with asyncio.timeout(10):
        while not until():
            asked, handled = set(handler.layers_asked[handled:]), len(handler.layers_asked)
            for camera in cameras[:encoded]:
                engine.send("stream", camera.picture(keyframe=camera.layer in asked))
            await asyncio.sleep(1 / FPS)


async def soon(awaitable: Awaitable):
    return await asyncio.wait_for(awaitable, 10)


@pytest.mark.parametrize(
    ("codec", "profile"),
    [(Codec.H264, H264Profile.CONSTRAINED_BASELINE), (Codec.VP8, None)],
)
async def test_viewer_decodes_what_was_encoded_once(engine, codec: Codec, profile: H264Profile | None) -> None:
    media, handler = engine
    async with viewing(media, settings(codec=codec, profile=profile)) as client:
        assert await soon(handler.connected.get()) == "s1"
        camera = Camera(codec, profile)
        await play_until(media, camera, lambda: client.pictures.qsize() >= 10)
        levels = [float(client.pictures.get_nowait().to_ndarray()[:HEIGHT].mean()) for _ in range(10)]
        assert levels == sorted(levels)
        assert levels[-1] > levels[0]
        assert handler.pictures_left


async def test_h264_main_is_answered_when_offered(engine) -> None:
    media, _ = engine
    client = Client()
    offer = (await client.offer()).replace("profile-level-id=42001f", "profile-level-id=4d001f")
    answer = await media.answer(settings(profile=H264Profile.MAIN), offer)
    assert "profile-level-id=4d001f" in answer
    assert "VP8" not in answer
    await client.close()


@pytest.mark.parametrize(
    ("offered", "profile"),
    [
        ("42001f", H264Profile.CONSTRAINED_BASELINE),
        ("42e01f", H264Profile.CONSTRAINED_BASELINE),
        ("64001f", H264Profile.MAIN),
        ("640c1f", H264Profile.MAIN),
    ],
)
async def test_profile_of_a_decoder_that_can_do_more_is_answered(engine, offered: str, profile: H264Profile) -> None:
    media, _ = engine
    client = Client()
    offer = re.sub("profile-level-id=[0-9a-f]{6}", f"profile-level-id={offered}", await client.offer())
    answer = await media.answer(settings(profile=profile), offer)
    assert f"profile-level-id={offered}" in answer
    assert "VP8" not in answer
    await client.close()


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
async def test_offer_that_asks_for_no_video_is_refused(engine, direction: str) -> None:
    media, _ = engine
    client = Client()
    offer = (await client.offer()).replace("a=recvonly", f"a={direction}", 1)
    with pytest.raises(OfferError, match="must receive"):
        await media.answer(settings(), offer)
    await client.close()


async def test_single_section_needs_no_bundle_and_sections_may_be_bundle_only(engine) -> None:
    media, handler = engine
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    connection.addTransceiver("video", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    offer = re.sub(r"a=group:BUNDLE.*\r\n", "", connection.localDescription.sdp)
    assert "m=video" in await media.answer(settings(), offer)
    await connection.close()
    client = Client(hears=True)
    offer = await client.offer()
    firefox = re.sub(r"m=audio \d+ (.*\r\n)", r"m=audio 0 \1a=bundle-only\r\n", offer)
    assert firefox != offer
    await client.accept(await media.answer(settings("s2"), firefox))
    while await soon(handler.connected.get()) != "s2":
        pass
    await client.close()


async def test_channel_that_was_closed_can_be_opened_again(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()) as client:
        assert await soon(handler.channels.get()) == ("s1", "control")
        client.control.close()
        again = client.connection.createDataChannel("control")
        received: asyncio.Queue[str] = asyncio.Queue()
        again.on("message", received.put_nowait)
        assert await soon(handler.channels.get()) == ("s1", "control")
        media.send_message(["s1"], "control", b"hello again")
        assert await soon(received.get()) == "hello again"


async def test_two_viewers_share_a_stream_and_a_slow_start_harms_neither(engine) -> None:
    media, handler = engine
    async with viewing(media, settings("s1", profile=H264Profile.CONSTRAINED_BASELINE)) as first:
        camera = Camera(profile=H264Profile.CONSTRAINED_BASELINE)
        await soon(handler.connected.get())
        await play_until(media, camera, lambda: first.pictures.qsize() >= 5)
        async with viewing(media, settings("s2", profile=H264Profile.CONSTRAINED_BASELINE)) as second:
            await soon(handler.connected.get())
            before = first.pictures.qsize()

            def both_go_on() -> bool:
                return second.pictures.qsize() >= 5 and first.pictures.qsize() >= before + 5

            await play_until(media, camera, both_go_on, asked=handler)


async def test_storm_of_repeat_requests_is_answered_within_a_budget(engine) -> None:
    media, handler = engine
    async with viewing(media, settings(profile=H264Profile.CONSTRAINED_BASELINE)) as client:
        await soon(handler.connected.get())
        (receiver,) = client.connection.getReceivers()
        arrived: list[RtpPacket] = []
        inner = receiver._handle_rtp_packet

        async def note(packet: RtpPacket, arrival_time_ms: int) -> None:
            arrived.append(packet)
            await inner(packet, arrival_time_ms=arrival_time_ms)

        vars(receiver)["_handle_rtp_packet"] = note
        await play_until(media, Camera(profile=H264Profile.CONSTRAINED_BASELINE), lambda: len(arrived) >= 30)
        numbers = [packet.sequence_number for packet in arrived]
        ssrc = arrived[0].ssrc
        for _ in range(100):
            await receiver._send_rtcp_nack(ssrc, numbers)
        await asyncio.sleep(1.0)
        repeats = len(arrived) - len(numbers)
        assert repeats >= len(numbers), "what was lost is sent again"
        assert repeats <= 80, "3,000 requests are not answered with 3,000 packets"


async def test_messages_travel_both_ways_on_the_channel_they_were_sent_on(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()) as client:
        assert await soon(handler.channels.get()) == ("s1", "control")
        client.control.send('{"type":"ping","id":7}')
        assert await soon(handler.messages.get()) == ("s1", "control", b'{"type":"ping","id":7}')
        media.send_message(["s1", "nobody"], "control", '{"hello":"您好"}'.encode())
        assert await soon(client.received.get()) == '{"hello":"您好"}'


async def test_statistics_have_a_row_for_each_connected_viewer(engine) -> None:
    media, handler = engine
    assert media.statistics().shape == (0,)
    async with viewing(media, settings(profile=H264Profile.CONSTRAINED_BASELINE)) as client:
        await soon(handler.connected.get())
        camera = Camera(profile=H264Profile.CONSTRAINED_BASELINE)
        await play_until(media, camera, lambda: client.pictures.qsize() >= 5)
        await play_until(media, camera, lambda: not np.isnan(media.statistics()["loss"][0]))
        (row,) = media.statistics()
        assert media.statistics().dtype == VIEWER_STATISTICS
        assert row["session"] == "s1"
        assert row["sent_bytes"] > 0
        assert row["loss"] == 0.0


def layered() -> list[Camera]:
    baseline = H264Profile.CONSTRAINED_BASELINE
    return [Camera(profile=baseline), Camera(profile=baseline, scale=2, layer=1)]


def on_a_line(session: str, start_bps: float) -> ViewerSettings:
    return ViewerSettings(session, "stream", Codec.H264, H264Profile.CONSTRAINED_BASELINE, start_bps)


async def test_each_viewer_gets_the_layer_that_its_line_is_thought_to_take(engine) -> None:
    media, handler = engine
    media.set_layers("stream", [200_000, 2_000_000])
    async with viewing(media, on_a_line("slow", 300_000)) as slow, viewing(media, on_a_line("fast", 5e6)) as fast:
        await soon(handler.connected.get())
        await soon(handler.connected.get())
        cameras = layered()
        await play_layers_until(
            media, cameras, lambda: min(slow.pictures.qsize(), fast.pictures.qsize()) >= 10, handler
        )
        for client, width in ((slow, WIDTH), (fast, 2 * WIDTH)):
            levels = [client.pictures.get_nowait() for _ in range(10)]
            assert {picture.width for picture in levels} == {width}
        layers = {str(row["session"]): int(row["layer"]) for row in media.statistics()}
        assert layers == {"slow": 0, "fast": 1}


async def test_layer_that_stops_is_left_for_one_that_flows(engine) -> None:
    media, handler = engine
    media.set_layers("stream", [200_000, 2_000_000])
    async with viewing(media, on_a_line("s1", 5e6)) as client:
        await soon(handler.connected.get())
        cameras = layered()
        await play_layers_until(media, cameras, lambda: client.pictures.qsize() >= 10, handler)

        def shows_the_lower() -> bool:
            while not client.pictures.empty():
                if client.pictures.get_nowait().width == WIDTH:
                    return True
            return False

        await play_layers_until(media, cameras, shows_the_lower, handler, encoded=1)
        await play_layers_until(media, cameras, lambda: media.statistics()["layer"][0] == 0, handler, encoded=1)
        (row,) = media.statistics()
        assert (row["wanted_layer"], row["freezes"]) == (0, 0)


async def test_pictures_of_layers_that_a_stream_does_not_have_are_refused(engine) -> None:
    media, handler = engine
    async with viewing(media, on_a_line("s1", 5e6)) as client:
        await soon(handler.connected.get())
        cameras = layered()
        await play_layers_until(media, cameras, lambda: media.refusals()["layers_refused"] >= 5, handler)
        await play_layers_until(media, cameras, lambda: client.pictures.qsize() >= 5, handler)
        assert {client.pictures.get_nowait().width for _ in range(5)} == {WIDTH}


async def test_new_offer_replaces_the_sessions_connection_without_ending_it(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()):
        await soon(handler.connected.get())
        async with viewing(media, settings()) as again:
            await soon(handler.connected.get())
            assert len(media.statistics()) == 1
            media.send_message(["s1"], "control", b"you")
            assert await soon(again.received.get()) == "you"
            assert handler.gone.empty()


async def test_viewer_that_hangs_up_is_reported_gone(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()):
        await soon(handler.connected.get())
    assert await soon(handler.gone.get()) == ("s1", EndReason.CONNECTION_LOST)
    assert len(media.statistics()) == 0


async def test_closed_session_is_not_reported_gone(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()):
        await soon(handler.connected.get())
        await media.close("s1")
        assert len(media.statistics()) == 0
        assert handler.gone.empty()


@pytest.mark.parametrize(
    "offer",
    [
        "",
        "hello",
        "v=0\r\n",
        "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\na=group:BUNDLE 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=fingerprint:x\r\na=ice-ufrag:x\r\n",
        "v=0\r\n" + "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 100,
    ],
)
async def test_offer_that_cannot_be_used_is_refused_and_leaves_nothing_behind(engine, offer: str) -> None:
    media, handler = engine
    async with viewing(media, settings("other")):
        await soon(handler.connected.get())
        with pytest.raises(OfferError):
            await media.answer(settings("s1"), offer)
        assert list(media.statistics()["session"]) == ["other"]


async def test_edge_never_sends_to_addresses_an_offer_names(engine) -> None:
    media, _ = engine
    victim = asyncio.Queue()

    class Listener(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            victim.put_nowait(data)

    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Listener, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    client = Client()
    lines = [line for line in (await client.offer()).splitlines() if not line.startswith("a=candidate")]
    at = next(index for index, line in enumerate(lines) if line.startswith("a=ice-ufrag"))
    lines.insert(at, f"a=candidate:1 1 udp 2130706431 127.0.0.1 {port} typ host")
    await media.answer(settings(), "\r\n".join(lines) + "\r\n")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(victim.get(), 1.0)
    transport.close()
    await client.close()


async def test_present_credentials_restart_nothing_and_new_ones_restart_or_are_refused(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()) as client:
        await soon(handler.connected.get())
        present = [line for line in client.connection.localDescription.sdp.splitlines() if line.startswith("a=ice-")]
        candidate = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host"
        assert await media.trickle("s1", "\r\n".join([*present, candidate])) is None
        assert await media.trickle("s1", candidate) is None
        anew = f"a=ice-ufrag:anew\r\na=ice-pwd:AnotherPasswordOf24Bytes\r\n{candidate}\r\n"
        assert await media.trickle("nobody", anew) is None
        try:
            answer = await media.trickle("s1", anew)
        except RestartUnsupported:
            assert media.name == "aiortc"
        else:
            assert answer is not None
            assert ice_credentials(answer) is not None
        client.control.send("still here")
        assert (await soon(handler.messages.get()))[2] == b"still here"


async def test_trickled_fragment_must_be_sdp(engine) -> None:
    media, _ = engine
    await media.trickle("s1", "a=ice-ufrag:x\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n")
    with pytest.raises(OfferError):
        await media.trickle("s1", "<html>")


@pytest.mark.parametrize("speaker_hears", [False, True], ids=["sendonly", "sendrecv"])
async def test_tone_into_one_clients_microphone_comes_out_of_anothers_loudspeaker(engine, speaker_hears: bool) -> None:
    media, handler = engine
    async with (
        viewing(media, settings("s1"), Sine(1000.0), hears=speaker_hears),
        viewing(media, settings("s2"), hears=True) as listener,
    ):
        await soon(handler.connected.get())
        await soon(handler.connected.get())
        await relay(media, handler, "s2", lambda: listener.sounds.qsize() >= 60)
        received = [listener.sounds.get_nowait() for _ in range(60)][20:]
        assert dominant_hertz(received) == pytest.approx(1000.0, abs=20)
        assert handler.voices.empty() or handler.voices.get_nowait()[0] == "s1"


async def test_sound_travels_both_ways_on_one_connection(engine) -> None:
    media, handler = engine
    async with viewing(media, settings("s1"), Sine(700.0), hears=True) as client:
        await soon(handler.connected.get())
        await relay(media, handler, "s1", lambda: client.sounds.qsize() >= 60)
        received = [client.sounds.get_nowait() for _ in range(60)][20:]
        assert dominant_hertz(received) == pytest.approx(700.0, abs=20)


@pytest.mark.parametrize(
    ("voice", "hears", "answered"), [(False, True, "sendonly"), (True, False, "recvonly"), (True, True, "sendrecv")]
)
async def test_audio_is_answered_in_the_offered_direction_and_in_opus_alone(
    engine, voice: bool, hears: bool, answered: str
) -> None:
    media, _ = engine
    client = Client(Sine(440.0) if voice else None, hears=hears)
    answer = await media.answer(settings(), await client.offer())
    audio = answer[answer.index("m=audio") :].split("m=")[1]
    assert f"a={answered}" in audio
    assert "opus/48000" in audio
    assert "PCMU" not in audio
    await client.close()


async def test_viewer_without_audio_is_sent_none(engine) -> None:
    media, handler = engine
    async with viewing(media, settings()) as client:
        await soon(handler.connected.get())
        media.send_audio("s1", b"opus", 960)
        media.send_message(["s1"], "control", b"after")
        assert await soon(client.received.get()) == "after"
        assert client.sounds.empty()
