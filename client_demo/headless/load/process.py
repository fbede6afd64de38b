"""The native viewers (`farstage-load`, in `client_demo/headless/native`): one process, spoken to in lines of JSON."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

HOW_TO_BUILD = "install Rust (https://rustup.rs) and a C compiler, then: make native"
BINARY_VARIABLE = "FARSTAGE_LOAD"
_BUILT = Path(__file__).parents[3] / "edge/native/target/release/farstage-load"
MAX_LINE_BYTES = 16 * 1024 * 1024
READY_S = 10.0
OFFER_S = 10.0
REPORT_S = 20.0


class LoadError(Exception):
    """The load generator cannot run; the message says why and what helps."""


class Summary(msgspec.Struct):
    """A distribution in short; milliseconds."""

    p50: float
    p95: float
    p99: float
    max: float
    count: int


class Counters(msgspec.Struct):
    """What viewers counted; `client_demo/headless/native/src/counters.rs` says what each means."""

    packets: int = 0
    octets: int = 0
    lost_packets: int = 0
    recovered_packets: int = 0
    reordered_packets: int = 0
    duplicate_packets: int = 0
    nacked_packets: int = 0
    repeat_packets: int = 0
    keyframe_requests: int = 0
    pictures: int = 0
    freezes: int = 0
    frozen_us: int = 0
    verified_packets: int = 0
    authentication_failures: int = 0
    foreign_packets: int = 0
    decodable_pictures: int = 0
    undecodable_pictures: int = 0
    broken_pictures: int = 0
    reports_received: int = 0
    feedback_sent: int = 0
    impaired_packets: int = 0
    receiver_drops: int = 0


class Impairment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bad network before a `share` of the viewers. `rate_kbps` 0: unlimited."""

    loss: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    rate_kbps: float = 0.0
    share: float = 0.0


class Configuration(msgspec.Struct, frozen=True):
    """The first line; `client_demo/headless/native/src/protocol.rs` says what each means."""

    certificate: str
    private_key: str
    local_address: str
    threads: int
    tcp: bool
    codecs: str
    audio: bool
    feedback_ms: int
    receive_buffer: int
    seed: int
    impairment: Impairment
    pictures: str | None


class Ready(msgspec.Struct, tag="ready"):
    """The process takes commands."""

    file_limit: int
    receive_buffer: int
    coalescing: bool


class Offered(msgspec.Struct, tag="offer"):
    """A viewer's offer."""

    viewer: int
    sdp: str


class Connected(msgspec.Struct, tag="connected"):
    """A viewer's DTLS handshake is complete."""

    viewer: int
    join_ms: float


class Failed(msgspec.Struct, tag="failed"):
    """A viewer's connection failed or was ended."""

    viewer: int
    reason: str


class Statistics(msgspec.Struct, tag="statistics"):
    """Once a second; counted since the mark."""

    seconds: float
    connected: int
    watching: int
    counters: Counters


class NativeReport(msgspec.Struct, tag="report"):
    """The last line."""

    seconds: float
    connected: int
    watching: int
    viewers_with_loss: int
    clean: Counters
    impaired: Counters
    join_ms: Summary | None
    first_picture_ms: Summary | None
    capture_to_arrival_ms: Summary | None
    picture_interval_ms: Summary | None
    pictures_dropped: int
    histograms: dict[str, list[tuple[float, int]]]


class _Error(msgspec.Struct, tag="error"):
    reason: str


_T = TypeVar("_T")
_Output = Ready | Offered | Connected | Failed | Statistics | NativeReport | _Error
_decoder: msgspec.json.Decoder[_Output] = msgspec.json.Decoder(_Output)


def find_binary() -> Path:
    """Where the native viewers are. Raises `LoadError` if they are not built."""
    given = os.environ.get(BINARY_VARIABLE)
    binary = Path(given) if given else _BUILT
    if not binary.is_file():
        raise LoadError(f"the load generator is not built ({binary} is missing); {HOW_TO_BUILD}")
    return binary


class NativeViewers:
    """The process; an async context manager. `on_statistics` gets each second's; `on_failed` viewers that ended."""

    def __init__(
        self,
        configuration: Configuration,
        on_statistics: Callable[[Statistics], None],
        on_failed: Callable[[Failed], None] = lambda _: None,
    ) -> None:
        self.ready = Ready(0, 0, False)
        self._configuration = configuration
        self._on_statistics = on_statistics
        self._on_failed = on_failed
        self._offers: dict[int, asyncio.Future[str]] = {}
        self._connections: dict[int, asyncio.Future[None]] = {}
        self._left: set[int] = set()
        """Viewers told to hang up: that the server then does too is no failure."""
        self._report: asyncio.Future[NativeReport] = asyncio.get_running_loop().create_future()
        self._process: asyncio.subprocess.Process
        self._reader: asyncio.Task[None]

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def __aenter__(self) -> "NativeViewers":
        pipe = asyncio.subprocess.PIPE
        binary = find_binary()
        self._process = await asyncio.create_subprocess_exec(binary, stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES)
        try:
            self._send(self._configuration)
            await self._start()
        except BaseException:
            await self._kill()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        if self._report.done() and not self._report.cancelled():
            self._report.exception()
        await self._kill()

    async def _start(self) -> None:
        first = await asyncio.wait_for(self._read(), READY_S)
        if not isinstance(first, Ready):
            raise LoadError(f"the native viewers did not start: {first.reason if isinstance(first, _Error) else first}")
        self.ready = first
        self._reader = asyncio.create_task(self._serve())

    async def _kill(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

    async def offer(self, viewer: int, *, verify: bool = False, decode: bool = False, impaired: bool = False) -> str:
        """Make a viewer; returns its offer. Raises `LoadError`."""
        future = self._offers[viewer] = asyncio.get_running_loop().create_future()
        command = {"type": "offer", "viewer": viewer, "verify": verify, "decode": decode, "impaired": impaired}
        self._send(command)
        return await asyncio.wait_for(future, OFFER_S)

    async def connect(self, viewer: int, answer: str, posted_ms_ago: float) -> None:
        """Connect a viewer; returns once DTLS is complete. Raises `LoadError` with the reason if that fails."""
        future = self._connections[viewer] = asyncio.get_running_loop().create_future()
        self._send({"type": "answer", "viewer": viewer, "sdp": answer, "posted_ms_ago": posted_ms_ago})
        await future

    def leave(self, viewer: int) -> None:
        """Hang up."""
        self._left.add(viewer)
        self._send({"type": "leave", "viewer": viewer})

    def mark(self) -> None:
        """Begin to measure."""
        self._send({"type": "mark"})

    async def finish(self) -> NativeReport:
        """Hang up all and return what was measured. Raises `LoadError`."""
        self._send({"type": "finish"})
        return await asyncio.wait_for(self._report, REPORT_S)

    def _send(self, line: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(line) + b"\n")

    async def _read(self) -> _Output:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise LoadError("the native viewers ended unexpectedly")
        return _decoder.decode(line)

    async def _serve(self) -> None:
        try:
            while not self._report.done():
                self._take(await self._read())
        except LoadError as error:
            waiting: list[asyncio.Future[Any]] = [*self._offers.values(), *self._connections.values(), self._report]
            for future in waiting:
                _refuse(future, str(error))

    def _take(self, said: _Output) -> None:
        match said:
            case Offered(viewer, sdp):
                _settle(self._offers.pop(viewer, None), sdp)
            case Connected(viewer):
                _settle(self._connections.pop(viewer, None), None)
            case Failed(viewer, reason):
                waiting: asyncio.Future[Any] | None
                waiting = self._offers.pop(viewer, None) or self._connections.pop(viewer, None)
                if waiting is not None:
                    _refuse(waiting, reason)
                elif viewer not in self._left:
                    self._on_failed(said)
            case Statistics():
                self._on_statistics(said)
            case NativeReport():
                _settle(self._report, said)
            case _Error(reason):
                raise LoadError(reason)


def _settle(future: "asyncio.Future[_T] | None", value: _T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


def _refuse(future: "asyncio.Future[Any]", reason: str) -> None:
    if not future.done():
        future.set_exception(LoadError(reason))
