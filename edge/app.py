"""The edge process: WHEP, probing and the trunk over HTTP, a media engine, and the line to the broker."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import aiohttp
import psutil
import structlog
from aiohttp import web
from prometheus_client import generate_latest

from broker.agent import AgentLink
from broker.departure import SignalledDeparture
from broker.protocol import (
    AUDIENCE_TRUNK,
    AgentMessage,
    BrokerMessage,
    Drain,
    DropSession,
    EdgeCapability,
    EdgeHeartbeat,
    EdgeLoad,
    EndReason,
    PutRelay,
    PutSession,
    RegisterEdge,
    TellViewers,
)
from broker.protocol.report_batch import ReportBatch
from broker.tokens import TokenRefused, TokenVerifier
from edge.engine import MediaEngine
from edge.engine_choice import AIORTC, AUTO, choose_engine
from edge.hub import StreamHub
from edge.metrics import registry
from edge.problems import problem
from edge.trunk import PeerWatch, TrunkAcceptor, TrunkPool, watch_forever
from edge.whep import CORS_HEADERS, WhepRoutes, bearer_token
from edge.whip import WhipRoutes

_log = structlog.get_logger(__name__)

MAX_PROBE_BYTES = 256 * 1024
"""Stops the bandwidth probe from being used to flood somebody."""
POLL_INTERVAL_S = 0.1
"""For keyframe requests that were held back, and for children and trunks that are to end."""
REPORT_INTERVAL_S = 1.0
SOFTWARE_VERSION = "0.1.0"


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """What an edge needs to know. `public_url` is where browsers reach it, `trunk_url` where nodes do."""

    edge: str
    region: str
    broker_url: str
    token: str
    public_url: str
    trunk_url: str
    engine: str = AUTO
    """`native`, `aiortc`, or `auto`: native where it is built."""
    max_viewers: int = 0
    """0: what the engine serves well on this machine."""
    host_addresses: tuple[str, ...] = ()
    """Addresses to offer in ICE; empty means all of the machine's but loopback."""
    announced_addresses: tuple[str, ...] = ()
    """Named in answers instead of `host_addresses` (native engine); empty: those themselves."""
    playout_delay_ms: tuple[int, int] = (0, 100)
    """Least and most a browser may hold pictures back (native engine)."""
    media_port: int = 0
    """UDP and TCP port of all viewers (native engine); 0: a free one."""
    shards: int = 0
    """Threads of the native engine; 0: one a core."""
    drain_s: float = 0.0
    """How long SIGTERM waits for the viewers to go elsewhere; 0 leaves SIGTERM to the runner."""


AIORTC_VIEWERS = 64
NATIVE_VIEWERS_A_CORE = 1000


def make_engine(hub: StreamHub, settings: EdgeSettings) -> MediaEngine:
    """The media engine these settings ask for. Raises `EngineMissing` for a native one that is not built."""
    if choose_engine(settings.engine) == AIORTC:
        from edge.aiortc_engine import AiortcEngine

        return AiortcEngine(hub, settings.host_addresses)
    from edge.native_engine import NativeEngine

    return NativeEngine(
        hub,
        settings.host_addresses,
        port=settings.media_port,
        shards=settings.shards,
        announced=settings.announced_addresses,
        playout_delay_ms=settings.playout_delay_ms,
    )


def default_viewers(engine: MediaEngine) -> int:
    """How many viewers an engine serves well on this machine, each with a stream of 2.5 Mbit/s."""
    return AIORTC_VIEWERS if engine.name == AIORTC else NATIVE_VIEWERS_A_CORE * (os.cpu_count() or 1)


class EdgeProcess:
    """The parts of a running edge."""

    def __init__(self, settings: EdgeSettings) -> None:
        self.settings = settings
        self.hub = StreamHub(time.monotonic, self._tell_broker, settings.edge)
        self.engine = make_engine(self.hub, settings)
        self.hub.engine = self.engine
        self.peers = PeerWatch(lambda sighted: self.link.mention(sighted))
        self.trunks = TrunkAcceptor(self.hub, self.peers)
        self.max_viewers = settings.max_viewers or default_viewers(self.engine)
        self.whep = WhepRoutes(self.hub, self.engine, self.max_viewers, lambda: self.verifier)
        self.whip = WhipRoutes(self.hub, self.engine, self.whep)
        self.draining = False
        self._process = psutil.Process()
        self._sent_bytes = 0
        self._egress_bps = 0.0
        self.link = AgentLink(
            settings.broker_url,
            settings.token,
            registration=self._registration,
            heartbeat=self._heartbeat,
            on_command=self._obey,
        )

    @property
    def verifier(self) -> TokenVerifier | None:
        """Verifies tokens with the key the broker named; `None` before this edge has met its broker."""
        welcome = self.link.welcome
        return None if welcome is None else _verifier(welcome.token_public_key)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with aiohttp.ClientSession() as http:
            pool = self.hub.relay.trunks = TrunkPool(self.hub.relay, http, self.peers)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self.link.run())
                    tasks.create_task(self._report_forever())
                    tasks.create_task(self._poll_forever(pool))
                    tasks.create_task(watch_forever(self.peers, lambda: [*self.trunks.heard(), *pool.heard()]))
            finally:
                await pool.close()

    async def shutdown(self) -> None:
        """Tell every viewer, then end them. Viewers of a drained edge are told nothing: they resume on another one."""
        if not self.draining:
            drops = [DropSession(session=name, reason=EndReason.SHUTDOWN) for name in self._connected()]
            await asyncio.gather(*(self.hub.drop_session(drop) for drop in drops))
        await self.engine.shutdown()

    def departure(self) -> SignalledDeparture:
        """What SIGTERM does: no new viewers, and time for those that are here."""
        return SignalledDeparture(
            self.settings.drain_s,
            link=lambda: self.link,
            idle=lambda: not self._connected(),
            draining=lambda: self.draining,
        )

    def _connected(self) -> list[str]:
        return self.hub.connected_sessions()

    def _tell_broker(self, message: AgentMessage | ReportBatch) -> None:
        if isinstance(message, ReportBatch):
            self.link.mention(message)
        else:
            self.link.tell(message)

    def _registration(self) -> RegisterEdge:
        settings = self.settings
        return RegisterEdge(
            edge=settings.edge,
            region=settings.region,
            version=SOFTWARE_VERSION,
            capability=EdgeCapability(
                engine=self.engine.name,
                max_viewers=self.max_viewers,
                takes_publishers=self.engine.takes_publishers,
            ),
            public_url=settings.public_url,
            trunk_url=settings.trunk_url,
            sessions=self._connected(),
            relays=self.hub.relay.relayed(),
        )

    def _heartbeat(self) -> EdgeHeartbeat:
        trunks = [trunk for trunk in self.trunks.connections if not self.hub.comes_from_edge(trunk)]
        rtts = {trunk.source: trunk.rtt_ms for trunk in trunks if trunk.rtt_ms is not None}
        load = EdgeLoad(
            viewers=self.hub.viewers,
            streams=self.hub.streams,
            cpu_share=self._process.cpu_percent() / 100.0,
            egress_bps=self._egress_bps,
            node_rtt_ms=rtts,
        )
        return EdgeHeartbeat(load=load)

    async def _obey(self, command: BrokerMessage) -> None:
        match command:
            case PutSession():
                self.hub.put_session(command)
            case DropSession():
                await self.hub.drop_session(command)
            case TellViewers():
                self.hub.tell_viewers(command)
            case PutRelay():
                self.hub.put_relay(command)
            case Drain():
                self.draining = not command.cancelled
            case _:
                _log.warning("command_not_for_an_edge", command=type(command).__name__)

    async def _report_forever(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(REPORT_INTERVAL_S)
            now = time.monotonic()
            self.hub.tick(now - last)
            self._measure_egress(now - last)
            last = now

    def _measure_egress(self, elapsed_s: float) -> None:
        total = int(self.engine.statistics()["sent_bytes"].sum())
        self._egress_bps = max(0, total - self._sent_bytes) * 8.0 / elapsed_s
        self._sent_bytes = total

    async def _poll_forever(self, pool: TrunkPool) -> None:
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            self.hub.poll_keyframes()
            self.hub.relay.end_leaving()
            await pool.close_idle()

    # --- HTTP ---

    async def trunk(self, request: web.Request) -> web.StreamResponse:
        """Admit a source by its trunk token and serve it."""
        token, verifier = bearer_token(request), self.verifier
        if token is None or verifier is None:
            return problem("token-missing", 401, "A trunk token is required")
        try:
            claims = verifier.verify(token, AUDIENCE_TRUNK, time.time())
        except TokenRefused as error:
            return problem(f"token-{error.reason.value.replace('_', '-')}", 401, "The trunk token is not accepted")
        if claims.edge != self.settings.edge:
            return problem("token-wrong-edge", 403, "The token is for another edge")
        return await self.trunks.serve(request, claims.sub)

    async def probe(self, request: web.Request) -> web.Response:
        """Answer a client's measurement: 204, or `?bytes=` of noise for the bandwidth estimate."""
        try:
            count = int(request.query.get("bytes", "0"))
        except ValueError:
            return problem("bad-query", 400, "bytes must be a whole number")
        if not 0 <= count <= MAX_PROBE_BYTES:
            return problem("bad-query", 400, f"bytes must be between 0 and {MAX_PROBE_BYTES}")
        headers = {"Cache-Control": "no-store"}
        if count == 0:
            return web.Response(status=204, headers=headers)
        return web.Response(body=bytes(count), content_type="application/octet-stream", headers=headers)

    async def livez(self, request: web.Request) -> web.Response:
        """Whether the process runs."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether it should get new viewers."""
        ready = self.link.connected and not self.draining
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus exposition."""
        body = generate_latest(registry(self.hub, self.whep, self.trunks))
        return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


@cache
def _verifier(public_key_pem: str) -> TokenVerifier:
    return TokenVerifier(public_key_pem)


EDGE_PROCESS = web.AppKey("edge_process", EdgeProcess)


@web.middleware
async def _cors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    if request.method == "OPTIONS":
        return web.Response(status=204, headers=CORS_HEADERS)
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = problem(error.reason.lower().replace(" ", "-"), error.status, error.reason)
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
    if not response.prepared:
        response.headers.update(CORS_HEADERS)
    return response


def create_app(settings: EdgeSettings) -> web.Application:
    """The edge as an aiohttp application; it connects to the broker when it starts."""
    edge = EdgeProcess(settings)
    app = web.Application(middlewares=[_cors], client_max_size=1024 * 1024)
    app[EDGE_PROCESS] = edge
    app.add_routes(edge.whep.routes())
    app.add_routes(edge.whip.routes())
    app.add_routes(
        [
            web.get("/trunk", edge.trunk),
            web.get("/probe", edge.probe),
            web.get("/livez", edge.livez),
            web.get("/readyz", edge.readyz),
            web.get("/metrics", edge.metrics),
        ]
    )

    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(edge.run())
        yield
        await edge.shutdown()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    app.cleanup_ctx.append(lifespan)
    if settings.drain_s:
        app.cleanup_ctx.append(edge.departure().watch_signals)
    return app
