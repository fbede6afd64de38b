"""A scenario's machines one by one: sites that are described once and stand many times, nodes and edges by name."""

from typing import NamedTuple

from msgspec.structs import replace

from farstage.simulation.scenario import Edges, Nodes, Scenario, Site


class NodeSeat(NamedTuple):
    """A node: `SITE-KIND-NUMBER`, at a site, as `nodes` describes it."""

    name: str
    site: str
    entry: Nodes


class EdgeSeat(NamedTuple):
    """An edge: `SITE-NETWORK-NUMBER`, at a site, as `edges` describes it."""

    name: str
    site: str
    entry: Edges


def sites_of(site: Site) -> list[Site]:
    """Those that one entry stands for, evenly around their circle; several are named `NAME-NUMBER`."""
    if site.count == 1:
        return [site]
    step_degrees = 360.0 / site.count
    return [
        replace(site, name=f"{site.name}-{at}", bearing_degrees=(site.bearing_degrees + at * step_degrees) % 360.0)
        for at in range(site.count)
    ]


def all_sites(scenario: Scenario) -> list[Site]:
    """Every site."""
    return [each for site in scenario.sites for each in sites_of(site)]


def all_nodes(scenario: Scenario) -> list[NodeSeat]:
    """Every node; what `nodes` says of a site holds for each that its entry stands for."""
    names = _names(scenario)
    return [
        NodeSeat(f"{site}-{entry.kind}-{at}", site, entry)
        for entry in scenario.nodes
        for site in names.get(entry.site, ())
        for at in range(entry.count)
    ]


def all_edges(scenario: Scenario) -> list[EdgeSeat]:
    """Every edge."""
    names = _names(scenario)
    return [
        EdgeSeat(f"{site}-{entry.network}-{at}", site, entry)
        for entry in scenario.edges
        for site in names.get(entry.site, ())
        for at in range(entry.count)
    ]


def _names(scenario: Scenario) -> dict[str, list[str]]:
    return {site.name: [each.name for each in sites_of(site)] for site in scenario.sites}
