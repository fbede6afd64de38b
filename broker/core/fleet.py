"""The fleet: nodes and edges come, beat, drain and die.

An agent whose socket breaks has a short grace to come back; what it then still holds under current fences it
keeps. One that stays away, or whose heartbeats stop, is dead, and sooner if another process agrees (`suspicion`): its
views are placed again, its viewers may resume.
"""

from broker.core import rooms, sessions, suspicion, views, waiting
from broker.core.effects import AgentDrained, AgentKey, AgentLost, Disconnect, Send
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import (
    AgentRecord,
    EdgeRecord,
    NodeRecord,
    RoomRecord,
    State,
    edge_pool,
    node_pool,
)
from broker.protocol import (
    AgentState,
    Drain,
    DrainRequested,
    DropSession,
    DropView,
    DropWorld,
    EdgeHeartbeat,
    EndReason,
    NodeHeartbeat,
    ParticipantChanged,
    PeerSighted,
    PutRelay,
    RegisterEdge,
    RegisterNode,
    SourceLost,
    ViewerConnected,
    ViewerGone,
    ViewFailed,
    ViewHolding,
    ViewStarted,
)
from broker.protocol.report_batch import ReportBatch

SELF_INFLICTED = frozenset({EndReason.LEFT})
"""Reasons of `ViewerGone` that end a session at once; all others let the viewer resume."""
LONG_STALL_S = 3.0
"""Shorter than agents wait for a broker's sign of life."""


# --- Registration ---------------------------------------------------------------------------------------


def register_node(state: State, message: RegisterNode, now: float) -> None:
    """A node came, or came back; `message.views` says what it still draws."""
    known = state.nodes.get(message.node)
    node = NodeRecord(
        node=message.node,
        region=message.region,
        version=message.version,
        capability=message.capability,
        connected=True,
        last_seen=now,
    )
    _keep_drain(state, known, node, now)
    state.nodes[node.node] = node
    state.refresh(node)
    _reconcile_node(state, node, {holding.view: holding for holding in message.views}, now)
    views.place_homeless(state)


def _reconcile_node(state: State, node: NodeRecord, holdings: dict[str, ViewHolding], now: float) -> None:
    """Bring the node's views and ours together."""
    for name, holding in sorted(holdings.items()):
        view = state.views.get(name)
        if view is None or (view.node, view.fence) != (node.node, holding.fence):
            state.emit(Send(node.key, DropView(view=name, fence=holding.fence)))
    for room in [room for room in state.rooms.values() if room.node == node.node]:
        ours = [view for view in views.room_views(state, room) if view.node == node.node]
        missing = [view for view in ours if view.view not in holdings or holdings[view.view].fence != view.fence]
        if ours and not missing:
            views.put_world(state, room)
        for view in ours:
            if view not in missing:
                views.put_view(state, view)
        if missing:
            _abandon_node(state, room, node, now)


def register_edge(state: State, message: RegisterEdge, now: float) -> None:
    """An edge came, or came back; `message.sessions` have a connected viewer."""
    known = state.edges.get(message.edge)
    edge = EdgeRecord(
        edge=message.edge,
        region=message.region,
        version=message.version,
        capability=message.capability,
        public_url=message.public_url,
        trunk_url=message.trunk_url,
        connected=True,
        last_seen=now,
    )
    _keep_drain(state, known, edge, now)
    state.edges[edge.edge] = edge
    state.telemetry.connected(edge.edge)
    state.refresh(edge)
    _reconcile_edge(state, edge, set(message.sessions), now)
    _reconcile_relays(state, edge, set(message.relays))


def _reconcile_edge(state: State, edge: EdgeRecord, present: set[str], now: float) -> None:
    ours = {s.session: s for s in state.sessions.values() if s.edge == edge.edge}
    for name in sorted(present - ours.keys()):
        state.emit(Send(edge.key, DropSession(session=name, reason=EndReason.SHUTDOWN)))
    for name, session in sorted(ours.items()):
        views.put_session(state, session)
        if name in present:
            sessions.connected(state, session)
        elif session.connected:
            sessions.connection_lost(state, session, EndReason.CONNECTION_LOST, now)


def _reconcile_relays(state: State, edge: EdgeRecord, relays: set[str]) -> None:
    """Everybody whose tree has this edge is told again whom to feed; what else it passes on it shall not."""
    names = {view.view for view in views.views_over(state, edge.edge)}
    names |= {session.view for session in state.sessions.values() if session.edge == edge.edge}
    ours = {name: state.views[name] for name in sorted(names)}
    for stream in sorted(relays - ours.keys()):
        known = state.views.get(stream)
        fence = known.highest_fence if known is not None else 0
        state.emit(Send(edge.key, PutRelay(stream=stream, fence=fence)))
    for name, view in ours.items():
        if name in relays:
            view.told.setdefault(edge.edge, set())
        views.put_feeds(state, view)


def _keep_drain(state: State, known: AgentRecord | None, agent: AgentRecord, now: float) -> None:
    if known is not None and known.drain_deadline is not None and not known.departing:
        agent.state = AgentState.DRAINING
        agent.drain_deadline = known.drain_deadline
        state.emit(Send(agent.key, Drain(deadline_s=max(0.0, known.drain_deadline - now))))


# --- Messages -------------------------------------------------------------------------------------------


def node_message(state: State, node: NodeRecord, message: object, now: float) -> None:
    """What a registered node says; raises `Refusal` for what is not a node's to say."""
    node.last_seen = now
    match message:
        case NodeHeartbeat():
            node.load = message.load
        case ViewStarted():
            _view_started(state, node, message)
        case ViewFailed():
            _view_failed(state, node, message, now)
        case ParticipantChanged():
            _participant_changed(state, node, message)
        case PeerSighted():
            _peer_sighted(state, node, message, now)
        case DrainRequested():
            _drain_requested(state, node, message, now)
        case _:
            raise Refusal(RefusalKind.AGENT_UNKNOWN, f"a node does not send {type(message).__name__}")


def _view_started(state: State, node: NodeRecord, message: ViewStarted) -> None:
    view = state.views.get(message.view)
    if view is not None and view.node == node.node and view.fence == message.fence:
        sessions.view_started(state, view)


def _view_failed(state: State, node: NodeRecord, message: ViewFailed, now: float) -> None:
    view = state.views.get(message.view)
    if view is not None and view.node == node.node and view.fence == message.fence:
        sessions.view_failed(state, view, node, now)


def _participant_changed(state: State, node: NodeRecord, message: ParticipantChanged) -> None:
    room = state.rooms.get(message.room)
    if room is None or room.node != node.node:
        return
    for session in views.room_sessions(state, room):
        if session.participant == message.participant:
            session.hand_raised = message.hand_raised
            state.persist(session)


def edge_message(state: State, edge: EdgeRecord, message: object, now: float) -> None:
    """What a registered edge says; raises `Refusal` for what is not an edge's to say."""
    edge.last_seen = now
    match message:
        case EdgeHeartbeat():
            edge.load = message.load
            state.refresh(edge)
        case ViewerConnected():
            session = state.sessions.get(message.session)
            if session is not None and session.edge == edge.edge:
                sessions.connected(state, session)
                rooms.warn_newcomer(state, session, now)
                waiting.host_came(state, session)
        case ViewerGone():
            _viewer_gone(state, edge, message, now)
        case ReportBatch():
            state.telemetry.take(edge.edge, message, now)
        case SourceLost():
            view = state.views.get(message.stream)
            if view is not None:
                views.source_lost(state, view, edge.edge, now)
        case PeerSighted():
            _peer_sighted(state, edge, message, now)
        case DrainRequested():
            _drain_requested(state, edge, message, now)
        case _:
            raise Refusal(RefusalKind.AGENT_UNKNOWN, f"an edge does not send {type(message).__name__}")


def _viewer_gone(state: State, edge: EdgeRecord, message: ViewerGone, now: float) -> None:
    session = state.sessions.get(message.session)
    if session is None or session.edge != edge.edge:
        return
    if message.reason in SELF_INFLICTED:
        sessions.end(state, session, message.reason)
    else:
        sessions.connection_lost(state, session, EndReason.CONNECTION_LOST, now)


# --- Death ----------------------------------------------------------------------------------------------


def disconnected(state: State, key: AgentKey, now: float) -> None:
    """The agent's socket broke; it has a grace to come back."""
    agent = state.agent(key)
    if agent.state is AgentState.LOST:
        return
    agent.connected = False
    agent.lost_at = max(now + state.settings.reconnect_grace_s, state.lenient_until)
    state.refresh(agent)
    if isinstance(agent, EdgeRecord):
        views.edge_silenced(state, agent, now)
    _bury_if_dead(state, agent, state.settings.patience, now)


def _peer_sighted(state: State, observer: AgentRecord, message: PeerSighted, now: float) -> None:
    """Somebody says how another agent stands. What is said of strangers, or by one of itself, does not count."""
    agents: dict[str, NodeRecord] | dict[str, EdgeRecord] = state.edges if message.is_edge else state.nodes
    agent = agents.get(message.peer)
    if agent is None or agent is observer or agent.state is AgentState.LOST:
        return
    suspicion.note(agent.words, str(observer.key), message.sight, now)
    _bury_if_dead(state, agent, state.settings.patience, now)


def excuse_stall(state: State, now: float) -> None:
    """If the broker itself stood still, nobody could be heard: that time does not count as silence.

    After a long one agents may have given this broker up, and need as long to come back as after a restart.
    """
    last, state.last_tick = state.last_tick, now
    if last is None or (stall_s := now - last - state.settings.heartbeat_interval_s) <= 0:
        return
    if stall_s >= LONG_STALL_S:
        state.lenient_until = now + state.settings.restore_grace_s
    for agent in state.agents():
        agent.last_seen = min(now, agent.last_seen + stall_s)
        if agent.lost_at is not None and agent.state is not AgentState.LOST:
            agent.lost_at += stall_s


def find_lost(state: State, now: float) -> None:
    """Take for dead who stayed away or fell silent, and forget who has been dead for long."""
    patience = state.settings.patience
    for agent in _not_heard_since(state, now - patience.silence_s):
        if agent.state is AgentState.LOST:
            _forget(state, agent, now)
        else:
            _bury_if_dead(state, agent, patience, now)


def _not_heard_since(state: State, since: float) -> list[AgentRecord]:
    """Those of whom anything but trust can be the case (`suspicion.judge`): few, and this is asked often."""
    return [agent for agent in state.agents() if agent.lost_at is not None or agent.last_seen < since]


def _bury_if_dead(state: State, agent: AgentRecord, patience: suspicion.Patience, now: float) -> None:
    if suspicion.judge(agent.line, agent.words, patience, now) is not suspicion.Verdict.DEAD:
        return
    if agent.connected:
        state.emit(Disconnect(agent.key))
    _lost(state, agent, now)


def _lost(state: State, agent: AgentRecord, now: float) -> None:
    agent.state = AgentState.LOST
    agent.connected = False
    agent.lost_at = now
    state.refresh(agent)
    agent.words = {}
    lost = [view.view for view in state.views.values() if isinstance(agent, NodeRecord) and view.node == agent.node]
    state.emit(AgentLost(agent.key, tuple(lost)))
    match agent:
        case NodeRecord():
            for room in _rooms_on(state, agent):
                _abandon_node(state, room, agent, now)
        case EdgeRecord():
            for session in [s for s in state.sessions.values() if s.edge == agent.edge]:
                sessions.connection_lost(state, session, EndReason.EDGE_LOST, now)
            _replan_over(state, agent)


def _replan_over(state: State, edge: EdgeRecord) -> None:
    """The edge's standing has changed: what hangs below it may have to hang elsewhere."""
    for view in views.views_over(state, edge.edge):
        views.replan(state, view)


def _rooms_on(state: State, node: NodeRecord) -> list[RoomRecord]:
    """The rooms whose world it hosts, or that move away from it."""
    moving = {view.room for view in state.views.values() if any(h.node == node.node for h in view.previous)}
    return [room for room in state.rooms.values() if room.node == node.node or room.room in moving]


def _abandon_node(state: State, room: RoomRecord, node: NodeRecord, now: float) -> None:
    """Place again what a room had on a node that lost it."""
    for view in views.room_views(state, room):
        views.lose_previous(state, view, [h for h in view.previous if h.node == node.node])
        if view.node == node.node:
            views.lose(state, view, now)
    if room.node == node.node:
        state.emit(Send(node.key, DropWorld(room=room.room)))
        room.node, room.world_node = None, None
        state.persist(room)
    views.place_room(state, room)


def _forget(state: State, agent: AgentRecord, now: float) -> None:
    if agent.lost_at is None or now - agent.lost_at < state.settings.forget_agent_s:
        return
    match agent:
        case NodeRecord():
            del state.nodes[agent.node]
        case EdgeRecord():
            if not state.ledger.claimed(edge_pool(agent.edge)):
                del state.edges[agent.edge]
                _replan_over(state, agent)


# --- Drain ----------------------------------------------------------------------------------------------


def drain(state: State, key: AgentKey, deadline_s: float, now: float) -> None:
    """Give the agent no new work and move what it has; what is left at the deadline is ended."""
    _begin_drain(state, state.agent(key), deadline_s, now)
    advance_drains(state, now)


def drain_region(state: State, region: str, deadline_s: float, now: float) -> None:
    """The same for all nodes and edges of a region at once, so that nothing moves from one to another of them."""
    for agent in agents_of(state, region):
        _begin_drain(state, agent, deadline_s, now)
    advance_drains(state, now)


def agents_of(state: State, region: str) -> list[AgentRecord]:
    """Nodes and edges of a region. Raises `Refusal` where there are none."""
    found = [agent for agent in state.agents() if agent.region == region]
    if not found:
        raise Refusal(RefusalKind.REGION_UNKNOWN, f"no node and no edge has registered from region {region!r}")
    return found


def _begin_drain(state: State, agent: AgentRecord, deadline_s: float, now: float) -> None:
    agent.drain_deadline = now + deadline_s
    agent.departing = False
    if agent.state is not AgentState.LOST:
        agent.state = AgentState.DRAINING
    state.refresh(agent)
    state.emit(Send(agent.key, Drain(deadline_s=deadline_s)))
    if isinstance(agent, EdgeRecord):
        _replan_over(state, agent)


def cancel_drain(state: State, key: AgentKey) -> None:
    """Let the agent take work again."""
    agent = state.agent(key)
    if agent.drain_deadline is None:
        return
    agent.drain_deadline = None
    agent.departing = False
    if agent.state is not AgentState.LOST:
        agent.state = AgentState.READY
    state.refresh(agent)
    state.emit(Send(key, Drain(deadline_s=0.0, cancelled=True)))


def _drain_requested(state: State, agent: AgentRecord, message: DrainRequested, now: float) -> None:
    """The process is about to stop. An operator's drain goes on whatever the process asks for."""
    if agent.drain_deadline is not None and not agent.departing:
        state.emit(Send(agent.key, Drain(deadline_s=max(0.0, agent.drain_deadline - now))))
    elif message.cancelled:
        cancel_drain(state, agent.key)
    else:
        drain(state, agent.key, message.deadline_s if _has_peers(state, agent) else 0.0, now)
        agent.departing = True


def _has_peers(state: State, agent: AgentRecord) -> bool:
    """Whether another agent of its kind takes work; if not, waiting would only put the end off."""
    return any(
        other.key.kind is agent.key.kind and other is not agent and other.connected and other.state is AgentState.READY
        for other in state.agents()
    )


def advance_drains(state: State, now: float) -> None:
    """Move rooms off draining nodes as others get free; end the rest when time is up."""
    for node in [n for n in state.nodes.values() if n.state is AgentState.DRAINING]:
        _drain_node(state, node, now)
    for edge in [e for e in state.edges.values() if e.state is AgentState.DRAINING]:
        _drain_edge(state, edge, now)


def _drain_node(state: State, node: NodeRecord, now: float) -> None:
    is_over = node.drain_deadline is not None and now >= node.drain_deadline
    for room in _rooms_on(state, node):
        moved = room.node == node.node and views.move_room(state, room)
        if is_over and not moved:
            _clear_node(state, room, node)
    if not state.ledger.claimed(node_pool(node.node)):
        node.state = AgentState.DRAINED
        state.emit(AgentDrained(node.key))


def _clear_node(state: State, room: RoomRecord, node: NodeRecord) -> None:
    """The deadline has passed: the node draws nothing for this room from now on."""
    for view in views.room_views(state, room):
        if any(holding.node == node.node for holding in view.previous):
            views.drop_previous(state, view)
        if view.node == node.node:
            sessions.end_view(state, view, EndReason.DRAINED)


def _drain_edge(state: State, edge: EdgeRecord, now: float) -> None:
    """End at the deadline who is still there; but who sits on an edge that departs may resume on another one."""
    may_resume = edge.departing and _has_peers(state, edge)
    if not may_resume and edge.drain_deadline is not None and now >= edge.drain_deadline:
        for session in [s for s in state.sessions.values() if s.edge == edge.edge]:
            sessions.end(state, session, EndReason.DRAINED)
    if not state.ledger.claimed(edge_pool(edge.edge)):
        edge.state = AgentState.DRAINED
        state.emit(AgentDrained(edge.key))


def claim_lost(state: State, pool: str, key: str, now: float) -> None:
    """The store says a claim expired and somebody else has the place: give the work up and place it again."""
    view, session = state.views.get(key), state.sessions.get(key)
    if view is not None and view.node is not None and node_pool(view.node) == pool:
        room = state.rooms[view.room]
        views.lose(state, view, now)
        if all(other.node is None for other in views.room_views(state, room)):
            room.node, room.world_node = None, None
        views.place_room(state, room)
    elif session is not None and session.edge is not None and edge_pool(session.edge) == pool:
        sessions.end(state, session, EndReason.EDGE_LOST)
    elif view is not None:
        views.lose_previous(state, view, [h for h in view.previous if node_pool(h.node) == pool])
