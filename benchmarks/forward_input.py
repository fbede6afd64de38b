"""How long an input waits in the edge: from the data channel's callback to the source's, over a real trunk.

python -m benchmarks.forward_input [--inputs 2000] [--json]
"""

import argparse
import asyncio
import json
import time
from typing import Any

import aiohttp
import numpy as np
from aiohttp import web

from broker.protocol import Codec, Input, Mode, PutSession, Role, SessionState, encode
from edge.hub import StreamHub
from edge.trunk import OutgoingStream, StreamOpen, TrunkAcceptor, TrunkDialer, ViewerInput

INTERVAL_S = 1 / 240


class _Silent:
    """Ignores everything: stands for the engine, and for what a source is told besides input."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class _Source(_Silent):
    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.arrived_s: list[float] = []

    def on_opened(self, stream: OutgoingStream) -> None:
        self.opened.set()

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        self.arrived_s.append(time.perf_counter())


async def measure(inputs: int) -> dict[str, float]:
    """Milliseconds from the edge's arrival of an input to the node's, p50 to the longest."""
    hub = StreamHub(time.monotonic, lambda _: None)
    hub.engine = _Silent()  # type: ignore[assignment]
    acceptor, source = TrunkAcceptor(hub), _Source()

    async def serve(request: web.Request) -> web.StreamResponse:
        return await acceptor.serve(request, "node-1")

    app = web.Application()
    app.router.add_get("/trunk", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"ws://127.0.0.1:{runner.addresses[0][1]}/trunk"
    _admit(hub)
    async with aiohttp.ClientSession() as http:
        dialer = TrunkDialer(url, lambda: "", source, http)  # type: ignore[arg-type]
        task = asyncio.create_task(dialer.run())
        dialer.open(StreamOpen(stream="v1", fence=1))
        await source.opened.wait()
        sent_s = []
        for number in range(inputs):
            data = encode(Input(seq=number + 1, yaw=0.1))
            sent_s.append(time.perf_counter())
            hub.on_message("s1", "input", data)
            await asyncio.sleep(INTERVAL_S)
        while len(source.arrived_s) < inputs:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await runner.cleanup()
    waits_ms = (np.array(source.arrived_s) - np.array(sent_s)) * 1000.0
    p50, p95, p99 = np.percentile(waits_ms, (50, 95, 99))
    return {"p50": float(p50), "p95": float(p95), "p99": float(p99), "longest": float(waits_ms.max())}


def _admit(hub: StreamHub) -> None:
    hub.put_session(
        PutSession(
            session="s1",
            participant="p1",
            room="r",
            mode=Mode.EXPLORE,
            role=Role.VISITOR,
            muted=False,
            stream="v1",
            fence=1,
            codec=Codec.H264,
            profile=None,
            state=SessionState.LIVE,
        )
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    waits_ms = asyncio.run(measure(arguments.inputs))
    if arguments.json:
        print(json.dumps({"inputs": arguments.inputs, "forward_ms": waits_ms}))
    else:
        print("input at the edge to the node, milliseconds: " + ", ".join(f"{k} {v:.2f}" for k, v in waits_ms.items()))


if __name__ == "__main__":
    main()
