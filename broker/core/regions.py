"""Regions as operators see them: what is there, what is in use, what viewers have of it, what it costs."""

from collections import defaultdict

import numpy as np

from broker.core.experience import experienced_quality
from broker.core.networks import METRICS
from broker.core.quality import GOOD
from broker.core.state import AgentRecord, EdgeRecord, NodeRecord, SessionRecord, State, edge_pool, node_pool
from broker.protocol import AgentState, Region, Spread


def regions(state: State) -> list[Region]:
    """All regions with a node or an edge, by name."""
    nodes, edges = defaultdict(list), defaultdict(list)
    for node in state.nodes.values():
        nodes[node.region].append(node)
    for edge in state.edges.values():
        edges[edge.region].append(edge)
    viewers = _viewers(state)
    return [_region(state, name, nodes[name], edges[name], viewers[name]) for name in sorted({*nodes, *edges})]


def _viewers(state: State) -> dict[str, list[SessionRecord]]:
    """Those who are connected, by the region of their edge."""
    found: dict[str, list[SessionRecord]] = defaultdict(list)
    for session in state.sessions.values():
        edge = state.edges.get(str(session.edge))
        if edge is not None and session.connected and not session.publishes:
            found[edge.region].append(session)
    return found


def _region(
    state: State, name: str, nodes: list[NodeRecord], edges: list[EdgeRecord], viewers: list[SessionRecord]
) -> Region:
    units_used = sum(state.ledger.claimed(node_pool(node.node)) for node in nodes) / 1_000.0
    prices = state.settings.values.prices(name)
    qualities = [quality for session in viewers if (quality := experienced_quality(state, session)) is not None]
    lines = state.telemetry.lines([session.session for session in viewers])
    rtt_ms, jitter_ms, loss = (_spread(lines[:, METRICS.index(metric)]) for metric in ("rtt_ms", "jitter_ms", "loss"))
    return Region(
        region=name,
        nodes=len(nodes),
        nodes_ready=sum(map(_is_ready, nodes)),
        units=sum(node.capacity for node in nodes if _is_ready(node)) / 1_000.0,
        units_used=units_used,
        edges=len(edges),
        edges_ready=sum(map(_is_ready, edges)),
        viewers=sum(state.ledger.claimed(edge_pool(edge.edge)) for edge in edges),
        max_viewers=sum(edge.capacity for edge in edges if _is_ready(edge)),
        quality=sum(qualities) / len(qualities) if qualities else None,
        below_good=sum(quality < GOOD for quality in qualities),
        rtt_ms=rtt_ms,
        jitter_ms=jitter_ms,
        loss=loss,
        power_w=prices.energy_wh(units_used),
        carbon_g_per_h=prices.carbon_g(units_used),
        cost_per_h=prices.cost(units_used),
    )


def _is_ready(agent: AgentRecord) -> bool:
    return agent.connected and agent.state is AgentState.READY


def _spread(values: np.typing.NDArray[np.float32]) -> Spread | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    p50, p95 = (float(f"{quantile:.4g}") for quantile in np.quantile(known, (0.5, 0.95)))
    return Spread(p50=p50, p95=p95)
