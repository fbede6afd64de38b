"""Claims that are asked for at the same moment share one round trip to Redis.

A round trip costs both ends more than a claim does, so single claims and releases wait while `MAX_IN_FLIGHT` batches
are under way and then leave together, in the order in which they were asked for. Nobody waits for a timer: alone, a
claim leaves at once. A batch is one Lua script, so its claims are decided one after the other and atomically.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from broker.store.interface import ClaimOrder, ReleaseOrder

MAX_BATCH = 64
"""Orders in one script: Redis serves nobody else meanwhile, so a batch must take about a millisecond at most."""
MAX_IN_FLIGHT = 2
"""While Redis works on one batch this process makes up the next."""


class Order(NamedTuple):
    """What to do, at what time, and until when a claim is good: Unix seconds."""

    what: ClaimOrder | ReleaseOrder
    now: float
    expires_at: float


Answer = int | None
"""Of a claim its fence, or `None` if it is refused; of a release 1, or `None` if there was nothing to release."""


class ClaimQueue:
    """Gathers orders into batches. `send` carries one out and answers each order, in order, or raises for all."""

    def __init__(self, send: Callable[[Sequence[Order]], Awaitable[Sequence[Answer]]]) -> None:
        self._send = send
        self._waiting: deque[tuple[Order, asyncio.Future[Answer]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(self, order: Order) -> Answer:
        """Have one order carried out. Raises what `send` raises."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, answer))
        if len(self._tasks) < MAX_IN_FLIGHT:
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _work(self) -> None:
        """Send batches until nothing waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            await self._carry_out(batch)

    async def _carry_out(self, batch: list[tuple[Order, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._send([order for order, _ in batch])
        except Exception as error:
            for _, waiter in batch:
                if not waiter.done():
                    waiter.set_exception(error)
            return
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if not waiter.done():
                waiter.set_result(answer)

    async def close(self) -> None:
        """Let go of who still waits."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, waiter in self._waiting:
            waiter.cancel()
        self._waiting.clear()
