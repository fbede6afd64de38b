"""`farstage bench latency`: how soon an input shows, at the edge's socket and in a viewer's picture.

A farm of its own is started on free ports. One viewer sends input at a rate that is no multiple of the frame rate, so
that inputs fall anywhere between two pictures. The edge itself times input to first packet; the viewer reads the
barcode of the decoded picture.
"""

import asyncio
import math
import os
import platform
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from broker.protocol import Codec, JoinRequest, Mode, RoomCreate, VideoCapability, Viewport
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer, Reception
from client_demo.headless.watch import Percentiles
from farstage import config as configuration
from farstage.config import Config
from farstage.farm import Farm, FarmSettings
from farstage.up import reachable

INPUT_INTERVAL_S = 0.0437
WARM_UP_S = 2.0


class LatencySettings(msgspec.Struct, frozen=True):
    """What to measure."""

    seconds: float
    width: int
    height: int
    fps: int
    renderer: str


class LatencyReport(msgspec.Struct):
    """What was measured, and where."""

    width: int
    height: int
    fps_wanted: int
    fps: float
    renderer: str
    inputs: int
    frames: int
    frames_lost: int
    crc_failures: int
    input_to_packet_ms: Percentiles | None
    input_to_photon_ms: Percentiles | None
    machine: str


async def measure(settings: LatencySettings, progress: Callable[[str], None]) -> LatencyReport:
    """Start a farm, measure, stop it. Raises `FarmError` or `Refused`."""
    with tempfile.TemporaryDirectory(prefix="farstage-bench-") as folder:
        async with Farm(FarmSettings(farm_config(settings), Path(folder), progress=progress)) as farm:
            progress("measuring")
            return await _measure(settings, farm)


def farm_config(settings: LatencySettings) -> Config:
    """A configuration on free ports, with the wanted picture allowed."""
    broker, edge, node = free_ports(3)
    flags = [
        f"broker.port={broker}",
        f"edge.port={edge}",
        f"node.port={node}",
        f"node.renderer={settings.renderer}",
        "node.barcode=always",
        "node.units=64",
        f"broker.max_fps={settings.fps}",
        f"broker.max_long_side={max(settings.width, settings.height)}",
        "log.level=warning",
    ]
    return reachable(configuration.load(environment={}, flags=flags))


def free_ports(count: int) -> list[int]:
    """TCP ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for entry in sockets:
            entry.bind(("127.0.0.1", 0))
        return [int(entry.getsockname()[1]) for entry in sockets]
    finally:
        for entry in sockets:
            entry.close()


async def _measure(settings: LatencySettings, farm: Farm) -> LatencyReport:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="bench", mode=Mode.EXPLORE, open=True))
        request = JoinRequest(
            display_name="bench",
            codecs=[VideoCapability(codec=Codec.H264, profiles=["42e0"])],
            viewport=Viewport(width=settings.width, height=settings.height, max_fps=settings.fps),
        )
        grant = await client.join("bench", request)
        async with HeadlessViewer(client, grant) as viewer:
            await asyncio.wait_for(viewer.frame_arrived.wait(), 15.0)
            await _move(viewer, WARM_UP_S)
            viewer.reception = Reception(last_frame_number=viewer.reception.last_frame_number)
            await _move(viewer, settings.seconds)
            seen = viewer.reception
        return LatencyReport(
            width=seen.width,
            height=seen.height,
            fps_wanted=settings.fps,
            fps=round(seen.frames / settings.seconds, 1),
            renderer=settings.renderer,
            inputs=len(seen.input_to_photon_ms),
            frames=seen.frames,
            frames_lost=seen.frames_lost,
            crc_failures=seen.crc_failures,
            input_to_packet_ms=await _input_to_packet(farm),
            input_to_photon_ms=Percentiles.of(seen.input_to_photon_ms),
            machine=f"{platform.machine()}, {os.cpu_count()} cores",
        )


async def _move(viewer: HeadlessViewer, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        viewer.send_input(yaw=0.4 * math.sin(loop.time()))
        await asyncio.sleep(INPUT_INTERVAL_S)


async def _input_to_packet(farm: Farm) -> Percentiles | None:
    async with aiohttp.ClientSession() as http, http.get(f"{farm.edge_url}/metrics") as response:
        exposition = await response.text()
    quantiles = {
        sample.labels["quantile"]: round(sample.value, 2)
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
        if sample.name == "farstage_edge_input_to_packet_ms"
    }
    return Percentiles(quantiles["0.5"], quantiles["0.95"], quantiles["0.99"]) if quantiles else None
