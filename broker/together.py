"""Several endless jobs that live and end together: both ends of a connection, on the control and the trunk socket."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def run_until_first_ends(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run all until one ends, cancel the others and await them; raises what the first one raised."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
