"""Which simulcast layer a viewer of the aiortc engine gets; pure.

The receiver's own estimate (REMB) is all that is known of its line here, about once a second. Down goes when it is
below what the layer takes, up one layer at a time when it is clearly above what the next one takes. The native engine's
choice (`edge/native/fanout/src/layers.rs`) has more to go by.
"""

from collections.abc import Sequence

from edge.adaptation import layer_within

KEEPS = 0.95
"""A layer is kept while the line takes this share of it."""
WINS = 1.15
"""The next layer is tried when the line takes this share of it."""
STOPPED_AFTER = 45_000
"""A layer whose pictures are this much older than another's has stopped; 90 kHz."""


class LayerChoice:
    """One viewer's. `shown` is the layer it is sent, `wanted` the one it is to get at that layer's next keyframe."""

    def __init__(self, start_bps: float, bitrates_bps: Sequence[float]) -> None:
        self.shown = self.wanted = layer_within(bitrates_bps, start_bps)
        self._newest: int | None = None

    def take_estimate(self, estimate_bps: float, bitrates_bps: Sequence[float]) -> None:
        """The viewer says what its line takes."""
        self.wanted = min(self.wanted, max(0, len(bitrates_bps) - 1))
        if self.wanted > 0 and estimate_bps < KEEPS * bitrates_bps[self.wanted]:
            self.wanted = min(self.wanted - 1, layer_within(bitrates_bps, estimate_bps))
        elif self.wanted + 1 < len(bitrates_bps) and estimate_bps >= WINS * bitrates_bps[self.wanted + 1]:
            self.wanted += 1

    def admits(self, layer: int, timestamp: int, *, keyframe: bool) -> bool:
        """Whether the viewer is sent this picture; a keyframe of the wanted layer changes what it is shown."""
        if self._has_stopped(timestamp) and layer != self.shown:
            self.wanted = layer
        if layer == self.wanted and keyframe:
            self.shown = layer
        if layer == self.shown:
            self._newest = timestamp
        return layer == self.shown

    def _has_stopped(self, timestamp: int) -> bool:
        """Whether the layer that is shown has stopped while others flow."""
        if self._newest is None:
            self._newest = timestamp
        return timestamp - self._newest > STOPPED_AFTER
