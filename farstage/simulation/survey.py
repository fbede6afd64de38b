"""What a scenario's world is like before anybody has come: how far its people are from its edges."""

from random import Random

from farstage.simulation.geography import Geography, Home
from farstage.simulation.layout import all_edges
from farstage.simulation.scenario import Scenario

HOMES = 10_000


def network_means_ms(scenario: Scenario) -> tuple[float, float]:
    """Mean round trip of people to the nearest edge of their own network, and to the nearest of another.

    Lines do not depend on where people live, so their mean is exact; homes are drawn. 0 where there is no such edge.
    """
    geography, random = Geography(scenario), Random("survey")
    doors = sorted({(seat.site, seat.entry.network) for seat in all_edges(scenario)})
    homes = [geography.home(random) for _ in range(HOMES)]
    names = [network.name for network in scenario.networks]
    ways_ms: dict[bool, list[float]] = {True: [], False: []}
    for home in homes:
        for is_own, found in ways_ms.items():
            found += _nearest_ms(
                geography, home, [door for door in doors if (door[1] == names[home.network]) is is_own]
            )
    return _mean_ms(scenario, ways_ms[True]), _mean_ms(scenario, ways_ms[False])


def _nearest_ms(geography: Geography, home: Home, doors: list[tuple[str, str]]) -> list[float]:
    return [min(geography.way_ms(home, *door) for door in doors)] if doors else []


def _mean_ms(scenario: Scenario, ways_ms: list[float]) -> float:
    shares = sum(line.share for line in scenario.lines)
    access_ms = sum(line.share * line.rtt_ms for line in scenario.lines) / shares
    return access_ms + sum(ways_ms) / len(ways_ms) if ways_ms else 0.0
