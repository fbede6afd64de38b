"""What operators see of the whole: regions, the moves between nodes, and what networks have shown."""

from typing import Annotated

from msgspec import Meta

from broker.protocol.terms import Count, Identifier, Message

MAX_SHOWN = 200


class Spread(Message, frozen=True):
    """Over viewers: the median, and what one in twenty exceeds."""

    p50: float
    p95: float


class Region(Message, frozen=True, kw_only=True):
    """Nodes and edges of one region. Units are its nodes', viewers its edges', wherever their pictures are drawn."""

    region: str
    nodes: Count
    nodes_ready: Count
    units: float
    """Of ready nodes."""
    units_used: float
    edges: Count
    edges_ready: Count
    viewers: Count
    max_viewers: Count
    """Of ready edges."""
    quality: float | None = None
    """Mean over its viewers, 0 to 100; absent before anything is measured."""
    below_good: Count = 0
    """Viewers whose quality is less than good."""
    rtt_ms: Spread | None = None
    jitter_ms: Spread | None = None
    loss: Spread | None = None
    power_w: float = 0.0
    """What the units in use draw now, with the data centre's overhead."""
    carbon_g_per_h: float = 0.0
    cost_per_h: float = 0.0


class RegionList(Message, frozen=True):
    """Answer of `GET /v1/regions`."""

    regions: list[Region]


class Move(Message, frozen=True, kw_only=True):
    """Views of one room that went from one node to another at once. `planned`: the old node drew on meanwhile."""

    at: str
    room: Identifier
    views: Count
    from_node: str | None
    from_region: str | None
    to_node: str
    to_region: str | None
    planned: bool


class MoveList(Message, frozen=True):
    """Answer of `GET /v1/moves`: the last ones since the broker started, the latest first."""

    moves: Annotated[list[Move], Meta(max_length=MAX_SHOWN)]


class Network(Message, frozen=True, kw_only=True):
    """Lines between an address prefix and a region, as edges have measured them; old measurements fade."""

    network: str
    region: str
    sessions: float
    rtt_ms: float
    rtt_high_ms: float
    loss: float


class NetworkList(Message, frozen=True):
    """Answer of `GET /v1/networks`: those with most sessions, and how many reports were refused, by cause."""

    networks: Annotated[list[Network], Meta(max_length=MAX_SHOWN)]
    reports_refused: dict[str, int]
