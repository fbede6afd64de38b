"""Whatever a scene file holds, the reader returns a scene or raises `SceneError`, within bounds."""

import base64
import copy
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from render_farm.scene.campus_textures import tint, value_noise
from render_farm.scene.glb_writer import Finish, GlbWriter, PlacedModel
from render_farm.scene.gltf import load_scene
from render_farm.scene.limits import SceneLimits
from render_farm.scene.model import SceneError
from render_farm.scene.shapes import box, lathe

LIMITS = SceneLimits(max_file_bytes=1 << 20, max_vertices=100_000, max_indices=300_000, max_texture_pixels=1 << 18)
FEW = settings(max_examples=150, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])


def small_scene() -> bytes:
    finishes = {"noise": Finish("noise"), "plain": Finish(None)}
    writer = GlbWriter(finishes, {"noise": lambda: tint(value_noise(4, 1, 16), (0, 0, 0), (255, 255, 255))})
    writer.add_model("thing", [("noise", box((0, 0, 0), (1, 1, 1))), ("plain", lathe([(0.1, 1.0), (0.5, 0.0)], 6))])
    writer.add_node(PlacedModel("thing", (1, 0, 0), 0.5, place={"kind": "exhibit", "id": "thing"}))
    writer.add_node(PlacedModel(None, place={"kind": "spawn"}))
    return writer.finish({"en": "Fuzz"}, "fuzz")


SCENE = small_scene()


def split() -> tuple[dict[str, Any], bytes]:
    size = struct.unpack_from("<I", SCENE, 12)[0]
    return json.loads(SCENE[20 : 20 + size]), SCENE[28 + size :]


def survives(path: Path) -> None:
    """Load the file; no other exception than one that names the file may come out."""
    fault = ""
    try:
        load_scene(path, limits=LIMITS)
    except SceneError as error:
        fault = str(error)
    assert not fault or fault.startswith(path.name)


def paths_of(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value."""
    found = [at] if at else []
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in entries:
        found += paths_of(child, (*at, key))
    return found


DOCUMENT, BINARY = split()
PATHS = paths_of(DOCUMENT)
ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 12),
    st.floats(),
    st.text(max_size=8),
    st.just([]),
    st.just({}),
    st.lists(st.integers(-2, 9), max_size=5),
    st.sampled_from(["SCALAR", "VEC2", "MAT4", "data:;base64,AAAA", "../x", "MASK", "\x00"]),
)


def test_unchanged_scene_loads(tmp_path: Path) -> None:
    path = tmp_path / "scene.glb"
    path.write_bytes(SCENE)
    assert load_scene(path, limits=LIMITS).places.exhibits[0].exhibit == "thing"


@FEW
@given(st.lists(st.tuples(st.integers(0, len(SCENE) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_flipped_bytes_give_a_scene_or_a_named_fault(tmp_path: Path, flips: list[tuple[int, int]]) -> None:
    data = bytearray(SCENE)
    for offset, value in flips:
        data[offset] = value
    path = tmp_path / "scene.glb"
    path.write_bytes(data)
    survives(path)


def test_text_that_is_not_utf_8_inside_extras_gives_a_named_fault(tmp_path: Path) -> None:
    path = tmp_path / "scene.glb"
    path.write_bytes(SCENE.replace(b"exhibit", b"\x80xhibit"))
    with pytest.raises(SceneError, match="not valid glTF"):
        load_scene(path, limits=LIMITS)


@FEW
@given(st.integers(0, len(SCENE)))
def test_truncated_files_give_a_named_fault(tmp_path: Path, length: int) -> None:
    path = tmp_path / "scene.glb"
    path.write_bytes(SCENE[:length])
    survives(path)


@settings(FEW, max_examples=400)
@given(st.lists(st.tuples(st.sampled_from(PATHS), ODD_VALUES), min_size=1, max_size=3))
def test_odd_values_give_a_scene_or_a_named_fault(tmp_path: Path, edits: list[tuple[tuple[Any, ...], Any]]) -> None:
    document = copy.deepcopy(DOCUMENT)
    for path, value in edits:
        holder: Any = document
        try:
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = copy.deepcopy(value)
        except (KeyError, IndexError, TypeError):
            continue
    if isinstance(document.get("buffers"), list) and document["buffers"] and isinstance(document["buffers"][0], dict):
        uri = "data:application/octet-stream;base64," + base64.b64encode(BINARY).decode()
        document["buffers"][0].setdefault("uri", uri)
    file = tmp_path / "scene.gltf"
    file.write_text(json.dumps(document))
    survives(file)


@pytest.mark.parametrize("content", [b"", b"{}", b"glTF", b"[" * 100_000, b'{"asset":' * 5000, b"\xff\xfe", b"null"])
def test_degenerate_files_give_a_named_fault(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scene.gltf"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=r"^scene\.gltf"):
        load_scene(path, limits=LIMITS)
