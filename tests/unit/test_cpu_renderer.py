"""The CPU renderer: perspective, movement, people, determinism, independence of a batch's views."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from render_farm.renderer.cpu import CpuRenderer
from render_farm.renderer.interface import (
    AvatarFrame,
    Camera,
    PixelLayout,
    PlanarFrame,
    RenderError,
    RendererSettings,
    View,
)
from render_farm.scene.model import Exhibit, Geometry, Places, Scene

EMPTY_GEOMETRY = Geometry((), (), (), np.zeros(0, np.uint32), np.zeros((0, 4, 4), np.float32))
BOUNDS = (-200.0, -200.0, 200.0, 200.0)


def make_scene(
    walls: list[tuple[float, float, float, float]] | None = None, exhibits: tuple[Exhibit, ...] = ()
) -> Scene:
    places = Places(
        bounds=BOUNDS,
        spawns=np.zeros((1, 4), np.float32),
        seats=np.zeros((0, 4), np.float32),
        walls=np.array(walls or [], np.float32).reshape(-1, 4),
        exhibits=exhibits,
    )
    return Scene("plain", places, EMPTY_GEOMETRY)


def people(*positions: tuple[float, float, float], hand: bool = False, seated: bool = False, name: str = "Ada"):
    count = len(positions)
    return AvatarFrame(
        positions=np.array(positions, np.float32).reshape(-1, 3),
        yaws=np.zeros(count, np.float32),
        hues=np.full(count, 0.1, np.float32),
        names=(name,) * count,
        hands_raised=np.full(count, hand),
        seated=np.full(count, seated),
        ids=tuple(f"p{number}" for number in range(count)),
    )


SCENE = make_scene()
EYES = Camera((0.0, 1.6, 0.0), 0.0, 0.0)


def make_view(camera: Camera = EYES, avatars: AvatarFrame | None = None, scene: Scene = SCENE, **more) -> View:
    settings = {"width": 640, "height": 360} | more
    return View(scene, avatars or AvatarFrame.empty(), camera, **settings)


async def drawn(view: View) -> NDArray[np.uint8]:
    frame = (await CpuRenderer().render([view]))[0]
    return frame.pixels.copy()


async def changed_by(view: View, avatars: AvatarFrame) -> NDArray[np.bool_]:
    """Which luma pixels of `view` the people in `avatars` cover."""
    before, after = await drawn(view), await drawn(replace(view, avatars=avatars))
    return np.asarray(before[: view.height] != after[: view.height])


def projected(camera: Camera, point: tuple[float, float, float], width: int, height: int) -> tuple[float, float]:
    """Textbook perspective, written independently of the renderer: undo yaw, undo pitch, divide."""
    x, y, z = (p - c for p, c in zip(point, camera.position, strict=True))
    x, z = x * math.cos(camera.yaw) - z * math.sin(camera.yaw), x * math.sin(camera.yaw) + z * math.cos(camera.yaw)
    y, z = (
        y * math.cos(camera.pitch) + z * math.sin(camera.pitch),
        -y * math.sin(camera.pitch) + z * math.cos(camera.pitch),
    )
    focal = height / 2 / math.tan(camera.vertical_fov / 2)
    return width / 2 + focal * x / -z, height / 2 - focal * y / -z


async def test_frame_has_the_promised_layout() -> None:
    frame = (await CpuRenderer().render([make_view()]))[0]
    assert isinstance(frame, PlanarFrame)
    assert (frame.width, frame.height, frame.layout) == (640, 360, PixelLayout.I420)
    assert frame.pixels.shape == (540, 640)
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.flags.c_contiguous
    assert frame.pixels.flags.writeable
    assert frame.pixels[:360].min() >= 16
    assert frame.pixels[:360].max() <= 235


async def test_same_view_gives_the_same_bytes_alone_and_among_others() -> None:
    view = make_view(avatars=people((1, 0, -6), (-2, 0, -9)), scene=make_scene([(-5, -12, 5, -11)]))
    others = [make_view(Camera((3, 2, 1), 0.3 * number, -0.1), width=320, height=180) for number in range(4)]
    alone = await drawn(view)
    renderer = CpuRenderer()
    for _ in range(3):
        batch = await renderer.render([*others, view, view])
        assert np.array_equal(batch[4].pixels, alone)
        assert np.array_equal(batch[5].pixels, alone)


@pytest.mark.parametrize(
    ("camera", "position"),
    [
        (EYES, (0.0, 0.0, -5.0)),
        (EYES, (2.0, 0.0, -6.0)),
        (Camera((4.0, 1.6, 3.0), 0.7, 0.0), (0.0, 0.0, -4.0)),
        (Camera((0.0, 3.0, 0.0), math.pi, -0.3), (-1.0, 0.0, 8.0)),
        (Camera((0.0, 1.6, 0.0), math.pi / 2, 0.1, 1.3), (-5.0, 0.0, 0.5)),
    ],
)
async def test_person_stands_where_perspective_puts_them(camera: Camera, position: tuple[float, float, float]) -> None:
    view = make_view(camera, width=1280, height=720)
    rows, columns = np.nonzero(await changed_by(view, people(position, name=".")))
    foot_x, foot_y = projected(camera, position, 1280, 720)
    _, head_y = projected(camera, (position[0], 1.75, position[2]), 1280, 720)
    tall_px = foot_y - head_y
    assert np.median(columns) == pytest.approx(foot_x, abs=0.06 * tall_px)
    assert rows.max() == pytest.approx(foot_y, abs=0.08 * tall_px)
    assert rows.min() == pytest.approx(head_y, abs=0.3 * tall_px)


async def test_horizon_lies_where_pitch_puts_it() -> None:
    renderer = CpuRenderer()
    for pitch in (-0.2, 0.0, 0.15):
        level = (await renderer.render([make_view(Camera((0, 1.6, 0), 0, pitch), width=640, height=360)]))[0]
        expected = 180 + 180 / math.tan(0.5) * math.tan(pitch)
        texture = level.pixels[:360].astype(float).std(axis=1)
        first_textured = int(np.flatnonzero(texture[int(expected) - 2 :] > 4)[0]) + int(expected) - 2
        assert first_textured == pytest.approx(expected, abs=12)


async def test_ground_moves_with_the_world_when_walking() -> None:
    """A point of the paving is at the same world position before and after a step; the near picture differs."""
    down = Camera((0.0, 2.0, 0.0), 0.0, -1.2)
    metre_px = 180 / math.tan(0.5) / 2.0
    here = (await drawn(make_view(down)))[:360]
    there = (await drawn(make_view(replace(down, position=(0.25, 2.0, 0.0)))))[:360]
    assert (here != there).mean() > 0.2
    middle = here[150:170, 250:400].astype(float)
    errors = [np.abs(there[150:170, 250 - shift : 400 - shift].astype(float) - middle).mean() for shift in range(90)]
    assert int(np.argmin(errors)) == pytest.approx(0.25 * metre_px, rel=0.2)


async def test_turning_left_moves_the_world_to_the_right() -> None:
    person = people((0.0, 0.0, -6.0), name=".")
    ahead = np.nonzero(await changed_by(make_view(), person))[1]
    turned = np.nonzero(await changed_by(make_view(Camera((0.0, 1.6, 0.0), 0.2, 0.0)), person))[1]
    assert turned.mean() > ahead.mean() + 30


async def test_sky_turns_with_the_camera() -> None:
    skies = [(await drawn(make_view(Camera((0, 1.6, 0), yaw, 0.1))))[:150] for yaw in (0.0, 0.1, 2.0)]
    assert (skies[0] != skies[1]).mean() > 0.01
    assert (skies[0] != skies[2]).mean() > 0.01


async def test_nobody_sees_themself() -> None:
    avatars = people((0.0, 0.0, -5.0))
    assert np.array_equal(await drawn(make_view(avatars=avatars, hidden_avatar=0)), await drawn(make_view()))


async def test_raised_hand_shows_above_the_head() -> None:
    lowered = await changed_by(make_view(), people((0, 0, -5), name="."))
    raised = await changed_by(make_view(), people((0, 0, -5), hand=True, name="."))
    assert np.nonzero(raised)[0].min() < np.nonzero(lowered)[0].min() - 10


async def test_seated_person_is_lower() -> None:
    standing = await changed_by(make_view(), people((0, 0, -5), name="."))
    seated = await changed_by(make_view(), people((0, 0, -5), seated=True, name="."))
    assert np.nonzero(seated)[0].min() > np.nonzero(standing)[0].min() + 10


async def test_name_is_written_also_in_chinese() -> None:
    pictures = [await drawn(make_view(avatars=people((0, 0, -4), name=name))) for name in ("Ada", "梅岭", "纪念")]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[1], pictures[2])


async def test_wall_hides_who_stands_behind_it() -> None:
    walled = make_scene([(-30, -6, 30, -5.5)])
    assert not (await changed_by(make_view(scene=walled), people((0, 0, -12)))).any()
    assert (await changed_by(make_view(scene=walled), people((0, 0, -3)))).any()


async def test_seats_inside_a_barrier_are_shown_instead_of_a_block() -> None:
    """A hall's rows are barriers too: nobody walks through them, but everybody sees who sits there."""
    scene = make_scene([(-6, -16, 6, -8)])
    seats = np.array([[x, 0.0, z, 0.0] for x in (-4, 0, 4) for z in (-10, -14)], np.float32)
    hall = replace(scene, places=replace(scene.places, seats=seats))
    sitting = people(*((float(x), 0.0, float(z)) for x, _, z, _ in seats), seated=True)
    assert (await changed_by(make_view(scene=hall), sitting)).sum() > 500


@pytest.mark.parametrize(
    ("barrier", "top_m"),
    [
        ((-0.3, -8.3, 0.3, -7.7), 3.0),
        ((-1.0, -9.0, 1.0, -7.5), 0.8),
        ((-6.0, -8.5, 6.0, -8.0), 4.0),
        ((-4.0, -16.0, 4.0, -8.0), 0.4),
    ],
    ids=["pillar", "plinth", "wall", "platform"],
)
async def test_barriers_are_as_high_as_their_shape_suggests(
    barrier: tuple[float, float, float, float], top_m: float
) -> None:
    seen = (await drawn(make_view(scene=make_scene([barrier]))))[:360] != (await drawn(make_view()))[:360]
    rows = np.flatnonzero(seen[:, 300:340].any(axis=1))
    edge_z = barrier[1] if top_m < EYES.position[1] else barrier[3]
    assert rows.min() == pytest.approx(projected(EYES, (0.0, top_m, edge_z), 640, 360)[1], abs=3)
    assert rows.max() == pytest.approx(projected(EYES, (0.0, 0.0, barrier[3]), 640, 360)[1], abs=3)


async def test_wall_stays_right_when_it_reaches_behind_the_camera() -> None:
    corridor = make_scene([(-2.0, -40, -1.5, 40), (1.5, -40, 2.0, 40)])
    walls = (await drawn(make_view(scene=corridor)))[:360] != (await drawn(make_view()))[:360]
    assert walls[100:250, :60].mean() > 0.98
    assert walls[100:250, -60:].mean() > 0.98
    assert not walls[340:, 300:340].any()


async def test_paving_inside_the_bounds_is_not_covered_by_lawn() -> None:
    """The lawn reaches far to all sides; its polygons must be cut at the picture, not bent."""
    plain = await drawn(make_view(Camera((3.0, 2.0, 5.0), 0.6, -0.4)))
    green = (plain[360:].reshape(2, 180, 320)[0] < 120) & (plain[360:].reshape(2, 180, 320)[1] < 122)
    assert not green[60:].any()


async def test_orbiting_an_exhibit_shows_its_other_sides() -> None:
    exhibits = tuple(Exhibit(f"e{n}", {"en": "Relic"}, (6.0 * n, 1.6, 0.0), 0.6) for n in range(3))
    scene = make_scene(exhibits=exhibits)
    for exhibit in exhibits:
        x = exhibit.position[0]
        views = [
            make_view(Camera((x + 2.5 * math.sin(yaw), 1.6, 2.5 * math.cos(yaw)), yaw, 0.0), scene=scene)
            for yaw in (0.0, 0.15)
        ]
        centres = [(await drawn(view))[140:220, 280:360] for view in views]
        assert (centres[0] != centres[1]).mean() > 0.03


async def test_refined_view_is_smoother_but_the_same_picture() -> None:
    scene = make_scene(exhibits=(Exhibit("e", {"en": "Relic"}, (0.0, 1.5, -3.0), 0.6),))
    plain = (await drawn(make_view(scene=scene)))[:360].astype(float)
    refined = (await drawn(make_view(scene=scene, refine=True)))[:360].astype(float)
    assert 0 < np.abs(plain - refined).mean() < 6
    assert np.corrcoef(plain.ravel(), refined.ravel())[0, 1] > 0.97


async def test_assembly_is_drawn_anew_as_soon_as_anybody_in_it_changes() -> None:
    """Pictures of many people are remembered; what is remembered must never be shown when it is out of date."""
    crowd = people(*((0.6 * (n % 15) - 4.5, 0.0, -6.0 - n // 15) for n in range(120)), seated=True)
    hands = crowd.hands_raised.copy()
    hands[7] = True
    moved = crowd.positions.copy()
    moved[3] += 0.4
    changes = [
        crowd,
        replace(crowd, hands_raised=hands),
        replace(crowd, positions=moved),
        replace(crowd, names=("Bo", *crowd.names[1:])),
    ]
    renderer = CpuRenderer()
    for avatars in [crowd, *changes, *changes]:
        view = make_view(avatars=avatars)
        for _ in range(2):
            assert np.array_equal((await renderer.render([view]))[0].pixels, await drawn(view))
    crowd.hands_raised[11] = True
    assert np.array_equal((await renderer.render([view]))[0].pixels, await drawn(view))


async def test_frames_stay_valid_until_the_next_batch_but_one() -> None:
    renderer = CpuRenderer()
    first = (await renderer.render([make_view()]))[0]
    kept = first.pixels.copy()
    await renderer.render([make_view(Camera((9, 5, 9), 2, -0.6))])
    assert np.array_equal(first.pixels, kept)


@pytest.mark.parametrize(("width", "height"), [(160, 160), (360, 640), (1278, 718), (854, 480), (1920, 1080)])
@pytest.mark.parametrize("pitch", [-1.5, -0.7, 0.0, 0.9, 1.5])
async def test_any_size_and_pitch_can_be_drawn(width: int, height: int, pitch: float) -> None:
    scene = make_scene([(-4, -9, 4, -8), (0.5, 0.5, 1.5, 1.5)], (Exhibit("e", {}, (0.0, 1.0, -2.0), 0.5),))
    camera = Camera((0.3, 1.6, 0.2), 12.5, pitch, 1.1)
    frame = (await CpuRenderer().render([make_view(camera, people((0, 0, -1)), scene, width=width, height=height)]))[0]
    assert frame.pixels.shape == (height * 3 // 2, width)


async def test_what_cannot_be_drawn_is_refused_with_the_limit() -> None:
    renderer = CpuRenderer(RendererSettings(max_views=2, max_view_pixels=640 * 360))
    with pytest.raises(RenderError, match="at most 2"):
        await renderer.render([make_view()] * 3)
    with pytest.raises(RenderError, match="230400"):
        await renderer.render([make_view(width=1280, height=720)])
    with pytest.raises(RenderError, match="641x360"):
        await renderer.render([make_view(width=641)])


async def test_event_loop_runs_while_views_are_drawn() -> None:
    ticks = 0
    renderer = CpuRenderer()
    drawing = asyncio.ensure_future(renderer.render([make_view(width=1280, height=720)] * 8))
    while not drawing.done():
        await asyncio.sleep(0)
        ticks += 1
    assert len(await drawing) == 8
    assert ticks > 10
