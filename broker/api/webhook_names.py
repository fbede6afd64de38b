"""Names of webhooks' hosts, looked up in threads of their own.

The operating system's resolver blocks, for half a minute where a name server does not answer. In the event loop's
threads, of which there are few, that would hold up what else the broker does there.
"""

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

MAX_LOOKUPS = 16
"""At the same time; one webhook has `MAX_IN_FLIGHT` of them at most."""

LookUp = Callable[..., list[tuple[Any, ...]]]


class OwnThreadsResolver(AbstractResolver):
    """`look_up` is `socket.getaddrinfo`, or stands for it."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo) -> None:
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(MAX_LOOKUPS, "webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises `OSError`."""
        question = (host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, self._look_up, *question)
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        """Take no further questions; who has asked waits no longer."""
        self._threads.shutdown(wait=False, cancel_futures=True)
