"""The servers that are compared, and how each is started: processes that print their URL when they are ready."""

import asyncio
import json
import sys
import tempfile
from argparse import ArgumentTypeError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO
from urllib.parse import urlsplit

READY_S = 60.0
"""Encoding the stream takes some seconds, starting the server the rest."""
STOP_S = 20.0


class ServerFailed(Exception):
    """A server did not come up; the message has what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running WHEP server. Without `pid` its CPU and memory are not known."""

    url: str
    pid: int | None


@dataclass(frozen=True, slots=True)
class Contestant:
    """One kind of server. `most_kbps`: what it can send in all, beside the load generator on two cores."""

    name: str
    command: tuple[str, ...]
    most_kbps: int | None = None
    server: Server | None = None
    """One that runs already, and is not started."""

    def viewers(self, asked: int, kbps: int) -> int:
        """How many of the viewers asked for it is given."""
        return asked if self.most_kbps is None else max(1, min(asked, self.most_kbps // kbps))


NATIVE = Contestant("native", ("engine_server", "--engine", "native"))
AIORTC = Contestant("aiortc", ("engine_server", "--engine", "aiortc"), 100_000)
JANUS = Contestant("janus", ("janus",), 750_000)
CONTESTANTS = {contestant.name: contestant for contestant in (NATIVE, AIORTC, JANUS)}


def foreign(target: str) -> Contestant:
    """A server of somebody else's, from `URL` or `URL,pid`. Raises `ArgumentTypeError`."""
    url, _, pid = target.partition(",")
    if urlsplit(url).scheme not in ("http", "https") or not (pid.isdigit() or not pid):
        raise ArgumentTypeError(f"{target!r} is not the URL of a WHEP server, with its process id after a comma")
    return Contestant(urlsplit(url).netloc, (), server=Server(url, int(pid) if pid else None))


@asynccontextmanager
async def running(contestant: Contestant, kbps: int, fps: int) -> AsyncIterator[Server]:
    """Start a contestant, with the stream playing; ended on leaving. Raises `ServerFailed`."""
    if contestant.server is not None:
        yield contestant.server
        return
    module, *arguments = contestant.command
    command = (sys.executable, "-m", f"benchmarks.peers.{module}", *arguments)
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            *command, *("--kbps", str(kbps), "--fps", str(fps)), stdout=asyncio.subprocess.PIPE, stderr=said
        )
        try:
            yield await _ready(contestant.name, process, said)
        finally:
            await _end(process)


async def _ready(name: str, process: asyncio.subprocess.Process, said: BinaryIO) -> Server:
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
    except TimeoutError as error:
        raise ServerFailed(f"{name} was not ready within {READY_S:.0f} s") from error
    if not line:
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
        raise ServerFailed(f"{name} did not start: {lines[-1] if lines else 'it said nothing'}")
    ready = json.loads(line)
    return Server(ready["url"], ready["pid"])


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_S)
    except TimeoutError:
        process.kill()
        await process.wait()
