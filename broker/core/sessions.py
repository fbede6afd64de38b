"""Sessions: one participant's life, from the claims of its places to the one reason it ends for.

A newcomer (`joining`) claims a place on an edge, then, unless their view is drawn already, capacity on a node. Only
when both are granted are edge and node told. The store may refuse a claim because another broker was quicker; the
session then tries the next best pair, a bounded number of times.
"""

from collections.abc import Sequence

from broker.core import lines, moving, pairing, views, waiting
from broker.core.effects import Claim, JoinPlaced, JoinRefused, ParticipantJoined, Release, Send, SessionEnded
from broker.core.picture import own_picture, within_bandwidth
from broker.core.placement import RETRY_WHEN_FULL_S, Placement
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import NodeRecord, RoomRecord, SessionRecord, State, ViewRecord, edge_pool
from broker.protocol import DropSession, EndReason, ParticipantData, Probe, SessionState, Viewport

# --- Placing --------------------------------------------------------------------------------------------


def claim_edge(state: State, session: SessionRecord, placement: Placement) -> None:
    """Ask for a place on the edge that was chosen."""
    session.edge = placement.edge
    pool = edge_pool(placement.edge)
    state.ledger.add(pool, session.session, 1)
    state.emit(Claim(pool, session.session, 1, state.edges[placement.edge].capacity))
    lines.expect_reports(state, session)
    session.start_bps = lines.first_bandwidth_bps(state, session)


def edge_granted(state: State, session: SessionRecord, fence: int) -> None:
    """The place on the edge is ours; go on with the view, or be done if it is drawn already."""
    session.edge_fence = fence
    view, room = state.views[session.view], state.rooms[session.room]
    if view.node is not None or session.placed:
        _admit(state, session)
        views.refeed(state, view)
    elif room.node is not None:
        views.claim(state, view, room.node)
    else:
        abandon(state, session, _taken_meanwhile())


def edge_refused(state: State, session: SessionRecord) -> None:
    """Another broker took the place: try another edge, a bounded number of times."""
    refused_edge, session.edge = session.edge, None
    if refused_edge is None:
        return
    state.ledger.remove(edge_pool(refused_edge), session.session)
    state.telemetry.forget(session.session)
    session.tries += 1
    try:
        _retry(state, session, frozenset({refused_edge}))
    except Refusal as refusal:
        abandon(state, session, refusal)


def _retry(state: State, session: SessionRecord, excluded_edges: frozenset[str]) -> None:
    view, room = state.views[session.view], state.rooms[session.room]
    if session.tries > state.settings.max_placement_tries:
        raise _taken_meanwhile()
    placement = pairing.choose(state, room, session, view, excluded_edges)
    if view.node is None and room.node is None:
        room.node = placement.node
    claim_edge(state, session, placement)


def _taken_meanwhile() -> Refusal:
    return Refusal(RefusalKind.FARM_FULL, "capacity was taken by others meanwhile", RETRY_WHEN_FULL_S)


def view_granted(state: State, view: ViewRecord, fence: int) -> None:
    """The node is ours: admit those who waited for it."""
    room = state.rooms[view.room]
    waiting = [s for s in views.view_sessions(state, view) if not s.placed]
    for session in waiting:
        session.placed = True
        views.put_participant(state, room, session)
    views.granted(state, view, fence)
    for session in waiting:
        _admit(state, session)


def view_refused(state: State, view: ViewRecord, now: float) -> None:
    """The node is not ours: newcomers try the next one, watchers wait for the next tick."""
    views.refused(state, view, now)
    for session in [s for s in views.view_sessions(state, view) if not s.placed]:
        _release_edge(state, session)
        session.tries += 1
        try:
            _retry(state, session, frozenset())
        except Refusal as refusal:
            abandon(state, session, refusal)


def _admit(state: State, session: SessionRecord) -> None:
    if not session.placed:
        session.placed = True
        views.put_participant(state, state.rooms[session.room], session)
    views.put_session(state, session)
    waiting.redeemed(state, session)
    moving.arrived(state, session)
    state.persist(session)
    state.emit(JoinPlaced(session.session))


def abandon(state: State, session: SessionRecord, refusal: Refusal) -> None:
    """A session that could not be placed disappears; who asked is told why."""
    if session.placed:
        end(state, session, EndReason.EDGE_LOST)
    else:
        waiting.give_back(state, session)
        _remove(state, session)
    state.emit(JoinRefused(session.session, refusal))


# --- Life -----------------------------------------------------------------------------------------------


def connected(state: State, session: SessionRecord) -> None:
    """The viewer's connection stands."""
    if not session.was_connected:
        state.emit(ParticipantJoined(_who(session)))
        state.persist(session)
    session.connected = session.was_connected = True
    session.deadline = None
    if session.state is SessionState.CONNECTING:
        _change(state, session, SessionState.LIVE)


def connection_lost(state: State, session: SessionRecord, reason: EndReason, now: float) -> None:
    """The viewer vanished; the session waits a while for them to resume."""
    session.connected = False
    if session.was_connected:
        session.deadline = now + state.settings.resume_grace_s
        session.deadline_reason = reason
    if session.state is SessionState.LIVE:
        session.state = SessionState.CONNECTING
    state.persist(session)


def view_started(state: State, view: ViewRecord) -> None:
    """The node's first frame is out: whoever waited for it is live (again)."""
    view.started = True
    view.excluded.clear()
    view.tries = 0
    moved = bool(view.previous)
    views.drop_previous(state, view)
    for session in views.view_sessions(state, view):
        if session.state is SessionState.REPLACING:
            _change(state, session, SessionState.LIVE if session.connected else SessionState.CONNECTING)
        elif moved:
            views.put_session(state, session)
    state.persist(view)


def _change(state: State, session: SessionRecord, to: SessionState) -> None:
    session.state = to
    views.put_session(state, session)
    state.persist(session)


def resume(state: State, name: str, probes: Sequence[Probe], now: float) -> None:
    """Give a viewer who lost the connection a new start, on another edge if theirs is gone or going.

    Raises `Refusal`.
    """
    session = state.session(name)
    edge = state.edges.get(session.edge) if session.edge is not None else None
    is_going = edge is not None and edge.departing and pairing.has_edge_for(state, state.views[session.view])
    is_elsewhere = edge is None or not edge.connected or is_going
    placement = pairing.choose_edge(state, session, probes) if is_elsewhere else None
    if session.was_connected:
        session.deadline = now + state.settings.connect_timeout_s
        session.deadline_reason = EndReason.CONNECTION_LOST
    if placement is None:
        _admit(state, session)
        return
    _release_edge(state, session)
    session.probes = list(probes) or session.probes
    session.tries = 0
    claim_edge(state, session, placement)


def end(state: State, session: SessionRecord, reason: EndReason) -> None:
    """End a session, for good, for one reason."""
    if session.edge is not None:
        state.emit(Send(views.edge_key(session.edge), DropSession(session=session.session, reason=reason)))
    session.state = SessionState.ENDED
    moving.given_up(state, session)
    views.drop_participant(state, state.rooms[session.room], session)
    _remove(state, session)
    state.remember_end(session.session, reason)
    who = _who(session) if session.was_connected else None
    state.emit(SessionEnded(session.session, session.room, reason, who, session.totals.usage()))


def _who(session: SessionRecord) -> ParticipantData:
    return ParticipantData(
        room=session.room,
        participant=session.participant,
        session=session.session,
        identity=session.identity,
        role=session.role,
    )


def _remove(state: State, session: SessionRecord) -> None:
    room, view = state.rooms[session.room], state.views[session.view]
    _release_edge(state, session)
    del state.sessions[session.session]
    room.sessions.discard(session.session)
    view.sessions.discard(session.session)
    if view.sessions:
        views.refeed(state, view)
    else:
        _remove_view(state, room, view)
    state.persist(session)


def _release_edge(state: State, session: SessionRecord) -> None:
    if session.edge is None:
        return
    pool = edge_pool(session.edge)
    entry = state.ledger.remove(pool, session.session)
    if entry is not None and entry.fence:
        state.emit(Release(pool, session.session, entry.fence))
    state.telemetry.forget(session.session)
    session.edge = None


def _remove_view(state: State, room: RoomRecord, view: ViewRecord) -> None:
    views.let_go(state, view)
    views.drop_previous(state, view)
    views.end_relays(state, view)
    del state.views[view.view]
    room.views.discard(view.view)
    state.persist(view)
    if not room.views:
        _vacate(state, room)


def _vacate(state: State, room: RoomRecord) -> None:
    """Nobody is left: free the node, so that the next one to come is placed afresh."""
    node, room.node, room.world_node = room.world_node, None, None
    if node is not None:
        views.leave_world(state, room, node)
    state.persist(room)


def end_view(state: State, view: ViewRecord, reason: EndReason) -> None:
    """End everybody who watches a view that cannot be drawn."""
    for session in list(views.view_sessions(state, view)):
        end(state, session, reason)


def view_failed(state: State, view: ViewRecord, node: NodeRecord, now: float) -> None:
    """The node cannot draw the view: look elsewhere, a bounded number of times.

    A room with other views on the node keeps its world there; the view is then tried there again.
    """
    room = state.rooms[view.room]
    view.tries += 1
    if view.tries > state.settings.max_placement_tries:
        end_view(state, view, EndReason.NODE_LOST)
        return
    views.lose(state, view, now)
    if all(other.node != node.node for other in views.room_views(state, room)):
        view.excluded.add(node.node)
        room.node, room.world_node = None, None
        views.leave_world(state, room, node.node)
    views.place_room(state, room)


def reshape(state: State, session: SessionRecord, viewport: Viewport) -> None:
    """The participant's picture area has another shape: a phone was turned. A stage stays as it is."""
    view = state.views[session.view]
    if view.participant is None:
        return
    wished = own_picture(viewport, state.settings.picture, (view.wished.codec, view.wished.profile))
    views.reshape(state, view, within_bandwidth(wished, lines.bandwidth_bps(session.probes), state.settings.ladder))
