"""A real edge in a process of its own, for `farstage bench failover`, that notes when each stream's node changed.

python -m farstage.bench.failover_edge --id edge-1 --port 8081 --broker-url URL --token TOKEN

`GET /switches` tells, for each stream, whose pictures it shows (the number that the node writes into them) and when the
first of these was handed to the media engine.
"""

import argparse
import asyncio
import time

import msgspec
from aiohttp import web

from edge.app import EDGE_PROCESS, EdgeSettings, create_app
from edge.hub import StreamHub
from edge.trunk import Frame
from farstage.bench.child_process import listening, run


class Shown(msgspec.Struct, array_like=True):
    """Whose pictures a stream shows, and since when, in nanoseconds of the machine's monotonic clock."""

    number: int
    since_ns: int
    last_ns: int


Switches = dict[str, Shown]
"""By stream."""


class Notebook:
    """Listens in on a hub."""

    def __init__(self, hub: StreamHub) -> None:
        self._shown: Switches = {}
        self._on_shown = hub.relay.shown
        hub.relay.shown = self._show  # type: ignore[method-assign]

    def _show(self, stream: str, frame: Frame, timestamp: int) -> None:
        now_ns, entry = time.monotonic_ns(), self._shown.get(stream)
        if entry is None or entry.number != frame.input_sequence:
            self._shown[stream] = Shown(frame.input_sequence, now_ns, now_ns)
        else:
            entry.last_ns = now_ns
        self._on_shown(stream, frame, timestamp)

    async def switches(self, request: web.Request) -> web.Response:
        """What has been noted."""
        return web.Response(body=msgspec.json.encode(self._shown), content_type="application/json")


async def _serve(options: argparse.Namespace) -> None:
    settings = EdgeSettings(
        edge=options.id,
        region="local",
        broker_url=options.broker_url,
        token=options.token,
        public_url=f"http://127.0.0.1:{options.port}",
        trunk_url=f"ws://127.0.0.1:{options.port}/trunk",
        host_addresses=("127.0.0.1",),
        max_viewers=60_000,
        shards=1,
    )
    app = create_app(settings)
    app.router.add_get("/switches", Notebook(app[EDGE_PROCESS].hub).switches)
    async with listening(app, options.port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    run(__doc__, "edge", _serve)
