"""`farstage bench cascade`: a stream through edges that feed one another, and the loss of one in the middle.

Real edges, each a process of its own, and the real broker, which chooses the tree; a node that plays an encoded loop
instead of rendering. All clocks are one machine's monotonic clock.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import numpy as np
from aiohttp import web

from broker.api.app import BrokerSettings, create_app
from broker.api.keys import CONTROLLER
from broker.core.cascade import Limits, Parents, reach
from broker.core.state import CoreSettings
from broker.protocol import AUDIENCE_EDGE, AUDIENCE_NODE, JoinRequest, Mode, Probe, RoomCreate
from broker.tokens import TokenAuthority
from client_demo.headless.api import BrokerClient
from farstage.bench.cascade_edge import Arrivals
from farstage.bench.latency import free_ports
from farstage.bench.machine import machine
from farstage.bench.server_process import ServerFailed, started
from farstage.bench.source import EncodedLoop, encode_loop
from farstage.bench.synthetic_node import NODE, SyntheticNode

FPS = 30
KBPS = 2500
ROOM = "bench"
WAIT_S = 30.0
POLL_S = 0.02
SETTLE_S = 1.0
"""Longer than keyframes are apart, so that what came before does not count."""
TOKEN_TTL_S = 86_400.0


class CascadeSettings(msgspec.Struct, frozen=True):
    """What to measure. `fan_out`: edges an edge feeds, 0 for the least by which all are reached: a chain up to four."""

    edges: int
    seconds: float = 10.0
    fan_out: int = 0
    kills: int = 10


class HopDelay(msgspec.Struct):
    """From a picture's arrival at an edge's hub to its arrival at the hub of an edge that is fed by it; ms."""

    p50: float
    p99: float
    count: int


class Reparenting(msgspec.Struct):
    """From the SIGKILL of an edge to the next picture drawn after it that is shown by an edge it fed; ms."""

    p50: float
    max: float
    count: int


class CascadeReport(msgspec.Struct):
    """What was measured, and where. `frames_lost`: sent while all edges stood and not shown, summed over edges."""

    edges: int
    depth: int
    fan_out: int
    kbps: int
    fps: int
    frames: int
    frames_lost: int
    hop_ms: HopDelay | None
    kills: int
    reparent_ms: Reparenting | None
    machine: dict[str, Any]


async def measure(settings: CascadeSettings, progress: Callable[[str], None]) -> CascadeReport:
    """Run it. Raises `ServerFailed`, `Refused`."""
    limits = Limits(node_fan_out=1, edge_fan_out=_fan_out(settings))
    loop = await asyncio.to_thread(encode_loop, KBPS * 1000, FPS)
    async with _Cascade.running(settings.edges, limits, loop) as cascade:
        progress(f"{settings.edges} edges, {cascade.depth} deep: {settings.seconds:.0f} s")
        await asyncio.sleep(SETTLE_S)
        since_ns = time.monotonic_ns()
        await asyncio.sleep(settings.seconds)
        frames, lost, hops_ms = await cascade.judge(since_ns, time.monotonic_ns())
        depth, gaps_ms = cascade.depth, []
        for number in range(settings.kills if settings.edges > 1 else 0):
            progress(f"an edge that feeds others is killed, {number + 1} of {settings.kills}")
            gaps_ms += await cascade.kill_one()
    return CascadeReport(
        edges=settings.edges,
        depth=depth,
        fan_out=limits.edge_fan_out,
        kbps=KBPS,
        fps=FPS,
        frames=frames,
        frames_lost=lost,
        hop_ms=HopDelay(_quantile(hops_ms, 0.5), _quantile(hops_ms, 0.99), len(hops_ms)) if hops_ms else None,
        kills=settings.kills if gaps_ms else 0,
        reparent_ms=Reparenting(_quantile(gaps_ms, 0.5), round(max(gaps_ms), 1), len(gaps_ms)) if gaps_ms else None,
        machine=machine(),
    )


def _fan_out(settings: CascadeSettings) -> int:
    """What an edge feeds. Raises `ServerFailed` if not all can be reached so."""
    if not settings.fan_out:
        return next(wide for wide in range(1, 65) if reach(Limits(1, wide), rooted=False) >= settings.edges)
    most = reach(Limits(1, settings.fan_out), rooted=False)
    if settings.edges > most:
        raise ServerFailed(f"a fan-out of {settings.fan_out} reaches {most} edges; give a larger one")
    return settings.fan_out


def _quantile(values: list[float], quantile: float) -> float:
    return round(float(np.quantile(values, quantile)), 3)


class _Cascade:
    """The broker, the node and the edges that run."""

    def __init__(self, http: aiohttp.ClientSession, broker: web.Application, broker_url: str, node: SyntheticNode):
        self._http = http
        self._controller = broker[CONTROLLER]
        self._broker_url = broker_url
        self._node = node
        self._urls: dict[str, str] = {}
        self._pids: dict[str, int] = {}
        self._stacks: dict[str, AsyncExitStack] = {}

    @classmethod
    @asynccontextmanager
    async def running(cls, edges: int, limits: Limits, loop: EncodedLoop) -> "AsyncIterator[_Cascade]":
        """Start everything; all edges show the stream on entry."""
        (port,) = free_ports(1)
        url = f"http://127.0.0.1:{port}"
        core = CoreSettings(fan_out=limits, connect_timeout_s=TOKEN_TTL_S)
        secret, api_key = secrets.token_bytes(32), secrets.token_urlsafe(24)
        broker = create_app(
            BrokerSettings(secret=secret, api_key=api_key, core=core, public_url=url, guest_joins_per_minute=1e6)
        )
        authority = TokenAuthority(secret)
        node = SyntheticNode(url, authority.mint(AUDIENCE_NODE, NODE, TOKEN_TTL_S, time.time()), loop)
        runner = web.AppRunner(broker, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        playing = asyncio.create_task(node.run())
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            async with aiohttp.ClientSession() as http, BrokerClient(url, api_key) as client:
                self = cls(http, broker, url, node)
                try:
                    await self._populate(edges, client, authority)
                    yield self
                finally:
                    for stack in self._stacks.values():
                        await stack.aclose()
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await runner.cleanup()

    async def _populate(self, edges: int, client: BrokerClient, authority: TokenAuthority) -> None:
        """Start the edges one after the other, with a participant on each, so that each is fed."""
        await self._until(lambda: NODE in self._controller.brain.state.ready_nodes, "the node")
        await client.create_room(RoomCreate(room=ROOM, mode=Mode.CONFERENCE, open=True))
        self._tokens = {
            f"edge-{number + 1}": authority.mint(AUDIENCE_EDGE, f"edge-{number + 1}", TOKEN_TTL_S, time.time())
            for number in range(edges)
        }
        ports = dict(zip(self._tokens, free_ports(edges), strict=True))
        self._urls = {edge: f"http://127.0.0.1:{port}" for edge, port in ports.items()}
        for edge in self._tokens:
            await self._start(edge)
            grant = await client.join(ROOM, JoinRequest(display_name=edge, probes=[Probe(edge=edge, rtt_ms=0.0)]))
            if grant.edge != edge:
                raise ServerFailed(f"the participant of {edge} was placed on {grant.edge}")
            await self._until_shown([edge], time.monotonic_ns())

    async def _start(self, edge: str) -> None:
        stack = self._stacks[edge] = AsyncExitStack()
        port = self._urls[edge].rpartition(":")[2]
        arguments = ("--id", edge, "--port", port, "--broker-url", self._broker_url, "--token", self._tokens[edge])
        server = await stack.enter_async_context(started(edge, "farstage.bench.cascade_edge", *arguments))
        assert server.pid is not None
        self._pids[edge] = server.pid
        ready = self._controller.brain.state.ready_edges
        await self._until(lambda: ready.get(edge) is not None, f"{edge} at the broker")

    @property
    def _parents(self) -> Parents:
        (view,) = self._controller.brain.state.views.values()
        return view.parents

    @property
    def depth(self) -> int:
        """Edges in the longest row."""
        return max(self._depth(edge) for edge in self._parents)

    def _depth(self, edge: str) -> int:
        above = self._parents[edge]
        return 1 if above is None else 1 + self._depth(above)

    async def judge(self, since_ns: int, until_ns: int) -> tuple[int, int, list[float]]:
        """How many pictures were sent, how many of them were not shown, and what each took from edge to edge in ms."""
        await asyncio.sleep(SETTLE_S)
        sent = {number for number, at_ns in self._node.sent_ns.items() if since_ns <= at_ns < until_ns}
        noted = {edge: await self._arrivals(edge) for edge in self._urls}
        lost = sum(len(sent - {number for number, _ in entry.shown}) for entry in noted.values())
        arrived = {edge: dict(entry.arrived) for edge, entry in noted.items()}
        hops_ms = [
            (arrived[edge][number] - arrived[above][number]) / 1e6
            for edge, above in self._parents.items()
            if above is not None
            for number in sorted(sent & arrived[edge].keys() & arrived[above].keys())
        ]
        return len(sent), lost, hops_ms

    async def kill_one(self) -> list[float]:
        """Kill an edge in the middle; how long those it fed were without new pictures, in ms. Then start it again."""
        await asyncio.sleep(SETTLE_S)
        middle = self._middle()
        children = [edge for edge, above in self._parents.items() if above == middle]
        killed_ns = time.monotonic_ns()
        os.kill(self._pids[middle], signal.SIGKILL)
        shown_ns = await self._until_shown(children, killed_ns)
        await self._stacks[middle].aclose()
        await self._start(middle)
        await self._until_shown(list(self._urls), time.monotonic_ns())
        return [(at_ns - killed_ns) / 1e6 for at_ns in shown_ns]

    def _middle(self) -> str:
        """Of the edges that feed others, one that is fed by an edge itself, if there is one."""
        feeding = sorted({above for above in self._parents.values() if above is not None})
        return max(feeding, key=lambda edge: (self._parents[edge] is not None, -self._depth(edge)))

    async def _until_shown(self, edges: list[str], after_ns: int) -> list[int]:
        """Wait until each edge has shown a picture that was sent after this; when it did."""
        deadline_s = time.monotonic() + WAIT_S
        found: dict[str, int] = {}
        while len(found) < len(edges):
            for edge in [edge for edge in edges if edge not in found]:
                noted = await self._arrivals(edge)
                times = [at_ns for number, at_ns in noted.shown if self._node.sent_ns.get(number, 0) > after_ns]
                if times:
                    found[edge] = min(times)
            if time.monotonic() > deadline_s:
                raise ServerFailed(f"{sorted(set(edges) - found.keys())}: no pictures for {WAIT_S:.0f} s")
            await asyncio.sleep(5 * POLL_S)
        return [found[edge] for edge in edges]

    async def _arrivals(self, edge: str) -> Arrivals:
        async with self._http.get(f"{self._urls[edge]}/arrivals") as response:
            return msgspec.json.decode(await response.read(), type=Arrivals)

    @staticmethod
    async def _until(condition: Callable[[], bool], what: str) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while not condition():
            if time.monotonic() > deadline_s:
                raise ServerFailed(f"not within {WAIT_S:.0f} s: {what}")
            await asyncio.sleep(POLL_S)
