"""What visitors see through narrow, lossy and interrupted lines, emulated between real sockets."""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from playwright.async_api import Browser, Route

from broker.protocol import Codec, JoinGrant, JoinRequest, Mode, Probe, RoomCreate, VideoCapability
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer, Reception
from farstage.farm import Farm
from tests.support.browser import visiting
from tests.support.network import EmulatedNetwork, Line
from tests.support.waiting import frames_until

NARROW_BPS = 400_000
NARROW = Line(delay_s=0.02, rate_bps=NARROW_BPS)
LOSSY = Line(delay_s=0.015, jitter_s=0.005, loss=0.03)


class ClientBehind(BrokerClient):
    """A client whose media goes through an emulated network."""

    def __init__(self, farm: Farm, network: EmulatedNetwork) -> None:
        super().__init__(farm.broker_url, farm.api_key)
        self._network = network

    async def offer(self, grant: JoinGrant, offer_sdp: str) -> str:
        return await self._network.behind(await super().offer(grant, offer_sdp))


@asynccontextmanager
async def watching(
    farm: Farm, network: EmulatedNetwork, bandwidth_bps: float | None = None
) -> AsyncIterator[HeadlessViewer]:
    """A viewer behind this network, in a room of its own; it measured this bandwidth before joining."""
    async with ClientBehind(farm, network) as client:
        room = await client.create_room(RoomCreate(mode=Mode.EXPLORE, open=True))
        request = JoinRequest(
            display_name="Ada",
            codecs=[VideoCapability(codec=Codec.H264, profiles=["42e0"])],
            probes=[Probe(edge="edge-1", rtt_ms=40.0, bandwidth_bps=bandwidth_bps)],
        )
        grant = await client.join(str(room.room), request)
        async with HeadlessViewer(client, grant) as viewer:
            yield viewer
        await client.leave(grant)


async def look_about(viewer: HeadlessViewer, seconds: float) -> Reception:
    """Turn to and fro, so that pictures need their bits; returns what was received meanwhile."""
    viewer.reception = Reception(last_frame_number=viewer.reception.last_frame_number)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        viewer.send_input(yaw=0.8 * math.sin(2 * time.perf_counter()))
        await asyncio.sleep(0.05)
    return viewer.reception


async def test_narrow_line_slows_the_stream_down_and_the_picture_stays_prompt(farm: Farm) -> None:
    async with EmulatedNetwork(up=Line(delay_s=0.02), down=NARROW) as network, watching(farm, network) as viewer:
        await look_about(viewer, 6.0)
        lost_before = network.down.lost
        seen = await look_about(viewer, 6.0)
        assert seen.bytes_received * 8 / 6.0 < NARROW_BPS
        assert seen.frames > 6.0 * 15
        assert seen.crc_failures == 0
        assert network.down.lost - lost_before < 10, "the stream fits the line"
        assert np.median(seen.input_to_photon_ms) < 200, "and does not stand in its queue"


async def test_stream_begins_within_the_bandwidth_that_was_measured(farm: Farm) -> None:
    async with (
        EmulatedNetwork(up=Line(delay_s=0.02), down=NARROW) as network,
        watching(farm, network, bandwidth_bps=0.9 * NARROW_BPS) as viewer,
    ):
        grant = viewer.grant
        assert grant.width * grant.height * grant.fps < 640 * 360 * 30, "less looks better on such a line"
        await frames_until(viewer, 5)
        seen = await look_about(viewer, 4.0)
        assert network.down.lost < 40, "a first keyframe may overflow the queue; without the measurement it is 150"
        assert seen.frames_lost < 10
        assert seen.longest_gap_s < 1.0


async def test_lossy_line_loses_no_pictures_worth_mentioning(farm: Farm) -> None:
    async with EmulatedNetwork(up=LOSSY, down=LOSSY) as network, watching(farm, network) as viewer:
        await frames_until(viewer, 5)
        seen = await look_about(viewer, 8.0)
        assert network.down.lost > 10, "the emulated line loses packets"
        assert seen.frames > 8.0 * 20
        assert seen.frames_lost < 10
        assert seen.crc_failures == 0
        assert seen.longest_gap_s < 1.0


async def test_line_cut_for_two_seconds_goes_on_without_a_new_connection_and_at_the_old_rate(farm: Farm) -> None:
    line = Line(delay_s=0.01)
    async with EmulatedNetwork(up=line, down=line) as network, watching(farm, network) as viewer:
        await look_about(viewer, 2.0)
        before = await look_about(viewer, 3.0)
        network.cut(2.0)
        await look_about(viewer, 5.0)
        after = await look_about(viewer, 3.0)
        assert viewer.connection_state == "connected"
        assert after.frames > 3.0 * 20
        assert after.crc_failures == 0
        assert after.bytes_received > 0.5 * before.bytes_received


@asynccontextmanager
async def browser_behind(browser: Browser, network: EmulatedNetwork) -> AsyncIterator[Browser]:
    """Contexts of this browser made meanwhile have their media go through the network."""
    plain = browser.new_context

    async def answer(route: Route) -> None:
        if route.request.method != "POST":
            await route.continue_()
            return
        response = await route.fetch()
        body = await network.behind(await response.text()) if response.status == 201 else await response.text()
        await route.fulfill(response=response, body=body)

    async def new_context(**options):
        context = await plain(**options)
        for path in ("**/whep/**", "**/whip"):
            await context.route(path, answer)
        return context

    vars(browser)["new_context"] = new_context
    try:
        yield browser
    finally:
        del vars(browser)["new_context"]


@pytest.mark.chromium
async def test_browser_plays_through_a_lossy_line(farm: Farm, browser: Browser) -> None:
    async with (
        EmulatedNetwork(up=LOSSY, down=LOSSY) as network,
        browser_behind(browser, network),
        visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada,
    ):
        await ada.page.keyboard.down("KeyA")
        seen = await ada.frames(150)
        await ada.page.keyboard.up("KeyA")
        assert network.down.lost > 5
        assert seen["crcFailures"] == 0
        assert seen["frameNumbers"] == sorted(seen["frameNumbers"])


@pytest.mark.chromium
async def test_browser_resumes_by_itself_after_the_line_was_cut_for_long(farm: Farm, browser: Browser) -> None:
    line = Line(delay_s=0.01)
    async with (
        EmulatedNetwork(up=line, down=line) as network,
        browser_behind(browser, network),
        visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada,
    ):
        session = await ada.page.evaluate("window.farstage.session.grant.session")
        network.cut(14.0)
        await ada.until(lambda seen: "reconnecting" in seen["states"], "the page notices", 20)
        await ada.until(lambda seen: seen["states"][-1] == "live", "the connection is back", 30)
        await ada.frames(5)
        assert (await ada.frames(20))["crcFailures"] == 0, "no black picture between the old connection and the new one"
        assert await ada.page.evaluate("window.farstage.session.grant.session") == session
