"""Placement policies: what a candidate pair of edge and node costs."""

from broker.core.placement import Candidate, PlacementPolicy

UNPROBED_CLIENT_RTT_MS = 80.0
"""Assumed to an edge the client did not measure: worse than a near edge, better than another continent."""
SAME_REGION_RTT_MS = 1.0
OTHER_REGION_RTT_MS = 40.0
LOSS_PENALTY_MS = 2000.0
"""Cost of 100 % loss: 1 % is worth 20 ms, about one retransmission."""
JITTER_WEIGHT = 2.0
LOAD_PENALTY_MS = 20.0
"""Cost of a full node or edge; it grows with the square of the load, so half-full machines are nearly free."""


def client_cost_ms(candidate: Candidate) -> float:
    """Latency between client and edge, with what jitter and loss add to it."""
    probe = candidate.probe
    if probe is None:
        return UNPROBED_CLIENT_RTT_MS
    return probe.rtt_ms + JITTER_WEIGHT * probe.jitter_ms + LOSS_PENALTY_MS * probe.loss


def trunk_cost_ms(candidate: Candidate) -> float:
    """Latency between edge and node: as measured on the trunk, else guessed from the regions."""
    measured = candidate.edge.node_rtt_ms.get(candidate.node.node)
    if measured is not None:
        return measured
    return SAME_REGION_RTT_MS if candidate.edge.region == candidate.node.region else OTHER_REGION_RTT_MS


class LowestLatency:
    """The default: latency of the whole path, bent by load so that equals share the work."""

    name = "lowest_latency"

    def cost(self, candidate: Candidate) -> float:
        """Milliseconds, with load as an equivalent."""
        load = candidate.edge.load_ratio**2 + candidate.node.load_ratio**2
        return client_cost_ms(candidate) + trunk_cost_ms(candidate) + LOAD_PENALTY_MS * load


class LeastLoaded:
    """Spreads evenly; latency only breaks ties."""

    name = "least_loaded"

    def cost(self, candidate: Candidate) -> float:
        """Load first: a whole load ratio weighs ten seconds."""
        load = candidate.edge.load_ratio + candidate.node.load_ratio
        return 10_000.0 * load + client_cost_ms(candidate) + trunk_cost_ms(candidate)


class Packed:
    """Fills nodes up before it opens others, so that idle ones can be switched off."""

    name = "packed"

    def cost(self, candidate: Candidate) -> float:
        """Latency, less up to 20 ms for a node that is nearly full."""
        fill = LOAD_PENALTY_MS * (1.0 - candidate.node.load_ratio)
        return client_cost_ms(candidate) + trunk_cost_ms(candidate) + fill


POLICIES: dict[str, PlacementPolicy] = {policy.name: policy for policy in (LowestLatency(), LeastLoaded(), Packed())}
