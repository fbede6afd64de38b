"""Edges that pass a stream on are killed while people watch behind them."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from broker.protocol import JoinGrant, JoinRequest, Probe
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.running_farm import running_farm
from tests.support.waiting import frames_until, until

EDGES = ("edge-1", "edge-2", "edge-3")
REPARENTED_WITHIN_S = 2.0
STAGE_FPS = 30
FLAGS = ("broker.node_fan_out=1", "broker.edge_fan_out=2")


def nearest(edge: str) -> JoinRequest:
    """A request of somebody who has measured this edge and no other."""
    return JoinRequest(display_name=f"near {edge}", probes=[Probe(edge=edge, rtt_ms=1.0)])


async def metric(farm: Farm, edge: str, name: str) -> float:
    """A figure of one edge."""
    url = farm.roles["edge" if edge == EDGES[0] else edge].ready_url.replace("readyz", "metrics")
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        families = text_string_to_metric_families(await response.text())
        return next(sample.value for family in families for sample in family.samples if sample.name == name)


@asynccontextmanager
async def audience(client: BrokerClient) -> AsyncIterator[dict[str, tuple[JoinGrant, HeadlessViewer]]]:
    """A viewer on each edge, who sees the stage; the first to come has the node feed their edge."""
    async with AsyncExitStack() as stack:
        watching = {}
        for edge in EDGES:
            grant = await client.join("hall", nearest(edge))
            assert grant.edge == edge
            viewer = await stack.enter_async_context(HeadlessViewer(client, grant))
            await frames_until(viewer, 5)
            watching[edge] = grant, viewer
        yield watching


async def test_viewers_behind_a_killed_edge_see_pictures_again_within_two_seconds(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, edges=3, flags=FLAGS) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        audience(client) as watching,
    ):
        assert await metric(farm, "edge-1", "farstage_edge_relay_children") == 2
        assert [await metric(farm, edge, "farstage_edge_hops") for edge in EDGES] == [0, 1, 1]
        behind = [watching[edge][1] for edge in EDGES[1:]]
        for viewer in behind:
            viewer.reception = replace(viewer.reception, longest_gap_s=0.0, frames_lost=0)
        killed_s = time.perf_counter()
        farm.kill("edge", signal.SIGKILL)
        await until(lambda: all(seen_since(viewer, killed_s + REPARENTED_WITHIN_S) for viewer in behind), "pictures")
        for viewer in behind:
            assert viewer.reception.longest_gap_s < REPARENTED_WITHIN_S
            assert viewer.reception.frames_lost < REPARENTED_WITHIN_S * STAGE_FPS
            assert viewer.connection_state == "connected"
        assert sorted([await metric(farm, edge, "farstage_edge_hops") for edge in EDGES[1:]]) == [0, 1]

        grant, lost = watching["edge-1"]
        await lost.close()
        again = await client.resume(grant, JoinRequest())
        assert again.edge in EDGES[1:]
        async with HeadlessViewer(client, again) as viewer:
            await frames_until(viewer, 5)


async def test_drained_edge_hands_its_children_on_without_a_frozen_picture(tmp_path: Path) -> None:
    async with (
        running_farm(tmp_path, edges=3, flags=FLAGS) as farm,
        BrokerClient(farm.broker_url, farm.api_key) as client,
        audience(client) as watching,
    ):
        viewers = [viewer for _, viewer in watching.values()]
        for viewer in viewers:
            viewer.reception = replace(viewer.reception, longest_gap_s=0.0, frames_lost=0)
        await client.drain_edge("edge-1", 60.0)
        await settled(farm, "edge-1", "farstage_edge_relay_children", 0)
        await asyncio.gather(*(frames_until(viewer, 30) for viewer in viewers))
        for viewer in viewers:
            assert viewer.reception.longest_gap_s < 0.5, "no frozen picture"
            assert viewer.reception.frames_lost == 0
        assert await metric(farm, "edge-1", "farstage_edge_hops") > 0, "who watches there is fed by another edge now"


def seen_since(viewer: HeadlessViewer, moment_s: float) -> bool:
    return viewer.reception.last_frame_s is not None and viewer.reception.last_frame_s > moment_s


async def settled(farm: Farm, edge: str, name: str, value: float) -> None:
    async with asyncio.timeout(20):
        while await metric(farm, edge, name) != value:
            await asyncio.sleep(0.1)
