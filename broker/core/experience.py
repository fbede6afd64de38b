"""What viewers experience now, by the quality model, from what their edges measure.

Delay, jitter and loss of the line, the trunk's round trip and the node's load count. The client's own figures do not: a
client that lies about itself would only look worse or better than it is. Frame rate and bandwidth do not either, as a
picture at rest needs few of both.
"""

from broker.core.lines import measured_line
from broker.core.policies import trunk_rtt_ms
from broker.core.pools import load_ratio
from broker.core.quality import Path
from broker.core.state import SessionRecord, State, node_pool


def experienced_quality(state: State, session: SessionRecord) -> float | None:
    """0 to 100; `None` before the edge has measured the viewer's line, and while no node draws for it."""
    line, node = measured_line(state, session), state.nodes.get(state.views[session.view].node or "")
    edge = state.edges.get(session.edge or "")
    if line is None or node is None or edge is None:
        return None
    path = Path(
        rtt_ms=line.rtt_ms + trunk_rtt_ms(edge.load.node_rtt_ms, edge.region, node.node, node.region),
        jitter_ms=line.jitter_ms,
        loss=line.loss,
        node_load=load_ratio(state.ledger.claimed(node_pool(node.node)), node.capacity),
    )
    return state.settings.values.model.quality(path)
