"""What everything in a simulation happens in: time, places, machines, the broker, and who sees what."""

from dataclasses import dataclass

from farstage.simulation.agenda import Agenda
from farstage.simulation.fleet import Fleet
from farstage.simulation.geography import Geography
from farstage.simulation.pictures import Pictures
from farstage.simulation.scenario import Scenario
from farstage.simulation.shell import Shell


@dataclass(frozen=True, slots=True)
class World:
    """The parts, of which each is told of the others by whoever needs them."""

    scenario: Scenario
    agenda: Agenda
    geography: Geography
    fleet: Fleet
    shell: Shell
    pictures: Pictures

    @classmethod
    def of(cls, scenario: Scenario, policy: str) -> "World":
        """As it is before anything has happened."""
        agenda, fleet = Agenda(), Fleet(scenario)
        return cls(
            scenario=scenario,
            agenda=agenda,
            geography=Geography(scenario),
            fleet=fleet,
            shell=Shell(scenario, policy, lambda: agenda.now),
            pictures=Pictures(fleet, lambda: agenda.now),
        )
