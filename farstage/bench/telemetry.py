"""`farstage bench telemetry`: what it costs the broker to hear of each client once a second.

The broker is a real process (`farstage broker`) with real rooms and sessions; the edges and the node are control
connections of this process, which speak the real protocol and send nothing but heartbeats and reports. All sessions are
connected. The broker's CPU time is measured over two spans of equal length: one in which nobody reports, and one in
which every edge reports all of its viewers once a second.

* `share_of_core`: of the second span less the first, what reports cost.
* `share_of_core_idle`: of the first span: heartbeats, metering and the clock of as many sessions.
* `reports_taken`: of those sent, what the broker's metrics say it has not refused.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from broker.agent import AgentLink
from broker.protocol import (
    AUDIENCE_EDGE,
    AUDIENCE_NODE,
    BrokerMessage,
    Codec,
    EdgeCapability,
    EdgeHeartbeat,
    EdgeLoad,
    JoinRequest,
    Mode,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    PutView,
    RegisterEdge,
    RegisterNode,
    RoomCreate,
    ViewerConnected,
    ViewerReport,
    ViewStarted,
)
from broker.protocol.report_batch import REPORT, ReportBatch, batch_of
from broker.tokens import TokenAuthority
from client_demo.headless.api import BrokerClient
from client_demo.headless.load.server_usage import Usage
from farstage.bench.broker_only import broker_only
from farstage.bench.machine import machine
from farstage.bench.server_process import ServerFailed
from farstage.farm import Farm, load_secrets

EDGE_VIEWERS = 1_000
ROOM_SIZE = 500
JOINS_AT_ONCE = 16
START_S = 15.0
SETTLE_S = 3.0
POLL_S = 0.05
TOKEN_TTL_S = 86_400.0
NODE = "node-1"


class TelemetrySettings(msgspec.Struct, frozen=True):
    """What to measure. Each span lasts `seconds`."""

    clients: int
    seconds: float = 15.0


class TelemetryReport(msgspec.Struct):
    """What was measured, and where; see the module."""

    clients: int
    edges: int
    seconds: float
    reports_per_s: float
    bytes_per_report: float
    share_of_core: float
    share_of_core_idle: float
    reports_sent: int
    reports_taken: int
    machine: dict[str, Any]


async def measure(settings: TelemetrySettings, progress: Callable[[str], None]) -> TelemetryReport:
    """Run it. Raises `FarmError`, `Refused`, `ServerFailed`."""
    with tempfile.TemporaryDirectory(prefix="farstage-bench-") as folder:
        farm = broker_only(Path(folder), "memory:")
        async with farm, BrokerClient(farm.broker_url, farm.api_key) as client, _fleet(settings, farm) as fleet:
            progress(f"{settings.clients} clients join")
            await _join_all(client, settings.clients)
            await fleet.connect_all()
            await asyncio.sleep(SETTLE_S)
            usage = Usage([fleet.broker_pid])
            progress(f"{settings.seconds:.0f} s without reports")
            idle_share = await _share(usage, asyncio.sleep(settings.seconds))
            progress(f"{settings.seconds:.0f} s with {settings.clients} reports a second")
            share = await _share(usage, fleet.report_for(settings.seconds)) - idle_share
            refused = await _refused(farm.broker_url)
    return TelemetryReport(
        clients=settings.clients,
        edges=len(fleet.edges),
        seconds=settings.seconds,
        reports_per_s=round(fleet.sent / settings.seconds, 1),
        bytes_per_report=round(fleet.sent_bytes / fleet.sent, 1),
        share_of_core=round(share, 4),
        share_of_core_idle=round(idle_share, 4),
        reports_sent=fleet.sent,
        reports_taken=fleet.sent - refused,
        machine=machine(),
    )


async def _share(usage: Usage, doing: Any) -> float:
    """The broker's CPU time over time, while this is done."""
    began, before_s = time.perf_counter(), usage.cpu_s()
    await doing
    return (usage.cpu_s() - before_s) / (time.perf_counter() - began)


async def _join_all(client: BrokerClient, clients: int) -> None:
    turn = asyncio.Semaphore(JOINS_AT_ONCE)

    async def join(number: int) -> None:
        async with turn:
            await client.join(f"bench-{number // ROOM_SIZE}", JoinRequest(display_name=f"client {number}"))

    for room in range(-(-clients // ROOM_SIZE)):
        name = f"bench-{room}"
        await client.create_room(RoomCreate(room=name, mode=Mode.CONFERENCE, open=True, max_participants=ROOM_SIZE))
    await asyncio.gather(*(join(number) for number in range(clients)))


async def _refused(broker_url: str) -> int:
    """Reports that the broker says it has refused."""
    async with aiohttp.ClientSession() as http, http.get(f"{broker_url}/metrics") as response:
        lines = (await response.text()).splitlines()
    return round(sum(float(line.split()[-1]) for line in lines if line.startswith("farstage_reports_refused_total{")))


# --- The fleet ------------------------------------------------------------------------------------------


class _Edge:
    """An edge whose viewers are all there and well."""

    def __init__(self, name: str, farm: Farm, token: str) -> None:
        self.name = name
        self.sessions: list[str] = []
        self._rows = np.zeros(0, REPORT)
        self._batches = 0
        self._farm = farm
        self.link = AgentLink(
            farm.broker_url,
            token,
            registration=self._registration,
            heartbeat=lambda: EdgeHeartbeat(load=EdgeLoad(viewers=len(self.sessions), node_rtt_ms={NODE: 0.5})),
            on_command=self._obey,
        )

    def _registration(self) -> RegisterEdge:
        return RegisterEdge(
            edge=self.name,
            region="bench",
            version="bench",
            capability=EdgeCapability(engine="bench", max_viewers=EDGE_VIEWERS),
            public_url="http://127.0.0.1:1",
            trunk_url="ws://127.0.0.1:1/trunk",
        )

    async def _obey(self, command: BrokerMessage) -> None:
        session = getattr(command, "session", None)
        if session is not None and session not in self.sessions:
            self.sessions.append(session)

    def connect_all(self) -> None:
        """All viewers connect."""
        for session in self.sessions:
            self.link.tell(ViewerConnected(session=session))
        self._rows = batch_of(self.reports(), 0, 0.0).rows.copy()

    def reports(self) -> list[ViewerReport]:
        """What there is to say of each."""
        return [
            ViewerReport(
                session=session, rtt_ms=20.0, jitter_ms=1.5, loss=0.001, sent_bps=2e6, estimate_bps=4e6, layer=2,
                frames_per_s=29.7, frames_dropped=0, freezes=0, jitter_buffer_ms=12.0, decode_ms=4.0,
                width=1280, height=720,
            )
            for session in self.sessions
        ]  # fmt: skip

    def report(self, random: np.random.Generator) -> int:
        """Report them all, with round trips of now; returns the bytes."""
        self._batches += 1
        self._rows["rtt_ms"] = 20.0 + random.exponential(5.0, len(self._rows))
        batch = ReportBatch(
            sequence=self._batches, taken_at_s=time.monotonic(), sessions=self.sessions, rows=self._rows.copy()
        )
        self.link.mention(batch)
        return len(batch.encode())


class _Fleet:
    """All edges, and the node that draws the stages."""

    def __init__(self, settings: TelemetrySettings, farm: Farm) -> None:
        authority = TokenAuthority(load_secrets(farm.settings.state_dir).secret.encode())
        names = [f"edge-{number}" for number in range(-(-settings.clients // EDGE_VIEWERS))]
        self.edges = [
            _Edge(name, farm, authority.mint(AUDIENCE_EDGE, name, TOKEN_TTL_S, time.time())) for name in names
        ]
        self.sent = self.sent_bytes = 0
        self._clients = settings.clients
        self._farm = farm
        self.node = AgentLink(
            farm.broker_url,
            authority.mint(AUDIENCE_NODE, NODE, TOKEN_TTL_S, time.time()),
            registration=self._node_registration,
            heartbeat=lambda: NodeHeartbeat(load=NodeLoad()),
            on_command=self._draw,
        )

    def _node_registration(self) -> RegisterNode:
        capability = NodeCapability(
            renderer="bench", device="bench", units=1_000.0, codecs=list(Codec), scenes=["campus"]
        )
        return RegisterNode(node=NODE, region="bench", version="bench", capability=capability)

    async def _draw(self, command: BrokerMessage) -> None:
        if isinstance(command, PutView):
            self.node.tell(ViewStarted(view=command.view, fence=command.fence))

    @property
    def broker_pid(self) -> int:
        """The process that is measured."""
        process = self._farm.roles["broker"].process
        if process is None:
            raise ServerFailed("the broker does not run")
        return process.pid

    @property
    def known(self) -> int:
        """Sessions that the edges have been told of."""
        return sum(len(edge.sessions) for edge in self.edges)

    async def connect_all(self) -> None:
        """Wait until the edges know all sessions, and have their viewers connect."""
        await _until(lambda: self.known == self._clients, "not all edges were told of their sessions")
        for edge in self.edges:
            edge.connect_all()

    async def report_for(self, seconds: float) -> None:
        """Every edge reports once a second, at its own moment."""
        random = np.random.default_rng(1)
        began, beats = time.monotonic(), int(seconds)
        for beat in range(beats):
            for number, edge in enumerate(self.edges):
                due_s = began + beat + number / len(self.edges)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                self.sent_bytes += edge.report(random)
                self.sent += len(edge.sessions)
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))


@asynccontextmanager
async def _fleet(settings: TelemetrySettings, farm: Farm) -> AsyncIterator[_Fleet]:
    """The fleet, connected."""
    fleet = _Fleet(settings, farm)
    links = [fleet.node, *(edge.link for edge in fleet.edges)]
    async with AsyncExitStack() as stack:
        tasks = [asyncio.create_task(link.run()) for link in links]
        stack.push_async_callback(_end, tasks)
        await _until(lambda: all(link.connected for link in links), "the broker does not answer all agents")
        yield fleet


async def _until(holds: Callable[[], bool], else_what: str) -> None:
    deadline_s = time.monotonic() + START_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise ServerFailed(f"{else_what} within {START_S:.0f} s")
        await asyncio.sleep(POLL_S)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
