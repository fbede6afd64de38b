"""Small scenarios, written as a person would write them, and changed key by key."""

import copy
import tomllib
from typing import Any

import msgspec

from farstage.simulation.scenario import Scenario

TINY = tomllib.loads("""
title = "Two sites, a dozen people"
duration_s = 60

[clock]
sample_s = 1.0

[[places]]
name = "town"
share = 1.0
to_ms = 4.0

[[networks]]
name = "net"
share = 1.0

[[lines]]
name = "fibre"
share = 1.0
rtt_ms = 5.0

[[sites]]
name = "east"
circle_ms = 1.0

[[sites]]
name = "west"
circle_ms = 4.0
bearing_degrees = 180.0

[[node_kinds]]
name = "card"
units = 8.0
watts_idle = 50.0
watts_full = 250.0

[[nodes]]
site = "east"
kind = "card"
count = 2

[[nodes]]
site = "west"
kind = "card"
count = 2

[[edges]]
site = "east"
network = "net"

[[edges]]
site = "west"
network = "net"

[[rooms]]
name = "team"
mode = "explore"
people = 8
people_per_room = 4
stay_s = 1000.0
arrive_over_s = 5.0
gather_s = 2.0

[[rooms]]
name = "hall"
mode = "conference"
people = 4
people_per_room = 4
stay_s = 1000.0
arrive_over_s = 5.0
""")


def document(**changes: Any) -> dict[str, Any]:
    """The tiny scenario as TOML gives it, with top-level keys exchanged."""
    return copy.deepcopy(TINY) | changes


def scenario(**changes: Any) -> Scenario:
    """The same, read."""
    return msgspec.convert(document(**changes), Scenario)


def crash(target: str, at_s: float = 30.0, what: str = "crash", **more: Any) -> dict[str, Any]:
    """An entry of `incidents`."""
    return {"what": what, "target": target, "at_s": at_s, **more}
