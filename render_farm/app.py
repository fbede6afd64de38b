"""The node process: a small HTTP rim for operators around `RenderNode`."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.agent import AgentFailed
from broker.departure import SignalledDeparture
from render_farm import capability
from render_farm.encoder.interface import EncoderError
from render_farm.node import NodeSettings, RenderNode
from render_farm.renderer.cpu import CpuRenderer
from render_farm.renderer.interface import Renderer, RenderError, RendererSettings
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import SceneError

_log = structlog.get_logger(__name__)

SWITCH_INTERVAL_S = 0.0005
"""How long a thread keeps Python's lock while another waits: with the default of 5 ms a finished picture would wait for
the next one's drawing before it leaves."""


@dataclass(frozen=True, slots=True)
class NodeProcessSettings:
    """What the process needs beyond `NodeSettings`.

    `renderer`: `cpu`, `wgpu`, or `auto` for wgpu on a GPU and cpu elsewhere. `barcode`: `auto` stamps with the CPU
    renderer only, `always`, `never`. `promised_units` is what the node promises; 0 promises what it measured.
    `drain_s` is how long SIGTERM waits for the views to go elsewhere; 0 leaves SIGTERM to the runner.
    """

    node: str
    region: str
    broker_url: str
    token: str
    renderer: str = "auto"
    barcode: str = "auto"
    scene_dirs: tuple[Path, ...] = ()
    promised_units: float = 0.0
    drain_s: float = 0.0


def open_renderer(kind: str) -> Renderer:
    """The renderer called `kind`. Raises `RenderError` naming what is missing."""
    settings = RendererSettings()
    if kind == "cpu":
        return CpuRenderer(settings)
    from render_farm.renderer.wgpu_renderer import WgpuRenderer

    if kind == "wgpu":
        return WgpuRenderer.create(settings)
    try:
        found = WgpuRenderer.create(settings)
    except RenderError as error:
        _log.info("no_gpu", reason=str(error))
        return CpuRenderer(settings)
    if "llvmpipe" not in found.device.lower():
        return found
    found.close()
    return CpuRenderer(settings)


class _NodeCollector(Collector):
    def __init__(self, node: RenderNode) -> None:
        self._node = node

    def collect(self) -> Iterable[Metric]:
        statistics = self._node.loop.statistics
        yield GaugeMetricFamily("farstage_node_views", "Views held", len(self._node.loop.views))
        watched = sum(live.watched for live in self._node.loop.views.values())
        yield GaugeMetricFamily("farstage_node_views_watched", "Views being drawn", watched)
        yield GaugeMetricFamily("farstage_node_worlds", "Worlds hosted", len(self._node.worlds))
        yield GaugeMetricFamily("farstage_node_units", "Units promised", self._node.capability.units)
        yield CounterMetricFamily("farstage_node_frames", "Frames encoded and sent", statistics.frames)
        yield CounterMetricFamily("farstage_node_frames_dropped", "Frames not drawn in time", statistics.frames_dropped)
        audio = self._node.audio.statistics
        yield CounterMetricFamily("farstage_node_sounds", "Mixes of 20 ms encoded and sent", audio.sounds)
        yield CounterMetricFamily("farstage_node_beats_left_out", "Mixes not made in time", audio.beats_left_out)
        malformed = self._node.messages_malformed
        yield CounterMetricFamily("farstage_node_messages_malformed", "Messages that could not be read", malformed)


class NodeProcess:
    """Starts the renderer, measures the machine, then runs the node."""

    def __init__(self, settings: NodeProcessSettings) -> None:
        self.settings = settings
        self.node: RenderNode | None = None

    async def run(self) -> None:
        """Work until cancelled."""
        settings = self.settings
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        renderer = await asyncio.to_thread(open_renderer, settings.renderer)
        library = SceneLibrary(settings.scene_dirs)
        measured = await capability.measure(renderer, library)
        if settings.promised_units:
            measured = capability.promising(measured, settings.promised_units)
        stamped = settings.barcode == "always" or (settings.barcode == "auto" and renderer.name == "cpu")
        node_settings = NodeSettings(settings.node, settings.region, settings.broker_url, settings.token, stamped)
        self.node = RenderNode(node_settings, renderer, library, measured)
        await self.node.run()

    def departure(self) -> SignalledDeparture:
        """What SIGTERM does: the views go elsewhere first."""
        return SignalledDeparture(
            self.settings.drain_s,
            link=lambda: self.node.link if self.node is not None else None,
            idle=lambda: self.node is None or not self.node.loop.views,
            draining=lambda: self.node is not None and self.node.draining,
        )

    async def livez(self, request: web.Request) -> web.Response:
        """Whether the process runs."""
        return web.Response(text="ok\n")

    async def readyz(self, request: web.Request) -> web.Response:
        """Whether it should get new views."""
        ready = self.node is not None and self.node.link.connected and not self.node.draining
        return web.Response(text="ready\n" if ready else "not ready\n", status=200 if ready else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """Prometheus exposition."""
        registry = CollectorRegistry()
        if self.node is not None:
            registry.register(_NodeCollector(self.node))
        return web.Response(
            body=generate_latest(registry), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


NODE_PROCESS = web.AppKey("node_process", NodeProcess)


def create_app(settings: NodeProcessSettings) -> web.Application:
    """The node as an aiohttp application. If it fails for good it stops, and its clean-up raises `AgentFailed`."""
    process = NodeProcess(settings)
    app = web.Application()
    app[NODE_PROCESS] = process
    app.add_routes(
        [web.get("/livez", process.livez), web.get("/readyz", process.readyz), web.get("/metrics", process.metrics)]
    )

    async def lifespan(_: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(process.run())
        task.add_done_callback(_stop_process_if_failed)
        yield
        task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if isinstance(outcome, Exception):
            raise AgentFailed(f"the node cannot work: {outcome}") from outcome

    app.cleanup_ctx.append(lifespan)
    if settings.drain_s:
        app.cleanup_ctx.append(process.departure().watch_signals)
    return app


def _stop_process_if_failed(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        expected = isinstance(error, SceneError | RenderError | EncoderError)
        _log.error("node_failed", error=str(error), exc_info=None if expected else error)
        os.kill(os.getpid(), signal.SIGINT)
