"""What a publisher sends, as a source of a stream: its simulcast encodings in the order of their sizes. Pure.

Publishers name their encodings in either order, the best first or the worst first; the sizes of the first keyframes
tell which. Until two are known the first is taken for the lowest.
"""

from dataclasses import dataclass, field

from broker.protocol import Codec
from edge.engine import PublishedPicture
from edge.picture_size import picture_size
from edge.trunk import Flag, Frame, Kind, LayerDescription, StreamOpen

_USUAL_BITRATES_BPS = (300_000.0, 900_000.0, 2_500_000.0)
"""What encoders give a quarter, half and the whole of the size, before the engine has measured it."""


@dataclass(slots=True)
class Publication:
    """A publisher's encodings, as many as its offer names."""

    codec: Codec
    encodings: int
    descending: bool = False
    """Whether the first encoding is the largest."""
    _sizes: dict[int, int] = field(default_factory=dict)

    def note(self, picture: PublishedPicture) -> bool:
        """Take note of a picture's size; returns whether the order of the layers has turned out to be the other."""
        if not picture.keyframe or self.encodings == 1 or picture.layer in self._sizes:
            return False
        size = picture_size(self.codec, picture.payload)
        if size is None:
            return False
        self._sizes[picture.layer] = size[0] * size[1]
        known = [self._sizes[encoding] for encoding in sorted(self._sizes)]
        was, self.descending = self.descending, known[0] > known[-1]
        return was is not self.descending

    def layer(self, encoding: int) -> int:
        """The layer of an encoding, and the encoding of a layer; layer 0 is the lowest."""
        return self.encodings - 1 - encoding if self.descending else encoding

    def frame(self, picture: PublishedPicture) -> Frame:
        """The picture as a source on a trunk would send it."""
        return Frame(
            Kind.FRAME,
            channel=0,
            payload=picture.payload,
            flags=Flag.KEYFRAME if picture.keyframe else 0,
            sequence=picture.sequence,
            layer=self.layer(picture.layer),
            capture_time_us=picture.capture_time_us,
        )

    def description(self, stream: str) -> StreamOpen:
        """How the stream is described; sizes are not known before they come."""
        bitrates_bps = _USUAL_BITRATES_BPS[-self.encodings :] if self.encodings > 1 else ()
        layers = [LayerDescription(width=0, height=0, max_bitrate_bps=bitrate_bps) for bitrate_bps in bitrates_bps]
        return StreamOpen(stream=stream, fence=0, codec=self.codec, layers=layers)
