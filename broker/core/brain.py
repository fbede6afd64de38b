"""The brain: every event of the broker goes in here, with `now`; effects come out.

It does no I/O and reads no clock. One event at a time: the shell serialises calls and carries out all effects,
answering each `Claim`, before the next event. A method that raises `Refusal` has changed nothing.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from broker.core import (
    fleet,
    joining,
    lines,
    metering,
    moderation,
    moving,
    publishing,
    queues,
    revision,
    revocation,
    rooms,
    sessions,
    starts,
    views,
    waiting,
)
from broker.core.effects import AgentKey, Effect, Release
from broker.core.joining import Join
from broker.core.moves import MoveRecord
from broker.core.policies import BestValue, PlacementPolicy
from broker.core.refusals import Refusal, RefusalKind
from broker.core.reoptimisation import Move, Problem
from broker.core.scaling import UNMET_FOR_S
from broker.core.schedule import Schedule
from broker.core.state import (
    AgentRecord,
    CoreSettings,
    EdgeRecord,
    Holding,
    NodeRecord,
    RoomRecord,
    SessionRecord,
    State,
    UsageRecord,
    ViewRecord,
    edge_pool,
    node_pool,
)
from broker.core.tickets import TicketRecord
from broker.protocol import (
    AgentState,
    EndReason,
    MuteAll,
    NodeCapability,
    ParticipantPatch,
    Probe,
    RegisterEdge,
    RegisterNode,
    Role,
    RoomData,
    RoomPatch,
    SessionState,
    TicketState,
    Viewport,
)


class Brain:
    """The broker's decisions. `state` may be read freely and is changed only through these methods."""

    def __init__(self, settings: CoreSettings, policy: PlacementPolicy | None = None) -> None:
        self.state = State(settings=settings, policy=policy or BestValue(settings.values))

    def _effects(self) -> list[Effect]:
        effects, self.state.effects = self.state.effects, []
        return effects

    def create_room(self, room: RoomRecord, now: float) -> list[Effect]:
        """Add a room. Raises `Refusal`."""
        rooms.create(self.state, room, now)
        return self._effects()

    def patch_room(self, room: str, changes: RoomPatch, now: float, schedule: Schedule | None = None) -> list[Effect]:
        """Change a room; `schedule` is the new one, if it changes. Raises `Refusal`."""
        rooms.patch(self.state, room, changes, schedule, now)
        return self._effects()

    def reschedule(self, schedules: Mapping[str, Schedule]) -> list[Effect]:
        """The clock on the wall was set: these are the same times in seconds of `now`."""
        for name, schedule in schedules.items():
            self.state.room(name).schedule = schedule
        return self._effects()

    def close_room(self, room: str) -> list[Effect]:
        """Close a room with all who are in it. Raises `Refusal`."""
        rooms.close(self.state, room)
        return self._effects()

    def join(self, request: Join, now: float) -> list[Effect]:
        """Begin a session: after the claims, `JoinPlaced` or `JoinRefused` tells how it went. Raises `Refusal`."""
        try:
            joining.join(self.state, request, now)
        except Refusal as refusal:
            if refusal.kind is RefusalKind.FARM_FULL:
                self.state.demand.refused(now)
            raise
        return self._effects()

    def knock(self, ticket: TicketRecord, now: float) -> list[Effect]:
        """Somebody asks to be let in. Raises `Refusal`."""
        waiting.knock(self.state, ticket, now)
        return self._effects()

    def queue_up(self, ticket: TicketRecord, refused: RefusalKind, now: float) -> list[Effect]:
        """Somebody whose join was refused so waits for a place. Raises `Refusal`."""
        queues.enter(self.state, ticket, refused, now)
        return self._effects()

    def wait_again(self, room: str, ticket: str, refused: RefusalKind, now: float) -> list[Effect]:
        """The place of an admitted ticket is gone. Raises `Refusal`."""
        queues.wait_again(self.state, waiting.ticket_of(self.state, room, ticket), refused, now)
        return self._effects()

    def poll_ticket(self, room: str, ticket: str, now: float) -> list[Effect]:
        """Somebody who waits is still there. Raises `Refusal`."""
        waiting.poll(self.state, waiting.ticket_of(self.state, room, ticket), now)
        return self._effects()

    def leave_queue(self, room: str, ticket: str) -> list[Effect]:
        """Somebody waits no longer. Raises `Refusal`."""
        waiting.end(self.state, waiting.ticket_of(self.state, room, ticket), TicketState.LEFT)
        return self._effects()

    def decide(self, room: str, tickets: Sequence[str] | None, now: float, *, admitted: bool) -> list[Effect]:
        """Let these in, or send them away; `None` is everybody who waits. Raises `Refusal`."""
        waiting.decide(self.state, self.state.room(room), tickets, now, admitted=admitted)
        return self._effects()

    def mute_all(self, room: str, body: MuteAll) -> tuple[list[Effect], int]:
        """Mute (or unmute) everybody but some; the effects, and how many it changed. Raises `Refusal`."""
        count = moderation.mute_all(self.state, self.state.room(room), body)
        return self._effects(), count

    def send_data(
        self, room: str, data: RoomData, to: Sequence[str] | None, roles: Sequence[Role] | None
    ) -> tuple[list[Effect], int]:
        """Hand data to clients of a room; the effects, and to how many it goes. Raises `Refusal`."""
        count = moderation.send_data(self.state, self.state.room(room), data, to, roles)
        return self._effects(), count

    def move(self, session: str, to: str, token: str, token_id: str, now: float) -> list[Effect]:
        """Send a participant to another room, where they join with `token`. Raises `Refusal`."""
        moving.begin(self.state, self.state.session(session), to, token, token_id, now)
        return self._effects()

    def resume(self, session: str, probes: Sequence[Probe], now: float) -> list[Effect]:
        """Let a viewer connect again to a session. Answers and raises as `join`."""
        sessions.resume(self.state, session, probes, now)
        return self._effects()

    def reshape(self, session: str, viewport: Viewport) -> list[Effect]:
        """The participant's picture area has another shape. Raises `Refusal`."""
        sessions.reshape(self.state, self.state.session(session), viewport)
        return self._effects()

    def end_session(self, session: str, reason: EndReason) -> list[Effect]:
        """End a session. Raises `Refusal`."""
        sessions.end(self.state, self.state.session(session), reason)
        return self._effects()

    def patch_participant(self, room: str, participant: str, changes: ParticipantPatch) -> list[Effect]:
        """Change a participant. Raises `Refusal`."""
        rooms.patch_participant(self.state, room, participant, changes)
        return self._effects()

    def revoke(self, token_id: str) -> list[Effect]:
        """A join or publish token is withdrawn: whoever came with it goes."""
        revocation.revoke(self.state, token_id)
        return self._effects()

    def participant(self, room: str, participant: str) -> SessionRecord:
        """A participant's session. Raises `Refusal`."""
        return rooms.participant(self.state, room, participant)

    def register(self, message: RegisterNode | RegisterEdge, now: float) -> list[Effect]:
        """An agent came, or came back."""
        match message:
            case RegisterNode():
                fleet.register_node(self.state, message, now)
            case RegisterEdge():
                fleet.register_edge(self.state, message, now)
        return self._effects()

    def agent_message(self, key: AgentKey, message: object, now: float) -> list[Effect]:
        """A registered agent says something. Raises `Refusal` when that is not its to say."""
        match self.state.agent(key):
            case NodeRecord() as node:
                fleet.node_message(self.state, node, message, now)
            case EdgeRecord() as edge:
                fleet.edge_message(self.state, edge, message, now)
        return self._effects()

    def disconnected(self, key: AgentKey, now: float) -> list[Effect]:
        """An agent's socket broke. Raises `Refusal` if the agent is unknown."""
        fleet.disconnected(self.state, key, now)
        return self._effects()

    def drain(self, key: AgentKey, deadline_s: float, now: float) -> list[Effect]:
        """Empty an agent. Raises `Refusal`."""
        fleet.drain(self.state, key, deadline_s, now)
        return self._effects()

    def drain_region(self, region: str, deadline_s: float, now: float) -> list[Effect]:
        """Empty all nodes and edges of a region. Raises `Refusal`."""
        fleet.drain_region(self.state, region, deadline_s, now)
        return self._effects()

    def cancel_region_drain(self, region: str) -> list[Effect]:
        """Call the drains of a region's nodes and edges off. Raises `Refusal`."""
        for agent in fleet.agents_of(self.state, region):
            fleet.cancel_drain(self.state, agent.key)
        return self._effects()

    def cancel_drain(self, key: AgentKey) -> list[Effect]:
        """Call a drain off. Raises `Refusal`."""
        fleet.cancel_drain(self.state, key)
        return self._effects()

    def claim_granted(self, pool: str, key: str, fence: int) -> list[Effect]:
        """The store granted a claim. One that was given up in the same step, as its node died too, is given back."""
        if not self.state.ledger.grant(pool, key, fence):
            return [Release(pool, key, fence)]
        view, session = self._holder(pool, key)
        if view is not None:
            sessions.view_granted(self.state, view, fence)
        elif session is not None:
            sessions.edge_granted(self.state, session, fence)
        return self._effects()

    def claim_refused(self, pool: str, key: str, now: float) -> list[Effect]:
        """The store refused a claim: the pool is full."""
        view, session = self._holder(pool, key)
        if view is not None:
            sessions.view_refused(self.state, view, now)
        elif session is not None:
            sessions.edge_refused(self.state, session)
        return self._effects()

    def claim_lost(self, pool: str, key: str, now: float) -> list[Effect]:
        """The store could not renew a claim."""
        fleet.claim_lost(self.state, pool, key, now)
        return self._effects()

    def _holder(self, pool: str, key: str) -> tuple[ViewRecord | None, SessionRecord | None]:
        view, session = self.state.views.get(key), self.state.sessions.get(key)
        is_view = view is not None and view.node is not None and node_pool(view.node) == pool
        is_session = session is not None and session.edge is not None and edge_pool(session.edge) == pool
        return view if is_view else None, session if is_session else None

    def meter(self, now: float, day: str) -> list[Effect]:
        """Count what was used since the last call, on this day in UTC. Call it about once a second."""
        metering.meter(self.state, now, day)
        return self._effects()

    def reoptimisation(self, now: float) -> Problem | None:
        """The whole assignment as a problem to be solved elsewhere; `None` where there is no choice."""
        return revision.problem(self.state, now)

    def move_rooms(self, moves: Sequence[Move], now: float) -> list[Effect]:
        """Make those of these moves that still can be made."""
        revision.move(self.state, moves, now)
        return self._effects()

    def watch(self, now: float) -> list[Effect]:
        """Time has passed: find the dead. Cheap; call it some twenty times a second."""
        fleet.excuse_stall(self.state, now)
        fleet.find_lost(self.state, now)
        return self._effects()

    def tick(self, now: float) -> list[Effect]:
        """Time has passed: find the dead, place the homeless, end what is overdue. Call it a few times a second."""
        state = self.state
        fleet.excuse_stall(state, now)
        fleet.find_lost(state, now)
        fleet.advance_drains(state, now)
        starts.find_late(state, now)
        views.place_homeless(state)
        for view in [v for v in state.views.values() if v.give_up_at is not None and now >= v.give_up_at]:
            if publishing.is_on_air(state, view) or view.previous:
                view.give_up_at = now + state.settings.node_search_s
            elif view.node is None:
                sessions.end_view(state, view, EndReason.NODE_LOST)
        for session in [s for s in state.sessions.values() if s.deadline is not None and now >= s.deadline]:
            if session.session in state.sessions:
                sessions.end(state, session, session.deadline_reason)
        waiting.expire(state, now)
        queues.advance(state, lambda ticket: joining.rehearse(state, ticket, now), now)
        waiting.tell_hosts(state)
        moving.expire(state, now)
        rooms.follow_schedules(state, now)
        rooms.close_empty(state, now)
        if state.demand.is_due(now):
            drawn = sum(view.claimed for view in state.views.values() if view.node is not None)
            watching = sum(session.edge is not None for session in state.sessions.values())
            queued = queues.waiting_for_the_farm(state, now - UNMET_FOR_S)
            state.demand.sample(now, drawn / 1_000.0 + queued, watching + queued)
        return self._effects()

    def restore(
        self,
        restored_rooms: Iterable[RoomRecord],
        restored_views: Iterable[ViewRecord],
        restored_sessions: Iterable[SessionRecord],
        agents: Collection[AgentRecord],
        now: float,
        tickets: Iterable[TicketRecord] = (),
        usage: Iterable[UsageRecord] = (),
        moves: Iterable[MoveRecord] = (),
    ) -> None:
        """Take over what an earlier broker left in the store; agents get a longer grace to come back."""
        state = self.state
        state.rooms = {room.room: room for room in restored_rooms}
        state.usage = {record.name: record for record in usage}
        state.views = {view.view: view for view in restored_views if view.room in state.rooms}
        for session in restored_sessions:
            if session.room in state.rooms and session.view in state.views:
                _restore_session(state, session, now)
        for agent in (*agents, *_unheard_of(state, agents)):
            _restore_agent(state, agent, now)
        _relink(state, now)
        waiting.restore(state, tickets, now)
        moving.restore(state, moves, now)


def _restore_session(state: State, session: SessionRecord, now: float) -> None:
    session.deadline = now + state.settings.resume_grace_s
    session.deadline_reason = EndReason.EDGE_LOST
    session.connected = False
    if session.state is SessionState.LIVE:
        session.state = SessionState.CONNECTING
    state.sessions[session.session] = session
    if session.edge is not None:
        state.ledger.add(edge_pool(session.edge), session.session, 1, session.edge_fence)


def _restore_agent(state: State, agent: AgentRecord, now: float) -> None:
    agent.connected = False
    agent.state = AgentState.READY
    agent.last_seen = now
    agent.lost_at = now + state.settings.restore_grace_s
    agent.words = {}
    if agent.drain_deadline is not None:
        agent.drain_deadline = now + state.settings.restored_drain_s
    match agent:
        case NodeRecord():
            state.nodes[agent.node] = agent
        case EdgeRecord():
            state.edges[agent.edge] = agent


def _unheard_of(state: State, agents: Collection[AgentRecord]) -> list[NodeRecord]:
    """Nodes that draw restored views, though the store knows nothing (any more) of them: they may still come back."""
    known = {agent.node for agent in agents if isinstance(agent, NodeRecord)}
    milliunits: dict[str, int] = defaultdict(int)
    for view in state.views.values():
        for holding in _holdings(view):
            if holding.node not in known:
                milliunits[holding.node] += holding.milliunits
    return [_just_holding(node, claimed) for node, claimed in sorted(milliunits.items())]


def _holdings(view: ViewRecord) -> list[Holding]:
    """What is claimed for a view: on its node, and on those it moves away from."""
    own = [] if view.node is None else [Holding(view.node, view.fence, view.claimed)]
    return [*view.previous, *own]


def _just_holding(node: str, milliunits: int) -> NodeRecord:
    """A node of which no more is known than that it draws so much."""
    units = (milliunits + 0.5) / 1000
    capability = NodeCapability(renderer="", device="", units=units, codecs=[], scenes=[])
    return NodeRecord(node=node, region="", version="", capability=capability)


def _relink(state: State, now: float) -> None:
    """Rebuild the sets that are derived, and search a node for views that have none."""
    watchers: dict[str, set[str]] = defaultdict(set)
    present: dict[str, set[str]] = defaultdict(set)
    for session in state.sessions.values():
        watchers[session.view].add(session.session)
        present[session.room].add(session.session)
    state.views = {name: view for name, view in state.views.items() if name in watchers}
    for view in state.views.values():
        view.sessions = watchers[view.view]
        view.give_up_at = view.start_by = None
        view.missing = {}
        for holding in _holdings(view):
            state.ledger.add(node_pool(holding.node), view.view, holding.milliunits, holding.fence)
        if view.node is None:
            view.fence, view.started = 0, False
            views.search(state, view, now)
    for view in state.views.values():
        views.plan_tree(state, view)
    for session in state.sessions.values():
        lines.expect_reports(state, session)
    for room in state.rooms.values():
        room.sessions = present[room.room]
        room.views = {name for session in room.sessions if (name := state.sessions[session].view) in state.views}
        room.empty_since = None if room.sessions else now
        room.moved_at = None
        if room.node not in state.nodes or not room.views:
            room.node, room.world_node = None, None
