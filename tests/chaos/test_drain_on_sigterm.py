"""Processes that are told to stop while people watch hand their work over first."""

import asyncio
import signal
import time
from pathlib import Path

import pytest

from broker.protocol import Ended, EndReason, JoinRequest
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.running_farm import running_farm
from tests.support.waiting import frames_until


async def exit_code(farm: Farm, name: str, seconds: float) -> int:
    process = farm.roles[name].process
    assert process is not None
    return await asyncio.to_thread(process.wait, seconds)


async def node_of(client: BrokerClient, room: str) -> str:
    (participant,) = await client.participants(room)
    assert participant.node is not None
    return participant.node


async def until_ready(client: BrokerClient, name: str) -> None:
    async with asyncio.timeout(10):
        while {node.node: node.state.value for node in await client.nodes()}[name] != "ready":
            await asyncio.sleep(0.05)


async def test_terminated_node_hands_its_viewers_over_and_ends(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, nodes=2, flags=("node.drain_s=20",)) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
    ):
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 30)
            old = await node_of(client, "walk")
            viewer.reception.longest_gap_s = 0.0
            began = time.monotonic()
            farm.kill(old, signal.SIGTERM)
            assert await exit_code(farm, old, 18) == 0
            assert time.monotonic() - began < 18, "it does not wait for the deadline when its work is gone"
            await frames_until(viewer, 30)
            assert await node_of(client, "walk") != old
            assert viewer.reception.longest_gap_s < 0.5, "no frozen picture"
            assert viewer.connection_state == "connected"


@pytest.mark.parametrize("name", ["node-1", "edge"])
async def test_the_only_one_of_its_kind_does_not_wait_for_another(tmp_path: Path, name: str) -> None:
    async with (
        running_farm(tmp_path, flags=("node.drain_s=60", "edge.drain_s=60")) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
    ):
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 5)
            farm.kill(name, signal.SIGTERM)
            assert await exit_code(farm, name, 20) == 0
            async with asyncio.timeout(10):
                while Ended(reason=EndReason.DRAINED) not in viewer.events:
                    await asyncio.sleep(0.05)


async def test_a_departure_can_be_called_off_and_a_second_signal_hurries_it(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, nodes=2, flags=("node.drain_s=600",)) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
    ):
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 5)
            old = await node_of(client, "walk")
            farm.kill("broker", signal.SIGSTOP)
            try:
                farm.kill(old, signal.SIGTERM)
                await frames_until(viewer, 10)
                farm.kill(old, signal.SIGUSR1)
                await frames_until(viewer, 10)
            finally:
                farm.kill("broker", signal.SIGCONT)
            async with asyncio.timeout(15):
                while await node_of(client, "walk") == old:
                    await asyncio.sleep(0.05)
            await until_ready(client, old)
            await frames_until(viewer, 10)
            assert farm.roles[old].running, "it takes work again though it has none left"
            last = await node_of(client, "walk")
            farm.kill("broker", signal.SIGSTOP)
            try:
                farm.kill(last, signal.SIGTERM)
                await frames_until(viewer, 10)
                assert farm.roles[last].running, "it draws on while nobody has taken over"
                farm.kill(last, signal.SIGTERM)
                assert await exit_code(farm, last, 30) == 0
            finally:
                farm.kill("broker", signal.SIGCONT)
