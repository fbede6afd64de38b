"""A host moderates from the visitor page: gives the floor, mutes, removes."""

import pytest
from playwright.async_api import Browser

from broker.protocol import Mode, ParticipantPatch, Role, RoomCreate
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.support.browser import Visitor, visiting
from tests.support.running_farm import join_link

pytestmark = pytest.mark.chromium


async def role_becomes(visitor: Visitor, role: str) -> None:
    """Wait until the visitor's own page knows them under this role."""
    await visitor.page.wait_for_function("role => window.farstage.session.role === role", arg=role, timeout=3000)


async def test_host_gives_the_floor_mutes_and_removes(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="moderated", mode=Mode.CONFERENCE, open=True))
    async with (
        visiting(browser, await join_link(farm, "moderated", "Host", Role.HOST), "Host", bypass_csp=True) as host,
        visiting(browser, f"{farm.broker_url}/?room=moderated", "Bohr", bypass_csp=True) as bohr,
    ):
        participant = await bohr.page.evaluate("window.farstage.session.grant.participant")
        await bohr.by("btn-microphone").click()
        await bohr.by("notices").get_by_text("ask for the floor").wait_for()
        await bohr.by("btn-people").click()
        assert await bohr.by(f"mute-{participant}").count() == 0, "visitors have no host's buttons"
        await host.by("btn-people").click()
        await host.by(f"floor-{participant}").click()
        await role_becomes(bohr, "speaker")
        assert await bohr.page.evaluate("window.farstage.session.heard")
        await host.by(f"mute-{participant}").click()
        await bohr.by("notices").get_by_text("muted you").wait_for()
        assert not await bohr.page.evaluate("window.farstage.session.heard")
        await host.by(f"remove-{participant}").click()
        assert await host.by(f"person-{participant}").count() == 1, "one press removes nobody"
        await host.by(f"remove-{participant}").click()
        await bohr.by("banner").get_by_text("asked you to leave").wait_for()
        await host.by(f"person-{participant}").wait_for(state="detached")


async def test_visitor_made_host_gets_a_hosts_controls(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="promoted", mode=Mode.CONFERENCE, open=True))
        async with visiting(browser, f"{farm.broker_url}/?room=promoted", "Ada", bypass_csp=True) as ada:
            assert not await ada.by("btn-cameras").is_visible()
            (participant,) = await client.participants("promoted")
            await client.patch_participant("promoted", participant.participant, ParticipantPatch(role=Role.HOST))
            await role_becomes(ada, "host")
            await ada.by("btn-cameras").wait_for()


async def test_host_lets_in_who_waits_and_mutes_all_from_the_page(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="salon", mode=Mode.EXPLORE, open=True, waiting_room=True))
        url = f"{farm.broker_url}/?room=salon"
        async with (
            visiting(browser, url, "Bohr", seen=False, bypass_csp=True) as bohr,
            visiting(browser, url, "Crank", seen=False) as crank,
        ):
            await bohr.page.get_by_text("Waiting to be let in").wait_for()
            await crank.page.get_by_text("Waiting to be let in").wait_for()
            async with visiting(browser, await join_link(farm, "salon", "Host", Role.HOST), "Host") as host:
                await host.by("btn-people").click()
                row = host.by("door").get_by_role("listitem")
                await row.filter(has_text="Bohr").get_by_role("button", name="Let in").click()
                await bohr.frames(3)
                await bohr.by("btn-people").click()
                assert not await bohr.by("door").is_visible(), "visitors see no door"
                assert not await bohr.by("btn-mute-all").is_visible()
                await row.filter(has_text="Crank").get_by_role("button", name="Send away").click()
                await crank.page.get_by_text("The host did not let you in").wait_for()
                await host.by("door").wait_for(state="hidden")
                await host.by("btn-mute-all").click()
                await bohr.page.wait_for_function("window.farstage.session.muted")
                refused = await bohr.page.evaluate(CALLS_OF_A_HOST)
                assert refused == ["not-permitted"] * 4


CALLS_OF_A_HOST = """async () => {
  const { host, participant } = window.farstage.session;
  const calls = [host.waiting(), host.admit(), host.muteAll(), host.changeParticipant(participant, { muted: false })];
  return (await Promise.allSettled(calls)).map(({ reason }) => reason?.slug);
}"""
