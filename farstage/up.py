"""`farstage up`: all roles on this machine, three rooms to walk into, until Ctrl-C."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp
import msgspec

from broker.protocol import Mode, NodeCapability, RoomCreate
from client_demo.headless.api import BrokerClient, Refused
from farstage.config import Config
from farstage.farm import Farm, FarmError, FarmSettings

DEMO_ROOMS = (
    RoomCreate(room="demo", mode=Mode.EXPLORE, open=True, empty_timeout_s=0),
    RoomCreate(room="relics", mode=Mode.GALLERY, open=True, empty_timeout_s=0),
    RoomCreate(room="hall", mode=Mode.CONFERENCE, open=True, empty_timeout_s=0, max_participants=1000),
)
OPEN_ROOMS_TRIES = 25
OPEN_ROOMS_PAUSE_S = 0.2
ALL_INTERFACES = ("0.0.0.0", "::")


class Links(msgspec.Struct):
    """Where to click, and what draws what one sees there."""

    visitor: str
    operator: str
    rooms: dict[str, str]
    renderer: str
    device: str


async def run(
    config: Config, state_dir: Path, nodes: int, progress: Callable[[str], None], ready: Callable[[Links], None]
) -> None:
    """Start everything, call `ready` with the links, and serve until SIGINT or SIGTERM. Raises `FarmError`."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    serving = asyncio.create_task(_serve(FarmSettings(reachable(config), state_dir, nodes, progress=progress), ready))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
    if stopping.done():
        progress("stopping")
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        return
    stopping.cancel()
    await serving


async def _serve(settings: FarmSettings, ready: Callable[[Links], None]) -> None:
    async with Farm(settings) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        await _open_rooms(client)
        (node, *_) = await client.nodes()
        ready(_links(farm, node.capability))

        async def restarted(role: str) -> None:
            if role == "broker":  # in memory, its rooms went with it
                await _open_rooms(client)

        await farm.supervise(restarted)


async def _open_rooms(client: BrokerClient) -> None:
    """Make the demo rooms; a broker that has just started is asked again. Raises `FarmError`."""
    last: Exception | None = None
    for _ in range(OPEN_ROOMS_TRIES):
        try:
            for room in DEMO_ROOMS:
                await client.ensure_room(room)
            return
        except (Refused, aiohttp.ClientError, OSError) as error:
            last = error
            await asyncio.sleep(OPEN_ROOMS_PAUSE_S)
    raise FarmError(f"the demo rooms could not be opened: {last}")


def reachable(config: Config) -> Config:
    """Public URLs that other devices reach, when the configuration listens on all interfaces and names none."""
    broker, edge = config.broker, config.edge
    address = lan_address() if broker.host in ALL_INTERFACES else "127.0.0.1"
    if broker.public_url == type(broker)().public_url:
        broker = msgspec.structs.replace(broker, public_url=f"http://{address}:{broker.port}")
    if not edge.public_url:
        edge_address = lan_address() if edge.host in ALL_INTERFACES else edge.host
        edge = msgspec.structs.replace(edge, public_url=f"http://{edge_address}:{edge.port}")
    return msgspec.structs.replace(config, broker=broker, edge=edge)


def lan_address() -> str:
    """This machine's address on the network it reaches others by; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])


def _links(farm: Farm, capability: NodeCapability) -> Links:
    base = farm.settings.base.broker.public_url
    return Links(
        visitor=f"{base}/?room=demo",
        operator=f"{base}/operator#key={farm.api_key}",
        rooms={str(room.room): f"{base}/?room={room.room}" for room in DEMO_ROOMS},
        renderer=capability.renderer,
        device=capability.device,
    )
