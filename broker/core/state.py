"""What the core knows: rooms, sessions, views, nodes and edges.

Records are plain mutable structs; only the modules of `broker.core` change them. Times are monotonic seconds of
the core's `now`, except `created_at` and `joined_at`, which are texts for people. After a restart the records come
back from the store and all deadlines are set anew (`Brain.restore`), because a monotonic clock does not survive.
"""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from msgspec import Struct, structs
from msgspec import field as field_of

from broker.core.cascade import Limits, Parents
from broker.core.effects import AgentKey, AgentKind, Collection, Effect, Persist
from broker.core.ledger import Ledger
from broker.core.moves import MoveRecord
from broker.core.picture import Picture, PictureLadder, PictureLimits
from broker.core.policies import BestValue, PlacementPolicy
from broker.core.pools import NodeOffer, NodePools
from broker.core.prices import Values
from broker.core.refusals import Refusal, RefusalKind
from broker.core.scaling import Demand
from broker.core.schedule import Schedule
from broker.core.suspicion import OwnLine, Patience, Words
from broker.core.telemetry import Telemetry
from broker.core.tickets import Queue, TicketRecord
from broker.core.ways import EdgeOffer, EdgePools
from broker.protocol import (
    AgentState,
    EdgeCapability,
    EdgeLoad,
    EndReason,
    LatencyCap,
    Mode,
    NodeCapability,
    NodeLoad,
    Probe,
    Role,
    SessionState,
    TicketState,
    Usage,
)

MAX_ENDED_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSettings:
    """Deadlines and limits of the core; all times in seconds."""

    heartbeat_interval_s: float = 0.2
    missed_heartbeats: int = 7
    """After so many an agent is dead though nobody else has noticed; with a second observer much sooner."""
    tolerated_pause_s: float = 0.5
    """How long an agent may stand still without being taken for dead, whatever phase of its heartbeat it is in."""
    retransmission_s: float = 0.2
    """How long a lost packet delays what follows it on a connection."""
    sighting_counts_s: float = 2.0
    """For how long another process' word on an agent counts."""
    reconnect_grace_s: float = 1.0
    """How long an agent whose socket broke may take to come back before it is taken for dead."""
    restore_grace_s: float = 10.0
    """The same after the broker itself was restarted."""
    restored_drain_s: float = 300.0
    """What a drain gets that an earlier broker began."""
    connect_timeout_s: float = 30.0
    resume_grace_s: float = 30.0
    node_search_s: float = 10.0
    forget_agent_s: float = 60.0
    start_timeout_s: float = 8.0
    """How long a node may take from the first connected viewer to its first picture."""
    max_placement_tries: int = 3
    reoptimise_every_s: float = 5.0
    """How often the whole assignment is thought over; 0: never."""
    moves_per_round: int = 8
    """Rooms that are moved at most each time: a mistake in a report moves few."""
    move_again_after_s: float = 60.0
    """A room that was moved stays for so long."""
    max_rooms: int = 10_000
    waiting_patience_s: float = 45.0
    """A ticket of a waiting room that is not polled for so long expires."""
    waiting_limit_s: float = 7200.0
    """How long anybody may wait: stops a client from polling for ever."""
    admitted_for_s: float = 60.0
    """How long one who was let in may take to come."""
    move_within_s: float = 30.0
    """How long a place is kept for one who was sent to another room."""
    max_waiting_in_room: int = 500
    """Stops guests from filling one room's list beyond what a host could go through."""
    max_waiting: int = 20_000
    """Stops guests from filling memory by way of many rooms."""
    fan_out: Limits = field(default_factory=lambda: Limits(node_fan_out=4, edge_fan_out=8))
    """How many edges a node feeds with one view, and how many an edge; at most 64, the limit of `targets`."""
    source_lost_counts_s: float = 2.0
    """For how long an edge's word that its source is gone stands against that source, should its own line break."""
    values: Values = field(default_factory=Values)
    picture: PictureLimits = field(default_factory=PictureLimits)
    ladder: PictureLadder = field(default_factory=PictureLadder)

    @property
    def patience(self) -> Patience:
        """What is allowed to an agent before it is suspected and taken for dead."""
        return Patience(
            heartbeat_interval_s=self.heartbeat_interval_s,
            pause_s=self.tolerated_pause_s,
            retransmission_s=self.retransmission_s,
            silent_alone_s=self.heartbeat_interval_s * self.missed_heartbeats,
            word_counts_s=self.sighting_counts_s,
        )


class RoomRecord(Struct, kw_only=True):
    """A room. `node` hosts its world; `world_node` is the node that has been told so."""

    room: str
    mode: Mode
    scene: str
    max_participants: int
    empty_timeout_s: float
    open: bool
    metadata: dict[str, str]
    created_at: str
    owner: str = ""
    """The id of the API key that made it, whose quota it counts against; empty in records of former brokers."""
    node: str | None = None
    world_node: str | None = None
    empty_since: float | None = None
    moved_at: float | None = None
    """When it was last moved because another region is better."""
    sessions: set[str] = set()
    views: set[str] = set()
    locked: bool = False
    waiting_room: bool = False
    tickets: list[str] = []
    """Of those who wait before the door, in order of coming."""
    limits: dict[Role, int] = {}
    """Most participants of a role."""
    latency_caps: list[LatencyCap] = []
    schedule: Schedule = Schedule()
    is_warned: bool = False
    """Whether those in it know that it closes soon."""


class Totals(Struct, kw_only=True):
    """Sums of what was used, as in `broker.protocol.Usage`."""

    participant_s: float = 0.0
    unit_s: float = 0.0
    sent_bytes: float = 0.0
    energy_wh: float = 0.0
    carbon_g: float = 0.0
    cost: float = 0.0

    def add(self, other: "Totals", share: float = 1.0) -> None:
        """Count a share of this too."""
        self.participant_s += other.participant_s * share
        self.unit_s += other.unit_s * share
        self.sent_bytes += other.sent_bytes * share
        self.energy_wh += other.energy_wh * share
        self.carbon_g += other.carbon_g * share
        self.cost += other.cost * share

    def usage(self) -> Usage:
        """For the API."""
        return Usage(**structs.asdict(self))


class UsageRecord(Struct, kw_only=True):
    """What a room used on a day (UTC). `sessions` were there on that day. `owner` is the API key that made the room."""

    day: str
    room: str
    owner: str = ""
    sessions: int = 0
    totals: Totals = field_of(default_factory=Totals)
    is_changed: bool = False
    """Whether the store does not have it yet."""

    @property
    def name(self) -> str:
        """Its name in the state and the store; a room's name may belong to two keys on one day."""
        return "/".join(filter(None, (self.day, self.room, self.owner)))


class SessionRecord(Struct, kw_only=True):
    """One participant's live service. It is `placed` once its edge has been told; `deadline` ends it."""

    session: str
    room: str
    participant: str
    identity: str
    display_name: str
    role: Role
    joined_at: str
    view: str
    token_id: str | None = None
    muted: bool = False
    hand_raised: bool = False
    seat: int | None = None
    edge: str | None = None
    edge_fence: int = 0
    placed: bool = False
    tries: int = 0
    state: SessionState = SessionState.CONNECTING
    connected: bool = False
    publishes: bool = False
    """Whether it sends the stage's picture instead of watching it."""
    was_connected: bool = False
    """Whether its viewer has ever been connected; until then nothing prolongs `deadline`."""
    deadline: float | None = None
    deadline_reason: EndReason = EndReason.CONNECT_TIMEOUT
    probes: list[Probe] = []
    """What the client claims to have measured; `lines` tells what is known."""
    network: str = ""
    """The address prefix it comes from, such as `203.0.113.0/24`; empty where that is not known."""
    totals: Totals = field_of(default_factory=Totals)
    """What it has used so far."""
    metered_on: str = ""
    """The last day on which it was counted."""
    start_bps: float | None = None
    """What its stream begins with on its edge; `None`: what edges begin with."""
    latency_cap_ms: float | None = None
    """How far its renderer might be when it was placed first."""
    ticket: str | None = None
    """Of the waiting room, until the session is placed."""
    moved_from: str | None = None
    """The session in another room that ends when this one is placed."""


class Holding(Struct, frozen=True):
    """A node that draws a view under a fence, and what it claims there."""

    node: str
    fence: int
    milliunits: int


class ViewRecord(Struct, kw_only=True):
    """A camera on a world. `fence` is 0 while no node has it; `previous` go on drawing during a planned move.

    `wished` is what its viewers would get if capacity were plenty, `picture` what they get; `claimed` are the
    milliunits reserved for it, which a picture of another shape may not use up.
    `parents` is the tree by which its frames reach the edges, and `root`, if there is one, the only edge that its node
    feeds. `told` are the edges that each parent was last told to feed, the node under the empty name. `missing` are
    edges that have lost their source, and when they said so. `shown_fence` is the lowest fence edges may show,
    `highest_fence` the newest ever given for this view. `former` is the node that lost it last.
    """

    view: str
    room: str
    participant: str | None
    wished: Picture
    picture: Picture
    node: str | None = None
    former: str | None = None
    claimed: int = 0
    fence: int = 0
    shown_fence: int = 0
    highest_fence: int = 0
    started: bool = False
    sessions: set[str] = set()
    excluded: set[str] = set()
    tries: int = 0
    give_up_at: float | None = None
    start_by: float | None = None
    previous: list[Holding] = []
    root: str | None = None
    parents: Parents = {}
    told: dict[str, set[str]] = {}
    missing: dict[str, float] = {}


class _Agent(Struct, kw_only=True):
    """What is kept of every agent. `lost_at` is when it will be, or was, taken for dead.

    `departing`: the drain was asked for by the process itself and ends with it, unlike an operator's.
    `words`: what others see of it, by observer.
    """

    region: str
    version: str
    connected: bool = False
    state: AgentState = AgentState.READY
    last_seen: float = 0.0
    lost_at: float | None = None
    drain_deadline: float | None = None
    departing: bool = False
    words: Words = {}

    @property
    def line(self) -> OwnLine:
        """The broker's own connection to it."""
        return OwnLine(self.last_seen, self.lost_at)


class NodeRecord(_Agent, kw_only=True):
    """A render node."""

    node: str
    capability: NodeCapability
    load: NodeLoad = NodeLoad()

    @property
    def key(self) -> AgentKey:
        """The name commands are sent to."""
        return AgentKey(AgentKind.NODE, self.node)

    @property
    def capacity(self) -> int:
        """Capacity in milliunits."""
        return int(self.capability.units * 1000)


class EdgeRecord(_Agent, kw_only=True):
    """An edge."""

    edge: str
    capability: EdgeCapability
    public_url: str
    trunk_url: str
    load: EdgeLoad = EdgeLoad()

    @property
    def key(self) -> AgentKey:
        """The name commands are sent to."""
        return AgentKey(AgentKind.EDGE, self.edge)

    @property
    def capacity(self) -> int:
        """How many viewers it takes."""
        return self.capability.max_viewers


AgentRecord = NodeRecord | EdgeRecord


@dataclass(slots=True)
class State:
    """Everything, with the effects that the current step has produced so far."""

    settings: CoreSettings = field(default_factory=CoreSettings)
    policy: PlacementPolicy = field(default_factory=lambda: BestValue(Values()))
    rooms: dict[str, RoomRecord] = field(default_factory=dict)
    sessions: dict[str, SessionRecord] = field(default_factory=dict)
    views: dict[str, ViewRecord] = field(default_factory=dict)
    nodes: dict[str, NodeRecord] = field(default_factory=dict)
    edges: dict[str, EdgeRecord] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    ended: OrderedDict[str, EndReason] = field(default_factory=OrderedDict)
    """Why sessions that are gone ended, for those who ask; bounded."""
    tickets: dict[str, TicketRecord] = field(default_factory=dict)
    """Of everybody before the door of a room, in order of coming."""
    ended_tickets: OrderedDict[str, TicketState] = field(default_factory=OrderedDict)
    """How tickets that are gone ended; bounded."""
    queues: dict[str, Queue] = field(default_factory=dict)
    """For places, where somebody waits for them; see `queues`."""
    changed_doors: set[str] = field(default_factory=set)
    """Rooms whose hosts do not know yet who waits; each is told once a tick, however many came."""
    moves: dict[str, MoveRecord] = field(default_factory=dict)
    """Who is on the way to another room, by the join token they come with."""
    last_tick: float | None = None
    lenient_until: float = float("-inf")
    """Who breaks off before then may return until then: the broker stood still for long."""
    usage: dict[str, UsageRecord] = field(default_factory=dict)
    """By day, room and owner, `2026-11-29/hall/k-1`."""
    demand: Demand = field(default_factory=Demand)
    telemetry: Telemetry = field(default_factory=Telemetry)
    metered_at: float | None = None
    usage_persisted_at: float = 0.0
    effects: list[Effect] = field(default_factory=list)
    ready_nodes: NodePools = field(default_factory=NodePools)
    ready_edges: EdgePools = field(default_factory=EdgePools)
    _site_points: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.ledger.on_change = self._claims_changed

    def _claims_changed(self, pool: str, total: int) -> None:
        kind, _, name = pool.partition(":")
        if kind == "node":
            self.ready_nodes.claimed(name, total)
        else:
            self.ready_edges.claimed(name, total)

    def site_points(self, region: str) -> float:
        """What drawing one unit in a region costs, in points."""
        known = self._site_points.get(region)
        if known is None:
            known = self._site_points[region] = self.settings.values.site_points(region)
        return known

    def refresh(self, agent: AgentRecord) -> None:
        """Offer an agent for placement, or no longer, as it stands now."""
        is_ready = agent.connected and agent.state is AgentState.READY
        match agent:
            case NodeRecord() if is_ready:
                self.ready_nodes.put(self._node_offer(agent))
            case NodeRecord():
                self.ready_nodes.drop(agent.node)
            case EdgeRecord() if is_ready:
                self.ready_edges.put(self._edge_offer(agent))
            case EdgeRecord():
                self.ready_edges.drop(agent.edge)

    def _node_offer(self, node: NodeRecord) -> NodeOffer:
        return NodeOffer(
            node=node.node,
            region=node.region,
            claimed=self.ledger.claimed(node_pool(node.node)),
            capacity=node.capacity,
            codecs=frozenset(node.capability.codecs),
            scenes=frozenset(scene.lower() for scene in node.capability.scenes),
        )

    def _edge_offer(self, edge: EdgeRecord) -> EdgeOffer:
        return EdgeOffer(
            edge=edge.edge,
            region=edge.region,
            viewers=self.ledger.claimed(edge_pool(edge.edge)),
            max_viewers=edge.capacity,
            node_rtt_ms=edge.load.node_rtt_ms,
            takes_publishers=edge.capability.takes_publishers,
        )

    def emit(self, effect: Effect) -> None:
        """Ask the shell for something."""
        self.effects.append(effect)

    def persist(self, record: RoomRecord | SessionRecord | ViewRecord | TicketRecord | MoveRecord) -> None:
        """Have the shell write, or delete, this record."""
        match record:
            case RoomRecord():
                self.emit(Persist(Collection.ROOMS, record.room))
            case SessionRecord():
                self.emit(Persist(Collection.SESSIONS, record.session))
            case ViewRecord():
                self.emit(Persist(Collection.VIEWS, record.view))
            case TicketRecord():
                self.emit(Persist(Collection.TICKETS, record.ticket))
            case MoveRecord():
                self.emit(Persist(Collection.MOVES, record.token_id))

    def room(self, name: str) -> RoomRecord:
        """The room of this name, else `Refusal`."""
        if (room := self.rooms.get(name)) is None:
            raise Refusal(RefusalKind.ROOM_UNKNOWN, f"there is no room {name!r}")
        return room

    def session(self, name: str) -> SessionRecord:
        """The session of this name, else `Refusal` saying whether and why it has ended."""
        if (session := self.sessions.get(name)) is not None:
            return session
        if (reason := self.ended.get(name)) is not None:
            raise Refusal(RefusalKind.SESSION_ENDED, f"the session has ended: {reason.value}")
        raise Refusal(RefusalKind.SESSION_UNKNOWN, "there is no such session")

    def agent(self, key: AgentKey) -> AgentRecord:
        """The agent of this name, else `Refusal`."""
        agent = self.nodes.get(key.name) if key.kind is AgentKind.NODE else self.edges.get(key.name)
        if agent is None:
            raise Refusal(RefusalKind.AGENT_UNKNOWN, f"there is no {key.kind.value} {key.name!r}")
        return agent

    def agents(self) -> Iterator[AgentRecord]:
        """Every node, then every edge."""
        return chain[AgentRecord](self.nodes.values(), self.edges.values())

    def remember_end(self, session: str, reason: EndReason) -> None:
        """Keep the reason for a while; the oldest go first."""
        self.ended[session] = reason
        while len(self.ended) > MAX_ENDED_REMEMBERED:
            self.ended.popitem(last=False)

    def remember_ticket_end(self, ticket: str, how: TicketState) -> None:
        """Keep how it ended for a while; the oldest go first."""
        self.ended_tickets[ticket] = how
        while len(self.ended_tickets) > MAX_ENDED_REMEMBERED:
            self.ended_tickets.popitem(last=False)


def node_pool(node: str) -> str:
    """The pool of a node's milliunits."""
    return f"node:{node}"


def edge_pool(edge: str) -> str:
    """The pool of an edge's places."""
    return f"edge:{edge}"
