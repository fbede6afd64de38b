"""Views: who draws them, under which fence, for which edges.

All views of a room are drawn by the node that hosts its world, so they are placed and moved together. An
unplanned move (the node died, or cannot draw) tells the edges at once, so that they refuse whatever the old node
still sends. A planned move (drain) lets the old node draw on until the new one's first frame is out.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import structs

from broker.core import publishing
from broker.core.cascade import Seat, Standing, plan, reach
from broker.core.effects import AgentKey, AgentKind, Claim, Release, Send, ViewMoved
from broker.core.picture import Picture, fit, within_budget
from broker.core.pools import NodeOffer
from broker.core.state import EdgeRecord, Holding, RoomRecord, SessionRecord, State, ViewRecord, edge_pool, node_pool
from broker.protocol import (
    AgentState,
    DropParticipant,
    DropView,
    DropWorld,
    PutParticipant,
    PutRelay,
    PutSession,
    PutView,
    PutWorld,
    SessionState,
    TrunkTarget,
    WorldParticipant,
)


def node_key(node: str) -> AgentKey:
    """The name a node's commands are sent to."""
    return AgentKey(AgentKind.NODE, node)


def edge_key(edge: str) -> AgentKey:
    """The name an edge's commands are sent to."""
    return AgentKey(AgentKind.EDGE, edge)


# --- Commands -------------------------------------------------------------------------------------------


def put_session(state: State, session: SessionRecord) -> None:
    """Tell the session's edge how it stands."""
    if session.edge is None:
        return
    view, room = state.views[session.view], state.rooms[session.room]
    message = PutSession(
        session=session.session,
        participant=session.participant,
        room=session.room,
        mode=room.mode,
        role=session.role,
        muted=session.muted,
        stream=view.view,
        fence=view.shown_fence,
        codec=view.picture.codec,
        profile=view.picture.profile,
        state=session.state,
        publishes=session.publishes,
        token_id=session.token_id,
        bandwidth_bps=session.start_bps,
    )
    state.emit(Send(edge_key(session.edge), message))


def world_participant(session: SessionRecord) -> WorldParticipant:
    """A participant as the node knows them."""
    return WorldParticipant(
        participant=session.participant,
        display_name=session.display_name,
        role=session.role,
        muted=session.muted,
        seat=session.seat,
    )


def put_world(state: State, room: RoomRecord) -> None:
    """Tell the room's node about its world, with everybody who is in it."""
    if room.node is None:
        return
    people = [world_participant(s) for s in room_sessions(state, room) if s.placed]
    message = PutWorld(room=room.room, mode=room.mode, scene=room.scene, participants=people)
    state.emit(Send(node_key(room.node), message))
    room.world_node = room.node


def put_participant(state: State, room: RoomRecord, session: SessionRecord) -> None:
    """Tell the node that somebody came or changed; the first one brings the whole world along."""
    if room.node is None:
        return
    if room.world_node != room.node:
        put_world(state, room)
        return
    message = PutParticipant(room=room.room, participant=world_participant(session))
    state.emit(Send(node_key(room.node), message))


def drop_participant(state: State, room: RoomRecord, session: SessionRecord) -> None:
    """Tell the node that somebody left."""
    if room.world_node is not None:
        message = DropParticipant(room=room.room, participant=session.participant)
        state.emit(Send(node_key(room.world_node), message))


def put_view(state: State, view: ViewRecord) -> None:
    """Tell the view's node what to draw and which edges to feed; the shell adds the trunk tokens."""
    targets = view_targets(state, view)
    if not targets:
        view.told.pop(NODE, None)
    if view.node is None or view.fence == 0 or not targets:
        return
    message = PutView(
        view=view.view,
        stream=view.view,
        fence=view.fence,
        room=view.room,
        participant=view.participant,
        width=view.picture.width,
        height=view.picture.height,
        fps=view.picture.fps,
        codec=view.picture.codec,
        profile=view.picture.profile,
        max_bitrate_bps=view.picture.max_bitrate_bps,
        layers=view.picture.layers,
        targets=targets,
    )
    state.emit(Send(node_key(view.node), message))
    view.told[NODE] = {target.edge for target in targets}


# --- The tree -------------------------------------------------------------------------------------------

NODE = ""
"""Stands for the node among the parents that were told whom to feed."""


def refeed(state: State, view: ViewRecord) -> None:
    """The edges that show the view may have changed."""
    if edges_of(state, view) != view.parents.keys() or view.root != publishing.edge_of(state, view):
        replan(state, view)


def replan(state: State, view: ViewRecord) -> None:
    """Choose the tree anew and tell those whose part in it has changed, first those who feed more than before."""
    plan_tree(state, view)
    wanted = {parent: set(children_of(view, parent or None)) for parent in {NODE, *view.parents, *view.told}}
    changed = [parent for parent in wanted if wanted[parent] != view.told.get(parent, set())]
    for parent in sorted(changed, key=lambda name: (not wanted[name] - view.told.get(name, set()), name)):
        feed(state, view, parent or None)
    state.persist(view)


def feed(state: State, view: ViewRecord, parent: str | None) -> None:
    """Tell an edge, or the node, whom to feed."""
    if parent is None:
        put_view(state, view)
    elif view.fence:
        targets = view_targets(state, view, parent)
        state.emit(Send(edge_key(parent), PutRelay(stream=view.view, fence=view.fence, targets=targets)))
        view.told[parent] = {target.edge for target in targets}
        if not targets:
            del view.told[parent]


def plan_tree(state: State, view: ViewRecord) -> None:
    """Choose by which way the view reaches each of its edges."""
    node = state.nodes.get(view.node) if view.node is not None else None
    view.root = publishing.edge_of(state, view)
    seats = [_seat(state, view, state.edges[name]) for name in sorted(edges_of(state, view))]
    region = node.region if node is not None else None
    planned = plan(seats, region, state.settings.fan_out, previous=view.parents, root=view.root)
    view.missing = {edge: at for edge, at in view.missing.items() if planned.get(edge, "") == view.parents.get(edge)}
    view.parents = planned


def _seat(state: State, view: ViewRecord, edge: EdgeRecord) -> Seat:
    return Seat(
        edge=edge.edge,
        region=edge.region,
        free=edge.capacity - state.ledger.claimed(edge_pool(edge.edge)),
        standing=_standing(view, edge),
    )


def _standing(view: ViewRecord, edge: EdgeRecord) -> Standing:
    """Whether the edge may feed others. Its line may break for a moment, but not those of its children with it."""
    if edge.state is AgentState.LOST:
        return Standing.GONE
    if edge.state is not AgentState.READY:
        return Standing.LEAVES
    if edge.connected:
        return Standing.FEEDS
    is_missed = any(view.parents.get(child) == edge.edge for child in view.missing)
    return Standing.GONE if is_missed else Standing.KEEPS


def edges_of(state: State, view: ViewRecord) -> set[str]:
    """The edges that need the view: those of its viewers and of its publisher."""
    names = {state.sessions[name].edge for name in view.sessions}
    return {name for name in names if name is not None and name in state.edges}


def children_of(view: ViewRecord, parent: str | None) -> list[str]:
    """The edges that this edge, or the node, feeds, in order of name."""
    return sorted(edge for edge, above in view.parents.items() if above == parent)


def view_targets(state: State, view: ViewRecord, parent: str | None = None) -> list[TrunkTarget]:
    """Where an edge, or the node, sends the view; without tokens."""
    names = children_of(view, parent)
    return [TrunkTarget(edge=name, url=state.edges[name].trunk_url, token="") for name in names]


def is_spread(state: State, view: ViewRecord) -> bool:
    """Whether the view reaches as many edges as a tree holds."""
    return len(view.parents) >= reach(state.settings.fan_out, rooted=view.root is not None)


def put_feeds(state: State, view: ViewRecord) -> None:
    """Tell the node and all edges that pass the view on whom to feed, whatever they were told before."""
    plan_tree(state, view)
    for parent in sorted({NODE, *view.told, *(above for above in view.parents.values() if above is not None)}):
        feed(state, view, parent or None)
    state.persist(view)


def end_relays(state: State, view: ViewRecord) -> None:
    """The view is over: nobody passes it on any longer."""
    for parent in sorted(view.told.keys() - {NODE}):
        state.emit(Send(edge_key(parent), PutRelay(stream=view.view, fence=view.highest_fence)))
    view.told, view.parents = {}, {}


def source_lost(state: State, view: ViewRecord, edge: str, now: float) -> None:
    """An edge gets the view no longer. If its parent cannot be heard either, two have seen it: it is gone.

    Otherwise the parent is told once more, in case the two have misunderstood each other.
    """
    if edge not in view.parents:
        return
    view.missing[edge] = now
    above = view.parents[edge]
    parent = state.edges.get(above) if above is not None else state.nodes.get(view.node or NODE)
    if parent is not None and parent.connected:
        feed(state, view, above)
    elif above is not None:
        replan(state, view)


def edge_silenced(state: State, edge: EdgeRecord, now: float) -> None:
    """The edge's line to the broker broke. Those it fed and that have just missed it get another parent at once."""
    oldest = now - state.settings.source_lost_counts_s
    for view in views_over(state, edge.edge):
        view.missing = {child: at for child, at in view.missing.items() if at >= oldest}
        if any(view.parents.get(child) == edge.edge for child in view.missing):
            replan(state, view)


def views_over(state: State, edge: str) -> list[ViewRecord]:
    """The views whose tree this edge is part of, in order of name."""
    return [view for _, view in sorted(state.views.items()) if edge in view.parents]


def reshape(state: State, view: ViewRecord, wished: Picture) -> None:
    """Give a participant's own view another shape, within what is claimed for it, while it is drawn."""
    view.wished = wished
    if view.node is None:
        view.picture = wished
        return
    picture = within_budget(structs.replace(wished, fps=min(wished.fps, view.picture.fps)), view.claimed)
    if picture != view.picture:
        view.picture = picture
        put_view(state, view)
    state.persist(view)


# --- Claims ---------------------------------------------------------------------------------------------


def claim(state: State, view: ViewRecord, node: str) -> None:
    """Ask for the node's capacity for `view.picture`; `granted` or `refused` goes on.

    A node that draws the view still, because it is being moved away, begins anew under the new fence.
    """
    lose_previous(state, view, [holding for holding in view.previous if holding.node == node])
    capacity = state.nodes[node].capacity
    view.node, view.claimed = node, view.picture.milliunits
    state.ledger.add(node_pool(node), view.view, view.claimed)
    state.emit(Claim(node_pool(node), view.view, view.claimed, capacity, view.highest_fence))


def granted(state: State, view: ViewRecord, fence: int) -> None:
    """The node is ours: hand it the world and the view, and tell the edges to expect it."""
    moved = view.highest_fence != 0
    view.fence = view.highest_fence = fence
    view.started = False
    view.give_up_at = view.start_by = None
    if publishing.is_on_air(state, view):
        drop_previous(state, view)
    if not view.previous:
        view.shown_fence = fence
    room = state.rooms[view.room]
    if room.world_node != room.node:
        put_world(state, room)
    put_feeds(state, view)
    state.persist(view)
    if moved and view.node is not None:
        former = view.previous[-1].node if view.previous else view.former
        state.emit(ViewMoved(view.view, view.room, view.node, former, is_planned=bool(view.previous)))
        for session in view_sessions(state, view):
            put_session(state, session)


def refused(state: State, view: ViewRecord, now: float) -> None:
    """Another broker was quicker: look elsewhere on the next tick, for a while."""
    if view.node is not None:
        state.ledger.remove(node_pool(view.node), view.view)
        view.excluded.add(view.node)
    view.node = None
    view.tries += 1
    room = state.rooms[view.room]
    if not any(other.node == room.node for other in room_views(state, room)):
        room.node = None
    search(state, view, now)


def search(state: State, view: ViewRecord, now: float) -> None:
    """Start the clock within which the view must find a node."""
    if view.give_up_at is None:
        view.give_up_at = now + state.settings.node_search_s


def let_go(state: State, view: ViewRecord) -> None:
    """Take the view from the node that has it."""
    if view.node is not None:
        drop_holding(state, view, Holding(view.node, view.fence, view.claimed))
    view.node, view.fence, view.started = None, 0, False


def drop_holding(state: State, view: ViewRecord, holding: Holding) -> None:
    """Stop a node drawing the view and give its capacity back."""
    entry = state.ledger.remove(node_pool(holding.node), view.view)
    if entry is not None and entry.fence:
        state.emit(Release(node_pool(holding.node), view.view, entry.fence))
    if holding.fence:
        state.emit(Send(node_key(holding.node), DropView(view=view.view, fence=holding.fence)))


def drop_previous(state: State, view: ViewRecord) -> None:
    """End a planned move: the old nodes may stop, and edges show nothing older."""
    lose_previous(state, view, view.previous)
    view.shown_fence = max(view.shown_fence, view.fence)


def lose_previous(state: State, view: ViewRecord, holdings: list[Holding]) -> None:
    """These nodes draw the view no longer, whether or not the new one does already."""
    view.previous = [holding for holding in view.previous if holding not in holdings]
    for holding in holdings:
        drop_holding(state, view, holding)
        leave_world(state, state.rooms[view.room], holding.node)


def leave_world(state: State, room: RoomRecord, node: str) -> None:
    """Drop the world from a node that is not the room's (any more) once it draws none of its views."""
    busy = any(h.node == node for v in room_views(state, room) for h in v.previous)
    if node != room.node and not busy:
        state.emit(Send(node_key(node), DropWorld(room=room.room)))


# --- Moves ----------------------------------------------------------------------------------------------


def lose(state: State, view: ViewRecord, now: float) -> None:
    """The view's node is dead or useless: fence it off and tell the edges to wait."""
    view.former = view.node
    let_go(state, view)
    search(state, view, now)
    if not view.previous:
        view.shown_fence = view.highest_fence + 1
    on_air = publishing.is_on_air(state, view)
    for session in view_sessions(state, view):
        if not on_air:
            session.state = SessionState.REPLACING
        put_session(state, session)
        state.persist(session)
    state.persist(view)


def move_room(state: State, room: RoomRecord, region: str | None = None) -> bool:
    """Move a room's views to another node while the old one draws on; false if no node has room for all.

    The new pictures may be smaller than the old ones, or larger where there is more room. With a `region` the node is
    one of that region, and all pictures are as wished: who moves for the better does not get less.
    """
    views = [view for view in room_views(state, room) if view.node == room.node]
    if (home := _home_for(state, room, views, region)) is None:
        return False
    _move_to(state, room, home, views)
    return True


def _move_to(state: State, room: RoomRecord, home: "_Home", views: list[ViewRecord]) -> None:
    room.node, room.world_node = home.node, None
    for view, picture in zip(views, home.pictures, strict=True):
        if view.node is not None and view.fence:
            view.previous.append(Holding(view.node, view.fence, view.claimed))
        view.fence, view.picture = 0, picture
        claim(state, view, home.node)
    state.persist(room)


def roomier_node(state: State, room: RoomRecord, newcomer: ViewRecord) -> str | None:
    """A node of the room's region that can draw all its views and one more as wished, if the room may move now."""
    drawn = room_views(state, room)
    home = state.ready_nodes.offer(str(room.node))
    if home is None or any(not view.started or view.previous or view.node != room.node for view in drawn):
        return None
    found = _home_for(state, room, [*drawn, newcomer], home.region)
    return None if found is None else found.node


def move_to(state: State, room: RoomRecord, node: str) -> None:
    """Move a room's views to this node, which has room for them as wished, while the old one draws on."""
    views = room_views(state, room)
    _move_to(state, room, _Home(node, [view.wished for view in views]), views)


def place_homeless(state: State) -> None:
    """Give every view without a node one, as far as there is room; rooms in the order in which they were made."""
    rooms = {view.room for view in state.views.values() if view.node is None}
    for room in [room for room in state.rooms.values() if room.room in rooms] if rooms else ():
        place_room(state, room)


def place_room(state: State, room: RoomRecord) -> None:
    """Give a room's homeless views a node: the one that hosts the world, else the best one that can."""
    homeless = [view for view in room_views(state, room) if view.node is None and view.sessions]
    if not homeless:
        return
    if room.node is not None:
        _claim_there(state, room.node, homeless)
    elif (home := _home_for(state, room, homeless)) is not None:
        room.node, room.world_node = home.node, None
        state.persist(room)
        _claim_all(state, home, homeless)


def _claim_there(state: State, node: str, homeless: list[ViewRecord]) -> None:
    """Place as many of these as fit on this node."""
    offer = state.ready_nodes.offer(node)
    free = 0 if offer is None else offer.free
    views = [view for view in homeless if node not in view.excluded]
    while views:
        pictures = fit([view.wished for view in views], free, state.settings.ladder)
        if pictures is not None:
            _claim_all(state, _Home(node, pictures), views)
            return
        views.pop()


def _claim_all(state: State, home: "_Home", views: list[ViewRecord]) -> None:
    for view, picture in zip(views, home.pictures, strict=True):
        view.picture = picture
        claim(state, view, home.node)


class _Home(NamedTuple):
    """A node with room for some views, and the pictures it can draw of them."""

    node: str
    pictures: list[Picture]


def _home_for(state: State, room: RoomRecord, views: list[ViewRecord], region: str | None = None) -> _Home | None:
    """The least loaded node that can take all of `views` as wished, else the roomiest with smaller pictures.

    With a `region` only its nodes, and only as wished.
    """
    nodes = _able_nodes(state, room, views) if views else []
    nodes = [offer for offer in nodes if region in (None, offer.region)]
    wishes = [view.wished for view in views]
    needed = sum(wish.milliunits for wish in wishes)
    roomy = [offer for offer in nodes if offer.free >= needed]
    if roomy:
        return _Home(min(roomy, key=lambda offer: (offer.load_ratio, offer.node)).node, wishes)
    if not nodes or region is not None:
        return None
    roomiest = min(nodes, key=lambda offer: (-offer.free, offer.node))
    pictures = fit(wishes, roomiest.free, state.settings.ladder)
    return None if pictures is None else _Home(roomiest.node, pictures)


def has_home_elsewhere(state: State, view: ViewRecord) -> bool:
    """Whether a node other than its room's has room for this view."""
    return _home_for(state, state.rooms[view.room], [view]) is not None


def _able_nodes(state: State, room: RoomRecord, views: list[ViewRecord]) -> list[NodeOffer]:
    """The least loaded of each kind of nodes that could draw all of `views`, were there room."""
    excluded = {name for view in views for name in view.excluded} | ({room.node} if room.node else set())
    codecs, scene = {view.picture.codec for view in views}, room.scene.lower()
    offers = state.ready_nodes.least_loaded(frozenset(excluded))
    return [offer for offer in offers if codecs <= offer.codecs and scene in offer.scenes]


# --- Look-ups -------------------------------------------------------------------------------------------


def room_views(state: State, room: RoomRecord) -> list[ViewRecord]:
    """A room's views in order of name, so that steps can be repeated exactly."""
    return [state.views[name] for name in sorted(room.views)]


def room_sessions(state: State, room: RoomRecord) -> list[SessionRecord]:
    """A room's sessions in order of name."""
    return [state.sessions[name] for name in sorted(room.sessions)]


def view_sessions(state: State, view: ViewRecord) -> Iterable[SessionRecord]:
    """The sessions that watch a view, in order of name."""
    return [state.sessions[name] for name in sorted(view.sessions)]
