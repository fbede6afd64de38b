"""What the benchmarks' own edges and nodes share as processes: arguments, a listening socket, an end by SIGTERM."""

import argparse
import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import uvloop
from aiohttp import web

from farstage import logs
from farstage.config import LogConfig


def run(
    description: str | None,
    role: str,
    serve: Callable[[argparse.Namespace], Awaitable[None]],
    numbers: Sequence[str] = ("--port",),
) -> None:
    """Read `--id`, `--broker-url`, `--token` and these numbers, and serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--id", "--broker-url", "--token"):
        parser.add_argument(name, required=True)
    for name in numbers:
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    logs.configure(LogConfig(level="warning"), role)
    asyncio.set_event_loop(loop := uvloop.new_event_loop())
    with suppress(web.GracefulExit, KeyboardInterrupt):
        loop.run_until_complete(serve(options))


@asynccontextmanager
async def listening(app: web.Application, port: int) -> AsyncIterator[None]:
    """The application on a port of this machine's loopback address."""
    runner = web.AppRunner(app, access_log=None, handle_signals=True, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield
    finally:
        await runner.cleanup()
