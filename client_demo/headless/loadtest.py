"""`farstage loadtest`: viewers by the thousand on a WHEP server, and what became of them.

The viewers are native (`client_demo/headless/load/process.py`); here stands what only happens at joins, leaves and
once a second: HTTP, ramps, churn, decoding some of the pictures, the server's use of the machine, the report.
"""

import asyncio
import datetime
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec
import numpy as np

from client_demo.headless.load.pictures import PictureReader
from client_demo.headless.load.process import (
    Configuration,
    Counters,
    Failed,
    Impairment,
    LoadError,
    NativeReport,
    NativeViewers,
    Statistics,
    Summary,
)
from client_demo.headless.load.report import (
    Decoded,
    GeneratorUse,
    LoadReport,
    Network,
    Second,
    ServerUse,
    Verified,
    warnings_of,
)
from client_demo.headless.load.seats import Seats
from client_demo.headless.load.server_usage import Usage
from client_demo.headless.load.whep import Seat, WhepClient, WhepError, address_towards
from edge.identity import make_identity

CONNECT_S = 30.0
SETTLE_S = 1.0
"""Joining and what a server sends to newcomers are not part of what is measured."""
LEAVES_AT_ONCE = 64
LEAVE_S = 30.0


class LoadSettings(msgspec.Struct, frozen=True):
    """What to load a server with.

    `ramp_s`: over how long the joins are spread, 0 for a storm. `churn_per_s`: viewers exchanged for new ones while
    measuring. `verify`: share of viewers that decrypt everything. `decode`: number whose pictures are decoded.
    `feedback_ms`: time between a viewer's transport-wide feedbacks. `pids`: the server's processes.
    """

    viewers: int
    seconds: float
    ramp_s: float = 0.0
    churn_per_s: float = 0.0
    verify: float = 0.05
    decode: int = 0
    impairment: Impairment = Impairment()
    pids: tuple[int, ...] = ()
    threads: int = 1
    tcp: bool = False
    codecs: str = "all"
    audio: bool = False
    feedback_ms: int = 100
    receive_buffer: int = 1 << 20
    seed: int = 1


class Progress(msgspec.Struct):
    """How far a run is. `phase`: joining, measuring, leaving."""

    phase: str
    joined: int
    failed: int
    connected: int
    packets_per_s: int
    bitrate_bps: int
    lost_packets: int
    server_percent: float | None


async def load(settings: LoadSettings, seats: Seats, show: Callable[[Progress], None] = lambda _: None) -> LoadReport:
    """Join, measure, leave. Raises `LoadError`, and `WhepError` if the server's name does not resolve."""
    first = await seats.take(0)
    try:
        address = await address_towards(first.url)
        async with AsyncExitStack() as stack:
            pictures = await stack.enter_async_context(PictureReader.opened()) if settings.decode else None
            whep = await stack.enter_async_context(WhepClient())
            configuration = _configuration(settings, address, pictures)
            run = await stack.enter_async_context(_Run.started(settings, seats, whep, configuration, show))
            run.first, run.pictures = first, pictures
            return await run.measure()
    finally:
        await seats.free(0)


def _configuration(settings: LoadSettings, address: str, pictures: PictureReader | None) -> Configuration:
    certificate, private_key = make_identity(datetime.datetime.now(datetime.UTC))
    return Configuration(
        certificate=certificate.hex(),
        private_key=private_key.hex(),
        local_address=address,
        threads=settings.threads,
        tcp=settings.tcp,
        codecs=settings.codecs,
        audio=settings.audio,
        feedback_ms=settings.feedback_ms,
        receive_buffer=settings.receive_buffer,
        seed=settings.seed,
        impairment=settings.impairment,
        pictures=str(pictures.path) if pictures else None,
    )


class _Run:
    """One load test."""

    def __init__(
        self, settings: LoadSettings, seats: Seats, whep: WhepClient, show: Callable[[Progress], None]
    ) -> None:
        self.first: Seat
        self.pictures: PictureReader | None = None
        self.native: NativeViewers
        self._settings = settings
        self._seats = seats
        self._whep = whep
        self._show = show
        self._random = random.Random(settings.seed)
        self._phase = "joining"
        self._failures: Counter[str] = Counter()
        self._post_ms: list[float] = []
        self._joined = 0
        self._present: dict[int, tuple[Seat, str]] = {}
        self._connected: set[int] = set()
        self._next = settings.viewers
        self._verifying = 0
        self._server = Usage(list(settings.pids)) if settings.pids else None
        self._generator: Usage
        self._began = time.perf_counter()
        self._timeline: list[Second] = []
        self._base = Counters()

    @staticmethod
    @asynccontextmanager
    async def started(
        settings: LoadSettings,
        seats: Seats,
        whep: WhepClient,
        configuration: Configuration,
        show: Callable[[Progress], None],
    ) -> "AsyncIterator[_Run]":
        run = _Run(settings, seats, whep, show)
        async with NativeViewers(configuration, run._take_statistics, run._take_failure) as native:
            run.native = native
            run._generator = Usage([native.pid])
            yield run

    async def measure(self) -> LoadReport:
        server = self._server
        cpu_before, rss_before = (server.cpu_s(), server.rss_bytes()) if server else (0.0, 0)
        self._began = time.perf_counter()
        await self._join_all()
        join_seconds = time.perf_counter() - self._began
        join_cpu_s = server.cpu_s() - cpu_before if server else 0.0
        if self._joined:
            await asyncio.sleep(SETTLE_S)
        self._mark()
        start, own_start, cpu_start = time.perf_counter(), self._generator.cpu_s(), server.cpu_s() if server else 0.0
        if self._joined:
            await self._hold()
        seconds = max(time.perf_counter() - start, 1e-3)
        cpu_s = server.cpu_s() - cpu_start if server else 0.0
        own_s = self._generator.cpu_s() - own_start
        rss_bytes = server.rss_bytes() if server else 0
        self._phase = "leaving"
        native = await self.native.finish()
        await self._leave_all()
        delivered = native.clean.packets + native.impaired.packets
        use = None
        if server:
            use = ServerUse(
                cpu_s=round(cpu_s, 3),
                cpu_percent=round(100.0 * cpu_s / seconds, 1),
                cpu_us_per_packet=round(cpu_s * 1e6 / delivered, 3) if delivered else None,
                rss_bytes=rss_bytes,
                rss_bytes_per_viewer=max(rss_bytes - rss_before, 0) // native.connected if native.connected else None,
                join_cpu_ms_per_viewer=round(join_cpu_s * 1000.0 / self._joined, 2) if self._joined else None,
            )
        return self._report(native, join_seconds, seconds, use, own_s)

    async def _join_all(self) -> None:
        count = self._settings.viewers
        async with asyncio.TaskGroup() as tasks:
            for viewer in range(count):
                tasks.create_task(self._join(viewer, self._settings.ramp_s * viewer / count))

    async def _join(self, viewer: int, delay_s: float = 0.0) -> None:
        """Connect one viewer; a failure is counted."""
        await asyncio.sleep(delay_s)
        try:
            async with asyncio.timeout(CONNECT_S + delay_s):
                await self._connect(viewer)
        except TimeoutError:
            self._failures[f"not connected within {CONNECT_S:.0f} s"] += 1
            self.native.leave(viewer)
        except (WhepError, LoadError) as error:
            self._failures[str(error)] += 1
            self.native.leave(viewer)

    async def _connect(self, viewer: int) -> None:
        verify = _is_chosen(viewer, self._settings.verify, self._settings.viewers)
        impaired = _is_chosen(viewer + 1, self._settings.impairment.share, self._settings.viewers)
        self._verifying += verify
        offer = await self.native.offer(viewer, verify=verify, decode=viewer < self._settings.decode, impaired=impaired)
        seat = self.first if viewer == 0 else await self._seats.take(viewer)
        self._present[viewer] = (seat, "")
        answered = await self._whep.post(seat, offer)
        self._present[viewer] = (seat, answered.resource)
        posted_ms = (time.perf_counter() - answered.posted_at) * 1000.0
        self._post_ms.append(posted_ms)
        await self.native.connect(viewer, answered.sdp, posted_ms)
        self._joined += 1
        self._connected.add(viewer)

    def _mark(self) -> None:
        self._phase = "measuring"
        self._base = Counters()
        self.native.mark()
        if self.pictures is not None:
            self.pictures.mark()

    async def _hold(self) -> None:
        """Keep the load on, exchanging viewers if there is to be churn."""
        churn = self._settings.churn_per_s
        if churn <= 0:
            await asyncio.sleep(self._settings.seconds)
            return
        async with asyncio.TaskGroup() as tasks:
            for _ in range(int(churn * self._settings.seconds)):
                await asyncio.sleep(1.0 / churn)
                tasks.create_task(self._exchange())

    async def _exchange(self) -> None:
        """One viewer leaves, a new one comes."""
        if self._connected:
            leaving = self._random.choice(sorted(self._connected))
            self._connected.remove(leaving)
            self.native.leave(leaving)
            await self._leave(leaving)
        self._next += 1
        await self._join(self._next - 1)

    async def _leave(self, viewer: int) -> None:
        seat, resource = self._present.pop(viewer)
        try:
            await self._whep.delete(seat, resource)
            await self._seats.free(viewer)
        except (WhepError, OSError, TimeoutError) as error:
            self._failures[f"leaving: {error}"] += 1

    async def _leave_all(self) -> None:
        turn = asyncio.Semaphore(LEAVES_AT_ONCE)

        async def leave(viewer: int) -> None:
            async with turn:
                await self._leave(viewer)

        try:
            async with asyncio.timeout(LEAVE_S), asyncio.TaskGroup() as tasks:
                for viewer in list(self._present):
                    tasks.create_task(leave(viewer))
        except TimeoutError:
            self._failures[f"leaving: not done within {LEAVE_S:.0f} s"] += 1

    def _take_failure(self, failed: Failed) -> None:
        """A viewer that was connected is not any more."""
        self._failures[failed.reason] += 1
        self._connected.discard(failed.viewer)

    def _take_statistics(self, now: Statistics) -> None:
        counters, server = now.counters, self._server
        second = Second(
            at_s=round(time.perf_counter() - self._began, 2),
            connected=now.connected,
            packets=counters.packets,
            octets=counters.octets,
            lost_packets=counters.lost_packets,
            server_cpu_s=round(server.cpu_s(), 3) if server else None,
            generator_cpu_s=round(self._generator.cpu_s(), 3),
        )
        before = self._timeline[-1] if self._timeline else second
        self._timeline.append(second)
        elapsed_s = max(second.at_s - before.at_s, 0.5)
        percent = None
        if second.server_cpu_s is not None and before.server_cpu_s is not None:
            percent = 100.0 * (second.server_cpu_s - before.server_cpu_s) / elapsed_s
        self._show(
            Progress(
                phase=self._phase,
                joined=self._joined,
                failed=self._failures.total(),
                connected=now.connected,
                packets_per_s=round(max(counters.packets - self._base.packets, 0) / elapsed_s),
                bitrate_bps=round(max(counters.octets - self._base.octets, 0) * 8 / elapsed_s),
                lost_packets=counters.lost_packets,
                server_percent=percent,
            )
        )
        self._base = counters

    def _report(
        self,
        native: NativeReport,
        join_seconds: float,
        seconds: float,
        server: ServerUse | None,
        own_s: float,
    ) -> LoadReport:
        settings, ready = self._settings, self.native.ready
        both = [native.clean, native.impaired]
        packets, octets = sum(part.packets for part in both), sum(part.octets for part in both)
        percent = 100.0 * own_s / seconds / settings.threads
        return LoadReport(
            whep=self.first.url,
            viewers=settings.viewers,
            joined=self._joined,
            failed=self._failures.total(),
            failures=dict(self._failures.most_common()),
            watching=native.watching,
            connected_at_end=native.connected,
            join_seconds=round(join_seconds, 3),
            seconds=round(seconds, 2),
            delivered_packets=packets,
            packets_per_s=round(packets / seconds),
            bitrate_bps=round(octets * 8 / seconds),
            lost_packets=sum(part.lost_packets for part in both),
            viewers_with_loss=native.viewers_with_loss,
            post_ms=_summary(self._post_ms),
            join_ms=native.join_ms,
            first_frame_ms=native.first_picture_ms,
            capture_to_arrival_ms=native.capture_to_arrival_ms,
            picture_interval_ms=native.picture_interval_ms,
            clean=Network.of(native.clean),
            impaired=Network.of(native.impaired) if settings.impairment.share > 0 else None,
            verified=Verified(
                viewers=self._verifying,
                packets=sum(part.verified_packets for part in both),
                authentication_failures=sum(part.authentication_failures for part in both),
                foreign_packets=sum(part.foreign_packets for part in both),
                decodable_pictures=sum(part.decodable_pictures for part in both),
            ),
            decoded=Decoded.of(settings.decode, self.pictures.seen) if self.pictures else None,
            server=server,
            generator=GeneratorUse(
                cpu_s=round(own_s, 3),
                cpu_percent=round(100.0 * own_s / seconds, 1),
                receiver_drops=sum(part.receiver_drops for part in both),
                receive_buffer=ready.receive_buffer,
                coalescing=ready.coalescing,
                threads=settings.threads,
            ),
            warnings=warnings_of(native, ready, settings.receive_buffer, percent),
            timeline=self._timeline,
            histograms=native.histograms,
        )


def _is_chosen(viewer: int, share: float, viewers: int) -> bool:
    """Whether a viewer belongs to a share of them, spread evenly; of a share above zero at least one does."""
    count = max(1, round(share * viewers)) if share > 0 else 0
    return viewer * count % viewers < count


def _summary(samples_ms: list[float]) -> Summary | None:
    if not samples_ms:
        return None
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(samples_ms, (50, 95, 99)))
    return Summary(p50, p95, p99, round(max(samples_ms), 2), len(samples_ms))
