"""Which rooms to move to another region, and the moves: what `reoptimisation` decides, for the state as it is.

Only rooms that run undisturbed are considered: all views drawn, none on the move, the node not draining, the last move
some time ago. A move is a planned one: the old node draws on until the new one's first picture is out.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from broker.core import views
from broker.core.lines import current_line
from broker.core.policies import BestValue, LineCost
from broker.core.pools import Wanted
from broker.core.reoptimisation import Move, Problem
from broker.core.state import RoomRecord, SessionRecord, State
from broker.protocol import Codec

Floats = NDArray[np.float64]


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
        costs=_costs(state, rooms, regions),
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


def _costs(state: State, rooms: Sequence[RoomRecord], regions: Sequence[str]) -> Floats:
    """Points of each room in each region: what its people would lose, and what drawing there costs."""
    units = np.array([_milliunits(state, room) for room in rooms]) / 1_000.0
    points = units[:, None] * np.array([state.site_points(name) for name in regions])
    points += _lost(state, rooms, regions)
    able: dict[tuple[str, frozenset[Codec]], list[bool]] = {}
    kinds = [(room.scene, frozenset(view.picture.codec for view in views.room_views(state, room))) for room in rooms]
    for scene, codecs in set(kinds):
        able[scene, codecs] = [_is_able(state, scene, codecs, name) for name in regions]
    return np.where([able[kind] for kind in kinds], points, np.inf)


def _is_able(state: State, scene: str, codecs: frozenset[Codec], region: str) -> bool:
    pools = state.ready_nodes.regions[region].pools
    return all(any(pool.can(Wanted(codec, scene, 0)) for pool in pools) for codec in codecs)


def _lost(state: State, rooms: Sequence[RoomRecord], regions: Sequence[str]) -> Floats:
    """Points that each room's viewers lose with a node of each region behind their edges, as `BestValue` counts."""
    seats = [
        (at, edge, session)
        for at, room in enumerate(rooms)
        for session in views.room_sessions(state, room)
        if (edge := state.ready_edges.get(str(session.edge))) is not None
    ]
    room_of = np.array([at for at, _, _ in seats], dtype=np.int64)
    delay_ms, rest = np.array([_line(state, session) for _, _, session in seats]).reshape(-1, 2).T
    vantages = {edge.vantage.name: edge.vantage for _, edge, _ in seats}
    trunks = [each.trunks_ms(state.ready_nodes, state.site_points) for each in vantages.values()]
    index = {name: at for at, name in enumerate(vantages)}
    vantage_of = np.array([index[edge.vantage.name] for _, edge, _ in seats], dtype=np.int64)
    model, lost = state.settings.values.model, np.zeros((len(rooms), len(regions)))
    for column, region in enumerate(regions):
        trunk_ms = np.array([trunk[region] for trunk in trunks])[vantage_of]
        points = model.delay_impairments(delay_ms + trunk_ms) + rest
        lost[:, column] = np.bincount(room_of, weights=points, minlength=len(rooms))
    return lost


def _line(state: State, session: SessionRecord) -> LineCost:
    """What the viewer's line to their edge costs."""
    return state.policy.line(current_line(state, session), 0.0)
