"""Runs the load generator, `farstage loadtest`, against one server and reads what it reports."""

import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.contestants import Server
from farstage.bench.process_usage import ProcessUsage

LOADTEST = f"{shlex.quote(sys.executable)} -m farstage loadtest"
SAMPLE_S = 0.25
SLACK_S = 90.0
"""What joining and leaving may take besides the measured time."""


class LoadFailed(Exception):
    """The load generator ended without a report; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Load:
    """`verify`: the share of viewers that decrypt and check each packet. `command`: the generator."""

    seconds: float
    verify: float = 0.05
    command: str = LOADTEST


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one server did under the load; counts are of the measured time. `None`: not known."""

    viewers: int
    joined: int
    delivered_packets: int
    lost_packets: int
    cpu_us_per_packet: float | None
    rss_bytes_per_viewer: float | None
    first_frame_p95_ms: float | None


async def put_under_load(server: Server, viewers: int, load: Load) -> Outcome:
    """Run the load generator to its end. Raises `LoadFailed`."""
    arguments = ["--whep", server.url, "--viewers", str(viewers), "--seconds", str(load.seconds)]
    arguments += ["--verify", str(load.verify), "--json"]
    if server.pid is not None:
        arguments += ["--pid", str(server.pid)]
    async with _memory(server.pid) as memory:
        report = await _report([*shlex.split(load.command), *arguments], load.seconds + SLACK_S)
    return _outcome(viewers, report, memory)


async def _report(command: list[str], limit_s: float) -> dict[str, Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    try:
        said, errors = await asyncio.wait_for(process.communicate(), limit_s)
    except TimeoutError as error:
        raise LoadFailed(f"the load generator did not end within {limit_s:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        report: dict[str, Any] = json.loads(said)
    except json.JSONDecodeError as error:
        raise LoadFailed(f"the load generator gave no report: {_last_words(errors)}") from error
    return report


def _last_words(said: bytes) -> str:
    """The last line with a word in it: a framed message ends with its frame."""
    lines = [line.strip(" │|") for line in said.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if any(map(str.isalnum, line))), "it said nothing")


def _outcome(viewers: int, report: dict[str, Any], memory: "_Memory") -> Outcome:
    delivered, joined = int(report["delivered_packets"]), int(report["joined"])
    cpu_s = (report.get("server") or {}).get("cpu_s")
    return Outcome(
        viewers=viewers,
        joined=joined,
        delivered_packets=delivered,
        lost_packets=int(report["lost_packets"]),
        cpu_us_per_packet=cpu_s * 1e6 / delivered if cpu_s is not None and delivered else None,
        rss_bytes_per_viewer=memory.grown_bytes / joined if memory.grown_bytes is not None and joined else None,
        first_frame_p95_ms=(report.get("first_frame_ms") or {}).get("p95"),
    )


@dataclass(slots=True)
class _Memory:
    """By how much the server's memory has grown since before the load, at most."""

    grown_bytes: int | None = None


@asynccontextmanager
async def _memory(pid: int | None) -> AsyncIterator[_Memory]:
    memory = _Memory()
    if pid is None:
        yield memory
        return
    usage = ProcessUsage(pid)
    before_bytes, memory.grown_bytes = usage.rss_bytes(), 0

    async def watch() -> None:
        while True:
            await asyncio.sleep(SAMPLE_S)
            memory.grown_bytes = max(memory.grown_bytes or 0, usage.rss_bytes() - before_bytes)

    watching = asyncio.create_task(watch())
    try:
        yield memory
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
