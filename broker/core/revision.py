"""Which rooms to move to another region, and the moves: what `reoptimisation` decides, for the state as it is.

Only rooms that run undisturbed are considered: all views drawn, none on the move, the node not draining, the last move
some time ago. A move is a planned one: the old node draws on until the new one's first picture is out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from broker.core import views
from broker.core.lines import current_line
from broker.core.policies import BestValue
from broker.core.pools import Wanted
from broker.core.reoptimisation import Move, Problem
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import Codec


def problem(state: State, now: float) -> Problem | None:
    """All rooms that could be moved, and what they would cost in each region; `None` where there is no choice."""
    regions = tuple(sorted(state.ready_nodes.regions))
    rooms = [room for room in state.rooms.values() if _may_move(state, room, now)]
    if len(regions) < 2 or not rooms or state.policy.name != BestValue.name:
        return None
    index = {region: at for at, region in enumerate(regions)}
    current = np.array([index[state.nodes[str(room.node)].region] for room in rooms])
    milliunits = np.array([_milliunits(state, room) for room in rooms])
    capacity = np.array([state.ready_nodes.regions[region].free for region in regions])
    np.add.at(capacity, current, milliunits)
    return Problem(
        rooms=tuple(room.room for room in rooms),
        regions=regions,
        costs=np.array([_costs(state, room, regions) for room in rooms]),
        milliunits=milliunits,
        current=current,
        capacity=capacity,
    )


def move(state: State, moves: Sequence[Move], now: float) -> None:
    """Make the best of these moves, as many as one round may make and as there is room for now."""
    left = state.settings.moves_per_round
    for wish in moves:
        room = state.rooms.get(wish.room)
        if left and room is not None and _may_move(state, room, now):
            moved = views.move_room(state, room, wish.region)
            room.moved_at = now if moved else room.moved_at
            left -= moved


def _may_move(state: State, room: RoomRecord, now: float) -> bool:
    is_settled = room.moved_at is None or now - room.moved_at >= state.settings.move_again_after_s
    drawn = views.room_views(state, room)
    return (
        is_settled
        and room.node is not None
        and room.node in state.ready_nodes
        and bool(drawn)
        and all(view.started and view.node == room.node and not view.previous for view in drawn)
    )


def _milliunits(state: State, room: RoomRecord) -> int:
    return sum(view.claimed for view in views.room_views(state, room))


def _costs(state: State, room: RoomRecord, regions: Sequence[str]) -> NDArray[np.float64]:
    """Points of the room in each region: what its people would lose, and what drawing there costs."""
    codecs = {view.picture.codec for view in views.room_views(state, room)}
    units = _milliunits(state, room) / 1_000.0
    points = np.array([state.site_points(name) * units for name in regions])
    for session in views.room_sessions(state, room):
        points += _lost(state, session, regions)
    able = [all(_is_able(state, room, name, codec) for codec in codecs) for name in regions]
    return np.where(able, points, np.inf)


def _is_able(state: State, room: RoomRecord, region: str, codec: Codec) -> bool:
    wanted = Wanted(codec, room.scene, 0)
    return any(pool.can(wanted) for pool in state.ready_nodes.regions[region].pools)


def _lost(state: State, session: SessionRecord, regions: Sequence[str]) -> NDArray[np.float64]:
    """Points that one viewer loses with a node of each of these regions behind their edge."""
    edge = state.ready_edges.get(str(session.edge))
    if edge is None:
        return np.zeros(len(regions))
    line = state.policy.line(current_line(state, session), 0.0)
    trunks_ms = edge.vantage.trunks_ms(state.ready_nodes, state.site_points)
    return np.array([state.policy.cost(line, trunks_ms[name], 0.0, 0.0) for name in regions])
