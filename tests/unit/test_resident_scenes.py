"""Which scenes stay in memory."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from render_farm.renderer.cpu import CpuRenderer
from render_farm.renderer.interface import AvatarFrame, Camera, PlanarFrame, Renderer, View
from render_farm.resident_scenes import MOST_IDLE, ResidentScenes
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene
from tests.unit.test_scene_gltf import document

NAMES = [f"hall{number}" for number in range(MOST_IDLE + 2)]


class Recorder:
    """A renderer that only notes what is resident."""

    name, device, max_views = "recorder", "none", 64

    def __init__(self) -> None:
        self.resident: list[str] = []

    async def load(self, scene: Scene) -> None:
        if scene.name not in self.resident:
            self.resident.append(scene.name)

    async def unload(self, scene: Scene) -> None:
        self.resident.remove(scene.name)

    async def render(self, views: Sequence[View]) -> Sequence[PlanarFrame]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
def library(tmp_path: Path) -> SceneLibrary:
    for name in NAMES:
        (tmp_path / f"{name}.gltf").write_text(json.dumps(document()))
    return SceneLibrary((tmp_path,))


async def load(library: SceneLibrary, renderer: Renderer) -> tuple[ResidentScenes, dict[str, Scene]]:
    scenes = ResidentScenes(library, renderer)
    loaded = {name: library.load(name) for name in NAMES}
    for scene in loaded.values():
        await scenes.load(scene)
    return scenes, loaded


async def test_least_recently_used_scenes_without_a_world_are_forgotten(library: SceneLibrary) -> None:
    renderer = Recorder()
    scenes, loaded = await load(library, renderer)
    await scenes.load(loaded["hall0"])
    await scenes.forget_idle(())
    assert renderer.resident == ["hall0", *NAMES[3:]]
    assert library.load("hall0") is loaded["hall0"]
    assert library.load("hall1") is not loaded["hall1"], "its memory was freed; it is read again"


async def test_scene_of_a_world_is_kept_however_long_ago_it_was_loaded(library: SceneLibrary) -> None:
    renderer = Recorder()
    scenes, loaded = await load(library, renderer)
    await scenes.forget_idle({loaded["hall0"]})
    assert renderer.resident == ["hall0", *NAMES[2:]]


async def test_forgotten_scene_can_still_be_drawn(library: SceneLibrary) -> None:
    renderer = CpuRenderer()
    scenes, loaded = await load(library, renderer)
    view = View(loaded["hall0"], AvatarFrame.empty(), Camera((0, 1.6, 5), 0, 0), 320, 180)
    (before,) = await renderer.render([view])
    kept = before.pixels.copy()
    await scenes.forget_idle(())
    (after,) = await renderer.render([view])
    assert (after.pixels == kept).all()
