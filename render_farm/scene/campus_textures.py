"""Generated textures of the campus, each tileable: uint8 (size, size, 3), sRGB.

Only seeded integers and basic arithmetic are used, so that every machine makes the same bytes.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Field = NDArray[np.float64]
"""A tileable field of numbers, float64 (size, size)."""
Color = tuple[int, int, int]

SIZE = 256


def value_noise(cells: int, seed: int, size: int = SIZE) -> Field:
    """Smooth tileable noise in [0, 1] with `cells` features along each side."""
    lattice = np.random.Generator(np.random.PCG64(seed)).integers(0, 65536, (cells, cells)) / 65535.0
    position = np.arange(size) * (cells / size)
    low = position.astype(np.int64)
    part = position - low
    part = part * part * (3.0 - 2.0 * part)
    high = (low + 1) % cells
    rows = lattice[low] * (1.0 - part)[:, None] + lattice[high] * part[:, None]
    return np.asarray(rows[:, low] * (1.0 - part) + rows[:, high] * part)


def fractal_noise(cells: int, octaves: int, seed: int) -> Field:
    """Noise summed over octaves, in [0, 1]."""
    total, weight, norm = np.zeros((SIZE, SIZE)), 1.0, 0.0
    for octave in range(octaves):
        total += weight * value_noise(min(SIZE, cells << octave), seed + octave)
        norm += weight
        weight *= 0.55
    return total / norm


def tint(field: Field, dark: Color, light: Color) -> Image:
    """A field in [0, 1] as a ramp between two colours."""
    clipped = np.clip(field, 0.0, 1.0)[:, :, None]
    mixed = np.array(dark) * (1.0 - clipped) + np.array(light) * clipped
    return np.rint(mixed).astype(np.uint8)


def _coordinates() -> tuple[Field, Field]:
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    return x, y


def _joints(columns: int, rows: int, width: float, *, stagger: bool) -> Field:
    """1 inside blocks, 0 in the joints of a wall or pavement."""
    x, y = _coordinates()
    row = np.floor(y * rows)
    u = (x * columns + (row % 2) * 0.5 * stagger) % 1.0
    v = (y * rows) % 1.0
    edge = np.minimum(np.minimum(u, 1 - u) / columns, np.minimum(v, 1 - v) / rows)
    return np.clip(edge / width, 0.0, 1.0)


def _blocks(columns: int, rows: int, seed: int, *, stagger: bool) -> Field:
    """A random number per block, in [0, 1]."""
    x, y = _coordinates()
    row = np.floor(y * rows).astype(np.int64)
    column = np.floor(x * columns + (row % 2) * 0.5 * stagger).astype(np.int64) % columns
    return np.random.Generator(np.random.PCG64(seed)).random((rows, columns))[row, column]


def paving() -> Image:
    """Granite slabs, two by two to the tile."""
    tone = 0.25 + 0.35 * _blocks(4, 4, 1, stagger=False) + 0.4 * fractal_noise(32, 3, 2)
    return tint(tone * (0.55 + 0.45 * _joints(4, 4, 0.006, stagger=False)), (112, 106, 97), (196, 188, 174))


def ashlar() -> Image:
    """Pale limestone blocks in staggered courses."""
    tone = 0.35 + 0.3 * _blocks(2, 4, 3, stagger=True) + 0.35 * fractal_noise(16, 4, 4)
    return tint(tone * (0.6 + 0.4 * _joints(2, 4, 0.005, stagger=True)), (150, 140, 122), (226, 216, 197))


def plaster() -> Image:
    """Warm white wall plaster."""
    return tint(fractal_noise(8, 5, 5), (214, 207, 194), (233, 228, 217))


def granite() -> Image:
    """Dark polished granite with fine specks."""
    return tint(0.7 * fractal_noise(64, 2, 6) ** 2 + 0.3 * fractal_noise(6, 4, 7), (22, 24, 27), (88, 92, 98))


def marble() -> Image:
    """White marble with grey veins."""
    veins = 1.0 - np.abs(2.0 * fractal_noise(4, 5, 8) - 1.0)
    return tint(1.0 - 0.8 * np.clip(veins * 3.0 - 2.2, 0.0, 1.0), (140, 140, 145), (238, 236, 231))


def wood() -> Image:
    """Oak boards along v."""
    x, _ = _coordinates()
    grain = value_noise(64, 9)[:1].repeat(SIZE, 0) * 0.5 + fractal_noise(8, 4, 10) * 0.5
    board = _blocks(4, 1, 11, stagger=False)
    seam = np.clip(np.minimum((x * 4) % 1.0, 1 - (x * 4) % 1.0) / 0.03, 0.0, 1.0)
    return tint((0.2 + 0.35 * board + 0.45 * grain) * (0.5 + 0.5 * seam), (64, 38, 20), (172, 120, 72))


def grass() -> Image:
    """Mown lawn."""
    return tint(0.5 * fractal_noise(64, 3, 12) + 0.5 * fractal_noise(4, 4, 13), (48, 74, 30), (118, 142, 66))


def foliage() -> Image:
    """Leaves seen from some way off."""
    leaf = np.clip(value_noise(40, 14) * 1.6 - 0.35, 0.0, 1.0)
    return tint(0.65 * leaf + 0.35 * fractal_noise(6, 3, 15), (22, 44, 18), (98, 134, 58))


def bark() -> Image:
    """Bark with upright furrows."""
    furrow = value_noise(32, 16)[:4].repeat(SIZE // 4, 0)
    return tint(0.6 * furrow + 0.4 * fractal_noise(16, 3, 17), (46, 35, 26), (112, 92, 70))


def water() -> Image:
    """A still basin."""
    return tint(fractal_noise(6, 4, 18), (18, 44, 50), (38, 78, 84))


def bronze() -> Image:
    """Old bronze with green patina."""
    base = tint(fractal_noise(16, 4, 19), (104, 72, 36), (176, 132, 74)).astype(np.float64)
    patina = np.clip(fractal_noise(6, 5, 20) * 3.2 - 1.6, 0.0, 1.0)[:, :, None]
    return np.rint(base * (1 - 0.75 * patina) + np.array((78, 122, 104)) * 0.75 * patina).astype(np.uint8)


def roof() -> Image:
    """Grey ceramic roof tiles in rows."""
    x, y = _coordinates()
    wave = np.abs((x * 12) % 1.0 - 0.5) * 2.0
    lap = (y * 8) % 1.0
    return tint((0.35 + 0.65 * (1.0 - wave * wave)) * (0.45 + 0.55 * lap) * 0.9, (34, 38, 42), (112, 118, 122))


def fabric() -> Image:
    """Deep red woven cloth."""
    x, y = _coordinates()
    weave = ((np.floor(x * 64) + np.floor(y * 64)) % 2) * 0.3
    return tint(weave + 0.5 * fractal_noise(16, 3, 21), (92, 20, 22), (156, 42, 38))


def porcelain() -> Image:
    """Cobalt scrolls on white glaze, banded."""
    x, y = _coordinates()
    petals = np.abs(((x * 8) % 1.0) - 0.5) * 2.0
    scroll = np.abs(((y * 4) % 1.0) - 0.5 - 0.28 * (petals * petals * (3 - 2 * petals)))
    line = np.clip(1.0 - scroll / 0.06, 0.0, 1.0)
    dots = np.clip(1.6 - 6.0 * (np.abs((x * 8 + 0.5) % 1.0 - 0.5) + np.abs((y * 4) % 1.0 - 0.5)), 0.0, 1.0)
    bands = np.clip(1.0 - np.minimum(y % 0.5, 0.5 - y % 0.5) / 0.02, 0.0, 1.0)
    ink = np.clip(line + dots + bands, 0.0, 1.0) * (0.75 + 0.25 * value_noise(32, 22))
    return tint(1.0 - ink, (30, 52, 128), (238, 241, 243))


def parchment() -> Image:
    """A written page: lines of strokes in columns, as old books have them."""
    x, y = _coordinates()
    page = tint(fractal_noise(6, 5, 23), (206, 184, 140), (236, 220, 184)).astype(np.float64)
    column = np.abs((x * 8) % 1.0 - 0.5) < 0.27
    strokes = value_noise(128, 24) > 0.55
    inside = (np.abs(x - 0.5) < 0.44) & (np.abs(y - 0.5) < 0.43) & ((y * 22) % 1.0 < 0.8)
    ink = (column & strokes & inside)[:, :, None]
    return np.where(ink, page * 0.3, page).astype(np.uint8)


def sunrise() -> Image:
    """The picture on the assembly hall's screen: mountains before a rising sun."""
    x, y = _coordinates()
    sky = tint(y * 1.4, (40, 66, 120), (244, 190, 132)).astype(np.float64)
    sun = ((x - 0.5) * 16 / 9) ** 2 + (y - 0.56) ** 2 < 0.012
    sky[sun] = (255, 236, 196)
    for level, (base, cells, color) in enumerate(((0.62, 6, (112, 104, 134)), (0.74, 9, (66, 72, 104)))):
        ridge = base - 0.16 * (value_noise(cells, 25 + level)[:1] - 0.3) - 0.04 * value_noise(40, 27 + level)[:1]
        sky[y > ridge] = color
    sky[y > 0.9] = (36, 44, 66)
    return np.rint(np.clip(sky, 0, 255)).astype(np.uint8)


def relief() -> Image:
    """Carved stone: courses of cloud scrolls."""
    x, y = _coordinates()
    radius = np.sqrt(((x * 4) % 1.0 - 0.5) ** 2 + ((y * 4 + 0.5 * (np.floor(x * 4) % 2)) % 1.0 - 0.5) ** 2)
    rings = np.abs((radius * 9) % 1.0 - 0.5) * 2.0
    carved = np.where(radius < 0.47, 0.25 + 0.5 * rings, 0.35)
    return tint(carved + 0.25 * fractal_noise(24, 3, 28), (112, 102, 88), (206, 196, 178))


TEXTURES: dict[str, Callable[[], Image]] = {
    maker.__name__: maker
    for maker in (
        paving,
        ashlar,
        plaster,
        granite,
        marble,
        wood,
        grass,
        foliage,
        bark,
        water,
        bronze,
        roof,
        fabric,
        porcelain,
        parchment,
        sunrise,
        relief,
    )
}
"""All textures by name."""
