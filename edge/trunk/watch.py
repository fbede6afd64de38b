"""What a process sees of those at the other ends of its trunks, for the broker: `PeerSighted`.

The broker has one connection to each process and cannot tell a dead one from one it cannot reach. The trunks between
edges and nodes are further connections, on which somebody speaks at least every `KEEPALIVE_S`: who breaks one without
a farewell, or is silent for longer than a pause and a lost packet explain, is reported. `PeerWatch` does no I/O; its
owner calls `check` some ten times a second. Time during which this process itself stood still is nobody's silence.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

from broker.protocol import PeerSight, PeerSighted

KEEPALIVE_S = 0.2
"""A trunk on which nothing else was sent for this long carries a PING."""
SILENT_AFTER_S = 0.8
"""A keepalive's interval, a pause of 0.5 s, and some: with `CHECK_INTERVAL_S` just within the broker's own patience."""
CHECK_INTERVAL_S = 0.1
REPEAT_S = 1.0
"""Silence is told again this often, so that the broker may let go of old words."""
FORGET_S = 10.0
"""A broken connection is remembered this long: a peer that comes back later is a new one to the broker anyway."""
STALL_S = 0.2
"""Checks that are further apart than this mean that this process stood still."""


class Peer(NamedTuple):
    """A process at the other end of a trunk; a node and an edge may bear the same name."""

    name: str
    is_edge: bool


@dataclass(slots=True)
class _Told:
    sight: PeerSight
    at_s: float


class PeerWatch:
    """Notes who is silent or gone, and tells each change once. Times are monotonic seconds."""

    def __init__(self, tell: Callable[[PeerSighted], None]) -> None:
        self._tell = tell
        self._told: dict[Peer, _Told] = {}
        self._checked_s: float | None = None
        self._resumed_s = float("-inf")

    def broke(self, peer: Peer, now: float) -> None:
        """A connection has ended without a farewell."""
        self._say(peer, PeerSight.BROKEN, now)

    def check(self, connections: Iterable[tuple[Peer, float]], now: float) -> None:
        """Look at every connection that stands, with when it was heard last."""
        self._excuse_stall(now)
        heard: dict[Peer, float] = {}
        for peer, heard_s in connections:
            heard[peer] = max(heard_s, heard.get(peer, heard_s))
        for peer, heard_s in heard.items():
            self._look_at(peer, heard_s, now)
        for peer in [peer for peer in self._told if peer not in heard]:
            self._forget_if_old(peer, now)

    def _excuse_stall(self, now: float) -> None:
        if self._checked_s is not None and now - self._checked_s > STALL_S:
            self._resumed_s = now
        self._checked_s = now

    def _look_at(self, peer: Peer, heard_s: float, now: float) -> None:
        told = self._told.get(peer)
        if now - max(heard_s, self._resumed_s) > SILENT_AFTER_S:
            if told is None or now - told.at_s >= REPEAT_S:
                self._say(peer, PeerSight.SILENT, now)
        elif told is not None and heard_s > told.at_s:
            self._say(peer, PeerSight.HEARD, now)

    def _forget_if_old(self, peer: Peer, now: float) -> None:
        """It has no connection: one that ended in good order is no longer silent, one that broke stays gone a while."""
        told = self._told[peer]
        if told.sight is PeerSight.SILENT or now - told.at_s > FORGET_S:
            del self._told[peer]

    def _say(self, peer: Peer, sight: PeerSight, now: float) -> None:
        if sight is PeerSight.HEARD:
            self._told.pop(peer, None)
        else:
            self._told[peer] = _Told(sight, now)
        self._tell(PeerSighted(peer=peer.name, is_edge=peer.is_edge, sight=sight))


async def watch_forever(watch: PeerWatch, connections: Callable[[], Iterable[tuple[Peer, float]]]) -> None:
    """Check until cancelled."""
    while True:
        await asyncio.sleep(CHECK_INTERVAL_S)
        watch.check(connections(), time.monotonic())
