"""What is known of a session's lines to the edges, in order of trust.

First what its own edge has measured; then what the client claims of others, no better than that measurement allows: by
as much as the client's claim of its own edge was too low, all its claims are raised, so that one who flatters itself is
placed as it really is. For regions that neither speaks of, what the client's network has shown before (`networks`).

An edge's estimate of the bandwidth is no more than the stream made it find out, so it does not outrank the client's
measurement, which filled the line; it tells how fast the streams of others from there may begin.
"""

import math
from collections.abc import Sequence

from msgspec import structs

from broker.core.networks import RegionLine
from broker.core.state import SessionRecord, State
from broker.protocol import Probe

MAX_RTT_MS = 60_000.0


def expect_reports(state: State, session: SessionRecord) -> None:
    """The session has a place on its edge."""
    edge = state.edges.get(str(session.edge))
    if edge is not None:
        state.telemetry.expect(session.session, edge.edge, session.network, edge.region)


def known_lines(state: State, session: SessionRecord, probes: Sequence[Probe] | None = None) -> Sequence[Probe]:
    """Lines to single edges: measured and, in `probes`, claimed; those the session joined with if there are none."""
    probes = probes or session.probes
    measured = measured_line(state, session)
    if measured is None:
        return probes
    claimed = _claimed(session, probes) or _claimed(session, session.probes)
    if claimed is None:
        return [measured, *probes]
    flattery_ms = max(0.0, measured.rtt_ms - claimed.rtt_ms)
    others = [_raised(probe, flattery_ms) for probe in probes if probe.edge != measured.edge]
    return [structs.replace(measured, bandwidth_bps=claimed.bandwidth_bps), *others]


def _claimed(session: SessionRecord, probes: Sequence[Probe]) -> Probe | None:
    """What the client claims of its own edge."""
    return next((probe for probe in probes if probe.edge == session.edge), None)


def current_line(state: State, session: SessionRecord) -> Probe | None:
    """The line to the session's own edge: measured, else claimed, else unknown."""
    return measured_line(state, session) or _claimed(session, session.probes)


def measured_line(state: State, session: SessionRecord) -> Probe | None:
    """What the session's edge has measured; `None` before it has."""
    line = state.telemetry.line(session.session)
    if line is None or session.edge is None:
        return None
    return Probe(
        edge=session.edge,
        rtt_ms=line.rtt_ms,
        jitter_ms=_known(line.jitter_ms) or 0.0,
        loss=_known(line.loss) or 0.0,
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _raised(probe: Probe, flattery_ms: float) -> Probe:
    return structs.replace(probe, rtt_ms=min(MAX_RTT_MS, probe.rtt_ms + flattery_ms)) if flattery_ms else probe


def region_lines(state: State, network: str) -> dict[str, RegionLine]:
    """Lines to whole regions with ready edges, as others of the same network have had them."""
    lines = state.telemetry.networks.lines(network, [vantage.name for vantage in state.ready_edges.vantages])
    return {region: line._replace(bandwidth_bps=None) for region, line in lines.items()}


def first_bandwidth_bps(state: State, session: SessionRecord) -> float | None:
    """What the session's stream begins with: the client's measurement of its edge, else what its network has shown."""
    claimed, edge = _claimed(session, session.probes), state.edges.get(str(session.edge))
    if claimed is not None or edge is None:
        return None if claimed is None else claimed.bandwidth_bps
    line = state.telemetry.networks.line(session.network, edge.region)
    return None if line is None else line.bandwidth_bps


def bandwidth_bps(probes: Sequence[Probe]) -> float | None:
    """What the client's line takes: its best measurement, as the edge is not chosen yet."""
    return max((probe.bandwidth_bps for probe in probes if probe.bandwidth_bps is not None), default=None)
