"""The pure half of the wgpu renderer: submissions, tables, chunks, cameras and name tags."""

import math

import numpy as np
import pytest

from render_farm.renderer.interface import AvatarFrame, Camera, RenderError, View
from render_farm.renderer.name_tags import CELL_HEIGHT, CELL_WIDTH, NO_TAG, TagCells, TagPainter
from render_farm.renderer.view_math import camera_matrices, sun_matrix
from render_farm.renderer.wgpu_batch import MAX_WORLDS, SceneCounts, key_bytes, make_batch, split_views
from render_farm.renderer.wgpu_scene import CHUNK_OBJECTS, scene_tables, texture_layer_px
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Geometry, Places, Scene

EMPTY = np.zeros((0, 4), np.float32)
CAMERA = Camera((1.0, 2.0, 3.0), 0.3, -0.2)


def scene() -> Scene:
    geometry = Geometry((), (), (), np.zeros(0, np.uint32), np.zeros((0, 4, 4), np.float32))
    return Scene("empty", Places((0, 0, 1, 1), np.zeros((1, 4), np.float32), EMPTY, EMPTY), geometry)


def project(
    camera: Camera, point: tuple[float, float, float], aspect: float = 1.0
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    clip = camera_matrices(camera, aspect).view_projection @ np.array([*point, 1.0])
    return clip / clip[3]


def test_camera_at_yaw_zero_looks_along_minus_z_and_turns_left() -> None:
    assert np.allclose(project(Camera((0, 0, 0), 0, 0), (0, 0, -5))[:2], 0)
    assert np.allclose(project(Camera((0, 0, 0), math.pi / 2, 0), (-5, 0, 0))[:2], 0, atol=1e-9)
    assert project(Camera((0, 0, 0), 0, 0), (1, 0, -5))[0] > 0
    assert project(Camera((0, 0, 0), 0, 0), (0, 1, -5))[1] > 0


def test_depth_grows_towards_the_camera() -> None:
    near, far = (project(Camera((0, 0, 0), 0, 0), (0, 0, -z))[2] for z in (1.0, 100.0))
    assert 1 > near > far > 0


def test_sun_sees_the_whole_box() -> None:
    matrix = sun_matrix(((-3, 0, -5), (10, 4, 7)))
    for corner in np.ndindex(2, 2, 2):
        point = np.array([(-3, 10)[corner[0]], (0, 4)[corner[1]], (-5, 7)[corner[2]], 1.0])
        x, y, depth, _ = matrix @ point
        assert max(abs(x), abs(y)) <= 1 + 1e-9
        assert -1e-9 <= depth <= 1 + 1e-9


def test_views_are_split_by_memory_and_by_worlds() -> None:
    here = scene()
    avatars = AvatarFrame.empty()
    views = [View(here, avatars, CAMERA, 640, 360) for _ in range(10)]
    assert split_views(views, 4 * key_bytes(views[0])) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    worlds = [View(here, AvatarFrame.empty(), CAMERA, 640, 360) for _ in range(MAX_WORLDS + 1)]
    assert [len(group) for group in split_views(worlds, 1 << 30)] == [MAX_WORLDS, 1]
    with pytest.raises(RenderError, match="640x360 needs"):
        split_views(views, 1000)


def test_views_of_one_world_lie_side_by_side() -> None:
    here, one, two = scene(), AvatarFrame.empty(), AvatarFrame.empty()
    views = [View(here, avatars, CAMERA, 320, 180) for avatars in (one, two, one)]
    batch = make_batch(views, lambda _: SceneCounts(7, 2), lambda _: NO_TAG, (36, 12))
    assert batch.order == [0, 2, 1]
    assert [(world.first_view, world.views) for world in batch.worlds] == [(0, 2), (2, 1)]
    assert batch.visible_count == 7 * 3
    assert batch.args_count == 2 * 3
    assert batch.view_table["raster"][:, 2].tolist() == [0, 320 * 180, 2 * 320 * 180]


def test_chunks_cover_every_instance_once_and_hold_one_mesh_each() -> None:
    geometry = SceneLibrary().load("campus").geometry
    tables = scene_tables(geometry)
    firsts, counts = tables.chunks[:, 0], tables.chunks[:, 1]
    assert counts.max() <= CHUNK_OBJECTS
    assert np.array_equal(firsts, np.concatenate([[0], np.cumsum(counts)[:-1]]))
    assert counts.sum() == len(geometry.instance_mesh)
    assert len(tables.chunks) < 300


def test_texture_layers_shrink_until_they_fit() -> None:
    assert texture_layer_px([256, 100]) == 256
    assert texture_layer_px([4096]) == 2048
    assert texture_layer_px([2048] * 100) < 2048


def test_tag_cells_are_bounded_and_the_longest_unseen_gives_way() -> None:
    cells = TagCells(capacity=2)
    assert cells.claim(["a", "b"], 9) == [("a", 0), ("b", 1)]
    assert cells.claim(["a"], 9) == []
    assert cells.claim(["c"], 9) == [("c", 1)]
    assert cells.cell("b") == NO_TAG
    assert cells.claim(["a", "c", "d"], 9) == []
    assert TagCells().claim(["x", "y", "z"], 2) == [("x", 0), ("y", 1)]


def test_long_and_foreign_names_fit_their_tag() -> None:
    painter = TagPainter()
    for name in ("Li", "纪念馆的参观者", "W" * 48, "é" * 48):
        pixels = painter.paint(name)
        assert pixels.shape == (CELL_HEIGHT, CELL_WIDTH, 2)
        text, panel = pixels[:, :, 0], pixels[:, :, 1]
        assert text.max() > 128
        assert not (text[panel == 0] > 128).any()
