"""Demand held against the fleet: how many machines there are, and how many will be wanted (`scaling`)."""

from broker.core.scaling import Sample, machines_wanted
from broker.core.state import EdgeRecord, NodeRecord, State
from broker.protocol import AgentState, Scaling, Wanted


def scaling(state: State) -> Scaling:
    """Demand now and shortly, and the machines for it."""
    demand = state.demand
    latest = demand.samples[-1] if demand.samples else Sample(0.0, 0.0, 0.0)
    nodes = _wanted(list(state.nodes.values()), latest.units, demand.units_expected(), 1_000.0)
    edges = _wanted(list(state.edges.values()), latest.viewers, demand.viewers_expected(), 1.0)
    return Scaling(nodes=nodes, edges=edges)


def _wanted(agents: list[NodeRecord] | list[EdgeRecord], now: float, expected: float, per_unit: float) -> Wanted:
    alive = [agent for agent in agents if agent.state is not AgentState.LOST]
    ready = [agent for agent in alive if agent.connected and agent.state is AgentState.READY]
    return Wanted(
        now=now,
        expected=expected,
        ready=len(ready),
        draining=sum(agent.state is AgentState.DRAINING for agent in alive),
        wanted=machines_wanted(expected, (agent.capacity / per_unit for agent in alive)),
    )
