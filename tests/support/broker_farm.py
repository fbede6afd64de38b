"""A broker core in virtual time, with claims answered by a book that fences rise in; validates after every step."""

from collections.abc import Sequence

from broker.core import queues, waiting
from broker.core.brain import Brain
from broker.core.effects import (
    AgentKey,
    AgentKind,
    Claim,
    Effect,
    JoinPlaced,
    JoinRefused,
    Release,
    Send,
    SessionEnded,
    TicketChanged,
)
from broker.core.joining import Join
from broker.core.refusals import Refusal
from broker.core.state import CoreSettings, RoomRecord, SessionRecord, ViewRecord
from broker.core.tickets import TicketRecord, Wish
from broker.core.validation import validate_state
from broker.protocol import (
    Codec,
    EdgeCapability,
    EdgeHeartbeat,
    EdgeLoad,
    EndReason,
    Mode,
    NodeCapability,
    NodeHeartbeat,
    NodeLoad,
    Probe,
    RegisterEdge,
    RegisterNode,
    Role,
    VideoCapability,
    ViewerConnected,
    ViewerReport,
    ViewHolding,
    Viewport,
    ViewStarted,
)
from broker.protocol.report_batch import batch_of


def node_key(name: str) -> AgentKey:
    return AgentKey(AgentKind.NODE, name)


def edge_key(name: str) -> AgentKey:
    return AgentKey(AgentKind.EDGE, name)


class Farm:
    """Feeds a `Brain` and carries its effects out: claims at once, messages into `sent`."""

    def __init__(self, settings: CoreSettings | None = None) -> None:
        self.brain = Brain(settings or CoreSettings())
        self.now = 1000.0
        self.sent: list[tuple[str, object]] = []
        self.ended: dict[str, EndReason] = {}
        self.fences: dict[str, list[int]] = {}
        self.refuse_pools: list[str] = []
        """The store refuses the next claim of each of these, as if another broker had been quicker."""
        self.granted: list[tuple[str, str, int]] = []
        """Claims by pool, key and fence, and those that were given back."""
        self.released: list[tuple[str, str, int]] = []
        self._fence = 0
        self._joins = 0
        self._reports = 0

    @property
    def state(self):
        return self.brain.state

    # --- Effects ---

    def carry_out(self, effects: list[Effect]) -> list[Effect]:
        done: list[Effect] = []
        pending = list(effects)
        while pending:
            effect = pending.pop(0)
            done.append(effect)
            if isinstance(effect, Claim):
                pending = self._claim(effect) + pending
            elif isinstance(effect, Release):
                self.released.append((effect.pool, effect.key, effect.fence))
            elif isinstance(effect, Send):
                self.sent.append((str(effect.agent), effect.message))
            elif isinstance(effect, SessionEnded):
                assert effect.session not in self.ended, "a session ends once"
                self.ended[effect.session] = effect.reason
        validate_state(self.state)
        return done

    def _claim(self, effect: Claim) -> list[Effect]:
        if effect.pool in self.refuse_pools:
            self.refuse_pools.remove(effect.pool)
            return self.brain.claim_refused(effect.pool, effect.key, self.now)
        self._fence = max(self._fence, effect.fence_floor) + 1
        self.fences.setdefault(effect.key, []).append(self._fence)
        self.granted.append((effect.pool, effect.key, self._fence))
        return self.brain.claim_granted(effect.pool, effect.key, self._fence)

    def to(self, agent: str, kind: type) -> list:
        return [message for name, message in self.sent if name == agent and isinstance(message, kind)]

    # --- The fleet ---

    def node(self, name: str, units: float = 4.0, scenes: Sequence[str] = ("campus",), views=(), region="r1", **more):
        capability = NodeCapability(
            renderer="cpu", device="test", units=units, codecs=more.get("codecs", list(Codec)), scenes=list(scenes)
        )
        message = RegisterNode(node=name, region=region, version="1", capability=capability, views=list(views))
        return self.carry_out(self.brain.register(message, self.now))

    def edge(
        self,
        name: str,
        max_viewers: int = 100,
        sessions: Sequence[str] = (),
        region: str = "r1",
        relays: Sequence[str] = (),
        *,
        publishers: bool = True,
    ):
        message = RegisterEdge(
            edge=name,
            region=region,
            version="1",
            capability=EdgeCapability(engine="test", max_viewers=max_viewers, takes_publishers=publishers),
            public_url=f"https://{name}.example",
            trunk_url=f"wss://{name}.example/trunk",
            sessions=list(sessions),
            relays=list(relays),
        )
        return self.carry_out(self.brain.register(message, self.now))

    def say(self, agent: AgentKey, message: object):
        return self.carry_out(self.brain.agent_message(agent, message, self.now))

    def report(self, session: SessionRecord, seconds: int = 1, **figures) -> None:
        """The session's edge measures this of it, once a second."""
        for _ in range(seconds):
            self.now += 1.0
            self._reports += 1
            report = ViewerReport(session=session.session, **figures)
            self.say(edge_key(str(session.edge)), batch_of([report], self._reports, self.now))

    def holdings(self, node: str) -> list[ViewHolding]:
        return [ViewHolding(view=v.view, fence=v.fence) for v in self.state.views.values() if v.node == node]

    def start_view(self, view: ViewRecord) -> None:
        self.say(node_key(str(view.node)), ViewStarted(view=view.view, fence=view.fence))

    def drop(self, agent: AgentKey) -> None:
        self.carry_out(self.brain.disconnected(agent, self.now))

    # --- Rooms and people ---

    def room(self, name: str = "demo", mode: Mode = Mode.EXPLORE, **more) -> RoomRecord:
        fields = {
            "scene": "campus",
            "max_participants": 50,
            "empty_timeout_s": 300.0,
            "open": False,
            "metadata": {},
            "created_at": "2030-01-01T00:00:00Z",
        }
        self.carry_out(self.brain.create_room(RoomRecord(room=name, mode=mode, **(fields | more)), self.now))
        return self.state.rooms[name]

    def join(
        self,
        room: str = "demo",
        probes: Sequence[Probe] = (),
        codecs: Sequence[VideoCapability] = (),
        viewport: Viewport = Viewport(),  # noqa: B008
        role: Role = Role.VISITOR,
        *,
        publishes: bool = False,
        ticket: str | None = None,
        network: str = "",
        token_id: str | None = None,
    ) -> SessionRecord:
        self._joins += 1
        request = Join(
            room=room,
            session=f"s{self._joins}",
            participant=f"p{self._joins}",
            view=f"v{self._joins}",
            identity=f"i{self._joins}",
            display_name=f"Name {self._joins}",
            role=role,
            joined_at="2030-01-01T00:00:00Z",
            probes=probes,
            network=network,
            codecs=codecs,
            viewport=viewport,
            token_id=token_id or f"t{self._joins}",
            publishes=publishes,
            ticket=ticket,
        )
        effects = self.carry_out(self.brain.join(request, self.now))
        for effect in effects:
            if isinstance(effect, JoinRefused):
                raise effect.refusal
        assert JoinPlaced(request.session) in effects
        return self.state.sessions[request.session]

    def _ticket(self, room: str, role: Role, token_id: str | None) -> TicketRecord:
        self._joins += 1
        return TicketRecord(
            ticket=f"w{self._joins}", room=room, identity=f"i{self._joins}", display_name=f"Name {self._joins}",
            role=role, asked_at=f"2030-01-01T00:00:{self._joins:06}Z", token_id=token_id or f"t{self._joins}",
        )  # fmt: skip

    def knock(self, room: str = "demo", role: Role = Role.VISITOR, token_id: str | None = None) -> TicketRecord:
        """Ask to be let in; the ticket that stands for it."""
        ticket = self._ticket(room, role, token_id)
        self.carry_out(self.brain.knock(ticket, self.now))
        return waiting.by_token(self.state, self.state.rooms[room], ticket.token_id) or ticket

    def join_or_wait(self, room: str = "demo", probes: Sequence[Probe] = (), **more) -> SessionRecord | TicketRecord:
        """Join, or where there is no place wait for one, as the API does for those who wish it."""
        try:
            return self.join(room, probes=probes, **more)
        except Refusal as refusal:
            if refusal.kind not in queues.CURABLE:
                raise
            ticket = self._ticket(room, more.get("role", Role.VISITOR), more.get("token_id"))
            ticket.wish = Wish(probes=list(probes))
            self.carry_out(self.brain.queue_up(ticket, refusal.kind, self.now))
            return ticket

    def decide(self, room: str, tickets: Sequence[str] | None, *, admitted: bool) -> list[str]:
        """Admit or refuse; the tickets that changed."""
        effects = self.carry_out(self.brain.decide(room, tickets, self.now, admitted=admitted))
        return [effect.ticket for effect in effects if isinstance(effect, TicketChanged)]

    def join_live(self, room: str = "demo", **more) -> SessionRecord:
        session = self.join(room, **more)
        self.say(edge_key(str(session.edge)), ViewerConnected(session=session.session))
        self.start_view(self.view(session))
        return session

    def view(self, session: SessionRecord) -> ViewRecord:
        return self.state.views[session.view]

    def refusal(self, room: str = "demo", **more) -> Refusal:
        try:
            self.join(room, **more)
        except Refusal as refusal:
            validate_state(self.state)
            return refusal
        raise AssertionError("the join was not refused")

    # --- Time ---

    def wait(self, seconds: float, silent: Sequence[AgentKey] = ()) -> None:
        """Let time pass in ticks of 0.1 s; everybody connected beats, but for those who are `silent`."""
        for _ in range(round(seconds / 0.1)):
            self.now += 0.1
            self._beat(silent)
            self.carry_out(self.brain.tick(self.now))

    def _beat(self, silent: Sequence[AgentKey]) -> None:
        for node in [n for n in self.state.nodes.values() if n.connected and n.key not in silent]:
            self.say(node.key, NodeHeartbeat(load=NodeLoad()))
        for edge in [e for e in self.state.edges.values() if e.connected and e.key not in silent]:
            self.say(edge.key, EdgeHeartbeat(load=EdgeLoad()))
