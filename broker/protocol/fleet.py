"""HTTP and heartbeats: nodes and edges, what they can do and how loaded they are."""

from typing import Annotated

from msgspec import Meta

from broker.protocol.terms import AgentState, Codec, Count, Identifier, Message, Milliseconds

Rate = Annotated[float, Meta(ge=0, le=1e9)]


class NodeCapability(Message, frozen=True):
    """What a node measured of itself at start. One unit is one 1280x720 view at 30 frames/s, drawn and encoded.

    The units hold for the scene that takes most.
    """

    renderer: str
    device: str
    units: Annotated[float, Meta(ge=0, le=1e6)]
    codecs: list[Codec]
    scenes: list[Identifier]
    gpu_memory_bytes: Count = 0
    drawn_per_s: Annotated[dict[Identifier, Rate], Meta(max_length=256)] = {}
    """Views of 1280x720 that it draws of each scene it measured."""
    encoded_per_s: Annotated[dict[Codec, Rate], Meta(max_length=len(Codec))] = {}
    """Pictures of 1280x720 that it encodes, on all cores."""


class NodeLoad(Message, frozen=True):
    """A node's load over the last heartbeat interval."""

    views: Count = 0
    units_used: Annotated[float, Meta(ge=0, le=1e9)] = 0.0
    cpu_share: Annotated[float, Meta(ge=0, le=4096)] = 0.0
    render_ms_p50: Annotated[float, Meta(ge=0)] = 0.0
    encode_ms_p50: Annotated[float, Meta(ge=0)] = 0.0
    frames_per_s: Annotated[float, Meta(ge=0)] = 0.0
    frames_dropped: Count = 0


class EdgeCapability(Message, frozen=True):
    """What an edge offers."""

    engine: str
    max_viewers: Annotated[int, Meta(ge=1, le=1_000_000)]
    takes_publishers: bool = False


class EdgeLoad(Message, frozen=True):
    """An edge's load over the last heartbeat interval; `node_rtt_ms` is measured on each trunk."""

    viewers: Count = 0
    streams: Count = 0
    cpu_share: Annotated[float, Meta(ge=0, le=4096)] = 0.0
    egress_bps: Annotated[float, Meta(ge=0)] = 0.0
    node_rtt_ms: Annotated[dict[Identifier, Milliseconds], Meta(max_length=10_000)] = {}


class Node(Message, frozen=True):
    """A render node as operators see it; `load_ratio` is claimed units over capability."""

    node: Identifier
    region: str
    state: AgentState
    capability: NodeCapability
    load: NodeLoad
    load_ratio: float
    sessions: int
    last_seen_s: float


class NodeList(Message, frozen=True):
    """Answer of `GET /v1/nodes`."""

    nodes: list[Node]


class Edge(Message, frozen=True):
    """An edge as operators see it."""

    edge: Identifier
    region: str
    state: AgentState
    public_url: str
    capability: EdgeCapability
    load: EdgeLoad
    load_ratio: float
    sessions: int
    last_seen_s: float


class EdgeList(Message, frozen=True):
    """Answer of `GET /v1/edges`."""

    edges: list[Edge]


class DrainRequest(Message, frozen=True):
    """Body of `POST /v1/nodes/{node}/drain`; `DELETE` on the same path calls the drain off."""

    deadline_s: Annotated[float, Meta(ge=0, le=86_400)] = 300.0
