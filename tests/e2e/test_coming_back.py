"""Reloading, turning the phone, resizing the window: what visitors do without thinking."""

import pytest
from playwright.async_api import Browser

from broker.protocol import Mode, Role, RoomCreate
from client_demo.headless.api import BrokerClient
from farstage.farm import Farm
from tests.support.browser import visiting
from tests.support.running_farm import join_link

pytestmark = pytest.mark.chromium

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}


async def test_invited_host_who_reloads_goes_on_with_the_same_session(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="closed", mode=Mode.CONFERENCE))
        link = await join_link(farm, "closed", "Ada", Role.HOST)
        async with visiting(browser, link, "Ada", bypass_csp=True) as ada:
            session = await ada.page.evaluate("window.farstage.session.grant.session")
            await ada.page.reload()
            await ada.page.wait_for_function("window.farstage.session !== null")
            await ada.until(lambda seen: len(seen["frameNumbers"]) >= 5, "pictures after the reload")
            assert await ada.page.evaluate("window.farstage.session.grant.session") == session
            await ada.by("btn-cameras").wait_for()
            assert len(await client.participants("closed")) == 1
            await ada.by("btn-leave").click()
            await ada.by("banner").wait_for()
            assert await ada.by("banner-rejoin").count() == 0, "an invitation lets in once"
            await ada.page.reload()
            await ada.by("banner").get_by_text("by invitation only").wait_for()


async def test_guest_who_reloads_enters_anew(farm: Farm, browser: Browser) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="lively", mode=Mode.EXPLORE, open=True))
        async with visiting(browser, f"{farm.broker_url}/?room=lively", "Ada", bypass_csp=True) as ada:
            await ada.page.reload()
            await ada.page.wait_for_function("window.farstage.session !== null")
            await ada.until(lambda seen: len(seen["frameNumbers"]) >= 5, "pictures after the reload")
            assert len(await client.participants("lively")) == 1


async def test_turned_phone_gets_a_picture_of_its_new_shape_on_the_same_connection(
    farm: Farm, browser: Browser
) -> None:
    async with visiting(browser, f"{farm.broker_url}/?room=walk", "Ada", **{**PHONE, "bypass_csp": True}) as ada:
        await ada.page.evaluate("window.before = window.farstage.session._viewer.connection")
        for width, height, shape in (
            (844, 390, "videoWidth > video.videoHeight"),
            (390, 844, "videoWidth < video.videoHeight"),
        ):
            await ada.page.set_viewport_size({"width": width, "height": height})
            await ada.page.wait_for_function(f"(video => video.{shape})(document.querySelector('video'))", timeout=8000)
            await ada.frames(10)
        assert await ada.page.evaluate("window.before === window.farstage.session._viewer.connection")
        assert (await ada.probe())["crcFailures"] == 0


@pytest.mark.parametrize("room", ["walk", "hall"])
async def test_visitors_never_see_the_barcode(farm: Farm, browser: Browser, room: str) -> None:
    """An upright phone shows a wide stage between bars, and its own camera's picture from edge to edge."""
    context = await browser.new_context(**PHONE, locale="en-US", bypass_csp=True)
    page = await context.new_page()
    await page.goto(f"{farm.broker_url}/?room={room}&autojoin=1&name=Ada")
    await page.wait_for_function("document.querySelector('video').videoWidth > 0")
    await page.get_by_test_id("banner").wait_for(state="hidden")
    hidden = await page.evaluate(
        """() => {
          const video = document.querySelector('video'), style = getComputedStyle(video);
          const page = video.parentElement.getBoundingClientRect(), box = video.getBoundingClientRect();
          const covers = style.objectFit === 'cover';
          const scale = (covers ? Math.max : Math.min)(box.width / video.videoWidth, box.height / video.videoHeight);
          const top = box.top + (box.height - video.videoHeight * scale) / 2;
          const columns = video.videoWidth >= 640 ? 80 : 40;
          const code = (80 / columns) * (Math.floor(video.videoWidth / columns) & ~1) * scale;
          const clipped = box.top + parseFloat(style.clipPath.slice('inset('.length));
          return { bottomOfCode: top + code, firstShown: Math.max(page.top, clipped) };
        }"""
    )
    await context.close()
    assert hidden["bottomOfCode"] <= hidden["firstShown"] + 0.5
