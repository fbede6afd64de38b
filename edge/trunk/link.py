"""What both ends of a trunk do alike: write the outbox, read messages, measure the round trip, be heard."""

import asyncio
import struct
import time
from collections.abc import Callable

import aiohttp
from aiohttp import web

from broker.together import run_until_first_ends
from edge.trunk.framing import Frame, Kind, TrunkError, pack, unpack
from edge.trunk.outbox import Outbox
from edge.trunk.watch import KEEPALIVE_S

PING_INTERVAL_S = 1.0
READ_TIMEOUT_S = 5.0
"""A peer that is silent for this long, though pinged each second, is gone."""
_PING = struct.Struct("!d")
_RTT_SMOOTHING = 0.2

WebSocket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse


class TrunkLink:
    """One established connection: feeds `on_frame` with what arrives, sends what `outbox` holds."""

    def __init__(self, outbox: Outbox, on_frame: Callable[[Frame], None]) -> None:
        self.outbox = outbox
        self.rtt_ms: float | None = None
        self.heard_s = time.monotonic()
        """When the peer last said anything."""
        self.took_leave = False
        """Whether the peer closed the connection, rather than that it broke."""
        self._sent_s = float("-inf")
        self._on_frame = on_frame
        self._wake = asyncio.Event()
        self._overflow = asyncio.Event()

    def send(self, message: bytes) -> None:
        """Queue a control message; a peer that lets too many of them pile up is cut off, whoever sends the next."""
        try:
            self.outbox.put(message)
        except TrunkError:
            self._overflow.set()
        self.wake()

    def wake(self) -> None:
        """The outbox has something new."""
        self._wake.set()

    async def run(self, socket: WebSocket) -> None:
        """Serve the connection until it ends. Raises `TrunkError` when the peer broke the rules."""
        self._overflow.clear()
        self.heard_s, self.took_leave = time.monotonic(), False
        await run_until_first_ends(
            self._read(socket), self._write(socket), self._ping_forever(), self._watch_overflow()
        )

    async def _read(self, socket: WebSocket) -> None:
        while True:
            message = await socket.receive(timeout=READ_TIMEOUT_S)
            self.heard_s = time.monotonic()
            if message.type is aiohttp.WSMsgType.BINARY:
                self._dispatch(unpack(message.data))
            elif message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED):
                self.took_leave = message.type is not aiohttp.WSMsgType.CLOSED
                return
            elif message.type is aiohttp.WSMsgType.ERROR:
                raise TrunkError(f"connection failed: {socket.exception()}")
            else:
                raise TrunkError(f"a {message.type.name} message; the trunk is binary")

    def _dispatch(self, frame: Frame) -> None:
        if frame.kind is Kind.PING:
            self.send(pack(Frame(Kind.PONG, 0, bytes(frame.payload[:64]))))
        elif frame.kind is Kind.PONG:
            self._take_pong(frame)
        else:
            self._on_frame(frame)

    def _take_pong(self, frame: Frame) -> None:
        if len(frame.payload) != _PING.size:
            raise TrunkError("PONG does not carry the payload of our PING")
        rtt_ms = (time.monotonic() - _PING.unpack(frame.payload)[0]) * 1000.0
        if not 0.0 <= rtt_ms <= READ_TIMEOUT_S * 1000.0:
            raise TrunkError("PONG carries a time that was never sent")
        previous = self.rtt_ms
        self.rtt_ms = rtt_ms if previous is None else previous + _RTT_SMOOTHING * (rtt_ms - previous)

    async def _ping_forever(self) -> None:
        """Measure each second, and speak at least every `KEEPALIVE_S`, so that silence means something."""
        pinged_s = float("-inf")
        while True:
            now = time.monotonic()
            if now - pinged_s >= PING_INTERVAL_S or now - self._sent_s >= KEEPALIVE_S / 2:
                pinged_s = now
                self.send(pack(Frame(Kind.PING, 0, _PING.pack(now))))
            await asyncio.sleep(KEEPALIVE_S / 2)

    async def _watch_overflow(self) -> None:
        await self._overflow.wait()
        raise TrunkError("the peer has stopped reading")

    async def _write(self, socket: WebSocket) -> None:
        while True:
            while len(self.outbox):
                await socket.send_bytes(self.outbox.pop())
                self._sent_s = time.monotonic()
            self._wake.clear()
            await self._wake.wait()
