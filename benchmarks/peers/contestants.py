"""The servers that are compared, and how each is started: processes that print their URL when they are ready."""

from argparse import ArgumentTypeError
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from farstage.bench.server_process import Server, ServerFailed, started

__all__ = ["CONTESTANTS", "Contestant", "Server", "ServerFailed", "foreign", "running"]


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


NATIVE = Contestant("native", ("farstage.bench.engine_server", "--engine", "native"))
AIORTC = Contestant("aiortc", ("farstage.bench.engine_server", "--engine", "aiortc"), 100_000)
JANUS = Contestant("janus", ("benchmarks.peers.janus",), 750_000)
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
    async with started(contestant.name, module, *arguments, "--kbps", str(kbps), "--fps", str(fps)) as server:
        yield server
