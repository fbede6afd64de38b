"""Where everything is, and the round trips between: the truth, which the broker only learns by measurement."""

import math
from random import Random
from typing import NamedTuple

from farstage.simulation.layout import all_sites
from farstage.simulation.scenario import Line, Scenario


class Point(NamedTuple):
    """On the plane, in milliseconds of round trip from the city's centre."""

    x_ms: float
    y_ms: float


class Home(NamedTuple):
    """Where somebody is: `place` and `network` are indices into the scenario's lists."""

    point: Point
    place: int
    network: int


class Access(NamedTuple):
    """Somebody's line at present: `line` is an index into the scenario's list."""

    line: int
    rtt_ms: float
    jitter_ms: float
    loss: float
    bandwidth_bps: float


def on_circle(circle_ms: float, bearing_degrees: float) -> Point:
    """The point at this bearing."""
    angle = math.radians(bearing_degrees)
    return Point(circle_ms * math.cos(angle), circle_ms * math.sin(angle))


def distance_ms(one: Point, other: Point) -> float:
    """Round trip between two points."""
    return math.hypot(one.x_ms - other.x_ms, one.y_ms - other.y_ms)


class Geography:
    """The scenario's world. Sites and networks are told by their names."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._latency = scenario.latency
        self._sites = {site.name: on_circle(site.circle_ms, site.bearing_degrees) for site in all_sites(scenario)}
        self._networks = {network.name: at for at, network in enumerate(scenario.networks)}
        self._trunks: dict[tuple[str, str], float] = {}

    def client_ms(self, home: Home, access: Access, site: str, network: str) -> float:
        """Round trip of a client to an edge of a network at a site."""
        return access.rtt_ms + self.way_ms(home, site, network)

    def way_ms(self, home: Home, site: str, network: str) -> float:
        """What of it is not the access line's."""
        is_inside = home.network == self._networks[network]
        way = self._latency.inside_network_ms if is_inside else self._latency.between_networks_ms
        return distance_ms(home.point, self._sites[site]) + way

    def trunk_ms(self, site: str, other: str) -> float:
        """Round trip between an edge at one site and a node at another."""
        known = self._trunks.get((site, other))
        if known is None:
            known = self._latency.trunk_ms + distance_ms(self._sites[site], self._sites[other])
            self._trunks[site, other] = known
        return known

    def home(self, random: Random) -> Home:
        """Somewhere to live, with a provider."""
        places = self._scenario.places
        place = random.choices(range(len(places)), [place.share for place in places])[0]
        inner, outer = places[place].from_ms, places[place].to_ms
        radius_ms = math.sqrt(random.uniform(inner * inner, outer * outer))
        point = on_circle(radius_ms, random.uniform(0.0, 360.0))
        networks = self._scenario.networks
        network = random.choices(range(len(networks)), [network.share for network in networks])[0]
        return Home(point, place, network)

    def access(self, random: Random) -> Access:
        """A line of one of the kinds there are."""
        lines = self._scenario.lines
        line = random.choices(range(len(lines)), [line.share for line in lines])[0]
        return _drawn(random, line, lines[line])


def _drawn(random: Random, at: int, line: Line) -> Access:
    return Access(
        line=at,
        rtt_ms=line.rtt_ms * _about_one(random, line.rtt_spread),
        jitter_ms=line.jitter_ms * random.uniform(0.5, 1.5),
        loss=min(1.0, line.loss * random.uniform(0.5, 1.5)),
        bandwidth_bps=line.bandwidth_mbps * 1e6 * _about_one(random, line.bandwidth_spread),
    )


def _about_one(random: Random, sigma: float) -> float:
    """Lognormal with a mean of one."""
    return random.lognormvariate(-sigma * sigma / 2.0, sigma)
