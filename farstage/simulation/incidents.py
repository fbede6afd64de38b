"""What happens to machines: crashes, silence, lines to the broker that break, drains; and what became of each."""

from dataclasses import dataclass, field
from functools import partial

from broker.core.effects import AgentKey
from farstage.simulation.agents import Agents
from farstage.simulation.fleet import Edge, Machine, Node
from farstage.simulation.scenario import BUSIEST_EDGE, BUSIEST_NODE, Incident, What
from farstage.simulation.visits import Visits
from farstage.simulation.world import World


@dataclass(slots=True)
class Happening:
    """An incident that has begun. `cause` is the name under which people who see no picture are counted."""

    incident: Incident
    cause: str
    machines: list[Node | Edge]
    known_s: dict[str, float] = field(default_factory=dict)
    """By machine, how long it took until the broker took it for dead."""
    darkened: int = 0
    """People who lost their picture at once."""


class Incidents:
    """Lets them happen, and ends them."""

    def __init__(self, world: World, agents: Agents, visits: Visits) -> None:
        self._scenario, self._agenda, self._fleet = world.scenario, world.agenda, world.fleet
        self._shell, self._pictures = world.shell, world.pictures
        self._agents, self._visits = agents, visits
        self.happenings: list[Happening] = []
        self._shell.on_lost = self._lost

    def begin(self) -> None:
        """Note down what is to happen."""
        for incident in self._scenario.incidents:
            self._agenda.after(incident.at_s, partial(self._happen, incident))

    def _happen(self, incident: Incident) -> None:
        machines = self._machines(incident.target)
        name = machines[0].name if incident.target in (BUSIEST_NODE, BUSIEST_EDGE) else incident.target
        happening = Happening(incident, f"{incident.what.value} of {name} at {incident.at_s:g} s", machines)
        self.happenings.append(happening)
        match incident.what:
            case What.CRASH | What.SILENCE:
                self._kill(happening)
            case What.PARTITION:
                for machine in machines:
                    machine.has_line = False
            case What.DRAIN:
                for machine in machines:
                    self._drain(machine, incident.deadline_s)
        if incident.for_s is not None:
            self._agenda.after(incident.for_s, lambda: self._end(happening))

    def _machines(self, target: str) -> list[Node | Edge]:
        nodes, edges = self._fleet.nodes, self._fleet.edges
        if target == BUSIEST_NODE:
            return [max(nodes.values(), key=lambda node: (node.used_milliunits, node.name))]
        if target == BUSIEST_EDGE:
            return [max(edges.values(), key=lambda edge: (len(edge.sessions), edge.name))]
        if target in nodes:
            return [nodes[target]]
        if target in edges:
            return [edges[target]]
        return [machine for machine in self._fleet.machines() if machine.site == target]

    # --- Death ---

    def _kill(self, happening: Happening) -> None:
        closed = happening.incident.what is What.CRASH
        machines = [machine for machine in happening.machines if machine.is_alive]
        for machine in machines:
            machine.is_alive = False
            self._agents.noticed(machine, closed=closed)
        dark = self._dark()
        for machine in machines:
            self._look_at(machine, happening.cause)
        happening.darkened = self._dark() - dark
        for machine in machines:
            self._abandon(machine)
            self._fleet.wipe(machine)

    def _dark(self) -> int:
        return sum(visitor.dark_since is not None for visitor in self._pictures.visitors.values())

    def _look_at(self, machine: Node | Edge, cause: str) -> None:
        match machine:
            case Node():
                self._pictures.look_at_node(machine, cause)
            case Edge():
                self._pictures.look_at_edge(machine, cause)

    def _abandon(self, machine: Node | Edge) -> None:
        """Who is connected to a dead edge will look for another."""
        for visitor in list(self._pictures.visitors.values()) if isinstance(machine, Edge) else ():
            if visitor.edge is machine and visitor.connected:
                self._visits.connection_fell_silent(visitor)

    def _lost(self, key: AgentKey) -> None:
        """The broker takes an agent for dead."""
        for happening in self.happenings:
            if any(machine.key == key for machine in happening.machines) and key.name not in happening.known_s:
                happening.known_s[key.name] = self._agenda.now - happening.incident.at_s

    # --- Drains ---

    def _drain(self, machine: Machine, deadline_s: float) -> None:
        self._shell.step("drains", lambda: self._shell.brain.drain(machine.key, deadline_s, self._agenda.now))

    # --- The end of it ---

    def _end(self, happening: Happening) -> None:
        for machine in happening.machines:
            match happening.incident.what:
                case What.DRAIN:
                    self._undrain(machine)
                case _:
                    machine.is_alive = machine.has_line = True
                    machine.is_registered = False
                    self._agents.register(machine)

    def _undrain(self, machine: Machine) -> None:
        self._shell.step("drains", lambda: self._shell.brain.cancel_drain(machine.key))
