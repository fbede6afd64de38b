"""HTTP: rooms, their participants and join tokens, and problem documents (RFC 9457)."""

from datetime import datetime
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from broker.protocol.telemetry import ViewerLine, ViewerReport
from broker.protocol.terms import MAX_METADATA_ENTRIES, DisplayName, Identifier, Message, Mode, Role, SessionState
from broker.protocol.usage import Usage


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error as `application/problem+json`. `type` is stable; programs may switch on it."""

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    retry_after_s: float | None = None


MaxParticipants = Annotated[int, Meta(ge=1, le=100_000)]
Metadata = Annotated[
    dict[Annotated[str, Meta(min_length=1, max_length=64)], Annotated[str, Meta(max_length=512)]],
    Meta(max_length=MAX_METADATA_ENTRIES),
]


EmptyTimeout = Annotated[float, Meta(ge=0, le=31_536_000)]
Time = Annotated[datetime, Meta(tz=True)]
"""RFC 3339, with an offset from UTC."""
RoleLimits = Annotated[dict[Role, Annotated[int, Meta(ge=0, le=100_000)]], Meta(max_length=len(Role))]
Audience = Annotated[int, Meta(ge=0, le=100_000)]


class LatencyCap(Message, frozen=True):
    """How long the round trip from client to renderer may be for one who has waited so long."""

    rtt_ms: Annotated[float, Meta(gt=0, le=60_000)]
    after_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0


LatencyCaps = Annotated[list[LatencyCap], Meta(max_length=8)]


class RoomPatch(Message, frozen=True):
    """Body of `PATCH /v1/rooms/{room}`; absent keys stay as they are. Mode and scene are fixed at creation."""

    max_participants: MaxParticipants | UnsetType = UNSET
    empty_timeout_s: EmptyTimeout | UnsetType = UNSET
    """Seconds without participants after which the room closes; 0 keeps it for ever."""
    open: bool | UnsetType = UNSET
    """Whether guests may join without a token, as visitors."""
    locked: bool | UnsetType = UNSET
    """Whether nobody new but hosts may join."""
    waiting_room: bool | UnsetType = UNSET
    """Whether all but hosts and speakers wait until they are let in; turned off, it lets in everybody who waits."""
    metadata: Metadata | UnsetType = UNSET
    limits: RoleLimits | UnsetType = UNSET
    """Most participants of a role; roles that are not named have no limit of their own."""
    open_at: Time | UnsetType | None = UNSET
    """Before it only hosts may come in; null: open at once."""
    close_at: Time | UnsetType | None = UNSET
    """Then the room closes; null: it does not close by the clock."""
    expected_audience: Audience | UnsetType = UNSET
    """How many are expected when it opens; machines for them are wanted in time."""
    latency_caps: LatencyCaps | UnsetType = UNSET
    """Newcomers are placed no farther than the cap for their time of waiting; before the first one nobody is placed,
    after the last one everybody within it. None: as near as there is a place."""


class RoomSettings(RoomPatch, frozen=True):
    """Body of `PUT /v1/templates/{template}`: what a room is made with; absent keys take the defaults."""

    mode: Mode | UnsetType = UNSET
    scene: Identifier | UnsetType = UNSET


class RoomCreate(RoomSettings, frozen=True):
    """Body of `POST /v1/rooms`. `room` is chosen for you when absent; else what is absent is as `template` says."""

    room: Identifier | None = None
    template: Identifier | None = None


class Room(Message, frozen=True):
    """A room as the API shows it. `created_at`, `open_at` and `close_at` are RFC 3339, UTC."""

    room: Identifier
    mode: Mode
    scene: Identifier
    max_participants: MaxParticipants
    empty_timeout_s: float
    open: bool
    metadata: dict[str, str]
    created_at: str
    participants: int
    node: str | None = None
    locked: bool = False
    waiting_room: bool = False
    waiting: int = 0
    """How many wait to be let in."""
    limits: RoleLimits = {}
    open_at: str | None = None
    close_at: str | None = None
    expected_audience: int = 0
    latency_caps: LatencyCaps = []


class RoomList(Message, frozen=True):
    """Answer of `GET /v1/rooms`; `next_cursor` is absent on the last page."""

    rooms: list[Room]
    next_cursor: str | UnsetType = UNSET


MAX_TOKEN_TTL_S = 2_592_000
"""Thirty days."""


class TokenRequest(Message, frozen=True):
    """Body of `POST /v1/rooms/{room}/tokens`."""

    identity: Identifier
    display_name: DisplayName
    role: Role = Role.VISITOR
    ttl_s: Annotated[float, Meta(gt=0, le=MAX_TOKEN_TTL_S)] = 3600.0
    publish: bool = False
    """A token to publish the stage's picture and sound with (WHIP) instead of joining; who bears it is a speaker."""


TokenId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")]


class TokenGrant(Message, frozen=True):
    """A join token (JWT, single use) and a link that carries it; or a publish token, good until it expires, and the
    WHIP endpoint that takes it as a bearer."""

    token: str
    token_id: TokenId
    """Names the token where it is revoked."""
    link: str
    expires_at: str


class Participant(Message, frozen=True):
    """A participant as the API shows it; telemetry is that of the last second, absent before the first report."""

    participant: Identifier
    identity: str
    display_name: str
    role: Role
    muted: bool
    hand_raised: bool
    session: Identifier
    state: SessionState
    edge: str | None
    node: str | None
    joined_at: str
    publishes: bool = False
    report: "ViewerReport | None" = None
    line: ViewerLine | None = None
    """Absent before the first report."""
    usage: Usage = Usage()
    """What the session has used so far."""
    quality: float | None = None
    """What the viewer experiences, 0 to 100, by the delay, jitter and loss that its edge measures; from 80 on it is
    good."""


class ParticipantList(Message, frozen=True):
    """Answer of `GET /v1/rooms/{room}/participants`; `next_cursor` is absent on the last page."""

    participants: list[Participant]
    next_cursor: str | UnsetType = UNSET


class ParticipantPatch(Message, frozen=True):
    """Body of `PATCH /v1/rooms/{room}/participants/{participant}`."""

    role: Role | UnsetType = UNSET
    muted: bool | UnsetType = UNSET
