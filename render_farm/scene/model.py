"""What a scene is: immutable content, in two halves.

`Places` says where people can be (spawn points, seats, exhibits, stage cameras, walls): worlds and the CPU
renderer need no more. `Geometry` says what it looks like: meshes, materials and instances for the wgpu renderer.
Both come from one glTF file (`render_farm.scene.gltf`), the places from its nodes' `extras` (see README,
"Your own scene").
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


class SceneError(Exception):
    """A scene cannot be used; the message names the file, the fault and, where there is one, the limit."""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A thing to look at closely. `title` by language tag (`en`, `zh`); `radius` encloses it, in metres."""

    exhibit: str
    title: dict[str, str]
    position: tuple[float, float, float]
    radius: float
    yaw: float = 0.0


@dataclass(frozen=True, slots=True)
class StageCamera:
    """A fixed camera of the conference stage, by name."""

    name: str
    position: tuple[float, float, float]
    yaw: float
    pitch: float


@dataclass(frozen=True, slots=True)
class Places:
    """Where people can be.

    `bounds`: (min_x, min_z, max_x, max_z) in metres. `spawns`: float32 (n, 4) of x, y, z, yaw, n >= 1.
    `seats`: float32 (m, 4) likewise. `walls`: float32 (k, 4), axis-aligned rectangles on the ground
    (min_x, min_z, max_x, max_z) that nobody walks through.
    """

    bounds: tuple[float, float, float, float]
    spawns: NDArray[np.float32]
    seats: NDArray[np.float32]
    walls: NDArray[np.float32]
    exhibits: tuple[Exhibit, ...] = ()
    stage_cameras: tuple[StageCamera, ...] = ()


@dataclass(frozen=True, slots=True)
class Material:
    """`base_color` linear RGBA factor; `texture`, the base colour's, an index into `Geometry.textures`.

    `metallic` and `roughness` in [0, 1], as glTF defines them; `emissive`, linear RGB, is multiplied by the texture.
    """

    base_color: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    texture: int | None = None
    double_sided: bool = False
    alpha_cutoff: float | None = None
    metallic: float = 0.0
    roughness: float = 1.0
    emissive: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle list. `positions`, `normals`: float32 (n, 3); `uvs`: float32 (n, 2); `indices`: uint32 (3t,)."""

    positions: NDArray[np.float32]
    normals: NDArray[np.float32]
    uvs: NDArray[np.float32]
    indices: NDArray[np.uint32]
    material: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """What the scene looks like.

    `textures`: uint8 (h, w, 4) arrays, sRGB. `instance_mesh`: uint32 (n,), which mesh each instance draws;
    `instance_transform`: float32 (n, 4, 4), column vectors, model to world.
    """

    meshes: tuple[Mesh, ...]
    materials: tuple[Material, ...]
    textures: tuple[NDArray[np.uint8], ...]
    instance_mesh: NDArray[np.uint32]
    instance_transform: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A named scene; compared and hashed by identity."""

    name: str
    places: Places
    geometry: Geometry
    title: dict[str, str] = field(default_factory=dict)
