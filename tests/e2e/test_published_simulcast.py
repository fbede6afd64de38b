"""Simulcast from a browser's WHIP publisher to viewers behind lines of different width."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page

from broker.protocol import Mode, RoomCreate, TokenRequest
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.e2e.test_poor_networks import browser_behind
from tests.support.browser import Visitor, visiting
from tests.support.network import EmulatedNetwork, Line

pytestmark = pytest.mark.chromium

NARROW_BPS = 450_000
"""Between what the middle layer and what the highest takes."""
_PUBLISH = """async ([url, token]) => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 1280, height: 720});
  const context = canvas.getContext('2d');
  const discs = Array.from({length: 60}, (_, index) => ({
    x: 1280 * Math.random(), y: 720 * Math.random(), r: 20 + 50 * Math.random(),
    dx: 30 * Math.random() - 15, dy: 30 * Math.random() - 15, fill: `hsl(${index * 47 % 360} 60% 50%)`,
  }));
  setInterval(() => {
    context.fillStyle = '#806040';
    context.fillRect(0, 0, 1280, 720);
    for (const disc of discs) {
      disc.x = (disc.x + disc.dx + 1280) % 1280;
      disc.y = (disc.y + disc.dy + 720) % 720;
      context.fillStyle = disc.fill;
      context.beginPath();
      context.arc(disc.x, disc.y, disc.r, 0, 7);
      context.fill();
    }
  }, 1000 / 15);
  const peer = window.peer = new RTCPeerConnection();
  const [track] = canvas.captureStream(15).getVideoTracks();
  track.contentHint = 'detail';
  const sender = peer.addTransceiver(track, {direction: 'sendonly', sendEncodings: [
    {rid: 'low', scaleResolutionDownBy: 4, maxBitrate: 120000},
    {rid: 'half', scaleResolutionDownBy: 2, maxBitrate: 300000},
    {rid: 'high', maxBitrate: 1200000},
  ]});
  const {codecs} = RTCRtpSender.getCapabilities('video');
  sender.setCodecPreferences(codecs.filter((codec) => ['video/H264', 'video/rtx'].includes(codec.mimeType)));
  await peer.setLocalDescription();
  const headers = {Authorization: `Bearer ${token}`, 'Content-Type': 'application/sdp'};
  const answer = await fetch(url, {method: 'POST', headers, body: peer.localDescription.sdp});
  if (answer.status !== 201) throw new Error(await answer.text());
  await peer.setRemoteDescription({type: 'answer', sdp: await answer.text()});
}"""
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


@asynccontextmanager
async def camera(browser: Browser, farm: Farm, room: str) -> AsyncIterator[Page]:
    """A page that publishes three encodings to the stage of a new room."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room=room, mode=Mode.CONFERENCE, open=True))
        grant = await client.mint_token(room, TokenRequest(identity="cam", display_name="Camera", publish=True))
    page = await browser.new_page()
    await page.goto(f"{farm.broker_url}/operator")
    await page.evaluate(_PUBLISH, [grant.link, grant.token])
    yield page
    await page.close()


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
        assert later["frozen"] - settled["frozen"] < 1.0
        assert later["frozen"] - before["frozen"] < 3.0, "changing down is no long standstill"
        assert later["width"] < 1280
        assert (await wide.page.evaluate(_SEEN))["width"] == 1280, "nobody else is held down"
        network.change(rate_bps=None)
        after = await until_width(narrow, lambda width: width == 1280, "the highest layer again", 60)
        assert before["ssrc"] == lower["ssrc"] == after["ssrc"], "without renegotiation"
