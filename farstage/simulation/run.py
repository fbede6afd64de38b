"""One simulation, from a scenario to its report."""

import time
from collections.abc import Callable
from random import Random

from broker.core.effects import Effect
from broker.core.quality import GOOD, mean_opinion_score
from broker.core.reoptimisation import solve
from broker.core.state import Totals
from farstage.simulation.agenda import Agenda
from farstage.simulation.agents import Agents
from farstage.simulation.attendance import Attendance
from farstage.simulation.distribution import Distribution, thinned
from farstage.simulation.fleet import Fleet
from farstage.simulation.geography import Geography
from farstage.simulation.incidents import Happening, Incidents
from farstage.simulation.layout import all_sites
from farstage.simulation.pictures import Pictures, dark_times
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
from farstage.simulation.sampling import Sample, Sampler
from farstage.simulation.scenario import Scenario
from farstage.simulation.shell import Shell
from farstage.simulation.survey import network_means_ms
from farstage.simulation.visits import Visits

DAY = "2026-11-29"
SOLVED_AFTER_S = 0.5
"""How long the broker thinks a whole assignment over before it moves rooms."""
CURVE_POINTS = 200


class Simulation:
    """A scenario under way. `progress` is told of each sample."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int | None = None,
        policy: str | None = None,
        *,
        validates: bool = False,
        progress: Callable[[Sample], None] = lambda sample: None,
    ) -> None:
        self.scenario = scenario
        self.seed = scenario.seed if seed is None else seed
        self.policy = policy or scenario.policy
        self._progress = progress
        self.agenda = Agenda()
        self.geography = Geography(scenario)
        self.fleet = Fleet(scenario)
        self.shell = Shell(scenario, self.policy, self._now)
        self.shell.validates = validates
        self.pictures = Pictures(self.fleet, self._now)
        self.agents = Agents(self.agenda, self.fleet, self.geography, self.shell, self.pictures)
        people = Random(f"{self.seed} people")
        self.visits = Visits(
            scenario, people, self.agenda, self.fleet, self.geography, self.shell, self.agents, self.pictures
        )
        coming = Random(f"{self.seed} attendance")
        self.attendance = Attendance(scenario, coming, self.agenda, self.shell, self.visits)
        self.incidents = Incidents(self.agenda, self.fleet, self.shell, self.agents, self.pictures, self.visits)
        self.sampler = Sampler(scenario, self._now, self.fleet, self.geography, self.shell, self.agents, self.pictures)
        self.sampler.refusals = self.visits.refusals.total
        self._seconds = 0.0

    def _now(self) -> float:
        return self.agenda.now

    def run(self) -> SimulationReport:
        """Let it all happen."""
        begun = time.perf_counter()
        self._begin()
        self.agenda.run(self.scenario.duration_s)
        self._seconds = time.perf_counter() - begun
        return self.report()

    def _begin(self) -> None:
        for machine in self.fleet.machines():
            self.agents.register(machine)
        clock, every, brain = self.scenario.clock, self.agenda.every, self.shell.brain
        every(clock.heartbeat_s, self.agents.beat)
        every(clock.watch_s, lambda: self._step("watch", lambda: brain.watch(self.agenda.now)))
        every(clock.tick_s, lambda: self._step("ticks", lambda: brain.tick(self.agenda.now)))
        every(clock.meter_s, lambda: self._step("metering", lambda: brain.meter(self.agenda.now, DAY)))
        every(clock.reoptimise_s, self._reoptimise)
        every(clock.report_s, self.sampler.report)
        every(clock.sample_s, self._sample)
        self.attendance.begin(self.scenario)
        self.incidents.begin(self.scenario)

    def _step(self, why: str, decide: Callable[[], list[Effect]]) -> None:
        self.shell.step(why, decide)

    def _sample(self) -> None:
        self.sampler.sample()
        self._progress(self.sampler.samples[-1])

    def _reoptimise(self) -> None:
        """Think the whole assignment over, and make the moves a little later."""
        begun = time.perf_counter()
        problem = self.shell.brain.reoptimisation(self.agenda.now)
        moves = solve(problem) if problem is not None else []
        self.shell.core_s["re-optimisation"] += time.perf_counter() - begun
        if moves:
            self.agenda.after(
                SOLVED_AFTER_S,
                lambda: self._step("re-optimisation", lambda: self.shell.brain.move_rooms(moves, self.agenda.now)),
            )

    # --- Figures ---

    def report(self) -> SimulationReport:
        """What has come of it so far."""
        return SimulationReport(
            scenario=self.scenario.title,
            policy=self.policy,
            seed=self.seed,
            duration_s=self.agenda.now,
            world=self._world(),
            quality=self._quality(),
            latency=self._latency(),
            joins=self._joins(),
            moves=self._moves(),
            incidents=[self._incident(happening) for happening in self.incidents.happenings],
            cost=self._cost(),
            load=self._load(),
            violations=self._violations(),
            samples=self.sampler.samples,
            run=self._run(),
        )

    def _run(self) -> RunFigures:
        core_s = dict(sorted(self.shell.core_s.items(), key=lambda entry: -entry[1]))
        return RunFigures(seconds=self._seconds, core_s=core_s, events=self.agenda.done)

    def _world(self) -> WorldFigures:
        inside_ms, between_ms = network_means_ms(self.scenario)
        return WorldFigures(
            people=self.scenario.people,
            nodes=len(self.fleet.nodes),
            edges=len(self.fleet.edges),
            sites=len(all_sites(self.scenario)),
            units=sum(node.kind.units for node in self.fleet.nodes.values()),
            inside_network_ms=inside_ms,
            between_networks_ms=between_ms,
        )

    def _quality(self) -> QualityFigures:
        quality = self.sampler.quality
        halves = quality.counts
        return QualityFigures(
            mean=quality.mean,
            p5=quality.quantile(0.05),
            p50=quality.quantile(0.5),
            below_good_share=quality.share_below(GOOD),
            smaller_pictures_share=self.sampler.smaller / max(1, self.sampler.rtt_ms.count),
            mean_opinion_score=mean_opinion_score(quality.mean),
            histogram=[int(halves[2 * at : 2 * at + 2].sum()) for at in range(101)],
        )

    def _latency(self) -> LatencyFigures:
        by = self.sampler.rtt_ms_by
        places, lines, networks = (
            {name: found.summary() for name, found in by[key].items()} for key in ("places", "lines", "networks")
        )
        return LatencyFigures(
            rtt_ms=self.sampler.rtt_ms.summary(),
            by_place_ms=places,
            by_line_ms=lines,
            by_network_ms=networks,
            curves_ms={name: thinned(found.curve(), CURVE_POINTS) for name, found in by["places"].items()},
        )

    def _joins(self) -> JoinFigures:
        visits = self.visits
        return JoinFigures(
            asked=visits.asked,
            placed=visits.placed,
            turned_away=visits.turned_away,
            wait_s=self.pictures.waits_s.summary(),
            refusals=dict(sorted(visits.refusals.items())),
        )

    def _moves(self) -> MoveFigures:
        return MoveFigures(
            by_reason=dict(sorted(self.shell.moves.items())),
            line_changes=self.visits.line_changes,
            resumes=self.visits.resumes,
            without_picture_s={cause: found.summary() for cause, found in sorted(self.pictures.dark_s.items())},
        )

    def _incident(self, happening: Happening) -> IncidentFigures:
        incident, known = happening.incident, happening.known_s
        dark: Distribution = self.pictures.dark_s.get(happening.cause) or dark_times()
        return IncidentFigures(
            what=incident.what.value,
            target=happening.machines[0].name if len(happening.machines) == 1 else incident.target,
            at_s=incident.at_s,
            for_s=incident.for_s,
            machines=len(happening.machines),
            lost_picture=happening.darkened,
            known_s=max(known.values()) if known else None,
            without_picture_s=dark.summary(),
            sessions_lost=self.visits.lost_by_cause[happening.cause],
        )

    def _cost(self) -> CostFigures:
        totals = Totals()
        for record in self.shell.brain.state.usage.values():
            totals.add(record.totals)
        viewer_hours = totals.participant_s / 3_600.0
        return CostFigures(
            metered_cost=totals.cost,
            metered_unit_hours=totals.unit_s / 3_600.0,
            metered_energy_wh=totals.energy_wh,
            metered_carbon_g=totals.carbon_g,
            energy_wh=self.sampler.energy_wh,
            carbon_g=self.sampler.carbon_g,
            cost_per_viewer_hour=totals.cost / viewer_hours if viewer_hours else 0.0,
            energy_wh_per_viewer_hour=self.sampler.energy_wh / viewer_hours if viewer_hours else 0.0,
        )

    def _load(self) -> LoadFigures:
        samples = self.sampler.samples
        return LoadFigures(
            nodes=self.sampler.node_load.summary(),
            by_kind={name: found.summary() for name, found in self.sampler.kind_load.items()},
            units_used_share=sum(sample.units_used_share for sample in samples) / max(1, len(samples)),
        )

    def _violations(self) -> ViolationFigures:
        sampler = self.sampler
        return ViolationFigures(
            nodes_over_capacity=len(self.agents.over_capacity),
            edges_over_capacity=len(sampler.over_places),
            claims_refused=self.shell.book.refused,
            views_drawn_twice_s=sampler.drawn_twice_s,
            sessions_lost=dict(sorted(self.visits.lost.items())),
            latency_cap_ms=self.scenario.latency.cap_ms,
            over_latency_cap_share=sampler.over_cap / max(1, sampler.rtt_ms.count),
        )
