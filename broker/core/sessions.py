"""Sessions: one participant's way from joining to the one reason it ends for.

A join claims a place on an edge, then, unless its view is drawn already, capacity on a node. Only when both are
granted are edge and node told. When no node has room for the wished picture, a smaller one is drawn
(`picture.rungs`), and only who does not even get the smallest is refused. The store may refuse a claim because
another broker was quicker; the session then tries the next best pair, a bounded number of times.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct, structs

from broker.core import lines, moving, publishing, queues, views, waiting
from broker.core.effects import Claim, JoinPlaced, JoinRefused, ParticipantJoined, Release, Send, SessionEnded
from broker.core.limits import require_place
from broker.core.picture import (
    CodecChoice,
    Picture,
    PictureLadder,
    codec_choices,
    own_picture,
    rungs,
    stage_choices,
    stage_picture,
    within_bandwidth,
)
from broker.core.placement import RETRY_WHEN_FULL_S, Placement, PlacementRequest, largest_free, search
from broker.core.pools import Wanted
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import NodeRecord, RoomRecord, SessionRecord, State, ViewRecord, edge_pool
from broker.core.tickets import TicketRecord
from broker.protocol import (
    DropSession,
    EndReason,
    LatencyCap,
    Mode,
    ParticipantData,
    Probe,
    Role,
    SessionState,
    VideoCapability,
    Viewport,
)


class Join(Struct, frozen=True, kw_only=True):
    """A request to join, authenticated already. `session`, `participant`, `view` are fresh random names."""

    room: str
    session: str
    participant: str
    view: str
    identity: str
    display_name: str
    role: Role
    joined_at: str
    token_id: str | None = None
    probes: Sequence[Probe] = ()
    network: str = ""
    """The address prefix the client comes from."""
    codecs: Sequence[VideoCapability] = ()
    viewport: Viewport = Viewport()
    publishes: bool = False
    ticket: str | None = None
    """Of the room's waiting room, admitted."""


class _Plan(NamedTuple):
    """What a join would make."""

    view: ViewRecord
    is_new: bool
    session: SessionRecord
    placement: Placement
    moves_to: str | None
    """The node to which the room moves first, as it has outgrown its own."""


def join(state: State, request: Join, now: float) -> None:
    """Begin a session. Raises `Refusal` when it cannot be; later trouble comes as `JoinRefused`."""
    room = state.room(request.room)
    move = moving.expected(state, room, request.token_id)
    passes = request.publishes or move is not None
    ticket = None if passes else waiting.require_entry(state, room, request.role, request.ticket, now)
    if request.publishes:
        publishing.require_free_stage(state, room)
    plan = _plan(state, room, request, 0.0 if ticket is None else now - ticket.since, now)
    view, session = plan.view, plan.session
    if not passes and (ticket is None or not ticket.queue):
        queues.require_turn(state, room, _need(room, view))
    if move is not None:
        moving.inherit(state, session, move)
    if plan.moves_to is not None:
        views.move_to(state, room, plan.moves_to)
    if ticket is not None:
        ticket.session = session.session
    if plan.is_new:
        state.views[view.view] = view
        room.views.add(view.view)
    state.sessions[session.session] = session
    room.sessions.add(session.session)
    room.empty_since = None
    view.sessions.add(session.session)
    _claim_edge(state, session, plan.placement)
    if view.node is None:
        room.node = plan.placement.node
    state.persist(room)


def _plan(state: State, room: RoomRecord, request: Join, waited_s: float, now: float) -> _Plan:
    """What a join would make of who has waited so long; nothing is changed. Raises `Refusal`."""
    require_place(state, room, request.role, besides=request.token_id)
    view, is_new = _view_for(state, room, request)
    session = _session_for(state, room, request, view, now)
    session.latency_cap_ms = latency_cap_ms(room.latency_caps, waited_s)
    return _Plan(view, is_new, session, *_choose_or_move(state, room, session, view))


def latency_cap_ms(caps: Sequence[LatencyCap], waited_s: float) -> float | None:
    """The cap for who has waited so long; `None` where there is none, 0 before the first one."""
    if not caps:
        return None
    reached = [cap for cap in caps if cap.after_s <= waited_s]
    return max(reached, key=lambda cap: cap.after_s).rtt_ms if reached else 0.0


def rehearse(state: State, ticket: TicketRecord, now: float) -> queues.Need:
    """What a place for a ticket takes, if its join would succeed now; else raises `Refusal`. Nothing is changed."""
    room, wish = state.room(ticket.room), ticket.wish
    request = Join(
        room=ticket.room,
        session=ticket.ticket,
        participant=ticket.ticket,
        view=ticket.ticket,
        identity=ticket.identity,
        display_name=ticket.display_name,
        role=ticket.role,
        joined_at="",
        probes=wish.probes,
        network=wish.network,
        codecs=wish.codecs,
        viewport=wish.viewport,
    )
    return _need(room, _plan(state, room, request, now - ticket.since, now).view)


def _need(room: RoomRecord, view: ViewRecord) -> queues.Need:
    """What is claimed for a view that has been planned, or is drawn already."""
    drawn = view.node is not None
    return queues.Need(None if drawn else Wanted(view.picture.codec, room.scene, view.picture.milliunits))


def _session_for(state: State, room: RoomRecord, request: Join, view: ViewRecord, now: float) -> SessionRecord:
    return SessionRecord(
        session=request.session,
        room=room.room,
        participant=request.participant,
        identity=request.identity,
        display_name=request.display_name,
        role=request.role,
        joined_at=request.joined_at,
        view=view.view,
        token_id=request.token_id,
        seat=_free_seat(state, room) if room.mode is Mode.CONFERENCE else None,
        deadline=now + state.settings.connect_timeout_s,
        probes=list(request.probes),
        network=request.network,
        publishes=request.publishes,
        ticket=request.ticket,
    )


def _free_seat(state: State, room: RoomRecord) -> int:
    taken = {state.sessions[name].seat for name in room.sessions}
    return next(seat for seat in range(len(taken) + 1) if seat not in taken)


def _view_for(state: State, room: RoomRecord, request: Join) -> tuple[ViewRecord, bool]:
    """The view this participant will watch, and whether it is new."""
    if room.mode is not Mode.CONFERENCE:
        choice = _playable(state, codec_choices(request.codecs))
        wished = own_picture(request.viewport, state.settings.picture, choice)
        picture = within_bandwidth(wished, _bandwidth_bps(request.probes), state.settings.ladder)
        return _new_view(request, picture, request.participant), True
    choice = _playable(state, stage_choices(request.codecs))
    for view in views.room_views(state, room):
        if view.picture.codec is choice[0]:
            return view, False
    return _new_view(request, stage_picture(choice, state.settings.picture.stage_layers), None), True


def reshape(state: State, session: SessionRecord, viewport: Viewport) -> None:
    """The participant's picture area has another shape: a phone was turned. A stage stays as it is."""
    view = state.views[session.view]
    if view.participant is None:
        return
    wished = own_picture(viewport, state.settings.picture, (view.wished.codec, view.wished.profile))
    views.reshape(state, view, within_bandwidth(wished, _bandwidth_bps(session.probes), state.settings.ladder))


def _bandwidth_bps(probes: Sequence[Probe]) -> float | None:
    """What the client's line takes: its best measurement, as the edge is not chosen yet."""
    return max((probe.bandwidth_bps for probe in probes if probe.bandwidth_bps is not None), default=None)


def _new_view(request: Join, wished: Picture, participant: str | None) -> ViewRecord:
    return ViewRecord(view=request.view, room=request.room, participant=participant, wished=wished, picture=wished)


def _playable(state: State, choices: list[CodecChoice]) -> CodecChoice:
    """The client's best choice that some ready node encodes; its best one when none does, to be refused later."""
    offered = {codec for pool in state.ready_nodes for codec in pool.kind.codecs}
    return next((choice for choice in choices if choice[0] in offered), choices[0])


# --- Placing --------------------------------------------------------------------------------------------


def _choose_or_move(
    state: State, room: RoomRecord, session: SessionRecord, view: ViewRecord
) -> tuple[Placement, str | None]:
    """A pair for a newcomer, and, if the room has outgrown its node, the one of its region that has room for all."""
    try:
        return _choose(state, room, session, view, frozenset()), None
    except Refusal as refusal:
        is_full = refusal.kind is RefusalKind.FARM_FULL and view.node is None and room.node is not None
        node = views.roomier_node(state, room, view) if is_full else None
        if node is None:
            raise
    view.picture = view.wished
    request = _request(state, room, session, view, frozenset())
    return _search(state, structs.replace(request, room_node=node, milliunits=view.picture.milliunits)), node


def _choose(
    state: State, room: RoomRecord, session: SessionRecord, view: ViewRecord, excluded_edges: frozenset[str]
) -> Placement:
    """A pair for the session. A view nobody draws takes the best picture some node has room for."""
    request = _request(state, room, session, view, excluded_edges)
    if view.node is None:
        view.picture = _largest_that_fits(view.wished, largest_free(request, state.ready_nodes), state.settings.ladder)
        request = structs.replace(request, milliunits=view.picture.milliunits)
    return _search(state, request)


def _request(
    state: State, room: RoomRecord, session: SessionRecord, view: ViewRecord, excluded_edges: frozenset[str]
) -> PlacementRequest:
    return PlacementRequest(
        scene=room.scene,
        codec=view.picture.codec,
        milliunits=0,
        probes=lines.known_lines(state, session),
        region_lines=lines.region_lines(state, session.network),
        room_node=view.node or room.node,
        excluded_nodes=frozenset(view.excluded),
        excluded_edges=excluded_edges,
        among_edges=_edges_for(state, view),
        publishes=session.publishes,
        latency_cap_ms=math.inf if session.latency_cap_ms is None else session.latency_cap_ms,
    )


def _search(state: State, request: PlacementRequest) -> Placement:
    return search(request, state.ready_edges, state.ready_nodes, state.policy, state.site_points)


def _largest_that_fits(wished: Picture, free: int, ladder: PictureLadder) -> Picture:
    """The best rung that `free` milliunits can draw; the lowest one when none can, to be refused."""
    pictures = rungs(wished, ladder)
    return next((picture for picture in pictures if picture.milliunits <= free), pictures[-1])


def _edges_for(state: State, view: ViewRecord) -> frozenset[str] | None:
    """Any ready edge (`None`); those that show the view already once it reaches as many as it can."""
    return frozenset(view.parents) if views.is_spread(state, view) else None


def _has_edge_for(state: State, view: ViewRecord) -> bool:
    among = _edges_for(state, view)
    return any(among is None or edge.edge in among for edge in state.ready_edges)


def _claim_edge(state: State, session: SessionRecord, placement: Placement) -> None:
    session.edge = placement.edge
    pool = edge_pool(placement.edge)
    state.ledger.add(pool, session.session, 1)
    state.emit(Claim(pool, session.session, 1, state.edges[placement.edge].capacity))
    lines.expect_reports(state, session)


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
    placement = _choose(state, room, session, view, excluded_edges)
    if view.node is None and room.node is None:
        room.node = placement.node
    _claim_edge(state, session, placement)


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
    is_going = edge is not None and edge.departing and _has_edge_for(state, state.views[session.view])
    is_elsewhere = edge is None or not edge.connected or is_going
    placement = _choose_edge(state, session, probes) if is_elsewhere else None
    if session.was_connected:
        session.deadline = now + state.settings.connect_timeout_s
        session.deadline_reason = EndReason.CONNECTION_LOST
    if placement is None:
        _admit(state, session)
        return
    _release_edge(state, session)
    session.probes = list(probes) or session.probes
    session.tries = 0
    _claim_edge(state, session, placement)


def _choose_edge(state: State, session: SessionRecord, probes: Sequence[Probe]) -> Placement:
    """The best edge for a view that is drawn already, or that is between two nodes."""
    view, room = state.views[session.view], state.rooms[session.room]
    is_drawn = view.node is not None and view.node in state.ready_nodes
    request = PlacementRequest(
        scene=room.scene,
        codec=view.picture.codec,
        milliunits=0,
        probes=lines.known_lines(state, session, probes),
        region_lines=lines.region_lines(state, session.network),
        room_node=view.node if is_drawn else None,
        among_edges=_edges_for(state, view),
        publishes=session.publishes,
    )
    return _search(state, request)


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
