"""What lines from a network to a region have shown before: for people of whom nothing is known yet.

A network is an address prefix (`/24`, `/48`), as the shell names it. For each pair of network and region there is a
histogram of what edges measured there; old samples fade with a half-life of `HALF_LIFE_S`. Only what edges measured
goes in, of each session no more than its first `SAMPLES_A_SESSION` reports, and a pair tells nothing before
`SESSIONS_TO_KNOW` have been there: one strange line, or one client that delays its answers to look far away, does not
speak for its neighbours.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Slots = NDArray[np.int64]

HALF_LIFE_S = 3_600.0
SAMPLES_A_SESSION = 60
SESSIONS_TO_KNOW = 3
MAX_PAIRS = 5_000
"""10 MiB. Beyond it the pair that was heard of longest ago, and that nobody is in, is forgotten."""
MAX_WEIGHT = 2.0**40
LINE_REPORTS, LINE_GROWS = 30, 1.1
"""A line is worked out anew after so many more reports, and a tenth more."""
BINS = 64
METRICS = ("rtt_ms", "jitter_ms", "loss", "bandwidth_bps")
_SPANS = ((0.5, 5_000.0), (0.1, 2_000.0), (1e-4, 1.0), (5e4, 1e10))
"""Below the first everything is one bin, as is everything from the second on."""
BOUNDS: Floats = np.array([np.geomspace(least, most, BINS - 1) for least, most in _SPANS])


class RegionLine(NamedTuple):
    """What to expect of a line to a region; `None` where nobody has measured it."""

    rtt_ms: float
    jitter_ms: float
    loss: float
    bandwidth_bps: float | None


class Pair(NamedTuple):
    """A network and a region, and what is known of the lines between them."""

    network: str
    region: str
    sessions: float
    rtt_ms: float
    rtt_high_ms: float
    loss: float


class PairRecord(Struct, frozen=True, kw_only=True):
    """A pair for the store: weights as of the time it was written, by metric the bins that are not empty."""

    network: str
    region: str
    sessions: float
    counts: dict[str, dict[int, float]]


class Networks:
    """All pairs. Pairs are named by numbers, which are good while a session is in them."""

    def __init__(self, max_pairs: int = MAX_PAIRS) -> None:
        self._max_pairs = max_pairs
        self._index: dict[tuple[str, str], int] = {}
        self._names: list[tuple[str, str]] = []
        self._counts: NDArray[np.float64] = np.zeros((0, len(METRICS), BINS))
        self._sessions: list[float] = []
        self._inside: list[int] = []
        self._heard_at: list[float] = []
        self._reports: list[int] = []
        self._lines: dict[int, tuple[int, RegionLine | None]] = {}
        """Lines that were worked out, and after how many reports."""
        self._epoch_s: float | None = None
        self._latest_weight = 1.0

    def enter(self, network: str, region: str) -> int:
        """A session begins; the number of its pair, -1 if it has none."""
        if not network:
            return -1
        pair = self._index.get((network, region), -1)
        if pair < 0:
            pair = self._make(network, region)
        if pair >= 0:
            self._inside[pair] += 1
        return pair

    def leave(self, pair: int) -> None:
        """A session of this pair has ended."""
        if pair >= 0:
            self._inside[pair] -= 1

    def count_sessions(self, pairs: Slots, now: float) -> None:
        """The first reports of sessions have come."""
        weight = self._weight(now)
        for pair in pairs.tolist():
            self._sessions[pair] += weight
            self._heard_at[pair] = now

    def add(self, pairs: Slots, samples: NDArray[Any], now: float) -> None:
        """Reports of these pairs. `samples`: (reports, METRICS), NaN for what is unknown."""
        weight = self._weight(now)
        for pair, reports in zip(*np.unique(pairs, return_counts=True), strict=True):
            self._reports[pair] += int(reports)
        for metric, bounds in enumerate(BOUNDS):
            values = samples[:, metric]
            known = ~np.isnan(values)
            bins = np.searchsorted(bounds, values[known], side="right")
            np.add.at(self._counts, (pairs[known], metric, bins), weight)

    def line(self, network: str, region: str) -> RegionLine | None:
        """What to expect between these two; `None` where too few have been."""
        pair = self._index.get((network, region))
        if pair is None or not self._is_known(pair):
            return None
        reports, known = self._reports[pair], self._lines.get(pair)
        if known is None or reports > known[0] * LINE_GROWS + LINE_REPORTS:
            known = self._lines[pair] = (reports, self._measured_line(pair))
        return known[1]

    def _measured_line(self, pair: int) -> RegionLine | None:
        rtt_ms = self._quantile(pair, 0, 0.5)
        if rtt_ms is None:
            return None
        jitter_ms, loss = self._quantile(pair, 1, 0.5), self._quantile(pair, 2, 0.75)
        return RegionLine(rtt_ms, jitter_ms or 0.0, loss or 0.0, self._quantile(pair, 3, 0.25))

    def lines(self, network: str, regions: Sequence[str]) -> dict[str, RegionLine]:
        """What to expect of these regions, as far as it is known."""
        found = ((region, self.line(network, region)) for region in regions) if network else ()
        return {region: line for region, line in found if line is not None}

    def pairs(self, limit: int) -> list[Pair]:
        """Those with most sessions, for people to look at."""
        known = [pair for pair in self._index.values() if self._is_known(pair)]
        known.sort(key=lambda pair: (-self._sessions[pair], self._names[pair]))
        return [self._shown(pair) for pair in known[:limit]]

    def _shown(self, pair: int) -> Pair:
        network, region = self._names[pair]
        return Pair(
            network=network,
            region=region,
            sessions=self._sessions[pair] / self._latest_weight,
            rtt_ms=self._quantile(pair, 0, 0.5) or 0.0,
            rtt_high_ms=self._quantile(pair, 0, 0.95) or 0.0,
            loss=self._quantile(pair, 2, 0.75) or 0.0,
        )

    def _is_known(self, pair: int) -> bool:
        """Whether enough have been there: a little less than the number, as they fade from the first moment on."""
        return self._sessions[pair] / self._latest_weight >= SESSIONS_TO_KNOW - 0.5

    def records(self, since: float) -> list[PairRecord]:
        """Pairs that are known and that a session has begun in since then."""
        return [
            self._record(pair)
            for pair in self._index.values()
            if self._heard_at[pair] >= since and self._is_known(pair)
        ]

    def _record(self, pair: int) -> PairRecord:
        network, region = self._names[pair]
        counts = self._counts[pair] / self._latest_weight
        return PairRecord(
            network=network,
            region=region,
            sessions=self._sessions[pair] / self._latest_weight,
            counts={
                metric: {int(at): round(float(row[at]), 3) for at in np.flatnonzero(row)}
                for metric, row in zip(METRICS, counts, strict=True)
            },
        )

    def restore(self, record: PairRecord) -> None:
        """Take over what an earlier broker knew; where something has been heard already, that counts."""
        if (record.network, record.region) in self._index:
            return
        pair = self._make(record.network, record.region)
        if pair < 0:
            return
        self._sessions[pair] = record.sessions * self._latest_weight
        for metric, bins in record.counts.items():
            for at, count in bins.items():
                if metric in METRICS and 0 <= at < BINS and count > 0:
                    self._counts[pair, METRICS.index(metric), at] = count * self._latest_weight

    def __contains__(self, pair: tuple[str, str]) -> bool:
        return pair in self._index

    def __len__(self) -> int:
        return len(self._index)

    def _quantile(self, pair: int, metric: int, share: float) -> float | None:
        """The value below which this share of a histogram is; between a bin's bounds it is taken to be geometric."""
        counts = self._counts[pair, metric]
        total = counts.sum()
        if total <= 0:
            return None
        cumulative = np.cumsum(counts)
        at = int(np.searchsorted(cumulative, share * total))
        if at == 0:
            return 0.0 if metric == METRICS.index("loss") else float(BOUNDS[metric][0])
        bounds = BOUNDS[metric]
        low, high = bounds[at - 1], bounds[min(at, len(bounds) - 1)]
        inside = (share * total - cumulative[at - 1]) / counts[at]
        return float(low * math.pow(high / low, inside))

    def _weight(self, now: float) -> float:
        """What a sample of now weighs: twice that of one a half-life ago. When weights get large all are scaled.

        Time that nothing was reported in does not fade what is known.
        """
        if self._epoch_s is None:
            self._epoch_s = now
        weight = math.pow(2.0, (now - self._epoch_s) / HALF_LIFE_S) if now > self._epoch_s else 1.0
        if weight > MAX_WEIGHT:
            self._counts /= weight
            self._sessions = [sessions / weight for sessions in self._sessions]
            self._epoch_s, weight = now, 1.0
        self._latest_weight = weight
        return weight

    def _make(self, network: str, region: str) -> int:
        pair = len(self._names)
        if pair >= self._max_pairs:
            pair = self._forgotten()
            if pair < 0:
                return -1
        elif pair >= len(self._counts):
            more = np.zeros((max(64, len(self._counts)), len(METRICS), BINS))
            self._counts = np.concatenate((self._counts, more))
        self._put(pair, network, region)
        return pair

    def _put(self, pair: int, network: str, region: str) -> None:
        if pair == len(self._names):
            self._names.append((network, region))
            self._sessions.append(0.0)
            self._inside.append(0)
            self._heard_at.append(-math.inf)
            self._reports.append(0)
        else:
            self._names[pair] = (network, region)
            self._sessions[pair] = 0.0
            self._counts[pair] = 0.0
            self._heard_at[pair] = -math.inf
            self._reports[pair] = 0
            self._lines.pop(pair, None)
        self._index[network, region] = pair

    def _forgotten(self) -> int:
        """Forget the pair that was heard of longest ago, and give its number; -1 if somebody is in each."""
        empty = [pair for pair, inside in enumerate(self._inside) if not inside]
        if not empty:
            return -1
        oldest = min(empty, key=self._heard_at.__getitem__)
        del self._index[self._names[oldest]]
        return oldest
