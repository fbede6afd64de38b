"""A real farm for tests: broker, edge and nodes as processes on free ports, with small pictures for small machines."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from broker.protocol import Mode, Role, RoomCreate, TokenRequest
from client_demo.headless.api import BrokerClient
from farstage import config as configuration
from farstage.bench.latency import free_ports
from farstage.config import Config
from farstage.farm import Farm, FarmSettings
from farstage.up import reachable

ROOMS = {
    "walk": RoomCreate(room="walk", mode=Mode.EXPLORE, open=True),
    "relics": RoomCreate(room="relics", mode=Mode.GALLERY, open=True),
    "hall": RoomCreate(room="hall", mode=Mode.CONFERENCE, open=True, max_participants=1000),
}


@asynccontextmanager
async def running_farm(
    folder: Path, *, nodes: int = 1, edges: int = 1, flags: tuple[str, ...] = ()
) -> AsyncIterator[Farm]:
    """A started farm with one room of each mode."""
    async with Farm(FarmSettings(farm_config(nodes, edges, flags), folder, nodes, edges)) as farm:
        await open_rooms(farm)
        yield farm


def farm_config(nodes: int, edges: int, flags: tuple[str, ...]) -> Config:
    """The configuration of a small farm on free ports."""
    broker, edge, node = free_ports(3)
    first = consecutive(node, nodes)
    base = [
        f"broker.port={broker}",
        f"edge.port={consecutive(edge, edges)}",
        f"node.port={first}",
        "node.renderer=cpu",
        "node.units=16",
        "broker.max_long_side=640",
        "log.format=json",
    ]
    return reachable(configuration.load(environment={}, flags=[*base, *flags]))


async def open_rooms(farm: Farm) -> None:
    """Create `ROOMS`."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        for room in ROOMS.values():
            await client.create_room(room)


def consecutive(start: int, count: int) -> int:
    """The first of `count` neighbouring free ports, at `start` or after it."""
    return next(
        first for first in (start, *range(20_000, 32_000, count)) if all(map(_is_free, range(first, first + count)))
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


async def join_link(farm: Farm, room: str, name: str, role: Role = Role.VISITOR) -> str:
    """A link that lets `name` in with `role`."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        identity = "".join(c if c.isascii() and c.isalnum() else "-" for c in name)
        grant = await client.mint_token(room, TokenRequest(identity=f"id{identity}", display_name=name, role=role))
        return grant.link
