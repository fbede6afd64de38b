"""The agents' end of the control WebSocket, against a broker that does not do its part."""

import asyncio

import pytest
from aiohttp import web

from broker import agent
from broker.protocol import BrokerMessage, EdgeCapability, EdgeHeartbeat, EdgeLoad, RegisterEdge, Welcome, encode

ASKED_AFTER_S = 0.2
"""Short enough for a test, long enough for a busy machine to answer a ping."""


def registration() -> RegisterEdge:
    return RegisterEdge(
        edge="e1",
        region="r1",
        version="1",
        capability=EdgeCapability(engine="test", max_viewers=1),
        public_url="http://127.0.0.1:8081",
        trunk_url="ws://127.0.0.1:8081/trunk",
    )


async def ignore(command: BrokerMessage) -> None:
    """An agent that does nothing."""


async def test_an_agent_leaves_a_broker_that_hangs_and_dials_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "BROKER_ASKED_AFTER_S", ASKED_AFTER_S)
    dialled, hanging = asyncio.Semaphore(0), asyncio.Event()

    async def control(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        welcome = Welcome(broker="b", heartbeat_interval_s=60.0, token_public_key="")
        await socket.send_str(encode(welcome).decode())
        dialled.release()
        await hanging.wait()
        return socket

    app = web.Application()
    app.router.add_get("/v1/control", control)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    link = agent.AgentLink(
        f"http://127.0.0.1:{runner.addresses[0][1]}",
        "token",
        registration=registration,
        heartbeat=lambda: EdgeHeartbeat(load=EdgeLoad()),
        on_command=ignore,
    )
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(20):
            await dialled.acquire()
            await dialled.acquire()
    finally:
        running.cancel()
        hanging.set()
        await asyncio.gather(running, return_exceptions=True)
        await runner.cleanup()
