"""`farstage up`: all roles on this machine, three rooms to walk into, until Ctrl-C."""

import asyncio
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from broker.protocol import Mode, NodeCapability, RoomCreate
from client_demo.headless.api import BrokerClient
from farstage.config import Config
from farstage.farm import Farm, FarmSettings

DEMO_ROOMS = (
    RoomCreate(room="demo", mode=Mode.EXPLORE, open=True, empty_timeout_s=0),
    RoomCreate(room="relics", mode=Mode.GALLERY, open=True, empty_timeout_s=0),
    RoomCreate(room="hall", mode=Mode.CONFERENCE, open=True, empty_timeout_s=0, max_participants=1000),
)
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
    settings = FarmSettings(reachable(config), state_dir, nodes, progress)
    async with Farm(settings) as farm:
        async with BrokerClient(farm.broker_url, farm.api_key) as client:
            for room in DEMO_ROOMS:
                await client.ensure_room(room)
            (node, *_) = await client.nodes()
        ready(_links(farm, node.capability))
        supervisor = asyncio.create_task(farm.supervise())
        await stop.wait()
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)
        progress("stopping")


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
