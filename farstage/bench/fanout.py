"""`farstage bench fanout`: one stream to many viewers, and what it costs above the least that is possible.

The engine runs in a process of its own, loaded by `farstage loadtest` with full clients (ICE, DTLS, SRTP, NACK,
transport-wide feedback, receiver reports). Then a bare loop sends the same packets to as many sockets with as many
keys: AES-128-GCM and one kernel send a picture, nothing else. The ratio of both costs is what WebRTC adds.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from client_demo.headless.load.process import Summary
from client_demo.headless.load.seats import OneEndpoint
from client_demo.headless.loadtest import LoadSettings, load
from edge.engine_choice import NATIVE, native_is_built
from farstage.bench.machine import machine
from farstage.bench.server_process import started
from farstage.bench.source import encode_loop

CEILING_S = 5.0
VERIFIED_SHARE = 0.05


class FanoutSettings(msgspec.Struct, frozen=True):
    """What to measure. `cores`: how many the server may use, 0 for all."""

    viewers: int
    kbps: int
    seconds: float
    engine: str = NATIVE
    fps: int = 30
    cores: int = 0


class FanoutReport(msgspec.Struct):
    """What was measured, and where. `edge_latency_ms`: from a picture's arrival at the engine to each packet's
    arrival in the client's kernel."""

    engine: str
    viewers: int
    joined: int
    kbps: int
    fps: int
    delivered_packets: int
    lost_packets: int
    cpu_us_per_packet: float | None
    ceiling_us_per_packet: float | None
    ratio_to_ceiling: float | None
    packets_a_picture: float | None
    edge_latency_ms: Summary | None
    bytes_per_viewer: int | None
    warnings: list[str]
    machine: dict[str, Any]


async def measure(settings: FanoutSettings, progress: Callable[[str], None]) -> FanoutReport:
    """Run the engine, then the ceiling. Raises `ServerFailed`, `LoadError`."""
    arguments = ("--engine", settings.engine, "--kbps", str(settings.kbps), "--fps", str(settings.fps))
    progress(f"{settings.engine}: {settings.viewers} viewers at {settings.kbps} kbit/s for {settings.seconds:.0f} s")
    module = "farstage.bench.engine_server"
    async with started(settings.engine, module, *arguments, "--cores", str(settings.cores)) as server:
        assert server.pid is not None
        load_settings = LoadSettings(
            viewers=settings.viewers, seconds=settings.seconds, verify=VERIFIED_SHARE, pids=(server.pid,)
        )
        loaded = await load(load_settings, OneEndpoint(server.url))
    cost = loaded.server.cpu_us_per_packet if loaded.server else None
    ceiling_us = sizes_mean = None
    if native_is_built():
        progress("the ceiling: encrypt and send the same packets, nothing else")
        ceiling_us, sizes_mean = await asyncio.to_thread(_ceiling, settings)
    return FanoutReport(
        engine=settings.engine,
        viewers=settings.viewers,
        joined=loaded.joined,
        kbps=settings.kbps,
        fps=settings.fps,
        delivered_packets=loaded.delivered_packets,
        lost_packets=loaded.lost_packets,
        cpu_us_per_packet=cost,
        ceiling_us_per_packet=ceiling_us,
        ratio_to_ceiling=round(cost / ceiling_us, 2) if cost and ceiling_us else None,
        packets_a_picture=sizes_mean,
        edge_latency_ms=loaded.capture_to_arrival_ms,
        bytes_per_viewer=loaded.server.rss_bytes_per_viewer if loaded.server else None,
        warnings=list(loaded.warnings),
        machine=machine(),
    )


def _ceiling(settings: FanoutSettings) -> tuple[float, float]:
    """Microseconds of CPU a packet, and packets a picture."""
    from edge._native import measure_ceiling, packet_sizes

    loop = encode_loop(settings.kbps * 1000, settings.fps)
    pictures = [packet_sizes("H264", payload) for payload in loop.payloads]
    packets, _, cpu_s = measure_ceiling(
        viewers=settings.viewers,
        pictures=pictures,
        fps=settings.fps,
        seconds=min(settings.seconds, CEILING_S),
        local="127.0.0.1",
        crypto_only=False,
    )
    return round(cpu_s * 1e6 / packets, 3), round(sum(map(len, pictures)) / len(pictures), 1)
