"""Two brokers over one Redis, behind what stands for a load balancer: who comes is led to the one that is ready."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

import aiohttp

from farstage.bench.latency import free_ports
from farstage.farm import Farm, FarmSettings, Role
from tests.support.redis_server import RedisServer
from tests.support.running_farm import farm_config, open_rooms
from tests.support.waiting import until

BROKERS = ("broker", "broker-2")
ASKED_EVERY_S = 0.05
ANSWERS_WITHIN_S = 0.5
PIECE_BYTES = 65_536


class Front:
    """A TCP proxy. It looks at `/readyz` for new connections only, and never breaks one: the weakest there is.

    `ports` are the brokers' by name, `port` is its own. An async context manager.
    """

    def __init__(self, ports: Mapping[str, int], port: int) -> None:
        self.port = port
        self.ready: set[str] = set()
        self.was_ready: list[str] = []
        """Who was found ready, whenever that had changed."""
        self._ports = ports
        self._connections: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def leader(self) -> str:
        """The one that is ready."""
        (name,) = self.ready
        return name

    async def until_led_by(self, name: str, seconds: float) -> None:
        await until(lambda: self.ready == {name}, f"{name} leads", seconds)

    async def __aenter__(self) -> "Front":
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        http = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S),
                connector=aiohttp.TCPConnector(force_close=True),
            )
        )
        watching = [asyncio.create_task(self._watch(http, name)) for name in self._ports]
        self._stack.push_async_callback(self._stop, server, watching)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def _stop(self, server: asyncio.Server, watching: list[asyncio.Task[None]]) -> None:
        server.close()
        tasks = [*watching, *self._connections]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()

    async def _watch(self, http: aiohttp.ClientSession, name: str) -> None:
        while True:
            if await self.status(http, name, "readyz") == 200:
                if name not in self.ready:
                    self.was_ready.append(name)
                self.ready.add(name)
            else:
                self.ready.discard(name)
            await asyncio.sleep(ASKED_EVERY_S)

    async def status(self, http: aiohttp.ClientSession, name: str, path: str) -> int:
        """What a broker itself answers, 0 for nothing."""
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with http.get(f"http://127.0.0.1:{self._ports[name]}/{path}") as response:
                return response.status
        return 0

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.ready:
                port = self._ports[next(iter(self.ready))]
                back_reader, back_writer = await asyncio.open_connection("127.0.0.1", port)
                await _carry(reader, writer, back_reader, back_writer)
        except OSError:
            pass  # one end is gone: so is the other, in a moment
        finally:
            writer.close()


async def _carry(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    back_reader: asyncio.StreamReader,
    back_writer: asyncio.StreamWriter,
) -> None:
    """Hand bytes on both ways until one end closes."""
    ways = [asyncio.create_task(_pipe(reader, back_writer)), asyncio.create_task(_pipe(back_reader, writer))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        back_writer.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(PIECE_BYTES):
        writer.write(piece)
        await writer.drain()


@asynccontextmanager
async def broker_pair(
    folder: Path, redis: RedisServer, *, nodes: int = 1, edges: int = 1, flags: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Farm, Front]]:
    """A farm whose roles and clients reach two brokers through a `Front`, with one room of each mode."""
    config = farm_config(nodes, edges, (f"broker.store_url={redis.url}", *flags))
    farm = Farm(FarmSettings(config, folder, nodes, edges))
    second, front_port = free_ports(2)
    farm.roles["broker-2"] = _second_broker(farm.roles["broker"], second)
    front = Front({"broker": config.broker.port, "broker-2": second}, front_port)
    farm.broker_url = front.url
    for role in farm.roles.values():
        role.environment |= {"FARSTAGE_EDGE_BROKER_URL": front.url, "FARSTAGE_NODE_BROKER_URL": front.url}
    async with front, farm:
        await until(lambda: len(front.ready) == 1, "one broker leads")
        await open_rooms(farm)
        yield farm, front


def _second_broker(first: Role, port: int) -> Role:
    return replace(
        first,
        name="broker-2",
        environment=first.environment | {"FARSTAGE_BROKER_PORT": str(port), "FARSTAGE_BROKER_NAME": "broker-2"},
        ready_url=f"http://127.0.0.1:{port}/livez",
        log_path=first.log_path.with_name("broker-2.log"),
    )
