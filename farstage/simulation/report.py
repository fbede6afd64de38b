"""The figures of a simulation."""

import msgspec

from farstage.simulation.distribution import Summary
from farstage.simulation.sampling import Sample


class WorldFigures(msgspec.Struct, frozen=True):
    """What was simulated. `inside_network_ms`, `between_networks_ms`: mean round trip of the scenario's people to the
    nearest edge of their own network, and of another."""

    people: int
    nodes: int
    edges: int
    sites: int
    units: float
    inside_network_ms: float
    between_networks_ms: float


class QualityFigures(msgspec.Struct, frozen=True):
    """0 to 100, of everybody who has had a picture, at each sample; without a picture 0. Good is 80 and above."""

    mean: float
    p5: float
    p50: float
    below_good_share: float
    smaller_pictures_share: float
    """Of those who have a picture, whose is smaller than their line and screen would take, as capacity is scarce."""
    mean_opinion_score: float
    histogram: list[int]
    """Of `samples` by whole points, 0 to 100."""


class LatencyFigures(msgspec.Struct, frozen=True):
    """Round trips from client to node by the true path."""

    rtt_ms: Summary
    by_place_ms: dict[str, Summary]
    by_line_ms: dict[str, Summary]
    by_network_ms: dict[str, Summary]
    """`inside`: the edge is of the viewer's own network; `between`: of another."""
    curves_ms: dict[str, list[tuple[float, float]]]
    """By place, the share of samples up to each round trip."""


class JoinFigures(msgspec.Struct, frozen=True):
    """`wait_s`: from coming to the first picture. `refusals` by kind; one who tries again counts again."""

    asked: int
    placed: int
    turned_away: int
    wait_s: Summary
    refusals: dict[str, int]


class MoveFigures(msgspec.Struct, frozen=True):
    """Views given to another node, by why: what the broker was doing then."""

    by_reason: dict[str, int]
    line_changes: int
    resumes: int
    without_picture_s: dict[str, Summary]
    """By cause, of those who lost their picture."""


class IncidentFigures(msgspec.Struct, frozen=True):
    """`known_s`: until the broker took the last of its machines for dead; absent if it did not."""

    what: str
    target: str
    at_s: float
    for_s: float | None
    machines: int
    lost_picture: int
    known_s: float | None
    without_picture_s: Summary
    sessions_lost: int


class CostFigures(msgspec.Struct, frozen=True):
    """`metered`: what the broker would bill, by units held. `energy_wh` is what all nodes took, idle ones too."""

    metered_cost: float
    metered_unit_hours: float
    metered_energy_wh: float
    metered_carbon_g: float
    energy_wh: float
    carbon_g: float
    cost_per_viewer_hour: float
    energy_wh_per_viewer_hour: float


class LoadFigures(msgspec.Struct, frozen=True):
    """Share of living nodes' capacity in use, by node and sample."""

    nodes: Summary
    by_kind: dict[str, Summary]
    units_used_share: float
    """Mean over time of all units in use."""


class ViolationFigures(msgspec.Struct, frozen=True):
    """What should not be. `views_drawn_twice_s`: view-seconds in which a living node drew what another had been given,
    other than in a planned move; edges do not show it."""

    nodes_over_capacity: int
    edges_over_capacity: int
    claims_refused: int
    views_drawn_twice_s: float
    sessions_lost: dict[str, int]
    """By reason; sessions that ended otherwise than by their user's will."""
    latency_cap_ms: float
    over_latency_cap_share: float


class RunFigures(msgspec.Struct, frozen=True):
    """The simulation itself: real seconds, those in the core by what it was asked, and events."""

    seconds: float
    core_s: dict[str, float]
    events: int


class SimulationReport(msgspec.Struct, frozen=True):
    """All of it; units stand in the names."""

    scenario: str
    policy: str
    seed: int
    duration_s: float
    world: WorldFigures
    quality: QualityFigures
    latency: LatencyFigures
    joins: JoinFigures
    moves: MoveFigures
    incidents: list[IncidentFigures]
    cost: CostFigures
    load: LoadFigures
    violations: ViolationFigures
    samples: list[Sample]
    run: RunFigures
