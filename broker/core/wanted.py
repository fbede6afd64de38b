"""Demand held against the fleet: how many machines there are, and how many will be wanted (`scaling`, `schedule`)."""

from broker.core.picture import CodecChoice, stage_picture
from broker.core.scaling import Sample, machines_wanted
from broker.core.state import EdgeRecord, NodeRecord, RoomRecord, State
from broker.protocol import AgentState, Codec, H264Profile, Mode, Scaling, Wanted

_USUAL: CodecChoice = (Codec.H264, H264Profile.CONSTRAINED_BASELINE)


def scaling(state: State, now: float) -> Scaling:
    """Demand now and shortly, and the machines for it."""
    demand = state.demand
    latest = demand.samples[-1] if demand.samples else Sample(0.0, 0.0, 0.0)
    awaited = [(room, room.schedule.awaited(len(room.sessions), now)) for room in state.rooms.values()]
    units = sum(_units(state, room, more) for room, more in awaited)
    viewers = float(sum(more for _, more in awaited))
    nodes = _wanted(list(state.nodes.values()), latest.units, demand.units_expected(), units, 1_000.0)
    edges = _wanted(list(state.edges.values()), latest.viewers, demand.viewers_expected(), viewers, 1.0)
    return Scaling(nodes=nodes, edges=edges)


def _units(state: State, room: RoomRecord, awaited: int) -> float:
    """What drawing for so many more takes: a view each, or the stage, unless it is drawn already."""
    if room.mode is not Mode.CONFERENCE:
        return float(awaited)
    is_drawn = bool(room.views) or not awaited
    return 0.0 if is_drawn else stage_picture(_USUAL, state.settings.picture.stage_layers).milliunits / 1_000.0


def _wanted(
    agents: list[NodeRecord] | list[EdgeRecord], now: float, trend: float, scheduled: float, per_unit: float
) -> Wanted:
    alive = [agent for agent in agents if agent.state is not AgentState.LOST]
    ready = [agent for agent in alive if agent.connected and agent.state is AgentState.READY]
    expected = max(trend, now + scheduled)
    return Wanted(
        now=now,
        trend=trend,
        scheduled=scheduled,
        expected=expected,
        ready=len(ready),
        draining=sum(agent.state is AgentState.DRAINING for agent in alive),
        wanted=machines_wanted(expected, (agent.capacity / per_unit for agent in alive)),
    )
