"""The operator page in real Chromium."""

import asyncio

import pytest
from playwright.async_api import Browser

from broker.protocol import JoinRequest, Mode, RoomCreate
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.whip_publisher import HEIGHT, WIDTH, publishing

pytestmark = pytest.mark.chromium


async def test_operator_creates_a_room_watches_it_removes_somebody_and_drains_a_node(
    farm: Farm, browser: Browser
) -> None:
    context = await browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(f"{farm.broker_url}/operator#key={farm.api_key}")
    await page.get_by_test_id("op-node-node-1").wait_for()
    assert farm.api_key not in page.url, "the key leaves the address bar"
    await page.get_by_test_id("op-create-open").click()
    await page.get_by_test_id("op-create-name").fill("wing")
    await page.get_by_test_id("op-create-submit").click()
    await page.get_by_test_id("op-room-wing").wait_for()
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        (room,) = [room for room in await client.rooms() if room.room == "wing"]
        if not room.open:
            await client.open_room("wing")
        grant = await client.join("wing", JoinRequest(display_name="Ada Lovelace"))
        async with HeadlessViewer(client, grant):
            await page.get_by_test_id("op-show-wing").click()
            await page.get_by_test_id("op-participants").get_by_text("Ada Lovelace").wait_for()
            await page.get_by_test_id(f"op-remove-{grant.participant}").click()
            await page.get_by_test_id("op-confirm").click()
            await page.get_by_test_id("op-participants").get_by_text("Ada Lovelace").wait_for(state="detached")
            assert await client.participants("wing") == []
        await page.get_by_test_id("op-drain-node-1").click()
        if await page.get_by_test_id("op-confirm").is_visible():
            await page.get_by_test_id("op-confirm").click()
        await page.get_by_test_id("op-node-node-1").get_by_text("drain", exact=False).first.wait_for()

        async def states() -> list[str]:
            return [node.state for node in await client.nodes()]

        await until_state(states, "drain")
        await page.get_by_test_id("op-drain-node-1").click()
        await until_state(states, "ready")
        region = page.get_by_test_id("op-region-local")
        await region.get_by_text("1 of 1 nodes in service", exact=False).wait_for()
        await page.get_by_test_id("op-drain-region-local").click()
        await page.get_by_test_id("op-confirm").click()
        await region.get_by_text("0 of 1 nodes in service", exact=False).wait_for()
        await until_state(states, "drain")
        await page.get_by_test_id("op-drain-region-local").click()
        await until_state(states, "ready")
    await context.close()


async def until_state(states, wanted: str) -> None:
    async with asyncio.timeout(10):
        while not any(state.startswith(wanted) for state in await states()):
            await asyncio.sleep(0.1)


async def test_operator_gives_an_encoder_its_address_and_token_and_sees_what_it_sends(
    farm: Farm, browser: Browser
) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="podium", mode=Mode.CONFERENCE, open=True))
    context = await browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    page = await context.new_page()
    await page.goto(f"{farm.broker_url}/operator#key={farm.api_key}")
    await page.get_by_test_id("op-show-podium").click()
    await page.get_by_test_id("op-invite-name").fill("Camera one")
    await page.get_by_test_id("op-invite-role").select_option("publisher")
    await page.get_by_test_id("op-invite").click()
    await page.get_by_test_id("op-publish-dialog").wait_for()
    address = await page.get_by_test_id("op-publish-address").input_value()
    token = await page.get_by_test_id("op-publish-token").input_value()
    await page.get_by_test_id("op-publish-dialog").get_by_role("button").click()
    async with publishing(address, token, 0):
        people = page.get_by_test_id("op-participants")
        for seen in ("Camera one", "sends the stage", f"{WIDTH} × {HEIGHT}"):
            await people.get_by_text(seen, exact=False).wait_for()
    await context.close()


async def test_wrong_key_is_told_in_words(farm: Farm, browser: Browser) -> None:
    context = await browser.new_context(locale="en-US")
    page = await context.new_page()
    await page.goto(f"{farm.broker_url}/operator#key=wrong-key-wrong-key")
    await page.get_by_test_id("op-key").wait_for()
    await page.get_by_text("does not accept this key").wait_for()
    assert await page.get_by_test_id("op-rooms").count() == 0 or not await page.get_by_test_id("op-rooms").is_visible()
    await context.close()
