"""Connections to agents: one bounded queue of commands each, so that a slow agent delays nobody."""

import asyncio
from collections.abc import Callable

import structlog
from aiohttp import WSCloseCode, WSMsgType, web

from broker.core.effects import AgentKey

log = structlog.get_logger("broker")

MAX_QUEUED_COMMANDS = 8192
"""An agent that reads so slowly is cut off; it is told everything again when it registers."""
MAX_CLOSE_REASON_BYTES = 120


class AgentLink:
    """One agent's WebSocket. `run` writes what `send` queues, in order.

    An agent that does not take a command within `write_limit_s` is cut off with `abort`.
    """

    def __init__(
        self, key: AgentKey, socket: web.WebSocketResponse, abort: Callable[[], None], write_limit_s: float
    ) -> None:
        self.key = key
        self._abort = abort
        self._write_limit_s = write_limit_s
        self._socket = socket
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue(MAX_QUEUED_COMMANDS)
        self._farewell: tuple[WSCloseCode, str] | None = None

    def send(self, payload: bytes) -> None:
        """Queue a command; an agent whose queue is full is cut off."""
        try:
            self._queue.put_nowait(payload)
        except asyncio.QueueFull:
            self.close(WSCloseCode.TRY_AGAIN_LATER, "commands are not being read")

    def close(self, code: WSCloseCode, reason: str) -> None:
        """Ask `run` to close the socket; what is queued and unsent is dropped."""
        self._farewell = (code, reason)
        self.stop()

    def stop(self) -> None:
        """Ask `run` to end and leave the socket to its owner."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Write until `close` or `stop`, or until the socket breaks."""
        while (payload := await self._queue.get()) is not None:
            try:
                async with asyncio.timeout(self._write_limit_s):
                    await self._socket.send_frame(payload, WSMsgType.TEXT)
            except (ConnectionError, RuntimeError):
                return
            except TimeoutError:
                log.warning("agent does not read its commands", agent=str(self.key))
                self._abort()
                return
        if self._farewell is not None:
            code, reason = self._farewell
            await self._socket.close(code=code, message=reason.encode()[:MAX_CLOSE_REASON_BYTES])
