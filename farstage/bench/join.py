"""`farstage bench join`: everybody comes at once, to an engine on one core."""

from collections.abc import Callable
from typing import Any

import msgspec

from client_demo.headless.load.process import Summary
from client_demo.headless.load.seats import OneEndpoint
from client_demo.headless.loadtest import LoadSettings, load
from edge.engine_choice import NATIVE
from farstage.bench.machine import machine
from farstage.bench.server_process import started

HOLD_S = 2.0


class JoinSettings(msgspec.Struct, frozen=True):
    """What to measure."""

    viewers: int
    kbps: int = 2500
    engine: str = NATIVE
    cores: int = 1


class JoinReport(msgspec.Struct):
    """What was measured, and where.

    `seconds`: from the first offer to the last viewer connected. `join_ms`: each viewer's, offer to DTLS.
    `first_frame_ms`: DTLS to the first picture. `cpu_ms_per_join`: of the server, HTTP included.
    """

    engine: str
    viewers: int
    joined: int
    failures: dict[str, int]
    seconds: float
    join_ms: Summary | None
    first_frame_ms: Summary | None
    cpu_ms_per_join: float | None
    cores: int
    machine: dict[str, Any]


async def measure(settings: JoinSettings, progress: Callable[[str], None]) -> JoinReport:
    """Run it. Raises `ServerFailed`, `LoadError`."""
    arguments = ("--engine", settings.engine, "--kbps", str(settings.kbps), "--cores", str(settings.cores))
    progress(f"{settings.engine} on {settings.cores} core(s): {settings.viewers} viewers join at once")
    async with started(settings.engine, "farstage.bench.engine_server", *arguments) as server:
        assert server.pid is not None
        loaded = await load(
            LoadSettings(viewers=settings.viewers, seconds=HOLD_S, pids=(server.pid,)), OneEndpoint(server.url)
        )
    return JoinReport(
        engine=settings.engine,
        viewers=settings.viewers,
        joined=loaded.joined,
        failures=loaded.failures,
        seconds=loaded.join_seconds,
        join_ms=loaded.join_ms,
        first_frame_ms=loaded.first_frame_ms,
        cpu_ms_per_join=loaded.server.join_cpu_ms_per_viewer if loaded.server else None,
        cores=settings.cores,
        machine=machine(),
    )
