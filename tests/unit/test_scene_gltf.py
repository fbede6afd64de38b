"""The glTF reader over files made here: what it accepts, how it places things, and how it names faults."""

import base64
import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from render_farm.scene.gltf import load_scene
from render_farm.scene.library import SceneLibrary
from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import SceneError

TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)


def data_uri(data: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(data).decode()


def document(positions: np.ndarray[Any, Any] = TRIANGLE, **changes: Any) -> dict[str, Any]:
    """A scene of one mesh with positions only; `changes` replace keys of the root object."""
    data = positions.astype("<f4").tobytes()
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": len(positions), "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": len(data)}],
        "buffers": [{"byteLength": len(data), "uri": data_uri(data)}],
        **changes,
    }


def write(folder: Path, content: dict[str, Any], name: str = "model.gltf") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path


def png(color: tuple[int, int, int], size: int = 4) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (size, size), color).save(stream, "PNG")
    return stream.getvalue()


def test_file_whose_name_cannot_be_a_scenes_is_left_out_and_the_others_are_there(tmp_path: Path) -> None:
    for name in ("my room", "雕像", ".hidden", "x" * 70, "Vase", "fine-1.2"):
        write(tmp_path, document(), f"{name}.gltf")
    library = SceneLibrary((tmp_path,))
    assert library.names() == ["Vase", "campus", "fine-1.2"]
    assert library.load("vase") is library.load("Vase")


def test_text_file_with_data_uri_is_read(tmp_path: Path) -> None:
    mesh = load_scene(write(tmp_path, document())).geometry.meshes[0]
    assert np.array_equal(mesh.positions, TRIANGLE)
    assert np.allclose(mesh.normals, [0, 0, 1])


def test_binary_file_is_read(tmp_path: Path) -> None:
    content = document()
    content["buffers"] = [{"byteLength": 36}]
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    binary = TRIANGLE.tobytes()
    length = 12 + 8 + len(text) + 8 + len(binary)
    path = tmp_path / "model.glb"
    head = struct.pack("<4sII", b"glTF", 2, length) + struct.pack("<I4s", len(text), b"JSON")
    path.write_bytes(head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary)
    assert np.array_equal(load_scene(path).geometry.meshes[0].positions, TRIANGLE)


def test_external_buffer_and_image_beside_the_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "mesh data.bin").write_bytes(TRIANGLE.tobytes())
    (tmp_path / "red.png").write_bytes(png((255, 0, 0)))
    content = document(
        buffers=[{"byteLength": 36, "uri": "mesh%20data.bin"}],
        images=[{"uri": "red.png"}],
        textures=[{"source": 0}],
        materials=[
            {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}, "alphaMode": "MASK", "doubleSided": True}
        ],
    )
    content["meshes"][0]["primitives"][0]["material"] = 0
    geometry = load_scene(write(tmp_path, content)).geometry
    assert geometry.textures[0][0, 0].tolist() == [255, 0, 0, 255]
    assert geometry.materials[0].texture == 0
    assert geometry.materials[0].double_sided
    assert geometry.materials[0].alpha_cutoff == 0.5


@pytest.mark.parametrize(("mode", "triangles"), [(4, 1), (5, 2), (6, 2)])
def test_lists_strips_and_fans_become_triangles_facing_one_way(tmp_path: Path, mode: int, triangles: int) -> None:
    square = {5: [[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], 6: [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]}
    content = document(np.array(square.get(mode, TRIANGLE.tolist()), np.float32))
    content["meshes"][0]["primitives"][0]["mode"] = mode
    mesh = load_scene(write(tmp_path, content)).geometry.meshes[0]
    assert len(mesh.indices) == triangles * 3
    assert np.allclose(mesh.normals, [0, 0, 1])


def test_transforms_follow_the_node_tree(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    nodes = [
        {"children": [1], "translation": [10, 0, 0], "rotation": [0, half, 0, half]},
        {"mesh": 0, "matrix": [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 5, 1, 1]},
    ]
    transform = load_scene(write(tmp_path, document(nodes=nodes))).geometry.instance_transform[0]
    assert np.allclose(transform @ [0, 0, 0, 1], [11, 5, 0, 1], atol=1e-6)
    assert np.allclose(transform @ [1, 0, 0, 1], [11, 5, -2, 1], atol=1e-6)


def test_interleaved_stride_normalised_uvs_and_sparse_values_are_resolved(tmp_path: Path) -> None:
    rows = b"".join(
        struct.pack("<3f2H", *point, *uv)
        for point, uv in zip(TRIANGLE.tolist(), [(0, 0), (65535, 0), (0, 32768)], strict=True)
    )
    sparse = struct.pack("<H2x3f", 2, 7.0, 8.0, 9.0)
    content = document(
        accessors=[
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": 3,
                "type": "VEC3",
                "sparse": {
                    "count": 1,
                    "indices": {"bufferView": 1, "componentType": 5123},
                    "values": {"bufferView": 1, "byteOffset": 4},
                },
            },
            {"bufferView": 0, "byteOffset": 12, "componentType": 5123, "count": 3, "type": "VEC2", "normalized": True},
        ],
        bufferViews=[
            {"buffer": 0, "byteLength": len(rows), "byteStride": 16},
            {"buffer": 0, "byteOffset": len(rows), "byteLength": len(sparse)},
        ],
        buffers=[{"byteLength": len(rows + sparse), "uri": data_uri(rows + sparse)}],
    )
    content["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"] = 1
    mesh = load_scene(write(tmp_path, content)).geometry.meshes[0]
    assert mesh.positions[2].tolist() == [7, 8, 9]
    assert np.allclose(mesh.uvs, [[0, 0], [1, 0], [0, 0.5]], atol=1e-4)


def test_skinned_mesh_ignores_its_node_and_follows_its_joints(tmp_path: Path) -> None:
    joints, weights = bytes(12), struct.pack("<12f", *([1.0, 0.0, 0.0, 0.0] * 3))
    data = TRIANGLE.tobytes() + joints + weights
    content = document(
        nodes=[{"mesh": 0, "skin": 0, "translation": [50, 0, 0]}, {"translation": [0, 3, 0]}],
        scenes=[{"nodes": [0, 1]}],
        skins=[{"joints": [1]}],
        accessors=[
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5121, "count": 3, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5126, "count": 3, "type": "VEC4"},
        ],
        bufferViews=[
            {"buffer": 0, "byteLength": 36},
            {"buffer": 0, "byteOffset": 36, "byteLength": 12},
            {"buffer": 0, "byteOffset": 48, "byteLength": 48},
        ],
        buffers=[{"byteLength": len(data), "uri": data_uri(data)}],
    )
    content["meshes"][0]["primitives"][0]["attributes"] |= {"JOINTS_0": 1, "WEIGHTS_0": 2}
    geometry = load_scene(write(tmp_path, content)).geometry
    assert np.allclose(geometry.meshes[0].positions, TRIANGLE + np.array([0, 3, 0]))
    assert np.array_equal(geometry.instance_transform[0], np.eye(4))


def test_places_come_from_extras(tmp_path: Path) -> None:
    half = math.sqrt(0.5)
    extras: list[dict[str, Any]] = [
        {"kind": "spawn"},
        {"kind": "seat"},
        {"kind": "exhibit", "id": "vase", "title": {"en": "Vase", "zh": "瓶"}, "radius": 0.6},
        {"kind": "stage_camera", "name": "stage"},
        {"kind": "wall", "size": [4.0, 1.0]},
        {"kind": "bounds", "size": [40.0, 20.0]},
    ]
    nodes: list[dict[str, Any]] = [{"mesh": 0}]
    nodes += [{"translation": [1, 2, 3], "rotation": [0, half, 0, half], "extras": {"farstage": e}} for e in extras]
    content = document(
        nodes=nodes, scenes=[{"nodes": list(range(7)), "extras": {"farstage": {"title": {"en": "Hall"}}}}]
    )
    scene = load_scene(write(tmp_path, content))
    places = scene.places
    assert scene.title == {"en": "Hall"}
    assert np.allclose(places.spawns, [[1, 2, 3, math.pi / 2]])
    assert np.allclose(places.seats, places.spawns)
    assert np.allclose(places.walls, [[0.5, 1.0, 1.5, 5.0]])
    assert places.exhibits[0].title == {"en": "Vase", "zh": "瓶"}
    assert places.exhibits[0].radius == 0.6
    assert places.stage_cameras[0].name == "stage"
    assert np.allclose(places.bounds, (-9, -17, 11, 23))


def test_file_without_places_gets_a_spawn_that_looks_at_the_model(tmp_path: Path) -> None:
    content = document(nodes=[{"mesh": 0, "translation": [5, 0, 5], "extras": ["another program's"]}])
    places = load_scene(write(tmp_path, content)).places
    x, _, z, yaw = places.spawns[0]
    exhibit = places.exhibits[0]
    assert yaw == 0
    assert x == pytest.approx(exhibit.position[0])
    assert z > exhibit.position[2] + exhibit.radius
    assert places.bounds[0] < x < places.bounds[2]
    assert places.bounds[1] < z < places.bounds[3]


def _cyclic() -> dict[str, Any]:
    return document(nodes=[{"children": [1]}, {"children": [0]}])


def _deep() -> dict[str, Any]:
    return document(nodes=[*({"children": [i + 1]} for i in range(200)), {"mesh": 0}])


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "version": (document(asset={"version": "1.0"}), "glTF version '1.0'"),
    "extension": (document(extensionsRequired=["KHR_draco_mesh_compression"]), "KHR_draco_mesh_compression"),
    "cycle": (_cyclic(), "reached twice"),
    "depth": (_deep(), "deeper than 128"),
    "missing mesh": (document(nodes=[{"mesh": 9}]), "mesh 9 does not exist"),
    "negative index": (document(nodes=[{"mesh": -1}]), "mesh"),
    "short buffer": (document(buffers=[{"byteLength": 36, "uri": data_uri(b"x")}]), "1 bytes of the 36"),
    "short view": (document(bufferViews=[{"buffer": 0, "byteLength": 20}]), "needs 36 bytes"),
    "not finite": (document(np.full((3, 3), np.nan, np.float32)), "not finite"),
    "network": (document(buffers=[{"byteLength": 36, "uri": "http://example.org/a.bin"}]), "nothing from a network"),
    "escape": (document(buffers=[{"byteLength": 36, "uri": "../../etc/passwd"}]), "outside the folder"),
    "absolute": (document(buffers=[{"byteLength": 36, "uri": "/etc/passwd"}]), "outside the folder"),
    "base64": (document(buffers=[{"byteLength": 36, "uri": "data:;base64,***"}]), "data URI is broken"),
    "extras": (
        document(nodes=[{"mesh": 0, "extras": {"farstage": {"kind": "spawn", "colour": 1}}}]),
        "colour",
    ),
    "huge accessor": (
        document(accessors=[{"componentType": 5126, "count": 2**31, "type": "VEC3"}]),
        "more than 8000000 vertices",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_named_with_the_file(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    with pytest.raises(SceneError, match=r"^model\.gltf: ") as raised:
        load_scene(write(tmp_path, content))
    assert message in str(raised.value)


def test_corrupt_image_and_image_bomb_are_refused(tmp_path: Path) -> None:
    for image, limits, message in (
        (b"\x89PNG garbage", SceneLimits(), "not a readable"),
        (png((1, 2, 3), 64), SceneLimits(max_texture_pixels=100), "above 100 pixels"),
    ):
        content = document(
            images=[{"uri": data_uri(image)}],
            textures=[{"source": 0}],
            materials=[{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}}],
        )
        with pytest.raises(SceneError, match=message):
            load_scene(write(tmp_path, content), limits=limits)


def test_file_above_the_size_limit_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match="the limit is 100"):
        load_scene(write(tmp_path, document()), limits=SceneLimits(max_file_bytes=100))


def test_missing_file_and_unknown_name_are_named(tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=r"absent\.glb"):
        load_scene(tmp_path / "absent.glb")
    with pytest.raises(SceneError, match=r"no scene 'atlantis'; known are campus"):
        SceneLibrary().load("atlantis")


def test_library_lists_operators_scenes_and_loads_each_once(tmp_path: Path) -> None:
    write(tmp_path, document(), "Hall.gltf")
    library = SceneLibrary([tmp_path])
    assert library.names() == ["Hall", "campus"]
    assert library.load("hall") is library.load("hall")
