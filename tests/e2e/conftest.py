"""One farm and one Chromium for all end-to-end tests; each test brings its own windows and, where it matters, rooms."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from farstage.farm import Farm
from tests.support.browser import launched
from tests.support.running_farm import running_farm


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def farm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Farm]:
    async with running_farm(tmp_path_factory.mktemp("farm")) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as running:
        yield running


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "e2e" in item.path.parts:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
