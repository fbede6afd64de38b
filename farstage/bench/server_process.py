"""A WHEP server in a process of its own: started, waited for, ended."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

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


@asynccontextmanager
async def started(name: str, module: str, *arguments: str) -> AsyncIterator[Server]:
    """Run a module that prints a JSON line with `url` and `pid` when it serves. Raises `ServerFailed`."""
    with tempfile.TemporaryFile() as said:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, stderr=said
        )
        try:
            yield await _ready(name, process, said)
        finally:
            await end(process)


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


async def end(process: asyncio.subprocess.Process, stop_s: float = STOP_S) -> None:
    """Ask a process to end, and make it end after `stop_s`."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), stop_s)
    except TimeoutError:
        process.kill()
        await process.wait()
