"""Parts are killed while people watch."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from playwright.async_api import Browser

from broker.protocol import Ended, EndReason, JoinRequest, SessionState, SourceState
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from tests.support.browser import visiting
from tests.support.running_farm import running_farm
from tests.support.waiting import frames_until, until


async def node_of(client: BrokerClient, room: str) -> str:
    (participant,) = await client.participants(room)
    assert participant.node is not None
    return participant.node


@pytest.mark.chromium
async def test_killed_node_is_replaced_while_the_video_goes_on(tmp_path: Path, browser: Browser) -> None:
    async with (
        running_farm(tmp_path, nodes=2) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada,
    ):
        await ada.page.evaluate("window.before = window.farstage.session._viewer.connection")
        lost = await node_of(client, "walk")
        farm.kill(lost, signal.SIGKILL)
        await ada.until(lambda seen: "replacing" in seen["states"], "word of the replacement")
        await ada.frames(20)
        assert await node_of(client, "walk") != lost
        assert await ada.page.evaluate("window.before === window.farstage.session._viewer.connection"), (
            "no new connection"
        )
        assert await ada.page.evaluate("window.before.connectionState") == "connected"
        await ada.page.keyboard.down("KeyW")
        await ada.until(lambda seen: seen["lastInput"] > 0, "input that reaches the new node")
        await ada.page.keyboard.up("KeyW")
        assert (await ada.probe())["crcFailures"] == 0


@pytest.mark.chromium
async def test_visitor_of_a_killed_edge_is_on_another_one_within_seconds(tmp_path: Path, browser: Browser) -> None:
    async with (
        running_farm(tmp_path, nodes=1, edges=2) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada,
    ):
        (participant,) = await client.participants("walk")
        lost = str(participant.edge)
        farm.kill("edge" if lost == "edge-1" else lost, signal.SIGKILL)
        killed_s = time.monotonic()
        await ada.until(lambda seen: "reconnecting" in seen["states"], "that the line is seen to be broken")
        await ada.frames(10)
        took_s = time.monotonic() - killed_s
        (participant,) = await client.participants("walk")
        assert participant.edge != lost
        assert took_s < 6.0, "left to the browser alone it takes ten"


async def test_successor_goes_on_from_where_the_visitor_stood(tmp_path: Path) -> None:
    async with running_farm(tmp_path, nodes=2) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 5)
            for _ in range(20):
                viewer.send_input(move_z=1.0, run=True)
                await asyncio.sleep(0.1)
            last = viewer.send_input(yaw=0.6)
            await frames_until(viewer, 40)
            before = luma(viewer)
            farm.kill(await node_of(client, "walk"), signal.SIGKILL)
            await state_seen(viewer, SessionState.LIVE, after=SessionState.REPLACING)
            await frames_until(viewer, 10)
            assert abs(luma(viewer) - before).mean() < 4.0, "the successor shows the same place"
            assert viewer.reception.last_input == last
            assert viewer.reception.crc_failures == 0


async def test_planned_drain_moves_a_viewer_without_a_lost_frame(tmp_path: Path) -> None:
    async with running_farm(tmp_path, nodes=2) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 30)
            old = await node_of(client, "walk")
            viewer.reception.longest_gap_s = 0.0
            await client.drain_node(old, 30.0)
            await until_node_changes(client, old)
            await frames_until(viewer, 30)
            assert viewer.reception.longest_gap_s < 0.5, "no frozen picture"
            assert viewer.connection_state == "connected"


async def test_client_is_told_when_no_node_is_left(tmp_path: Path) -> None:
    async with running_farm(tmp_path) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        ended = asyncio.Event()
        events: list[object] = []

        def take(event: object) -> None:
            events.append(event)
            if isinstance(event, Ended):
                ended.set()

        async with HeadlessViewer(client, grant, take) as viewer:
            await frames_until(viewer, 5)
            farm.kill("node-1", signal.SIGKILL)
            await asyncio.wait_for(ended.wait(), 30)
        assert Ended(reason=EndReason.NODE_LOST) in events
        assert await client.participants("walk") == []


async def test_running_streams_outlive_the_broker(tmp_path: Path) -> None:
    async with running_farm(tmp_path) as farm, BrokerClient(farm.broker_url, farm.api_key) as client:
        grant = await client.join("walk", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await frames_until(viewer, 5)
            farm.kill("broker", signal.SIGKILL)
            sent = viewer.send_input(yaw=0.5)
            await frames_until(viewer, 90)
            assert viewer.reception.last_input == sent
            assert not any(isinstance(event, Ended) for event in viewer.events)


async def test_supervised_farm_heals_itself(tmp_path: Path) -> None:
    async with running_farm(tmp_path) as farm:
        supervisor = asyncio.create_task(farm.supervise())
        first = farm.roles["node-1"].process
        farm.kill("node-1", signal.SIGKILL)
        await until(lambda: farm.roles["node-1"].process is not first, "a new process")
        await farm.wait_ready("node-1")
        supervisor.cancel()
        await asyncio.gather(supervisor, return_exceptions=True)


async def until_node_changes(client: BrokerClient, old: str) -> None:
    deadline = time.monotonic() + 20
    while await node_of(client, "walk") == old:
        assert time.monotonic() < deadline, f"the session stays on {old}"
        await asyncio.sleep(0.1)


async def state_seen(viewer: HeadlessViewer, state: SessionState, *, after: SessionState) -> None:
    """Wait until the edge has told `after` and then `state`."""

    def told() -> bool:
        states = [event.state for event in viewer.events if isinstance(event, SourceState)]
        return after in states and states[-1] is state

    await until(told, f"{state} after {after}")


def luma(viewer: HeadlessViewer):
    """The last picture's brightness without the barcode's rows."""
    assert viewer.last_picture is not None
    return viewer.last_picture.to_ndarray()[32 : viewer.last_picture.height].astype(float)
