"""What a video encoder is: planar frames in, encoded pictures out, one encoder per view and quality layer.

Encoders block and run in worker threads (PyAV releases the GIL); one encoder is used by one thread at a time.
"""

from dataclasses import dataclass
from typing import Protocol

from broker.protocol import Codec, H264Profile
from render_farm.renderer.interface import PlanarFrame


class EncoderError(Exception):
    """The encoder cannot be opened or has failed; the message names the codec and the cause."""


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What an encoder is opened with. Width and height are even; `profile` is for H.264 only."""

    codec: Codec
    width: int
    height: int
    fps: int
    bitrate_bps: int
    profile: H264Profile | None = None


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """One access unit: H.264 in Annex B format with SPS and PPS before each IDR, or one VP8 frame."""

    payload: bytes
    keyframe: bool


class VideoEncoder(Protocol):
    """Encodes one view. Latency is zero frames: each `encode` returns that frame's picture."""

    name: str
    """The implementation, e.g. `libx264` or `h264_nvenc`."""

    def encode(self, frame: PlanarFrame, *, keyframe: bool = False) -> EncodedPicture:
        """Encode one frame; `keyframe` makes it one a decoder can start from. Raises `EncoderError`."""

    def set_bitrate(self, bitrate_bps: int) -> None:
        """Change the target from the next frame on, without a keyframe."""

    def refine(self, frame: PlanarFrame, *, step: int) -> EncodedPicture | None:
        """Encode a frame at rest: step 0, 1, ... each brings the picture nearer to visually lossless.

        Returns `None` once nothing is left to send. The next `encode` goes on from the refined picture.
        """

    def close(self) -> None:
        """Free the encoder."""
