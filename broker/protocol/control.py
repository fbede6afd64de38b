"""The control WebSocket: what edges and nodes (agents) tell the broker, and what it commands."""

from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from broker.protocol.client import MoveTo, RoomClosing, RoomData, WaitingChanged
from broker.protocol.fleet import EdgeCapability, EdgeLoad, NodeCapability, NodeLoad
from broker.protocol.moderation import MAX_ADDRESSED
from broker.protocol.terms import (
    BitsPerSecond,
    Codec,
    Count,
    EndReason,
    FramesPerSecond,
    H264Profile,
    Identifier,
    Message,
    Mode,
    Pixels,
    Role,
    SessionState,
    Tagged,
    Url,
)


class RegisterNode(Tagged, frozen=True):
    """First message of a node. A node that reconnects registers again and keeps its views."""

    node: Identifier
    region: Identifier
    version: str
    capability: NodeCapability
    views: list["ViewHolding"] = []
    """Views it is still drawing, so that a broker that lost its state learns them anew."""


class RegisterEdge(Tagged, frozen=True):
    """First message of an edge. `public_url` is where clients reach it, `trunk_url` where nodes do."""

    edge: Identifier
    region: Identifier
    version: str
    capability: EdgeCapability
    public_url: Url
    trunk_url: Url
    sessions: list[Identifier] = []
    """Sessions with a connected viewer, so that a broker that lost its state learns them anew."""
    relays: list[Identifier] = []
    """Streams it passes on to other edges."""


class ViewHolding(Message, frozen=True):
    """A view a node is drawing, under the fence number it was given."""

    view: Identifier
    fence: Count


class NodeHeartbeat(Tagged, frozen=True):
    """Sent every `Welcome.heartbeat_interval_s`."""

    load: NodeLoad


class EdgeHeartbeat(Tagged, frozen=True):
    """Sent every `Welcome.heartbeat_interval_s`."""

    load: EdgeLoad


class ViewStarted(Tagged, frozen=True):
    """The node's first frame of this view left for the edges."""

    view: Identifier
    fence: Count


class ViewFailed(Tagged, frozen=True):
    """The node cannot draw this view (unknown scene, encoder failure); the broker places it elsewhere."""

    view: Identifier
    fence: Count
    reason: Annotated[str, Meta(max_length=500)]


class ViewerConnected(Tagged, frozen=True):
    """The viewer's DTLS handshake is complete."""

    session: Identifier


class ViewerGone(Tagged, frozen=True):
    """The viewer left (WHEP DELETE: `LEFT`) or vanished (`CONNECTION_LOST`)."""

    session: Identifier
    reason: EndReason


class SourceLost(Tagged, frozen=True):
    """From an edge: the edge that fed it `stream` does so no longer, and viewers or other edges wait for it there.

    Of a lost node the broker knows from the node's own connection.
    """

    stream: Identifier


class PeerSight(StrEnum):
    """What a process sees of the one at the other end of a trunk."""

    HEARD = "heard"
    """It speaks (again)."""
    SILENT = "silent"
    """Nothing has come for longer than a pause and a lost packet explain."""
    BROKEN = "broken"
    """The connection has ended without a farewell."""


class PeerSighted(Tagged, frozen=True):
    """From a node or an edge: how a process that it has a trunk with stands, when that changes.

    `SILENT` is repeated each second while it lasts. Together with the broker's own view it tells the dead from those
    whose line to the broker is bad; alone it has no effect.
    """

    peer: Identifier
    is_edge: bool
    """Whether the peer is an edge; else it is a node."""
    sight: PeerSight


class ParticipantChanged(Tagged, frozen=True):
    """A node tells what a participant did in the world that the API shows: hand raised or lowered."""

    room: Identifier
    participant: Identifier
    hand_raised: bool


class DrainRequested(Tagged, frozen=True):
    """From an agent that is about to stop: its work should go elsewhere within `deadline_s`, or, if `cancelled`, stay.

    Answered with `Drain`. Where no other agent could take the work the deadline is now. An agent that connects anew
    asks anew; a new process of the same name starts without a drain.
    """

    deadline_s: Annotated[float, Meta(ge=0, le=86_400)]
    cancelled: bool = False


AgentMessage = (
    RegisterNode
    | RegisterEdge
    | NodeHeartbeat
    | EdgeHeartbeat
    | ViewStarted
    | ViewFailed
    | ViewerConnected
    | ViewerGone
    | SourceLost
    | PeerSighted
    | ParticipantChanged
    | DrainRequested
)


class Welcome(Tagged, frozen=True):
    """Answer to a registration. `token_public_key` is the Ed25519 key (PEM) that verifies session and trunk tokens."""

    broker: Identifier
    heartbeat_interval_s: float
    token_public_key: str


class WorldParticipant(Message, frozen=True):
    """A participant as a world knows them. `seat` is set in conferences: an index into the scene's seats."""

    participant: Identifier
    display_name: str
    role: Role
    muted: bool = False
    seat: int | None = None


class PutWorld(Tagged, frozen=True):
    """To a node: host this room's world, with these participants. Replaces what was known of the room."""

    room: Identifier
    mode: Mode
    scene: Identifier
    participants: Annotated[list[WorldParticipant], Meta(max_length=100_000)]


class DropWorld(Tagged, frozen=True):
    """To a node: the room is closed or moved away."""

    room: Identifier


class PutParticipant(Tagged, frozen=True):
    """To a node: a participant joined or changed."""

    room: Identifier
    participant: WorldParticipant


class DropParticipant(Tagged, frozen=True):
    """To a node: a participant left."""

    room: Identifier
    participant: Identifier


class TrunkTarget(Message, frozen=True):
    """An edge a view's frames must reach, with a token that edge accepts from this source."""

    edge: Identifier
    url: str
    token: str


class PutView(Tagged, frozen=True):
    """To a node: draw this view and send it as `stream` to `targets`. Repeated with the same fence it updates.

    `participant` owns the camera; `None` means the room's shared stage camera.
    """

    view: Identifier
    stream: Identifier
    fence: Count
    room: Identifier
    participant: Identifier | None
    width: Pixels
    height: Pixels
    fps: FramesPerSecond
    codec: Codec
    profile: H264Profile | None
    max_bitrate_bps: BitsPerSecond
    targets: Annotated[list[TrunkTarget], Meta(min_length=1, max_length=64)]
    layers: Annotated[int, Meta(ge=1, le=4)] = 1
    """Simulcast layers; each has half the width and height of the next higher one, the highest those above."""


class DropView(Tagged, frozen=True):
    """To a node: stop drawing this view, if its fence is not newer than this one."""

    view: Identifier
    fence: Count


class PutSession(Tagged, frozen=True):
    """To an edge: admit this session's viewer to `stream`. Repeated, it updates (role, mute, state)."""

    session: Identifier
    participant: Identifier
    room: Identifier
    mode: Mode
    role: Role
    muted: bool
    stream: Identifier
    fence: Count
    """Lowest fence whose trunk stream this edge may show; an older source is a zombie."""
    codec: Codec
    profile: H264Profile | None
    state: SessionState
    bandwidth_bps: Annotated[float, Meta(ge=0, le=1e11)] | None = None
    """What the client measured to this edge before joining; its stream begins within it."""
    publishes: bool = False
    """Whether it sends the stream's picture (WHIP) instead of watching it."""
    token_id: Annotated[str, Meta(max_length=64)] | None = None
    """Of the join or publish token that made the session: its bearer may act for it, as that of the session token."""


class PutRelay(Tagged, frozen=True):
    """To an edge: pass `stream` on to `targets`, as their source under `fence`. Repeated it updates, empty it ends."""

    stream: Identifier
    fence: Count
    targets: Annotated[list[TrunkTarget], Meta(max_length=64)] = []


class DropSession(Tagged, frozen=True):
    """To an edge: end this viewer and tell them why."""

    session: Identifier
    reason: EndReason


class TellViewers(Tagged, frozen=True):
    """To an edge: hand `event` to connected viewers of `room`: all, or these sessions, of these roles, if any."""

    room: Identifier
    event: RoomData | WaitingChanged | RoomClosing | MoveTo
    sessions: Annotated[list[Identifier], Meta(max_length=MAX_ADDRESSED)] | None = None
    roles: list[Role] = []


class Drain(Tagged, frozen=True):
    """To an agent: it gets no new work. `cancelled` calls it off."""

    deadline_s: float
    cancelled: bool = False


BrokerMessage = (
    Welcome
    | PutWorld
    | DropWorld
    | PutParticipant
    | DropParticipant
    | PutView
    | DropView
    | PutSession
    | DropSession
    | PutRelay
    | TellViewers
    | Drain
)


decode_agent_message = msgspec.json.Decoder(AgentMessage).decode
decode_broker_message = msgspec.json.Decoder(BrokerMessage).decode
