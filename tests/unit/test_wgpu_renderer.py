"""The wgpu renderer on whatever Vulkan device the machine has; where there is none, these tests fail and say so."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render_farm.renderer.interface import (
    AvatarFrame,
    Camera,
    PixelLayout,
    PlanarFrame,
    RenderError,
    RendererSettings,
    View,
)
from render_farm.renderer.wgpu_renderer import WgpuRenderer
from render_farm.scene.gltf import load_scene
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Geometry, Material, Mesh, Places, Scene

pytestmark = pytest.mark.vulkan
FOX = Path(__file__).parents[2] / ".." / "shared" / "assets" / "Fox.glb"


@pytest.fixture(scope="module")
def campus() -> Scene:
    return SceneLibrary().load("campus")


@pytest.fixture
async def renderer() -> AsyncIterator[WgpuRenderer]:
    opened = WgpuRenderer.create(RendererSettings())
    yield opened
    opened.close()


def people(*positions: tuple[float, float, float], hands: bool = False) -> AvatarFrame:
    count = len(positions)
    return AvatarFrame(
        positions=np.array(positions, np.float32),
        yaws=np.zeros(count, np.float32),
        hues=np.full(count, 0.33, np.float32),
        names=tuple(f"Visitor {index}" for index in range(count)),
        hands_raised=np.full(count, hands),
        seated=np.zeros(count, bool),
        ids=tuple(str(index) for index in range(count)),
    )


def luma(frame: PlanarFrame) -> np.ndarray[Any, np.dtype[np.int16]]:
    return frame.pixels[: frame.height].astype(np.int16)


def rgb(frame: PlanarFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    y = (luma(frame) - 16) / 219
    chroma = frame.pixels[frame.height :].reshape(frame.height // 2, frame.width // 2, 2).astype(np.float64)
    u, v = np.moveaxis(np.repeat(np.repeat((chroma - 128) / 224, 2, 0), 2, 1), 2, 0)
    red, blue = y + 1.5748 * v, y + 1.8556 * u
    return np.stack([red, (y - 0.2126 * red - 0.0722 * blue) / 0.7152, blue], axis=2)


def panels(*boxes: tuple[float, float, float], size: float = 1.0, color: float = 0.5) -> Scene:
    """Horizontal squares facing up at the given centres, each an instance of one mesh."""
    half = size / 2
    corners = np.array([[-half, 0, -half], [-half, 0, half], [half, 0, half], [half, 0, -half]], np.float32)
    mesh = Mesh(
        corners, np.tile(np.float32([0, 1, 0]), (4, 1)), np.zeros((4, 2), np.float32), np.uint32([0, 1, 2, 0, 2, 3]), 0
    )
    transforms = np.tile(np.eye(4, dtype=np.float32), (len(boxes), 1, 1))
    transforms[:, :3, 3] = boxes
    geometry = Geometry(
        (mesh,), (Material((color, color, color, 1.0)),), (), np.zeros(len(boxes), np.uint32), transforms
    )
    empty = np.zeros((0, 4), np.float32)
    return Scene("panels", Places((-20, -20, 20, 20), np.zeros((1, 4), np.float32), empty, empty), geometry)


def sixteen_views(scene: Scene, avatars: AvatarFrame) -> list[View]:
    sizes = [(320, 180), (322, 182), (640, 360), (480, 270)]
    return [
        View(
            scene,
            avatars,
            Camera((-20.0 + 2.7 * index, 1.6 + 0.3 * index, 84.0 - 5.0 * index), 0.4 * index, -0.02 * index),
            *sizes[index % 4],
            hidden_avatar=index % 3,
            refine=index == 5,
        )
        for index in range(16)
    ]


async def test_picture_of_a_view_is_the_same_alone_and_among_sixteen(renderer: WgpuRenderer, campus: Scene) -> None:
    avatars = people((0, 0, 60), (3, 0, 66), (-4, 0, 50), (1, 0, 70))
    views = sixteen_views(campus, avatars)
    together = await renderer.render(views)
    for view, among in zip(views, together, strict=True):
        (alone,) = await renderer.render([view])
        assert np.array_equal(alone.pixels, among.pixels)


async def test_frames_have_the_shape_asked_for(renderer: WgpuRenderer, campus: Scene) -> None:
    for frame, view in zip(await renderer.render(v := sixteen_views(campus, people((0, 0, 60)))), v, strict=True):
        assert (frame.width, frame.height, frame.layout) == (view.width, view.height, PixelLayout.NV12)
        assert frame.pixels.shape == (view.height * 3 // 2, view.width)
        assert frame.pixels.flags.c_contiguous
        assert frame.pixels.dtype == np.uint8
        assert 16 <= frame.pixels[: view.height].min() <= frame.pixels[: view.height].max() <= 235


class CallCounter:
    """Counts the calls into the wgpu objects behind a proxy, encoders and passes included."""

    def __init__(self, target: Any, counts: list[str]) -> None:
        self._target, self._counts = target, counts

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if not callable(value):
            return CallCounter(value, self._counts) if name == "queue" else value

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._counts.append(name)
            result = value(*args, **kwargs)
            wrapped = name in ("create_command_encoder", "begin_render_pass", "begin_compute_pass")
            return CallCounter(result, self._counts) if wrapped else result

        return counted


async def test_number_of_calls_does_not_depend_on_the_number_of_views(
    renderer: WgpuRenderer, campus: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    avatars = people((0, 0, 60), (3, 0, 66))
    views = [View(campus, avatars, Camera((0, 1.6, 80), 0.1 * i, 0), 320, 180) for i in range(16)]
    await renderer.render(views)
    module = "render_farm.renderer.wgpu_frame.multi_draw_indexed_indirect"
    counts: list[str] = []

    def multi_draw(drawing: CallCounter, buffer: Any, **kwargs: int) -> None:
        counts.append("multi_draw")
        real(drawing._target, buffer, **kwargs)

    from wgpu.backends.wgpu_native.extras import multi_draw_indexed_indirect as real

    monkeypatch.setattr(module, multi_draw)
    monkeypatch.setattr(renderer._frame, "_device", CallCounter(renderer._frame._device, counts))
    numbers = []
    for batch in (views[:1], views):
        counts.clear()
        await renderer.render(batch)
        assert counts.count("submit") == 1
        numbers.append(len(counts))
    assert numbers[0] == numbers[1] < 60


async def test_culling_on_the_gpu_leaves_out_what_the_view_does_not_see(renderer: WgpuRenderer) -> None:
    import wgpu

    scene = panels(*[(0.0, 0.0, -float(z)) for z in range(3, 103)], *[(0.0, 0.0, float(z)) for z in range(3, 103)])
    usages = renderer._frame._usages
    usages["args"] |= wgpu.BufferUsage.COPY_SRC
    await renderer.render(
        [View(scene, AvatarFrame.empty(), Camera((0, 1, 0), yaw, 0), 320, 180) for yaw in (0.0, math.pi)]
    )
    args = np.frombuffer(renderer._gpu.queue.read_buffer(renderer._frame._buffers["args"]), np.uint32)
    chunks = renderer._counts(scene).chunks
    drawn = args[: 2 * chunks * 5].reshape(2, chunks, 5)[:, :, 1].sum(axis=1)
    assert drawn.tolist() == [100, 100]


async def test_far_people_are_drawn_with_the_coarse_figure(renderer: WgpuRenderer) -> None:
    import wgpu

    usages = renderer._frame._usages
    usages["args"] |= wgpu.BufferUsage.COPY_SRC
    scene = panels((0.0, -50.0, 0.0))
    near_and_far = people((0, 0, -2), (0, 0, -30), (1, 0, -40), (0, 0, 50))
    await renderer.render([View(scene, near_and_far, Camera((0, 1, 0), 0, 0), 320, 180)])
    args = np.frombuffer(renderer._gpu.queue.read_buffer(renderer._frame._buffers["args"]), np.uint32)
    chunks = renderer._counts(scene).chunks
    fine, coarse = args[chunks * 5 : (chunks + 2) * 5].reshape(2, 5)
    assert (fine[1], coarse[1]) == (1, 2)
    assert (fine[0], coarse[0]) == renderer._frame.avatar_indices
    assert coarse[0] < fine[0] / 2
    assert (fine[2], coarse[2]) == (0, fine[0])
    visible_after_fine = coarse[4] - fine[4]
    assert visible_after_fine == 2


async def test_things_cast_shadows(renderer: WgpuRenderer) -> None:
    camera = Camera((0.0, 14.0, 0.0), 0.0, -1.5)
    ground = (0.0, 0.0, 0.0)
    bare, shaded = panels(ground, size=30.0), panels(ground, size=30.0)
    roof = np.eye(4, dtype=np.float32)
    roof[[0, 2], [0, 2]] = 0.1
    roof[:3, 3] = (2.0, 3.0, 2.0)
    old = shaded.geometry
    with_roof = Geometry(
        old.meshes, old.materials, (), np.zeros(2, np.uint32), np.stack([old.instance_transform[0], roof])
    )
    shaded = Scene("shaded", shaded.places, with_roof)
    lit, dark = await renderer.render([View(s, AvatarFrame.empty(), camera, 320, 180) for s in (bare, shaded)])
    assert (luma(lit) - luma(dark) > 40).sum() > 200


async def test_avatars_cast_shadows(renderer: WgpuRenderer) -> None:
    scene = panels((0, 0, 0), size=30.0)
    camera = Camera((0.0, 10.0, 0.0), 0.0, -1.5)
    hidden = View(scene, people((0, 0, 0)), camera, 320, 180, hidden_avatar=0)
    empty = View(scene, AvatarFrame.empty(), camera, 320, 180)
    with_shadow, without = await renderer.render([hidden, empty])
    assert (luma(without) - luma(with_shadow) > 40).sum() > 50


async def test_avatar_and_name_tag_are_seen_by_others_but_not_by_their_owner(renderer: WgpuRenderer) -> None:
    scene = panels((0, -50, 0), size=1.0)
    camera = Camera((0.0, 1.2, 3.5), 0.0, 0.0)
    other = View(scene, people((0, 0, 0)), camera, 640, 360)
    own = View(scene, people((0, 0, 0)), camera, 640, 360, hidden_avatar=0)
    nameless = View(scene, AvatarFrame.empty(), camera, 640, 360)
    seen, hidden, empty = await renderer.render([other, own, nameless])
    assert np.array_equal(hidden.pixels, empty.pixels)
    changed = np.abs(luma(seen) - luma(empty)) > 10
    assert changed[170:320, 290:350].mean() > 0.3
    panel = luma(seen) < 70
    rows, columns = np.nonzero(panel[:170])
    assert len(rows) > 300
    tag = luma(seen)[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    assert (tag > 150).sum() > 40


async def test_raised_hand_changes_figure_and_tag(renderer: WgpuRenderer) -> None:
    scene = panels((0, -50, 0), size=1.0)
    camera = Camera((0.0, 1.2, 3.5), 0.0, 0.0)
    views = [View(scene, people((0, 0, 0), hands=hands), camera, 640, 360) for hands in (False, True)]
    resting, raised = await renderer.render(views)
    assert (np.abs(luma(resting) - luma(raised)) > 20).sum() > 500


async def test_refined_picture_is_smoother_at_edges(renderer: WgpuRenderer, campus: Scene) -> None:
    camera = Camera((-106.0, 2.2, 24.0), 0.0, -0.05)
    plain, fine = await renderer.render(
        [View(campus, AvatarFrame.empty(), camera, 320, 180, refine=refine) for refine in (False, True)]
    )
    assert not np.array_equal(plain.pixels, fine.pixels)
    assert abs(float(luma(plain).mean()) - float(luma(fine).mean())) < 3


async def test_fox_stands_upright_and_wears_orange_fur(renderer: WgpuRenderer) -> None:
    if not FOX.exists():
        pytest.skip("the shared test model Fox.glb is not beside this checkout")
    fox = load_scene(FOX)
    camera = Camera((-160.0, 40.0, 0.0), -math.pi / 2, 0.0)
    (frame,) = await renderer.render([View(fox, AvatarFrame.empty(), camera, 640, 360)])
    red, green, blue = np.moveaxis(rgb(frame), 2, 0)
    fur = (red > 0.45) & (red > green * 1.25) & (green > blue * 1.2)
    assert fur.sum() > 3000
    dark_paws = (red < 0.35) & (green < 0.3) & (blue < 0.3)
    assert np.nonzero(fur)[0].mean() < np.nonzero(dark_paws)[0].mean()
    nose_column = np.nonzero(fur)[1].max()
    assert np.nonzero(fur[:, nose_column - 60 :])[0].mean() < np.nonzero(fur)[0].mean() + 5


async def test_limits_are_named(renderer: WgpuRenderer, campus: Scene) -> None:
    camera = Camera((0, 1.6, 80), 0, 0)
    with pytest.raises(RenderError, match="65 views in one batch, the limit is 64"):
        await renderer.render([View(campus, AvatarFrame.empty(), camera, 320, 180)] * 65)
    with pytest.raises(RenderError, match="3840x2400 exceeds the limit of"):
        await renderer.render([View(campus, AvatarFrame.empty(), camera, 3840, 2400)])
    with pytest.raises(RenderError, match="must be even"):
        await renderer.render([View(campus, AvatarFrame.empty(), camera, 321, 180)])


async def test_unloaded_scene_is_loaded_again_when_drawn(renderer: WgpuRenderer) -> None:
    scene = panels((0, 0, -4), size=3.0)
    view = View(scene, AvatarFrame.empty(), Camera((0, 1, 0), 0, 0), 320, 180)
    (first,) = await renderer.render([view])
    await renderer.unload(scene)
    (second,) = await renderer.render([view])
    assert np.array_equal(first.pixels, second.pixels)


async def test_cancelled_tick_leaves_the_renderer_usable(renderer: WgpuRenderer, campus: Scene) -> None:
    views = [View(campus, people((0, 0, 60)), Camera((0, 1.6, 80), 0.1 * i, 0), 320, 180) for i in range(4)]
    before = await renderer.render(views)
    ticking = asyncio.create_task(renderer.render(views))
    await asyncio.sleep(0)
    ticking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ticking
    after = await renderer.render(views)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(before, after, strict=True))
