"""Waiting for what a real system will do, with a bound and a name for what did not come."""

import asyncio
from collections.abc import Callable

from client_demo.headless.viewer import HeadlessViewer


async def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """Wait until the condition holds."""
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s: {what}") from None


async def frames_until(viewer: HeadlessViewer, count: int, seconds: float = 15.0) -> None:
    """Wait for `count` more readable pictures."""
    goal = viewer.reception.barcodes + count
    await until(lambda: viewer.reception.barcodes >= goal, f"{count} more pictures", seconds)
