"""A firewall that lets no UDP through: browsers watch and publish by TCP, on the edge's one port."""

import asyncio

import pytest
from playwright.async_api import Browser

from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.e2e.test_poor_networks import browser_behind
from tests.support.browser import visiting
from tests.support.camera import camera
from tests.support.network import EmulatedNetwork


@pytest.mark.chromium
async def test_browser_joins_by_tcp_where_udp_is_blocked(farm: Farm, browser: Browser) -> None:
    async with EmulatedNetwork(leaves_tcp=True) as network, browser_behind(browser, network):
        network.cut(3600.0)
        async with visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada:
            seen = await ada.frames(60)
            assert seen["crcFailures"] == 0
            assert seen["frameNumbers"] == sorted(seen["frameNumbers"])
            assert network.up.delivered == 0
            assert await ada.page.evaluate(PROTOCOL, "window.farstage.session._viewer.connection") == "tcp"


@pytest.mark.chromium
async def test_browser_publishes_by_tcp_where_udp_is_blocked(farm: Farm, browser: Browser) -> None:
    async with EmulatedNetwork(leaves_tcp=True) as network, browser_behind(browser, network):
        network.cut(3600.0)
        async with (
            camera(browser, farm, "tower") as publisher,
            BrokerClient(farm.broker_url, farm.api_key) as client,
            asyncio.timeout(30),
        ):
            while True:
                (entry,) = await client.participants("tower")
                if entry.report is not None and (entry.report.frames_per_s or 0) > 5:
                    break
                await asyncio.sleep(0.2)
            assert entry.publishes
            assert entry.report.received_bps > 100_000
            assert network.up.delivered == 0
            assert await publisher.evaluate(PROTOCOL, "window.peer") == "tcp"


PROTOCOL = """async (connection) => {
  const report = await eval(connection).getStats();
  const stats = [...report.values()];
  const pair = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
  return stats.find((entry) => entry.id === pair.remoteCandidateId).protocol;
}"""
