"""Names and chat are other people's words: the page shows them as text, whatever they look like."""

import pytest
from playwright.async_api import Browser

from broker.protocol import Chat, JoinRequest
from client_demo.headless.api import BrokerClient
from client_demo.headless.viewer import HeadlessViewer
from farstage.farm import Farm
from tests.support.browser import visiting

pytestmark = pytest.mark.chromium

NAME = "<img src=x onerror=alert(1)>"
LINE = "<script>alert(2)</script><b>bold</b>"


async def test_markup_in_names_and_chat_is_shown_as_text(farm: Farm, browser: Browser) -> None:
    async with (
        visiting(browser, f"{farm.broker_url}/?room=walk", "Ada") as ada,
        BrokerClient(farm.broker_url) as client,
    ):
        dialogs: list[str] = []
        ada.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        grant = await client.join("walk", JoinRequest(display_name=NAME))
        async with HeadlessViewer(client, grant) as stranger:
            await ada.by("btn-people").click()
            await ada.by("people-list").get_by_text(NAME).wait_for()
            assert await ada.by("people-list").locator("img").count() == 0
            await ada.by("btn-chat").click()
            stranger.send(Chat(text=LINE))
            await ada.by("chat-lines").get_by_text(LINE).wait_for()
            assert await ada.by("chat-lines").locator("script, b, img").count() == 0
        assert dialogs == []
        await client.leave(grant)
