"""The campus out of doors: lawns, the courtyard with its basin, the stele, the memorial wall, trees and hills."""

import math

import numpy as np

from render_farm.scene.campus_relics import star
from render_farm.scene.campus_site import Site
from render_farm.scene.glb_writer import Model
from render_farm.scene.shapes import Shape, box, centred_box, floor, grid_surface, lathe, prism, sphere, tube

HALF_X, HALF_Z = 200.0, 125.0
"""Half the size of the campus: 400 m by 250 m are 100,000 square metres."""
COURTYARD = (-60.0, -46.0, 60.0, 88.0)
"""(low x, low z, high x, high z) of the paved court."""


def build_grounds(site: Site) -> None:
    """Everything out of doors."""
    site.place(None, (0.0, 0.0, 0.0), place={"kind": "bounds", "size": [2 * HALF_X, 2 * HALF_Z]})
    _ground(site)
    _hills(site)
    _basin(site)
    _stele(site)
    _memorial_wall(site)
    _boundary(site)
    _furniture(site)
    _trees(site)
    _spawns(site)


def _ground(site: Site) -> None:
    low_x, low_z, high_x, high_z = COURTYARD
    strips = [
        (-900.0, -900.0, 900.0, low_z),
        (-900.0, high_z, 900.0, 900.0),
        (-900.0, low_z, low_x, high_z),
        (high_x, low_z, 900.0, high_z),
    ]
    site.structure("ground", *(("grass", floor(*strip)) for strip in strips))
    site.structure("court", ("paving", floor(*COURTYARD)))
    axis = [(-4.5, 88.0, 4.5, 125.0), (-80.0, 17.0, -60.0, 23.0), (60.0, 17.0, 75.0, 23.0)]
    site.structure("court", *(("paving", floor(*path, y=0.02)) for path in axis))
    for side in (-1, 1):
        for z in (6.0, 34.0, 62.0):
            edges = sorted((side * 15.0, side * 40.0))
            site.structure("beds", ("limestone", box((edges[0], -0.5, z), (edges[1], 0.025, z + 22.0))))
            site.structure("beds", ("grass", floor(edges[0] + 0.4, z + 0.4, edges[1] - 0.4, z + 21.6, y=0.05)))


def _hills(site: Site) -> None:
    angles = np.linspace(0.0, 2 * math.pi, 97)
    ridge = sum(np.sin(angles * n + phase) / n for n, phase in ((3, 0.4), (7, 1.9), (13, 0.7), (29, 2.2)))
    rows = []
    for radius, share in ((820.0, 1.0), (700.0, 0.72), (600.0, 0.3), (520.0, 0.0)):
        height = np.maximum(share * (62.0 + 34.0 * ridge), 0.0) - 1.0
        rows.append(np.stack([radius * np.cos(angles), height, radius * np.sin(angles)], axis=1))
    site.structure("hills", ("hill", grid_surface(np.array(rows), closed_u=True)))


def _basin(site: Site) -> None:
    for low, high in (
        ((-7.6, 0.0, 11.4), (7.6, 0.45, 12.0)),
        ((-7.6, 0.0, 58.0), (7.6, 0.45, 58.6)),
        ((-7.6, 0.0, 12.0), (-7.0, 0.45, 58.0)),
        ((7.0, 0.0, 12.0), (7.6, 0.45, 58.0)),
    ):
        site.structure("basin", ("granite", box(low, high)))
    site.structure("basin", ("water", floor(-7.0, 12.0, 7.0, 58.0, y=0.3)))
    site.block(-7.6, 11.4, 7.6, 58.6)


def _stele(site: Site) -> None:
    x, z = 0.0, -14.0
    for level, half in enumerate((9.0, 8.0, 7.0)):
        step = box((x - half, 0.3 * level, z - half), (x + half, 0.3 * level + 0.3, z + half))
        site.structure("stele", ("limestone", step))
    pedestal = box((x - 3.6, 0.9, z - 2.6), (x + 3.6, 4.0, z + 2.6), ("bottom", "front"))
    site.structure("stele", ("granite", pedestal), ("relief", _panel(x, z + 2.6, 7.2, 0.9, 4.0)))
    site.structure("stele", ("limestone", box((x - 3.9, 4.0, z - 2.9), (x + 3.9, 4.35, z + 2.9), ())))
    shaft = prism([(1.75, 22.0), (2.55, 4.35)], 4).scaled((1.0, 1.0, 0.72)).moved((x, 0.0, z))
    cap = prism([(0.01, 23.4), (1.75, 22.0)], 4).scaled((1.0, 1.0, 0.72)).moved((x, 0.0, z))
    site.structure("stele", ("granite", shaft), ("gold", cap))
    for height, reach in ((5.2, 2.5), (21.4, 1.8)):
        band = prism([(reach, height + 0.12), (reach + 0.06, height), (reach, height - 0.12)], 4)
        site.structure("stele", ("gold", band.scaled((1.0, 1.0, 0.72)).moved((x, 0.0, z))))
    emblem = star(0.95, 0.22).turned(0, -0.02).moved((x, 17.6, z + 1.36))
    site.structure("stele", ("gold", emblem))
    for side in (-1, 1):
        site.structure("stele", *_brazier(side * 5.6, z + 5.6))
    site.block(x - 9.0, z - 9.0, x + 9.0, z + 9.0)


def _panel(x: float, z: float, width: float, low: float, high: float) -> Shape:
    """A carved face looking to +z."""
    return box((x - width / 2, low, z - 0.1), (x + width / 2, high, z), ("right", "left", "top", "bottom", "back"))


def _brazier(x: float, z: float) -> Model:
    stand = lathe([(0.16, 1.9), (0.12, 1.5), (0.22, 1.1), (0.4, 0.9)], 16)
    bowl = lathe([(0.5, 2.3), (0.6, 2.25), (0.45, 1.98), (0.16, 1.9)], 20)
    flame = lathe([(0.01, 3.2), (0.12, 2.9), (0.26, 2.6), (0.3, 2.4), (0.2, 2.25)], 12)
    return [
        ("bronze", stand.moved((x, 0.0, z))),
        ("bronze", bowl.moved((x, 0.0, z))),
        ("flame", flame.moved((x, 0.0, z))),
    ]


def _memorial_wall(site: Site) -> None:
    z = -58.0
    site.solid("memorial wall", "ashlar", (-46.0, 0.0, z - 1.0), (46.0, 7.0, z + 0.8))
    site.structure("memorial wall", ("limestone", box((-46.6, 7.0, z - 1.4), (46.6, 7.5, z + 1.3), ())))
    site.structure("memorial wall", ("granite", box((-46.4, 0.0, z + 0.7), (46.4, 0.9, z + 1.2))))
    for index in range(9):
        x = -40.0 + 10.0 * index
        panel = box((x - 4.2, 1.5, z + 0.7), (x + 4.2, 6.2, z + 0.95), ("bottom", "back"))
        site.structure("memorial wall", ("relief", panel))
    site.structure("memorial wall", ("paving", floor(-46.0, -57.0, 46.0, -46.0, y=0.02)))


def _boundary(site: Site) -> None:
    edge_x, edge_z = HALF_X - 0.4, HALF_Z - 0.4
    runs = (
        ((-edge_x, -edge_z), (edge_x, -edge_z + 0.4)),
        ((-edge_x, edge_z - 0.4), (-8.0, edge_z)),
        ((8.0, edge_z - 0.4), (edge_x, edge_z)),
        ((-edge_x, -edge_z), (-edge_x + 0.4, edge_z)),
        ((edge_x - 0.4, -edge_z), (edge_x, edge_z)),
    )
    for (low_x, low_z), (high_x, high_z) in runs:
        site.solid("boundary", "ashlar", (low_x, 0.0, low_z), (high_x, 1.1, high_z))
    for side in (-1, 1):
        site.solid(
            "boundary", "limestone", (side * 9.0 - 1.0, 0.0, edge_z - 1.4), (side * 9.0 + 1.0, 6.0, edge_z + 0.6)
        )
        roof = prism([(0.1, 7.2), (1.7, 6.4), (1.7, 6.0)], 4).moved((side * 9.0, 0.0, edge_z - 0.4))
        site.structure("boundary", ("roof", roof))


def _furniture(site: Site) -> None:
    site.define("lamp", _lamp())
    site.define("bench", _bench())
    for side in (-1, 1):
        for lamp_z in range(4, 88, 14):
            site.place("lamp", (side * 11.5, 0.0, float(lamp_z)))
            site.block(side * 11.5 - 0.2, lamp_z - 0.2, side * 11.5 + 0.2, lamp_z + 0.2)
        for z in (24.0, 46.0):
            site.place("bench", (side * 13.0, 0.0, z), side * math.pi / 2)
            site.block(side * 13.0 - 0.35, z - 1.1, side * 13.0 + 0.35, z + 1.1)


def _lamp() -> Model:
    post = lathe([(0.05, 3.2), (0.07, 0.5), (0.14, 0.4), (0.16, 0.0)], 10)
    glass = prism([(0.2, 3.75), (0.13, 3.25)], 6)
    cap = prism([(0.02, 4.0), (0.27, 3.8), (0.2, 3.75)], 6)
    return [("steel", post), ("glow", glass), ("steel", cap)]


def _bench() -> Model:
    """A bench along x."""
    seat = centred_box((0.0, 0.42, 0.0), (2.2, 0.08, 0.55), ())
    legs = [centred_box((x, 0.19, 0.0), (0.18, 0.38, 0.45)) for x in (-0.8, 0.8)]
    return [("oak", seat), *(("granite", leg) for leg in legs)]


def tree(seed: int, *, slender: bool) -> Model:
    """A tree about 8 m tall: a trunk and clumps of leaves."""
    random = np.random.Generator(np.random.PCG64(seed))
    trunk = tube([(0.0, -0.1, 0.0), (0.08, 1.6, 0.04), (-0.04, 3.2, 0.0), (0.0, 5.2, 0.0)], [0.26, 0.19, 0.15, 0.07], 9)
    parts: list[tuple[str, Shape]] = [("bark", trunk)]
    if slender:
        for level in range(5):
            height, radius = 2.4 + 1.35 * level, 2.0 - 0.36 * level
            cone = lathe(
                [(0.02, height + 1.9), (radius * 0.55, height + 0.55), (radius, height), (0.1, height + 0.3)], 14
            )
            parts.append(("needles", _rough(cone, random, 0.16)))
        return parts
    for _ in range(6):
        angle, reach, height = random.random() * 2 * math.pi, 0.4 + random.random() * 1.3, 3.6 + random.random() * 2.6
        clump = _rough(sphere(1.25 + 0.55 * random.random(), 12, 9), random, 0.3)
        parts.append(("foliage", clump.moved((reach * math.sin(angle), height, reach * math.cos(angle)))))
    return parts


def _rough(shape: Shape, random: np.random.Generator, depth: float) -> Shape:
    """Push vertices in and out; those that coincide move together, so that no gap opens."""
    keys, inverse = np.unique(np.round(shape.positions, 3), axis=0, return_inverse=True)
    pushes = (random.random(len(keys)) - 0.5) * 2 * depth
    outward = np.zeros_like(keys)
    np.add.at(outward, inverse.reshape(-1), shape.normals)
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    moved = shape.positions + (outward * pushes[:, None])[inverse.reshape(-1)]
    return Shape(moved, shape.normals, shape.uvs, shape.indices)


def _trees(site: Site) -> None:
    kinds = ("tree a", "tree b", "pine a", "pine b")
    for index, name in enumerate(kinds):
        site.define(name, tree(40 + index, slender=name.startswith("pine")))
    random = np.random.Generator(np.random.PCG64(7))
    for x, z, kind in _tree_spots():
        shift = (random.random(2) - 0.5) * (0.6 if kind < 2 and abs(x) < 60 else 3.0)
        name = kinds[kind + int(random.random() * 2)]
        at = (round(x + float(shift[0]), 2), 0.0, round(z + float(shift[1]), 2))
        site.place(name, at, float(random.random()) * 6.28, scale=0.85 + 0.4 * float(random.random()))
        site.block(at[0] - 0.3, at[2] - 0.3, at[0] + 0.3, at[2] + 0.3)


def _tree_spots() -> list[tuple[float, float, int]]:
    """Where trees stand: x, z and 0 for broadleaf or 2 for pine."""
    court = [(side * x, float(z), 0) for side in (-1, 1) for x in (21.0, 34.0) for z in range(12, 84, 12)]
    grove = [(float(x), float(z), 2) for z in (-72, -84, -98, -112) for x in range(-90, 91, 15)]
    edges = [(side * 188.0, float(z), 2) for side in (-1, 1) for z in range(-112, 113, 15)]
    south = [(side * float(x), 114.0, 0) for side in (-1, 1) for x in range(26, 185, 15)]
    flanks = [(side * float(x), z, 0) for side in (-1, 1) for x in range(72, 170, 14) for z in (-32.0, 66.0)]
    return court + grove + edges + south + flanks


def _spawns(site: Site) -> None:
    """Forty places at the south end of the court, facing the basin and the stele."""
    for row in range(5):
        for column in range(8):
            x = (column - 3.5) * 2.4 + (row % 2) * 0.8
            site.place(None, (round(x, 2), 0.0, 66.0 + 2.6 * row), place={"kind": "spawn"})
