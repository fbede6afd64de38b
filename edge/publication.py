"""What a publisher sends, as a source of a stream: its simulcast encodings in the order of their sizes. Pure.

Publishers name their encodings in either order, the best first or the worst first; the sizes of the first keyframes
tell which. Until two are known the first is taken for the lowest.
"""

from collections import Counter
from dataclasses import dataclass, field

from broker.protocol import Codec, ViewerReport
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
    _sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Width and height of each encoding, looked up in one keyframe between two reports."""
    _looked_up: set[int] = field(default_factory=set)
    _pictures: Counter[int] = field(default_factory=Counter)
    """Of each encoding since the last report."""
    _received_bytes: int = 0

    def note(self, picture: PublishedPicture) -> bool:
        """Take note of a picture; returns whether the order of the layers has turned out to be the other."""
        self._pictures[picture.layer] += 1
        self._received_bytes += len(picture.payload)
        if not picture.keyframe or picture.layer in self._looked_up:
            return False
        self._looked_up.add(picture.layer)
        size = picture_size(self.codec, picture.payload)
        if size is None:
            return False
        is_first = picture.layer not in self._sizes
        self._sizes[picture.layer] = size
        return is_first and self._find_order()

    def _find_order(self) -> bool:
        areas = [width * height for _, (width, height) in sorted(self._sizes.items())]
        was, self.descending = self.descending, areas[0] > areas[-1]
        return was is not self.descending

    def report(self, session: str, elapsed_s: float) -> ViewerReport:
        """All encodings' bitrate and the best one's pictures over the last `elapsed_s`; counting begins anew."""
        best = max(self._pictures, key=self.layer, default=0)
        width, height = self._sizes.get(best, (None, None))
        report = ViewerReport(
            session=session,
            received_bps=min(self._received_bytes * 8.0 / elapsed_s, 1e12),
            frames_per_s=min(self._pictures[best] / elapsed_s, 1000.0),
            width=width,
            height=height,
        )
        self._pictures.clear()
        self._looked_up.clear()
        self._received_bytes = 0
        return report

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
