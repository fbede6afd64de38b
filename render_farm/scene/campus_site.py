"""A building site: collects the campus's models and placed nodes, walls with their footprints included."""

from collections.abc import Iterable, Sequence
from typing import Any

from render_farm.scene.glb_writer import Model, PlacedModel
from render_farm.scene.shapes import Point, Shape, box, centred_box, lathe

DOOR_HEIGHT_M = 3.4
_WALKER_HEIGHT_M = 2.2
"""What begins above this stands in nobody's way."""


class Site:
    """What has been built so far. `models` by name; `nodes` in the order in which they were placed."""

    def __init__(self) -> None:
        self.models: dict[str, list[tuple[str, Shape]]] = {}
        self.nodes: list[PlacedModel] = []

    def structure(self, name: str, *parts: tuple[str, Shape]) -> None:
        """Add fixed parts, in world coordinates, to the model `name`, which stands in the world once."""
        if name not in self.models:
            self.models[name] = []
            self.nodes.append(PlacedModel(model=name, name=name))
        self.models[name].extend(parts)

    def define(self, name: str, model: Model) -> None:
        """Define a model that is placed any number of times with `place`."""
        self.models[name] = list(model)

    def place(
        self,
        model: str | None,
        position: Point,
        yaw: float = 0.0,
        *,
        pitch: float = 0.0,
        scale: float = 1.0,
        place: dict[str, Any] | None = None,
    ) -> None:
        """Put a node into the world; `place` is its `extras.farstage`."""
        self.nodes.append(PlacedModel(model, position, yaw, pitch, scale, place))

    def block(self, low_x: float, low_z: float, high_x: float, high_z: float) -> None:
        """Make a rectangle of the ground impassable."""
        centre = ((low_x + high_x) / 2, 0.0, (low_z + high_z) / 2)
        size = [round(high_x - low_x, 3), round(high_z - low_z, 3)]
        self.place(None, centre, place={"kind": "wall", "size": size})

    def solid(self, name: str, finish: str, low: Point, high: Point, omit: Sequence[str] = ("bottom",)) -> None:
        """Add a box that stands in the way if it begins below head height."""
        self.structure(name, (finish, box(low, high, omit)))
        if low[1] < _WALKER_HEIGHT_M:
            self.block(low[0], low[2], high[0], high[2])

    def wall_along_x(
        self, name: str, finish: str, z: float, extent: tuple[float, float], height: float, doors: Iterable[float] = ()
    ) -> None:
        """A wall 0.6 m thick centred on `z`, with openings 4 m wide centred on each of `doors`."""
        for low, high in _solid_runs(extent, doors):
            self.solid(name, finish, (low, 0.0, z - 0.3), (high, height, z + 0.3))
        for door in doors:
            lintel = box((door - 2.0, DOOR_HEIGHT_M, z - 0.3), (door + 2.0, height, z + 0.3), ("left", "right"))
            self.structure(name, (finish, lintel))

    def wall_along_z(
        self, name: str, finish: str, x: float, extent: tuple[float, float], height: float, doors: Iterable[float] = ()
    ) -> None:
        """Like `wall_along_x`, with x and z exchanged."""
        for low, high in _solid_runs(extent, doors):
            self.solid(name, finish, (x - 0.3, 0.0, low), (x + 0.3, height, high))
        for door in doors:
            lintel = box((x - 0.3, DOOR_HEIGHT_M, door - 2.0), (x + 0.3, height, door + 2.0), ("front", "back"))
            self.structure(name, (finish, lintel))
            self._door_frame(name, x, door)

    def column(self, name: str, finish: str, x: float, z: float, height: float, radius: float = 0.45) -> None:
        """A round column with base and capital."""
        base = centred_box((x, 0.2, z), (radius * 2.7, 0.4, radius * 2.7))
        shaft = lathe([(radius * 0.86, height - 0.3), (radius, 0.4)], 20).moved((x, 0.0, z))
        capital = centred_box((x, height - 0.15, z), (radius * 2.6, 0.3, radius * 2.6), ())
        self.structure(name, (finish, shaft), ("limestone", base), ("limestone", capital))
        self.block(x - radius, z - radius, x + radius, z + radius)

    def _door_frame(self, name: str, x: float, z: float) -> None:
        for side in (-1, 1):
            edge = z + side * 2.0
            jamb = box(
                (x - 0.42, 0.0, min(edge, edge + side * 0.22)), (x + 0.42, DOOR_HEIGHT_M, max(edge, edge + side * 0.22))
            )
            self.structure(name, ("granite", jamb))
        head = box((x - 0.42, DOOR_HEIGHT_M, z - 2.22), (x + 0.42, DOOR_HEIGHT_M + 0.3, z + 2.22), ())
        self.structure(name, ("granite", head))


def _solid_runs(extent: tuple[float, float], doors: Iterable[float]) -> list[tuple[float, float]]:
    runs, start = [], extent[0]
    for door in sorted(doors):
        runs.append((start, door - 2.0))
        start = door + 2.0
    return [*runs, (start, extent[1])]
