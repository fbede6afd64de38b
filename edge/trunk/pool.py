"""A source's trunks: one to each edge it feeds, opened when needed and closed when not."""

import asyncio
import time

import aiohttp

from broker.protocol import TrunkTarget
from edge.trunk.dialer import OutgoingStream, SourceHandler, TrunkDialer
from edge.trunk.framing import StreamOpen
from edge.trunk.watch import Peer, PeerWatch

IDLE_CLOSE_S = 10.0
"""A trunk without streams stays open this long: the next visitor is spared the handshake."""
LINGER_S = 2.0
"""How long a stream goes on to an edge that is to get it from elsewhere, unless that edge refuses it sooner."""


class _Trunk:
    def __init__(
        self, target: TrunkTarget, handler: SourceHandler, http: aiohttp.ClientSession, watch: PeerWatch | None
    ) -> None:
        self.token = target.token
        self.peer = Peer(target.edge, is_edge=True)
        self._watch = watch
        self.dialer = TrunkDialer(target.url, lambda: self.token, handler, http, self._broken)
        self.task = asyncio.create_task(self.dialer.run())
        self.idle_since_s: float | None = None

    def _broken(self) -> None:
        if self._watch is not None:
            self._watch.broke(self.peer, time.monotonic())


class TrunkPool:
    """Trunks by edge. `watch` is told whose line broke."""

    def __init__(self, handler: SourceHandler, http: aiohttp.ClientSession, watch: PeerWatch | None = None) -> None:
        self._handler = handler
        self._watch = watch
        self._http = http
        self._trunks: dict[str, _Trunk] = {}

    @property
    def frames_dropped(self) -> int:
        """Frames dropped because edges read too slowly."""
        return sum(trunk.dialer.frames_dropped for trunk in self._trunks.values())

    @property
    def connected(self) -> int:
        """Trunks that are up."""
        return sum(trunk.dialer.connected for trunk in self._trunks.values())

    def heard(self) -> list[tuple[Peer, float]]:
        """The edges that trunks are up to, and when each was heard last, in monotonic seconds."""
        return [(trunk.peer, trunk.dialer.heard_s) for trunk in self._trunks.values() if trunk.dialer.connected]

    def open(self, target: TrunkTarget, description: StreamOpen) -> OutgoingStream:
        """Begin a stream to an edge; its trunk is dialled if there is none."""
        trunk = self._trunks.get(target.edge)
        if trunk is None or trunk.dialer.url != target.url:
            if trunk is not None:
                trunk.task.cancel()
            trunk = self._trunks[target.edge] = _Trunk(target, self._handler, self._http, self._watch)
        trunk.token = target.token
        return trunk.dialer.open(description)

    def renew(self, target: TrunkTarget) -> None:
        """The broker sent a fresh token."""
        trunk = self._trunks.get(target.edge)
        if trunk is not None:
            trunk.token = target.token

    async def close_idle(self) -> None:
        """Close trunks that have had no stream for `IDLE_CLOSE_S`."""
        now = time.monotonic()
        for edge, trunk in list(self._trunks.items()):
            if not trunk.dialer.idle:
                trunk.idle_since_s = None
            elif trunk.idle_since_s is None:
                trunk.idle_since_s = now
            elif now - trunk.idle_since_s > IDLE_CLOSE_S:
                del self._trunks[edge]
                await _stop(trunk.task)

    async def close(self) -> None:
        """Close all trunks."""
        trunks, self._trunks = list(self._trunks.values()), {}
        for trunk in trunks:
            await _stop(trunk.task)


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
