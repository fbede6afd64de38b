"""A firewall that lets no UDP through: browsers join by TCP, on the edge's one port."""

import pytest
from playwright.async_api import Browser

from farstage.farm import Farm
from tests.e2e.test_poor_networks import browser_behind
from tests.support.browser import visiting
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
            assert await ada.page.evaluate(PROTOCOL) == "tcp"


PROTOCOL = """async () => {
  const report = await window.farstage.session._viewer.connection.getStats();
  const stats = [...report.values()];
  const pair = stats.find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
  return stats.find((entry) => entry.id === pair.remoteCandidateId).protocol;
}"""
