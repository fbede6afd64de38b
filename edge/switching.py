"""Which source a stream shows, and on which timeline: a state machine without I/O or clock.

A stream is what viewers watch; its *sources* are trunk channels that come and go as render nodes die, are drained or
replaced, or as another edge passes the stream on. The one with the highest fence owns the stream, of several with the
same fence the one that opened last: it is why the others will end. A new owner takes over at its first keyframe; until
then the old one is shown, if it still sends. Timestamps handed on never run backwards and never jump with a source's
clock.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edge.engine import MediaFrame

KEYFRAME_REQUEST_INTERVAL_S = 0.5
"""Stops viewers from making the encoder send one keyframe after another: at most two a second."""
RTP_HZ = 90_000
MAX_CLOCK_JUMP_S = 2.0
"""A capture clock that leaps further than this against arrival is re-anchored."""


SourceT = TypeVar("SourceT", bound=Hashable)


@dataclass(frozen=True, slots=True)
class SourceFrame:
    """A frame as it arrived from a source."""

    payload: bytes | memoryview
    keyframe: bool
    sequence: int
    capture_time_us: int


@dataclass(slots=True)
class _Source:
    rank: tuple[int, int]
    """Fence, then order of opening; the highest owns the stream."""
    last_sequence: int | None = None
    broken: bool = False
    """A frame is missing; nothing can be decoded before the next keyframe."""


class StreamSwitch(Generic[SourceT]):
    """The sources of one stream, each known by a hashable of the caller's choice. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._sources: dict[SourceT, _Source] = {}
        self._shown: SourceT | None = None
        self._lowest_fence = 0
        self._opened = 0
        self._anchor_us = 0
        self._anchor_timestamp = 0
        self._last_timestamp: int | None = None
        self._last_arrival_s = 0.0
        self._last_request_s = float("-inf")
        self._keyframe_wanted = False

    @property
    def shown(self) -> SourceT | None:
        """The source whose pictures viewers see; `None` before the first keyframe and after a loss."""
        return self._shown

    @property
    def owner(self) -> SourceT | None:
        """The source that shall be shown, to which input and feedback go: highest fence, then opened last."""
        return max(self._sources, key=lambda source: self._sources[source].rank, default=None)

    def require_fence(self, fence: int) -> list[SourceT]:
        """Sources below `fence` are zombies now; returns those to refuse. The shown one stays until replaced."""
        self._lowest_fence = max(self._lowest_fence, fence)
        zombies = [source for source, entry in self._sources.items() if entry.rank[0] < self._lowest_fence]
        return [source for source in zombies if source != self._shown]

    def open(self, source: SourceT, fence: int) -> str | None:
        """A source offers the stream. Returns why it is refused, or `None`."""
        if fence < self._lowest_fence:
            return f"fence {fence} is older than {self._lowest_fence}: this source was replaced"
        self._lowest_fence = fence
        self._opened += 1
        self._sources[source] = _Source((fence, self._opened))
        self._keyframe_wanted = True
        return None

    def close(self, source: SourceT) -> None:
        """The source has ended or its connection broke."""
        self._sources.pop(source, None)
        if self._shown == source:
            self._shown = None

    def frame(self, source: SourceT, frame: SourceFrame, now: float) -> tuple[MediaFrame | None, list[SourceT]]:
        """A frame arrived. Returns what viewers get, and sources that are superseded and can be refused."""
        entry = self._sources.get(source)
        if entry is None:
            return None, []
        self._note_sequence(entry, frame)
        if entry.broken or (source != self._shown and not self._may_take_over(entry, frame)):
            self._keyframe_wanted = self._keyframe_wanted or entry.broken
            return None, []
        superseded: list[SourceT] = []
        if source != self._shown:
            superseded = self._take_over(source, entry, frame, now)
        if frame.keyframe:
            self._keyframe_wanted = False
        return MediaFrame(frame.payload, frame.keyframe, self._timestamp(frame, now)), superseded

    def want_keyframe(self) -> None:
        """A viewer cannot decode before the next keyframe."""
        self._keyframe_wanted = True

    def keyframe_request_due(self, now: float) -> bool:
        """Whether to ask the owner for a keyframe now; answering True notes that it was asked."""
        if not self._keyframe_wanted or now - self._last_request_s < KEYFRAME_REQUEST_INTERVAL_S:
            return False
        self._last_request_s = now
        return True

    def _note_sequence(self, entry: _Source, frame: SourceFrame) -> None:
        expected = None if entry.last_sequence is None else (entry.last_sequence + 1) & 0xFFFFFFFF
        entry.broken = not frame.keyframe and (entry.broken or expected != frame.sequence)
        entry.last_sequence = frame.sequence

    def _may_take_over(self, entry: _Source, frame: SourceFrame) -> bool:
        shown = self._sources.get(self._shown) if self._shown is not None else None
        return frame.keyframe and (shown is None or entry.rank > shown.rank)

    def _take_over(self, source: SourceT, entry: _Source, frame: SourceFrame, now: float) -> list[SourceT]:
        superseded = [other for other, known in self._sources.items() if known.rank < entry.rank]
        for other in superseded:
            del self._sources[other]
        self._shown = source
        self._anchor(frame, now)
        return superseded

    def _anchor(self, frame: SourceFrame, now: float) -> None:
        self._anchor_us = frame.capture_time_us
        if self._last_timestamp is not None:
            elapsed = max(1, round((now - self._last_arrival_s) * RTP_HZ))
            self._anchor_timestamp = self._last_timestamp + elapsed

    def _timestamp(self, frame: SourceFrame, now: float) -> int:
        timestamp = self._anchor_timestamp + (frame.capture_time_us - self._anchor_us) * 9 // 100
        if self._last_timestamp is not None:
            elapsed = round((now - self._last_arrival_s) * RTP_HZ)
            if abs(timestamp - self._last_timestamp - elapsed) > MAX_CLOCK_JUMP_S * RTP_HZ:
                self._anchor(frame, now)
                timestamp = self._anchor_timestamp
            timestamp = max(timestamp, self._last_timestamp + 1)
        self._last_timestamp, self._last_arrival_s = timestamp, now
        return timestamp
