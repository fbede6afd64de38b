"""What the README promises of the campus."""

import numpy as np
import pytest

from render_farm.scene.campus import campus_glb, main
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Places, Scene

CELL_M = 0.25
BODY_M = 0.25


@pytest.fixture(scope="module")
def campus() -> Scene:
    return SceneLibrary().load("campus")


def walkable(places: Places) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Cells (x, z) where a person fits between the walls."""
    low_x, low_z, high_x, high_z = places.bounds
    free = np.ones((int((high_x - low_x) / CELL_M), int((high_z - low_z) / CELL_M)), bool)
    for wall in places.walls:
        x0, x1 = ((np.array([wall[0] - BODY_M, wall[2] + BODY_M]) - low_x) / CELL_M).astype(int)
        z0, z1 = ((np.array([wall[1] - BODY_M, wall[3] + BODY_M]) - low_z) / CELL_M).astype(int)
        free[max(0, x0) : max(0, x1 + 1), max(0, z0) : max(0, z1 + 1)] = False
    return free


def reached_from(
    free: np.ndarray[tuple[int, int], np.dtype[np.bool_]], start: tuple[int, int]
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    reached = np.zeros_like(free)
    reached[start] = free[start]
    pending = [start] if free[start] else []
    while pending:
        x, z = pending.pop()
        for cell in ((x + 1, z), (x - 1, z), (x, z + 1), (x, z - 1)):
            if 0 <= cell[0] < free.shape[0] and 0 <= cell[1] < free.shape[1] and free[cell] and not reached[cell]:
                reached[cell] = True
                pending.append(cell)
    return reached


@pytest.fixture(scope="module")
def reached(campus: Scene) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    spawn = campus.places.spawns[0]
    return reached_from(walkable(campus.places), cell_of(campus.places, float(spawn[0]), float(spawn[2])))


def cell_of(places: Places, x: float, z: float) -> tuple[int, int]:
    return int((x - places.bounds[0]) / CELL_M), int((z - places.bounds[1]) / CELL_M)


def test_campus_covers_a_hundred_thousand_square_metres(campus: Scene) -> None:
    low_x, low_z, high_x, high_z = campus.places.bounds
    assert (high_x - low_x) * (high_z - low_z) == pytest.approx(100_000)


def test_campus_has_exhibits_with_titles_in_two_languages(campus: Scene) -> None:
    exhibits = campus.places.exhibits
    assert len(exhibits) >= 8
    assert len({exhibit.exhibit for exhibit in exhibits}) == len(exhibits)
    assert all(exhibit.title["en"] and exhibit.title["zh"] for exhibit in exhibits)
    assert all(0.2 < exhibit.radius < 3.0 for exhibit in exhibits)


def test_assembly_hall_seats_a_thousand_facing_the_stage(campus: Scene) -> None:
    seats = campus.places.seats
    assert len(seats) == 1000
    assert len(np.unique(seats[:, :3].round(2), axis=0)) == 1000
    stage = next(camera for camera in campus.places.stage_cameras if camera.name == "lectern").position
    toward = np.array([stage[0], stage[2]]) - seats[:, [0, 2]]
    facing = np.stack([-np.sin(seats[:, 3]), -np.cos(seats[:, 3])], axis=1)
    assert ((toward * facing).sum(axis=1) > 0).all()


def test_campus_has_the_stage_cameras_and_spawns_rooms_need(campus: Scene) -> None:
    assert {"stage", "lectern", "audience"} <= {camera.name for camera in campus.places.stage_cameras}
    assert len(campus.places.spawns) >= 32


def test_every_spawn_and_every_exhibit_is_reached_on_foot(
    campus: Scene, reached: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> None:
    places = campus.places
    assert all(reached[cell_of(places, float(x), float(z))] for x, _, z, _ in places.spawns)
    for exhibit in places.exhibits:
        x, z = cell_of(places, exhibit.position[0], exhibit.position[2])
        near = int((exhibit.radius + 1.5) / CELL_M)
        assert reached[x - near : x + near, z - near : z + near].any(), exhibit.exhibit


@pytest.mark.parametrize(
    ("building", "x", "z"), [("entrance", 0.0, 99.0), ("gallery", -90.0, 20.0), ("assembly hall", 110.5, 20.0)]
)
def test_every_building_is_entered_on_foot(
    campus: Scene, reached: np.ndarray[tuple[int, int], np.dtype[np.bool_]], building: str, x: float, z: float
) -> None:
    assert reached[cell_of(campus.places, x, z)], building


def test_nobody_walks_through_the_hall_walls(
    campus: Scene, reached: np.ndarray[tuple[int, int], np.dtype[np.bool_]]
) -> None:
    for x, z in ((-80.0, 12.0), (-132.0, 20.0), (75.0, 12.0), (130.0, 20.0), (-21.7, 99.0), (0.0, 30.0)):
        assert not reached[cell_of(campus.places, x, z)]


def test_generating_again_gives_the_file_in_the_repository() -> None:
    made = campus_glb()
    assert made == campus_glb()
    assert made == SceneLibrary().path("campus").read_bytes()


def test_generator_explains_its_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "OUT.glb" in capsys.readouterr().err
