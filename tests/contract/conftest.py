"""A call of our own code that blocks the event loop fails the test."""

from collections.abc import Iterator

import pytest
from blockbuster import blockbuster_ctx

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
