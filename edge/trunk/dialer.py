"""The source's end of a trunk: it dials the edge, opens streams, and dials again when the line breaks."""

import asyncio
from collections.abc import Callable
from typing import Protocol

import aiohttp
import msgspec
import structlog

from edge.trunk.framing import (
    HEADER_BYTES,
    MAX_CONTROL_BYTES,
    MAX_STATE_BYTES,
    Frame,
    Kind,
    StreamFeedback,
    StreamOpen,
    TrunkError,
    ViewerAudio,
    ViewerEvent,
    ViewerInput,
    ViewerPresence,
    pack,
    pack_audio,
    pack_control,
    parse_control,
    parse_voice,
)
from edge.trunk.link import TrunkLink
from edge.trunk.outbox import Outbox

_log = structlog.get_logger(__name__)

FIRST_RETRY_S = 0.1
LAST_RETRY_S = 2.0
CONNECT_TIMEOUT_S = 5.0


class SourceHandler(Protocol):
    """What the source does with what the edge tells it. Called on the event loop; must not block."""

    def on_input(self, stream: "OutgoingStream", viewer_input: ViewerInput) -> None:
        """A viewer of the stream sent a message for the world."""

    def on_viewer(self, stream: "OutgoingStream", viewer: ViewerPresence) -> None:
        """A viewer has arrived or is gone."""

    def on_opened(self, stream: "OutgoingStream") -> None:
        """The edge accepted the stream, at first or after a reconnect; begin with a keyframe."""

    def on_keyframe_request(self, stream: "OutgoingStream", layer: int) -> None:
        """Somebody needs a picture of this layer to start from."""

    def on_feedback(self, stream: "OutgoingStream", feedback: StreamFeedback) -> None:
        """Who watches, and what their network takes."""

    def on_retained_state(self, stream: "OutgoingStream", state: bytes) -> None:
        """What the stream's previous source left."""

    def on_voice(self, stream: "OutgoingStream", participant: str, opus_frame: bytes) -> None:
        """A viewer speaks."""

    def on_refused(self, stream: "OutgoingStream", reason: str) -> None:
        """The edge does not want the stream (any more)."""


class OutgoingStream:
    """One stream on one trunk. Every method returns at once; nothing is sent while the line is down."""

    def __init__(self, dialer: "TrunkDialer", channel: int, description: StreamOpen) -> None:
        self._dialer = dialer
        self.channel = channel
        self.description = description
        self.accepted = False
        self._sequences: dict[int, int] = {}

    def send(
        self,
        payload: bytes | memoryview,
        *,
        flags: int,
        capture_time_us: int,
        input_sequence: int,
        layer: int = 0,
        temporal: int = 0,
    ) -> bool:
        """Send one encoded frame. Returns False if it was dropped; the next one of its layer must be a keyframe."""
        if not self.accepted:
            return False
        sequence = self._sequences[layer] = self._sequences.get(layer, 0) + 1
        frame = Frame(
            Kind.FRAME, self.channel, payload, flags, sequence, layer, temporal, capture_time_us, input_sequence
        )
        return self._dialer.send_frame(frame)

    def send_event(self, body: bytes, session: str | None = None) -> None:
        """Send a `ClientEvent` (JSON) to one viewer, or to all."""
        if self.accepted:
            self._dialer.send_control(Kind.EVENT, self.channel, ViewerEvent(body=msgspec.Raw(body), session=session))

    def send_audio(self, audio: ViewerAudio) -> None:
        """Send viewers what they hear; dropped if the edge reads too slowly."""
        if self.accepted:
            self._dialer.send_sound(pack_audio(self.channel, audio))

    def send_state(self, state: bytes) -> None:
        """Leave state at the edge for a successor; at most twice a second, at most `MAX_STATE_BYTES`."""
        if len(state) > MAX_STATE_BYTES:
            raise TrunkError(f"state of {len(state)} bytes exceeds the limit of {MAX_STATE_BYTES}")
        if self.accepted:
            self._dialer.send_message(pack(Frame(Kind.STATE, self.channel, state)))

    def close(self, reason: str) -> None:
        """End the stream."""
        self._dialer.close_stream(self, reason)


class TrunkDialer:
    """The trunk from this process to one edge; `run` keeps it connected until cancelled."""

    def __init__(
        self,
        url: str,
        token: Callable[[], str],
        handler: SourceHandler,
        http: aiohttp.ClientSession,
        on_broken: Callable[[], None] | None = None,
    ) -> None:
        self.url = url
        self._on_broken = on_broken
        self._token = token
        self._handler = handler
        self._http = http
        self._streams: dict[int, OutgoingStream] = {}
        self._next_channel = 1
        self._link = TrunkLink(Outbox(), self._take)
        self.connected = False

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round trip to the edge, `None` before the first measurement."""
        return self._link.rtt_ms

    @property
    def heard_s(self) -> float:
        """When the edge was heard last, in monotonic seconds."""
        return self._link.heard_s

    @property
    def frames_dropped(self) -> int:
        """Frames dropped because the edge read too slowly."""
        return self._link.outbox.frames_dropped

    @property
    def idle(self) -> bool:
        """Whether no stream uses this trunk."""
        return not self._streams

    def open(self, description: StreamOpen) -> OutgoingStream:
        """Begin a stream; it is announced at once, and again after each reconnect."""
        stream = OutgoingStream(self, self._next_channel, description)
        self._next_channel += 1
        self._streams[stream.channel] = stream
        self._announce(stream)
        return stream

    def close_stream(self, stream: OutgoingStream, reason: str) -> None:
        """End a stream; without effect if it is not open."""
        if self._streams.pop(stream.channel, None) is None:
            return
        stream.accepted = False
        self._link.outbox.forget(stream.channel)
        self.send_message(pack(Frame(Kind.CLOSE, stream.channel, reason.encode()[:500])))

    def send_frame(self, frame: Frame) -> bool:
        """Queue a frame; False if it was dropped."""
        taken = self.connected and self._link.outbox.put_frame(frame)
        self._link.wake()
        return taken

    def send_control(self, kind: Kind, channel: int, body: StreamOpen | ViewerEvent) -> None:
        """Queue a control message with a JSON body."""
        self.send_message(pack_control(kind, channel, body))

    def send_message(self, message: bytes) -> None:
        """Queue a packed control message; dropped while the line is down, as a reconnect starts afresh."""
        if self.connected:
            self._link.send(message)

    def send_sound(self, message: bytes) -> None:
        """Queue a packed message of sound; dropped while the line is down or slow."""
        if self.connected:
            self._link.outbox.put_sound(message)
            self._link.wake()

    async def run(self) -> None:
        """Connect, serve, and connect again with growing pauses until cancelled."""
        pause_s = FIRST_RETRY_S
        while True:
            try:
                await self._connect_and_serve()
                pause_s = FIRST_RETRY_S
            except (aiohttp.ClientError, OSError, TimeoutError, TrunkError) as error:
                _log.warning("trunk_lost", url=self.url, error=str(error) or type(error).__name__)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2.0, LAST_RETRY_S)

    async def _connect_and_serve(self) -> None:
        headers = {"Authorization": f"Bearer {self._token()}"}
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            socket = await self._http.ws_connect(
                self.url, headers=headers, max_msg_size=HEADER_BYTES + MAX_CONTROL_BYTES, compress=0, autoping=True
            )
        try:
            self.connected = True
            _log.info("trunk_connected", url=self.url)
            for stream in self._streams.values():
                self._announce(stream)
            await self._serve(socket)
        finally:
            self.connected = False
            self._link.outbox.clear()
            for stream in self._streams.values():
                stream.accepted = False
            await socket.close()

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await self._link.run(socket)
        except (OSError, TimeoutError):
            self._note_broken()
            raise
        if not self._link.took_leave:
            self._note_broken()

    def _note_broken(self) -> None:
        if self._on_broken is not None:
            self._on_broken()

    def _announce(self, stream: OutgoingStream) -> None:
        self.send_control(Kind.OPEN, stream.channel, stream.description)

    def _take(self, frame: Frame) -> None:
        stream = self._streams.get(frame.channel)
        if stream is None:
            return
        match frame.kind:
            case Kind.OPENED:
                stream.accepted = True
                self._handler.on_opened(stream)
            case Kind.VIEWER:
                self._handler.on_viewer(stream, parse_control(ViewerPresence, frame))
            case Kind.INPUT:
                self._handler.on_input(stream, parse_control(ViewerInput, frame))
            case Kind.KEYFRAME_REQUEST:
                self._handler.on_keyframe_request(stream, frame.layer)
            case Kind.FEEDBACK:
                self._handler.on_feedback(stream, parse_control(StreamFeedback, frame))
            case Kind.STATE:
                self._handler.on_retained_state(stream, bytes(frame.payload))
            case Kind.VOICE:
                self._handler.on_voice(stream, *parse_voice(frame))
            case Kind.CLOSE:
                self._refuse(stream, bytes(frame.payload).decode(errors="replace"))
            case _:
                raise TrunkError(f"{frame.kind.name} does not travel from sink to source")

    def _refuse(self, stream: OutgoingStream, reason: str) -> None:
        self._streams.pop(stream.channel, None)
        stream.accepted = False
        self._handler.on_refused(stream, reason)
