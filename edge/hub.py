"""The edge's middle: which sessions watch which streams, between the engine, the trunks and the broker.

`StreamHub` is told by three sides (`SinkHandler` by trunks, `ViewerHandler` by the engine, `put_session` and
`drop_session` by the broker) and tells the fourth. It does no I/O and starts no task; whoever owns it calls `tick`.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from broker import protocol
from broker.permissions import may_be_heard
from broker.protocol import (
    DATA_CHANNEL_CONTROL,
    AgentMessage,
    DropSession,
    EndReason,
    PutRelay,
    PutSession,
    SessionState,
    ViewerReport,
)
from broker.token_bucket import TokenBucket
from edge.adaptation import (
    START_BITRATE_BPS,
    LineEstimate,
    LineReport,
    highest_layer_bps,
    least_bitrates_bps,
    stream_bitrate_bps,
)
from edge.engine import MediaEngine, PublishedPicture
from edge.input_timer import TIMINGS_KEPT, InputTimer
from edge.publication import Publication
from edge.relay import CIRCLE, StreamRelay
from edge.switching import SourceFrame, SourceKind, StreamSwitch
from edge.trunk import (
    Frame,
    StreamFeedback,
    StreamOpen,
    TrunkConnection,
    ViewerAudio,
    ViewerEvent,
    ViewerInput,
    ViewerPresence,
)

_log = structlog.get_logger(__name__)

VOICE_FRAMES_PER_S = 60.0
MAX_VOICE_FRAME_BYTES = 1500
"""An Opus frame has at most 1,275 bytes (RFC 6716, section 3.2.1)."""
AUDIO_RATE_HZ = 48_000
AUDIO_FRAME_SAMPLES = 960
OFFERS_PER_S = 0.5
OFFERS_BURST = 6.0
"""Each offer costs a DTLS handshake and sockets; a client that reconnects with back-off needs no more."""
MAX_HELD_MESSAGES = 16
"""Messages of a viewer that wait while its stream has no source; of input only the latest is kept."""
TOLD_AFTER_REFUSED_MESSAGES = 50
"""A viewer that sends as many malformed or excess messages within a second is told so, once, and logged."""

PUBLISHED_PICTURES_PER_S = 240.0
"""Over all encodings of a publisher: three at 60 a second and some room. Stops one from busying the event loop."""
PUBLISHER_STALLED_S = 2.0
"""A publisher that sends no picture for this long gives the stage back to the node until it does again."""


@dataclass(frozen=True, slots=True)
class PublisherSource:
    """What a session publishes, as a source of its stream."""

    session: str


TrunkSource = tuple[TrunkConnection, int]
SourceKey = TrunkSource | PublisherSource


@dataclass(slots=True)
class _Session:
    put: PutSession
    line: LineEstimate
    connected: bool = False
    sent_bytes: int = 0
    reports: int = 0
    publication: Publication | None = None
    """What it sends, if it publishes and its offer was answered."""
    wanted_layer: int | None = None
    """The simulcast layer the viewer is to get; `None` before the engine has told."""
    client_report: protocol.ClientReport | None = None
    bucket: TokenBucket = field(
        default_factory=lambda: TokenBucket(protocol.MAX_CLIENT_MESSAGES_PER_S, protocol.MAX_CLIENT_MESSAGES_PER_S)
    )
    picture_bucket: TokenBucket = field(
        default_factory=lambda: TokenBucket(PUBLISHED_PICTURES_PER_S, PUBLISHED_PICTURES_PER_S)
    )
    voice_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(VOICE_FRAMES_PER_S, VOICE_FRAMES_PER_S))
    offer_bucket: TokenBucket = field(default_factory=lambda: TokenBucket(OFFERS_PER_S, OFFERS_BURST))
    refused_messages: int = 0
    repeats_refused: int = 0
    fresh: bool = False
    """Whether the viewer counts its input from zero and no source has been told."""
    held_messages: list[bytes] = field(default_factory=list)
    held_input: bytes | None = None
    audio_timestamp: int = 0
    """RTP time, 48 kHz, of the sound sent last."""

    @property
    def watches(self) -> bool:
        """Whether its viewer is connected."""
        return self.connected and not self.put.publishes


@dataclass(slots=True)
class _Stream:
    name: str
    switch: StreamSwitch[SourceKey] = field(default_factory=StreamSwitch)
    descriptions: dict[SourceKey, StreamOpen] = field(default_factory=dict)
    """How each source describes it."""
    layered: SourceKey | None = None
    """The source whose layers the engine has been told."""
    sessions: dict[str, _Session] = field(default_factory=dict)
    retained_state: bytes | None = None
    timer: InputTimer = field(default_factory=InputTimer)
    published_s: float = 0.0
    """When a publisher's picture came last."""

    @property
    def on_air(self) -> bool:
        """Whether a publisher's picture is shown."""
        return isinstance(self.switch.shown, PublisherSource)

    @property
    def description(self) -> StreamOpen | None:
        """How the publisher on air, else its owner describes it; `None` without either."""
        source = self.switch.shown if self.on_air else self.switch.owner
        return None if source is None else self.descriptions[source]


@dataclass(slots=True)
class HubCounters:
    """What happened since the edge started, for metrics."""

    frames_in: int = 0
    frames_out: int = 0
    frames_discarded: int = 0
    messages_in: int = 0
    messages_malformed: int = 0
    messages_limited: int = 0
    sources_refused: int = 0
    source_switches: int = 0
    repeats_refused: int = 0


class StreamHub:
    """Sessions, streams and their sources on one edge. `now` is a monotonic clock in seconds."""

    def __init__(
        self, now: Callable[[], float], tell_broker: Callable[[AgentMessage], None], name: str = "edge"
    ) -> None:
        self.engine: MediaEngine
        self.counters = HubCounters()
        self.name = name
        self.relay = StreamRelay(name, self, now)
        self.input_to_packet_ms: deque[float] = deque(maxlen=TIMINGS_KEPT)
        """Latest delays from an input's arrival to the first packet of the picture that shows it."""
        self._now = now
        self._tell_broker = tell_broker
        self._sessions: dict[str, _Session] = {}
        self._streams: dict[str, _Stream] = {}
        self._sources: dict[SourceKey, _Stream] = {}

    # --- the broker's side ---

    @property
    def viewers(self) -> int:
        """Connected viewers."""
        return sum(session.connected for session in self._sessions.values())

    def viewers_besides(self, name: str) -> int:
        """Connected viewers other than this session's own: one that connects again takes no second place."""
        session = self._sessions.get(name)
        return self.viewers - (session is not None and session.connected)

    @property
    def streams(self) -> int:
        """Streams with a source."""
        return len({stream.name for stream in self._sources.values()})

    @property
    def hops(self) -> int:
        """The most edges a stream has passed through on its way here."""
        paths = (stream.description.path for stream in self._sources.values() if stream.description is not None)
        return max(map(len, paths), default=0)

    def connected_sessions(self) -> list[str]:
        """Sessions whose viewer is connected."""
        return [name for name, session in self._sessions.items() if session.connected]

    def session(self, name: str) -> PutSession | None:
        """What the broker said of a session, `None` if it is not admitted here."""
        session = self._sessions.get(name)
        return session.put if session is not None else None

    def line_bps(self, name: str) -> float:
        """What the session's line is thought to take."""
        session = self._sessions.get(name)
        return session.line.bps if session is not None else START_BITRATE_BPS

    def take_offer(self, name: str) -> bool:
        """Whether the session may offer once more now."""
        session = self._sessions.get(name)
        return session is not None and session.offer_bucket.take(self._now())

    def put_session(self, put: PutSession) -> None:
        """Admit a session or update it."""
        known = self._sessions.get(put.session)
        if known is None:
            self._sessions[put.session] = _Session(put, LineEstimate(put.bandwidth_bps))
        else:
            self._update_session(known, put)
        stream = self._streams.setdefault(put.stream, _Stream(put.stream))
        stream.sessions[put.session] = self._sessions[put.session]
        for source in stream.switch.require_fence(put.fence):
            self._refuse(source, "a newer source owns the stream")

    def _update_session(self, known: _Session, put: PutSession) -> None:
        previous, known.put = known.put, put
        if previous.stream != put.stream:
            self._leave_stream(previous.stream, put.session)
        if previous.state is not put.state:
            self._send_event(put.session, protocol.SourceState(state=put.state))

    def comes_from_edge(self, connection: TrunkConnection) -> bool:
        """Whether it is another edge that feeds this one, rather than a node."""
        channels = (source for source in self._sources if isinstance(source, tuple) and source[0] is connection)
        return any(self._path_of(source) for source in channels)

    def _path_of(self, source: SourceKey) -> list[str]:
        """The edges a source's stream has passed through."""
        stream = self._sources.get(source)
        return stream.descriptions[source].path if stream is not None else []

    def put_relay(self, put: PutRelay) -> None:
        """Pass a stream on to other edges."""
        stream = self._streams.get(put.stream)
        self.relay.put(put, stream.description if stream is not None else None)

    async def drop_session(self, drop: DropSession) -> None:
        """End a session's viewer, telling it why, and forget the session."""
        session = self._sessions.pop(drop.session, None)
        if session is None:
            return
        self._go_off_air(drop.session)
        self._leave_stream(session.put.stream, drop.session)
        self._send_event(drop.session, protocol.Ended(reason=drop.reason))
        await self.engine.close(drop.session)

    def _leave_stream(self, stream_name: str, session: str) -> None:
        stream = self._streams.get(stream_name)
        if stream is None:
            return
        stream.sessions.pop(session, None)
        self._send_feedback(stream)
        self._forget_if_unused(stream)

    def _forget_if_unused(self, stream: _Stream) -> None:
        if not stream.sessions and stream.switch.owner is None:
            self._streams.pop(stream.name, None)

    # --- the trunks' side (SinkHandler) ---

    def on_open(self, connection: TrunkConnection, channel: int, description: StreamOpen) -> str | None:
        """See `SinkHandler`."""
        stream = self._streams.setdefault(description.stream, _Stream(description.stream))
        source = (connection, channel)
        is_circle = self.name in description.path
        layers = len(description.layers) or 1
        reason = CIRCLE if is_circle else stream.switch.open(source, description.fence, layers=layers)
        if reason is not None:
            self.counters.sources_refused += 1
            self._forget_if_unused(stream)
            return reason
        self._sources[source] = stream
        stream.descriptions[source] = description
        connection.accept(channel, stream.retained_state)
        if stream.description is not None:
            self.relay.owner_changed(stream.name, stream.description)
        self._send_feedback(stream)
        for name, session in stream.sessions.items():
            if session.watches:
                self._introduce(name, session, source)
        return None

    def _introduce(self, name: str, session: _Session, source: TrunkSource) -> None:
        """Tell a source of a viewer, and what the viewer has said while there was no source."""
        connection, channel = source
        participant = session.put.participant
        connection.send_viewer(channel, ViewerPresence(session=name, participant=participant, fresh=session.fresh))
        held = [*session.held_messages, *([session.held_input] if session.held_input is not None else [])]
        for data in held:
            connection.send_input(channel, ViewerInput(session=name, participant=participant, body=msgspec.Raw(data)))
        session.fresh, session.held_messages, session.held_input = False, [], None

    def on_frame(self, connection: TrunkConnection, frame: Frame) -> None:
        """See `SinkHandler`."""
        stream = self._sources.get((connection, frame.channel))
        if stream is None:
            return
        self._fan_out(stream, (connection, frame.channel), frame)

    def _fan_out(self, stream: _Stream, source: SourceKey, frame: Frame) -> None:
        self.counters.frames_in += 1
        arrived = SourceFrame(frame.payload, frame.keyframe, frame.sequence, frame.capture_time_us, frame.layer)
        picture, superseded = stream.switch.frame(source, arrived, self._now())
        for old in superseded:
            self.counters.source_switches += 1
            self._refuse(old, "a newer source owns the stream")
        if picture is None:
            self.counters.frames_discarded += 1
        else:
            if stream.layered != source:
                self._tell_layers(stream, source)
            stream.timer.shown(frame.input_sequence, picture.timestamp)
            self.engine.send(stream.name, picture)
            self.counters.frames_out += 1
            self.relay.shown(stream.name, frame, picture.timestamp)
        self._request_keyframe_if_due(stream)

    def on_event(self, connection: TrunkConnection, channel: int, event: ViewerEvent) -> None:
        """See `SinkHandler`."""
        stream = self._sources.get((connection, channel))
        if stream is None or stream.switch.owner != (connection, channel):
            return
        self.relay.event(stream.name, event)
        sessions = list(stream.sessions) if event.session is None else [event.session]
        members = [name for name in sessions if name in stream.sessions]
        self.engine.send_message(members, DATA_CHANNEL_CONTROL, bytes(event.body))

    def on_audio(self, connection: TrunkConnection, channel: int, audio: ViewerAudio) -> None:
        """See `SinkHandler`. A viewer's sound rises by at least a frame each time, also when its node is replaced."""
        stream = self._sources.get((connection, channel))
        if stream is None or stream.switch.owner != (connection, channel):
            return
        self.relay.audio(stream.name, audio)
        captured = audio.capture_time_us * AUDIO_RATE_HZ // 1_000_000
        for name, session in stream.sessions.items():
            if session.watches and audio.is_for(name):
                session.audio_timestamp = max(captured, session.audio_timestamp + AUDIO_FRAME_SAMPLES)
                self.engine.send_audio(name, audio.opus_frame, session.audio_timestamp)

    def on_state(self, connection: TrunkConnection, channel: int, state: bytes) -> None:
        """See `SinkHandler`."""
        stream = self._sources.get((connection, channel))
        if stream is not None and stream.switch.owner == (connection, channel):
            stream.retained_state = state
            self.relay.state(stream.name, state)

    def on_close(self, connection: TrunkConnection, channel: int, reason: str) -> None:
        """See `SinkHandler`."""
        came_from_edge = self._path_of((connection, channel)) != []
        stream = self._close((connection, channel))
        if stream is not None:
            if came_from_edge and stream.switch.owner is None and self._is_awaited(stream):
                self._tell_broker(protocol.SourceLost(stream=stream.name))
            self._forget_if_unused(stream)

    def _is_awaited(self, stream: _Stream) -> bool:
        return bool(stream.sessions) or self.relay.relays(stream.name)

    def _refuse(self, source: SourceKey, reason: str) -> None:
        if not isinstance(source, PublisherSource):
            connection, channel = source
            connection.refuse(channel, reason)
        self._close(source)

    def _close(self, source: SourceKey) -> _Stream | None:
        stream = self._sources.pop(source, None)
        if stream is not None:
            before = stream.description
            stream.switch.close(source)
            stream.descriptions.pop(source, None)
            self._describe_anew(stream, before)
        return stream

    def _describe_anew(self, stream: _Stream, before: StreamOpen | None) -> None:
        """Tell children if what is passed on to them is described otherwise than before."""
        if stream.description is None:
            self.relay.source_closed(stream.name)
        elif stream.description is not before:
            self.relay.owner_changed(stream.name, stream.description)

    # --- other edges, which are passed streams (Upstream) ---

    def pass_viewer(self, stream: str, viewer: ViewerPresence) -> None:
        """See `Upstream`."""
        owner = self._owner(stream)
        if owner is not None:
            owner[0].send_viewer(owner[1], viewer)

    def pass_input(self, stream: str, viewer_input: ViewerInput) -> None:
        """See `Upstream`."""
        owner = self._owner(stream)
        if owner is not None:
            owner[0].send_input(owner[1], viewer_input)

    def pass_voice(self, stream: str, participant: str, opus_frame: bytes) -> None:
        """See `Upstream`."""
        owner = self._owner(stream)
        if owner is not None:
            owner[0].send_voice(owner[1], participant, opus_frame)

    def pass_keyframe_request(self, stream: str, layer: int) -> None:
        """See `Upstream`; requests of all edges and viewers are one within `KEYFRAME_REQUEST_INTERVAL_S`."""
        self.on_keyframe_needed(stream, layer)

    def pass_feedback(self, stream: str) -> None:
        """See `Upstream`."""
        entry = self._streams.get(stream)
        if entry is not None:
            self._send_feedback(entry)

    def adopt_state(self, stream: str, state: bytes) -> None:
        """See `Upstream`."""
        entry = self._streams.get(stream)
        if entry is not None and entry.retained_state is None:
            entry.retained_state = state

    # --- the viewers' side (ViewerHandler) ---

    def on_connected(self, session: str) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None:
            return
        entry.connected = True
        self._go_on_air(session, entry)
        self._send_feedback(self._streams[entry.put.stream])
        self._tell_broker(protocol.ViewerConnected(session=session))

    def on_channel_open(self, session: str, channel: str) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None or channel != DATA_CHANNEL_CONTROL:
            return
        if entry.put.state is SessionState.REPLACING:
            self._send_event(session, protocol.SourceState(state=entry.put.state))
        entry.fresh = True
        owner = self._owner(entry.put.stream)
        if owner is not None:
            self._introduce(session, entry, owner)

    def on_message(self, session: str, channel: str, data: bytes) -> None:
        """See `ViewerHandler`. A viewer's input leaves for its node before this returns."""
        entry = self._sessions.get(session)
        if entry is None:
            return
        self.counters.messages_in += 1
        if not entry.bucket.take(self._now()):
            self.counters.messages_limited += 1
            self._note_refusal(session, entry)
            return
        try:
            message = self._parse(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self.counters.messages_malformed += 1
            self._send_event(session, protocol.Refused(reason="malformed", detail=str(error)[:200]))
            self._note_refusal(session, entry)
            return
        self._handle(session, entry, message, data)

    def _parse(self, data: bytes) -> protocol.ClientMessage:
        if len(data) > protocol.MAX_CLIENT_MESSAGE_BYTES:
            raise msgspec.DecodeError(f"{len(data)} bytes; the limit is {protocol.MAX_CLIENT_MESSAGE_BYTES}")
        message: protocol.ClientMessage = protocol.decode_client_message(data)
        return message

    def _handle(self, session: str, entry: _Session, message: protocol.ClientMessage, data: bytes) -> None:
        if isinstance(message, protocol.Ping):
            self._send_event(session, protocol.Pong(id=message.id))
        elif isinstance(message, protocol.ClientReport):
            entry.client_report = message
        else:
            owner = self._owner(entry.put.stream)
            if owner is None:
                self._hold(session, entry, message, data)
                return
            body = msgspec.Raw(data)
            viewer_input = ViewerInput(session=session, participant=entry.put.participant, body=body)
            owner[0].send_input(owner[1], viewer_input)
            if isinstance(message, protocol.Input):
                self._streams[entry.put.stream].timer.arrived(message.seq, self._now())

    def _hold(self, session: str, entry: _Session, message: protocol.ClientMessage, data: bytes) -> None:
        """Keep for the next source what a viewer says while there is none."""
        if isinstance(message, protocol.Input):
            entry.held_input = data
        elif len(entry.held_messages) < MAX_HELD_MESSAGES:
            entry.held_messages.append(data)
        else:
            self.counters.messages_limited += 1
            self._send_event(session, protocol.Refused(reason="too_many", detail="no renderer is there to hear it"))

    def on_picture_leaving(self, stream: str, timestamp: int) -> None:
        """See `ViewerHandler`."""
        entry = self._streams.get(stream)
        if entry is not None:
            self.input_to_packet_ms.extend(entry.timer.left(timestamp, self._now()))

    def _note_refusal(self, session: str, entry: _Session) -> None:
        entry.refused_messages += 1
        if entry.refused_messages == TOLD_AFTER_REFUSED_MESSAGES:
            _log.warning("viewer_misbehaves", session=session)
            self._send_event(session, protocol.Refused(reason="too_many", detail="messages are being dropped"))

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None or not _is_heard(entry.put) or len(opus_frame) > MAX_VOICE_FRAME_BYTES:
            return
        if not entry.voice_bucket.take(self._now()):
            return
        owner = self._owner(entry.put.stream)
        if owner is not None:
            owner[0].send_voice(owner[1], entry.put.participant, opus_frame)

    def on_keyframe_needed(self, stream: str, layer: int) -> None:
        """See `ViewerHandler`."""
        entry = self._streams.get(stream)
        if entry is not None:
            entry.switch.want_keyframe(layer)
            self._request_keyframe_if_due(entry)

    def on_gone(self, session: str, reason: EndReason) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None:
            return
        entry.connected = False
        entry.fresh, entry.held_messages, entry.held_input = False, [], None
        self._go_off_air(session)
        self._send_feedback(self._streams[entry.put.stream])
        owner = self._owner(entry.put.stream)
        if owner is not None and not entry.put.publishes:
            gone = ViewerPresence(session=session, participant=entry.put.participant, present=False)
            owner[0].send_viewer(owner[1], gone)
        self._tell_broker(protocol.ViewerGone(session=session, reason=reason))

    # --- publishers ---

    def publish(self, session: str, encodings: int) -> None:
        """A publisher's offer was answered: it may send so many simulcast encodings."""
        entry = self._sessions.get(session)
        if entry is not None:
            self._go_off_air(session)
            entry.publication = Publication(entry.put.codec, encodings)

    def on_published(self, session: str, picture: PublishedPicture) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None or entry.publication is None or picture.layer >= entry.publication.encodings:
            return
        if not entry.picture_bucket.take(self._now()):
            self.counters.frames_discarded += 1
            return
        source = PublisherSource(session)
        if entry.publication.note(picture) or source not in self._sources:
            self._go_on_air(session, entry)
        stream = self._sources[source]
        stream.published_s = self._now()
        was_on_air, before = stream.on_air, stream.description
        self._fan_out(stream, source, entry.publication.frame(picture))
        if stream.on_air is not was_on_air:
            self._describe_anew(stream, before)
            self._send_feedback(stream)

    def _go_on_air(self, session: str, entry: _Session) -> None:
        """Offer a publisher's picture to its stream, which shows it from its first keyframe on."""
        if entry.publication is None:
            return
        self._go_off_air(session)
        source, stream = PublisherSource(session), self._streams[entry.put.stream]
        stream.switch.open(source, 0, layers=entry.publication.encodings, kind=SourceKind.PUBLISHER)
        self._sources[source] = stream
        stream.descriptions[source] = entry.publication.description(stream.name)
        stream.layered = None
        self._request_keyframe_if_due(stream)

    def _go_off_air(self, session: str) -> None:
        stream = self._close(PublisherSource(session))
        if stream is not None:
            self._send_feedback(stream)
            self._request_keyframe_if_due(stream)

    def _release_stalled(self, stream: _Stream) -> None:
        """A publisher whose pictures stay away leaves the stage to the node; its next picture brings it back."""
        shown = stream.switch.shown
        if isinstance(shown, PublisherSource) and self._now() - stream.published_s > PUBLISHER_STALLED_S:
            _log.warning("publisher_stalled", session=shown.session, stream=stream.name)
            self._go_off_air(shown.session)

    # --- each second ---

    def tick(self, elapsed_s: float) -> None:
        """Report viewers to the broker, feedback to sources, and keyframe requests that were held back."""
        rows = {str(row["session"]): row for row in self.engine.statistics()}
        reports = [
            self._report(name, session, rows[name], elapsed_s)
            for name, session in self._sessions.items()
            if name in rows
        ]
        if reports:
            self._tell_broker(protocol.ViewerReports(reports=reports))
        for stream in self._streams.values():
            self._release_stalled(stream)
            self._send_feedback(stream)

    def poll_keyframes(self) -> None:
        """Send keyframe requests whose interval has passed."""
        for stream in self._streams.values():
            self._request_keyframe_if_due(stream)

    def _report(self, name: str, session: _Session, row: NDArray[np.void], elapsed_s: float) -> ViewerReport:
        sent_bytes = int(row["sent_bytes"])
        sent_bps = max(0, sent_bytes - session.sent_bytes) * 8.0 / max(elapsed_s, 1e-3)
        session.sent_bytes = sent_bytes
        is_news, session.reports = int(row["reports"]) != session.reports, int(row["reports"])
        rtt_ms, loss = (float(row["rtt_ms"]), float(row["loss"])) if is_news else (math.nan, math.nan)
        told = LineReport(sent_bps, rtt_ms, loss, float(row["estimate_bps"]), float(row["measured_bps"]))
        session.line.update(told, elapsed_s)
        session.wanted_layer = int(row["wanted_layer"])
        session.refused_messages = 0
        repeats_refused, before = int(row["repeats_refused"]), session.repeats_refused
        self.counters.repeats_refused += repeats_refused - (before if before <= repeats_refused else 0)
        session.repeats_refused = repeats_refused
        claimed = session.client_report
        session.client_report = None
        return ViewerReport(
            session=name,
            rtt_ms=_known(row["rtt_ms"]),
            jitter_ms=_known(row["jitter_ms"]),
            loss=_known(row["loss"]),
            sent_bps=sent_bps,
            estimate_bps=session.line.bps,
            **(msgspec.structs.asdict(claimed) if claimed is not None else {}),
        )

    def _send_feedback(self, stream: _Stream) -> None:
        owner = self._owner(stream.name)
        if owner is None:
            return
        connection, channel = owner
        nobody = StreamFeedback(viewers=0)
        feedback = nobody if stream.on_air else self._feedback(stream, _most_bps(stream.descriptions[owner]))
        connection.send_feedback(channel, feedback)

    def _feedback(self, stream: _Stream, most_bps: list[float]) -> StreamFeedback:
        """What is told of the viewers here and behind other edges to a source with these layers."""
        watching = [session for session in stream.sessions.values() if session.watches]
        lines_bps = [session.line.bps for session in watching]
        behind = self.relay.feedback(stream.name)
        viewers = len(watching) + behind.viewers
        if not most_bps or not viewers:
            return StreamFeedback(viewers=viewers, bitrate_bps=stream_bitrate_bps(lines_bps, behind.lines))
        least_bps = least_bitrates_bps(most_bps)
        wanted = [_wanted_layer(session, least_bps) for session in watching]
        layers = [wanted.count(layer) + told for layer, told in enumerate(_padded(behind.layers, len(most_bps)))]
        bitrate_bps = highest_layer_bps(lines_bps, most_bps, behind.lines)
        return StreamFeedback(viewers=viewers, bitrate_bps=bitrate_bps, layers=layers)

    def _tell_layers(self, stream: _Stream, source: SourceKey) -> None:
        """Tell the engine among which layers of the source it may choose for each viewer."""
        stream.layered = source
        most_bps = _most_bps(stream.descriptions[source])
        self.engine.set_layers(stream.name, least_bitrates_bps(most_bps) if most_bps else [])

    def _request_keyframe_if_due(self, stream: _Stream) -> None:
        for layer in stream.switch.keyframe_requests_due(self._now()):
            self._request_keyframe(stream.switch.preferred, layer)

    def _request_keyframe(self, source: SourceKey | None, layer: int) -> None:
        if isinstance(source, PublisherSource):
            publication = self._sessions[source.session].publication
            if publication is not None:
                self.engine.request_picture_start(source.session, publication.layer(layer))
        elif source is not None:
            connection, channel = source
            connection.request_keyframe(channel, layer)

    def _owner(self, stream: str) -> TrunkSource | None:
        entry = self._streams.get(stream)
        owner = entry.switch.owner if entry is not None else None
        return None if isinstance(owner, PublisherSource) else owner

    def _send_event(self, session: str, event: protocol.ClientEvent) -> None:
        self.engine.send_message([session], DATA_CHANNEL_CONTROL, protocol.encode(event))


def _is_heard(put: PutSession) -> bool:
    return may_be_heard(put.role, put.mode, muted=put.muted)


def _most_bps(description: StreamOpen) -> list[float]:
    """The most that each simulcast layer takes, lowest first; empty where there is only one."""
    bitrates_bps = [layer.max_bitrate_bps for layer in description.layers]
    return bitrates_bps if len(bitrates_bps) > 1 else []


def _padded(counts: list[int], length: int) -> list[int]:
    return [*counts[:length], *[0] * (length - len(counts))]


def _wanted_layer(session: _Session, least_bps: list[float]) -> int:
    """The layer a viewer is to get; of one that has just come, the highest its line is thought to take."""
    if session.wanted_layer is not None:
        return session.wanted_layer
    return max(0, sum(bitrate_bps <= session.line.bps for bitrate_bps in least_bps) - 1)


def _known(value: Any) -> float | None:
    number = float(value)
    return None if math.isnan(number) else min(max(number, 0.0), 60_000.0)
