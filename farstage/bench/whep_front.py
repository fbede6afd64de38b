"""The HTTP side that every server of the comparison has: WHEP for the load, `/statistics` for the table.

`POST /whep` answers an SDP offer with 201 and a `Location`, `DELETE` on that ends the viewer. Loopback only, no
tokens: it stands in a benchmark.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import uvloop
from aiohttp import web

from client_demo.headless.load.server_usage import Usage
from farstage import logs
from farstage.config import LogConfig

SDP = "application/sdp"


class OfferRefused(Exception):
    """The server behind the front cannot answer the offer; the message says why."""


class Answerer(Protocol):
    """What stands behind the front: it turns offers into answers, each for a viewer of its own."""

    pid: int
    """The process that sends the media."""

    async def answer(self, viewer: str, offer_sdp: str) -> str:
        """Return the SDP answer. Raises `OfferRefused`."""

    async def close(self, viewer: str) -> None:
        """End a viewer; unknown ones are ignored."""

    def viewers(self) -> int:
        """How many are connected."""

    def sent_packets(self) -> int | None:
        """RTP packets sent since the start by the server's own count, if it keeps one."""


class _Routes:
    def __init__(self, answerer: Answerer) -> None:
        self._answerer = answerer
        self._usage = Usage([answerer.pid])
        self._count = 0

    async def offer(self, request: web.Request) -> web.Response:
        self._count += 1
        viewer = f"viewer-{self._count}"
        try:
            answer = await self._answerer.answer(viewer, await request.text())
        except OfferRefused as error:
            return web.Response(text=str(error), status=400)
        return web.Response(text=answer, status=201, content_type=SDP, headers={"Location": f"/whep/{viewer}"})

    async def end(self, request: web.Request) -> web.Response:
        await self._answerer.close(request.match_info["viewer"])
        return web.Response()

    async def statistics(self, _: web.Request) -> web.Response:
        counted = {"viewers": self._answerer.viewers(), "sent_packets": self._answerer.sent_packets()}
        return web.json_response({**counted, "cpu_s": self._usage.cpu_s(), "rss_bytes": self._usage.rss_bytes()})


@asynccontextmanager
async def front(answerer: Answerer) -> AsyncIterator[str]:
    """Serve the routes on a free loopback port and yield the WHEP URL."""
    routes = _Routes(answerer)
    application = web.Application()
    application.router.add_post("/whep", routes.offer)
    application.router.add_delete("/whep/{viewer}", routes.end)
    application.router.add_get("/statistics", routes.statistics)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/whep"
    finally:
        await runner.cleanup()


def serve(open_answerer: Callable[[], AbstractAsyncContextManager[Answerer]]) -> None:
    """Open the server and its front, say so in one JSON line, and serve until SIGTERM or SIGINT."""
    logs.configure(LogConfig(level="warning"), "benchmarks")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(open_answerer))


async def _serve(open_answerer: Callable[[], AbstractAsyncContextManager[Answerer]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_answerer() as answerer, front(answerer) as url:
        print(json.dumps({"url": url, "pid": answerer.pid}), flush=True)
        await stop.wait()
