"""`farstage bench move`: what viewers see of planned moves between nodes, which shall be nothing.

A farm of its own: a real broker, a real edge, two real nodes with the CPU renderer. Native viewers each have a room and
a view of their own. They are watched twice, for equally long: once while one node and then the other is drained and
called back, so that all of its views go over each time, and once left alone.

* `moves`: views that were moved, as the broker's list of moves says; all of them planned.
* `frames_lost`: pictures that viewers could not make whole or decode. `packets_lost`: of their streams.
* `freezes`: pauses longer than three picture times and 200 ms.
* `interval_ms`: between one picture and the next at the viewers. `left_alone` has the same of the first watch.
* `move_ms`: from the order to drain until the old node is drained: the new pictures are out everywhere.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from broker.protocol import AgentState, JoinGrant, JoinRequest, Mode, RoomCreate, Viewport
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.load.process import LoadError, Summary
from client_demo.headless.load.report import LoadReport
from client_demo.headless.load.whep import Seat, WhepError
from client_demo.headless.loadtest import LoadSettings, Progress, load
from farstage import config as configuration
from farstage.bench.latency import free_ports
from farstage.bench.machine import machine
from farstage.bench.server_process import ServerFailed
from farstage.farm import Farm, FarmSettings
from farstage.up import reachable

VIEWPORT = Viewport(width=320, height=192, max_fps=20)
NODES = ("node-1", "node-2")
ROUND_S = 2.0
"""From one move to the next: each begins with everybody at rest on one node or both."""
JOIN_S = 60.0
POLL_S = 0.02


class MoveSettings(msgspec.Struct, frozen=True):
    """What to measure: `viewers`, all of them moved `rounds` times."""

    viewers: int = 6
    rounds: int = 10


class Watched(msgspec.Struct):
    """What viewers saw over one watch."""

    pictures: int
    frames_lost: int
    packets_lost: int
    freezes: int
    interval_ms: Summary | None

    @classmethod
    def of(cls, report: LoadReport) -> "Watched":
        """Of a load test."""
        seen = report.clean
        return cls(
            pictures=seen.pictures,
            frames_lost=seen.broken_pictures + seen.undecodable_pictures,
            packets_lost=seen.lost_packets,
            freezes=seen.freezes,
            interval_ms=report.picture_interval_ms,
        )


class MoveReport(msgspec.Struct):
    """What was measured, and where; see the module."""

    viewers: int
    rounds: int
    moves: int
    pictures: int
    frames_lost: int
    packets_lost: int
    freezes: int
    interval_ms: Summary | None
    left_alone: Watched
    move_ms: Summary
    machine: dict[str, Any]


async def measure(settings: MoveSettings, progress: Callable[[str], None]) -> MoveReport:
    """Run it. Raises `FarmError`, `LoadError`, `Refused`, `ServerFailed`."""
    with tempfile.TemporaryDirectory(prefix="farstage-bench-") as folder:
        async with (
            Farm(FarmSettings(_config(), Path(folder), nodes=len(NODES))) as farm,
            BrokerClient(farm.broker_url, farm.api_key) as client,
        ):
            for viewer in range(settings.viewers):
                await client.create_room(RoomCreate(room=_room(viewer), mode=Mode.EXPLORE, open=True))
            progress(f"{settings.viewers} viewers are moved {settings.rounds} times")
            mover = _Mover(client, settings)
            moved = await _watch(client, settings, mover.run)
            progress("and as long left alone")
            left_alone = await _watch(client, settings, None)
            moves = await client.moves()
    if not all(move.planned for move in moves):
        raise ServerFailed("a node was lost meanwhile")
    watched = Watched.of(moved)
    return MoveReport(
        viewers=settings.viewers,
        rounds=settings.rounds,
        moves=sum(move.views for move in moves),
        **msgspec.structs.asdict(watched),
        left_alone=Watched.of(left_alone),
        move_ms=_summary(mover.took_ms),
        machine=machine(),
    )


def _config() -> configuration.Config:
    broker, edge, node = free_ports(3)
    flags = [
        f"broker.port={broker}",
        "broker.guest_joins_per_minute=100000",
        f"edge.port={edge}",
        f"node.port={node}",
        "node.renderer=cpu",
        "node.units=64",
        "log.level=warning",
    ]
    return reachable(configuration.load(environment={}, flags=flags))


def _room(viewer: int) -> str:
    return f"bench-{viewer}"


def _summary(values_ms: Sequence[float]) -> Summary:
    p50, p95, p99 = (round(float(value), 1) for value in np.percentile(values_ms, (50, 95, 99)))
    return Summary(p50, p95, p99, round(max(values_ms), 1), len(values_ms))


async def _watch(
    client: BrokerClient, settings: MoveSettings, meanwhile: Callable[[], Awaitable[None]] | None
) -> LoadReport:
    """Have viewers watch for as long as all rounds take, and do something meanwhile."""
    measuring = asyncio.Event()

    def show(now: Progress) -> None:
        if now.phase == "measuring":
            measuring.set()

    wanted = LoadSettings(settings.viewers, ROUND_S * (settings.rounds + 1), verify=1.0)
    async with asyncio.TaskGroup() as tasks:
        watching = tasks.create_task(load(wanted, _Seats(client), show))
        async with asyncio.timeout(JOIN_S):
            await measuring.wait()
        if meanwhile is not None:
            await meanwhile()
    report = watching.result()
    if report.failed:
        raise LoadError(f"viewers failed: {report.failures}")
    return report


class _Seats:
    """`Seats` of the load client: guests, each in a room of their own."""

    def __init__(self, client: BrokerClient) -> None:
        self._client = client
        self._grants: dict[int, JoinGrant] = {}

    async def take(self, viewer: int) -> Seat:
        """See `Seats`."""
        try:
            grant = await self._client.join(_room(viewer), JoinRequest(display_name="mover", viewport=VIEWPORT))
        except (Refused, OSError, TimeoutError) as error:
            raise WhepError(f"the broker refused the join: {error}") from error
        self._grants[viewer] = grant
        return Seat(grant.whep_url, grant.session_token)

    async def free(self, viewer: int) -> None:
        """See `Seats`."""
        grant = self._grants.pop(viewer, None)
        if grant is not None:
            await self._client.leave(grant)


class _Mover:
    """Drains the nodes in turn, one each `ROUND_S`."""

    def __init__(self, client: BrokerClient, settings: MoveSettings) -> None:
        self.took_ms: list[float] = []
        self._client = client
        self._rounds = settings.rounds

    async def run(self) -> None:
        """Move everybody to and fro."""
        began = time.monotonic()
        for number in range(self._rounds):
            await asyncio.sleep(max(0.0, began + number * ROUND_S - time.monotonic()))
            self.took_ms.append(await self._empty(NODES[number % 2]))
            await self._client.cancel_drain_node(NODES[number % 2])

    async def _empty(self, node: str) -> float:
        """Drain a node; milliseconds until it is."""
        began = time.monotonic()
        await self._client.drain_node(node, 2 * ROUND_S)
        while not await self._is_drained(node):
            if time.monotonic() - began > ROUND_S:
                raise ServerFailed(f"{node} has not been drained within {ROUND_S:.0f} s")
            await asyncio.sleep(POLL_S)
        return (time.monotonic() - began) * 1000.0

    async def _is_drained(self, node: str) -> bool:
        return any(entry.node == node and entry.state is AgentState.DRAINED for entry in await self._client.nodes())
