"""Which edges a client should measure before it joins, where there are more than it can."""

from collections.abc import Iterable

from broker.core.state import EdgeRecord
from broker.protocol import AgentState

MAX_PROBE_TARGETS = 16


def probe_targets(edges: Iterable[EdgeRecord], start: int) -> list[EdgeRecord]:
    """Ready edges of as many regions as possible, for nobody can be sent to where nobody has measured.

    Where not all can be named, `start`, any number, tells with which to begin, so that clients measure different ones:
    the regions stand evenly spaced in order of name, as neighbours often have like names.
    """
    regions: dict[str, list[EdgeRecord]] = {}
    for edge in sorted(edges, key=lambda edge: (edge.region, edge.edge)):
        if edge.connected and edge.state is AgentState.READY:
            regions.setdefault(edge.region, []).append(edge)
    return _round_robin(_spaced(list(regions.values()), start), start)


def _spaced(regions: list[list[EdgeRecord]], start: int) -> list[list[EdgeRecord]]:
    count = min(len(regions), MAX_PROBE_TARGETS)
    return [regions[(start + at * len(regions) // count) % len(regions)] for at in range(count)]


def _round_robin(regions: list[list[EdgeRecord]], start: int) -> list[EdgeRecord]:
    """One edge of each region, then a second one, and so on."""
    deepest = max((len(edges) for edges in regions), default=0)
    chosen = [edges[(start + turn) % len(edges)] for turn in range(deepest) for edges in regions if turn < len(edges)]
    return chosen[:MAX_PROBE_TARGETS]
