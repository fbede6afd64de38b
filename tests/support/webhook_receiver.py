"""Who receives webhooks: a server on loopback that verifies signatures by the letter of the specification."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

WAIT_S = 10.0


@dataclass(frozen=True)
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = msgspec.json.decode(self.body)
        return event

    def is_signed_by(self, secret: str) -> bool:
        """As Standard Webhooks 1.0.0 says under "Verifying signatures", written without a look at the sender."""
        key = base64.b64decode(secret.split("_", 1)[1])
        content = b".".join([self.id.encode(), self.headers["webhook-timestamp"].encode(), self.body])
        expected = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
        given = [part.split(",", 1) for part in self.headers["webhook-signature"].split(" ")]
        return any(version == "v1" and hmac.compare_digest(value, expected) for version, value in given)


Answer = Callable[[Received], Awaitable[web.Response]]


async def take(received: Received) -> web.Response:
    return web.Response(status=204)


class Receiver:
    """Keeps every request; `answer` may be changed at any time."""

    def __init__(self) -> None:
        self.url = ""
        self.answer: Answer = take
        self.requests: list[Received] = []
        self._queue: asyncio.Queue[Received] = asyncio.Queue()

    async def next(self) -> Received:
        return await asyncio.wait_for(self._queue.get(), WAIT_S)

    async def next_events(self, count: int) -> list[str]:
        return [(await self.next()).event["type"] for _ in range(count)]

    async def handle(self, request: web.Request) -> web.Response:
        received = Received(request.path, {k.lower(): v for k, v in request.headers.items()}, await request.read())
        self.requests.append(received)
        self._queue.put_nowait(received)
        return await self.answer(received)


def answers(*statuses: int, **headers: str) -> Answer:
    """These one after the other, then 204."""
    left = list(statuses)

    async def answer(received: Received) -> web.Response:
        return web.Response(status=left.pop(0) if left else 204, headers=headers)

    return answer


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield receiver
    finally:
        await runner.cleanup()
