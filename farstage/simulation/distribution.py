"""Distributions in bounded memory: values counted in bins of equal width."""

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import ArrayLike


class Summary(msgspec.Struct, frozen=True):
    """A distribution in short; its unit is that of the key it stands under. Zero where nothing was counted."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    largest: float


class Distribution:
    """Values from 0 to `top`, in bins of `width`; larger ones count in the last bin."""

    def __init__(self, width: float, top: float) -> None:
        self._width = width
        self.counts = np.zeros(int(np.ceil(top / width)) + 1, dtype=np.int64)
        self._sum = 0.0
        self._largest = 0.0

    def add(self, value: float) -> None:
        """Count one."""
        self.counts[min(int(max(value, 0.0) / self._width), len(self.counts) - 1)] += 1
        self._sum += value
        self._largest = max(self._largest, value)

    def add_all(self, values: ArrayLike) -> None:
        """Count many."""
        array = np.asarray(values, dtype=np.float64)
        if array.size:
            bins = np.clip(array / self._width, 0, len(self.counts) - 1).astype(np.int64)
            self.counts += np.bincount(bins, minlength=len(self.counts))
            self._sum += float(array.sum())
            self._largest = max(self._largest, float(array.max()))

    @property
    def count(self) -> int:
        """How many values."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean, exact."""
        return self._sum / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """The value that this share does not exceed, to the width of a bin."""
        if not self.count:
            return 0.0
        at = int(np.searchsorted(np.cumsum(self.counts), share * self.count))
        return min((at + 0.5) * self._width, self._largest)

    def share_below(self, value: float) -> float:
        """Share of the values below this one, a multiple of the width."""
        return float(self.counts[: round(value / self._width)].sum() / self.count) if self.count else 0.0

    def curve(self) -> list[tuple[float, float]]:
        """Cumulated: upper bound of each bin that counts, and the share up to there."""
        reached = np.cumsum(self.counts) / max(1, self.count)
        return [((int(at) + 1) * self._width, float(reached[at])) for at in np.flatnonzero(self.counts)]

    def summary(self) -> Summary:
        """In short."""
        p50, p95, p99 = (self.quantile(share) for share in (0.5, 0.95, 0.99))
        return Summary(count=self.count, mean=self.mean, p50=p50, p95=p95, p99=p99, largest=self._largest)


def thinned(points: Sequence[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about so many of these points, the last one among them."""
    step = max(1, len(points) // most)
    return [*points[:-1:step], *points[-1:]]
