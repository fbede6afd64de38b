"""The visitor page in real Chromium, against real processes."""

import asyncio
import itertools

import numpy as np
import pytest
from playwright.async_api import Browser, expect

from broker.protocol import Mode, Role, RoomCreate
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.support.browser import visiting
from tests.support.running_farm import join_link

pytestmark = pytest.mark.chromium


def room_url(farm: Farm, room: str) -> str:
    return f"{farm.broker_url}/?room={room}"


@pytest.mark.parametrize("room", ["walk", "relics", "hall"])
async def test_each_mode_plays_with_rising_frame_numbers_and_valid_checksums(
    farm: Farm, browser: Browser, room: str
) -> None:
    async with visiting(browser, room_url(farm, room), "Ada") as ada:
        if room == "relics":
            await ada.page.keyboard.down("ArrowLeft")
        seen = await ada.until(lambda read: len(read["frameNumbers"]) >= 20, "20 readable frames")
        numbers = seen["frameNumbers"]
        assert all(later > earlier for earlier, later in itertools.pairwise(numbers)), numbers
        assert seen["crcFailures"] == 0
        assert (await ada.picture()).std() > 5, "the picture shows something"


async def test_key_press_changes_the_picture_and_its_number_comes_back(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "walk"), "Ada") as ada:
        before = await ada.picture()
        assert (await ada.probe())["lastInput"] == 0
        await ada.page.keyboard.down("KeyW")
        await ada.until(lambda read: read["lastInput"] > 0, "the input's number in the barcode")
        await ada.frames(20)
        await ada.page.keyboard.up("KeyW")
        sent = (await ada.probe())["sent"]
        seen = await ada.until(lambda read: read["lastInput"] >= sent, "the last input's number")
        after = await ada.picture()
        assert np.abs(after - before).mean() > 2.0
        assert seen["inputToPhotonMs"], "input to photon is measured"


async def test_picture_stands_still_without_input(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "walk"), "Ada") as ada:
        before = await ada.picture()
        await ada.frames(15)
        assert np.abs(await ada.picture() - before).mean() < 1.5


async def test_second_visitor_appears_in_the_list_and_in_the_picture(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "walk"), "Ada") as ada:
        await ada.frames(10)
        alone = await ada.picture()
        async with visiting(browser, room_url(farm, "walk"), "Bohr") as bohr:
            await ada.by("btn-people").click()
            await ada.by("people-list").get_by_text("Bohr").wait_for()
            await bohr.by("btn-people").click()
            await bohr.by("people-list").get_by_text("Ada").wait_for()
            # Both spawn side by side looking the same way; a few steps ahead Bohr stands in Ada's view.
            await bohr.page.keyboard.down("KeyW")
            changed = 0.0
            for _ in range(40):
                await ada.frames(4)
                changed = max(changed, float((np.abs(await ada.picture() - alone) > 40).mean()))
                if changed > 0.002:
                    break
            assert changed > 0.002, "an avatar changes the picture"
        await ada.by("people-list").get_by_text("Bohr").wait_for(state="detached")


async def test_raised_hand_is_seen_by_everybody_within_a_second(farm: Farm, browser: Browser) -> None:
    async with (
        visiting(browser, room_url(farm, "hall"), "Ada") as ada,
        visiting(browser, room_url(farm, "hall"), "Bohr") as bohr,
    ):
        await bohr.by("btn-people").click()
        await bohr.by("people-list").get_by_text("Ada").wait_for()
        participant = await ada.page.evaluate("window.farstage.session.grant.participant")
        entry = bohr.by(f"person-{participant}")
        before = await entry.inner_html()
        await ada.by("btn-hand").click()
        await bohr.page.wait_for_function(
            "([id, before]) => document.querySelector(`[data-testid='${id}']`).innerHTML !== before",
            arg=[f"person-{participant}", before],
            timeout=1000,
        )
        async with BrokerClient(farm.broker_url, farm.api_key) as client:
            hands = {entry.participant: entry.hand_raised for entry in await client.participants("hall")}
        assert hands[participant]


async def test_host_moves_the_stage_camera_for_everybody(farm: Farm, browser: Browser) -> None:
    host_link = await join_link(farm, "hall", "Host", Role.HOST)
    async with (
        visiting(browser, host_link, "Host") as host,
        visiting(browser, room_url(farm, "hall"), "Ada") as ada,
    ):
        await ada.frames(5)
        before = await ada.picture()
        await host.by("btn-cameras").click()
        await host.by("camera-picker").get_by_role("button").last.click()
        await ada.until_changed(before, 5.0)
        assert not await ada.by("btn-cameras").is_visible(), "visitors have no camera picker"


async def test_gallery_rests_near_zero_bitrate_and_wakes_with_input(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "relics"), "Ada") as ada:
        last = -1
        for _ in range(40):
            frames = (await ada.probe())["frames"]
            if frames == last:
                break
            last = frames
            await ada.page.wait_for_timeout(700)
        assert (await ada.probe())["frames"] == last, "nothing is sent at rest"
        rested = await ada.picture()
        await ada.page.mouse.move(480, 270)
        await ada.page.mouse.down()
        await ada.page.mouse.move(640, 270, steps=8)
        await ada.page.mouse.up()
        await ada.until_changed(rested, 1.0)


async def test_exhibits_can_be_chosen(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "relics"), "Ada") as ada:
        before = await ada.picture()
        await ada.by("btn-exhibits").click()
        choices = ada.by("exhibit-picker").get_by_role("button")
        await choices.first.wait_for()
        assert await choices.count() >= 8
        await choices.nth(4).click()
        await ada.until_changed(before, 1.0)


async def test_phone_walks_with_the_joystick_and_looks_by_dragging(farm: Farm, browser: Browser) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    async with visiting(browser, room_url(farm, "walk"), "Ada", **phone) as ada:
        width, height, _ = await ada.page.evaluate(
            "(() => { const v = document.querySelector('video'); return [v.videoWidth, v.videoHeight, 0]; })()"
        )
        assert height > width, "a portrait phone gets a portrait picture"
        overflow = (
            "document.documentElement.scrollWidth <= innerWidth && document.documentElement.scrollHeight <= innerHeight"
        )
        assert await ada.page.evaluate(overflow)
        before = await ada.picture()
        box = await ada.by("joystick").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        touch = await ada.page.context.new_cdp_session(ada.page)
        await touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
        await touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 50}]})
        await ada.until(lambda read: read["lastInput"] > 0, "the joystick's input in the barcode")
        await ada.until_changed(before, 1.0)
        await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        walked = await ada.picture()
        await touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 250, "y": 300}]})
        for step in range(1, 9):
            point = {"x": 250 - 15 * step, "y": 300}
            await touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [point]})
        await touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        await ada.until_changed(walked, 2.0)


async def test_page_speaks_chinese_by_the_browsers_language_and_switches(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "walk"), "Ada", locale="zh-CN") as ada:
        assert await ada.page.evaluate("document.documentElement.lang") == "zh-CN"
        chinese = await ada.by("btn-leave").get_attribute("aria-label")
        await ada.by("btn-language").click()
        english = await ada.by("btn-leave").get_attribute("aria-label")
        assert english == "Leave"
        assert chinese != english
        await ada.by("btn-leave").click()
        await ada.by("banner-language").click()
        await expect(ada.by("banner")).to_contain_text("离开")


async def test_overlay_shows_live_figures(farm: Farm, browser: Browser) -> None:
    async with visiting(browser, room_url(farm, "walk"), "Ada") as ada:
        await ada.by("btn-stats").click()
        await ada.page.keyboard.down("KeyA")
        await ada.page.wait_for_timeout(2500)
        await ada.page.keyboard.up("KeyA")
        text = await ada.by("stats-overlay").inner_text()
        assert "640" in text
        digits = [word for word in text.replace("\n", " ").split() if word.replace(".", "").isdigit()]
        assert len(digits) >= 6, text


async def test_leaving_ends_the_session_at_once(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="leaving", mode=Mode.EXPLORE, open=True))
        async with visiting(browser, room_url(farm, "leaving"), "Ada") as ada:
            assert len(await client.participants("leaving")) == 1
            await ada.by("btn-leave").click()
            await ada.by("stage-video").wait_for(state="hidden")
            async with asyncio.timeout(3):
                while await client.participants("leaving"):
                    await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("/?room=nowhere", "no room"),
        ("/?room=private", "invitation"),
        ("/?room=walk#token=abc.def.ghi", "link"),
    ],
)
async def test_refusals_are_told_in_plain_words(farm: Farm, browser: Browser, url: str, words: str) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.ensure_room(RoomCreate(room="private", mode=Mode.EXPLORE))
    async with visiting(browser, farm.broker_url + url, "Ada", seen=False) as ada:
        banner = ada.by("banner")
        await banner.wait_for()
        await ada.page.wait_for_function(
            "words => document.querySelector('[data-testid=banner]').innerText.toLowerCase().includes(words)", arg=words
        )


async def test_full_room_is_waited_for_with_words_and_an_end(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="small", mode=Mode.EXPLORE, open=True, max_participants=1))
    async with (
        visiting(browser, room_url(farm, "small"), "Ada") as ada,
        visiting(browser, room_url(farm, "small"), "Bohr", seen=False) as bohr,
    ):
        await bohr.by("banner").get_by_text("wait", exact=False).first.wait_for()
        await ada.by("btn-leave").click()
        await bohr.until(lambda read: len(read["frameNumbers"]) >= 5, "a place after the other left", 30)


async def test_removed_visitor_is_told_and_does_not_come_back(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="strict", mode=Mode.EXPLORE, open=True))
        async with visiting(browser, room_url(farm, "strict"), "Ada") as ada:
            (participant,) = await client.participants("strict")
            await client.remove_participant("strict", participant.participant)
            await ada.by("banner").get_by_text("asked you to leave").wait_for()
            await ada.page.wait_for_timeout(1500)
            assert await client.participants("strict") == []


async def test_decode_statistics_of_the_page_reach_the_operator(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="measured", mode=Mode.EXPLORE, open=True))
        async with visiting(browser, room_url(farm, "measured"), "Ada") as ada:
            await ada.page.keyboard.down("KeyD")
            missing = {
                "frames_per_s": "claimed by the page",
                "input_to_photon_ms": "read from the barcode by the page",
                "sent_bps": "measured by the edge",
                "rtt_ms": "measured by the edge, once its sender report was answered",
                "loss": "measured by the edge",
            }
            for _ in range(60):
                (participant,) = await client.participants("measured")
                missing = {key: why for key, why in missing.items() if getattr(participant.report, key, None) is None}
                if not missing:
                    break
                await ada.page.wait_for_timeout(250)
            assert not missing
            assert participant.report is not None
            assert participant.report.sent_bps > 0
            assert participant.report.loss == 0.0


async def test_stage_is_drawn_and_encoded_once_for_everybody(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="lecture", mode=Mode.CONFERENCE, open=True))
        await views_become(client, 0)
        async with (
            visiting(browser, room_url(farm, "lecture"), "Ada") as ada,
            visiting(browser, room_url(farm, "lecture"), "Bohr") as bohr,
            visiting(browser, room_url(farm, "lecture"), "Curie") as curie,
        ):
            for visitor in (ada, bohr, curie):
                await visitor.frames(10)
            assert len(await client.participants("lecture")) == 3
            await views_become(client, 1)
        await views_become(client, 0)


async def views_become(client: BrokerClient, count: int) -> None:
    """Wait until the node holds so many views."""
    views = -1
    for _ in range(200):
        views = (await client.nodes())[0].load.views
        if views == count:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"the node holds {views} views, not {count}")
