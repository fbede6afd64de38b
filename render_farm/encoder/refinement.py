"""When a picture at rest is good enough: the rate that refinement takes, and when it stops."""

from render_farm.encoder.quality import Quality

BITRATE_FACTOR = 2.0
"""Refining pictures may take this many times the bitrate: quick, yet no burst that the path has not seen before."""
LOSSLESS_PSNR_DB = 46.0
"""Luma fidelity from which coded and source picture look the same; 42 dB is where most people stop to see it."""
MAX_STEPS = 60
"""Refining ends here at the latest, for instance on noise."""


class Refinement:
    """Progress of one refinement: pure bookkeeping over the quality of what was sent."""

    def __init__(self, fine_quantiser: float) -> None:
        """`fine_quantiser` stands for lossless where the encoder does not measure its fidelity."""
        self._fine_quantiser = fine_quantiser
        self.reset()

    def reset(self) -> None:
        """Begin anew; the scene moved."""
        self._steps = 0
        self.finished = False

    def sent(self, quality: Quality | None) -> None:
        """Take note of a refining picture; an encoder that says nothing of it is given all steps."""
        self._steps += 1
        self.finished = self._steps >= MAX_STEPS or (quality is not None and self._is_lossless(quality))

    def _is_lossless(self, quality: Quality) -> bool:
        if quality.psnr_db is not None:
            return quality.psnr_db >= LOSSLESS_PSNR_DB
        return quality.quantiser <= self._fine_quantiser
