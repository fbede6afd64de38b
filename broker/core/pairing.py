"""Which pair of edge and node a session gets: what `placement` is asked, for newcomers and for who resumes."""

import math
from collections.abc import Sequence

from msgspec import structs

from broker.core import lines, views
from broker.core.picture import Picture, PictureLadder, rungs
from broker.core.placement import Placement, PlacementRequest, largest_free, search
from broker.core.refusals import Refusal, RefusalKind
from broker.core.state import RoomRecord, SessionRecord, State, ViewRecord
from broker.protocol import Probe


def choose_or_move(
    state: State, room: RoomRecord, session: SessionRecord, view: ViewRecord
) -> tuple[Placement, str | None]:
    """A pair for a newcomer, and, if the room has outgrown its node, the one of its region that has room for all."""
    try:
        return choose(state, room, session, view, frozenset()), None
    except Refusal as refusal:
        is_full = refusal.kind is RefusalKind.FARM_FULL and view.node is None and room.node is not None
        node = views.roomier_node(state, room, view) if is_full else None
        if node is None:
            raise
    view.picture = view.wished
    request = _request(state, room, session, view, frozenset())
    return _search(state, structs.replace(request, room_node=node, milliunits=view.picture.milliunits)), node


def choose(
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
        among_edges=edges_for(state, view),
        publishes=session.publishes,
        latency_cap_ms=math.inf if session.latency_cap_ms is None else session.latency_cap_ms,
    )


def _search(state: State, request: PlacementRequest) -> Placement:
    return search(request, state.ready_edges, state.ready_nodes, state.policy, state.site_points)


def _largest_that_fits(wished: Picture, free: int, ladder: PictureLadder) -> Picture:
    """The best rung that `free` milliunits can draw; the lowest one when none can, to be refused."""
    pictures = rungs(wished, ladder)
    return next((picture for picture in pictures if picture.milliunits <= free), pictures[-1])


def edges_for(state: State, view: ViewRecord) -> frozenset[str] | None:
    """Any ready edge (`None`); those that show the view already once it reaches as many as it can."""
    return frozenset(view.parents) if views.is_spread(state, view) else None


def has_edge_for(state: State, view: ViewRecord) -> bool:
    """Whether some ready edge may show this view."""
    among = edges_for(state, view)
    return any(among is None or edge.edge in among for edge in state.ready_edges)


def choose_edge(state: State, session: SessionRecord, probes: Sequence[Probe]) -> Placement:
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
        among_edges=edges_for(state, view),
        publishes=session.publishes,
    )
    return _search(state, request)
