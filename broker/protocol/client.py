"""The data channels between a browser and its edge."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from broker.protocol.moderation import Binary
from broker.protocol.telemetry import DecodeStatistics
from broker.protocol.terms import (
    Angle,
    Axis,
    Count,
    EndReason,
    Identifier,
    Message,
    Role,
    SessionState,
    Tagged,
    Uint32,
    snake_case,
)


class Input(Tagged, frozen=True):
    """The state of the visitor's hands, sent on change and repeated (channel `input`, unordered, unreliable).

    Everything is a state or a running total, never a difference, so a lost message costs nothing.
    """

    seq: Uint32
    """Rises by one a message; the picture's barcode shows the last one applied."""
    move_x: Axis = 0.0
    """Walking to the right (+) or left (-), share of full speed."""
    move_z: Axis = 0.0
    """Walking forward (+) or back (-)."""
    yaw: Angle = 0.0
    """Sum of all turning since the session began; the world adds it to the spawn's yaw."""
    pitch: Annotated[float, Meta(ge=-1.6, le=1.6)] = 0.0
    zoom: Annotated[float, Meta(ge=-10.0, le=10.0)] = 0.0
    """Sum of all zooming; gallery distance is the exhibit's default times `exp(-zoom)`."""
    run: bool = False


class RaiseHand(Tagged, frozen=True):
    """Raise or lower one's hand (channel `control`, ordered, reliable; so are all below)."""

    raised: bool


class SelectExhibit(Tagged, frozen=True):
    """Gallery: turn to this exhibit."""

    exhibit: Identifier


class StageCamera(Tagged, frozen=True):
    """Conference, host only: choose one of the scene's stage cameras."""

    camera: Identifier


class Chat(Tagged, frozen=True):
    """A line of text to everyone in the room."""

    text: Annotated[str, Meta(min_length=1, max_length=280)]


class Ping(Tagged, frozen=True):
    """Answered by the edge with `Pong`."""

    id: Uint32


class ClientReport(DecodeStatistics, frozen=True, tag_field="type", tag=snake_case):
    """The client's decode statistics, once a second."""


ClientMessage = Input | RaiseHand | SelectExhibit | StageCamera | Chat | Ping | ClientReport


class RosterEntry(Message, frozen=True):
    """One person as the others see them."""

    participant: Identifier
    display_name: str
    role: Role
    muted: bool
    hand_raised: bool
    seat: int | None = None


class ExhibitEntry(Message, frozen=True):
    """An exhibit one can select; `title` by language tag (`en`, `zh`)."""

    exhibit: Identifier
    title: dict[str, str]


class Roster(Tagged, frozen=True):
    """The whole room, sent when a viewer connects; above 200 people only oneself, hosts, speakers, raised hands."""

    participants: list[RosterEntry]
    total: int
    exhibits: list[ExhibitEntry] = []
    stage_cameras: list[str] = []
    stage_camera: str | None = None
    """Conference: the stage camera that is live."""


class RosterJoined(Tagged, frozen=True):
    """Someone came or changed (role, mute, hand); above 200 people only those whom `Roster` would name."""

    participant: RosterEntry
    total: int


class RosterLeft(Tagged, frozen=True):
    """Someone left; above 200 people only those whom `Roster` would name."""

    participant: Identifier
    total: int


class RosterTotal(Tagged, frozen=True):
    """How many are there, told at most twice a second where not everybody's coming and going is."""

    total: int


class StageCameraChanged(Tagged, frozen=True):
    """A host has chosen another stage camera."""

    camera: str


class ChatLine(Tagged, frozen=True):
    """A line of text from `participant`."""

    participant: Identifier
    display_name: str
    text: str


class Pong(Tagged, frozen=True):
    """Answer to `Ping`."""

    id: Uint32


class SourceState(Tagged, frozen=True):
    """Whether pictures are coming: `live`, or `replacing` while another node takes over."""

    state: SessionState


class Refused(Tagged, frozen=True):
    """A message was not carried out, with a stable reason (`not_permitted`, `malformed`, `too_many`)."""

    reason: str
    detail: str = ""


class Ended(Tagged, frozen=True):
    """The session is over; the client must not reconnect with it."""

    reason: EndReason


class RoomData(Tagged, frozen=True):
    """Data that a host (`sender`), or an operator (`sender` null), sends to clients of the room: one of the two."""

    topic: Identifier
    value: Any = UNSET
    binary: Binary | UnsetType = UNSET
    """Base64."""
    sender: Identifier | None = None


class WaitingChanged(Tagged, frozen=True):
    """To hosts: how many wait to be let in; who they are is `GET /v1/rooms/{room}/waiting`."""

    waiting: Count


class RoomClosing(Tagged, frozen=True):
    """The room closes in so many seconds, as its schedule says."""

    in_s: float


class MoveTo(Tagged, frozen=True):
    """Join `room` with `token` within `within_s` seconds; this session ends by itself (`moved`) when that is done."""

    room: Identifier
    token: str
    within_s: float


ClientEvent = (
    Roster
    | RosterJoined
    | RosterLeft
    | RosterTotal
    | StageCameraChanged
    | ChatLine
    | Pong
    | SourceState
    | Refused
    | RoomData
    | WaitingChanged
    | RoomClosing
    | MoveTo
    | Ended
)

DATA_CHANNEL_INPUT = "input"
DATA_CHANNEL_CONTROL = "control"


decode_client_message = msgspec.json.Decoder(ClientMessage).decode
decode_client_event = msgspec.json.Decoder(ClientEvent).decode
