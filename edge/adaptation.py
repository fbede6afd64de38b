"""How much a viewer's network takes, and what that means for the source. Pure: what RTCP told goes in.

A viewer's estimate follows the loss-based half of Google congestion control (draft-ietf-rmcat-gcc-02, section 6):
little loss raises it, much lowers it, and the receiver's own estimate (REMB) caps it. Two things are added. A round
trip that has grown tells of a queue before the queue overflows, so a stream does not stand in one; and where there is
none, some loss is the radio's and no reason to stop growing. The estimate begins with what the client measured before
joining, and falls from what was really sent, not from what was hoped for.

A stream's bitrate is what the slowest comfortable majority of its viewers takes, so that one bad line does not spoil
the picture of a thousand. Where a stream has simulcast layers, who cannot take the highest is shown a lower one, and
the highest is for the others.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

MIN_BITRATE_BPS = 150_000.0
MAX_BITRATE_BPS = 20_000_000.0
START_BITRATE_BPS = 2_500_000.0
PROBE_HEADROOM = 0.8
"""Share of the bandwidth a client measured that the stream may take at first."""
REMB_HEADROOM = 0.95
MEASURED_HEADROOM = 0.9
"""Leaves room for sound, repeats and headers."""
LOW_LOSS = 0.02
HIGH_LOSS = 0.10
SEVERE_LOSS = 0.25
"""So much is no radio's whim: the line carries what arrived, and its queue must drain before its length can be seen."""
SHORT_QUEUE_MS = 30.0
LONG_QUEUE_MS = 80.0
RAISE_PER_S = 1.08
CAUTIOUS_RAISE_PER_S = 1.02
"""With some loss but no queue, and near the rate at which the line last suffered."""
NEAR = (0.8, 1.15)
"""Shares of that rate between which caution rules; beyond, the line must have grown."""
RECOVER_PER_S = 1.5
"""After severe loss, while nothing is lost and no queue stands, up to RECOVER_SHARE of what was sent before."""
RECOVER_SHARE = 0.7
DRAIN_PER_S = 0.85
"""With a long queue."""
DRAIN_SHARE = 0.7
"""Of what arrived while much more was sent; what arrived includes what filled the queue."""
REPORTS_TO_KNOW = 2
"""So many reports it takes to know the shortest round trip."""
REMB_USED_SHARE = 0.7
"""A receiver that is sent less than this share of its estimate estimates what it is sent, not what its line takes."""
TELLING_BITRATE_BPS = 2 * MIN_BITRATE_BPS
"""A stream that sends less than this, a picture at rest, says nothing of what the line takes."""
LEAST_RTT_DRIFT_MS_PER_S = 1.0
"""The shortest round trip is forgotten so fast: routes change."""
LAYER_STEP = 1.3
"""The highest layer is worth having from so many times the bitrate of the next lower one."""
MINORITY = 0.2
"""Share of viewers with the worst lines that do not slow the others down (conference); one of few always counts."""


@dataclass(frozen=True, slots=True)
class LineReport:
    """What came in about one viewer's line within about a second; NaN stands for nothing new."""

    sent_bps: float
    rtt_ms: float
    loss: float
    remb_bps: float
    measured_bps: float = math.nan
    """What the engine's own congestion control found; it sees every packet and outranks what reports tell."""


class LineEstimate:
    """What one viewer's line takes. `bandwidth_bps` is what the client measured before joining, if it did."""

    def __init__(self, bandwidth_bps: float | None = None) -> None:
        self.bps = START_BITRATE_BPS
        if bandwidth_bps is not None:
            self.bps = min(max(bandwidth_bps * PROBE_HEADROOM, MIN_BITRATE_BPS), START_BITRATE_BPS)
        self._least_rtt_ms = math.inf
        self._suffered_bps = math.nan
        """The rate at which the line last had a long queue or much loss; NaN if it was far exceeded."""
        self._recover_to_bps = 0.0
        self._silent_s = 0.0
        self._reports = 0
        self._was_severe = False

    def update(self, report: LineReport, elapsed_s: float) -> None:
        """Take what came in during the last `elapsed_s`."""
        if not math.isnan(report.measured_bps):
            self.bps = min(max(report.measured_bps * MEASURED_HEADROOM, MIN_BITRATE_BPS), MAX_BITRATE_BPS)
            return
        estimate = self.bps
        self._silent_s += elapsed_s
        if not math.isnan(report.loss):
            queue_ms = self._queue_ms(report.rtt_ms, self._silent_s)
            estimate = self._next_bps(report, queue_ms, min(self._silent_s, 2.0))
            self._silent_s = 0.0
        if report.sent_bps >= report.remb_bps * REMB_USED_SHARE:
            estimate = min(estimate, report.remb_bps * REMB_HEADROOM)
        self.bps = min(max(estimate, MIN_BITRATE_BPS), MAX_BITRATE_BPS)

    def _next_bps(self, report: LineReport, queue_ms: float, elapsed_s: float) -> float:
        estimate, loss = self.bps, report.loss
        if report.sent_bps >= TELLING_BITRATE_BPS:
            if loss > SEVERE_LOSS:
                return self._after_severe_loss(report, queue_ms)
            if loss > HIGH_LOSS or queue_ms > LONG_QUEUE_MS:
                estimate = self._suffered_bps = min(estimate, report.sent_bps)
                self._recover_to_bps = 0.0
        self._was_severe = False
        if estimate < self._recover_to_bps and loss < LOW_LOSS and queue_ms <= SHORT_QUEUE_MS:
            return min(estimate * math.pow(RECOVER_PER_S, elapsed_s), self._recover_to_bps)
        low, high = NEAR
        careful = low * self._suffered_bps <= estimate <= high * self._suffered_bps
        return estimate * math.pow(_factor_per_s(loss, queue_ms, careful=careful), elapsed_s)

    def _after_severe_loss(self, report: LineReport, queue_ms: float) -> float:
        """Fall to what arrived; but a line that was cut for a moment, and so has no queue, is given a second chance."""
        was_cut = queue_ms <= SHORT_QUEUE_MS and self._reports > REPORTS_TO_KNOW and not self._was_severe
        self._was_severe = True
        if was_cut:
            return self.bps
        self._suffered_bps = math.nan
        self._recover_to_bps = min(self.bps, report.sent_bps) * RECOVER_SHARE
        return min(self.bps, report.sent_bps * (1.0 - report.loss) * DRAIN_SHARE)

    def _queue_ms(self, rtt_ms: float, elapsed_s: float) -> float:
        """By how much the round trip exceeds the shortest one; NaN if unknown."""
        if math.isnan(rtt_ms):
            return math.nan
        self._reports += 1
        self._least_rtt_ms = min(rtt_ms, self._least_rtt_ms + LEAST_RTT_DRIFT_MS_PER_S * elapsed_s)
        return rtt_ms - self._least_rtt_ms


def _factor_per_s(loss: float, queue_ms: float, *, careful: bool) -> float:
    """How the estimate changes in a second."""
    if loss > HIGH_LOSS:
        return 1.0 - 0.5 * loss
    if queue_ms > LONG_QUEUE_MS:
        return DRAIN_PER_S
    if queue_ms > SHORT_QUEUE_MS:
        return 1.0
    if loss < LOW_LOSS:
        return CAUTIOUS_RAISE_PER_S if careful else RAISE_PER_S
    return CAUTIOUS_RAISE_PER_S if queue_ms <= SHORT_QUEUE_MS else 1.0


def least_bitrates_bps(most_bps: Sequence[float]) -> list[float]:
    """From what a line takes on each simulcast layer is worth having, lowest first, if they take `most_bps` at most.

    The lower layers are encoded at what they may take. The highest adapts to who watches it, down to a little more than
    the next lower one.
    """
    *lower, highest = most_bps
    return [*lower, min(lower[-1] * LAYER_STEP, highest) if lower else highest]


def layer_within(bitrates_bps: Sequence[float], line_bps: float) -> int:
    """The highest of simulcast layers, lowest first, that the line takes; else the lowest."""
    return max((layer for layer, bitrate_bps in enumerate(bitrates_bps) if bitrate_bps <= line_bps), default=0)


@dataclass(frozen=True, slots=True)
class WeightedBitrate:
    """What so many viewers take, as another edge found."""

    bps: float
    viewers: int


def highest_layer_bps(
    estimates_bps: Iterable[float], most_bps: Sequence[float], elsewhere: Sequence[WeightedBitrate] = ()
) -> float:
    """The bitrate for the highest of several layers: for the viewers whose line is too good for the next lower one."""
    least_bps = least_bitrates_bps(most_bps)[-1]
    here = [estimate for estimate in estimates_bps if estimate >= least_bps]
    wanted_bps = stream_bitrate_bps(here, [entry for entry in elsewhere if entry.bps >= least_bps])
    return most_bps[-1] if wanted_bps is None else min(wanted_bps, most_bps[-1])


def stream_bitrate_bps(estimates_bps: Iterable[float], elsewhere: Sequence[WeightedBitrate] = ()) -> float | None:
    """The bitrate for a stream with these viewers, here and behind other edges; `None` without viewers."""
    here = np.fromiter(estimates_bps, dtype=np.float64)
    known = np.concatenate([here, [entry.bps for entry in elsewhere]])
    weights = np.concatenate([np.ones(here.size), [entry.viewers for entry in elsewhere]])
    viewers = int(weights.sum())
    if not viewers:
        return None
    order = np.argsort(known, kind="stable")
    slower_or_equal = np.cumsum(weights[order])
    return float(known[order][np.searchsorted(slower_or_equal, int(viewers * MINORITY), side="right")])
