"""Passing streams on: how one edge is the source of others, so that a stream reaches any number of them as a tree.

The broker says to whom (`PutRelay`). To each of these *children* a stream goes out as a node would send it. Down goes
what this edge shows, on its own unbroken timeline, so that a child never notices that a node was exchanged; up goes, to
the stream's owner, what the child's viewers say and need. No I/O: `trunks` does that, and the hub is told at once.

A child is fed only while this edge has a source itself: without one the child's hub keeps what its viewers say. When
the fence rises, or the stream comes by another way, a second one is offered to each child; the first is fed until the
second begins. A stream names the edges it has passed through, so commands that cross one another make no circle.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

import msgspec
import structlog

from broker.protocol import PutRelay, TrunkTarget
from edge.adaptation import WeightedBitrate
from edge.trunk import (
    LINGER_S,
    MAX_HOPS,
    Frame,
    OutgoingStream,
    StreamFeedback,
    StreamOpen,
    ViewerAudio,
    ViewerEvent,
    ViewerInput,
    ViewerPresence,
)

_log = structlog.get_logger(__name__)

CIRCLE = "the stream has come from here"
DROPS_ANSWERED_EVERY_S = 2.0
"""A child that reads too slowly has a keyframe made for it at most this often, for everybody pays for it."""


class Upstream(Protocol):
    """What the hub does for children: each call is for the owner of the stream, and void without one."""

    def pass_viewer(self, stream: str, viewer: ViewerPresence) -> None:
        """A child's viewer has arrived or is gone."""

    def pass_input(self, stream: str, viewer_input: ViewerInput) -> None:
        """A child's viewer sent a message for the world."""

    def pass_voice(self, stream: str, participant: str, opus_frame: bytes) -> None:
        """A child's viewer speaks."""

    def pass_keyframe_request(self, stream: str, layer: int) -> None:
        """A child needs a picture of this layer to start from."""

    def pass_feedback(self, stream: str) -> None:
        """The children's feedback has changed."""

    def adopt_state(self, stream: str, state: bytes) -> None:
        """A child has kept what an earlier source left; it counts where nothing newer is known."""


class Trunks(Protocol):
    """What opens streams to children: a `TrunkPool`."""

    def open(self, target: TrunkTarget, description: StreamOpen) -> OutgoingStream:
        """Begin a stream to an edge."""

    def renew(self, target: TrunkTarget) -> None:
        """The broker sent a fresh token."""


@dataclass(slots=True)
class _Feed:
    """One stream to a child, under one fence."""

    stream: OutgoingStream
    started: set[int] = field(default_factory=set)
    """Layers of which the child has been sent a keyframe."""


@dataclass(slots=True, eq=False)
class _Child:
    target: TrunkTarget
    feeds: list[_Feed] = field(default_factory=list)
    """Newest fence last."""
    viewers: dict[str, ViewerPresence] = field(default_factory=dict)
    feedback: StreamFeedback = field(default_factory=lambda: StreamFeedback(viewers=0))
    asked_s: float = float("-inf")
    """When a keyframe was last asked for because it reads too slowly."""
    end_s: float | None = None
    """When it is fed no longer; `None` while the broker wants it fed."""


@dataclass(slots=True)
class _Relayed:
    """One stream that is passed on."""

    name: str
    fence: int = 0
    children: dict[str, _Child] = field(default_factory=dict)
    description: StreamOpen | None = None
    """How the owner describes the stream; `None` without a source."""
    base_us: int | None = None
    """Unix time at which the stream's timeline began, for the children's capture times."""


@dataclass(frozen=True, slots=True)
class ChildrenFeedback:
    """What all children of a stream together say of their viewers."""

    viewers: int
    lines: list[WeightedBitrate]
    layers: list[int]


@dataclass(slots=True)
class RelayCounters:
    """What happened since the edge started, for metrics."""

    frames_relayed: int = 0
    frames_not_relayed: int = 0
    """Children that read too slowly."""


class StreamRelay:
    """The streams this edge passes on. `SourceHandler` of its trunks; the hub tells it what it shows."""

    def __init__(self, name: str, upstream: Upstream, now: Callable[[], float]) -> None:
        self.trunks: Trunks
        self.counters = RelayCounters()
        self._name = name
        self._upstream = upstream
        self._now = now
        self._relayed: dict[str, _Relayed] = {}
        self._by_stream: dict[OutgoingStream, tuple[_Relayed, _Child]] = {}

    # --- the broker's side ---

    def put(self, command: PutRelay, description: StreamOpen | None) -> None:
        """Feed these children from now on; `description` is the owner's, `None` while the stream has no source."""
        relayed = self._relayed.setdefault(command.stream, _Relayed(command.stream))
        relayed.fence = max(relayed.fence, command.fence)
        relayed.description = description
        targets = {target.edge: target for target in command.targets}
        for edge, child in relayed.children.items():
            if edge not in targets and child.end_s is None:
                child.end_s = self._now() + LINGER_S
        for edge, target in targets.items():
            self.trunks.renew(target)
            child = relayed.children.setdefault(edge, _Child(target))
            child.target, child.end_s = target, None
            self._feed(relayed, child)
        self._end_idle(relayed)

    def relays(self, stream: str) -> bool:
        """Whether anybody is to be fed this stream."""
        return stream in self._relayed

    def relayed(self) -> list[str]:
        """Streams the broker wants passed on."""
        wanted = (entry for entry in self._relayed.values() if _wanted(entry))
        return sorted(entry.name for entry in wanted)

    @property
    def streams(self) -> int:
        """Streams that are passed on."""
        return len(self._relayed)

    @property
    def children(self) -> int:
        """Edges fed, counted once for each stream."""
        return len({id(child) for _, child in self._by_stream.values()})

    def end_leaving(self) -> None:
        """Stop feeding children that others feed, or that show nothing; call it a few times a second."""
        now = self._now()
        for relayed in list(self._relayed.values()):
            for child in list(relayed.children.values()):
                if child.end_s is not None and now >= child.end_s:
                    self._drop_child(relayed, child, "no longer wanted")
            self._end_idle(relayed)

    def _feed(self, relayed: _Relayed, child: _Child) -> None:
        """Open a stream to the child, as it is now, unless there is one. It goes back to nobody it has come from."""
        description = relayed.description
        if description is None:
            return
        if child.target.edge in description.path or len(description.path) >= MAX_HOPS:
            self._close_feeds(child, CIRCLE)
            return
        offered = msgspec.structs.replace(
            description, stream=relayed.name, fence=relayed.fence, path=[*description.path, self._name]
        )
        if child.feeds and child.feeds[-1].stream.description == offered:
            return
        for feed in [feed for feed in child.feeds[:-1] if not feed.stream.accepted]:
            self._close_feed(child, feed, "a newer one is offered")
        feed = _Feed(self.trunks.open(child.target, offered))
        child.feeds.append(feed)
        self._by_stream[feed.stream] = relayed, child

    def _drop_child(self, relayed: _Relayed, child: _Child, reason: str) -> None:
        self._close_feeds(child, reason)
        relayed.children.pop(child.target.edge, None)
        self._upstream.pass_feedback(relayed.name)

    def _close_feeds(self, child: _Child, reason: str) -> None:
        for feed in list(child.feeds):
            self._close_feed(child, feed, reason)
        child.viewers.clear()
        child.feedback = StreamFeedback(viewers=0)

    def _close_feed(self, child: _Child, feed: _Feed, reason: str) -> None:
        child.feeds.remove(feed)
        self._by_stream.pop(feed.stream, None)
        feed.stream.close(reason)

    def _end_idle(self, relayed: _Relayed) -> None:
        if not relayed.children:
            self._relayed.pop(relayed.name, None)

    # --- the hub's side, downwards ---

    def owner_changed(self, stream: str, description: StreamOpen) -> None:
        """The stream has another owner, perhaps by another way: it is told of all viewers, and children wait for it."""
        relayed = self._relayed.get(stream)
        if relayed is None:
            return
        relayed.description = description
        for child in relayed.children.values():
            for viewer in child.viewers.values():
                self._upstream.pass_viewer(stream, msgspec.structs.replace(viewer, fresh=False))
            if child.end_s is None:
                self._feed(relayed, child)

    def source_closed(self, stream: str) -> None:
        """The stream has no source: the children's own hubs keep what their viewers say meanwhile."""
        relayed = self._relayed.get(stream)
        if relayed is None:
            return
        relayed.description = None
        for child in list(relayed.children.values()):
            if child.end_s is None:
                self._close_feeds(child, "the source has ended")
            else:
                self._drop_child(relayed, child, "the source has ended")
        self._end_idle(relayed)

    def shown(self, stream: str, frame: Frame, timestamp: int) -> None:
        """A frame is shown at `timestamp` (90 kHz) of the stream's timeline."""
        relayed = self._relayed.get(stream)
        if relayed is None:
            return
        elapsed_us = timestamp * 100 // 9
        if relayed.base_us is None:
            relayed.base_us = frame.capture_time_us - elapsed_us
        capture_time_us = max(0, relayed.base_us + elapsed_us)
        for child in relayed.children.values():
            self._send(relayed, child, frame, capture_time_us)

    def _send(self, relayed: _Relayed, child: _Child, frame: Frame, capture_time_us: int) -> None:
        """Send on the newest stream that has begun, or can begin with this frame."""
        for feed in reversed(child.feeds):
            if not feed.stream.accepted or not (frame.keyframe or frame.layer in feed.started):
                continue
            taken = feed.stream.send(
                frame.payload,
                flags=frame.flags,
                capture_time_us=capture_time_us,
                input_sequence=frame.input_sequence,
                layer=frame.layer,
                temporal=frame.temporal,
            )
            if taken:
                feed.started.add(frame.layer)
                self.counters.frames_relayed += 1
            else:
                self.counters.frames_not_relayed += 1
                self._answer_drop(relayed, child, frame.layer)
            return

    def _answer_drop(self, relayed: _Relayed, child: _Child, layer: int) -> None:
        now = self._now()
        if now - child.asked_s >= DROPS_ANSWERED_EVERY_S:
            child.asked_s = now
            self._upstream.pass_keyframe_request(relayed.name, layer)

    def event(self, stream: str, event: ViewerEvent) -> None:
        """A message for one of the stream's viewers, wherever it is, or for all."""
        for child in self._children(stream):
            if event.session is None or event.session in child.viewers:
                for stream_to in _newest(child):
                    stream_to.send_event(bytes(event.body), event.session)

    def audio(self, stream: str, audio: ViewerAudio) -> None:
        """Sound for some of the stream's viewers; each child is told of its own only."""
        for child in self._children(stream):
            named = audio.sessions & child.viewers.keys()
            if named or audio.everybody_else:
                for stream_to in _newest(child):
                    stream_to.send_audio(replace(audio, sessions=frozenset(named)))

    def state(self, stream: str, state: bytes) -> None:
        """The owner left state, which a child may one day have to hand to a successor."""
        for child in self._children(stream):
            for stream_to in _newest(child):
                stream_to.send_state(state)

    def feedback(self, stream: str) -> ChildrenFeedback:
        """What the children's viewers take: each child speaks for as many lines as it has viewers."""
        told = [child.feedback for child in self._children(stream)]
        lines = [
            WeightedBitrate(entry.bitrate_bps, entry.layers[-1] if entry.layers else entry.viewers)
            for entry in told
            if entry.bitrate_bps is not None
        ]
        layers = [0] * max((len(entry.layers) for entry in told), default=0)
        for entry in told:
            for layer, viewers in enumerate(entry.layers):
                layers[layer] += viewers
        return ChildrenFeedback(sum(entry.viewers for entry in told), lines, layers)

    def _children(self, stream: str) -> Iterable[_Child]:
        relayed = self._relayed.get(stream)
        return () if relayed is None else relayed.children.values()

    # --- the children's side, upwards (SourceHandler) ---

    def on_opened(self, stream: OutgoingStream) -> None:
        """See `SourceHandler`."""
        relayed, child = self._of(stream)
        if relayed is None or child is None:
            return
        for feed in child.feeds:
            if feed.stream is stream:
                feed.started.clear()
        layers = len(stream.description.layers) or 1
        for layer in range(layers):
            self._upstream.pass_keyframe_request(relayed.name, layer)

    def on_viewer(self, stream: OutgoingStream, viewer: ViewerPresence) -> None:
        """See `SourceHandler`."""
        relayed, child = self._of(stream)
        if relayed is None or child is None:
            return
        if viewer.present:
            child.viewers[viewer.session] = viewer
        else:
            child.viewers.pop(viewer.session, None)
        self._upstream.pass_viewer(relayed.name, viewer)

    def on_input(self, stream: OutgoingStream, viewer_input: ViewerInput) -> None:
        """See `SourceHandler`."""
        relayed, _ = self._of(stream)
        if relayed is not None:
            self._upstream.pass_input(relayed.name, viewer_input)

    def on_voice(self, stream: OutgoingStream, participant: str, opus_frame: bytes) -> None:
        """See `SourceHandler`."""
        relayed, _ = self._of(stream)
        if relayed is not None:
            self._upstream.pass_voice(relayed.name, participant, opus_frame)

    def on_keyframe_request(self, stream: OutgoingStream, layer: int) -> None:
        """See `SourceHandler`."""
        relayed, _ = self._of(stream)
        if relayed is not None:
            self._upstream.pass_keyframe_request(relayed.name, layer)

    def on_feedback(self, stream: OutgoingStream, feedback: StreamFeedback) -> None:
        """See `SourceHandler`."""
        relayed, child = self._of(stream)
        if relayed is None or child is None:
            return
        is_news = (feedback.viewers, feedback.layers) != (child.feedback.viewers, child.feedback.layers)
        child.feedback = feedback
        if is_news:
            self._upstream.pass_feedback(relayed.name)

    def on_retained_state(self, stream: OutgoingStream, state: bytes) -> None:
        """See `SourceHandler`."""
        relayed, _ = self._of(stream)
        if relayed is not None:
            self._upstream.adopt_state(relayed.name, state)

    def on_refused(self, stream: OutgoingStream, reason: str) -> None:
        """See `SourceHandler`. Who refuses the last one is fed by somebody else, until the broker says otherwise."""
        relayed, child = self._of(stream)
        self._by_stream.pop(stream, None)
        if relayed is None or child is None:
            return
        _log.info("relay_refused", stream=relayed.name, edge=child.target.edge, reason=reason)
        child.feeds = [feed for feed in child.feeds if feed.stream is not stream]
        if not child.feeds and reason != CIRCLE:
            self._drop_child(relayed, child, reason)
            self._end_idle(relayed)

    def _of(self, stream: OutgoingStream) -> tuple[_Relayed | None, _Child | None]:
        return self._by_stream.get(stream, (None, None))


def _wanted(relayed: _Relayed) -> bool:
    return any(child.end_s is None for child in relayed.children.values())


def _newest(child: _Child) -> Iterable[OutgoingStream]:
    """The child's owner of the stream: what it has accepted last."""
    return [feed.stream for feed in child.feeds if feed.stream.accepted][-1:]
