"""A page in real Chromium that publishes a moving picture by WHIP, in three simulcast encodings."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page

from broker.protocol import Mode, RoomCreate, TokenRequest
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm

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


@asynccontextmanager
async def camera(browser: Browser, farm: Farm, room: str) -> AsyncIterator[Page]:
    """A page that publishes three encodings to the stage of a new room."""
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room=room, mode=Mode.CONFERENCE, open=True))
        grant = await client.mint_token(room, TokenRequest(identity="cam", display_name="Camera", publish=True))
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(f"{farm.broker_url}/operator")
    await page.evaluate(_PUBLISH, [grant.link, grant.token])
    yield page
    await context.close()
