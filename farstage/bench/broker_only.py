"""A farm of a real broker alone, to which benchmarks add nodes and edges of their own."""

from pathlib import Path

from farstage import config as configuration
from farstage.bench.latency import free_ports
from farstage.farm import Farm, FarmSettings
from farstage.up import reachable


def broker_only(folder: Path, store_url: str, *more: str) -> Farm:
    """The farm, to be entered. `more` are settings, as on the command line."""
    broker, edge, node = free_ports(3)
    flags = [
        f"broker.port={broker}",
        f"broker.store_url={store_url}",
        "broker.guest_joins_per_minute=1000000",
        f"edge.port={edge}",
        f"node.port={node}",
        "log.format=json",
        *more,
    ]
    config = reachable(configuration.load(environment={}, flags=flags))
    return Farm(FarmSettings(config, folder, nodes=0, edges=0))
