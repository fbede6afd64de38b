"""An operator tells a room something and moves a visitor to another room, in real Chromium and in the Python viewer."""

import pytest
from playwright.async_api import Browser

from broker.protocol import DataMessage, JoinRequest, Mode, Role, RoomCreate, RoomData, RoomPatch
from client_demo.headless.api import BrokerClient, Refused
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.browser import Visitor, visiting
from tests.support.running_farm import join_link
from tests.support.waiting import until

pytestmark = pytest.mark.chromium
LISTEN = """() => {
  window.heard = [];
  window.farstage.session.on('data', ({topic, value, sender}) =>
    window.heard.push([topic, value instanceof Uint8Array ? [...value] : value, sender]));
}"""


async def is_in(visitor: Visitor, room: str) -> None:
    """Wait until the visitor's page shows pictures of this room."""
    there = "room => window.farstage.session?.grant.room === room"
    await visitor.page.wait_for_function(there, arg=room, timeout=15_000)
    await visitor.frames(5)


async def test_data_reaches_the_page_and_the_python_viewer(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="told", open=True))
        grant = await client.join("told", JoinRequest(display_name="Script"))
        async with (
            HeadlessViewer(client, grant, decodes=False) as viewer,
            visiting(browser, f"{farm.broker_url}/?room=told", "Ada", bypass_csp=True) as ada,
        ):
            await ada.page.evaluate(LISTEN)
            assert await client.send_data("told", DataMessage(value="The tour begins")) == 2
            await ada.by("notices").get_by_text("The tour begins").wait_for()
            await client.send_data("told", DataMessage(topic="score", value={"points": [1, None, "三"]}))
            await client.send_data("told", DataMessage(topic="raw", binary=b"\x00\xff"))
            await ada.page.wait_for_function("window.heard.length === 3")
            heard = await ada.page.evaluate("window.heard")
            assert heard[1:] == [["score", {"points": [1, None, "三"]}, None], ["raw", [0, 255], None]]
            await until(lambda: len(data_of(viewer)) == 3, "the viewer's data")
            assert data_of(viewer)[1].value == {"points": [1, None, "三"]}
            assert data_of(viewer)[2].binary == b"\x00\xff"


def data_of(viewer: HeadlessViewer) -> list[RoomData]:
    return [event for event in viewer.events if isinstance(event, RoomData)]


async def test_a_visitor_is_moved_without_doing_anything_and_keeps_role_and_name(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="first", mode=Mode.EXPLORE))
        await client.create_room(RoomCreate(room="second", mode=Mode.GALLERY, waiting_room=True))
        link = await join_link(farm, "first", "Ada", Role.SPEAKER)
        async with visiting(browser, link, "Ada", bypass_csp=True) as ada:
            (before,) = await client.participants("first")
            await client.patch_room("second", RoomPatch(locked=True))
            with pytest.raises(Refused) as caught:
                await client.move("first", before.participant, "second")
            assert caught.value.problem.type.endswith("room-locked")
            await client.patch_room("second", RoomPatch(locked=False))
            await client.move("first", before.participant, "second")
            await ada.by("notices").get_by_text("You are now in second").wait_for()
            await is_in(ada, "second")
            (after,) = await client.participants("second")
            assert (after.role, after.display_name, after.identity) == (Role.SPEAKER, "Ada", before.identity)
            assert await client.participants("first") == []
            await client.move("second", after.participant, "first")
            await is_in(ada, "first")
            await ada.page.reload()
            await is_in(ada, "first")


async def test_who_cannot_be_placed_there_stays_and_is_told(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        for room in ("here", "vanishing"):
            await client.create_room(RoomCreate(room=room, open=True))
        async with visiting(browser, f"{farm.broker_url}/?room=here", "Bohr", bypass_csp=True) as bohr:
            (participant,) = await client.participants("here")

            async def close_first(route) -> None:
                await client.close_room("vanishing")
                await route.continue_()

            await bohr.page.route("**/v1/rooms/vanishing/join", close_first)
            await client.move("here", participant.participant, "vanishing")
            await bohr.by("notices").get_by_text("stay here").wait_for()
            await bohr.frames(5)
            assert [p.participant for p in await client.participants("here")] == [participant.participant]
