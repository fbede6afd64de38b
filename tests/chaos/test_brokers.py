"""Brokers and their Redis are killed, stopped and cut off while people watch: no picture stops, no place is lost."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from broker.protocol import AgentState, Ended, JoinGrant, JoinRequest, SessionState, SourceState
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.broker_pair import BROKERS, broker_pair
from tests.support.redis_server import RedisServer
from tests.support.running_farm import running_farm
from tests.support.stored_claims import Claims, commands_answered, stored_claims, stored_names
from tests.support.waiting import frames_until, until

pytestmark = pytest.mark.redis

TAKEN_OVER_WITHIN_S = 12.0
"""The lead's five seconds, and what a busy machine adds."""
REGISTERED_WITHIN_S = 15.0
SETTLED_WITHIN_S = 40.0
"""Claims of nobody expire after thirty."""
STILL_S = 2.0
"""A picture that stands for longer has stopped."""
LEAD = "brokers:lead"
AWAY_S = 20.0
MOST_COMMANDS = 500
"""Some five seconds of a small farm over Redis, and what it writes anew."""
JOINS = 100
KILLED_AFTER = 30


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()


def other_than(name: str) -> str:
    return next(broker for broker in BROKERS if broker != name)


@asynccontextmanager
async def visitor(farm: Farm, room: str = "walk") -> AsyncIterator[tuple[JoinGrant, HeadlessViewer]]:
    """Somebody who has come and sees the place."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        grant = await client.join(room, JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 10)
            viewer.reception.longest_gap_s = 0.0
            yield grant, viewer


async def start_again(farm: Farm, name: str) -> None:
    """Start a role whose process was killed."""
    process = farm.roles[name].process
    assert process is not None
    await asyncio.to_thread(process.wait, 5)
    farm.roles[name].start()


def assert_undisturbed(viewer: HeadlessViewer) -> None:
    assert viewer.reception.longest_gap_s < STILL_S, "no frozen picture"
    assert viewer.connection_state == "connected"
    assert SourceState(state=SessionState.REPLACING) not in viewer.events
    assert not any(isinstance(event, Ended) for event in viewer.events)


async def until_all_are_back(farm: Farm, broker: str) -> None:
    """The agents have registered with this broker since it leads."""
    agents = farm.settings.nodes + farm.settings.edges

    def registered() -> bool:
        return (
            farm.roles[broker].log_path.read_text().rpartition('"state taken over')[2].count('"agent registered"')
            >= agents
        )

    await until(registered, f"all agents at {broker}", REGISTERED_WITHIN_S)


async def until_no_place_is_lost(farm: Farm, redis: RedisServer) -> Claims:
    """What is claimed in Redis is what the broker uses: of edges claim by claim, of nodes in sum."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while True:
            claims = await stored_claims(redis, time.time())
            claimed, used = places(claims), await places_in_use(client)
            if claimed == used:
                return claims
            assert time.monotonic() < deadline, f"claimed: {claimed}, in use: {used}"
            await asyncio.sleep(0.2)


def places(claims: Claims) -> dict[str, object]:
    """The sessions at each edge and the milliunits of each node."""
    return {
        pool: set(held) if pool.startswith("edge:") else sum(claim.amount for claim in held.values())
        for pool, held in claims.items()
        if held and pool != LEAD
    }


async def places_in_use(client: BrokerClient) -> dict[str, object]:
    sessions, nodes = await client.sessions(), await client.nodes()
    edges = {session.edge for session in sessions}
    drawn = {f"node:{node.node}": round(node.load_ratio * node.capability.units * 1000) for node in nodes}
    at_edges = {f"edge:{edge}": {entry.session for entry in sessions if entry.edge == edge} for edge in edges if edge}
    return {pool: milliunits for pool, milliunits in drawn.items() if milliunits} | at_edges


def highest_fence(claims: Claims) -> int:
    return max(claim.fence for held in claims.values() for claim in held.values())


async def test_a_killed_and_a_stopped_leader_are_replaced_while_the_picture_goes_on(
    tmp_path: Path, redis: RedisServer
) -> None:
    async with broker_pair(tmp_path, redis) as (farm, front), visitor(farm) as (grant, viewer):
        before = await until_no_place_is_lost(farm, redis)
        killed = front.leader()
        heir = other_than(killed)
        farm.kill(killed)
        await front.until_led_by(heir, TAKEN_OVER_WITHIN_S)
        await until_all_are_back(farm, heir)
        async with visitor(farm) as (newcomer, _):
            after = await until_no_place_is_lost(farm, redis)
            assert after["edge:edge-1"].keys() == {grant.session, newcomer.session}
            assert highest_fence(after) > highest_fence(before)
            async with BrokerClient(farm.broker_url, farm.api_key) as client:
                await client.leave(newcomer)
        assert_undisturbed(viewer)

        await start_again(farm, killed)
        await farm.wait_ready(killed)
        farm.kill(heir, signal.SIGSTOP)
        try:
            await front.until_led_by(killed, TAKEN_OVER_WITHIN_S)
            await until_all_are_back(farm, killed)
            async with visitor(farm) as (newcomer, _):
                front.was_ready.clear()
                told = told_of_takeover(farm, heir)
                farm.kill(heir, signal.SIGCONT)
                await until(lambda: told_of_takeover(farm, heir) > told, "the old leader steps back")
                last = await until_no_place_is_lost(farm, redis)
        finally:
            farm.kill(heir, signal.SIGCONT)
        assert last["edge:edge-1"].keys() == {grant.session, newcomer.session}
        assert highest_fence(last) > highest_fence(after)
        await frames_until(viewer, 30)
        assert front.was_ready == [], "who has been replaced is not ready for a moment"
        assert_undisturbed(viewer)


def told_of_takeover(farm: Farm, broker: str) -> int:
    return farm.roles[broker].log_path.read_text().count("another broker has taken over")


@pytest.mark.long
async def test_an_emptied_redis_is_filled_again_by_the_broker_that_leads(tmp_path: Path, redis: RedisServer) -> None:
    async with (
        broker_pair(tmp_path, redis) as (farm, front),
        visitor(farm) as (grant, viewer),
        BrokerClient(farm.broker_url, farm.api_key) as client,
        aiohttp.ClientSession() as http,
    ):
        leader, rooms = front.leader(), {room.room for room in await client.rooms()}
        fences = highest_fence(await until_no_place_is_lost(farm, redis))

        async def asked(path: str) -> set[int]:
            return {await front.status(http, broker, path) for broker in BROKERS}

        redis.kill()
        await until(lambda: not front.ready, "nobody is ready")
        away_until = time.monotonic() + AWAY_S
        while time.monotonic() < away_until:
            assert await asked("livez") == {200}
            assert await asked("readyz") == {503}
            with pytest.raises(Refused) as refused:
                await client.join("walk", JoinRequest(display_name="Grace"))
            assert refused.value.problem.type == "urn:farstage:problem:store-unavailable"
            await frames_until(viewer, 30)
        redis.start()
        await front.until_led_by(leader, TAKEN_OVER_WITHIN_S)
        claims = await until_no_place_is_lost(farm, redis)
        assert claims["edge:edge-1"].keys() == {grant.session}
        assert await stored_names(redis, "rooms") == rooms
        assert await stored_names(redis, "sessions") == {grant.session}
        assert await stored_names(redis, "agents") == {"node:node-1", "edge:edge-1"}
        assert await commands_answered(redis) < MOST_COMMANDS, "no stampede"
        async with visitor(farm) as (newcomer, _):
            claims = await until_no_place_is_lost(farm, redis)
            assert claims["edge:edge-1"].keys() == {grant.session, newcomer.session}
            assert claims["edge:edge-1"][newcomer.session].fence > fences, "fences rise though Redis has forgotten them"
        assert front.leader() == leader, "who stood by has not taken an empty store for a new farm"
        assert_undisturbed(viewer)


async def test_a_broker_killed_amid_a_hundred_joins_loses_no_place_and_gives_none_twice(
    tmp_path: Path, redis: RedisServer
) -> None:
    flags = (f"broker.store_url={redis.url}", "broker.guest_joins_per_minute=100000", "node.units=1000")
    async with running_farm(tmp_path, flags=flags) as farm, visitor(farm) as (grant, viewer):
        answered = asyncio.Event()
        placed: list[JoinGrant] = []

        async def join(client: BrokerClient, number: int) -> None:
            try:
                placed.append(await client.join("hall", JoinRequest(display_name=f"Guest {number}")))
            except (Refused, aiohttp.ClientError):
                return
            if len(placed) >= KILLED_AFTER:
                answered.set()

        async with BrokerClient(farm.broker_url, farm.api_key) as client, asyncio.TaskGroup() as tasks:
            for number in range(JOINS):
                tasks.create_task(join(client, number))
            await asyncio.wait_for(answered.wait(), 20)
            farm.kill("broker")
        assert len(placed) < JOINS, "it was killed amid them"
        farm.roles["broker"].ready_url = f"{farm.broker_url}/readyz"
        await start_again(farm, "broker")
        await farm.wait_ready("broker")
        await until_all_are_back(farm, "broker")
        async with BrokerClient(farm.broker_url, farm.api_key) as client:
            known = {entry.session for entry in await client.sessions()}
            assert {grant.session, *(entry.session for entry in placed)} <= known, "who was let in is known"
        claims = await until_no_place_is_lost(farm, redis)
        assert grant.session in claims["edge:edge-1"]
        assert_undisturbed(viewer)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
async def test_viewers_of_a_lost_edge_resume_on_another_one(
    tmp_path: Path, redis: RedisServer, number: signal.Signals
) -> None:
    flags = (f"broker.store_url={redis.url}",)
    async with (
        running_farm(tmp_path, edges=2, flags=flags) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        visitor(farm) as (grant, viewer),
    ):
        lost, left = role_of(farm, grant.edge), next(edge for edge in ("edge-1", "edge-2") if edge != grant.edge)
        farm.kill(lost, number)
        await until_edge_is(client, grant.edge, AgentState.LOST)
        await viewer.close()
        again = await client.resume(grant, JoinRequest())
        assert again.edge == left
        async with HeadlessViewer(client, again) as resumed:
            await frames_until(resumed, 10)
            claims = await until_no_place_is_lost(farm, redis)
            assert claims[f"edge:{left}"].keys() == {grant.session}
            assert not claims.get(f"edge:{grant.edge}")
            if number is signal.SIGSTOP:
                farm.kill(lost, signal.SIGCONT)
                await until_edge_is(client, grant.edge, AgentState.READY)
                await until_serves_nobody(farm, lost)
                await frames_until(resumed, 10)
                assert not (await until_no_place_is_lost(farm, redis)).get(f"edge:{grant.edge}")
            assert not any(isinstance(event, Ended) for event in resumed.events)


def role_of(farm: Farm, edge: str) -> str:
    return "edge" if edge == "edge-1" else edge


async def until_edge_is(client: BrokerClient, edge: str, state: AgentState) -> None:
    async with asyncio.timeout(REGISTERED_WITHIN_S):
        while {entry.edge: entry.state for entry in await client.edges()}[edge] is not state:
            await asyncio.sleep(0.05)


async def until_serves_nobody(farm: Farm, role: str) -> None:
    url = farm.roles[role].ready_url.replace("readyz", "metrics")
    async with asyncio.timeout(10), aiohttp.ClientSession() as http:
        while True:
            async with http.get(url) as response:
                if "farstage_edge_viewers 0.0" in (await response.text()).splitlines():
                    return
            await asyncio.sleep(0.05)
