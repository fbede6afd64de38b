"""The edge's middle: which sessions watch which streams, between the engine, the trunks and the broker.

`StreamHub` is told by three sides (`SinkHandler` by trunks, `ViewerHandler` by the engine, `put_session` and
`drop_session` by the broker) and tells the fourth. It does no I/O and starts no task; whoever owns it calls `tick`.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from broker import protocol
from broker.protocol import (
    DATA_CHANNEL_CONTROL,
    AgentMessage,
    DropSession,
    EndReason,
    PutRelay,
    PutSession,
    SessionState,
    TellViewers,
    ViewerReport,
)
from broker.protocol.report_batch import MAX_REPORTS_A_BATCH, ReportBatch, batch_of
from edge.adaptation import START_BITRATE_BPS, LineEstimate, least_bitrates_bps
from edge.audience import PublisherSource, Session, SourceKey, Stream, TrunkSource
from edge.engine import MediaEngine, PublishedPicture
from edge.input_timer import TIMINGS_KEPT
from edge.publication import Publication
from edge.relay import CIRCLE, StreamRelay
from edge.switching import SourceFrame, SourceKind
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

MAX_VOICE_FRAME_BYTES = 1500
"""An Opus frame has at most 1,275 bytes (RFC 6716, section 3.2.1)."""
MAX_HELD_MESSAGES = 16
"""Messages of a viewer that wait while its stream has no source, of input only the latest; and messages for a viewer
that wait for its channel to open."""
TOLD_AFTER_REFUSED_MESSAGES = 50
"""A viewer that sends as many malformed or excess messages within a second is told so, once, and logged."""
PUBLISHER_STALLED_S = 2.0
"""A publisher that sends no picture for this long gives the stage back to the node until it does again."""


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
    nacks: int = 0
    freezes: int = 0


class StreamHub:
    """Sessions, streams and their sources on one edge. `now` is a monotonic clock in seconds."""

    def __init__(
        self, now: Callable[[], float], tell_broker: Callable[[AgentMessage | ReportBatch], None], name: str = "edge"
    ) -> None:
        self.engine: MediaEngine
        self.counters = HubCounters()
        self.name = name
        self.relay = StreamRelay(name, self, now)
        self.input_to_packet_ms: deque[float] = deque(maxlen=TIMINGS_KEPT)
        """Latest delays from an input's arrival to the first packet of the picture that shows it."""
        self._now = now
        self._tell_broker = tell_broker
        self._batches = 0
        self._sessions: dict[str, Session] = {}
        self._streams: dict[str, Stream] = {}
        self._sources: dict[SourceKey, Stream] = {}

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
    def publishers(self) -> int:
        """Connected sessions that publish; they are among the viewers' number."""
        return sum(session.connected and session.put.publishes for session in self._sessions.values())

    def viewers_by_layer(self) -> Counter[int]:
        """How many viewers are shown each simulcast layer, as far as the engine has told."""
        return Counter(session.layer for session in self._sessions.values() if session.watches and session.layer >= 0)

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
            self._sessions[put.session] = Session(put, LineEstimate(put.bandwidth_bps))
        else:
            self._update_session(known, put)
        stream = self._streams.setdefault(put.stream, Stream(put.stream))
        stream.sessions[put.session] = self._sessions[put.session]
        for source in stream.switch.require_fence(put.fence):
            self._refuse(source, "a newer source owns the stream")

    def _update_session(self, known: Session, put: PutSession) -> None:
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

    def tell_viewers(self, tell: TellViewers) -> None:
        """Hand an event from the broker to viewers of a room, in one call to the engine; to some when they can hear."""
        named = self._sessions if tell.sessions is None else [s for s in tell.sessions if s in self._sessions]
        members = [name for name in named if _is_addressed(self._sessions[name], tell)]
        data = protocol.encode(tell.event)
        for entry in [self._sessions[name] for name in members if not self._sessions[name].hears]:
            if len(entry.unheard) < MAX_HELD_MESSAGES:
                entry.unheard.append(data)
        if hearing := [name for name in members if self._sessions[name].hears]:
            self.engine.send_message(hearing, DATA_CHANNEL_CONTROL, data)

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

    def _forget_if_unused(self, stream: Stream) -> None:
        if not stream.sessions and stream.switch.owner is None:
            self._streams.pop(stream.name, None)

    # --- the trunks' side (SinkHandler) ---

    def on_open(self, connection: TrunkConnection, channel: int, description: StreamOpen) -> str | None:
        """See `SinkHandler`."""
        stream = self._streams.setdefault(description.stream, Stream(description.stream))
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

    def _introduce(self, name: str, session: Session, source: TrunkSource) -> None:
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

    def _fan_out(self, stream: Stream, source: SourceKey, frame: Frame) -> None:
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
        """See `SinkHandler`."""
        stream = self._sources.get((connection, channel))
        if stream is None or stream.switch.owner != (connection, channel):
            return
        self.relay.audio(stream.name, audio)
        for name, session in stream.sessions.items():
            if session.watches and audio.is_for(name):
                self.engine.send_audio(name, audio.opus_frame, session.next_audio_timestamp(audio.capture_time_us))

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

    def _is_awaited(self, stream: Stream) -> bool:
        return bool(stream.sessions) or self.relay.relays(stream.name)

    def _refuse(self, source: SourceKey, reason: str) -> None:
        if not isinstance(source, PublisherSource):
            connection, channel = source
            connection.refuse(channel, reason)
        self._close(source)

    def _close(self, source: SourceKey) -> Stream | None:
        stream = self._sources.pop(source, None)
        if stream is not None:
            before = stream.description
            stream.switch.close(source)
            stream.descriptions.pop(source, None)
            self._describe_anew(stream, before)
        return stream

    def _describe_anew(self, stream: Stream, before: StreamOpen | None) -> None:
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
        unheard, entry.unheard, entry.hears = entry.unheard, [], True
        for data in unheard:
            self.engine.send_message([session], DATA_CHANNEL_CONTROL, data)
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

    def _handle(self, session: str, entry: Session, message: protocol.ClientMessage, data: bytes) -> None:
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

    def _hold(self, session: str, entry: Session, message: protocol.ClientMessage, data: bytes) -> None:
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

    def _note_refusal(self, session: str, entry: Session) -> None:
        entry.refused_messages += 1
        if entry.refused_messages == TOLD_AFTER_REFUSED_MESSAGES:
            _log.warning("viewer_misbehaves", session=session)
            self._send_event(session, protocol.Refused(reason="too_many", detail="messages are being dropped"))

    def on_voice(self, session: str, opus_frame: bytes) -> None:
        """See `ViewerHandler`."""
        entry = self._sessions.get(session)
        if entry is None or not entry.is_heard or len(opus_frame) > MAX_VOICE_FRAME_BYTES:
            return
        if not entry.voice_bucket.take(self._now()):
            return
        self.pass_voice(entry.put.stream, entry.put.participant, opus_frame)

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
        entry.hears, entry.unheard = False, []
        self._go_off_air(session)
        self._send_feedback(self._streams[entry.put.stream])
        if not entry.put.publishes:
            gone = ViewerPresence(session=session, participant=entry.put.participant, present=False)
            self.pass_viewer(entry.put.stream, gone)
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

    def _go_on_air(self, session: str, entry: Session) -> None:
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

    def _release_stalled(self, stream: Stream) -> None:
        """A publisher whose pictures stay away leaves the stage to the node; its next picture brings it back."""
        shown = stream.switch.shown
        if isinstance(shown, PublisherSource) and self._now() - stream.published_s > PUBLISHER_STALLED_S:
            _log.warning("publisher_stalled", session=shown.session, stream=stream.name)
            self._go_off_air(shown.session)

    # --- each second ---

    def tick(self, elapsed_s: float) -> None:
        """Report viewers and publishers to the broker and feedback to sources; stalled publishers leave the stage."""
        rows = {str(row["session"]): row for row in self.engine.statistics()}
        reports = [
            self._report(session, rows[name], elapsed_s) for name, session in self._sessions.items() if name in rows
        ]
        reports += [
            session.publication.report(name, max(elapsed_s, 1e-3))
            for name, session in self._sessions.items()
            if session.connected and session.publication is not None
        ]
        for start in range(0, len(reports), MAX_REPORTS_A_BATCH):
            self._batches += 1
            self._tell_broker(batch_of(reports[start : start + MAX_REPORTS_A_BATCH], self._batches, self._now()))
        for stream in self._streams.values():
            self._release_stalled(stream)
            self._send_feedback(stream)

    def poll_keyframes(self) -> None:
        """Send keyframe requests whose interval has passed."""
        for stream in self._streams.values():
            self._request_keyframe_if_due(stream)

    def _report(self, session: Session, row: NDArray[np.void], elapsed_s: float) -> ViewerReport:
        self.counters.repeats_refused += session.risen(row, "repeats_refused")
        self.counters.nacks += session.risen(row, "nacks")
        self.counters.freezes += session.risen(row, "freezes")
        return session.report(row, elapsed_s)

    def _send_feedback(self, stream: Stream) -> None:
        owner = stream.owner
        if owner is None:
            return
        connection, channel = owner
        nobody = StreamFeedback(viewers=0)
        behind = self.relay.feedback(stream.name)
        feedback = nobody if stream.on_air else stream.feedback(stream.most_bps(owner), behind)
        connection.send_feedback(channel, feedback)

    def _tell_layers(self, stream: Stream, source: SourceKey) -> None:
        """Tell the engine among which layers of the source it may choose for each viewer."""
        stream.layered = source
        most_bps = stream.most_bps(source)
        self.engine.set_layers(stream.name, least_bitrates_bps(most_bps) if most_bps else [])

    def _request_keyframe_if_due(self, stream: Stream) -> None:
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
        return entry.owner if entry is not None else None

    def _send_event(self, session: str, event: protocol.ClientEvent) -> None:
        self.engine.send_message([session], DATA_CHANNEL_CONTROL, protocol.encode(event))


def _is_addressed(session: Session, tell: TellViewers) -> bool:
    return session.watches and session.put.room == tell.room and (not tell.roles or session.put.role in tell.roles)
