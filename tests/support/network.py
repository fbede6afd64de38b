"""A seeded network emulator: delay, jitter, loss, reordering, rate, outage.

`Link` is one direction, pure: a datagram's size and `now` in, the time of its arrival out; so it serves in virtual time
as it is. `EmulatedNetwork` puts two of them between real UDP sockets: it stands in front of the ICE candidates of an
SDP answer.
"""

import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

_TCP_CANDIDATE = re.compile(r"^a=candidate:\S+ \d+ tcp .*\r?\n", re.MULTILINE | re.IGNORECASE)
_CANDIDATE = re.compile(r"^(a=candidate:\S+ \d+ udp \d+ )(\S+) (\d+)( typ host.*)$", re.MULTILINE | re.IGNORECASE)

Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Line:
    """What a network does to one direction.

    `jitter_s` is the most that is added to `delay_s`, evenly distributed, in order; `reorder` is the share that
    overtakes what was sent before. `rate_bps` limits, and what would wait longer than `queue_s` for it is dropped.
    """

    delay_s: float = 0.0
    jitter_s: float = 0.0
    loss: float = 0.0
    reorder: float = 0.0
    rate_bps: float | None = None
    queue_s: float = 0.25


class Link:
    """One direction of a network. `line` may be exchanged at any time; the same seed gives the same fate."""

    def __init__(self, line: Line, seed: int) -> None:
        self.line = line
        self.delivered = 0
        self.lost = 0
        self._random = random.Random(seed)
        self._free_at_s = 0.0
        self._last_arrival_s = 0.0
        self._dead_until_s = float("-inf")

    def cut(self, until_s: float) -> None:
        """Nothing gets through before `until_s`."""
        self._dead_until_s = until_s

    def send(self, size_bytes: int, now: float) -> float | None:
        """When a datagram sent at `now` arrives; `None` if it is lost."""
        arrival = self._arrival(size_bytes, now)
        self.delivered += arrival is not None
        self.lost += arrival is None
        return arrival

    def _arrival(self, size_bytes: int, now: float) -> float | None:
        line, chance = self.line, self._random.random
        unlucky, overtakes, jitter_s = chance() < line.loss, chance() < line.reorder, chance() * line.jitter_s
        if unlucky or now < self._dead_until_s:
            return None
        left = now
        if line.rate_bps is not None:
            left = max(now, self._free_at_s)
            if left - now > line.queue_s:
                return None
            left += size_bytes * 8 / line.rate_bps
            self._free_at_s = left
        if overtakes:
            return left
        self._last_arrival_s = max(self._last_arrival_s, left + line.delay_s + jitter_s)
        return self._last_arrival_s


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, Address], None]) -> None:
        self._take = take
        self.transport: asyncio.DatagramTransport

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._take(data, (addr[0], addr[1]))

    def send(self, data: bytes, to: Address) -> None:
        if not self.transport.is_closing():
            self.transport.sendto(data, to)


class EmulatedNetwork:
    """Stands between clients and an edge. An async context manager; closes its sockets on exit.

    It carries UDP; `leaves_tcp` tells whether clients may go around it by an edge's TCP candidates.
    """

    def __init__(
        self, *, up: Line | None = None, down: Line | None = None, seed: int = 1, leaves_tcp: bool = False
    ) -> None:
        self._leaves_tcp = leaves_tcp
        self.up = Link(up or Line(), seed)
        self.down = Link(down or Line(), seed + 1)
        self._sockets: list[_Socket] = []

    async def __aenter__(self) -> "EmulatedNetwork":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for entry in self._sockets:
            entry.transport.close()

    def change(self, **changes: Any) -> None:
        """Change both directions from now on; keys are fields of `Line`."""
        for link in (self.up, self.down):
            link.line = replace(link.line, **changes)

    def cut(self, seconds: float) -> None:
        """Let nothing through for so long."""
        until_s = asyncio.get_running_loop().time() + seconds
        self.up.cut(until_s)
        self.down.cut(until_s)

    async def behind(self, answer_sdp: str) -> str:
        """The answer with this network in front of every candidate it names."""
        proxied = {place: await self._proxy(place) for place in _places(answer_sdp)}

        def moved(match: re.Match[str]) -> str:
            host, port = proxied[match[2], int(match[3])]
            return f"{match[1]}{host} {port}{match[4]}"

        moved_sdp = _CANDIDATE.sub(moved, answer_sdp)
        return moved_sdp if self._leaves_tcp else _TCP_CANDIDATE.sub("", moved_sdp)

    async def _proxy(self, edge: Address) -> Address:
        """Open a socket that passes what it gets on to `edge`, and back; returns its address."""
        clients: dict[Address, asyncio.Task[_Socket]] = {}

        def from_client(data: bytes, client: Address) -> None:
            if client not in clients:
                clients[client] = asyncio.create_task(self._open(edge[0], lambda back, _: to_client(back, client)))
            elif clients[client].done():  # the first datagram comes before its socket; ICE repeats it
                self._pass_on(self.up, data, clients[client].result(), edge)

        def to_client(data: bytes, client: Address) -> None:
            self._pass_on(self.down, data, front, client)

        front = await self._open(edge[0], from_client)
        name = front.transport.get_extra_info("sockname")
        return str(name[0]), int(name[1])

    async def _open(self, host: str, take: Callable[[bytes, Address], None]) -> _Socket:
        loop = asyncio.get_running_loop()
        _, entry = await loop.create_datagram_endpoint(lambda: _Socket(take), local_addr=(host, 0))
        self._sockets.append(entry)
        return entry

    def _pass_on(self, link: Link, data: bytes, out: _Socket, to: Address) -> None:
        loop = asyncio.get_running_loop()
        arrival = link.send(len(data), loop.time())
        if arrival is not None:
            loop.call_at(arrival, out.send, data, to)


def _places(sdp: str) -> list[Address]:
    return [(match[2], int(match[3])) for match in _CANDIDATE.finditer(sdp)]
