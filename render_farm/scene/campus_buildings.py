"""The three buildings of the campus: entrance hall, gallery and assembly hall, with the covered walks between."""

import math

import numpy as np

from render_farm.scene.campus_relics import RELICS
from render_farm.scene.campus_site import Site
from render_farm.scene.glb_writer import Model
from render_farm.scene.shapes import Shape, box, centred_box, floor, grid_surface, merge, prism

ROWS, SEATS_PER_BLOCK = 25, 20
"""Two blocks of 25 rows of 20 seats: 1,000."""
SEAT_PITCH_M, ROW_PITCH_M, ROW_RISE_M = 0.62, 1.0, 0.1
FRONT_ROW_X, HALL_Z = 107.5, 20.0
STAGE_HEIGHT_M = 1.1


def build_buildings(site: Site) -> None:
    """All buildings with what stands in them."""
    _entrance(site)
    _gallery(site)
    _exhibits(site)
    _assembly_hall(site)
    _tiers_and_seats(site)
    _stage(site)
    _covered_walk(site, -79.6, -61.0)
    _covered_walk(site, 61.0, 74.6)


def _hipped_roof(low_x: float, low_z: float, high_x: float, high_z: float, y: float, rise: float) -> list[Shape]:
    """A roof sloping to all four sides over a flat middle, closed below the eaves."""
    width, depth = high_x - low_x, high_z - low_z
    inset = min(width, depth) * 0.36
    centre = ((low_x + high_x) / 2, 0.0, (low_z + high_z) / 2)
    unit = prism([(1.0, y + rise), (1.0, y)], 4)
    corners = unit.positions
    stretched = corners.copy()
    top = corners[:, 1] > y + rise / 2
    half = math.sqrt(0.5)
    for axis, size in ((0, width), (2, depth)):
        reach = (size / 2 - top * inset) / half
        stretched[:, axis] = corners[:, axis] * reach + centre[axis]
    slopes = _refaced(Shape(stretched, unit.normals, unit.uvs, unit.indices))
    cap = floor(low_x + inset, low_z + inset, high_x - inset, high_z - inset, y + rise)
    soffit = box((low_x, y - 0.01, low_z), (high_x, y, high_z), ("right", "left", "top", "front", "back"))
    return [slopes, cap, soffit]


def _refaced(shape: Shape) -> Shape:
    """Flat quads with normals and texture coordinates from their corners."""

    normals, uvs = shape.normals.copy(), shape.uvs.copy()
    for first in range(0, len(shape.positions), 4):
        quad = shape.positions[first : first + 4]
        normal = np.cross(quad[3] - quad[0], quad[1] - quad[2])
        normals[first : first + 4] = normal / np.linalg.norm(normal)
        along = quad[3] - quad[2]
        along = along / np.linalg.norm(along)
        down = np.cross(along, normals[first])
        uvs[first : first + 4] = np.stack([quad @ along, quad @ down], axis=1)
    return Shape(shape.positions, normals, uvs, shape.indices)


def _entrance(site: Site) -> None:
    name = "entrance"
    site.structure(name, ("marble", floor(-22.0, 90.0, 22.0, 108.0, y=0.03)))
    for x in (-21.7, 21.7):
        site.wall_along_z(name, "ashlar", x, (90.0, 108.0), 8.0)
    for z in (91.0, 107.0):
        for x in (-15.0, -9.0, -4.0, 4.0, 9.0, 15.0):
            site.column(name, "vermilion", x, z, 7.6)
        site.structure(name, ("ashlar", box((-22.0, 7.6, z - 0.7), (22.0, 8.6, z + 0.7), ())))
        for side in (-1, 1):
            low, high = sorted((side * 17.5, side * 22.0))
            site.solid(name, "ashlar", (low, 0.0, z - 0.3), (high, 7.6, z + 0.3))
    for x in (-22.0, 21.4):
        site.structure(name, ("ashlar", box((x, 8.0, 91.0), (x + 0.6, 8.6, 107.0), ())))
    site.structure(name, ("oak", box((-23.0, 8.6, 89.0), (23.0, 8.9, 109.0), ())))
    site.structure(name, *(("roof", part) for part in _hipped_roof(-24.5, 87.5, 24.5, 110.5, 8.9, 4.2)))
    for x in (-18.0, -6.0, 6.0, 18.0):
        site.structure(name, ("oak", box((x - 0.2, 8.1, 91.0), (x + 0.2, 8.6, 107.0), ())))


def _gallery(site: Site) -> None:
    name, height = "gallery", 7.0
    site.structure(name, ("oakfloor", floor(-132.0, 5.0, -80.0, 35.0, y=0.02)))
    site.wall_along_z(name, "ashlar", -80.0, (5.0, 35.0), height, doors=(20.0,))
    site.wall_along_z(name, "ashlar", -132.0, (5.0, 35.0), height)
    for z in (5.0, 35.0):
        site.wall_along_x(name, "ashlar", z, (-132.0, -80.0), height)
    _lining(site, name, (-131.7, 5.3, -80.3, 34.7), height)
    roofs = (
        (-133.5, 3.5, -78.5, 15.0),
        (-133.5, 25.0, -78.5, 36.5),
        (-133.5, 15.0, -128.0, 25.0),
        (-86.0, 15.0, -78.5, 25.0),
    )
    for low_x, low_z, high_x, high_z in roofs:
        site.structure(name, ("plaster", box((low_x, height, low_z), (high_x, height + 0.7, high_z), ())))
        site.structure(name, ("limestone", box((low_x, height + 0.7, low_z), (high_x, height + 0.9, high_z), ())))
    for index in range(10):
        x = -125.6 + 4.0 * index
        site.structure(name, ("oak", box((x - 0.18, height - 0.1, 15.0), (x + 0.18, height + 0.8, 25.0), ())))
    for x in (-119.0, -93.0):
        site.place("bench", (x, 0.0, 20.0))
        site.block(x - 1.1, 19.65, x + 1.1, 20.35)


def _lining(site: Site, name: str, inside: tuple[float, float, float, float], height: float) -> None:
    """Plaster over a wooden plinth on the inner faces of a hall; the east or west faces leave room for doors."""
    low_x, low_z, high_x, high_z = inside
    for z, depth in ((low_z, 0.06), (high_z - 0.06, 0.06)):
        site.structure(name, ("plaster", box((low_x, 0.9, z), (high_x, height, z + depth), ("bottom",))))
        site.structure(name, ("oak", box((low_x, 0.0, z - 0.03), (high_x, 0.9, z + depth + 0.03))))


def _exhibits(site: Site) -> None:
    site.define("plinth", _plinth())
    centre = next(relic for relic in RELICS if relic.name == "ding")
    spots = [(-126.0 + 10.0 * column, z) for z in (9.5, 30.5) for column in range(5)]
    others = [relic for relic in RELICS if relic is not centre]
    for relic in RELICS:
        site.define(f"relic {relic.name}", relic.build())
    for relic, (x, z) in zip(others, spots, strict=True):
        facing = 0.0 if z < HALL_Z else math.pi
        _exhibit(site, relic.name, {"en": relic.en, "zh": relic.zh}, (x, z, facing), 1.35)
        _backdrop(site, x, z)
    _exhibit(site, centre.name, {"en": centre.en, "zh": centre.zh}, (-106.0, 20.0, math.pi / 2), 2.0)


def _exhibit(site: Site, name: str, title: dict[str, str], spot: tuple[float, float, float], scale: float) -> None:
    x, z, facing = spot
    site.place("plinth", (x, 0.0, z), scale=scale**0.5)
    half = 0.62 * scale
    site.block(x - half, z - half, x + half, z + half)
    place = {"kind": "exhibit", "id": name, "title": title}
    site.place(f"relic {name}", (x, 0.96 * scale**0.5, z), facing, scale=scale, place=place)


def _plinth() -> Model:
    return [
        ("granite", centred_box((0.0, 0.06, 0.0), (1.3, 0.12, 1.3))),
        ("marble", centred_box((0.0, 0.5, 0.0), (1.12, 0.8, 1.12))),
        ("granite", centred_box((0.0, 0.92, 0.0), (1.24, 0.08, 1.24), ())),
    ]


def _backdrop(site: Site, x: float, z: float) -> None:
    """A dark panel with a lit frame behind an exhibit, so that it stands out."""
    inner = 5.45 if z < HALL_Z else 34.25
    panel = box((x - 2.2, 0.9, inner), (x + 2.2, 5.6, inner + 0.3), ())
    site.structure("gallery panels", ("panel", panel))
    for low, high in ((0.8, 0.9), (5.6, 5.7)):
        site.structure("gallery panels", ("gold", box((x - 2.3, low, inner - 0.04), (x + 2.3, high, inner + 0.34), ())))


def _assembly_hall(site: Site) -> None:
    name, height = "assembly", 12.0
    site.structure(name, ("oakfloor", floor(75.0, 2.0, 130.0, 38.0, y=0.02)))
    site.wall_along_z(name, "ashlar", 75.0, (2.0, 38.0), height, doors=(7.0, 20.0, 33.0))
    site.wall_along_z(name, "ashlar", 130.0, (2.0, 38.0), height)
    for z, inner in ((2.0, 2.3), (38.0, 37.62)):
        site.wall_along_x(name, "ashlar", z, (75.0, 130.0), 7.2)
        site.structure(name, ("ashlar", box((75.0, 10.4, z - 0.3), (130.0, height, z + 0.3), ())))
        for index in range(12):
            x = 75.4 + 4.95 * index
            site.structure(name, ("ashlar", box((x - 0.5, 7.2, z - 0.3), (x + 0.5, 10.4, z + 0.3), ("top", "bottom"))))
        site.structure(name, ("oak", box((75.3, 0.0, inner), (129.7, 3.2, inner + 0.08))))
        site.structure(name, ("plaster", box((75.3, 3.2, inner), (129.7, 7.2, inner + 0.06))))
    site.structure(name, ("plaster", box((73.5, height, 0.5), (131.5, height + 0.6, 39.5), ())))
    site.structure(name, *(("roof", part) for part in _hipped_roof(73.0, 0.0, 132.0, 40.0, height + 0.6, 3.6)))
    for index in range(10):
        x = 78.0 + 5.4 * index
        site.structure(name, ("oak", box((x - 0.25, height - 0.7, 2.3), (x + 0.25, height, 37.7), ("top",))))
        for z in (9.0, 20.0, 31.0):
            site.structure(name, ("glow", centred_box((x + 2.7, height - 0.06, z), (1.8, 0.1, 1.8), ("top",))))


def _tiers_and_seats(site: Site) -> None:
    site.define("seat", _seat())
    width = SEATS_PER_BLOCK * SEAT_PITCH_M
    back_x = FRONT_ROW_X - ROWS * ROW_PITCH_M
    for side in (-1, 1):
        near, far = HALL_Z + side * 1.1, HALL_Z + side * (1.1 + width)
        low_z, high_z = min(near, far), max(near, far)
        site.structure("tiers", *(("carpet", tier) for tier in _tier_boxes(low_z, high_z)))
        site.structure(
            "tiers", ("oak", box((back_x + 0.4, 0.0, low_z), (back_x + 0.5, ROW_RISE_M * ROWS + 0.7, high_z)))
        )
        site.block(back_x + 0.4, low_z, FRONT_ROW_X + 0.5, high_z)
        for row in range(ROWS):
            for seat in range(SEATS_PER_BLOCK):
                z = near + side * SEAT_PITCH_M * (seat + 0.5)
                at = (FRONT_ROW_X - row * ROW_PITCH_M, row * ROW_RISE_M + 0.02, round(z, 3))
                site.place("seat", at, -math.pi / 2, place={"kind": "seat"})


def _tier_boxes(low_z: float, high_z: float) -> list[Shape]:
    boxes = []
    for row in range(1, ROWS):
        front = FRONT_ROW_X + 0.5 - row * ROW_PITCH_M
        step = box((front - ROW_PITCH_M, 0.0, low_z), (front, row * ROW_RISE_M + 0.02, high_z), ("bottom", "left"))
        boxes.append(step)
    return boxes


def _seat() -> Model:
    """A theatre seat; the sitter's feet are at the origin and look along -z."""
    cushion = box((-0.25, 0.34, 0.1), (0.25, 0.46, 0.58), ())
    back = box((-0.25, 0.42, 0.56), (0.25, 1.0, 0.68), ())
    arms = [box((x - 0.03, 0.0, 0.16), (x + 0.03, 0.64, 0.62)) for x in (-0.28, 0.28)]
    return [("fabric", cushion), ("fabric", back), *(("oak", arm) for arm in arms)]


def _stage(site: Site) -> None:
    top = STAGE_HEIGHT_M
    site.solid("stage", "oak", (114.0, 0.0, 6.0), (129.7, top, 34.0), ("bottom", "top"))
    site.structure("stage", ("oakfloor", floor(114.0, 6.0, 129.7, 34.0, y=top)))
    for side in (-1, 1):
        for step in range(4):
            low, high = sorted((HALL_Z + side * (14.0 + 0.35 * step), HALL_Z + side * (14.35 + 0.35 * step)))
            site.structure("stage", ("limestone", box((118.0, 0.0, low), (121.0, top * (4 - step) / 5, high))))
        low, high = sorted((HALL_Z + side * 14.0, HALL_Z + side * 15.4))
        site.block(118.0, low, 121.0, high)
        low, high = sorted((HALL_Z + side * 8.4, HALL_Z + side * 13.6))
        site.structure("stage", ("curtain", _curtain(low, high, top, 10.6)))
    site.structure("stage", ("oak", box((128.9, 10.6, 6.0), (129.7, 12.0, 34.0), ("bottom", "right"))))
    _screen(site, top)
    site.structure("stage", *_lectern(116.6, 14.0, top))
    table = merge(
        [
            box((118.6, top + 0.7, 18.0), (119.5, top + 0.78, 26.0), ()),
            box((118.6, top, 18.1), (118.7, top + 0.7, 25.9)),
        ]
    )
    site.structure("stage", ("oak", table))
    _cameras(site, top)


def _screen(site: Site, top: float) -> None:
    frame = box((129.3, top + 0.9, 11.9), (129.7, top + 9.1, 28.1), ("right",))
    picture = box((129.2, top + 1.1, 12.2), (129.28, top + 8.9, 27.8), ("right", "top", "bottom", "front", "back"))
    uvs = picture.uvs.copy()
    uvs[:, 0] = (uvs[:, 0] - 12.2) / 15.6
    uvs[:, 1] = (uvs[:, 1] + top + 8.9) / 7.8
    site.structure(
        "stage", ("dark", frame), ("screen", Shape(picture.positions, picture.normals, uvs, picture.indices))
    )


def _curtain(low_z: float, high_z: float, low_y: float, high_y: float) -> Shape:
    """Hanging folds, looking to -x."""

    across = np.linspace(high_z, low_z, 61)
    points = np.empty((2, 61, 3))
    points[:, :, 0] = 128.9 + 0.16 * np.sin(across * 9.0)
    points[0, :, 1], points[1, :, 1] = high_y, low_y
    points[:, :, 2] = across
    surface = grid_surface(points)
    facing = surface.normals[:, 0].mean() < 0
    if facing:
        return surface
    return Shape(surface.positions, -surface.normals, surface.uvs, surface.indices[::-1].copy())


def _lectern(x: float, z: float, y: float) -> Model:
    body = prism([(0.42, y + 1.05), (0.34, y + 0.1)], 4).moved((x, 0.0, z))
    foot = centred_box((x, y + 0.05, z), (0.8, 0.1, 0.8))
    desk = centred_box((0.0, 0.0, 0.0), (0.62, 0.05, 0.8), ()).turned(2, -0.3).moved((x, y + 1.13, z))
    stem = centred_box((x - 0.2, y + 1.3, z), (0.02, 0.3, 0.02), ())
    return [("oak", body), ("oak", foot), ("panel", desk), ("steel", stem)]


def _cameras(site: Site, top: float) -> None:
    def camera(name: str, position: tuple[float, float, float], target: tuple[float, float, float]) -> None:
        along = [end - start for start, end in zip(position, target, strict=True)]
        yaw = math.atan2(-along[0], -along[2])
        pitch = math.atan2(along[1], math.hypot(along[0], along[2]))
        site.place(None, position, yaw, pitch=pitch, place={"kind": "stage_camera", "name": name})

    camera("stage", (95.5, 5.9, 20.0), (129.0, top + 1.6, 20.0))
    camera("lectern", (111.2, 2.9, 17.2), (117.2, top + 1.4, 14.0))
    camera("audience", (125.0, top + 3.6, 20.0), (92.0, 1.6, 20.0))
    camera("overview", (78.0, 9.0, 34.0), (118.0, 2.0, 17.0))


def _covered_walk(site: Site, low_x: float, high_x: float) -> None:
    name = "walks"
    count = 5
    for index in range(count):
        x = low_x + 1.0 + (high_x - low_x - 2.0) * index / (count - 1)
        for z in (16.4, 23.6):
            site.column(name, "vermilion", x, z, 4.6, 0.26)
        site.structure(name, ("oak", box((x - 0.12, 4.3, 16.4), (x + 0.12, 4.6, 23.6), ())))
    for z in (16.4, 23.6):
        site.structure(name, ("oak", box((low_x, 4.6, z - 0.2), (high_x, 5.0, z + 0.2), ())))
    site.structure(name, ("oak", box((low_x, 5.0, 15.6), (high_x, 5.12, 24.4), ())))
    site.structure(name, *(("roof", part) for part in _hipped_roof(low_x, 15.0, high_x, 25.0, 5.12, 1.7)))
