"""A broker on a real socket, and agents that speak the control protocol to it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, web

from broker.api.app import create_app
from broker.api.controller import Controller
from broker.api.keys import CONTROLLER
from broker.api.settings import BrokerSettings
from broker.core.state import CoreSettings
from broker.protocol import (
    AUDIENCE_EDGE,
    AUDIENCE_NODE,
    BrokerMessage,
    EdgeCapability,
    NodeCapability,
    RegisterEdge,
    RegisterNode,
    ViewerReport,
    Welcome,
    decode_broker_message,
    encode,
)
from broker.protocol.report_batch import batch_of
from broker.tokens import TokenAuthority

SECRET = b"a secret of thirty-two bytes, ok"
API_KEY = "operator-key-for-tests"
WAIT_S = 10.0

PATIENT = CoreSettings(heartbeat_interval_s=20.0)
"""Agents in these tests do not beat by themselves, so silence must not count as death."""


class Api:
    """A client of one broker. Every answer is checked to be JSON or a problem document."""

    def __init__(self, base: str, client: ClientSession, controller: Controller) -> None:
        self.base = base
        self.client = client
        self.controller = controller
        self.authority = TokenAuthority(SECRET)
        self.agents: list[Agent] = []
        self.sockets: list[ClientWebSocketResponse] = []
        """Kept, because a socket nobody holds is closed by the garbage collector, and closed in the end."""

    async def call(
        self, method: str, path: str, body: Any = None, token: str | None = API_KEY, raw: bytes | None = None
    ) -> tuple[int, Any, dict[str, str]]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        data = raw if raw is not None else (None if body is None else msgspec.json.encode(body))
        async with self.client.request(method, self.base + path, data=data, headers=headers) as response:
            content = await response.read()
            if response.status >= 400 and method != "HEAD":
                assert response.content_type == "application/problem+json", content
            parsed = msgspec.json.decode(content) if "json" in response.content_type and content else content
            return response.status, parsed, dict(response.headers)

    async def ok(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        status, answer, _ = await self.call(method, path, body, **more)
        assert status < 300, answer
        return answer

    async def problem(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, str]:
        status, answer, _ = await self.call(method, path, body, **more)
        assert answer["status"] == status
        return status, answer["type"].removeprefix("urn:farstage:problem:")

    async def join_token(self, room: str = "demo", **fields: Any) -> str:
        body = {"identity": "alice", "display_name": "Alice"} | fields
        return (await self.ok("POST", f"/v1/rooms/{room}/tokens", body))["token"]

    async def join(self, room: str = "demo", **fields: Any) -> Any:
        return await self.ok("POST", f"/v1/rooms/{room}/join", {}, token=await self.join_token(room, **fields))

    async def metric(self, line: str) -> float:
        text = (await self.call("GET", "/metrics", token=None))[1].decode()
        values = [row.rsplit(" ", 1)[1] for row in text.splitlines() if row.startswith(line + " ")]
        return float(values[0]) if values else 0.0

    def agent_token(self, kind: str, name: str) -> str:
        audience = AUDIENCE_NODE if kind == "node" else AUDIENCE_EDGE
        return self.authority.mint(audience, name, 600, time.time())

    async def dial(self, token: str) -> ClientWebSocketResponse:
        headers = {"Authorization": f"Bearer {token}"}
        socket = await self.client.ws_connect(self.base + "/v1/control", headers=headers, autoclose=True)
        self.sockets.append(socket)
        return socket

    async def node(self, name: str = "n1", units: float = 4.0, views: Any = ()) -> "Agent":
        capability = NodeCapability(
            renderer="cpu", device="test", units=units, codecs=["H264", "VP8"], scenes=["campus"]
        )
        message = RegisterNode(node=name, region="r1", version="1", capability=capability, views=list(views))
        return await self._agent("node", name, message)

    async def edge(
        self,
        name: str = "e1",
        max_viewers: int = 100,
        sessions: Any = (),
        public_url: str = "http://127.0.0.1:8081",
    ) -> "Agent":
        message = RegisterEdge(
            edge=name,
            region="r1",
            version="1",
            capability=EdgeCapability(engine="test", max_viewers=max_viewers, takes_publishers=True),
            public_url=public_url,
            trunk_url="ws://127.0.0.1:8081/trunk",
            sessions=list(sessions),
        )
        return await self._agent("edge", name, message)

    async def _agent(self, kind: str, name: str, message: Any) -> "Agent":
        agent = Agent(await self.dial(self.agent_token(kind, name)))
        self.agents.append(agent)
        await agent.send(message)
        await agent.expect(Welcome)
        return agent


class Agent:
    """A node or edge, as the broker sees it."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.reported = 0

    async def send(self, message: Any) -> None:
        await self.socket.send_str(encode(message).decode())

    async def report(self, *reports: ViewerReport) -> None:
        """Of an edge: what it has measured of its viewers."""
        self.reported += 1
        await self.socket.send_bytes(batch_of(reports, self.reported, time.monotonic()).encode())

    async def receive(self) -> BrokerMessage:
        return decode_broker_message(await self.socket.receive_str(timeout=WAIT_S))

    async def expect(self, kind: type, **fields: Any) -> Any:
        """The next message of this kind with these fields; others are passed over."""
        while True:
            message = await self.receive()
            if isinstance(message, kind) and all(getattr(message, k) == v for k, v in fields.items()):
                return message

    async def closed(self) -> tuple[int, str]:
        """Wait until the broker closes the socket; its code and reason."""
        while True:
            message = await self.socket.receive(WAIT_S)
            if message.type.name == "CLOSE":
                return message.data, message.extra
            assert message.type.name not in ("CLOSED", "ERROR"), message


@asynccontextmanager
async def running_broker(**settings: Any) -> AsyncIterator[Api]:
    """A broker on a free loopback port, with agents patient about heartbeats unless `core` says otherwise."""
    defaults: dict[str, Any] = {"secret": SECRET, "api_key": API_KEY, "core": PATIENT}
    app = create_app(BrokerSettings(**(defaults | settings)))
    runner = web.AppRunner(app, shutdown_timeout=2.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ClientSession(timeout=ClientTimeout(total=WAIT_S)) as client:
            api = Api(base, client, app[CONTROLLER])
            yield api
            await asyncio.gather(*(socket.close() for socket in api.sockets))
    finally:
        await runner.cleanup()
