"""Looking up the hosts of webhooks: answers as the system gives them, and name servers that hang hold nobody else."""

import asyncio
import socket
import threading

import pytest

from broker.api.webhook_names import MAX_LOOKUPS, OwnThreadsResolver


async def test_a_name_gives_its_addresses():
    resolver = OwnThreadsResolver()
    [found] = await resolver.resolve("localhost", 443, socket.AF_INET)
    assert (found["hostname"], found["host"], found["port"]) == ("localhost", "127.0.0.1", 443)
    with pytest.raises(OSError):
        await resolver.resolve("nobody.invalid", 443)
    await resolver.close()


async def test_name_servers_that_hang_do_not_hold_up_the_loops_own_threads():
    released = threading.Event()

    def hang(*question: object) -> list[tuple[object, ...]]:
        released.wait()
        return []

    resolver = OwnThreadsResolver(hang)
    hanging = [asyncio.ensure_future(resolver.resolve(f"h{n}.example")) for n in range(MAX_LOOKUPS * 3)]
    try:
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(asyncio.to_thread(int, str(n)) for n in range(64))) == list(range(64))
    finally:
        released.set()
        await asyncio.gather(*hanging)
        await resolver.close()
