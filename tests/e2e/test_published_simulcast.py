"""Simulcast from a browser's WHIP publisher to viewers behind lines of different width."""

import asyncio

import pytest
from playwright.async_api import Browser

from farstage.farm import Farm
from tests.e2e.test_poor_networks import browser_behind
from tests.support.browser import Visitor, visiting
from tests.support.camera import camera
from tests.support.network import EmulatedNetwork, Line

pytestmark = pytest.mark.chromium

NARROW_BPS = 450_000
"""Between what the middle layer and what the highest takes."""
_ENCODED = """async () => [...(await window.peer.getStats()).values()]
  .filter((row) => row.type === 'outbound-rtp' && row.kind === 'video')
  .map((row) => ({rid: row.rid, width: row.frameWidth, frames: row.framesEncoded}))"""
_SEEN = """async () => {
  const video = document.querySelector('[data-testid="stage-video"]');
  const connection = window.farstage.session?._viewer?.connection;
  if (!connection) return {width: 0};
  const rows = [...(await connection.getStats()).values()];
  const received = rows.find((row) => row.type === 'inbound-rtp' && row.kind === 'video');
  return {width: video.videoWidth, frames: received?.framesDecoded, lost: received?.packetsLost,
          frozen: received?.totalFreezesDuration, ssrc: received?.ssrc};
}"""


async def until_width(visitor: Visitor, fits, what: str, seconds: float = 30.0) -> dict:
    seen: dict = {}
    try:
        async with asyncio.timeout(seconds):
            while True:
                seen = await visitor.page.evaluate(_SEEN)
                if fits(seen["width"]):
                    return seen
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}; last seen {seen}") from None


async def test_narrow_line_gets_a_lower_layer_and_the_highest_again_when_it_widens(
    farm: Farm, browser: Browser
) -> None:
    async with (
        camera(browser, farm, "arena") as publisher,
        visiting(browser, f"{farm.broker_url}/?room=arena", "Wide", seen=False) as wide,
        EmulatedNetwork(up=Line(delay_s=0.02), down=Line(delay_s=0.02)) as network,
        browser_behind(browser, network),
        visiting(browser, f"{farm.broker_url}/?room=arena", "Narrow", seen=False) as narrow,
    ):
        await until_width(wide, lambda width: width == 1280, "the wide line's viewer gets the highest layer")
        before = await until_width(narrow, lambda width: width == 1280, "so does the other, while its line is wide")
        network.change(rate_bps=NARROW_BPS)
        lower = await until_width(narrow, lambda width: 0 < width < 1280, "a lower layer for the narrow line")
        await asyncio.sleep(4.0)
        encoded_before = {layer["rid"]: layer["frames"] for layer in await publisher.evaluate(_ENCODED)}
        settled = await narrow.page.evaluate(_SEEN)
        await asyncio.sleep(6.0)
        later = await narrow.page.evaluate(_SEEN)
        encoded = {
            layer["rid"]: layer["frames"] - encoded_before[layer["rid"]]
            for layer in await publisher.evaluate(_ENCODED)
            if layer["width"] == later["width"]
        }
        shown = later["frames"] - settled["frames"]
        assert shown > 0.7 * min(encoded.values()) > 6, f"the lower layer flows: {shown} of {encoded}"
        assert later["frozen"] - before["frozen"] < 2.0, "from the moment that the line narrows"
        assert later["frozen"] - settled["frozen"] < 0.5
        assert later["width"] < 1280
        assert (await wide.page.evaluate(_SEEN))["width"] == 1280, "nobody else is held down"
        network.change(rate_bps=None)
        after = await until_width(narrow, lambda width: width == 1280, "the highest layer again", 60)
        assert before["ssrc"] == lower["ssrc"] == after["ssrc"], "without renegotiation"
