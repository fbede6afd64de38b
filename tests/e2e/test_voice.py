"""People hear each other: one Chromium's microphone (Chromium's own beeps) comes out of another's loudspeaker."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from broker.protocol import ParticipantPatch, Role
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.support.browser import Visitor, launched, visiting
from tests.support.running_farm import join_link

pytestmark = pytest.mark.chromium

FAKE_MICROPHONE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
_ENERGY = """async () => {
  const connection = window.farstage.session._viewer.connection;
  for (const row of (await connection.getStats()).values())
    if (row.type === 'inbound-rtp' && row.kind === 'audio') return row.totalAudioEnergy ?? 0;
  return 0;
}"""
AUDIBLE_ENERGY = 1e-4


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def speaking_browser() -> AsyncIterator[Browser]:
    async with launched(FAKE_MICROPHONE) as running:
        yield running


async def energy(visitor: Visitor) -> float:
    return float(await visitor.page.evaluate(_ENERGY))


async def until_heard(visitor: Visitor) -> None:
    """Wait until the visitor's loudspeaker gives more sound than it has so far."""
    before = await energy(visitor)
    async with asyncio.timeout(15):
        while await energy(visitor) < before + AUDIBLE_ENERGY:
            await asyncio.sleep(0.1)


async def until_silent(visitor: Visitor) -> None:
    """Wait until nothing is heard for longer than the pause between two beeps."""
    async with asyncio.timeout(15):
        while True:
            before = await energy(visitor)
            await asyncio.sleep(2.0)
            if await energy(visitor) < before + AUDIBLE_ENERGY / 100:
                return


@pytest.mark.parametrize("room", ["walk", "hall"])
async def test_others_hear_who_opens_the_microphone_until_the_operator_mutes(
    farm: Farm, speaking_browser: Browser, room: str
) -> None:
    speaker = await join_link(farm, room, "Ada", Role.SPEAKER)
    async with (
        visiting(speaking_browser, speaker, "Ada") as ada,
        visiting(speaking_browser, f"{farm.broker_url}/?room={room}", "Bohr") as bohr,
    ):
        if await bohr.page.evaluate("document.querySelector('video').muted"):
            await bohr.by("btn-mute").click()
        assert await energy(bohr) < AUDIBLE_ENERGY
        await ada.by("btn-microphone").click()
        await until_heard(bohr)
        assert await energy(ada) < AUDIBLE_ENERGY, "nobody hears themself"
        participant = await ada.page.evaluate("window.farstage.session.grant.participant")
        async with BrokerClient(farm.broker_url, farm.api_key) as client:
            await client.patch_participant(room, participant, ParticipantPatch(muted=True))
            await until_silent(bohr)
            await client.patch_participant(room, participant, ParticipantPatch(muted=False))
        await until_heard(bohr)
