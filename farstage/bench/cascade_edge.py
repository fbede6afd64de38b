"""A real edge in a process of its own, for `farstage bench cascade`, that notes when each picture came and was shown.

python -m farstage.bench.cascade_edge --id edge-1 --port 8081 --broker-url URL --token TOKEN

Prints one JSON line with its URL and process id when it listens. `GET /arrivals` tells what it has noted; pictures are
known by the input number they bear, which every edge passes on unchanged.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import deque

import msgspec
from aiohttp import web

from edge.app import EDGE_PROCESS, EdgeSettings, create_app
from edge.hub import StreamHub
from edge.trunk import Frame, TrunkConnection
from farstage.bench.child_process import listening, run

KEPT = 100_000


class Arrivals(msgspec.Struct):
    """Pictures by number, with nanoseconds of the machine's monotonic clock: each first arrival; each picture shown."""

    arrived: list[tuple[int, int]]
    shown: list[tuple[int, int]]


class Notebook:
    """Listens in on a hub."""

    def __init__(self, hub: StreamHub) -> None:
        self._arrived: dict[int, int] = {}
        self._shown: deque[tuple[int, int]] = deque(maxlen=KEPT)
        self._on_frame, self._on_shown = hub.on_frame, hub.relay.shown
        hub.on_frame = self._frame  # type: ignore[method-assign]
        hub.relay.shown = self._show  # type: ignore[method-assign]

    def _frame(self, connection: TrunkConnection, frame: Frame) -> None:
        if len(self._arrived) < KEPT:
            self._arrived.setdefault(frame.input_sequence, time.monotonic_ns())
        self._on_frame(connection, frame)

    def _show(self, stream: str, frame: Frame, timestamp: int) -> None:
        self._shown.append((frame.input_sequence, time.monotonic_ns()))
        self._on_shown(stream, frame, timestamp)

    async def arrivals(self, request: web.Request) -> web.Response:
        """What has been noted."""
        noted = Arrivals(list(self._arrived.items()), list(self._shown))
        return web.Response(body=msgspec.json.encode(noted), content_type="application/json")


async def _serve(options: argparse.Namespace) -> None:
    url = f"http://127.0.0.1:{options.port}"
    settings = EdgeSettings(
        edge=options.id,
        region="local",
        broker_url=options.broker_url,
        token=options.token,
        public_url=url,
        trunk_url=f"ws://127.0.0.1:{options.port}/trunk",
        host_addresses=("127.0.0.1",),
    )
    app = create_app(settings)
    notebook = Notebook(app[EDGE_PROCESS].hub)
    app.router.add_get("/arrivals", notebook.arrivals)
    async with listening(app, options.port):
        sys.stdout.write(json.dumps({"url": url, "pid": os.getpid()}) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(__doc__, "edge", _serve)
