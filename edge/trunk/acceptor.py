"""The sink's end of a trunk: an aiohttp WebSocket handler that admits sources by token and hands on what they send."""

import time
from typing import Protocol

import aiohttp
import structlog
from aiohttp import web

from edge.trunk.framing import (
    HEADER_BYTES,
    MAX_CHANNELS,
    MAX_PAYLOAD_BYTES,
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
    pack_control,
    pack_voice,
    parse_audio,
    parse_control,
)
from edge.trunk.link import TrunkLink
from edge.trunk.outbox import Outbox
from edge.trunk.watch import Peer, PeerWatch

_log = structlog.get_logger(__name__)


class SinkHandler(Protocol):
    """What the edge does with what sources send. Called on the event loop; must not block."""

    def on_open(self, connection: "TrunkConnection", channel: int, description: StreamOpen) -> str | None:
        """A source offers a stream. Call `connection.accept` and return `None`, or return why it is refused."""

    def on_frame(self, connection: "TrunkConnection", frame: Frame) -> None:
        """An encoded frame of an accepted stream; the payload is valid as long as it is referenced."""

    def on_event(self, connection: "TrunkConnection", channel: int, event: ViewerEvent) -> None:
        """A message for viewers of the stream."""

    def on_audio(self, connection: "TrunkConnection", channel: int, audio: ViewerAudio) -> None:
        """Sound for viewers of the stream."""

    def on_state(self, connection: "TrunkConnection", channel: int, state: bytes) -> None:
        """State to retain for the stream."""

    def on_close(self, connection: "TrunkConnection", channel: int, reason: str) -> None:
        """The source ended the stream, or its connection broke."""


class TrunkConnection:
    """One source's connection, as the edge uses it. Every method returns at once."""

    def __init__(self, source: str, handler: SinkHandler) -> None:
        self.source = source
        self._peer: Peer | None = None
        self._handler = handler
        self._channels: set[int] = set()
        self._link = TrunkLink(Outbox(), self._take)

    @property
    def rtt_ms(self) -> float | None:
        """Smoothed round trip to the source, `None` before the first measurement."""
        return self._link.rtt_ms

    @property
    def peer(self) -> Peer | None:
        """Who is at the other end; `None` before it has offered a stream and so shown what it is."""
        return self._peer

    @property
    def heard_s(self) -> float:
        """When the source was heard last, in monotonic seconds."""
        return self._link.heard_s

    @property
    def took_leave(self) -> bool:
        """Whether the source has closed the connection in good order."""
        return self._link.took_leave

    def send_viewer(self, channel: int, viewer: ViewerPresence) -> None:
        """Tell the source that a viewer has arrived or is gone."""
        self._send(pack_control(Kind.VIEWER, channel, viewer))

    def send_input(self, channel: int, viewer_input: ViewerInput) -> None:
        """Forward a viewer's message to the world."""
        self._send(pack_control(Kind.INPUT, channel, viewer_input))

    def send_voice(self, channel: int, participant: str, opus_frame: bytes) -> None:
        """Forward a frame of a viewer's microphone; dropped if the source reads too slowly."""
        self._link.outbox.put_sound(pack_voice(channel, participant, opus_frame))
        self._link.wake()

    def send_feedback(self, channel: int, feedback: StreamFeedback) -> None:
        """Tell the source who watches and what their network takes."""
        self._send(pack_control(Kind.FEEDBACK, channel, feedback))

    def request_keyframe(self, channel: int, layer: int = 0) -> None:
        """Ask for a picture of this layer to start from."""
        self._send(pack(Frame(Kind.KEYFRAME_REQUEST, channel, b"", layer=layer)))

    def refuse(self, channel: int, reason: str) -> None:
        """Tell the source to stop sending this stream."""
        self._channels.discard(channel)
        self._send(pack(Frame(Kind.CLOSE, channel, reason.encode()[:500])))

    def accept(self, channel: int, retained_state: bytes | None) -> None:
        """Accept an offered stream, handing over what its last source left."""
        self._send(pack(Frame(Kind.OPENED, channel, b"")))
        if retained_state is not None:
            self._send(pack(Frame(Kind.STATE, channel, retained_state)))

    async def run(self, socket: web.WebSocketResponse) -> None:
        """Serve until the connection ends; every open stream is then closed."""
        reason = "connection lost"
        try:
            await self._link.run(socket)
            reason = "connection closed"
        finally:
            for channel in sorted(self._channels):
                self._handler.on_close(self, channel, reason)
            self._channels.clear()

    def _send(self, message: bytes) -> None:
        self._link.send(message)

    def _take(self, frame: Frame) -> None:
        if frame.kind is Kind.OPEN:
            self._open(frame)
        elif frame.channel in self._channels:
            self._take_for_stream(frame)

    def _take_for_stream(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.FRAME:
                self._handler.on_frame(self, frame)
            case Kind.EVENT:
                self._handler.on_event(self, frame.channel, parse_control(ViewerEvent, frame))
            case Kind.AUDIO:
                self._handler.on_audio(self, frame.channel, parse_audio(frame))
            case Kind.STATE:
                self._handler.on_state(self, frame.channel, bytes(frame.payload))
            case Kind.CLOSE:
                self._channels.discard(frame.channel)
                self._handler.on_close(self, frame.channel, bytes(frame.payload).decode(errors="replace"))
            case _:
                raise TrunkError(f"{frame.kind.name} does not travel from source to sink")

    def _open(self, frame: Frame) -> None:
        if frame.channel == 0:
            raise TrunkError("OPEN on channel 0, which is the connection itself")
        if len(self._channels) >= MAX_CHANNELS:
            raise TrunkError(f"more than {MAX_CHANNELS} streams on one trunk")
        description = parse_control(StreamOpen, frame)
        self._peer = Peer(self.source, is_edge=bool(description.path))
        self._channels.add(frame.channel)
        reason = self._handler.on_open(self, frame.channel, description)
        if reason is not None:
            self.refuse(frame.channel, reason)


class TrunkAcceptor:
    """Accepts sources on an aiohttp route; who may connect is decided before. `watch` is told whose line broke."""

    def __init__(self, handler: SinkHandler, watch: PeerWatch | None = None) -> None:
        self._handler = handler
        self._watch = watch
        self.connections: set[TrunkConnection] = set()
        self.malformed = 0

    async def serve(self, request: web.Request, source: str) -> web.WebSocketResponse:
        """Upgrade the request of the authenticated process `source` and serve it until it leaves."""
        socket = web.WebSocketResponse(max_msg_size=HEADER_BYTES + MAX_PAYLOAD_BYTES, compress=False)
        await socket.prepare(request)
        connection = TrunkConnection(source, self._handler)
        self.connections.add(connection)
        _log.info("trunk_accepted", source=source)
        try:
            await connection.run(socket)
            self._note_end(connection)
        except TrunkError as error:
            self.malformed += 1
            _log.warning("trunk_violation", source=source, error=str(error))
            await socket.close(code=aiohttp.WSCloseCode.POLICY_VIOLATION, message=str(error).encode()[:120])
        except (OSError, TimeoutError) as error:
            _log.warning("trunk_lost", source=source, error=str(error) or type(error).__name__)
            self._note_end(connection)
        finally:
            self.connections.discard(connection)
            await socket.close()
        return socket

    def _note_end(self, ended: TrunkConnection) -> None:
        """A line that broke is told, unless the source has another one already."""
        has_another = any(other.peer == ended.peer for other in self.connections if other is not ended)
        if self._watch is not None and ended.peer is not None and not ended.took_leave and not has_another:
            self._watch.broke(ended.peer, time.monotonic())

    def heard(self) -> list[tuple[Peer, float]]:
        """The sources that are connected, and when each was heard last, in monotonic seconds."""
        return [(entry.peer, entry.heard_s) for entry in self.connections if entry.peer is not None]
