"""Which source a stream shows, and on which timeline: a state machine without I/O or clock.

A stream is what viewers watch; its *sources* come and go: trunk channels, as render nodes die, are drained or replaced,
as other edges pass the stream on, and publishers. Of the trunk channels the one with the highest fence owns the stream,
of several with the same fence the one that opened last, as it is why the others will end: input and feedback go to it.
A publisher is shown before any of them. A source takes over at its first keyframe; until then the former one is shown,
if it still sends. Timestamps handed on never run backwards within a layer and never jump with a source's clock; the
layers of one picture bear the same.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from edge.engine import MediaFrame

KEYFRAME_REQUEST_INTERVAL_S = 0.5
"""Stops viewers from making the encoder send one keyframe after another: at most two a second of a layer."""
RTP_HZ = 90_000
MAX_CLOCK_JUMP_S = 2.0
"""A capture clock that leaps further than this against arrival is re-anchored."""


SourceT = TypeVar("SourceT", bound=Hashable)


class SourceKind(IntEnum):
    """What a source is; of two kinds the higher one is shown."""

    TRUNK = 0
    PUBLISHER = 1


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A frame as it arrived from a source."""

    payload: bytes | memoryview
    keyframe: bool
    sequence: int
    capture_time_us: int
    layer: int = 0


@dataclass(slots=True)
class _Layer:
    last_sequence: int | None = None
    broken: bool = False
    """A frame is missing; nothing can be decoded before the next keyframe."""

    def note(self, frame: SourceFrame) -> None:
        expected = None if self.last_sequence is None else (self.last_sequence + 1) & 0xFFFFFFFF
        self.broken = not frame.keyframe and (self.broken or expected != frame.sequence)
        self.last_sequence = frame.sequence


@dataclass(slots=True)
class _Source:
    kind: SourceKind
    rank: tuple[int, int]
    """Fence, then order of opening; of the channels the highest owns the stream."""
    layers: list[_Layer]

    @property
    def precedence(self) -> tuple[SourceKind, tuple[int, int]]:
        return self.kind, self.rank


@dataclass(slots=True)
class _Timeline:
    """RTP time over the capture clocks of all sources."""

    anchor_us: int = 0
    anchor_timestamp: int = 0
    newest: int | None = None
    newest_by_layer: dict[int, int] = field(default_factory=dict)
    arrived_s: float = 0.0

    def anchor(self, frame: SourceFrame, now: float) -> None:
        """Begin a new clock, as long after the last picture as it arrives."""
        self.anchor_us = frame.capture_time_us
        if self.newest is not None:
            elapsed = max(1, round((now - self.arrived_s) * RTP_HZ))
            self.anchor_timestamp = self.newest + elapsed

    def timestamp(self, frame: SourceFrame, now: float) -> int:
        """The RTP time of a picture of a layer."""
        timestamp = self._of(frame)
        if self.newest is not None:
            elapsed = round((now - self.arrived_s) * RTP_HZ)
            if abs(timestamp - self.newest - elapsed) > MAX_CLOCK_JUMP_S * RTP_HZ:
                self.anchor(frame, now)
                timestamp = self._of(frame)
        timestamp = max(timestamp, self.newest_by_layer.get(frame.layer, timestamp - 1) + 1)
        self.newest_by_layer[frame.layer] = timestamp
        if self.newest is None or timestamp > self.newest:
            self.newest, self.arrived_s = timestamp, now
        return timestamp

    def _of(self, frame: SourceFrame) -> int:
        return self.anchor_timestamp + (frame.capture_time_us - self.anchor_us) * 9 // 100


class StreamSwitch(Generic[SourceT]):
    """The sources of one stream, each known by a hashable of the caller's choice. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sources: dict[SourceT, _Source] = {}
        self._shown: SourceT | None = None
        self._lowest_fence = 0
        self._opened = 0
        self._timeline = _Timeline()
        self._requested_s: dict[int, float] = {}
        self._wanted: set[int] = set()

    @property
    def shown(self) -> SourceT | None:
        """The source whose pictures viewers see; `None` before the first keyframe and after a loss."""
        return self._shown

    @property
    def owner(self) -> SourceT | None:
        """The trunk channel to which input and feedback go: highest fence, then opened last."""
        channels = [source for source, entry in self._sources.items() if entry.kind is SourceKind.TRUNK]
        return max(channels, key=lambda source: self._sources[source].rank, default=None)

    @property
    def preferred(self) -> SourceT | None:
        """The source that is shown or will be, of which keyframes are asked."""
        return max(self._sources, key=lambda source: self._sources[source].precedence, default=None)

    def require_fence(self, fence: int) -> list[SourceT]:
        """Channels below `fence` are zombies now; returns those to refuse. The shown one stays until replaced."""
        self._lowest_fence = max(self._lowest_fence, fence)
        return [
            source
            for source, entry in self._sources.items()
            if entry.kind is SourceKind.TRUNK and entry.rank[0] < self._lowest_fence and source != self._shown
        ]

    def open(self, source: SourceT, fence: int, *, layers: int = 1, kind: SourceKind = SourceKind.TRUNK) -> str | None:
        """A source offers the stream in so many layers. Returns why it is refused, or `None`."""
        if kind is SourceKind.TRUNK:
            if fence < self._lowest_fence:
                return f"fence {fence} is older than {self._lowest_fence}: this source was replaced"
            self._lowest_fence = fence
        self._opened += 1
        self._sources[source] = _Source(kind, (fence, self._opened), [_Layer() for _ in range(layers)])
        self._wanted.update(range(layers))
        return None

    def close(self, source: SourceT) -> None:
        """The source has ended or its connection broke."""
        self._sources.pop(source, None)
        if self._shown == source:
            self._shown = None
            if (next_one := self.preferred) is not None:
                self._wanted.update(range(len(self._sources[next_one].layers)))

    def frame(self, source: SourceT, frame: SourceFrame, now: float) -> tuple[MediaFrame | None, list[SourceT]]:
        """A frame arrived. Returns what viewers get, and sources that are superseded and can be refused."""
        entry = self._sources.get(source)
        if entry is None or frame.layer >= len(entry.layers):
            return None, []
        layer = entry.layers[frame.layer]
        layer.note(frame)
        if layer.broken or (source != self._shown and not self._may_take_over(entry, frame)):
            if layer.broken and source == self.preferred:
                self._wanted.add(frame.layer)
            return None, []
        superseded: list[SourceT] = []
        if source != self._shown:
            superseded = self._take_over(source, entry, frame, now)
        if frame.keyframe:
            self._wanted.discard(frame.layer)
        timestamp = self._timeline.timestamp(frame, now)
        return MediaFrame(frame.payload, frame.keyframe, timestamp, frame.layer), superseded

    def want_keyframe(self, layer: int = 0) -> None:
        """A viewer cannot decode this layer before its next keyframe."""
        self._wanted.add(layer)

    def keyframe_requests_due(self, now: float) -> list[int]:
        """The layers of which to ask the preferred source for a keyframe now; they count as asked for."""
        preferred = self.preferred
        layers = len(self._sources[preferred].layers) if preferred is not None else 0
        self._wanted.intersection_update(range(layers))
        due = [layer for layer in sorted(self._wanted) if self._may_request(layer, now)]
        self._requested_s.update(dict.fromkeys(due, now))
        return due

    def _may_request(self, layer: int, now: float) -> bool:
        return now - self._requested_s.get(layer, float("-inf")) >= KEYFRAME_REQUEST_INTERVAL_S

    def _may_take_over(self, entry: _Source, frame: SourceFrame) -> bool:
        shown = self._sources.get(self._shown) if self._shown is not None else None
        return frame.keyframe and (shown is None or entry.precedence > shown.precedence)

    def _take_over(self, source: SourceT, entry: _Source, frame: SourceFrame, now: float) -> list[SourceT]:
        superseded = [
            other for other, known in self._sources.items() if known.kind is entry.kind and known.rank < entry.rank
        ]
        for other in superseded:
            del self._sources[other]
        self._shown = source
        self._timeline.anchor(frame, now)
        return superseded
