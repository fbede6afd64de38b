"""HTTP: probing the edges and joining a room."""

from typing import Annotated

from msgspec import Meta

from broker.protocol.terms import (
    MAX_PROBES,
    Codec,
    DisplayName,
    FramesPerSecond,
    Identifier,
    Message,
    Milliseconds,
    Mode,
    Ratio,
    Role,
)


class ProbeTarget(Message, frozen=True):
    """An edge a client should measure: it sends `GET {probe_url}` a few times and reports the round trips."""

    edge: Identifier
    region: str
    probe_url: str


class ProbeTargetList(Message, frozen=True):
    """Answer of `GET /v1/probe-targets` (public)."""

    targets: list[ProbeTarget]


class Probe(Message, frozen=True):
    """What a client measured to one edge before joining."""

    edge: Identifier
    rtt_ms: Milliseconds
    jitter_ms: Milliseconds = 0.0
    loss: Ratio = 0.0
    bandwidth_bps: Annotated[float, Meta(ge=0, le=1e11)] | None = None


class Viewport(Message, frozen=True):
    """The size of the client's picture area in device pixels."""

    width: Annotated[int, Meta(ge=1, le=16_384)] = 1280
    height: Annotated[int, Meta(ge=1, le=16_384)] = 720
    max_fps: FramesPerSecond = 30


class VideoCapability(Message, frozen=True):
    """A codec the client decodes; `profiles` are H.264 `profile-level-id` prefixes (four hex digits)."""

    codec: Codec
    profiles: Annotated[list[Annotated[str, Meta(max_length=8)]], Meta(max_length=32)] = []


class JoinRequest(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/join`; a join token goes into the `Authorization` header as a bearer.

    Without a token the room must be open, and `display_name` is required.
    """

    display_name: DisplayName | None = None
    probes: Annotated[list[Probe], Meta(max_length=MAX_PROBES)] = []
    codecs: Annotated[list[VideoCapability], Meta(max_length=16)] = []
    """In any order: H.264 is preferred to VP8. Empty means H.264 constrained baseline."""
    viewport: Viewport = Viewport()
    wait_when_full: bool = False
    """Where there is no place: wait for one with a ticket (202) instead of being refused."""


class SessionPatch(Message, frozen=True):
    """Body of `PATCH /v1/sessions/{session}`: the client's picture area has another shape."""

    viewport: Viewport


class JoinGrant(Message, frozen=True):
    """A placed session: POST an SDP offer to `whep_url` with `session_token` as the bearer."""

    session: Identifier
    room: Identifier
    participant: Identifier
    display_name: str
    role: Role
    mode: Mode
    scene: Identifier
    edge: Identifier
    region: str
    whep_url: str
    session_token: str
    expires_at: str
    stream: Identifier
    codec: Codec
    width: int
    height: int
    fps: int
