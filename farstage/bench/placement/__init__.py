"""`farstage bench placement`: the core's placement against the exact optimum and against the rules of others."""

from farstage.bench.placement.measure import PlacementReport, PlacementSettings, measure

__all__ = ["PlacementReport", "PlacementSettings", "measure"]
