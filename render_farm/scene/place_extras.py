"""Places in a glTF file: what a scene's author writes into a node's `extras.farstage`.

Every place is a node; where it stands and looks is the node's transform to the world. A node looks along its -z.

* `{"kind": "spawn"}`: people arrive here; the node's origin is the floor under their feet.
* `{"kind": "seat"}`: a seat; the node's origin is between the sitter's feet.
* `{"kind": "exhibit", "id": "vase", "title": {"en": "Vase", "zh": "瓶"}, "radius": 0.6}`: a thing to look at closely;
  without `radius` the box around the meshes of the node and its descendants tells it.
* `{"kind": "stage_camera", "name": "stage"}`: a fixed camera of the conference stage.
* `{"kind": "wall", "size": [4.0, 0.3]}`: nobody walks through this rectangle, x by z metres around the origin; without
  `size` it is the box around the meshes of the node and its descendants.
* `{"kind": "bounds", "size": [400.0, 250.0]}`: how far people may walk, around the origin; at most one.

The glTF scene's own `extras.farstage` may carry `{"title": {"en": "...", "zh": "..."}}`.
A file without spawns, exhibits, stage cameras or bounds gets them from its geometry: bounds with room around the
content, one spawn in front of it and looking at it, the whole model as one exhibit, one camera on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from render_farm.scene.gltf_document import Document, Extras
from render_farm.scene.gltf_nodes import PlacedNode
from render_farm.scene.model import Exhibit, Places, StageCamera

Box = tuple[NDArray[np.float32], NDArray[np.float32]]
"""An axis-aligned box in the world: low and high corner, float32 (3,)."""

Title = Annotated[
    dict[Annotated[str, Meta(max_length=16)], Annotated[str, Meta(max_length=120)]],
    Meta(max_length=32),
]
_Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
_Length = Annotated[float, Meta(gt=0, le=1e5)]


class _Kind(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of the extras; a misspelt key is a fault that names it."""


class SpawnExtras(_Kind, frozen=True, tag="spawn"):
    """People arrive here."""


class SeatExtras(_Kind, frozen=True, tag="seat"):
    """A seat of the assembly."""


class ExhibitExtras(_Kind, frozen=True, tag="exhibit"):
    """A thing to look at closely."""

    id: _Name
    title: Title = {}
    radius: _Length | None = None


class StageCameraExtras(_Kind, frozen=True, tag="stage_camera"):
    """A fixed camera of the conference stage."""

    name: _Name


class WallExtras(_Kind, frozen=True, tag="wall"):
    """A rectangle on the ground that nobody walks through."""

    size: tuple[_Length, _Length] | None = None


class BoundsExtras(_Kind, frozen=True, tag="bounds"):
    """How far people may walk."""

    size: tuple[_Length, _Length]


PlaceExtras = SpawnExtras | SeatExtras | ExhibitExtras | StageCameraExtras | WallExtras | BoundsExtras


class _SceneExtras(Struct, frozen=True):
    title: Title = {}


@dataclass(slots=True)
class _Found:
    spawns: list[list[float]] = field(default_factory=list)
    seats: list[list[float]] = field(default_factory=list)
    walls: list[list[float]] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    stage_cameras: list[StageCamera] = field(default_factory=list)
    bounds: tuple[float, float, float, float] | None = None


def read_places(
    document: Document, placed: Sequence[PlacedNode], boxes: Sequence[Box | None], title: dict[str, str]
) -> Places:
    """The places of a scene; `boxes[i]` encloses what node `placed[i]` and its descendants draw.

    Raises `SceneError` for extras that are wrong or too many.
    """
    found = _Found()
    count = 0
    for entry, box in zip(placed, boxes, strict=True):
        extras = _node_extras(document, entry)
        if extras is None:
            continue
        count += 1
        if count > document.limits.max_places:
            raise document.fault(f"has more than {document.limits.max_places} places")
        _add(document, found, extras, entry, box)
    return _with_defaults(found, _union(boxes), title)


def read_title(document: Document) -> dict[str, str]:
    """The title of the glTF scene by language tag, or an empty dictionary. Raises `SceneError`."""
    scenes = document.json.scenes
    if document.json.scene >= len(scenes):
        return {}
    raw = _farstage(scenes[document.json.scene].extras)
    if raw is None:
        return {}
    try:
        return msgspec.json.decode(raw, type=_SceneExtras).title
    except (msgspec.MsgspecError, RecursionError) as error:
        raise document.fault(f"the scene's extras.farstage is wrong: {error}") from error


def _farstage(extras: msgspec.Raw) -> bytes | None:
    """Other programs write anything into `extras`; only an object with our key concerns us."""
    try:
        ours = bytes(msgspec.json.decode(extras, type=Extras).farstage)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return None if ours == b"null" else ours


def _node_extras(document: Document, entry: PlacedNode) -> PlaceExtras | None:
    raw = _farstage(entry.node.extras)
    if raw is None:
        return None
    try:
        decoded: PlaceExtras = msgspec.json.decode(raw, type=PlaceExtras)
    except (msgspec.MsgspecError, RecursionError) as error:
        label = f"{entry.index} ({entry.node.name[:40]!r})"
        raise document.fault(f"extras.farstage of node {label} is wrong: {error}") from error
    return decoded


def _add(document: Document, found: _Found, extras: PlaceExtras, entry: PlacedNode, box: Box | None) -> None:
    x, y, z = (float(value) for value in entry.transform[:3, 3])
    yaw, pitch = _look(entry.transform)
    match extras:
        case SpawnExtras():
            found.spawns.append([x, y, z, yaw])
        case SeatExtras():
            found.seats.append([x, y, z, yaw])
        case ExhibitExtras():
            found.exhibits.append(_exhibit(document, extras, (x, y, z), yaw, box))
        case StageCameraExtras():
            found.stage_cameras.append(StageCamera(extras.name, (x, y, z), yaw, pitch))
        case WallExtras():
            found.walls.append(_wall(document, extras, entry, box))
        case BoundsExtras():
            low_x, low_z, high_x, high_z = _rectangle(entry.transform, extras.size)
            found.bounds = (low_x, low_z, high_x, high_z)


def _look(transform: NDArray[np.float64]) -> tuple[float, float]:
    forward = -transform[:3, 2]
    yaw = math.atan2(-forward[0], -forward[2])
    return yaw, math.atan2(forward[1], math.hypot(forward[0], forward[2]))


def _exhibit(
    document: Document, extras: ExhibitExtras, origin: tuple[float, float, float], yaw: float, box: Box | None
) -> Exhibit:
    if box is None and extras.radius is None:
        raise document.fault(f"exhibit {extras.id!r} has neither meshes nor a radius")
    centre, radius = (origin, 1.0) if box is None else _sphere(box)
    return Exhibit(extras.id, dict(extras.title), centre, extras.radius or radius, yaw)


def _sphere(box: Box) -> tuple[tuple[float, float, float], float]:
    low, high = box
    x, y, z = ((low + high) / 2).tolist()
    return (x, y, z), max(0.01, float(np.linalg.norm(high - low)) / 2)


def _wall(document: Document, extras: WallExtras, entry: PlacedNode, box: Box | None) -> list[float]:
    if extras.size is not None:
        return list(_rectangle(entry.transform, extras.size))
    if box is None:
        raise document.fault(f"the wall at node {entry.index} has neither meshes nor a size")
    low, high = box
    return [float(low[0]), float(low[2]), float(high[0]), float(high[2])]


def _rectangle(transform: NDArray[np.float64], size: tuple[float, float]) -> tuple[float, float, float, float]:
    half_x, half_z = size[0] / 2, size[1] / 2
    corners = np.array([[sx * half_x, 0.0, sz * half_z, 1.0] for sx in (-1, 1) for sz in (-1, 1)])
    moved = (corners @ transform.T)[:, [0, 2]]
    (low_x, low_z), (high_x, high_z) = moved.min(axis=0).tolist(), moved.max(axis=0).tolist()
    return low_x, low_z, high_x, high_z


def _union(boxes: Sequence[Box | None]) -> Box:
    present = [box for box in boxes if box is not None]
    if not present:
        return np.array([-10.0, 0.0, -10.0], np.float32), np.array([10.0, 1.0, 10.0], np.float32)
    return np.min([low for low, _ in present], axis=0), np.max([high for _, high in present], axis=0)


def _with_defaults(found: _Found, box: Box, title: dict[str, str]) -> Places:
    """Fill in what the author left out: bounds around the content, one spawn facing it, the whole as exhibit."""
    centre, radius = _sphere(box)
    low, high = box
    spawn = [centre[0], float(low[1]), float(high[2]) + 1.5 * radius, 0.0]
    margin = 3.0 * radius
    around = (float(low[0]) - margin, float(low[2]) - margin, float(high[0]) + margin, float(high[2]) + margin)
    return Places(
        bounds=found.bounds or around,
        spawns=np.array(found.spawns or [spawn], np.float32).reshape(-1, 4),
        seats=np.array(found.seats, np.float32).reshape(-1, 4),
        walls=np.array(found.walls, np.float32).reshape(-1, 4),
        exhibits=tuple(found.exhibits) or (Exhibit("whole", title or {"en": "The model"}, centre, radius),),
        stage_cameras=tuple(found.stage_cameras) or (_default_stage_camera(centre, radius),),
    )


def _default_stage_camera(centre: tuple[float, float, float], radius: float) -> StageCamera:
    distance, height = 2.4 * radius, 0.6 * radius
    position = (centre[0], centre[1] + height, centre[2] + distance)
    return StageCamera("stage", position, 0.0, -math.atan2(height, distance))
