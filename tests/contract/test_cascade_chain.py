"""Three edges in a row over real sockets: a source, trunks, and a viewer behind the last one."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import numpy as np
import pytest
from aiohttp.test_utils import TestServer

from broker.protocol import (
    AUDIENCE_SESSION,
    AUDIENCE_TRUNK,
    Codec,
    H264Profile,
    Input,
    JoinGrant,
    PutRelay,
    TrunkTarget,
    Welcome,
    decode_client_message,
)
from broker.tokens import TokenAuthority
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from edge.app import EDGE_PROCESS, EdgeProcess, EdgeSettings, create_app
from edge.trunk import Flag, OutgoingStream, StreamFeedback, StreamOpen, TrunkPool, ViewerInput
from render_farm import barcode
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.interface import PixelLayout, PlanarFrame
from tests.support.cascade import STREAM, admission
from tests.support.waiting import frames_until, until

AUTHORITY = TokenAuthority(b"s" * 32)
EDGES = ("edge-1", "edge-2", "edge-3")
WIDTH, HEIGHT, FPS = 320, 192, 30


@pytest.fixture
def scanned_modules() -> list[str]:
    """Not the viewer: aiortc waits for its decoder's thread."""
    return ["broker", "edge", "render_farm"]


class Camera:
    """A source that stamps its pictures and obeys keyframe requests (`SourceHandler`)."""

    def __init__(self) -> None:
        self.stream: OutgoingStream
        self.feedback = StreamFeedback(viewers=0)
        self.viewers: set[str] = set()
        self.inputs: list[tuple[str, int]] = []
        self._keyframe = True

    async def play(self) -> None:
        """Send pictures until cancelled."""
        encoder = open_encoder(
            EncoderSettings(Codec.H264, WIDTH, HEIGHT, FPS, 400_000, H264Profile.CONSTRAINED_BASELINE)
        )
        noise = np.random.default_rng(1).integers(60, 90, (HEIGHT * 3 // 2, WIDTH), np.uint8)
        number = 0
        while True:
            number += 1
            shown = self.inputs[-1][1] if self.inputs else 0
            frame = PlanarFrame(np.roll(noise, number, axis=1).copy(), WIDTH, HEIGHT, PixelLayout.I420)
            barcode.draw(frame, barcode.Stamp(number, int(time.time() * 1000), shown))
            keyframe, self._keyframe = self._keyframe, False
            picture = encoder.encode(frame, keyframe=keyframe)
            self.stream.send(
                picture.payload,
                flags=Flag.KEYFRAME if picture.keyframe else 0,
                capture_time_us=int(time.time() * 1e6),
                input_sequence=shown,
            )
            await asyncio.sleep(1 / FPS)

    def on_opened(self, stream: OutgoingStream) -> None:
        self._keyframe = True

    def on_keyframe_request(self, stream: OutgoingStream, layer: int) -> None:
        self._keyframe = True

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        message = decode_client_message(viewer_input.body)
        assert isinstance(message, Input)
        self.inputs.append((viewer_input.session, message.seq))

    def on_viewer(self, stream: OutgoingStream, viewer) -> None:
        (self.viewers.add if viewer.present else self.viewers.discard)(viewer.session)

    def on_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        self.feedback = feedback

    def __getattr__(self, name: str):
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: None


class Chain:
    """Running edges, and the node's camera at the first of them."""

    def __init__(self, edges: dict[str, EdgeProcess], urls: dict[str, str], camera: Camera) -> None:
        self.edges, self.urls, self.camera = edges, urls, camera

    def target(self, edge: str, source: str) -> TrunkTarget:
        token = AUTHORITY.mint(AUDIENCE_TRUNK, source, 3600.0, time.time(), edge=edge)
        return TrunkTarget(edge=edge, url=f"{self.urls[edge].replace('http', 'ws', 1)}/trunk", token=token)

    def relay(self, parent: str, *children: str) -> None:
        targets = [self.target(child, parent) for child in children]
        self.edges[parent].hub.put_relay(PutRelay(stream=STREAM, fence=1, targets=targets))

    def admit(self, edge: str, session: str) -> JoinGrant:
        put = admission(session, profile=H264Profile.CONSTRAINED_BASELINE)
        self.edges[edge].hub.put_session(put)
        return JoinGrant(
            session=session,
            room="r",
            participant=put.participant,
            display_name="Ada",
            role=put.role,
            mode=put.mode,
            scene="campus",
            edge=edge,
            region="here",
            whep_url=f"{self.urls[edge]}/whep/{session}",
            session_token=AUTHORITY.mint(AUDIENCE_SESSION, session, 3600.0, time.time(), edge=edge),
            expires_at="2030-01-01T00:00:00Z",
            stream=STREAM,
            codec=put.codec,
            width=WIDTH,
            height=HEIGHT,
            fps=FPS,
        )


@asynccontextmanager
async def chain() -> AsyncIterator[Chain]:
    """Edges that have met their broker's key but not their broker."""
    async with AsyncExitStack() as stack:
        edges, urls = {}, {}
        for name in EDGES:
            settings = EdgeSettings(
                edge=name,
                region="here",
                broker_url="http://127.0.0.1:9",
                token="t",
                public_url="http://127.0.0.1:9",
                trunk_url="ws://127.0.0.1:9/trunk",
                host_addresses=("127.0.0.1",),
            )
            app = create_app(settings)
            key = AUTHORITY.public_key_pem
            app[EDGE_PROCESS].link.welcome = Welcome(broker="b", heartbeat_interval_s=1.0, token_public_key=key)
            server = await stack.enter_async_context(TestServer(app))
            edges[name], urls[name] = app[EDGE_PROCESS], str(server.make_url("")).rstrip("/")
        http = await stack.enter_async_context(aiohttp.ClientSession())
        camera = Camera()
        pool = TrunkPool(camera, http)
        running = Chain(edges, urls, camera)
        camera.stream = pool.open(running.target(EDGES[0], "node-1"), StreamOpen(stream=STREAM, fence=1))
        playing = asyncio.create_task(camera.play())
        try:
            yield running
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await asyncio.gather(pool.close(), *(edge.hub.relay.trunks.close() for edge in edges.values()))


async def test_viewer_behind_three_edges_sees_the_pictures_and_its_input_reaches_the_source() -> None:
    async with chain() as running, BrokerClient("http://127.0.0.1:9") as client:
        for parent, child in (EDGES[:2], EDGES[1:]):
            running.relay(parent, child)
        grant = running.admit(EDGES[2], "s-1")
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 20)
            assert viewer.reception.crc_failures == 0
            sent = viewer.send_input(yaw=0.5)
            await until(lambda: viewer.reception.last_input == sent, "a picture that shows the input")
            assert ("s-1", sent) in running.camera.inputs
            assert running.camera.viewers == {"s-1"}
            assert running.camera.feedback.viewers == 1
            assert running.edges[EDGES[2]].hub.hops == 2
        await until(lambda: running.camera.feedback.viewers == 0, "word that nobody watches")


async def test_viewers_on_each_edge_see_every_picture_while_another_edge_joins() -> None:
    async with chain() as running, BrokerClient("http://127.0.0.1:9") as client:
        running.relay(EDGES[0], EDGES[1])
        async with HeadlessViewer(client, running.admit(EDGES[1], "s-2")) as viewer:
            await frames_until(viewer, 10)
            running.relay(EDGES[0], EDGES[1], EDGES[2])
            async with HeadlessViewer(client, running.admit(EDGES[2], "s-3")) as newcomer:
                await frames_until(newcomer, 10)
            assert viewer.reception.frames_lost == 0
            assert viewer.reception.crc_failures == 0


async def test_trunk_to_an_edge_that_comes_back_elsewhere_replaces_the_former() -> None:
    async with aiohttp.ClientSession() as http:
        pool = TrunkPool(Camera(), http)
        before = set(asyncio.all_tasks())
        targets = [TrunkTarget(edge="edge-9", url=f"ws://127.0.0.1:{port}/trunk", token="t") for port in (9, 10)]
        opening = StreamOpen(stream="v9", fence=1)
        for target in targets:
            pool.open(target, opening)
            await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks() - before) == 1
        await pool.close()
