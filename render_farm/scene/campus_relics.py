"""The exhibits of the campus gallery, each standing on y = 0 around the origin, and at most 1.3 m tall."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from render_farm.scene.glb_writer import Model
from render_farm.scene.shapes import (
    Floats,
    Point,
    Shape,
    box,
    centred_box,
    grid_surface,
    lathe,
    merge,
    prism,
    sphere,
    tube,
)

Profile = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Relic:
    """An exhibit: its name in URLs and events, its titles, and what makes its meshes."""

    name: str
    en: str
    zh: str
    build: Callable[[], Model]


def smooth_profile(points: Profile, steps: int = 4) -> list[tuple[float, float]]:
    """A Catmull-Rom curve through profile points."""
    knots = np.array([points[0], *points, points[-1]])
    curve: list[tuple[float, float]] = []
    for index in range(len(points) - 1):
        before, start, end, after = knots[index : index + 4]
        for step in range(steps):
            t = step / steps
            value = 0.5 * (
                2 * start
                + (end - before) * t
                + (2 * before - 5 * start + 4 * end - after) * t**2
                + (3 * start - before - 3 * end + after) * t**3
            )
            curve.append((float(value[0]), float(value[1])))
    return [*curve, (float(points[-1][0]), float(points[-1][1]))]


def _around(count: int, radius: float, part: Shape, phase: float = 0.0) -> Shape:
    """Copies of a shape that faces +z at the origin, on a circle, each facing outwards."""
    parts = []
    for index in range(count):
        angle = phase + index * 2 * math.pi / count
        offset = (radius * math.sin(angle), 0.0, radius * math.cos(angle))
        parts.append(part.turned(1, angle).moved(offset))
    return merge(parts)


def vase() -> Model:
    """A tall blue-and-white vase."""
    outer = [(0.10, 1.0), (0.085, 0.94), (0.075, 0.84), (0.12, 0.74), (0.235, 0.6), (0.225, 0.42), (0.15, 0.18)]
    body = lathe(smooth_profile([*outer, (0.125, 0.06), (0.14, 0.0)]), 40)
    lip = lathe([(0.08, 0.97), (0.088, 1.005), (0.10, 1.0)], 40)
    throat = lathe([(0.065, 0.8), (0.075, 0.9), (0.088, 1.0)], 40)
    return [("porcelain", body), ("porcelain", lip), ("dark", throat)]


def bell() -> Model:
    """A bronze bell with bosses, hung in a wooden frame."""
    profile = [(0.02, 0.98), (0.16, 0.96), (0.21, 0.88), (0.235, 0.66), (0.25, 0.5), (0.29, 0.36), (0.305, 0.33)]
    body = lathe(smooth_profile(profile, 3), 36)
    inside = lathe([(0.27, 0.33), (0.22, 0.6), (0.05, 0.9)], 36)
    rim = lathe([(0.305, 0.33), (0.27, 0.33)], 36)
    bosses = [_around(9, 0.222, sphere(0.022, 8, 6).moved((0.0, height, 0.0))) for height in (0.72, 0.8)]
    bands = [lathe([(r, y + 0.012), (r + 0.012, y), (r, y - 0.012)], 36) for r, y in ((0.245, 0.55), (0.225, 0.86))]
    loop = tube([(0.07 * math.cos(a), 0.97 + 0.09 * math.sin(a), 0.0) for a in np.linspace(0, math.pi, 9)], [0.02] * 9)
    posts = [centred_box((x, 0.6, 0.0), (0.07, 1.2, 0.07)) for x in (-0.42, 0.42)]
    beam = centred_box((0.0, 1.14, 0.0), (1.04, 0.1, 0.1), ())
    feet = [centred_box((x, 0.03, 0.0), (0.12, 0.06, 0.5)) for x in (-0.42, 0.42)]
    return [
        *(("bronze", part) for part in (body, rim, loop, *bosses, *bands)),
        ("dark", inside),
        *(("wood", part) for part in (*posts, beam, *feet)),
    ]


def lantern() -> Model:
    """A hexagonal palace lantern on a stand."""
    shade = prism([(0.26, 0.92), (0.26, 0.45)], 6)
    frame = _around(6, 0.265, centred_box((0.0, 0.685, 0.0), (0.03, 0.5, 0.03), ()), math.pi / 6)
    rings = [prism([(0.2, y + 0.03), (0.29, y + 0.02), (0.29, y - 0.02), (0.2, y - 0.03)], 6) for y in (0.44, 0.93)]
    top = prism([(0.02, 1.14), (0.1, 1.05), (0.34, 0.97), (0.3, 0.95)], 6)
    finial = sphere(0.04, 12, 8).moved((0.0, 1.16, 0.0))
    stem = lathe([(0.03, 0.42), (0.03, 0.1), (0.16, 0.06), (0.2, 0.0)], 20, sharp=True)
    return [
        ("silk", shade),
        ("wood", frame),
        *(("wood", part) for part in (*rings, stem)),
        ("roof", top),
        ("gold", finial),
    ]


def helmet() -> Model:
    """A soldier's steel helmet with a chin strap and a star."""
    dome = lathe(smooth_profile([(0.0, 0.36), (0.11, 0.34), (0.19, 0.25), (0.22, 0.12), (0.225, 0.1)], 3), 36)
    brim = lathe([(0.225, 0.1), (0.3, 0.045), (0.305, 0.035), (0.22, 0.08)], 36)
    inside = lathe([(0.215, 0.08), (0.18, 0.22), (0.02, 0.33)], 36)
    strap = [
        tube(
            [(side * 0.215, 0.1, 0.02), (side * 0.2, 0.03, 0.06), (side * 0.1, 0.012, 0.14), (0.0, 0.01, 0.17)],
            [0.01] * 4,
        )
        for side in (-1, 1)
    ]
    emblem = star(0.05, 0.012).moved((0.0, 0.2, 0.206))
    shape = merge([dome, brim]).scaled((1.0, 1.0, 1.15))
    tilted = [("steel", shape), ("dark", inside.scaled((1.0, 1.0, 1.15))), ("gold", emblem.moved((0.0, 0.0, 0.03)))]
    scaled = [(finish, part.scaled((1.5, 1.5, 1.5)).moved((0.0, 0.02, 0.0))) for finish, part in tilted]
    return [*scaled, *(("leather", part.scaled((1.5, 1.5, 1.5)).moved((0.0, 0.02, 0.0))) for part in strap)]


def star(radius: float, depth: float) -> Shape:
    """A five-pointed star facing +z, raised in its middle."""
    angles = np.arange(11) * math.pi / 5
    radii = np.where(np.arange(11) % 2 == 0, radius, radius * 0.4)
    rim = np.stack([radii * np.sin(angles), radii * np.cos(angles), np.zeros(11)], axis=1)
    parts = [_facet(np.array([(0.0, 0.0, depth), rim[i + 1], rim[i]])) for i in range(10)]
    return merge(parts)


def _facet(corners: Floats) -> Shape:
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    normal = np.tile(normal / np.linalg.norm(normal), (3, 1))
    return Shape(corners, normal, corners[:, :2].copy(), np.array([0, 1, 2]))


def ding() -> Model:
    """A round bronze tripod cauldron."""
    bowl = lathe(smooth_profile([(0.34, 0.86), (0.31, 0.82), (0.33, 0.6), (0.27, 0.44), (0.02, 0.38)], 4), 40)
    lip = lathe([(0.28, 0.86), (0.3, 0.885), (0.35, 0.88), (0.345, 0.855)], 40)
    inside = lathe([(0.02, 0.46), (0.24, 0.5), (0.3, 0.66), (0.28, 0.86)], 40)
    leg_profile = smooth_profile([(0.085, 0.5), (0.07, 0.3), (0.05, 0.15), (0.07, 0.0)], 3)
    legs = _around(3, 0.2, lathe(leg_profile, 16))
    handles = [
        tube([(side * 0.3, 0.86, z) for z in (-0.1,)] + _handle(side) + [(side * 0.3, 0.86, 0.1)], [0.028] * 7)
        for side in (-1, 1)
    ]
    studs = _around(18, 0.333, sphere(0.02, 8, 6).moved((0.0, 0.68, 0.0)))
    return [*(("bronze", part) for part in (bowl, lip, legs, studs, *handles)), ("dark", inside)]


def _handle(side: int) -> list[Point]:
    return [
        (side * 0.31, 0.98, -0.1),
        (side * 0.32, 1.06, -0.06),
        (side * 0.32, 1.08, 0.0),
        (side * 0.32, 1.06, 0.06),
        (side * 0.31, 0.98, 0.1),
    ]


def book() -> Model:
    """A great open book on a reading stand."""
    pages = [_page(side) for side in (-1, 1)]
    blocks = [box((min(0, s * 0.44), 0.012, -0.3), (max(0, s * 0.44), 0.04, 0.3), ("top",)) for s in (-1, 1)]
    cover = centred_box((0.0, 0.006, 0.0), (0.94, 0.012, 0.64), ())
    tilt = 0.45
    lying = [("parchment", page) for page in pages] + [("paper", block) for block in blocks] + [("leather", cover)]
    raised = [(finish, shape.turned(0, tilt).moved((0.0, 0.4, 0.0))) for finish, shape in lying]
    stand = [
        centred_box((0.0, -0.02, 0.0), (1.0, 0.03, 0.7), ()).turned(0, tilt).moved((0.0, 0.4, 0.0)),
        centred_box((0.0, -0.005, 0.35), (1.0, 0.06, 0.03), ()).turned(0, tilt).moved((0.0, 0.4, 0.0)),
        box((-0.06, 0.0, -0.06), (0.06, 0.38, 0.06)),
        box((-0.3, 0.0, -0.22), (0.3, 0.05, 0.22)),
    ]
    return [*raised, *(("wood", part) for part in stand)]


def _page(side: int) -> Shape:
    across = np.linspace(0.0, 0.43, 9)
    bulge = 0.04 + 0.035 * np.sin(across / 0.43 * math.pi) ** 0.6
    points = np.empty((2, 9, 3))
    for row, z in enumerate((-0.29, 0.29)):
        points[row, :, 0] = across if side > 0 else across[::-1] * -1
        points[row, :, 1] = bulge if side > 0 else bulge[::-1]
        points[row, :, 2] = z
    surface = grid_surface(points)
    u = np.tile(np.linspace(0.0, 1.0, 9), 2) + 0.0
    v = np.repeat([0.0, 1.0], 9)
    return Shape(surface.positions, surface.normals, np.stack([u, v], axis=1), surface.indices)


def sword() -> Model:
    """A straight sword on a wooden rest."""
    blade = prism([(0.001, 0.92), (0.03, 0.84), (0.034, 0.0)], 4).scaled((1.0, 1.0, 0.28))
    guard = centred_box((0.0, -0.015, 0.0), (0.15, 0.03, 0.05), ())
    grip = lathe([(0.02, -0.03), (0.023, -0.1), (0.018, -0.2)], 12)
    pommel = sphere(0.032, 12, 8).moved((0.0, -0.22, 0.0))
    weapon = [("steel", blade), ("gold", guard), ("leather", grip), ("gold", pommel)]
    laid = [(finish, part.turned(2, math.pi / 2).moved((0.36, 0.34, 0.0))) for finish, part in weapon]
    rests = [
        merge(
            [
                centred_box((x, 0.14, 0.0), (0.04, 0.28, 0.06)),
                centred_box((x, 0.31, 0.05), (0.04, 0.09, 0.02), ()),
                centred_box((x, 0.31, -0.05), (0.04, 0.09, 0.02), ()),
                centred_box((x, 0.275, 0.0), (0.04, 0.02, 0.12), ()),
            ]
        )
        for x in (-0.32, 0.2)
    ]
    foot = centred_box((-0.06, 0.025, 0.0), (0.84, 0.05, 0.24))
    return [*laid, *(("wood", part) for part in (*rests, foot))]


def statue() -> Model:
    """A standing figure in a long robe, holding a scroll."""
    robe = lathe(
        smooth_profile(
            [(0.05, 1.02), (0.13, 0.98), (0.155, 0.84), (0.12, 0.66), (0.16, 0.4), (0.23, 0.04), (0.24, 0.0)]
        ),
        32,
    ).scaled((1.0, 1.0, 0.75))
    head = sphere(0.085, 20, 14).scaled((0.88, 1.12, 0.96)).moved((0.0, 1.13, 0.01))
    neck = lathe([(0.042, 1.06), (0.05, 0.98)], 16)
    hair = sphere(0.09, 20, 14).scaled((0.92, 1.0, 0.98)).moved((0.0, 1.155, -0.015))
    knot = sphere(0.035, 12, 8).moved((0.0, 1.255, -0.02))
    arms = [
        tube(
            [(s * 0.14, 0.94, 0.0), (s * 0.2, 0.8, 0.04), (s * 0.15, 0.7, 0.14), (s * 0.03, 0.73, 0.18)],
            [0.05, 0.06, 0.065, 0.035],
            12,
        )
        for s in (-1, 1)
    ]
    scroll = lathe([(0.024, 0.16), (0.024, -0.16)], 12).turned(2, 1.25).moved((0.0, 0.75, 0.2))
    belt = lathe([(0.135, 0.7), (0.145, 0.67), (0.138, 0.64)], 32).scaled((1.0, 1.0, 0.78))
    base = lathe([(0.001, 0.05), (0.27, 0.05), (0.29, 0.03), (0.29, 0.0)], 32, sharp=True)
    parts = (robe, head, neck, hair, knot, *arms, scroll, belt, base)
    return [("marble", part) for part in parts]


def ship() -> Model:
    """A model of a three-masted ship."""
    hull = grid_surface(_hull_points())
    deck = grid_surface(_deck_points())
    masts = [lathe([(0.008, top), (0.014, 0.26)], 8).moved((x, 0.0, 0.0)) for x, top in _MASTS]
    sails = [_sail(x, low, high, width) for x, low, high, width in _SAILS]
    cabin = box((-0.52, 0.3, -0.1), (-0.3, 0.4, 0.1))
    cradle = [centred_box((x, 0.09, 0.0), (0.05, 0.18, 0.3)) for x in (-0.3, 0.3)]
    foot = centred_box((0.0, 0.02, 0.0), (0.95, 0.04, 0.4))
    bowsprit = tube([(0.5, 0.36, 0.0), (0.78, 0.47, 0.0)], [0.014, 0.007])
    return [
        ("wood", hull),
        ("oak", deck),
        *(("oak", part) for part in (*masts, cabin, bowsprit)),
        *(("sail", part) for part in sails),
        *(("granite", part) for part in (*cradle, foot)),
    ]


_MASTS = ((-0.34, 0.86), (0.0, 1.1), (0.32, 0.92))
_SAILS = (
    (-0.34, 0.46, 0.66, 0.34),
    (-0.34, 0.68, 0.82, 0.26),
    (0.0, 0.46, 0.72, 0.44),
    (0.0, 0.74, 0.92, 0.36),
    (0.0, 0.94, 1.06, 0.24),
    (0.32, 0.46, 0.68, 0.38),
    (0.32, 0.7, 0.87, 0.28),
)


def _hull_section(station: float) -> tuple[float, float, float]:
    """Half beam, keel height and deck height at a station in [-1 stern, 1 bow]."""
    fullness = max(0.0, 1.0 - max(0.0, station) ** 2.4 - 0.45 * max(0.0, -station) ** 3)
    return 0.15 * fullness**0.7, 0.14 + 0.12 * max(0.0, station) ** 4, 0.3 + 0.07 * station**2


def _hull_points() -> Floats:
    stations, arc = np.linspace(-1, 1, 21), np.linspace(-math.pi / 2, math.pi / 2, 13)
    points = np.empty((13, 21, 3))
    for column, station in enumerate(stations):
        beam, keel, deck = _hull_section(float(station))
        points[:, column, 0] = 0.58 * station
        points[:, column, 1] = deck - (deck - keel) * np.cos(arc) ** 0.8
        points[:, column, 2] = -beam * np.sin(arc)
    return points


def _deck_points() -> Floats:
    points = np.empty((2, 21, 3))
    for column, station in enumerate(np.linspace(-1, 1, 21)):
        beam, _, deck = _hull_section(float(station))
        points[:, column] = ((0.58 * station, deck - 0.015, -beam), (0.58 * station, deck - 0.015, beam))
    return points


def _sail(x: float, low: float, high: float, width: float) -> Shape:
    across, up = np.linspace(-0.5, 0.5, 9), np.linspace(0, 1, 5)
    points = np.empty((5, 9, 3))
    belly = 0.07 * np.outer(np.sin(up * math.pi) * 0.7 + 0.3, 1 - (2 * across) ** 2)
    points[:, :, 0] = x + 0.012 + belly
    points[:, :, 1] = (high - (high - low) * up)[:, None]
    points[:, :, 2] = -across * width * (0.85 + 0.15 * up)[:, None]
    return grid_surface(points)


def disc() -> Model:
    """A jade disc with a square-cut stand."""
    angles = np.linspace(0, 2 * math.pi, 10)
    ring = lathe([(0.13 + 0.19 * (0.5 - 0.5 * math.cos(a / 1)), 0.03 * math.sin(a)) for a in -angles], 48)
    studs = [_around(n, r, sphere(0.013, 8, 5).moved((0.0, 0.026, 0.0))) for n, r in ((16, 0.2), (22, 0.26))]
    upright = [("jade", part.turned(0, math.pi / 2).moved((0.0, 0.46, 0.0))) for part in (ring, *studs)]
    stand = [
        box((-0.24, 0.0, -0.12), (0.24, 0.05, 0.12)),
        box((-0.16, 0.05, -0.08), (0.16, 0.1, -0.035)),
        box((-0.16, 0.05, 0.035), (0.16, 0.1, 0.08)),
        box((-0.14, 0.05, -0.035), (0.14, 0.145, 0.035)),
    ]
    return [*upright, *(("wood", part) for part in stand)]


def drum() -> Model:
    """A red war drum on a cross-legged stand."""
    body = lathe(smooth_profile([(0.3, 0.3), (0.35, 0.15), (0.36, 0.0), (0.35, -0.15), (0.3, -0.3)], 3), 36)
    skins = [lathe([(0.001, 0.305), (0.29, 0.305), (0.31, 0.29)], 36), lathe([(0.31, -0.29), (0.001, -0.305)], 36)]
    nails = [_around(28, 0.305, sphere(0.013, 6, 4).moved((0.0, y, 0.0))) for y in (0.27, -0.27)]
    parts = [("lacquer", body), *(("paper", skin) for skin in skins), *(("gold", ring) for ring in nails)]
    lying = [(finish, part.turned(0, math.pi / 2 - 0.35).moved((0.0, 0.72, 0.0))) for finish, part in parts]
    legs = [
        tube([(s * 0.36, 0.0, f * 0.3), (s * 0.34, 0.4, 0.0), (s * 0.34, 0.72, -f * 0.12)], [0.03] * 3)
        for s in (-1, 1)
        for f in (-1, 1)
    ]
    return [*lying, *(("wood", leg) for leg in legs)]


RELICS = (
    Relic("vase", "Blue-and-white vase", "青花瓷瓶", vase),
    Relic("bell", "Bronze bell", "青铜编钟", bell),
    Relic("lantern", "Palace lantern", "宫灯", lantern),
    Relic("helmet", "Soldier's helmet", "战士钢盔", helmet),
    Relic("ding", "Tripod cauldron", "青铜鼎", ding),
    Relic("book", "Book of names", "英名录", book),
    Relic("sword", "Officer's sword", "指挥刀", sword),
    Relic("statue", "The scholar", "学者立像", statue),
    Relic("ship", "Model of a sailing ship", "帆船模型", ship),
    Relic("disc", "Jade disc", "玉璧", disc),
    Relic("drum", "War drum", "战鼓", drum),
)
"""All exhibits, in the order in which a visitor meets them."""
