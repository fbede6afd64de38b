"""The person everybody is drawn as: about 1.75 m tall, facing -z, between its feet the origin.

The first texture coordinate names the part (0 skin, 1 jacket, 2 trousers, 3 shoes, 4 hair, 5 shirt), the second the
bone that moves it (0 trunk, 1 right arm, 2 left arm, 3 thighs, 4 shins), as `shaders/pose.wgsl` and
`shaders/avatar.wgsl` read them.
"""

import numpy as np

from render_farm.scene.model import Mesh
from render_farm.scene.shapes import Shape, lathe, merge, sphere, tube

_SKIN, _JACKET, _TROUSERS, _SHOES, _HAIR, _SHIRT = range(6)
_TRUNK, _RIGHT_ARM, _LEFT_ARM, _THIGHS, _SHINS = range(5)
_COARSE_DIVISOR, _FEWEST_SIDES = 2, 4


def avatar_mesh(*, coarse: bool = False) -> Mesh:
    """The person as one mesh; `coarse`, with about a third of the triangles, for the distance and for shadows."""
    divisor = _COARSE_DIVISOR if coarse else 1
    shape = merge([*_trunk(divisor), *_head(divisor), *_arms(divisor), *_legs(divisor)])
    return Mesh(
        positions=shape.positions.astype(np.float32),
        normals=shape.normals.astype(np.float32),
        uvs=shape.uvs.astype(np.float32),
        indices=shape.indices.astype(np.uint32),
        material=0,
    )


def _tagged(shape: Shape, part: int, bone: int) -> Shape:
    tags = np.tile(np.array([part, bone], np.float64) + 0.25, (len(shape.positions), 1))
    return Shape(shape.positions, shape.normals, tags, shape.indices)


def _sides(count: int, divisor: int) -> int:
    return max(_FEWEST_SIDES, count // divisor)


def _trunk(divisor: int) -> list[Shape]:
    profile = [
        (0.02, 1.47),
        (0.1, 1.46),
        (0.19, 1.41),
        (0.215, 1.3),
        (0.2, 1.15),
        (0.175, 1.02),
        (0.19, 0.86),
        (0.02, 0.85),
    ]
    jacket = lathe(profile, _sides(14, divisor)).scaled((1.0, 1.0, 0.62))
    collar = lathe([(0.062, 1.52), (0.09, 1.455)], _sides(12, divisor))
    return [_tagged(jacket, _JACKET, _TRUNK), _tagged(collar, _SHIRT, _TRUNK)]


def _head(divisor: int) -> list[Shape]:
    skull = (
        sphere(0.108, _sides(14, divisor), _sides(10, divisor)).scaled((0.86, 1.15, 0.95)).moved((0.0, 1.625, -0.005))
    )
    hair = sphere(0.117, _sides(14, divisor), _sides(10, divisor)).scaled((0.88, 1.02, 0.95)).moved((0.0, 1.668, 0.02))
    neck = lathe([(0.05, 1.56), (0.058, 1.44)], _sides(10, divisor))
    nose = sphere(0.02, _sides(6, divisor), _sides(4, divisor)).moved((0.0, 1.61, -0.11))
    eyes = [sphere(0.013, _sides(6, divisor), _sides(4, divisor)).moved((x, 1.638, -0.099)) for x in (-0.036, 0.036)]
    skin = [_tagged(part, _SKIN, _TRUNK) for part in (skull, neck, nose)]
    return [*skin, *(_tagged(part, _HAIR, _TRUNK) for part in (hair, *eyes))]


def _arms(divisor: int) -> list[Shape]:
    parts = []
    for side, bone in ((1, _RIGHT_ARM), (-1, _LEFT_ARM)):
        path = [
            (side * 0.17, 1.42, 0.0),
            (side * 0.235, 1.36, 0.0),
            (side * 0.265, 1.1, 0.01),
            (side * 0.275, 0.86, -0.03),
        ]
        sleeve = tube(path, [0.055, 0.062, 0.05, 0.04], _sides(9, divisor))
        hand = (
            sphere(0.045, _sides(8, divisor), _sides(6, divisor))
            .scaled((0.7, 1.25, 0.9))
            .moved((side * 0.277, 0.815, -0.035))
        )
        parts += [_tagged(sleeve, _JACKET, bone), _tagged(hand, _SKIN, bone)]
    return parts


def _legs(divisor: int) -> list[Shape]:
    parts = []
    for side in (-1, 1):
        x = side * 0.095
        thigh = tube([(x, 0.93, 0.0), (x, 0.7, 0.0), (x, 0.46, 0.0)], [0.07, 0.085, 0.066], _sides(9, divisor))
        knee = sphere(0.067, _sides(8, divisor), _sides(6, divisor)).moved((x, 0.46, 0.0))
        shin = tube([(x, 0.48, 0.0), (x, 0.25, 0.005), (x, 0.06, 0.01)], [0.066, 0.06, 0.052], _sides(9, divisor))
        shoe = (
            sphere(0.07, _sides(10, divisor), _sides(6, divisor)).scaled((0.72, 0.62, 1.75)).moved((x, 0.042, -0.045))
        )
        parts += [_tagged(thigh, _TROUSERS, _THIGHS), _tagged(knee, _TROUSERS, _SHINS)]
        parts += [_tagged(shin, _TROUSERS, _SHINS), _tagged(shoe, _SHOES, _SHINS)]
    return parts
