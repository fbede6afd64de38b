"""`farstage bench failover`: a node with every session on it is killed, and another one takes over, several times.

All processes are real ones on this machine: a broker (`farstage broker`), an edge (the real one, `failover_edge`), two
nodes that speak the real protocols and play a small stream into each view (`many_views_node`), and the native load
client, which holds a WebRTC connection for each session. Every session has a view of its own. One node has all views,
the other is empty; the first is killed with SIGKILL, and started again as the spare for the next kill.

What is measured where:

* `detect_ms`, once a kill: from the signal to the beginning of the broker's step that takes the node for dead
  (the time of its log line `agent lost`, less the step's duration).
* `replace_ms`, once a kill: the duration of that step: every view has been claimed on the other node, and the commands
  for node and edge are queued.
* `media_back_ms`, once a session and kill: from the signal to the moment at which the edge hands the media engine the
  first picture of the new node for this session. The rest of the way is the engine's latency (`farstage bench fanout`).
* `sessions_lost`: sessions that the broker has ended, or whose picture did not come back within `WAIT_S`.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import numpy as np

from broker.protocol import AUDIENCE_EDGE, AUDIENCE_NODE, JoinGrant, JoinRequest, Mode, RoomCreate, Viewport
from broker.tokens import TokenAuthority
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.load.process import LoadError
from client_demo.headless.load.whep import Seat, WhepError
from client_demo.headless.loadtest import LoadSettings, Progress, load
from farstage.bench.broker_only import broker_only
from farstage.bench.failover_edge import Switches
from farstage.bench.latency import free_ports
from farstage.bench.machine import machine
from farstage.bench.server_process import ServerFailed
from farstage.farm import Farm, Role, load_secrets

ROOM_SIZE = 10
WAIT_S = 20.0
JOIN_WAIT_S = 120.0
SETTLE_S = 1.5
"""Between kills, so that the bandwidth estimates and queues of one do not weigh on the next."""
POLL_S = 0.05
TOKEN_TTL_S = 86_400.0
FOR_EVER_S = 86_400.0
JOINS_AT_ONCE = 32


class FailoverSettings(msgspec.Struct, frozen=True):
    """What to measure. `store_url`: where the broker keeps its state."""

    sessions: int
    kills: int = 5
    store_url: str = "memory:"


class Quantiles(msgspec.Struct):
    """Of all that was measured, in milliseconds."""

    p50: float
    p99: float
    max: float
    count: int


class FailoverReport(msgspec.Struct):
    """What was measured, and where; see the module."""

    sessions: int
    kills: int
    store: str
    detect_ms: Quantiles
    replace_ms: Quantiles
    media_back_ms: Quantiles
    sessions_lost: int
    machine: dict[str, Any]


class AgentLostLine(msgspec.Struct):
    """The broker's log line of an agent's death."""

    event: str
    timestamp: str
    agent: str = ""
    views: int = 0
    homeless: int = 0
    seconds: float = 0.0


async def measure(settings: FailoverSettings, progress: Callable[[str], None]) -> FailoverReport:
    """Run it. Raises `FarmError`, `LoadError`, `Refused`, `ServerFailed`."""
    detect_ms: list[float] = []
    replace_ms: list[float] = []
    back_ms: list[float] = []
    lost = 0
    with tempfile.TemporaryDirectory(prefix="farstage-bench-") as folder:
        async with _Scene.running(settings, Path(folder), progress) as scene:
            for number in range(settings.kills):
                progress(f"the node with {settings.sessions} views is killed, {number + 1} of {settings.kills}")
                kill = await scene.kill()
                detect_ms.append(kill.detect_ms)
                replace_ms.append(kill.replace_ms)
                back_ms += kill.back_ms
                lost += settings.sessions - len(kill.back_ms)
            lost = max(lost, settings.sessions - await scene.living())
    return FailoverReport(
        sessions=settings.sessions,
        kills=settings.kills,
        store=settings.store_url.partition(":")[0],
        detect_ms=_quantiles(detect_ms),
        replace_ms=_quantiles(replace_ms),
        media_back_ms=_quantiles(back_ms),
        sessions_lost=lost,
        machine=machine(),
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    if not values:
        raise ServerFailed("no session's picture came back")
    p50, p99 = (round(float(quantile), 1) for quantile in np.quantile(values, (0.5, 0.99)))
    return Quantiles(p50, p99, round(max(values), 1), len(values))


class _Kill(msgspec.Struct):
    detect_ms: float
    replace_ms: float
    back_ms: list[float]


class _Rooms:
    """`Seats` of the load client: guests, ten to a room, each with a view of their own."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client
        self._turn = asyncio.Semaphore(JOINS_AT_ONCE)
        self.grants: dict[int, JoinGrant] = {}

    async def take(self, viewer: int) -> Seat:
        """See `Seats`."""
        request = JoinRequest(display_name=f"load {viewer}", viewport=Viewport(width=640, height=352, max_fps=5))
        try:
            async with self._turn:
                grant = self.grants[viewer] = await self._client.join(room_name(viewer // ROOM_SIZE), request)
        except (Refused, OSError, TimeoutError) as error:
            raise WhepError(f"the broker refused the join: {error}") from error
        return Seat(grant.whep_url, grant.session_token)

    async def free(self, viewer: int) -> None:
        """See `Seats`; the farm ends with the benchmark."""


def room_name(index: int) -> str:
    """Of the so-manieth room."""
    return f"bench-{index}"


class _Scene:
    """The running processes, and which node has the views."""

    def __init__(
        self, settings: FailoverSettings, farm: Farm, client: BrokerClient, http: aiohttp.ClientSession
    ) -> None:
        self._settings = settings
        self._farm = farm
        self._client = client
        self._http = http
        self._authority = TokenAuthority(load_secrets(farm.settings.state_dir).secret.encode())
        self._edge_port = farm.settings.base.edge.port
        self._started_nodes = 0
        self._busy = self._spare = ""
        self._busy_number = self._spare_number = 0

    @classmethod
    @asynccontextmanager
    async def running(
        cls, settings: FailoverSettings, folder: Path, progress: Callable[[str], None]
    ) -> "AsyncIterator[_Scene]":
        """Start everything; on entry all sessions see their pictures, and all views are on one node."""
        farm = broker_only(folder, settings.store_url)
        async with farm, BrokerClient(farm.broker_url, farm.api_key) as client, aiohttp.ClientSession() as http:
            scene = cls(settings, farm, client, http)
            await scene._start_role("edge-1", scene._edge())
            scene._busy, scene._busy_number = await scene._start_node("node-1")
            progress(f"{settings.sessions} sessions join")
            rooms = _Rooms(client)
            loading = await scene._join_all(rooms)
            try:
                scene._spare, scene._spare_number = await scene._start_node("node-2")
                yield scene
            finally:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)

    async def _join_all(self, rooms: _Rooms) -> "asyncio.Task[object]":
        sessions = self._settings.sessions
        for index in range(-(-sessions // ROOM_SIZE)):
            await self._client.create_room(RoomCreate(room=room_name(index), mode=Mode.EXPLORE, open=True))
        joined = asyncio.Event()

        def show(now: Progress) -> None:
            if now.phase == "measuring":
                joined.set()

        settings = LoadSettings(viewers=sessions, seconds=FOR_EVER_S, verify=0.0, feedback_ms=1000)
        loading: asyncio.Task[object] = asyncio.create_task(load(settings, rooms, show))
        waiting = asyncio.create_task(joined.wait())
        await asyncio.wait((loading, waiting), timeout=JOIN_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not joined.is_set():
            loading.cancel()
            (error,) = await asyncio.gather(loading, return_exceptions=True)
            raise LoadError(f"not all {sessions} sessions joined within {JOIN_WAIT_S:.0f} s: {error!r}")
        await self._until_shown(self._busy_number, JOIN_WAIT_S)
        return loading

    # --- Killing ----------------------------------------------------------------------------------------

    async def kill(self) -> _Kill:
        """Kill the node that has the views, wait for the pictures of the other, and start a spare."""
        await asyncio.sleep(SETTLE_S)
        killed_ns, killed_unix_s = time.monotonic_ns(), time.time()
        self._farm.kill(self._busy)
        switches = await self._until_shown(self._spare_number, WAIT_S)
        line = self._lost_line(self._busy, killed_unix_s)
        back_ms = [
            (shown.since_ns - killed_ns) / 1e6 for shown in switches.values() if shown.number == self._spare_number
        ]
        detect_ms = (datetime.fromisoformat(line.timestamp).timestamp() - line.seconds - killed_unix_s) * 1000.0
        await asyncio.to_thread(_reap, self._farm.roles[self._busy])
        dead, self._busy, self._busy_number = self._busy, self._spare, self._spare_number
        self._spare, self._spare_number = await self._start_node(dead)
        return _Kill(detect_ms, line.seconds * 1000.0, back_ms)

    def _lost_line(self, node: str, since_unix_s: float) -> AgentLostLine:
        for raw in reversed(self._farm.roles["broker"].log_path.read_bytes().splitlines()):
            if b'"agent lost"' not in raw:
                continue
            line = msgspec.json.decode(raw, type=AgentLostLine)
            if line.agent == f"node:{node}" and datetime.fromisoformat(line.timestamp).timestamp() > since_unix_s:
                if line.homeless or line.views != self._settings.sessions:
                    raise ServerFailed(f"{line.views} views were lost, and {line.homeless} not placed again at once")
                return line
        raise ServerFailed(f"the broker has not noticed the death of {node}")

    async def _until_shown(self, number: int, within_s: float) -> Switches:
        """Wait until every session is shown pictures of this node, or time is up."""
        deadline_s = time.monotonic() + within_s
        while True:
            switches = await self._switches()
            shown = sum(entry.number == number for entry in switches.values())
            if shown >= self._settings.sessions or time.monotonic() > deadline_s:
                return switches
            await asyncio.sleep(POLL_S)

    async def _switches(self) -> Switches:
        async with self._http.get(f"http://127.0.0.1:{self._edge_port}/switches") as response:
            return msgspec.json.decode(await response.read(), type=Switches)

    async def living(self) -> int:
        """How many sessions there are."""
        rooms = range(-(-self._settings.sessions // ROOM_SIZE))
        found = [await self._client.participants(room_name(index)) for index in rooms]
        return sum(map(len, found))

    # --- Processes --------------------------------------------------------------------------------------

    async def _start_role(self, name: str, role: Role) -> None:
        self._farm.roles[name] = role
        role.start()
        await self._farm.wait_ready(name)

    async def _start_node(self, name: str) -> tuple[str, int]:
        """The node's name, and the number that its pictures bear."""
        self._started_nodes += 1
        (port,) = free_ports(1)
        token = self._authority.mint(AUDIENCE_NODE, name, TOKEN_TTL_S, time.time())
        more = ("--number", str(self._started_nodes))
        await self._start_role(name, self._role(name, "many_views_node", port, token, *more))
        return name, self._started_nodes

    def _edge(self) -> Role:
        token = self._authority.mint(AUDIENCE_EDGE, "edge-1", TOKEN_TTL_S, time.time())
        return self._role("edge-1", "failover_edge", self._edge_port, token)

    def _role(self, name: str, module: str, port: int, token: str, *more: str) -> Role:
        arguments = ["--id", name, "--port", str(port), "--broker-url", self._farm.broker_url, "--token", token, *more]
        return self._farm.python_role(name, f"farstage.bench.{module}", arguments, f"http://127.0.0.1:{port}/readyz")


def _reap(role: Role) -> None:
    if role.process is not None:
        role.process.wait(10)
