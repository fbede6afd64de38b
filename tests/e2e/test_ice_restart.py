"""A visitor's network changes: ICE restarts on the connection that plays."""

import asyncio

import pytest
from playwright.async_api import Browser
from playwright.async_api import Error as PlaywrightError

from farstage.farm import Farm
from tests.support.browser import Visitor, visiting

LOOK = """async () => {
  const { connection } = window.farstage.session._viewer;
  const stats = [...(await connection.getStats()).values()];
  const transport = stats.find((entry) => entry.type === 'transport');
  const pair = stats.find((entry) => entry.id === transport.selectedCandidatePairId);
  const [local, remote] = [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.find((e) => e.id === id));
  const video = stats.find((entry) => entry.type === 'inbound-rtp' && entry.kind === 'video');
  const ufrag = (description) => /a=ice-ufrag:(.*)/.exec(description.sdp)[1];
  return {
    ours: ufrag(connection.currentLocalDescription),
    theirs: ufrag(connection.currentRemoteDescription),
    used: [local.usernameFragment, remote.usernameFragment],
    ssrc: video.ssrc,
    frames: video.framesDecoded,
    dtls: transport.dtlsState,
    state: connection.connectionState,
  };
}"""


async def restarted(ada: Visitor, before: dict) -> dict:
    """What the page sees once media goes by a pair that was found with the new credentials."""
    async with asyncio.timeout(10):
        while True:
            seen = await ada.page.evaluate(LOOK)
            if seen["theirs"] != before["theirs"] and seen["used"] == [seen["ours"], seen["theirs"]]:
                return seen
            await asyncio.sleep(0.1)


@pytest.mark.chromium
async def test_picture_goes_on_while_ice_restarts_by_patch(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada:
        await ada.frames(30)
        patches = []
        ada.page.on("response", lambda response: patches.append(response) if response.request.method == "PATCH" else 0)
        before = await ada.page.evaluate(LOOK)
        await ada.page.evaluate("window.farstage.session._viewer.restartIce(AbortSignal.timeout(5000))")
        after = await restarted(ada, before)
        assert [response.status for response in patches] == [200]
        assert "etag" in patches[0].headers
        assert after["ours"] != before["ours"]
        assert (after["ssrc"], after["dtls"], after["state"]) == (before["ssrc"], "connected", "connected")
        seen = await ada.frames(60)
        assert seen["crcFailures"] == 0
        assert seen["frameNumbers"] == sorted(seen["frameNumbers"])
        assert "reconnecting" not in seen["states"]
        assert (await ada.page.evaluate(LOOK))["frames"] > before["frames"] + 60


@pytest.mark.chromium
async def test_page_restarts_ice_by_itself_when_the_network_is_back(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada:
        await ada.frames(30)
        before = await ada.page.evaluate(LOOK)
        await ada.page.evaluate("dispatchEvent(new Event('online'))")
        await restarted(ada, before)
        assert "reconnecting" not in (await ada.frames(30))["states"]


@pytest.mark.chromium
async def test_restart_that_the_edge_refuses_leaves_the_connection_as_it_was(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada:
        await ada.frames(30)
        await ada.page.route(
            "**/whep/**",
            lambda route: route.fulfill(status=422) if route.request.method == "PATCH" else route.continue_(),
        )
        with pytest.raises(PlaywrightError, match="FarstageError"):
            await ada.page.evaluate("window.farstage.session._viewer.restartIce(AbortSignal.timeout(5000))")
        signaling = "window.farstage.session._viewer.connection.signalingState"
        assert await ada.page.evaluate(signaling) == "stable"
        seen = await ada.frames(60)
        assert seen["crcFailures"] == 0
        assert "reconnecting" not in seen["states"]
