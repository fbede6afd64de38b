"""How much a viewer's network takes, and what that means for the source: pure functions of what RTCP told.

A viewer's estimate follows the loss-based half of Google congestion control (draft-ietf-rmcat-gcc-02, section 6):
loss under 2% raises it, over 10% lowers it, in between holds it; the receiver's own estimate (REMB) caps it.
A stream's bitrate is what the slowest comfortable majority of its viewers takes, so that one bad line does not spoil
the picture of a thousand.
"""

import math
from collections.abc import Iterable

import numpy as np

MIN_BITRATE_BPS = 150_000.0
MAX_BITRATE_BPS = 20_000_000.0
START_BITRATE_BPS = 2_500_000.0
RAISE_PER_S = 1.08
LOW_LOSS = 0.02
HIGH_LOSS = 0.10
REMB_HEADROOM = 0.95
MINORITY = 0.2
"""Share of viewers with the worst lines that do not slow the others down (conference); one of few always counts."""


def next_estimate_bps(previous_bps: float, loss: float, remb_bps: float, elapsed_s: float) -> float:
    """The viewer's estimate after `elapsed_s` with this fraction of packets lost. NaN stands for not reported."""
    estimate = previous_bps
    if not math.isnan(loss):
        if loss > HIGH_LOSS:
            estimate *= (1.0 - 0.5 * loss) ** min(elapsed_s, 2.0)
        elif loss < LOW_LOSS:
            estimate *= RAISE_PER_S ** min(elapsed_s, 2.0)
    if not math.isnan(remb_bps):
        estimate = min(estimate, remb_bps * REMB_HEADROOM)
    return min(max(estimate, MIN_BITRATE_BPS), MAX_BITRATE_BPS)


def stream_bitrate_bps(estimates_bps: Iterable[float]) -> float | None:
    """The bitrate for a stream with these viewers; `None` without viewers."""
    known = np.sort(np.fromiter(estimates_bps, dtype=np.float64))
    if not known.size:
        return None
    return float(known[int(known.size * MINORITY)])
