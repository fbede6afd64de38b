"""The waiting room and the lock, seen by a visitor and by the operator who opens the door, in real Chromium."""

import os

import pytest
from playwright.async_api import Browser

from broker.protocol import Mode, RoomCreate
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm

pytestmark = pytest.mark.chromium
PICTURES = os.environ.get("FARSTAGE_TEST_PICTURES")
"""Where to put pictures of what the test saw; none by default."""


async def test_visitor_waits_until_the_operator_lets_them_in_and_a_locked_room_says_so(
    farm: Farm, browser: Browser
) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="atelier", mode=Mode.GALLERY, open=True, waiting_room=True))
    desk_context = await browser.new_context(locale="en-US", viewport={"width": 1280, "height": 900})
    desk = await desk_context.new_page()
    await desk.goto(f"{farm.broker_url}/operator#key={farm.api_key}")
    visitor_context = await browser.new_context(locale="en-US", viewport={"width": 900, "height": 700})
    visitors = [await visitor_context.new_page() for _ in range(2)]
    for page, name in zip(visitors, ("Ada", "Grace"), strict=True):
        await page.goto(f"{farm.broker_url}/?room=atelier")
        await page.get_by_test_id("lobby-name").fill(name)
        await page.get_by_test_id("lobby-join").click()
        await page.get_by_text("Waiting to be let in").wait_for()
    await visitors[1].get_by_text("1 before you").wait_for()
    await desk.get_by_test_id("op-show-atelier").click()
    people = desk.get_by_test_id("op-participants")
    await people.get_by_text("Grace").wait_for()
    if PICTURES:
        await desk.screenshot(path=f"{PICTURES}/desk.png", full_page=True)
        await visitors[1].screenshot(path=f"{PICTURES}/door.png")
    waiting = people.locator('[data-testid^="op-waiting-"]')
    await waiting.filter(has_text="Ada").get_by_role("button", name="Let in").click()
    await visitors[0].get_by_test_id("stage-video").wait_for()
    await visitors[1].get_by_text("You are next").wait_for(timeout=15_000)
    await waiting.filter(has_text="Grace").get_by_role("button", name="Send away").click()
    await visitors[1].get_by_text("The host did not let you in").wait_for()
    await desk.get_by_test_id("op-lock-room-atelier").click()
    await desk.get_by_test_id("op-room-atelier").get_by_text("locked", exact=False).wait_for()
    late = await visitor_context.new_page()
    await late.goto(f"{farm.broker_url}/?room=atelier")
    await late.get_by_test_id("lobby-name").fill("Late")
    await late.get_by_test_id("lobby-join").click()
    await late.get_by_text("The room is locked").wait_for()
    await visitor_context.close()
    await desk_context.close()
