"""What edges report of their viewers: checked, and added up for each viewer and each network.

Everything here is columns, one slot for each session, so that a thousand reports cost little more than one. Of each
viewer the last `WINDOW` reports are kept; what it experiences is a robust average of them (the mean of the middle half,
which no burst and no single lie moves) and an upper percentile.

What is refused, and counted by cause in `refused`:

* `replayed`: a batch whose number is not higher than the last one's.
* `future`, `late`: a batch whose time runs ahead of its edge's clock, or that waited longer than `LATE_S`.
* `stranger`: a report on a session that is not on this edge. An edge speaks of its own viewers only.
* `repeated`: a second report on the same session in a batch.
* `out_of_range`: anything negative, not a number, infinite or beyond what can be.
* `too_often`: less than `LEAST_INTERVAL_S` after the one before.
"""

import math
from collections import Counter
from enum import StrEnum
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from broker.core.networks import METRICS, SAMPLES_A_SESSION, Networks, Slots
from broker.protocol import ViewerLine, ViewerReport
from broker.protocol.report_batch import BIT, REPORT, ReportBatch, report_of

WINDOW = 16
"""Reports, seconds: long enough to outlast a burst, short enough to follow a walk out of the wireless network."""
HIGH = 0.9
FUTURE_S = 2.0
LATE_S = 5.0
CLOCK_BELIEVED_AFTER = 5
"""So many batches in a row that do not fit an edge's clock say that it was the clock that jumped."""
LEAST_INTERVAL_S = 0.25
FIRST_SLOTS = 256

Samples = NDArray[np.float32]
_FLOATS = 10
"""The first fields of `REPORT` are so many floats."""
_MOST: Samples = np.array([6e4, 6e4, 1.0, 1e12, 1e12, 1e12, 1e3, 6e4, 6e4, 6e4], np.float32)
_MOST_PIXELS = 16_384
_MEASURED = ("rtt_ms", "jitter_ms", "loss", "estimate_bps")
"""The fields of a report behind `METRICS`."""
_MEASURED_BITS = np.array([BIT[name] for name in _MEASURED], np.uint16)


class Cause(StrEnum):
    """Why a report was refused; see the module."""

    REPLAYED = "replayed"
    FUTURE = "future"
    LATE = "late"
    STRANGER = "stranger"
    REPEATED = "repeated"
    OUT_OF_RANGE = "out_of_range"
    TOO_OFTEN = "too_often"


class Line(NamedTuple):
    """A viewer's line, as its edge has measured it over the last `WINDOW` reports; NaN where it has not."""

    rtt_ms: float
    jitter_ms: float
    loss: float
    bandwidth_bps: float


class _Feed:
    """An edge's batches since it registered.

    `ahead_s` is its clock less ours, at the least delay seen; `strange` batches in a row do not fit it.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        self.sequence = -1
        self.ahead_s = math.nan
        self.strange = 0

    def objection(self, batch: ReportBatch, now: float) -> Cause | None:
        """Why this batch is not to be taken, if so."""
        if batch.sequence <= self.sequence:
            return Cause.REPLAYED
        ahead_s = batch.taken_at_s - now
        if not math.isfinite(ahead_s):
            return Cause.OUT_OF_RANGE
        self.sequence = batch.sequence
        drift_s = ahead_s - self.ahead_s
        if drift_s > FUTURE_S or drift_s < -LATE_S:
            self.strange += 1
            if self.strange < CLOCK_BELIEVED_AFTER:
                return Cause.FUTURE if drift_s > 0 else Cause.LATE
            self.ahead_s = ahead_s
        self.strange = 0
        self.ahead_s = ahead_s if math.isnan(self.ahead_s) else max(self.ahead_s, ahead_s)
        return None


class Telemetry:
    """Reports by session. Sessions are expected from the moment they have an edge until they leave it."""

    def __init__(self) -> None:
        self.networks = Networks()
        self.refused: Counter[Cause] = Counter()
        self._slots: dict[str, int] = {}
        self._free: list[int] = []
        self._feeds: dict[str, _Feed] = {}
        self._last: NDArray[np.void] = np.zeros(0, REPORT)
        self._samples: Samples = np.zeros((0, len(METRICS), WINDOW), np.float32)
        self._averages: Samples = np.zeros((0, len(METRICS)), np.float32)
        self._taken_at_s: NDArray[np.float64] = np.zeros(0)
        self._count: NDArray[np.int64] = np.zeros(0, np.int64)
        self._feed: NDArray[np.int64] = np.zeros(0, np.int64)
        self._pair: Slots = np.zeros(0, np.int64)

    # --- Who is expected --------------------------------------------------------------------------------

    def connected(self, edge: str) -> None:
        """An edge has registered (again): its clock and its numbers begin anew."""
        known = self._feeds.get(edge)
        self._feeds[edge] = _Feed(known.code if known is not None else len(self._feeds))

    def expect(self, session: str, edge: str, network: str, region: str) -> None:
        """A session has a place on an edge, in this region; `network` is empty where it is not known."""
        self.forget(session)
        if edge not in self._feeds:
            self.connected(edge)
        slot = self._slots[session] = self._free.pop() if self._free else self._new_slot()
        self._last[slot] = 0
        self._samples[slot] = self._averages[slot] = np.nan
        self._taken_at_s[slot] = -np.inf
        self._count[slot] = 0
        self._feed[slot] = self._feeds[edge].code
        self._pair[slot] = self.networks.enter(network, region)

    def forget(self, session: str) -> None:
        """A session has left its edge."""
        slot = self._slots.pop(session, None)
        if slot is not None:
            self.networks.leave(int(self._pair[slot]))
            self._free.append(slot)

    def expected(self) -> set[str]:
        """Sessions whose reports are taken."""
        return set(self._slots)

    def _new_slot(self) -> int:
        slot = len(self._slots)
        if slot >= len(self._last):
            self._grow(max(FIRST_SLOTS, 2 * len(self._last)))
        return slot

    def _grow(self, slots: int) -> None:
        for name in ("_last", "_samples", "_averages", "_taken_at_s", "_count", "_feed", "_pair"):
            old = getattr(self, name)
            new = np.zeros((slots, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)

    # --- Reports ----------------------------------------------------------------------------------------

    def take(self, edge: str, batch: ReportBatch, now: float) -> None:
        """Take what makes sense of a batch, and count the rest."""
        if edge not in self._feeds:
            self.connected(edge)
        feed = self._feeds[edge]
        objection = feed.objection(batch, now)
        if objection is not None:
            self.refused[objection] += max(1, len(batch.sessions))
            return
        slots = self._slots_of(batch.sessions)
        kept = self._sound(slots, batch, feed)
        self._put(slots[kept], batch.rows[kept], batch.taken_at_s, now)

    def _sound(self, slots: Slots, batch: ReportBatch, feed: _Feed) -> Slots:
        """The positions of reports that are to be taken."""
        kept = np.arange(len(slots))
        kept = self._without(kept, (slots < 0) | (self._feed_of(slots) != feed.code), Cause.STRANGER)
        first = np.zeros(len(kept), bool)
        first[np.unique(slots[kept], return_index=True)[1]] = True
        kept = self._without(kept, ~first, Cause.REPEATED)
        kept = self._without(kept, ~_in_range(batch.rows[kept]), Cause.OUT_OF_RANGE)
        is_early = batch.taken_at_s - self._taken_at_s[slots[kept]] < LEAST_INTERVAL_S
        return self._without(kept, is_early, Cause.TOO_OFTEN)

    def _feed_of(self, slots: Slots) -> NDArray[np.int64]:
        return self._feed[slots] if len(self._feed) else np.full(len(slots), -1)

    def _without(self, kept: Slots, bad: NDArray[np.bool_], cause: Cause) -> Slots:
        count = int(np.count_nonzero(bad))
        if not count:
            return kept
        self.refused[cause] += count
        return kept[~bad]

    def _put(self, slots: Slots, rows: NDArray[np.void], taken_at_s: float, now: float) -> None:
        counts = self._count[slots]
        samples = _measured(rows)
        self._samples[slots, :, counts % WINDOW] = samples
        self._averages[slots] = averages(self._samples[slots])
        self._last[slots] = rows
        self._taken_at_s[slots] = taken_at_s
        self._count[slots] = counts + 1
        pairs = self._pair[slots]
        voting = (pairs >= 0) & (counts < SAMPLES_A_SESSION)
        if voting.any():
            self.networks.count_sessions(pairs[voting & (counts == 0)], now)
            self.networks.add(pairs[voting], samples[voting], now)

    # --- What is known ----------------------------------------------------------------------------------

    def report(self, session: str) -> ViewerReport | None:
        """The last report of a session; `None` before the first."""
        slot = self._reported(session)
        return None if slot is None else report_of(session, self._last[slot])

    def sent_bps(self, session: str) -> float:
        """What its edge sent it, as last reported; 0 before."""
        slot = self._reported(session)
        return 0.0 if slot is None else self._last["sent_bps"].item(slot)

    def _reported(self, session: str) -> int | None:
        slot = self._slots.get(session)
        return slot if slot is not None and self._count.item(slot) else None

    def line(self, session: str) -> Line | None:
        """A viewer's line: averages; `None` before its round trip is known."""
        slot = self._reported(session)
        if slot is None:
            return None
        values = self._averages[slot].tolist()
        return None if math.isnan(values[0]) else Line(*values)

    def summary(self, session: str) -> ViewerLine | None:
        """A viewer's line for people to look at; `None` before its first report."""
        slot = self._reported(session)
        if slot is None:
            return None
        names, values = ViewerLine.__struct_fields__, (self._averages[slot], self.high([session])[0])
        pairs = zip(names, np.stack(values, axis=1).ravel().tolist(), strict=True)
        return ViewerLine(**{name: float(f"{value:.4g}") for name, value in pairs if not math.isnan(value)})

    def lines(self, sessions: list[str]) -> Samples:
        """Averages of many: (sessions, METRICS), NaN for what is unknown."""
        slots = self._slots_of(sessions)
        averages = np.full((len(slots), len(METRICS)), np.nan, np.float32)
        here = slots >= 0
        averages[here] = self._averages[slots[here]]
        return averages

    def high(self, sessions: list[str]) -> Samples:
        """The upper percentile `HIGH` of the viewers' reports, of bandwidth the lower one: (sessions, METRICS), NaN for
        what is unknown."""
        samples = np.sort(self._samples_of(sessions), axis=-1)
        known = np.count_nonzero(~np.isnan(samples), axis=-1)
        at = np.rint(HIGH * np.maximum(known - 1, 0)).astype(np.int64)
        at[:, METRICS.index("bandwidth_bps")] = (np.maximum(known - 1, 0) - at)[:, METRICS.index("bandwidth_bps")]
        return _at(samples, at)

    def _slots_of(self, sessions: list[str]) -> Slots:
        """-1 for those that are not expected."""
        return np.fromiter(map(self._slots.get, sessions, repeat(-1)), np.int64, len(sessions))

    def _samples_of(self, sessions: list[str]) -> Samples:
        slots = self._slots_of(sessions)
        samples = np.full((len(slots), len(METRICS), WINDOW), np.nan, np.float32)
        here = slots >= 0
        samples[here] = self._samples[slots[here]]
        return samples


def averages(samples: Samples) -> NDArray[np.float32]:
    """The mean of the middle half of what is known along the last axis; NaN where nothing is."""
    ordered = np.sort(samples, axis=-1)
    known = np.count_nonzero(~np.isnan(ordered), axis=-1)[..., np.newaxis]
    place, cut = np.arange(samples.shape[-1]), known // 4
    sums = np.where((place >= cut) & (place < known - cut), ordered, 0.0).sum(axis=-1, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        means: Samples = (sums / (known - 2 * cut)[..., 0]).astype(np.float32)
    return means


def _at(values: NDArray[Any], index: NDArray[np.int64]) -> NDArray[Any]:
    return np.take_along_axis(values, index[..., np.newaxis], axis=-1)[..., 0]


def _in_range(rows: NDArray[np.void]) -> NDArray[np.bool_]:
    """Which rows can be true. NaN compares as false with everything."""
    numbers = rows.view("<f4").reshape(len(rows), REPORT.itemsize // 4)[:, :_FLOATS]
    sane: NDArray[np.bool_] = np.all((numbers >= 0) & (numbers <= _MOST), axis=1)
    return sane & (rows["width"] <= _MOST_PIXELS) & (rows["height"] <= _MOST_PIXELS)


def _measured(rows: NDArray[np.void]) -> Samples:
    """(reports, METRICS): what edges measured, NaN for what they have not."""
    values = np.stack([rows[name] for name in _MEASURED], axis=1)
    is_known = (rows["known"][:, np.newaxis] & _MEASURED_BITS) != 0
    return np.where(is_known, values, np.float32(np.nan))
