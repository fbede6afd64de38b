"""Placement policies: what a pair of edge and node costs one viewer.

A policy first reduces the client's line to an edge to a `LineCost`, then adds the node: a search asks for many nodes
behind the same line. Cost must never fall as the trunk gets longer or the edge fuller, and, unless a policy says
`packs`, as the node gets fuller: that is what lets the search stop early (`broker.core.pools`).
"""

from collections.abc import Mapping
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from broker.core.prices import Values
from broker.core.quality import UNKNOWN_RTT_MS

SAME_REGION_RTT_MS = 1.0
OTHER_REGION_RTT_MS = 40.0
LOSS_PENALTY_MS = 2000.0
"""Cost of 100 % loss: 1 % is worth 20 ms, about one retransmission."""
JITTER_WEIGHT = 2.0
LOAD_PENALTY_MS = 20.0
"""Cost of a full node or edge; it grows with the square of the load, so half-full machines are nearly free."""


Numbers = TypeVar("Numbers", float, NDArray[np.float64])
LineCost = tuple[float, float]
"""What a client's line to an edge costs: delay in ms, which a trunk adds to, and the rest in the policy's measure."""


class Measured(Protocol):
    """A line between client and edge, whoever has measured it; `bandwidth_bps` is `None` where it is unknown."""

    @property
    def rtt_ms(self) -> float:
        """Round trip."""

    @property
    def jitter_ms(self) -> float:
        """Its variation."""

    @property
    def loss(self) -> float:
        """Share of packets."""

    @property
    def bandwidth_bps(self) -> float | None:
        """What the line takes."""


class PlacementPolicy(Protocol):
    """Tells what a candidate costs; the lowest wins, ties by name so that the choice is repeatable."""

    name: str
    packs: bool
    """Whether it prefers the fuller node."""

    def line(self, probe: Measured | None, edge_load: float) -> LineCost:
        """The client's part, for an edge of which this share of places is taken; `None`: it has not measured it."""

    def cost(self, line: LineCost, trunk_rtt_ms: Numbers, node_load: float, site_points: Numbers) -> Numbers:
        """The whole: finite, in the policy's own measure. `site_points`: what the region costs (`Values`).

        Trunks and points may also be arrays of equal length: the costs of many at once.
        """


def guessed_trunk_rtt_ms(edge_region: str, node_region: str) -> float:
    """Round trip between an edge and a node that nobody has measured."""
    return SAME_REGION_RTT_MS if edge_region == node_region else OTHER_REGION_RTT_MS


def trunk_rtt_ms(measured_ms: Mapping[str, float], edge_region: str, node: str, node_region: str) -> float:
    """Round trip from an edge to a node: as the edge has measured it on the trunk, else guessed from the regions."""
    known = measured_ms.get(node)
    return guessed_trunk_rtt_ms(edge_region, node_region) if known is None else known


def line_ms(probe: Measured | None) -> float:
    """Latency between client and edge, with what jitter and loss add to it."""
    if probe is None:
        return UNKNOWN_RTT_MS
    return probe.rtt_ms + JITTER_WEIGHT * probe.jitter_ms + LOSS_PENALTY_MS * probe.loss


class LowestLatency:
    """Latency of the whole path, bent by load so that equals share the work."""

    name = "lowest_latency"
    packs = False

    def line(self, probe: Measured | None, edge_load: float) -> LineCost:
        """Milliseconds, with load as an equivalent."""
        return (line_ms(probe), LOAD_PENALTY_MS * edge_load**2)

    def cost(self, line: LineCost, trunk_rtt_ms: Numbers, node_load: float, site_points: Numbers) -> Numbers:
        """Milliseconds or their equivalent."""
        return line[0] + trunk_rtt_ms + line[1] + LOAD_PENALTY_MS * node_load * node_load


class LeastLoaded:
    """Spreads evenly; latency only breaks ties."""

    name = "least_loaded"
    packs = False

    def line(self, probe: Measured | None, edge_load: float) -> LineCost:
        """Load first: a whole load ratio weighs ten seconds."""
        return (line_ms(probe), 10_000.0 * edge_load)

    def cost(self, line: LineCost, trunk_rtt_ms: Numbers, node_load: float, site_points: Numbers) -> Numbers:
        """Load first."""
        return line[0] + trunk_rtt_ms + line[1] + 10_000.0 * node_load


class Packed:
    """Fills nodes up before it opens others, so that idle ones can be switched off."""

    name = "packed"
    packs = True

    def line(self, probe: Measured | None, edge_load: float) -> LineCost:
        """Latency alone."""
        return (line_ms(probe), 0.0)

    def cost(self, line: LineCost, trunk_rtt_ms: Numbers, node_load: float, site_points: Numbers) -> Numbers:
        """Latency, less up to 20 ms for a node that is nearly full."""
        return line[0] + trunk_rtt_ms + LOAD_PENALTY_MS * (1.0 - node_load)


class BestValue:
    """The default: the points of quality that a viewer is expected to lose, and what drawing there costs, in points."""

    name = "best_value"
    packs = False

    def __init__(self, values: Values) -> None:
        self._model = values.model
        self._full_node_ms = values.model.load_delay_ms(1.0)
        self._unbearable_ms, self._power = values.model.unbearable_ms, values.model.delay_power
        self._jitter_weight = values.model.jitter_weight

    def line(self, probe: Measured | None, edge_load: float) -> LineCost:
        """Delay, and points for losses and want of bandwidth; a fuller edge breaks ties."""
        tie = 0.1 * edge_load
        if probe is None:
            return UNKNOWN_RTT_MS, tie
        if probe.loss or probe.bandwidth_bps is not None:
            tie += self._model.line_impairment(probe.loss, probe.bandwidth_bps)
        return probe.rtt_ms + self._jitter_weight * probe.jitter_ms, tie

    def cost(self, line: LineCost, trunk_rtt_ms: Numbers, node_load: float, site_points: Numbers) -> Numbers:
        """Points. `QualityModel.delay_impairment` is written out, as a decision asks for it thirty times."""
        delay_ms = line[0] + trunk_rtt_ms + self._full_node_ms * node_load * node_load
        felt: Numbers = (delay_ms / self._unbearable_ms) ** self._power
        return 100.0 * felt / (1.0 + felt) + line[1] + site_points


POLICIES = ("best_value", "least_loaded", "lowest_latency", "packed")
"""Names of the policies that operators can choose."""


def policy_named(name: str, values: Values) -> PlacementPolicy:
    """The policy of this name. Raises `ValueError` naming those that exist."""
    match name:
        case "best_value":
            return BestValue(values)
        case "lowest_latency":
            return LowestLatency()
        case "least_loaded":
            return LeastLoaded()
        case "packed":
            return Packed()
    raise ValueError(f"policy: there is no {name!r}; choose one of {', '.join(POLICIES)}")
