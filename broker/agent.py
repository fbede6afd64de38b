"""The other end of the control WebSocket: how an edge or a node keeps in touch with the broker.

`AgentLink.run` registers, sends heartbeats and what `tell` queued, hands commands to the owner, and connects again
with growing pauses when the broker goes away; streams go on meanwhile.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import structlog

from broker.protocol import (
    MAX_CONTROL_MESSAGE_BYTES,
    AgentMessage,
    BrokerMessage,
    EdgeHeartbeat,
    NodeHeartbeat,
    RegisterEdge,
    RegisterNode,
    Welcome,
    decode_broker_message,
    encode,
)
from broker.protocol.report_batch import ReportBatch
from broker.together import run_until_first_ends

_log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.2
LAST_RETRY_S = 3.0
CONNECT_TIMEOUT_S = 5.0
WELCOME_TIMEOUT_S = 5.0
BROKER_ASKED_AFTER_S = 4.0
"""A broker that has said nothing for so long is asked for a sign of life (a WebSocket ping) and has half as long again
to give it: one that hangs would otherwise keep its agents from the one that has taken over."""
MAX_QUEUED_MESSAGES = 2000
"""What waits while the broker is away; the oldest goes first, as newer reports outdate it."""


class RegistrationRefused(Exception):
    """The broker refused the token or the registration; trying again with the same will not help at once."""


class AgentFailed(Exception):
    """An edge or node cannot work and its process must end; the message names the fault."""


class AgentLink:
    """One agent's connection to its broker."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        registration: Callable[[], RegisterNode | RegisterEdge],
        heartbeat: Callable[[], NodeHeartbeat | EdgeHeartbeat],
        on_command: Callable[[BrokerMessage], Awaitable[None]],
    ) -> None:
        self.connected = False
        self.welcome: Welcome | None = None
        self._url = url.rstrip("/") + "/v1/control"
        self._token = token
        self._registration = registration
        self._heartbeat = heartbeat
        self._on_command = on_command
        self._queue: deque[AgentMessage | ReportBatch] = deque(maxlen=MAX_QUEUED_MESSAGES)
        self._wake = asyncio.Event()

    def tell(self, message: AgentMessage | ReportBatch) -> None:
        """Queue a message; it leaves as soon as the broker is connected."""
        self._queue.append(message)
        self._wake.set()

    def mention(self, message: AgentMessage | ReportBatch) -> None:
        """Queue a message that is of no use later: it is dropped while the broker is away."""
        if self.connected:
            self.tell(message)

    async def run(self) -> None:
        """Stay in touch until cancelled."""
        pause_s = FIRST_RETRY_S
        async with aiohttp.ClientSession() as http:
            while True:
                try:
                    await self._connect_and_serve(http)
                    pause_s = FIRST_RETRY_S
                except (aiohttp.ClientError, OSError, TimeoutError, RegistrationRefused) as error:
                    _log.warning("broker_unreachable", url=self._url, error=str(error) or type(error).__name__)
                await asyncio.sleep(pause_s * (0.5 + random.random()))
                pause_s = min(pause_s * 2.0, LAST_RETRY_S)

    async def _connect_and_serve(self, http: aiohttp.ClientSession) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            socket = await http.ws_connect(
                self._url, headers=headers, max_msg_size=MAX_CONTROL_MESSAGE_BYTES, heartbeat=BROKER_ASKED_AFTER_S
            )
        try:
            await self._register(socket)
            self.connected = True
            await self._serve(socket)
        finally:
            self.connected = False
            await socket.close()

    async def _register(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await socket.send_str(encode(self._registration()).decode())
        answer = await socket.receive(timeout=WELCOME_TIMEOUT_S)
        if answer.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            raise RegistrationRefused(f"broker closed with {socket.close_code}: {answer.extra or answer.type.name}")
        message = decode_broker_message(answer.data)
        if not isinstance(message, Welcome):
            raise RegistrationRefused(f"broker answered {type(message).__name__} to a registration")
        self.welcome = message
        _log.info("registered", broker=message.broker, url=self._url)

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        await run_until_first_ends(self._read(socket), self._write(socket), self._beat(socket))

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                return
            try:
                command = decode_broker_message(message.data)
            except msgspec.DecodeError as error:
                _log.error("command_malformed", error=str(error))
                continue
            await self._on_command(command)

    async def _write(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            while self._queue:
                message = self._queue.popleft()
                if isinstance(message, ReportBatch):
                    await socket.send_bytes(message.encode())
                else:
                    await socket.send_str(encode(message).decode())
            self._wake.clear()
            await self._wake.wait()

    async def _beat(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        interval_s = self.welcome.heartbeat_interval_s if self.welcome is not None else 1.0
        while True:
            await asyncio.sleep(interval_s)
            await socket.send_str(encode(self._heartbeat()).decode())
