"""Every chaos test has a farm of its own: it is going to be hurt."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import launched


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    async with launched() as running:
        yield running
