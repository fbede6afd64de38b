"""The stage from outside: FFmpeg publishes by WHIP; its picture and sound reach viewers, and leave them again."""

import asyncio

import pytest
from aiohttp import ClientSession
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from playwright.async_api import Browser

from broker.protocol import JoinRequest, Mode, RoomCreate, TokenRequest
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.browser import visiting
from tests.support.waiting import until
from tests.support.whip_publisher import publishing

FIRST = 5_000_000
"""Pictures of the publisher count from here, so that they are told from the node's."""


async def stage(client: BrokerClient, room: str) -> tuple[str, str]:
    """A conference, and what an encoder is given to publish in it."""
    await client.create_room(RoomCreate(room=room, mode=Mode.CONFERENCE, open=True))
    grant = await client.mint_token(room, TokenRequest(identity="cam", display_name="Camera", publish=True))
    return grant.link, grant.token


def shows_publisher(viewer: HeadlessViewer) -> bool:
    return (viewer.reception.last_frame_number or 0) >= FIRST


def shows_node(viewer: HeadlessViewer) -> bool:
    number = viewer.reception.last_frame_number
    return number is not None and number < FIRST


async def test_stage_shows_ffmpeg_while_it_publishes_and_the_node_before_and_after(farm: Farm) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        link, token = await stage(client, "broadcast")
        grant = await client.join("broadcast", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer:
            await until(lambda: shows_node(viewer), "the node's picture")
            async with publishing(link, token, FIRST):
                await until(lambda: shows_publisher(viewer), "the publisher's picture", 20)
                connection, before = viewer.connection_state, viewer.reception.frames_lost
                seen = viewer.reception.frames
                await until(lambda: viewer.reception.frames > seen + 60, "two seconds of it", 10)
                assert viewer.reception.frames_lost == before
                assert viewer.reception.crc_failures == 0
                (camera,) = [p for p in await client.participants("broadcast") if p.publishes]
                assert camera.display_name == "Camera"
            await until(lambda: shows_node(viewer), "the node's picture again", 30)
            assert viewer.connection_state == connection == "connected"


async def test_removed_publisher_leaves_the_stage(farm: Farm) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        link, token = await stage(client, "debate")
        grant = await client.join("debate", JoinRequest(display_name="Ada"))
        async with HeadlessViewer(client, grant) as viewer, publishing(link, token, FIRST):
            await until(lambda: shows_publisher(viewer), "the publisher's picture", 20)
            (camera,) = [p for p in await client.participants("debate") if p.publishes]
            await client.remove_participant("debate", camera.participant)
            await until(lambda: shows_node(viewer), "the node's picture", 10)


async def test_player_that_knows_one_url_and_one_token_watches_the_stage(farm: Farm) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="foyer", mode=Mode.CONFERENCE))
        token = (await client.mint_token("foyer", TokenRequest(identity="tv", display_name="Screen"))).token
        player = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        receiver = player.addTransceiver("video", direction="recvonly").receiver
        await player.setLocalDescription(await player.createOffer())
        headers = {"Authorization": f"Bearer {token}"}
        async with ClientSession(headers=headers) as http:
            offer = player.localDescription.sdp
            url = f"{farm.broker_url}/v1/rooms/foyer/whep"
            async with http.post(url, data=offer, headers={"Content-Type": "application/sdp"}) as answer:
                assert answer.status == 201, await answer.text()
                await player.setRemoteDescription(RTCSessionDescription(await answer.text(), "answer"))
                resource = answer.headers["Location"]
            async with asyncio.timeout(15):
                assert (await receiver.track.recv()).width > 0
            async with http.delete(resource) as gone:
                assert gone.status == 200
        await player.close()
        async with asyncio.timeout(5):
            while await client.participants("foyer"):
                await asyncio.sleep(0.05)


_ENERGY = """async () => {
  for (const row of (await window.farstage.session._viewer.connection.getStats()).values())
    if (row.type === 'inbound-rtp' && row.kind === 'audio') return row.totalAudioEnergy ?? 0;
  return 0;
}"""


@pytest.mark.chromium
async def test_visitor_in_a_browser_sees_and_hears_the_publisher(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        link, token = await stage(client, "concert")
        async with visiting(browser, f"{farm.broker_url}/?room=concert", "Bohr") as bohr:
            if await bohr.page.evaluate("document.querySelector('video').muted"):
                await bohr.by("btn-mute").click()
            async with publishing(link, token, FIRST):
                async with asyncio.timeout(20):
                    while await bohr.page.evaluate(_ENERGY) < 1e-3:
                        await asyncio.sleep(0.1)
                size = "(({videoWidth, videoHeight}) => [videoWidth, videoHeight])(document.querySelector('video'))"
                async with asyncio.timeout(10):
                    while await bohr.page.evaluate(size) != [640, 360]:
                        await asyncio.sleep(0.1)
