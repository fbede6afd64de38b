"""Both ends of the trunk over real sockets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web

from edge.trunk import (
    Flag,
    Frame,
    Kind,
    OutgoingStream,
    StreamFeedback,
    StreamOpen,
    TrunkAcceptor,
    TrunkConnection,
    TrunkDialer,
    ViewerAudio,
    ViewerEvent,
    ViewerInput,
    ViewerPresence,
)
from edge.trunk.framing import pack
from edge.trunk.outbox import MAX_CONTROL_MESSAGES


class Source:
    """Records what the edge tells a source."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[tuple[str, object]] = asyncio.Queue()

    def __getattr__(self, name: str):
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda stream, *details: self.calls.put_nowait((name, details))

    async def expect(self, name: str) -> tuple:
        async with asyncio.timeout(5):
            while True:
                called, details = await self.calls.get()
                if called == name:
                    return details


class Sink:
    """Accepts streams, remembers frames; refuses fence 0."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self.opened: asyncio.Queue[tuple[TrunkConnection, int, StreamOpen]] = asyncio.Queue()
        self.events: asyncio.Queue[ViewerEvent] = asyncio.Queue()
        self.sounds: asyncio.Queue[ViewerAudio] = asyncio.Queue()
        self.states: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed: asyncio.Queue[str] = asyncio.Queue()
        self.retained: bytes | None = None

    def on_open(self, connection: TrunkConnection, channel: int, description: StreamOpen) -> str | None:
        if description.fence == 0:
            return "too old"
        connection.accept(channel, self.retained)
        self.opened.put_nowait((connection, channel, description))
        return None

    def on_frame(self, connection: TrunkConnection, frame: Frame) -> None:
        self.frames.put_nowait(frame)

    def on_event(self, connection: TrunkConnection, channel: int, event: ViewerEvent) -> None:
        self.events.put_nowait(event)

    def on_audio(self, connection: TrunkConnection, channel: int, audio: ViewerAudio) -> None:
        self.sounds.put_nowait(audio)

    def on_state(self, connection: TrunkConnection, channel: int, state: bytes) -> None:
        self.states.put_nowait(state)

    def on_close(self, connection: TrunkConnection, channel: int, reason: str) -> None:
        self.closed.put_nowait(reason)


class Line:
    """A sink's server and a source's dialer, and the wire between them."""

    def __init__(self, sink: Sink, source: Source, dialer: TrunkDialer, acceptor: TrunkAcceptor, url: str) -> None:
        self.sink, self.source, self.dialer, self.acceptor, self.url = sink, source, dialer, acceptor, url

    async def open(self, fence: int = 1) -> OutgoingStream:
        stream = self.dialer.open(StreamOpen(stream="s", fence=fence))
        await self.source.expect("on_opened")
        return stream


@asynccontextmanager
async def trunk_line() -> AsyncIterator[Line]:
    sink, source = Sink(), Source()
    acceptor = TrunkAcceptor(sink)
    app = web.Application()

    async def serve(request: web.Request) -> web.StreamResponse:
        return await acceptor.serve(request, "node-1")

    app.router.add_get("/trunk", serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    url = f"ws://127.0.0.1:{port}/trunk"
    async with aiohttp.ClientSession() as http:
        dialer = TrunkDialer(url, lambda: "token", source, http)
        task = asyncio.create_task(dialer.run())
        try:
            yield Line(sink, source, dialer, acceptor, url)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await runner.cleanup()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


def reading(connection: TrunkConnection) -> asyncio.Task[None]:
    """The task that reads from the source; cancelling it breaks the line."""
    (task,) = (
        task
        for task in asyncio.all_tasks()
        if "TrunkLink._read" in repr(task) and task.get_coro().cr_frame.f_locals["self"] is connection._link
    )
    return task


async def soon(queue: asyncio.Queue):
    return await asyncio.wait_for(queue.get(), 5)


async def test_frames_arrive_whole_and_in_order() -> None:
    async with trunk_line() as line:
        stream = await line.open()
        payloads = [bytes([number]) * (number * 5000 + 1) for number in range(10)]
        for number, payload in enumerate(payloads):
            assert stream.send(payload, flags=Flag.KEYFRAME, capture_time_us=number + 1, input_sequence=number)
        for number, payload in enumerate(payloads):
            frame = await soon(line.sink.frames)
            assert bytes(frame.payload) == payload
            assert (frame.sequence, frame.capture_time_us, frame.input_sequence) == (number + 1, number + 1, number)


async def test_everything_a_sink_says_reaches_the_source() -> None:
    async with trunk_line() as line:
        line.sink.retained = b"pose"
        await line.open()
        connection, channel, _ = await soon(line.sink.opened)
        connection.send_viewer(channel, ViewerPresence(session="s1", participant="p1", fresh=True))
        connection.send_input(channel, ViewerInput(session="s1", participant="p1", body=msgspec.Raw(b'{"a":1}')))
        connection.send_feedback(channel, StreamFeedback(viewers=3, bitrate_bps=1e6))
        connection.send_voice(channel, "p1", b"opus")
        connection.request_keyframe(channel)
        assert await line.source.expect("on_retained_state") == (b"pose",)
        assert (await line.source.expect("on_viewer"))[0].participant == "p1"
        assert bytes((await line.source.expect("on_input"))[0].body) == b'{"a":1}'
        assert (await line.source.expect("on_feedback"))[0].viewers == 3
        assert await line.source.expect("on_voice") == ("p1", b"opus")
        await line.source.expect("on_keyframe_request")
        connection.refuse(channel, "replaced")
        assert await line.source.expect("on_refused") == ("replaced",)


async def test_events_and_state_reach_the_sink() -> None:
    async with trunk_line() as line:
        stream = await line.open()
        stream.send_event(b'{"type":"pong","id":1}', "s1")
        stream.send_state(b"pose")
        event = await soon(line.sink.events)
        assert (bytes(event.body), event.session) == (b'{"type":"pong","id":1}', "s1")
        assert await soon(line.sink.states) == b"pose"


async def test_sound_reaches_the_sink_with_its_listeners_and_its_time() -> None:
    async with trunk_line() as line:
        stream = await line.open()
        common = ViewerAudio(b"opus 1", 20_000, frozenset({"s1", "s2"}), everybody_else=True)
        own = ViewerAudio(b"opus 2", 20_000, frozenset({"s1"}))
        stream.send_audio(common)
        stream.send_audio(own)
        assert await soon(line.sink.sounds) == common
        assert await soon(line.sink.sounds) == own


async def test_refused_stream_sends_nothing() -> None:
    async with trunk_line() as line:
        stream = line.dialer.open(StreamOpen(stream="s", fence=0))
        assert await line.source.expect("on_refused") == ("too old",)
        assert not stream.send(b"x", flags=0, capture_time_us=0, input_sequence=0)


async def test_broken_line_is_dialled_again_and_streams_are_announced_anew() -> None:
    async with trunk_line() as line:
        stream = await line.open(fence=4)
        connection, _, _ = await soon(line.sink.opened)
        reading(connection).cancel()
        assert "connection" in await soon(line.sink.closed)
        again, _, description = await soon(line.sink.opened)
        assert again is not connection
        assert description.fence == 4
        await line.source.expect("on_opened")
        assert stream.send(b"after", flags=Flag.KEYFRAME, capture_time_us=1, input_sequence=0)
        assert bytes((await soon(line.sink.frames)).payload) == b"after"


async def test_peer_that_lets_control_messages_pile_up_is_cut_off_and_not_its_sender() -> None:
    async with trunk_line() as line:
        stream = await line.open()
        for number in range(MAX_CONTROL_MESSAGES + 10):
            stream.send_event(b'{"type":"pong","id":%d}' % number)
        assert await soon(line.sink.closed) == "connection closed"
        await line.source.expect("on_opened")
        stream.send_event(b'{"type":"pong","id":5}')
        while bytes((event := await soon(line.sink.events)).body) != b'{"type":"pong","id":5}':
            pass
        assert event.session is None


async def test_round_trip_is_measured_on_both_ends() -> None:
    async with trunk_line() as line:
        await line.open()
        connection, _, _ = await soon(line.sink.opened)
        await until(lambda: line.dialer.rtt_ms is not None and connection.rtt_ms is not None)
        assert 0 < line.dialer.rtt_ms < 1000


@pytest.mark.parametrize(
    "message",
    [
        b"short",
        pack(Frame(Kind.OPEN, 1, b"not json")),
        pack(Frame(Kind.OPEN, 0, b'{"stream":"s","fence":1}')),
        pack(Frame(Kind.PONG, 0, b"never asked")),
    ],
    ids=["short", "not-json", "channel-0", "pong-unasked"],
)
async def test_source_that_breaks_the_rules_is_cut_off_with_a_reason_and_others_go_on(message: bytes) -> None:
    async with trunk_line() as line:
        stream = await line.open()
        async with aiohttp.ClientSession() as http, http.ws_connect(line.url) as hostile:
            await hostile.send_bytes(message)
            async with asyncio.timeout(5):
                while not hostile.closed:
                    await hostile.receive()
            assert hostile.close_code == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert line.acceptor.malformed == 1
        assert stream.send(b"unharmed", flags=Flag.KEYFRAME, capture_time_us=1, input_sequence=0)
        assert bytes((await soon(line.sink.frames)).payload) == b"unharmed"
