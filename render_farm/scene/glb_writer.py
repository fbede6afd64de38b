"""Generated scenes as binary glTF: shared meshes, textures as JPEG, places in the nodes' extras.

The bytes depend on the input alone: same scene, same file.
"""

import io
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from render_farm.scene.shapes import Shape

_JPEG_QUALITY = 82
_FLOAT, _BYTE, _UINT16, _UINT32 = 5126, 5120, 5123, 5125
_ARRAY_BUFFER, _ELEMENT_BUFFER = 34962, 34963


@dataclass(frozen=True, slots=True)
class Finish:
    """A material. `texture` names an image that covers `tile_m` metres (u, v); `color` is linear RGB."""

    texture: str | None = None
    tile_m: tuple[float, float] = (1.0, 1.0)
    color: tuple[float, float, float] = (1.0, 1.0, 1.0)
    metallic: float = 0.0
    roughness: float = 1.0
    double_sided: bool = False
    emissive: float = 0.0


Model = Sequence[tuple[str, Shape]]
"""What one glTF mesh draws: pairs of a finish's name and a shape."""


@dataclass(frozen=True, slots=True)
class PlacedModel:
    """A node. `model` names what it draws, if anything; `place` is its `extras.farstage`, see `place_extras`."""

    model: str | None = None
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw: float = 0.0
    pitch: float = 0.0
    scale: float = 1.0
    place: Mapping[str, Any] | None = None
    name: str = ""


class GlbWriter:
    """Collects a scene's parts; `finish` makes the file."""

    def __init__(self, finishes: Mapping[str, Finish], textures: Mapping[str, Callable[[], NDArray[np.uint8]]]) -> None:
        self._binary = bytearray()
        self._views: list[dict[str, Any]] = []
        self._accessors: list[dict[str, Any]] = []
        self._finishes = finishes
        self._textures = textures
        self._material_index: dict[str, int] = {}
        self._texture_index: dict[str, int] = {}
        self._materials: list[dict[str, Any]] = []
        self._images: list[dict[str, Any]] = []
        self._meshes: list[dict[str, Any]] = []
        self._mesh_index: dict[str, int] = {}
        self._nodes: list[dict[str, Any]] = []

    def add_model(self, name: str, model: Model) -> None:
        """Add a mesh that nodes can refer to by name; shapes of one finish become one primitive."""
        by_finish: dict[str, list[Shape]] = {}
        for finish, shape in model:
            by_finish.setdefault(finish, []).append(shape)
        self._mesh_index[name] = len(self._meshes)
        primitives = [self._primitive(finish, shapes) for finish, shapes in by_finish.items()]
        self._meshes.append({"name": name, "primitives": primitives})

    def add_node(self, placed: PlacedModel) -> None:
        """Add a node of the scene."""
        node: dict[str, Any] = {}
        if placed.name:
            node["name"] = placed.name
        if placed.model is not None:
            node["mesh"] = self._mesh_index[placed.model]
        if any(placed.position):
            node["translation"] = [_rounded(value) for value in placed.position]
        if placed.yaw or placed.pitch:
            node["rotation"] = _yaw_pitch_quaternion(placed.yaw, placed.pitch)
        if placed.scale != 1.0:
            node["scale"] = [_rounded(placed.scale)] * 3
        if placed.place is not None:
            node["extras"] = {"farstage": dict(placed.place)}
        self._nodes.append(node)

    def finish(self, title: Mapping[str, str], generator: str) -> bytes:
        """The file."""
        document = {
            "asset": {"version": "2.0", "generator": generator},
            "extensionsUsed": ["KHR_mesh_quantization"],
            "extensionsRequired": ["KHR_mesh_quantization"],
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self._nodes))), "extras": {"farstage": {"title": dict(title)}}}],
            "nodes": self._nodes,
            "meshes": self._meshes,
            "materials": self._materials,
            "textures": [{"source": index} for index in range(len(self._images))],
            "images": self._images,
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self._binary) + bytes(-len(self._binary) % 4)
        length = 12 + 8 + len(text) + 8 + len(binary)
        head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
        return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary

    def _primitive(self, finish: str, shapes: Sequence[Shape]) -> dict[str, Any]:
        positions = np.round(np.concatenate([shape.positions for shape in shapes]), 4).astype("<f4")
        normals = np.rint(np.concatenate([shape.normals for shape in shapes]) * 127).astype("<i1")
        tile = np.array(self._finishes[finish].tile_m)
        uvs = np.round(np.concatenate([shape.uvs for shape in shapes]) / tile, 4).astype("<f4")
        offsets = np.cumsum([0] + [len(shape.positions) for shape in shapes[:-1]])
        order = np.concatenate([shape.indices + offset for shape, offset in zip(shapes, offsets, strict=True)])
        small = len(positions) < 65_536
        padded = np.concatenate([normals, np.zeros((len(normals), 1), "<i1")], axis=1)
        position = self._accessor(positions, _FLOAT, "VEC3")
        self._accessors[position] |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
        normal = self._accessor(padded, _BYTE, "VEC3", stride=4)
        self._accessors[normal]["normalized"] = True
        indices = order.astype("<u2" if small else "<u4")
        return {
            "attributes": {"POSITION": position, "NORMAL": normal, "TEXCOORD_0": self._accessor(uvs, _FLOAT, "VEC2")},
            "indices": self._accessor(indices, _UINT16 if small else _UINT32, "SCALAR", target=_ELEMENT_BUFFER),
            "material": self._material(finish),
        }

    def _accessor(
        self, values: NDArray[Any], component: int, kind: str, *, stride: int | None = None, target: int = _ARRAY_BUFFER
    ) -> int:
        view = self._view(values.tobytes(), target)
        if stride is not None:
            self._views[view]["byteStride"] = stride
        self._accessors.append({"bufferView": view, "componentType": component, "count": len(values), "type": kind})
        return len(self._accessors) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._binary += bytes(-len(self._binary) % 4)
        view: dict[str, Any] = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        self._binary += data
        self._views.append(view)
        return len(self._views) - 1

    def _material(self, name: str) -> int:
        if name not in self._material_index:
            self._material_index[name] = len(self._materials)
            self._materials.append(self._material_json(name, self._finishes[name]))
        return self._material_index[name]

    def _material_json(self, name: str, finish: Finish) -> dict[str, Any]:
        pbr: dict[str, Any] = {
            "baseColorFactor": [*finish.color, 1.0],
            "metallicFactor": finish.metallic,
            "roughnessFactor": finish.roughness,
        }
        if finish.texture is not None:
            pbr["baseColorTexture"] = {"index": self._texture(finish.texture)}
        material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": pbr}
        if finish.emissive:
            material["emissiveFactor"] = [_rounded(finish.emissive * channel) for channel in finish.color]
        if finish.double_sided:
            material["doubleSided"] = True
        return material

    def _texture(self, name: str) -> int:
        if name not in self._texture_index:
            self._texture_index[name] = len(self._images)
            stream = io.BytesIO()
            PillowImage.fromarray(self._textures[name]()).save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
            view = self._view(stream.getvalue())
            self._images.append({"name": name, "mimeType": "image/jpeg", "bufferView": view})
        return self._texture_index[name]


def _rounded(value: float) -> float:
    return round(float(value), 4)


def _yaw_pitch_quaternion(yaw: float, pitch: float) -> list[float]:
    """Yaw about y after pitch about x, as (x, y, z, w)."""
    sine_yaw, cosine_yaw = np.sin(yaw / 2), np.cos(yaw / 2)
    sine_pitch, cosine_pitch = np.sin(pitch / 2), np.cos(pitch / 2)
    parts = (cosine_yaw * sine_pitch, sine_yaw * cosine_pitch, -sine_yaw * sine_pitch, cosine_yaw * cosine_pitch)
    return [round(float(part), 6) for part in parts]
