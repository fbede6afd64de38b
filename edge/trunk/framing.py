"""The trunk's wire format: a fixed 32-byte header in network byte order, then the payload.

| offset | bytes | field          | meaning                                                              |
|--------|-------|----------------|----------------------------------------------------------------------|
| 0      | 1     | version        | 1; another version is refused                                        |
| 1      | 1     | kind           | `Kind`                                                               |
| 2      | 2     | flags          | `Flag` bits; unknown bits are ignored                                |
| 4      | 4     | channel        | number of the stream on this connection, chosen by the source; 0: none |
| 8      | 4     | sequence       | frame number in its layer, rising by one a frame; 0 elsewhere        |
| 12     | 1     | layer          | simulcast layer of a frame or a keyframe request, 0 the lowest       |
| 13     | 1     | temporal       | temporal layer of a frame, 0 the base                                |
| 14     | 2     | reserved       | 0                                                                    |
| 16     | 8     | capture_time_us| Unix microseconds: when the frame's camera was sampled, or where the |
|        |       |                | 20 ms of an `AUDIO` message begin; 0 elsewhere                        |
| 24     | 4     | input_sequence | last viewer input the frame shows; 0 if none                         |
| 28     | 4     | payload_length | must equal the bytes that follow                                     |

One WebSocket binary message carries exactly one trunk message. `docs/architecture.md` has the conversation.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from broker.protocol import Codec, Count, Identifier, Message, Uint32

VERSION = 1
_HEADER = struct.Struct("!BBHIIBBHQII")
HEADER_BYTES = _HEADER.size
MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""Stops a broken source from making an edge buffer without bound; a 4K keyframe at high quality fits."""
MAX_STATE_BYTES = 4096
MAX_CONTROL_BYTES = 256 * 1024
"""Everything that is not a frame: stops a peer from making the other parse large JSON."""
MAX_CHANNELS = 4096
MAX_AUDIO_SESSIONS = 1000
"""Sessions one `AUDIO` message may name."""
MAX_SESSION_NAME_BYTES = 64
MAX_LAYERS = 4
"""Simulcast layers of one stream."""
MAX_HOPS = 8
"""Edges a stream may pass through before one."""


class TrunkError(Exception):
    """A message breaks the wire format, or the peer refused; the message says which rule."""


class Kind(IntEnum):
    """What a trunk message is. Direction: S source to sink, K sink to source."""

    OPEN = 1
    """S: begin a stream on a channel (`StreamOpen`)."""
    OPENED = 2
    """K: the stream is accepted."""
    CLOSE = 3
    """S: the stream ends. K: the stream is refused or no longer wanted. Payload: the reason as UTF-8."""
    FRAME = 4
    """S: one encoded picture."""
    INPUT = 5
    """K: a viewer's message for the world (`ViewerInput`)."""
    EVENT = 6
    """S: a message for one viewer or all viewers of the stream (`ViewerEvent`)."""
    KEYFRAME_REQUEST = 7
    """K: send a keyframe of the header's layer soon."""
    FEEDBACK = 8
    """K: who watches and what the network can take (`StreamFeedback`)."""
    STATE = 9
    """S: state to retain, at most 2 a second. K: the retained state, right after `OPENED`."""
    PING = 10
    """Either: answer with `PONG` and the same payload of at most 64 bytes."""
    PONG = 11
    """Either: the answer to `PING`."""
    VOICE = 12
    """K: one Opus frame of a viewer's microphone; the payload is the participant's name, a NUL, the frame."""
    VIEWER = 13
    """K: a viewer has arrived or is gone (`ViewerPresence`)."""
    AUDIO = 14
    """S: 20 ms of what viewers hear (`ViewerAudio`); the payload is session names with commas between them, a NUL,
    one Opus frame."""


class Flag(IntFlag):
    """Properties of a `FRAME` or, the last, of an `AUDIO` message."""

    KEYFRAME = 1
    """A decoder can start here."""
    REFINEMENT = 2
    """The camera rests; this picture only sharpens the last one."""
    EVERYBODY_ELSE = 4
    """The sessions named are those that are not to hear it; every other viewer of the stream is."""


class LayerDescription(Message, frozen=True):
    """One simulcast layer of a stream: its size in pixels and the most it takes."""

    width: Annotated[int, Meta(ge=0, le=16_384)]
    height: Annotated[int, Meta(ge=0, le=16_384)]
    max_bitrate_bps: Annotated[float, Meta(ge=0, le=1e12)]


class StreamOpen(Message, frozen=True):
    """Payload of `OPEN`. The highest `fence` of a stream is its owner; an older source is refused as a zombie."""

    stream: Identifier
    fence: Count
    codec: Codec | None = None
    width: Annotated[int, Meta(ge=0, le=16_384)] = 0
    height: Annotated[int, Meta(ge=0, le=16_384)] = 0
    fps: Annotated[int, Meta(ge=0, le=240)] = 0
    layers: Annotated[list[LayerDescription], Meta(max_length=MAX_LAYERS)] = []
    """Lowest first; empty for a stream of one layer."""
    path: Annotated[list[Identifier], Meta(max_length=MAX_HOPS)] = []
    """The edges it has passed through, the source last; empty from a node. It must not come back to one of them."""


class ViewerPresence(Message, frozen=True):
    """Payload of `VIEWER`: this viewer's channels are open, and the source tells them who is there; or they are gone.

    `fresh`: the viewer's client begins anew, with input counted from zero; otherwise the source is what is new.
    """

    session: Identifier
    participant: Identifier
    fresh: bool = False
    present: bool = True


class ViewerInput(Message, frozen=True):
    """Payload of `INPUT`: a `ClientMessage` of broker.protocol, as the viewer sent it, and who sent it."""

    session: Identifier
    participant: Identifier
    body: msgspec.Raw


class ViewerEvent(Message, frozen=True):
    """Payload of `EVENT`: a `ClientEvent` of broker.protocol for one session, or for all if `session` is absent."""

    body: msgspec.Raw
    session: Identifier | None = None


class StreamFeedback(Message, frozen=True):
    """Payload of `FEEDBACK`, sent on change and once a second.

    `bitrate_bps` is what the slowest comfortable majority of viewers can take, absent while unknown; where there are
    layers, of those who are to get the highest. `layers` counts who are to get each, lowest first: one for nobody need
    not be encoded.
    """

    viewers: Uint32
    bitrate_bps: Annotated[float, Meta(ge=0, le=1e12)] | None = None
    layers: Annotated[list[Uint32], Meta(max_length=MAX_LAYERS)] = []


@dataclass(frozen=True, slots=True)
class ViewerAudio:
    """Content of `AUDIO`: an Opus frame for the `sessions` or, with `everybody_else`, for all viewers but those."""

    opus_frame: bytes
    capture_time_us: int
    sessions: frozenset[str] = frozenset()
    everybody_else: bool = False

    def is_for(self, session: str) -> bool:
        """Whether this viewer of the stream is to hear it."""
        return (session in self.sessions) is not self.everybody_else


@dataclass(frozen=True, slots=True)
class Frame:
    """One trunk message, header fields and payload."""

    kind: Kind
    channel: int
    payload: bytes | memoryview
    flags: int = 0
    sequence: int = 0
    layer: int = 0
    temporal: int = 0
    capture_time_us: int = 0
    input_sequence: int = 0

    @property
    def keyframe(self) -> bool:
        """Whether a decoder can start at this frame."""
        return bool(self.flags & Flag.KEYFRAME)


def pack(frame: Frame) -> bytes:
    """One WebSocket message for `frame`. Raises `TrunkError` if the payload exceeds its limit."""
    _check_length(frame.kind, len(frame.payload))
    header = _HEADER.pack(
        VERSION,
        frame.kind,
        frame.flags,
        frame.channel,
        frame.sequence & 0xFFFFFFFF,
        frame.layer,
        frame.temporal,
        0,
        frame.capture_time_us,
        frame.input_sequence & 0xFFFFFFFF,
        len(frame.payload),
    )
    return b"".join((header, frame.payload))


def unpack(message: bytes) -> Frame:
    """The frame in one WebSocket message; the payload is a view into it. Raises `TrunkError`."""
    if len(message) < HEADER_BYTES:
        raise TrunkError(f"message of {len(message)} bytes is shorter than the {HEADER_BYTES}-byte header")
    (version, kind, flags, channel, sequence, layer, temporal, _, capture, input_sequence, length) = (
        _HEADER.unpack_from(message)
    )
    if version != VERSION:
        raise TrunkError(f"version {version} is not supported; this end speaks {VERSION}")
    if length != len(message) - HEADER_BYTES:
        raise TrunkError(f"payload_length {length} but {len(message) - HEADER_BYTES} bytes follow the header")
    try:
        known = Kind(kind)
    except ValueError:
        raise TrunkError(f"kind {kind} is unknown in version {VERSION}") from None
    _check_length(known, length)
    payload = memoryview(message)[HEADER_BYTES:]
    return Frame(known, channel, payload, flags, sequence, layer, temporal, capture, input_sequence)


def _check_length(kind: Kind, length: int) -> None:
    limit = {Kind.FRAME: MAX_PAYLOAD_BYTES, Kind.STATE: MAX_STATE_BYTES}.get(kind, MAX_CONTROL_BYTES)
    if length > limit:
        raise TrunkError(f"{kind.name} payload of {length} bytes exceeds the limit of {limit}")


_encoder = msgspec.json.Encoder()
_T = TypeVar("_T", bound=Message)


def pack_control(kind: Kind, channel: int, body: Message) -> bytes:
    """One WebSocket message with `body` as JSON."""
    return pack(Frame(kind, channel, _encoder.encode(body)))


def parse_control(struct_type: type[_T], frame: Frame) -> _T:
    """The JSON payload of `frame`. Raises `TrunkError` naming the key that is wrong."""
    try:
        return msgspec.json.decode(frame.payload, type=struct_type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise TrunkError(f"{frame.kind.name} on channel {frame.channel}: {error}") from error


def pack_voice(channel: int, participant: str, opus_frame: bytes) -> bytes:
    """One WebSocket message with a viewer's microphone frame."""
    return pack(Frame(Kind.VOICE, channel, participant.encode() + b"\0" + opus_frame))


def parse_voice(frame: Frame) -> tuple[str, bytes]:
    """Participant and Opus frame of a `VOICE` message. Raises `TrunkError`."""
    name, separator, opus_frame = bytes(frame.payload).partition(b"\0")
    try:
        participant = name.decode()
    except UnicodeDecodeError as error:
        raise TrunkError("VOICE names a participant that is not UTF-8") from error
    if not separator or not participant:
        raise TrunkError("VOICE without a participant")
    return participant, opus_frame


def pack_audio(channel: int, audio: ViewerAudio) -> bytes:
    """One WebSocket message with 20 ms of sound for viewers."""
    names = ",".join(sorted(audio.sessions)).encode()
    flags = Flag.EVERYBODY_ELSE if audio.everybody_else else 0
    payload = names + b"\0" + audio.opus_frame
    return pack(Frame(Kind.AUDIO, channel, payload, flags, capture_time_us=audio.capture_time_us))


def parse_audio(frame: Frame) -> ViewerAudio:
    """The content of an `AUDIO` message. Raises `TrunkError`."""
    listed, separator, opus_frame = bytes(frame.payload).partition(b"\0")
    names = listed.split(b",") if listed else []
    if not separator or not opus_frame:
        raise TrunkError("AUDIO without an Opus frame")
    if len(names) > MAX_AUDIO_SESSIONS:
        raise TrunkError(f"AUDIO names {len(names)} sessions; the limit is {MAX_AUDIO_SESSIONS}")
    if not all(0 < len(name) <= MAX_SESSION_NAME_BYTES and name.isascii() for name in names):
        raise TrunkError(f"AUDIO names a session that is not 1 to {MAX_SESSION_NAME_BYTES} ASCII characters")
    everybody_else = bool(frame.flags & Flag.EVERYBODY_ELSE)
    sessions = frozenset(name.decode() for name in names)
    return ViewerAudio(opus_frame, frame.capture_time_us, sessions, everybody_else)
