"""A node that renders nothing and draws as many views as it is given, in a process of its own.

python -m farstage.bench.many_views_node --id node-1 --number 1 --port 8082 --broker-url URL --token TOKEN

It speaks the real control and trunk protocols and plays a small encoded loop into every view, each beginning with a
keyframe as soon as an edge has accepted it. Pictures bear `--number` as the input shown, so that an edge can tell whose
picture it shows. `GET /readyz` answers 200 while the broker is connected.
"""

import argparse
import asyncio
import time
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from broker.agent import AgentLink
from broker.protocol import (
    BrokerMessage,
    Codec,
    DropView,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    PutView,
    RegisterNode,
    ViewHolding,
    ViewStarted,
)
from edge.trunk import (
    Flag,
    OutgoingStream,
    PeerWatch,
    StreamFeedback,
    StreamOpen,
    TrunkPool,
    ViewerInput,
    ViewerPresence,
    watch_forever,
)
from farstage.bench.child_process import listening, run
from farstage.bench.source import encode_loop

FPS = 5
"""Few enough for a thousand views on a core in Python; a new view begins at once, whatever the rate."""
KBPS = 20
WIDTH, HEIGHT = 160, 96
SLOTS = 10
"""Views are spread over this many instants of a picture's time, so that the load is even."""


@dataclass(slots=True, eq=False)
class _View:
    put: PutView
    slot: int
    streams: dict[str, OutgoingStream]
    next_picture: int = 0
    started: bool = False


class ManyViewsNode:
    """The node; `SourceHandler` of its trunks."""

    def __init__(self, name: str, number: int, broker_url: str, token: str) -> None:
        self._name, self._number = name, number
        self._pictures = encode_loop(KBPS * 1000, FPS, seconds=4.0, width=WIDTH, height=HEIGHT).payloads
        self._views: dict[str, _View] = {}
        self._by_stream: dict[OutgoingStream, _View] = {}
        self._trunks: TrunkPool
        self.link = AgentLink(
            broker_url,
            token,
            registration=self._registration,
            heartbeat=lambda: NodeHeartbeat(load=NodeLoad(views=len(self._views))),
            on_command=self._obey,
        )

    async def run(self) -> None:
        """Play until cancelled."""
        async with aiohttp.ClientSession() as http:
            watch = PeerWatch(self.link.mention)
            self._trunks = TrunkPool(self, http, watch)
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self.link.run())
                    tasks.create_task(self._play())
                    tasks.create_task(watch_forever(watch, self._trunks.heard))
            finally:
                await self._trunks.close()

    def _registration(self) -> RegisterNode:
        capability = NodeCapability(
            renderer="synthetic", device="none", units=100_000.0, codecs=[Codec.H264], scenes=["campus"]
        )
        views = [ViewHolding(view=name, fence=view.put.fence) for name, view in self._views.items()]
        return RegisterNode(node=self._name, region="local", version="0", capability=capability, views=views)

    async def _obey(self, command: BrokerMessage) -> None:
        match command:
            case PutView():
                self._put_view(command)
            case DropView():
                view = self._views.get(command.view)
                if view is not None and view.put.fence <= command.fence:
                    self._end(view)

    def _put_view(self, put: PutView) -> None:
        view = self._views.get(put.view)
        if view is not None and view.put.fence > put.fence:
            return
        if view is None or view.put.fence < put.fence:
            if view is not None:
                self._end(view)
            view = self._views[put.view] = _View(put, len(self._views) % SLOTS, {})
        view.put = put
        targets = {target.edge: target for target in put.targets}
        for edge in view.streams.keys() - targets.keys():
            self._close(view, edge)
        for edge, target in targets.items():
            if edge not in view.streams:
                description = StreamOpen(
                    stream=put.stream, fence=put.fence, codec=put.codec, width=WIDTH, height=HEIGHT, fps=FPS
                )
                view.streams[edge] = stream = self._trunks.open(target, description)
                self._by_stream[stream] = view

    def _end(self, view: _View) -> None:
        for edge in list(view.streams):
            self._close(view, edge)
        self._views.pop(view.put.view, None)

    def _close(self, view: _View, edge: str) -> None:
        stream = view.streams.pop(edge)
        self._by_stream.pop(stream, None)
        stream.close("no longer wanted")

    async def _play(self) -> None:
        beat, began = 0, time.monotonic()
        while True:
            for view in list(self._views.values()):
                if view.slot == beat % SLOTS:
                    self._send(view)
            beat += 1
            await asyncio.sleep(max(0.0, began + beat / (FPS * SLOTS) - time.monotonic()))

    def _send(self, view: _View) -> None:
        index = view.next_picture
        taken = False
        for stream in view.streams.values():
            taken |= stream.send(
                self._pictures[index],
                flags=Flag.KEYFRAME if index == 0 else 0,
                capture_time_us=time.time_ns() // 1000,
                input_sequence=self._number,
            )
        if taken:
            view.next_picture = (index + 1) % len(self._pictures)
        if taken and not view.started:
            view.started = True
            self.link.tell(ViewStarted(view=view.put.view, fence=view.put.fence))

    def on_opened(self, stream: OutgoingStream) -> None:
        """See `SourceHandler`."""
        view = self._by_stream.get(stream)
        if view is not None:
            view.next_picture = 0
            self._send(view)

    def on_keyframe_request(self, stream: OutgoingStream, layer: int) -> None:
        """See `SourceHandler`."""
        view = self._by_stream.get(stream)
        if view is not None:
            view.next_picture = 0

    def on_refused(self, stream: OutgoingStream, reason: str) -> None:
        """See `SourceHandler`."""
        view = self._by_stream.pop(stream, None)
        if view is not None:
            view.streams = {edge: other for edge, other in view.streams.items() if other is not stream}

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_viewer(self, stream: OutgoingStream, viewer: ViewerPresence) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_retained_state(self, stream: OutgoingStream, state: bytes) -> None:
        """See `SourceHandler`; nothing to do."""

    def on_voice(self, stream: OutgoingStream, participant: str, opus_frame: bytes) -> None:
        """See `SourceHandler`; nothing to do."""


async def _serve(options: argparse.Namespace) -> None:
    node = ManyViewsNode(options.id, options.number, options.broker_url, options.token)

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(status=200 if node.link.connected else 503)

    app = web.Application()
    app.router.add_get("/readyz", readyz)
    async with listening(app, options.port):
        await node.run()


if __name__ == "__main__":
    run(__doc__, "node", _serve, ("--port", "--number"))
