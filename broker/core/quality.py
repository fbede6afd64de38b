"""What a viewer can be expected to experience: one function of path, picture and load, 0 (useless) to 100 (perfect).

An impairment-factor model, built as the E-model (ITU-T G.107) and the cloud-gaming model (ITU-T G.1072) are: from a
perfect score each cause takes its points away, and `mean_opinion_score` turns the rest into the usual 1 to 5. The
coefficients are ours, stated below, and operators may exchange them (`QualityModel`); what matters to placement is
that every term rises with what causes it, so that more delay, loss or load never looks better.

- Delay: from input to photon what the network adds. Nobody feels 20 ms; at `unbearable_ms` half of the points are gone.
- Jitter is delay, as the receiver waits for the late ones; so is a full node, as a view waits for others of its tick.
- Loss that retransmission repairs costs a pause, what it does not costs a picture: one term stands for both.
- Bandwidth below what the picture wants costs sharpness, the same for each halving.
- Frame rate below 30 pictures a second costs smoothness.
"""

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

PERFECT = 100.0
GOOD = 80.0
"""Quality from here on is good: a mean opinion score of 4."""
FAIR = 60.0
"""A mean opinion score of 3: annoying to many."""
UNKNOWN_RTT_MS = 80.0
"""Assumed where nothing is measured: worse than a near edge, better than another continent."""


class Path(Struct, frozen=True, kw_only=True):
    """From a viewer through its edge to its node. `node_load` is the share of the node's capacity that is claimed."""

    rtt_ms: float
    jitter_ms: float = 0.0
    loss: float = 0.0
    bandwidth_bps: float | None = None
    fps: float = 30.0
    node_load: float = 0.0


class QualityModel(Struct, frozen=True, kw_only=True):
    """The coefficients. Times in milliseconds, `loss_rate` per share lost, points of 100."""

    unbearable_ms: float = 160.0
    """Delay that costs half of all points."""
    delay_power: float = 2.0
    """How sharply delay begins to be felt."""
    jitter_weight: float = 2.0
    """Milliseconds of waiting for each millisecond of jitter."""
    loss_rate: float = 6.0
    """1 % lost costs about 6 points, 5 % a quarter of all."""
    full_node_frames: float = 0.25
    """How much of a frame a view waits for the others of its tick on a full node; encoders overlap with drawing."""
    wanted_bps: float = 3_300_000.0
    """What a clean 1280x720 picture at 30 frames/s takes."""
    points_per_halving: float = 10.0
    """For each halving of the bandwidth below what is wanted."""
    points_without_motion: float = 50.0
    """For a picture that stands still; in proportion for frame rates between that and 30 a second."""

    def delay_impairment(self, delay_ms: float) -> float:
        """Points lost to delay, 0 to 100."""
        felt = math.pow(delay_ms / self.unbearable_ms, self.delay_power)
        return PERFECT * felt / (1.0 + felt)

    def delay_impairments(self, delay_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same of many delays."""
        felt = (delay_ms / self.unbearable_ms) ** self.delay_power
        return PERFECT * felt / (1.0 + felt)

    def line_delay_ms(self, rtt_ms: float, jitter_ms: float) -> float:
        """Delay that a line of this round trip and jitter makes."""
        return rtt_ms + self.jitter_weight * jitter_ms

    def line_impairment(self, loss: float, bandwidth_bps: float | None) -> float:
        """Points lost to a line's losses and to its want of bandwidth (`None`: unknown, none lost)."""
        lost = PERFECT * -math.expm1(-self.loss_rate * loss)
        if bandwidth_bps is None or bandwidth_bps >= self.wanted_bps:
            return lost
        return lost + self.points_per_halving * math.log2(self.wanted_bps / max(bandwidth_bps, 1.0))

    def load_delay_ms(self, node_load: float, fps: float = 30.0) -> float:
        """How long a view waits for the others of its tick; little on a half-full node."""
        return 1_000.0 / fps * self.full_node_frames * node_load * node_load

    def quality(self, path: Path) -> float:
        """The expected quality, 0 to 100."""
        delay_ms = self.line_delay_ms(path.rtt_ms, path.jitter_ms) + self.load_delay_ms(path.node_load, path.fps)
        still = self.points_without_motion * max(0.0, 1.0 - path.fps / 30.0)
        lost = self.delay_impairment(delay_ms) + self.line_impairment(path.loss, path.bandwidth_bps) + still
        return max(0.0, PERFECT - lost)


def mean_opinion_score(quality: float) -> float:
    """1 (bad) to 5 (excellent), by the curve of ITU-T G.107, Annex B."""
    rating = min(PERFECT, max(0.0, quality))
    return max(1.0, 1.0 + 0.035 * rating + rating * (rating - 60.0) * (100.0 - rating) * 7e-6)
