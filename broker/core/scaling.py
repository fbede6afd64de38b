"""How many nodes and edges will be wanted shortly: the signal for an autoscaler.

Demand is what is claimed, and what was asked for in the last minute and refused as the farm was full. It is sampled
every `SAMPLE_S`; the straight line through the last `WINDOW_S` tells where it will be `HORIZON_S` from now, about what
a machine takes to come up. A fall is not foreseen: who leaves early may come back, and a node too many costs less than
a visitor sent away. The capacity wanted keeps `TARGET_LOAD` of itself in use. The signal says how many; which ones go
is the operator's drain to say, so nothing that people are on is ever taken away.
"""

import math
from collections import deque
from collections.abc import Iterable
from statistics import linear_regression, median

from msgspec import Struct
from msgspec import field as field_of

SAMPLE_S = 5.0
WINDOW_S = 300.0
HORIZON_S = 180.0
TARGET_LOAD = 0.75
UNMET_FOR_S = 60.0
"""How long a refusal counts as demand: those who ask again are counted once, about."""
MAX_UNMET = 10_000
"""Stops a flood of refused joins from filling memory."""


class Sample(Struct, frozen=True):
    """Demand at one moment: units of drawing, and viewers."""

    at_s: float
    units: float
    viewers: float


class Demand(Struct):
    """The samples of the last minutes, and when joins were refused because the farm was full."""

    samples: deque[Sample] = field_of(default_factory=deque)
    unmet: deque[float] = field_of(default_factory=lambda: deque(maxlen=MAX_UNMET))

    def refused(self, now: float) -> None:
        """A join was refused because the farm is full."""
        self.unmet.append(now)

    def is_due(self, now: float) -> bool:
        """Whether it is time for another sample."""
        return not self.samples or now - self.samples[-1].at_s >= SAMPLE_S

    def sample(self, now: float, units: float, viewers: float) -> None:
        """Note the demand."""
        while self.unmet and now - self.unmet[0] > UNMET_FOR_S:
            self.unmet.popleft()
        self.samples.append(Sample(now, units + len(self.unmet), viewers + len(self.unmet)))
        while now - self.samples[0].at_s > WINDOW_S:
            self.samples.popleft()

    def units_expected(self) -> float:
        """Units in use `HORIZON_S` from now."""
        return _expected([(sample.at_s, sample.units) for sample in self.samples])

    def viewers_expected(self) -> float:
        """Viewers `HORIZON_S` from now."""
        return _expected([(sample.at_s, sample.viewers) for sample in self.samples])


def _expected(points: list[tuple[float, float]]) -> float:
    """Where the line through these points will be, but not below the last of them."""
    if not points:
        return 0.0
    latest_at, latest = points[-1]
    if len(points) < 3:
        return latest
    times, values = [at - latest_at for at, _ in points], [value for _, value in points]
    slope, _ = linear_regression(times, values)
    return max(latest, latest + slope * HORIZON_S)


def machines_wanted(expected: float, capacities: Iterable[float]) -> int:
    """Machines that keep `TARGET_LOAD` of themselves in use, as large as the usual one of these."""
    usual = median(list(capacities) or [0.0])
    return math.ceil(expected / TARGET_LOAD / usual - 1e-9) if usual > 0 else 0
