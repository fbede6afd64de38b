"""A node's own measure: units for the scene that takes most, rates by scene and codec, scenes that cannot be shown."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import render_farm.scene
from broker.protocol import Codec, NodeCapability, encode
from render_farm import capability
from render_farm.renderer.interface import PixelLayout, PlanarFrame, RenderError, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene

CAMPUS = Path(render_farm.scene.__file__).parent / "assets" / "campus.glb"
DRAWING_S = {"campus": 0.001, "heavy": 0.04, "light": 0.001}


class SlowOnHeavyScenes:
    """A renderer on a GPU of its own that takes as long for each scene as is said above."""

    name, device, max_views = "stub", "stub", 64

    def __init__(self) -> None:
        self.resident: set[str] = set()

    async def load(self, scene: Scene) -> None:
        if scene.name == "large":
            raise RenderError("the scene does not fit")
        self.resident.add(scene.name)

    async def unload(self, scene: Scene) -> None:
        self.resident.discard(scene.name)

    async def render(self, views: Sequence[View]) -> list[PlanarFrame]:
        await asyncio.sleep(DRAWING_S[views[0].scene.name] * len(views))
        height, width = views[0].height, views[0].width
        pixels = np.full((height * 3 // 2, width), 128, np.uint8)
        return [PlanarFrame(pixels, width, height, PixelLayout.I420) for _ in views]

    def close(self) -> None: ...


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "MEASURE_S", 0.1)
    monkeypatch.setattr(capability, "FURTHER_SCENE_S", 0.1)


def library(folder: Path, *names: str) -> SceneLibrary:
    for name in names:
        shutil.copy(CAMPUS, folder / f"{name}.glb")
    return SceneLibrary([folder])


async def measured(renderer: SlowOnHeavyScenes, scenes: SceneLibrary) -> NodeCapability:
    found = await capability.measure(renderer, scenes)
    assert encode(found), "it can be told"
    return found


async def test_units_are_those_of_the_scene_that_takes_most(tmp_path: Path) -> None:
    found = await measured(SlowOnHeavyScenes(), library(tmp_path, "heavy", "light"))
    assert set(found.drawn_per_s) == {"campus", "heavy", "light"}
    assert found.drawn_per_s["heavy"] == pytest.approx(25.0, rel=0.4)
    assert found.drawn_per_s["campus"] > 5 * found.drawn_per_s["heavy"]
    assert found.units <= max(capability.MIN_UNITS, found.drawn_per_s["heavy"] * capability.HEADROOM / capability.FPS)


async def test_every_codec_that_is_offered_is_measured(tmp_path: Path) -> None:
    found = await measured(SlowOnHeavyScenes(), library(tmp_path))
    assert set(found.encoded_per_s) == set(found.codecs) >= {Codec.H264}
    assert all(rate > 0 for rate in found.encoded_per_s.values())


async def test_scenes_that_cannot_be_shown_stop_no_node_and_none_stays_resident(tmp_path: Path) -> None:
    scenes = library(tmp_path, "large", "light")
    (tmp_path / "broken.glb").write_bytes(b"glTF but no more")
    scenes = SceneLibrary([tmp_path])
    renderer = SlowOnHeavyScenes()
    found = await measured(renderer, scenes)
    assert set(found.drawn_per_s) == {"campus", "light"}
    assert {"broken", "large"} <= set(found.scenes), "who asks for them is told why"
    assert renderer.resident == {"campus"}


async def test_a_node_with_many_scenes_starts_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "MAX_SCENES", 2)
    found = await measured(SlowOnHeavyScenes(), library(tmp_path, "heavy", "light"))
    assert set(found.drawn_per_s) == {"campus", "heavy"}


@pytest.mark.parametrize(("shared", "units"), [(True, 1.6), (False, 3.2)])
def test_a_machine_without_a_gpu_shares_its_cores_between_drawing_and_encoding(shared: bool, units: float) -> None:
    assert capability._units(120.0, 120.0, shared=shared) == pytest.approx(units)
