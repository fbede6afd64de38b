"""Runs the load generator, `farstage loadtest`, against one server and reads what it reports."""

import asyncio
import json
import shlex
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.peers.contestants import Server

LOADTEST = f"{shlex.quote(sys.executable)} -m farstage loadtest"
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
    report = await _report([*shlex.split(load.command), *arguments], load.seconds + SLACK_S)
    return _outcome(viewers, report)


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


def _outcome(viewers: int, report: dict[str, Any]) -> Outcome:
    server = report.get("server") or {}
    return Outcome(
        viewers=viewers,
        joined=int(report["joined"]),
        delivered_packets=int(report["delivered_packets"]),
        lost_packets=int(report["lost_packets"]),
        cpu_us_per_packet=server.get("cpu_us_per_packet"),
        rss_bytes_per_viewer=server.get("rss_bytes_per_viewer"),
        first_frame_p95_ms=(report.get("first_frame_ms") or {}).get("p95"),
    )
