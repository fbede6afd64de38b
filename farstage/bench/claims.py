"""`farstage bench claims`: fenced claims a second from a real Redis, and whether any place is given twice.

Several `RedisStore`s, as of several brokers, compete for the same pools from one process: each worker claims a place in
a pool of its choice and, when granted, gives back one that it holds, so that some pools are full and claims are
refused as well as granted. Redis runs beside it: one started for the run on a free loopback port, which writes nothing
to disk, or the one at `--store`.

* `claims_per_s`: granted claims over the time of the run; refused ones and the releases come on top.
* `claim_ms`: of each claim, granted or refused, from the call to its answer, batching included.
* `double_bookings`: grants after which more of a pool is in use than there is, and fences that were given twice. The
  book for it counts a place from the answer that grants it to the call that gives it back, so it never counts too much.
"""

import asyncio
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import numpy as np

from broker.store.interface import StoreUnavailable
from broker.store.redis import RedisStore
from farstage.bench.latency import free_ports
from farstage.bench.machine import machine
from farstage.bench.server_process import ServerFailed, end

POOLS = 200
CAPACITY = 8
USED_SHARE = 0.6
"""Of all places; at this much one claim in ten finds its pool full."""
TTL_S = 300.0
START_S = 10.0
POLL_S = 0.02
WARM_UP_SHARE = 0.1
"""Of the run, not measured: connections are made and scripts loaded."""


class ClaimsSettings(msgspec.Struct, frozen=True):
    """What to measure. `workers` claim at once, spread over `brokers`; `store_url` empty: a Redis of its own."""

    seconds: float = 5.0
    workers: int = 32
    brokers: int = 2
    store_url: str = ""


class ClaimDelay(msgspec.Struct):
    """Milliseconds of a claim."""

    p50: float
    p99: float
    max: float


class ClaimsReport(msgspec.Struct):
    """What was measured, and where; see the module."""

    claims_per_s: int
    claim_ms: ClaimDelay
    double_bookings: int
    claims: int
    refused: int
    workers: int
    brokers: int
    machine: dict[str, Any]


class Book:
    """What is in use, as its users know it."""

    def __init__(self) -> None:
        self.double_bookings = 0
        self._used = [0] * POOLS
        self._fences: set[int] = set()

    def granted(self, pool: int, fence: int) -> None:
        """A place was given."""
        self._used[pool] += 1
        self.double_bookings += self._used[pool] > CAPACITY or fence in self._fences
        self._fences.add(fence)

    def given_back(self, pool: int) -> None:
        """A place is about to be given back."""
        self._used[pool] -= 1


async def measure(settings: ClaimsSettings, progress: Callable[[str], None]) -> ClaimsReport:
    """Run it. Raises `ServerFailed`."""
    async with _redis(settings.store_url) as url:
        progress(f"{settings.workers} workers of {settings.brokers} brokers for {settings.seconds:.0f} s")
        stores = [RedisStore(url, prefix="{farstage-bench}") for _ in range(settings.brokers)]
        run = _Run(settings)
        try:
            async with asyncio.TaskGroup() as tasks:
                for number in range(settings.workers):
                    tasks.create_task(run.work(number, stores[number % len(stores)]))
        except* StoreUnavailable as errors:
            raise ServerFailed(str(errors.exceptions[0])) from errors
        finally:
            for store in stores:
                await store.close()
    return run.report()


class _Run:
    def __init__(self, settings: ClaimsSettings) -> None:
        self._settings = settings
        self._book = Book()
        self._began_s = time.perf_counter()
        self._measured_from_s = self._began_s + settings.seconds * WARM_UP_SHARE
        self._ends_s = self._began_s + settings.seconds
        self._taken_ms: list[float] = []
        self._refused = 0

    async def work(self, number: int, store: RedisStore) -> None:
        """One claim after another, and at the end everything back."""
        chance = random.Random(number)
        held: list[tuple[int, str, int]] = []
        for count in range(1_000_000_000):
            pool, key = chance.randrange(POOLS), f"w{number}-{count}"
            if not await self._claim(store, pool, key, held):
                break
            if len(held) * self._settings.workers > POOLS * CAPACITY * USED_SHARE:
                await self._give_back(store, held.pop(chance.randrange(len(held))))
        for place in held:
            await self._give_back(store, place)

    async def _claim(self, store: RedisStore, pool: int, key: str, held: list[tuple[int, str, int]]) -> bool:
        """Claim a place; false once time is up."""
        began_s = time.perf_counter()
        if began_s >= self._ends_s:
            return False
        claim = await store.claim(f"p{pool}", key, 1, CAPACITY, TTL_S, time.time())
        if began_s >= self._measured_from_s:
            self._taken_ms.append((time.perf_counter() - began_s) * 1000.0)
            self._refused += claim is None
        if claim is not None:
            self._book.granted(pool, claim.fence)
            held.append((pool, key, claim.fence))
        return True

    async def _give_back(self, store: RedisStore, place: tuple[int, str, int]) -> None:
        pool, key, fence = place
        self._book.given_back(pool)
        await store.release(f"p{pool}", key, fence)

    def report(self) -> ClaimsReport:
        """What came of it. Raises `ServerFailed` if nothing was measured."""
        if not self._taken_ms:
            raise ServerFailed("no claim was answered in time; give more --seconds")
        p50, p99 = (round(float(value), 3) for value in np.quantile(self._taken_ms, (0.5, 0.99)))
        return ClaimsReport(
            claims_per_s=round((len(self._taken_ms) - self._refused) / (self._ends_s - self._measured_from_s)),
            claim_ms=ClaimDelay(p50, p99, round(max(self._taken_ms), 3)),
            double_bookings=self._book.double_bookings,
            claims=len(self._taken_ms),
            refused=self._refused,
            workers=self._settings.workers,
            brokers=self._settings.brokers,
            machine=machine(),
        )


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[str]:
    """The Redis at `url`, or a new one. Raises `ServerFailed`."""
    if url:
        yield url
        return
    if shutil.which("redis-server") is None:
        raise ServerFailed("redis-server is not installed; install it (apt install redis-server) or give --store")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="farstage-bench-") as folder:
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]
        process = await asyncio.create_subprocess_exec("redis-server", *arguments, stdout=subprocess.DEVNULL)
        try:
            await _until_it_answers(f"redis://127.0.0.1:{port}/0")
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            await end(process)


async def _until_it_answers(url: str) -> None:
    store = RedisStore(url)
    deadline_s = time.monotonic() + START_S
    while True:
        try:
            await store.ping()
            break
        except StoreUnavailable as error:
            if time.monotonic() > deadline_s:
                raise ServerFailed(f"redis-server did not answer within {START_S:.0f} s: {error}") from error
        await asyncio.sleep(POLL_S)
    await store.close()
