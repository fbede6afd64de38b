"""Scenes from glTF 2.0 files, binary (.glb) and text (.gltf).

Read are meshes (triangle lists, strips, fans), the node tree, base colour factors and textures (PNG, JPEG), alpha
masks, double-sidedness, skinned meshes in their rest pose, sparse and normalised accessors, `KHR_texture_transform`
and `KHR_mesh_quantization`. Places come from the nodes' extras: see `render_farm.scene.place_extras`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from render_farm.scene.gltf_document import Document
from render_farm.scene.gltf_geometry import GeometryBuilder
from render_farm.scene.gltf_nodes import PlacedNode, place_nodes
from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import Scene
from render_farm.scene.place_extras import Box, read_places, read_title


def load_scene(path: Path, name: str | None = None, limits: SceneLimits | None = None) -> Scene:
    """Read a scene; `name` defaults to the file's stem. Blocks: call it from a worker thread.

    Raises `SceneError`, which names the file and the fault, for whatever is wrong with the file.
    """
    document = Document(path, limits or SceneLimits())
    placed = place_nodes(document)
    builder = GeometryBuilder(document, placed)
    boxes = _subtree_boxes(placed, [builder.add(entry) for entry in placed])
    title = read_title(document)
    return Scene(name or path.stem, read_places(document, placed, boxes, title), builder.build(), title)


def _subtree_boxes(placed: Sequence[PlacedNode], own: Sequence[Box | None]) -> list[Box | None]:
    """The box around each node and its descendants."""
    boxes = list(own)
    for position in range(len(placed) - 1, -1, -1):
        parent, box = placed[position].parent, boxes[position]
        if parent is not None and box is not None:
            boxes[parent] = _join(boxes[parent], box)
    return boxes


def _join(first: Box | None, second: Box) -> Box:
    if first is None:
        return second
    return np.minimum(first[0], second[0]), np.maximum(first[1], second[1])


__all__ = ["SceneLimits", "load_scene"]
