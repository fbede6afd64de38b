"""What all messages are made of: limits, value types, the field's words as enumerations, the base of all structs."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

API_VERSION = "v1"

MAX_HTTP_BODY_BYTES = 64 * 1024
"""Stops a client from making the broker buffer a large body."""
MAX_CONTROL_MESSAGE_BYTES = 1024 * 1024
"""A control message carries at most a room's roster of 1,000 participants."""
MAX_CLIENT_MESSAGE_BYTES = 2048
"""Stops a client from making its edge parse large data-channel messages."""
MAX_CLIENT_MESSAGES_PER_S = 250
"""Input at 120 Hz plus control; beyond it messages are dropped and counted."""
MAX_SDP_BYTES = 64 * 1024
MAX_PROBES = 16
MAX_METADATA_ENTRIES = 32

IDENTIFIER_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
Identifier = Annotated[str, Meta(pattern=rf"^{IDENTIFIER_PATTERN}$(?!\n)")]
"""Names of rooms, scenes, nodes, edges, sessions, streams: 1 to 64 of letters, digits, `_`, `.`, `-`.

The first is a letter or digit.
"""
_INVISIBLE = r"\x00-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff"
"""Controls, and marks that turn the direction of what stands around a name; joiners, which emoji need, are no part."""
DisplayName = Annotated[str, Meta(min_length=1, max_length=48, pattern=rf"^(?=.*\S)[^{_INVISIBLE}]*$(?!\n)")]
"""What people call themselves: something visible, on one line."""
Url = Annotated[str, Meta(pattern=r"^(https?|wss?)://[^\s]{1,240}$")]
Ratio = Annotated[float, Meta(ge=0.0, le=1.0)]
Milliseconds = Annotated[float, Meta(ge=0.0, le=60_000.0)]
Axis = Annotated[float, Meta(ge=-1.0, le=1.0)]
Angle = Annotated[float, Meta(ge=-1e4, le=1e4)]
Coordinate = Annotated[float, Meta(ge=-1e5, le=1e5)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Uint32 = Annotated[int, Meta(ge=0, le=2**32 - 1)]
FramesPerSecond = Annotated[int, Meta(ge=1, le=120)]
Pixels = Annotated[int, Meta(ge=160, le=3840, multiple_of=2)]
BitsPerSecond = Annotated[int, Meta(ge=50_000, le=100_000_000)]


class Mode(StrEnum):
    """What a room is for; it decides whose camera each participant sees."""

    EXPLORE = "explore"
    GALLERY = "gallery"
    CONFERENCE = "conference"


class Role(StrEnum):
    """What a participant may do; see `broker.core` for the permissions of each."""

    HOST = "host"
    SPEAKER = "speaker"
    VISITOR = "visitor"
    SPECTATOR = "spectator"


class Codec(StrEnum):
    """Video codecs by their names in SDP."""

    __hash__ = str.__hash__
    """As its text, which it equals; an enumeration's own is Python code, and placement asks for it all the time."""

    H264 = "H264"
    VP8 = "VP8"


class H264Profile(StrEnum):
    """H.264 profiles by the first two bytes of SDP's `profile-level-id`."""

    CONSTRAINED_BASELINE = "42e0"
    MAIN = "4d00"


class SessionState(StrEnum):
    """Life of a session: placed, then live, perhaps replaced, ended once."""

    CONNECTING = "connecting"
    LIVE = "live"
    REPLACING = "replacing"
    ENDED = "ended"


class EndReason(StrEnum):
    """Why a session ended; exactly one applies."""

    LEFT = "left"
    REMOVED = "removed"
    MOVED = "moved"
    ROOM_CLOSED = "room_closed"
    SCHEDULE_ENDED = "schedule_ended"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECTION_LOST = "connection_lost"
    NODE_LOST = "node_lost"
    EDGE_LOST = "edge_lost"
    TOKEN_REVOKED = "token_revoked"
    DRAINED = "drained"
    SHUTDOWN = "shutdown"


class AgentState(StrEnum):
    """What an edge or node is doing, as operators see it."""

    READY = "ready"
    DRAINING = "draining"
    DRAINED = "drained"
    LOST = "lost"


class Message(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=False):
    """Base of all bodies: immutable, strict, keyword-only."""


def snake_case(name: str) -> str:
    """The `type` of a message by its class name."""
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


class Tagged(Message, frozen=True, tag_field="type", tag=snake_case):
    """Base of messages that travel in a union; the `type` key is the class name in snake case."""


encode = msgspec.json.Encoder().encode
"""Any message as JSON."""
