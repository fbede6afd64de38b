"""The node tree of a glTF document, flattened: every node of the scene once, with its transform to the world."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.scene.gltf_document import Document, NodeJson

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node and its `transform`, float64 (4, 4), column vectors; `parent` is a position in the flattened list."""

    index: int
    node: NodeJson
    transform: Matrix
    parent: int | None
    depth: int


def place_nodes(document: Document) -> list[PlacedNode]:
    """All nodes of the default scene, parents before children. Raises `SceneError` for cycles and limits."""
    nodes, limits = document.json.nodes, document.limits
    if len(nodes) > limits.max_nodes:
        raise document.fault(f"has {len(nodes)} nodes, the limit is {limits.max_nodes}")
    placed: list[PlacedNode] = []
    seen: set[int] = set()
    pending: list[tuple[int, int | None]] = [(root, None) for root in reversed(_roots(document))]
    while pending:
        index, parent = pending.pop()
        if index >= len(nodes):
            raise document.fault(f"node {index} does not exist (there are {len(nodes)})")
        if index in seen:
            raise document.fault(f"node {index} is reached twice; the node tree has a cycle or a shared child")
        seen.add(index)
        entry = _place(document, placed, index, parent)
        pending.extend((child, len(placed)) for child in reversed(entry.node.children))
        placed.append(entry)
    return placed


def _roots(document: Document) -> list[int]:
    scenes = document.json.scenes
    if not scenes:
        children = {child for node in document.json.nodes for child in node.children}
        return [index for index in range(len(document.json.nodes)) if index not in children]
    if document.json.scene >= len(scenes):
        raise document.fault(f"scene {document.json.scene} does not exist (there are {len(scenes)})")
    return scenes[document.json.scene].nodes


def _place(document: Document, placed: Sequence[PlacedNode], index: int, parent: int | None) -> PlacedNode:
    node = document.json.nodes[index]
    depth = 0 if parent is None else placed[parent].depth + 1
    if depth > document.limits.max_depth:
        raise document.fault(f"the node tree is deeper than {document.limits.max_depth}")
    local = _local_transform(node)
    with np.errstate(over="ignore", invalid="ignore"):
        transform = local if parent is None else placed[parent].transform @ local
    if not (np.abs(transform) < 1e9).all():
        raise document.fault(f"the transform of node {index} is not finite or out of proportion")
    return PlacedNode(index, node, transform, parent, depth)


def _local_transform(node: NodeJson) -> Matrix:
    if node.matrix is not None:
        return np.array(node.matrix, np.float64).reshape(4, 4).T
    transform = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):
        transform[:3, :3] = rotation_matrix(node.rotation) * np.array(node.scale)
    transform[:3, 3] = node.translation
    return transform


def rotation_matrix(quaternion: tuple[float, float, float, float]) -> Matrix:
    """A unit quaternion (x, y, z, w) as float64 (3, 3)."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
