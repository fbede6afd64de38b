"""A call of our own code that blocks the event loop fails the test; a broker and a Redis for those who ask for one."""

from collections.abc import AsyncIterator, Iterator

import pytest
from blockbuster import blockbuster_ctx

from tests.support.broker_server import Api, running_broker
from tests.support.redis_server import RedisServer

FILE_FUNCTIONS = ("io.BufferedReader.read", "io.TextIOWrapper.read", "os.stat", "os.scandir", "io.BufferedWriter.write")
"""Reading /proc for the load and listing pages at start block for microseconds."""


@pytest.fixture
def scanned_modules() -> list[str]:
    return ["broker", "edge", "render_farm", "client_demo"]


@pytest.fixture(autouse=True)
def blocking_calls_fail(scanned_modules: list[str]) -> Iterator[None]:
    with blockbuster_ctx(scanned_modules=scanned_modules) as blockbuster:
        for name in FILE_FUNCTIONS:
            blockbuster.functions[name].deactivate()
        yield


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running_broker() as api:
        yield api


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    server.start()
    yield server
    server.close()
