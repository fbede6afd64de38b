"""Trunks over real sockets tell a line that broke from one that was closed, at both ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from broker.protocol import PeerSight, PeerSighted, TrunkTarget
from edge.trunk import Kind, PeerWatch, StreamOpen, TrunkAcceptor, TrunkPool
from edge.trunk.framing import pack_control
from tests.contract.test_trunk_ends import Sink, Source
from tests.support.waiting import until


@asynccontextmanager
async def served(handler: object) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_get("/trunk", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"ws://127.0.0.1:{runner.addresses[0][1]}/trunk"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("path", [[], ["e9"]])
@pytest.mark.parametrize("breaks", [True, False])
async def test_edge_tells_of_a_source_whose_line_breaks_and_not_of_one_that_leaves(
    path: list[str], breaks: bool
) -> None:
    said: list[PeerSighted] = []
    sink = Sink()
    acceptor = TrunkAcceptor(sink, PeerWatch(said.append))

    async def serve(request: web.Request) -> web.StreamResponse:
        return await acceptor.serve(request, "a1")

    async with served(serve) as url, aiohttp.ClientSession() as http:
        socket = await http.ws_connect(url)
        await socket.send_bytes(pack_control(Kind.OPEN, 1, StreamOpen(stream="s", fence=1, path=path)))
        await until(lambda: bool(acceptor.heard()), "the stream")
        assert [peer for peer, _ in acceptor.heard()] == [("a1", bool(path))]
        if breaks:
            connection = socket._response.connection
            assert connection is not None
            assert connection.transport is not None
            connection.transport.abort()
        else:
            await socket.close()
        await until(lambda: not acceptor.connections, "the end of the connection")
    assert said == ([PeerSighted(peer="a1", is_edge=bool(path), sight=PeerSight.BROKEN)] if breaks else [])


@pytest.mark.parametrize("breaks", [True, False])
async def test_source_tells_of_an_edge_whose_line_breaks_and_not_of_one_that_leaves(breaks: bool) -> None:
    said: list[PeerSighted] = []
    ended = asyncio.Event()

    async def serve(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.receive()
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        else:
            await socket.close()
        ended.set()
        return socket

    async with served(serve) as url, aiohttp.ClientSession() as http:
        pool = TrunkPool(Source(), http, PeerWatch(said.append))
        pool.open(TrunkTarget(edge="e1", url=url, token="t"), StreamOpen(stream="s", fence=1))
        await ended.wait()
        await until(lambda: pool.connected == 0, "the end of the connection")
        await pool.close()
    assert said == ([PeerSighted(peer="e1", is_edge=True, sight=PeerSight.BROKEN)] if breaks else [])
