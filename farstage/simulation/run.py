"""One simulation, from a scenario to its report."""

import time
from collections.abc import Callable
from random import Random

from broker.core.effects import Effect
from broker.core.reoptimisation import Move, solve
from farstage.simulation.agents import Agents
from farstage.simulation.attendance import Attendance
from farstage.simulation.figures import Figures
from farstage.simulation.incidents import Incidents
from farstage.simulation.report import SimulationReport
from farstage.simulation.sampling import Sample, Sampler
from farstage.simulation.scenario import Scenario
from farstage.simulation.visits import Visits
from farstage.simulation.world import World

DAY = "2026-11-29"
SOLVED_AFTER_S = 0.5
"""How long the broker thinks a whole assignment over before it moves rooms."""


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
        self.world = World.of(scenario, self.policy)
        self.world.shell.validates = validates
        self.agents = Agents(self.world)
        self.visits = Visits(self.world, self.agents, Random(f"{self.seed} people"))
        self.attendance = Attendance(self.world, self.visits, Random(f"{self.seed} attendance"))
        self.incidents = Incidents(self.world, self.agents, self.visits)
        self.sampler = Sampler(self.world, self.agents, self.visits)

    def run(self) -> SimulationReport:
        """Let it all happen."""
        begun = time.perf_counter()
        self._begin()
        self.world.agenda.run(self.scenario.duration_s)
        figures = Figures(self.world, self.agents, self.visits, self.incidents, self.sampler)
        return figures.report(self.policy, self.seed, time.perf_counter() - begun)

    def _begin(self) -> None:
        for machine in self.world.fleet.machines():
            self.agents.register(machine)
        clock, every, brain = self.scenario.clock, self.world.agenda.every, self.world.shell.brain
        every(clock.heartbeat_s, self.agents.beat)
        every(clock.watch_s, lambda: self._step("watch", lambda: brain.watch(self.world.agenda.now)))
        every(clock.tick_s, lambda: self._step("ticks", lambda: brain.tick(self.world.agenda.now)))
        every(clock.meter_s, lambda: self._step("metering", lambda: brain.meter(self.world.agenda.now, DAY)))
        every(clock.reoptimise_s, self._reoptimise)
        every(clock.report_s, self.sampler.report)
        every(clock.sample_s, self._sample)
        self.attendance.begin()
        self.incidents.begin()

    def _step(self, why: str, decide: Callable[[], list[Effect]]) -> None:
        self.world.shell.step(why, decide)

    def _sample(self) -> None:
        self.sampler.sample()
        self._progress(self.sampler.samples[-1])

    def _reoptimise(self) -> None:
        """Think the whole assignment over, and make the moves a little later."""
        begun = time.perf_counter()
        problem = self.world.shell.brain.reoptimisation(self.world.agenda.now)
        moves = solve(problem) if problem is not None else []
        self.world.shell.core_s["re-optimisation"] += time.perf_counter() - begun
        if moves:
            self.world.agenda.after(SOLVED_AFTER_S, lambda: self._move(moves))

    def _move(self, moves: list[Move]) -> None:
        self._step("re-optimisation", lambda: self.world.shell.brain.move_rooms(moves, self.world.agenda.now))
