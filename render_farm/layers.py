"""The simulcast layers of one view: their sizes and bitrates, who wants which, and the encoder of each.

Layers are numbered from the lowest, 0; each has half the width and height of the next higher one. The highest adapts to
its viewers' lines, the lower ones take what they may. A layer that nobody wants is not encoded.
"""

from collections.abc import Hashable, Sequence

from edge.trunk import LayerDescription
from render_farm.encoder.interface import EncodedPicture, EncoderSettings, VideoEncoder
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.interface import PlanarFrame

MIN_BITRATE_BPS = 150_000
BITRATE_STEP = 0.05
"""Smaller changes of the target are not worth reconfiguring the encoder."""
KEPT_S = 3.0
"""A layer is encoded so long after it was last wanted: edges tell each second, and somebody may come back."""


def layer_size(width: int, height: int, below: int) -> tuple[int, int]:
    """Width and height of the layer so many steps below the highest, both even."""
    return (width >> below) // 2 * 2, (height >> below) // 2 * 2


def layer_bitrate_bps(max_bitrate_bps: int, below: int) -> int:
    """The most that the layer so many steps below the highest may take, by its pixels."""
    return max(MIN_BITRATE_BPS, max_bitrate_bps >> 2 * below)


def describe(width: int, height: int, max_bitrate_bps: int, layers: int) -> list[LayerDescription]:
    """The layers of a view of this size, lowest first; none where there is only one."""
    if layers < 2:
        return []
    sizes = [(below, layer_size(width, height, below)) for below in reversed(range(layers))]
    return [
        LayerDescription(width=size[0], height=size[1], max_bitrate_bps=layer_bitrate_bps(max_bitrate_bps, below))
        for below, size in sizes
    ]


class LayerDemand:
    """Which edges want which layers. `now` is monotonic seconds."""

    def __init__(self, layers: int) -> None:
        self._layers = layers
        self._until_s: dict[tuple[Hashable, int], float] = {}

    def ask(self, edge: Hashable, layer: int, now: float) -> None:
        """An edge needs a picture of this layer."""
        self._until_s[edge, layer] = now + KEPT_S

    def told(self, edge: Hashable, viewers: Sequence[int], now: float) -> None:
        """An edge told how many of its viewers are to get each layer."""
        for layer in (layer for layer, count in enumerate(viewers[: self._layers]) if count):
            self.ask(edge, layer, now)

    def forget(self, edge: Hashable) -> None:
        """An edge is gone."""
        for layer in range(self._layers):
            self._until_s.pop((edge, layer), None)

    def of(self, edge: Hashable, now: float) -> set[int]:
        """What an edge wants; where there is only one layer, that."""
        if self._layers == 1:
            return {0}
        return {layer for layer in range(self._layers) if self._until_s.get((edge, layer), now) > now}


class LayerEncoder:
    """One layer's encoder, opened with the first picture and whenever its shape changes. For one thread at a time."""

    def __init__(self) -> None:
        self.bitrate_bps = 0
        self._encoder: VideoEncoder | None = None
        self._settings: EncoderSettings | None = None

    def encode(
        self, frame: PlanarFrame, wanted: EncoderSettings, *, keyframe: bool, refinement_step: int | None
    ) -> EncodedPicture | None:
        """Encode or, with a step, refine a frame; `None` if nothing is left to send. Raises `EncoderError`."""
        encoder = self._opened(wanted)
        if refinement_step is not None:
            return encoder.refine(frame, step=refinement_step)
        return encoder.encode(frame, keyframe=keyframe)

    def _opened(self, wanted: EncoderSettings) -> VideoEncoder:
        if self._encoder is None or self._settings is None or _shape(self._settings) != _shape(wanted):
            self.close()
            self._encoder, self._settings = open_encoder(wanted), wanted
            self.bitrate_bps = wanted.bitrate_bps
        elif abs(wanted.bitrate_bps - self.bitrate_bps) > BITRATE_STEP * self.bitrate_bps:
            self._encoder.set_bitrate(wanted.bitrate_bps)
            self.bitrate_bps = wanted.bitrate_bps
        return self._encoder

    @property
    def is_open(self) -> bool:
        """Whether it holds an encoder."""
        return self._encoder is not None

    def close(self) -> None:
        """Free the encoder; the next picture opens one and is a keyframe."""
        if self._encoder is not None:
            self._encoder.close()
            self._encoder = None


def _shape(settings: EncoderSettings) -> tuple[object, ...]:
    return (settings.codec, settings.width, settings.height, settings.fps, settings.profile)
