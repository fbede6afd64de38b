"""`farstage watch`: look at a room for a while and say what was seen."""

import asyncio
import math
import time
from collections.abc import Callable

import msgspec
import numpy as np

from broker.protocol import Codec, EndReason, JoinRequest, Probe, VideoCapability, Viewport
from client_demo.headless.api import BrokerClient
from client_demo.headless.probe import measure
from client_demo.headless.viewer import HeadlessViewer, Reception

INPUT_INTERVAL_S = 0.1
SETTLE_S = 1.0
"""Joining and the first keyframe are not part of what is measured."""


class Percentiles(msgspec.Struct):
    """A distribution in short; milliseconds."""

    p50: float
    p95: float
    p99: float

    @staticmethod
    def of(samples: list[float]) -> "Percentiles | None":
        """Percentiles of the samples, `None` without any."""
        if not samples:
            return None
        return Percentiles(*(round(float(value), 2) for value in np.percentile(samples, (50, 95, 99))))


class WatchReport(msgspec.Struct):
    """What `watch` prints. `barcodes` counts pictures with a readable barcode, `crc_failures` those whose is not.

    `crc_failures` is `None` if no picture had one: the node stamps none. `ended` says why the session was over early.
    """

    room: str
    seconds: float
    frames: int
    frames_lost: int
    crc_failures: int | None
    barcodes: int
    fps: float
    bitrate_bps: int
    width: int
    height: int
    longest_gap_ms: float
    time_to_first_frame_ms: float
    input_to_photon_ms: Percentiles | None
    ended: EndReason | None


class WatchSettings(msgspec.Struct, frozen=True):
    """What to watch. Without a `token` the room must be open."""

    broker_url: str
    room: str
    seconds: float
    token: str = ""
    name: str = "farstage watch"
    width: int = 1280
    height: int = 720
    max_fps: int = 30


async def watch(settings: WatchSettings, progress: Callable[[Reception], None] = lambda _: None) -> WatchReport:
    """Join, watch for `seconds` while sending input ten times a second, leave. Raises `Refused`, `TimeoutError`."""
    async with BrokerClient(settings.broker_url) as client:
        begun = time.perf_counter()
        grant = await client.join(settings.room, await _join_request(client, settings), settings.token)
        try:
            async with HeadlessViewer(client, grant) as viewer:
                await asyncio.wait_for(viewer.frame_arrived.wait(), 15.0)
                first_frame_ms = (time.perf_counter() - begun) * 1000.0
                await _move_for(viewer, SETTLE_S, lambda _: None)
                viewer.reception = Reception(last_frame_number=viewer.reception.last_frame_number)
                started = time.perf_counter()
                await _move_for(viewer, settings.seconds, progress)
                return _report(settings, viewer, time.perf_counter() - started, first_frame_ms)
        finally:
            await client.leave(grant)


async def _join_request(client: BrokerClient, settings: WatchSettings) -> JoinRequest:
    targets = await client.probe_targets()
    probes: list[Probe] = [await measure(target) for target in targets.targets[:4]]
    return JoinRequest(
        display_name=settings.name,
        probes=probes,
        codecs=[VideoCapability(codec=Codec.H264, profiles=["42e0"])],
        viewport=Viewport(width=settings.width, height=settings.height, max_fps=settings.max_fps),
    )


async def _move_for(viewer: HeadlessViewer, seconds: float, progress: Callable[[Reception], None]) -> None:
    """Look left and right for `seconds`, or until the session is over."""
    end = time.perf_counter() + seconds
    while (now := time.perf_counter()) < end and viewer.ended is None:
        viewer.send_input(yaw=0.4 * math.sin(now))
        progress(viewer.reception)
        await asyncio.sleep(min(INPUT_INTERVAL_S, max(0.0, end - now)))


def _report(settings: WatchSettings, viewer: HeadlessViewer, seconds: float, first_frame_ms: float) -> WatchReport:
    seen = viewer.reception
    return WatchReport(
        room=settings.room,
        seconds=round(seconds, 2),
        frames=seen.frames,
        frames_lost=seen.frames_lost,
        crc_failures=seen.crc_failures if seen.barcodes else None,
        barcodes=seen.barcodes,
        fps=round(seen.frames / max(seconds, 1e-3), 2),
        bitrate_bps=round(seen.bytes_received * 8 / max(seconds, 1e-3)),
        width=seen.width,
        height=seen.height,
        longest_gap_ms=round(seen.longest_gap_s * 1000.0, 1),
        time_to_first_frame_ms=round(first_frame_ms, 1),
        input_to_photon_ms=Percentiles.of(seen.input_to_photon_ms),
        ended=viewer.ended,
    )
