"""What everybody experiences, looked at again and again: quality and latency by the true path, loads, power, faults."""

from collections import Counter
from typing import Any

import msgspec

from broker.core.quality import GOOD, Path
from broker.protocol import ViewerReport
from broker.protocol.report_batch import MAX_REPORTS_A_BATCH, batch_of
from farstage.simulation.agents import Agents
from farstage.simulation.distribution import Distribution
from farstage.simulation.fleet import Edge, Node
from farstage.simulation.layout import all_sites
from farstage.simulation.visitor import Visitor
from farstage.simulation.visits import Visits
from farstage.simulation.world import World


class Sample(msgspec.Struct, frozen=True):
    """A moment. `units_used_share`: of the capacity of all living nodes."""

    at_s: float
    online: int
    without_picture: int
    mean_quality: float
    below_good_share: float
    mean_rtt_ms: float
    units_used_share: float
    power_kw: float
    moves: int
    refusals: int


class Sampler:
    """Adds up what it sees."""

    def __init__(self, world: World, agents: Agents, visits: Visits) -> None:
        self._scenario, self._agenda = world.scenario, world.agenda
        self._fleet, self._geography = world.fleet, world.geography
        self._shell, self._pictures = world.shell, world.pictures
        self._agents, self._visits = agents, visits
        scenario = world.scenario
        self._model = self._shell.brain.state.settings.values.model
        self.samples: list[Sample] = []
        self.quality = Distribution(0.5, 100.0)
        self.rtt_ms = _latencies()
        self.rtt_ms_by: dict[str, dict[str, Distribution]] = {
            "places": {place.name: _latencies() for place in scenario.places},
            "lines": {line.name: _latencies() for line in scenario.lines},
            "networks": {"inside": _latencies(), "between": _latencies()},
        }
        self.node_load = Distribution(0.01, 1.0)
        self.kind_load = {kind.name: Distribution(0.01, 1.0) for kind in scenario.node_kinds}
        self.energy_wh = self.carbon_g = 0.0
        self.over_places: set[str] = set()
        self.drawn_twice_s = 0.0
        self._batches = 0
        self.over_cap = 0
        self.smaller = 0
        """Of all looks at people, how often their picture was smaller than their line and screen would take."""
        self._sites = {site.name: site for site in all_sites(scenario)}
        self._networks = [network.name for network in scenario.networks]

    def sample(self) -> None:
        """Look at everybody and everything now."""
        people = [visitor for visitor in self._pictures.visitors.values() if visitor.picture_at is not None]
        watching = [visitor for visitor in people if visitor.node is not None]
        rtts = [self._rtt_ms(visitor) for visitor in watching]
        dark = len(people) - len(watching)
        qualities = [self._quality(visitor, rtt_ms) for visitor, rtt_ms in zip(watching, rtts, strict=True)]
        qualities += [0.0] * dark
        self.quality.add_all(qualities)
        self.smaller += sum(self._is_smaller(visitor) for visitor in watching)
        self._count_latencies(watching, rtts)
        self._count_faults()
        self.samples.append(
            Sample(
                at_s=self._agenda.now,
                online=len(self._pictures.visitors),
                without_picture=dark,
                mean_quality=_mean(qualities),
                below_good_share=_mean([quality < GOOD for quality in qualities]),
                mean_rtt_ms=_mean(rtts),
                units_used_share=self._count_loads(),
                power_kw=self._count_power(),
                moves=self._shell.moves.total(),
                refusals=self._visits.refusals.total(),
            )
        )

    def _rtt_ms(self, visitor: Visitor) -> float:
        """From client to node by the true path."""
        edge, node = visitor.edge, visitor.node
        return visitor.rtt_ms + self._geography.trunk_ms(edge.site, node.site) if edge and node else 0.0

    def _quality(self, visitor: Visitor, rtt_ms: float) -> float:
        access, node = visitor.access, visitor.node
        path = Path(
            rtt_ms=rtt_ms,
            jitter_ms=access.jitter_ms,
            loss=access.loss,
            bandwidth_bps=access.bandwidth_bps,
            fps=_fps(visitor),
            node_load=node.load if node is not None else 0.0,
        )
        return self._model.quality(path)

    def _is_smaller(self, visitor: Visitor) -> bool:
        command = _command(visitor)
        view = self._shell.brain.state.views.get(command.view) if command is not None else None
        return view is not None and view.picture.milliunits < view.wished.milliunits

    def _count_latencies(self, watching: list[Visitor], rtts: list[float]) -> None:
        self.rtt_ms.add_all(rtts)
        self.over_cap += sum(rtt_ms > self._scenario.latency.cap_ms for rtt_ms in rtts)
        by: dict[str, dict[str, list[float]]] = {key: {} for key in self.rtt_ms_by}
        for visitor, rtt_ms in zip(watching, rtts, strict=True):
            is_inside = visitor.edge is not None and visitor.edge.network == self._networks[visitor.home.network]
            by["places"].setdefault(self._scenario.places[visitor.home.place].name, []).append(rtt_ms)
            by["lines"].setdefault(self._scenario.lines[visitor.access.line].name, []).append(rtt_ms)
            by["networks"].setdefault("inside" if is_inside else "between", []).append(rtt_ms)
        for key, lists in by.items():
            for name, values in lists.items():
                self.rtt_ms_by[key][name].add_all(values)

    def _count_loads(self) -> float:
        alive = [node for node in self._fleet.nodes.values() if node.is_alive]
        self.node_load.add_all([node.load for node in alive])
        for name, distribution in self.kind_load.items():
            distribution.add_all([node.load for node in alive if node.kind.name == name])
        capacity = sum(node.kind.units for node in alive)
        return sum(node.used_milliunits for node in alive) / 1_000.0 / capacity if capacity else 0.0

    def _count_power(self) -> float:
        """Kilowatts now, with the data centres' overhead; energy and carbon since the last look."""
        hours = self._scenario.clock.sample_s / 3_600.0
        total = 0.0
        for node in self._fleet.nodes.values():
            site = self._sites[node.site]
            watts = node.watts * site.pue
            total += watts
            self.carbon_g += watts * hours / 1_000.0 * site.grams_co2_per_kwh
        self.energy_wh += total * hours
        return total / 1_000.0

    def _count_faults(self) -> None:
        connected = Counter(visitor.edge for visitor in self._pictures.visitors.values() if visitor.connected)
        self.over_places |= {edge.name for edge, count in connected.items() if edge and count > edge.max_viewers}
        for stream, holders in self._fleet.holders.items():
            if len(holders) > 1 and self._is_drawn_twice(stream, holders):
                self.drawn_twice_s += self._scenario.clock.sample_s

    def _is_drawn_twice(self, stream: str, holders: dict[str, Node]) -> bool:
        """Whether a living node draws what the broker does not know to be drawn there: no planned move."""
        view = self._shell.brain.state.views.get(stream)
        known = {view.node, *(holding.node for holding in view.previous)} if view is not None else set()
        return any(node.is_alive and name not in known for name, node in holders.items())

    # --- Reports ---

    def report(self) -> None:
        """Edges tell the broker what they measure of their viewers."""
        by_edge: dict[str, list[ViewerReport]] = {}
        for visitor in self._pictures.visitors.values():
            if visitor.connected and visitor.edge is not None:
                by_edge.setdefault(visitor.edge.name, []).append(_report(visitor))
        for name, reports in by_edge.items():
            edge: Edge = self._fleet.edges[name]
            for first in range(0, len(reports), MAX_REPORTS_A_BATCH):
                self._batches += 1
                some = reports[first : first + MAX_REPORTS_A_BATCH]
                self._agents.tell(edge, batch_of(some, self._batches, self._agenda.now))


def _latencies() -> Distribution:
    return Distribution(0.25, 1_000.0)


def _mean(values: list[Any]) -> float:
    return float(sum(values)) / len(values) if values else 0.0


def _command(visitor: Visitor) -> Any:
    edge, node = visitor.edge, visitor.node
    if edge is None or node is None:
        return None
    drawing = node.drawings.get(edge.sessions[visitor.session].stream)
    return drawing.command if drawing is not None else None


def _fps(visitor: Visitor) -> float:
    command = _command(visitor)
    return float(command.fps) if command is not None else 0.0


def _report(visitor: Visitor) -> ViewerReport:
    access, command = visitor.access, _command(visitor)
    wanted_bps = float(command.max_bitrate_bps) if command is not None else 0.0
    return ViewerReport(
        session=visitor.session,
        rtt_ms=visitor.rtt_ms,
        jitter_ms=access.jitter_ms,
        loss=access.loss,
        sent_bps=min(wanted_bps, access.bandwidth_bps),
        estimate_bps=access.bandwidth_bps,
    )
