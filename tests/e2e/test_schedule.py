"""A room that opens and closes by the clock, as a visitor sees it in real Chromium."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser

from broker.protocol import Mode, RoomCreate, RoomPatch
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.support.browser import visiting

pytestmark = pytest.mark.chromium


def in_s(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


async def test_visitor_waits_for_the_opening_is_warned_and_sees_the_end(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="evening", mode=Mode.EXPLORE, open=True, open_at=in_s(3600)))
        url = f"{farm.broker_url}/?room=evening"
        async with visiting(browser, url, "Early", seen=False) as early:
            await early.by("banner").get_by_text("The room is not open yet").wait_for()
            await early.by("banner").get_by_text("It opens at").wait_for()
        await client.patch_room("evening", RoomPatch(open_at=None))
        async with visiting(browser, url, "Ada") as ada:
            await client.patch_room("evening", RoomPatch(close_at=in_s(250)))
            await ada.by("notices").get_by_text("The room closes in 5 min").wait_for()
            await client.patch_room("evening", RoomPatch(close_at=in_s(1)))
            await ada.by("banner").get_by_text("The event is over").wait_for()
        assert "evening" not in [room.room for room in await client.rooms()]
