"""Processes are killed and stopped under their viewers: what is dead is replaced, what only pauses is not."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from broker.protocol import AgentState, Ended, JoinRequest, SessionState, SourceState
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.redis_server import RedisServer
from tests.support.running_farm import running_farm
from tests.support.waiting import frames_until, until


async def node_of(client: BrokerClient, room: str) -> str:
    (participant,) = await client.participants(room)
    assert participant.node is not None
    return participant.node


async def until_state(client: BrokerClient, node: str, *states: AgentState) -> None:
    async with asyncio.timeout(10):
        while {entry.node: entry.state for entry in await client.nodes()}[node] not in states:
            await asyncio.sleep(0.02)


async def load_of(client: BrokerClient, node: str) -> float:
    return {entry.node: entry.load_ratio for entry in await client.nodes()}[node]


async def until_replaced(viewer: HeadlessViewer) -> None:
    def told() -> bool:
        states = [event.state for event in viewer.events if isinstance(event, SourceState)]
        return SessionState.REPLACING in states and states[-1] is SessionState.LIVE

    await until(told, "another node")


def was_disturbed(viewer: HeadlessViewer) -> bool:
    return SourceState(state=SessionState.REPLACING) in viewer.events or any(
        isinstance(event, Ended) for event in viewer.events
    )


def lost_agents(farm: Farm) -> int:
    return farm.roles["broker"].log_path.read_text().count('"agent lost"')


async def test_pause_is_no_death_and_a_stopped_node_is_replaced_and_refused_when_it_returns(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, nodes=2) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        HeadlessViewer(client, await client.join("walk", JoinRequest(display_name="Ada"))) as viewer,
    ):
        await frames_until(viewer, 10)
        stopped = await node_of(client, "walk")

        farm.kill(stopped, signal.SIGSTOP)
        await asyncio.sleep(0.5)  # what is tested: a pause of this length
        farm.kill(stopped, signal.SIGCONT)
        await frames_until(viewer, 60)
        assert lost_agents(farm) == 0
        assert not was_disturbed(viewer)

        farm.kill(stopped, signal.SIGSTOP)
        try:
            await until_replaced(viewer)
            await frames_until(viewer, 10)
            successor = await node_of(client, "walk")
            assert successor != stopped
        finally:
            farm.kill(stopped, signal.SIGCONT)
        await until_state(client, stopped, AgentState.READY)
        before = viewer.reception.frames
        await frames_until(viewer, 30)
        assert await node_of(client, "walk") == successor
        assert viewer.reception.frames > before
        assert viewer.reception.crc_failures == 0
        assert viewer.connection_state == "connected"
        await until_no_views(farm, stopped)
        assert await load_of(client, stopped) == 0.0, "no slot is lost with the node's first life"
        assert lost_agents(farm) == 1


async def until_no_views(farm: Farm, node: str) -> None:
    """The returned node has been told to drop what it drew under the old fence."""
    url = farm.roles[node].ready_url.replace("readyz", "metrics")
    async with asyncio.timeout(10), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url) as response:
                lines = (await response.text()).splitlines()
            if "farstage_node_views 0.0" in lines:
                return
            await asyncio.sleep(0.05)


async def test_killed_node_costs_no_slot_and_no_session(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, nodes=2) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        HeadlessViewer(client, await client.join("walk", JoinRequest(display_name="Ada"))) as viewer,
    ):
        await frames_until(viewer, 10)
        killed = await node_of(client, "walk")
        load = await load_of(client, killed)
        assert load > 0.0
        farm.kill(killed)
        await until_replaced(viewer)
        await frames_until(viewer, 10)
        loads = {entry.node: entry.load_ratio for entry in await client.nodes()}
        assert loads.pop(killed) == 0.0
        assert list(loads.values()) == [load]
        assert not any(isinstance(event, Ended) for event in viewer.events)


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


@pytest.mark.redis
async def test_sessions_go_on_while_redis_stalls_and_after_it_was_wiped(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        running_farm(tmp_path, flags=(f"broker.store_url={redis.url}",)) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        aiohttp.ClientSession() as http,
        HeadlessViewer(client, await client.join("walk", JoinRequest(display_name="Ada"))) as viewer,
    ):
        await frames_until(viewer, 10)

        async def status(path: str) -> int:
            async with http.get(f"{farm.broker_url}/{path}") as response:
                return response.status

        async def until_ready(wanted: int) -> None:
            async with asyncio.timeout(10):
                while await status("readyz") != wanted:
                    assert await status("livez") == 200
                    await asyncio.sleep(0.05)

        redis.signal(signal.SIGSTOP)
        try:
            await until_ready(503)
            await frames_until(viewer, 60)
            assert await status("livez") == 200
        finally:
            redis.signal(signal.SIGCONT)
        await until_ready(200)

        redis.flush()
        await frames_until(viewer, 60)
        grant = await client.join("walk", JoinRequest(display_name="Grace"))
        async with HeadlessViewer(client, grant) as newcomer:
            await frames_until(newcomer, 5)
        assert await status("readyz") == 200
        assert lost_agents(farm) == 0, "a store that stalls is nobody's death"
        assert not was_disturbed(viewer)
