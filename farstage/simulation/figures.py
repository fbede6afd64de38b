"""What has come of a simulation, as its report has it."""

from broker.core.quality import GOOD, mean_opinion_score
from broker.core.state import Totals
from farstage.simulation.agents import Agents
from farstage.simulation.distribution import thinned
from farstage.simulation.incidents import Happening, Incidents
from farstage.simulation.layout import all_sites
from farstage.simulation.pictures import dark_times
from farstage.simulation.report import (
    CostFigures,
    IncidentFigures,
    JoinFigures,
    LatencyFigures,
    LoadFigures,
    MoveFigures,
    QualityFigures,
    RunFigures,
    SimulationReport,
    ViolationFigures,
    WorldFigures,
)
from farstage.simulation.sampling import Sampler
from farstage.simulation.survey import network_means_ms
from farstage.simulation.visits import Visits
from farstage.simulation.world import World

CURVE_POINTS = 200


class Figures:
    """Reads the parts of a simulation."""

    def __init__(self, world: World, agents: Agents, visits: Visits, incidents: Incidents, sampler: Sampler) -> None:
        self._world, self._agents, self._visits = world, agents, visits
        self._incidents, self._sampler = incidents, sampler
        self._scenario, self._pictures, self._shell = world.scenario, world.pictures, world.shell

    def report(self, policy: str, seed: int, seconds: float) -> SimulationReport:
        """All of them; `seconds` is how long the simulation took."""
        return SimulationReport(
            scenario=self._scenario.title,
            policy=policy,
            seed=seed,
            duration_s=self._world.agenda.now,
            world=self._world_figures(),
            quality=self._quality(),
            latency=self._latency(),
            joins=self._joins(),
            moves=self._moves(),
            incidents=[self._incident(happening) for happening in self._incidents.happenings],
            cost=self._cost(),
            load=self._load(),
            violations=self._violations(),
            samples=self._sampler.samples,
            run=self._run(seconds),
        )

    def _run(self, seconds: float) -> RunFigures:
        core_s = dict(sorted(self._shell.core_s.items(), key=lambda entry: -entry[1]))
        return RunFigures(seconds=seconds, core_s=core_s, events=self._world.agenda.done)

    def _world_figures(self) -> WorldFigures:
        inside_ms, between_ms = network_means_ms(self._scenario)
        return WorldFigures(
            people=self._scenario.people,
            nodes=len(self._world.fleet.nodes),
            edges=len(self._world.fleet.edges),
            sites=len(all_sites(self._scenario)),
            units=sum(node.kind.units for node in self._world.fleet.nodes.values()),
            inside_network_ms=inside_ms,
            between_networks_ms=between_ms,
        )

    def _quality(self) -> QualityFigures:
        quality = self._sampler.quality
        halves = quality.counts
        return QualityFigures(
            mean=quality.mean,
            p5=quality.quantile(0.05),
            p50=quality.quantile(0.5),
            below_good_share=quality.share_below(GOOD),
            smaller_pictures_share=self._sampler.smaller / max(1, self._sampler.rtt_ms.count),
            mean_opinion_score=mean_opinion_score(quality.mean),
            histogram=[int(halves[2 * at : 2 * at + 2].sum()) for at in range(101)],
        )

    def _latency(self) -> LatencyFigures:
        by = self._sampler.rtt_ms_by
        places, lines, networks = (
            {name: found.summary() for name, found in by[key].items()} for key in ("places", "lines", "networks")
        )
        return LatencyFigures(
            rtt_ms=self._sampler.rtt_ms.summary(),
            by_place_ms=places,
            by_line_ms=lines,
            by_network_ms=networks,
            curves_ms={name: thinned(found.curve(), CURVE_POINTS) for name, found in by["places"].items()},
        )

    def _joins(self) -> JoinFigures:
        visits = self._visits
        return JoinFigures(
            asked=visits.asked,
            placed=visits.placed,
            turned_away=visits.turned_away,
            wait_s=self._pictures.waits_s.summary(),
            refusals=dict(sorted(visits.refusals.items())),
        )

    def _moves(self) -> MoveFigures:
        return MoveFigures(
            by_reason=dict(sorted(self._shell.moves.items())),
            line_changes=self._visits.line_changes,
            resumes=self._visits.resumes,
            without_picture_s={cause: found.summary() for cause, found in sorted(self._pictures.dark_s.items())},
        )

    def _incident(self, happening: Happening) -> IncidentFigures:
        incident, known = happening.incident, happening.known_s
        dark = self._pictures.dark_s.get(happening.cause) or dark_times()
        return IncidentFigures(
            what=incident.what.value,
            target=happening.machines[0].name if len(happening.machines) == 1 else incident.target,
            at_s=incident.at_s,
            for_s=incident.for_s,
            machines=len(happening.machines),
            lost_picture=happening.darkened,
            known_s=max(known.values()) if known else None,
            without_picture_s=dark.summary(),
            sessions_lost=self._visits.lost_by_cause[happening.cause],
        )

    def _cost(self) -> CostFigures:
        totals = Totals()
        for record in self._shell.brain.state.usage.values():
            totals.add(record.totals)
        viewer_hours = totals.participant_s / 3_600.0
        return CostFigures(
            metered_cost=totals.cost,
            metered_unit_hours=totals.unit_s / 3_600.0,
            metered_energy_wh=totals.energy_wh,
            metered_carbon_g=totals.carbon_g,
            energy_wh=self._sampler.energy_wh,
            carbon_g=self._sampler.carbon_g,
            cost_per_viewer_hour=totals.cost / viewer_hours if viewer_hours else 0.0,
            energy_wh_per_viewer_hour=self._sampler.energy_wh / viewer_hours if viewer_hours else 0.0,
        )

    def _load(self) -> LoadFigures:
        samples = self._sampler.samples
        return LoadFigures(
            nodes=self._sampler.node_load.summary(),
            by_kind={name: found.summary() for name, found in self._sampler.kind_load.items()},
            units_used_share=sum(sample.units_used_share for sample in samples) / max(1, len(samples)),
        )

    def _violations(self) -> ViolationFigures:
        sampler = self._sampler
        return ViolationFigures(
            nodes_over_capacity=len(self._agents.over_capacity),
            edges_over_capacity=len(sampler.over_places),
            claims_refused=self._shell.book.refused,
            views_drawn_twice_s=sampler.drawn_twice_s,
            sessions_lost=dict(sorted(self._visits.lost.items())),
            latency_cap_ms=self._scenario.latency.cap_ms,
            over_latency_cap_share=sampler.over_cap / max(1, sampler.rtt_ms.count),
        )
