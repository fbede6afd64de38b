"""What one submission draws: views grouped into worlds, and the tables the GPU reads. Pure: arrays in, arrays out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from render_farm.renderer.interface import AvatarFrame, RenderError, View
from render_farm.renderer.view_math import camera_matrices, for_gpu, sun_matrix
from render_farm.renderer.wgpu_pipelines import RASTER_SIZE_PX
from render_farm.scene.model import Scene

MAX_VIEWS, MAX_WORLDS = 255, 16
MAX_AVATARS = 1 << 16
WORLD_STRIDE = 256
AVATAR_CHUNK = 64
AVATAR_DETAILS = 2
KEY_BYTES = 8
_REFINE_SCALE = 2
_NOBODY = 0xFFFFFFFF
_PERSON_RADIUS_M, _PERSON_HEIGHT_M = 1.0, 2.4
_HAND_RAISED, _SEATED = 1, 2

VIEW = np.dtype(
    [
        ("view_projection", "<f4", (4, 4)),
        ("position", "<f4", 4),
        ("right", "<f4", 4),
        ("up", "<f4", 4),
        ("forward", "<f4", 4),
        ("planes", "<f4", (5, 4)),
        ("raster", "<u4", 4),
        ("picture", "<u4", 4),
    ]
)
WORLD = np.dtype([("avatar_shadow", "<f4", (4, 4)), ("words", "<u4", 13), ("padding", "V", WORLD_STRIDE - 116)])
AVATAR = np.dtype(
    [("place", "<f4", 4), ("hue", "<f4"), ("flags", "<u4"), ("tag", "<u4"), ("padding", "<u4")],
)
ARGS_BYTES = 20


@dataclass(frozen=True, slots=True)
class SceneCounts:
    """How many objects and chunks of objects a resident scene has."""

    objects: int
    chunks: int


@dataclass(frozen=True, slots=True)
class WorldDraw:
    """One world's part of a submission: its views are `[first_view, first_view + views)` of the sorted views.

    `args`, `avatar_args`, `tag_args` count draw arguments from the start of the buffer.
    """

    scene: Scene
    avatars: AvatarFrame
    first_view: int
    views: int
    args: int
    avatar_args: int
    tag_args: int
    avatar_chunks: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A submission. `order[i]` is the position in the caller's list of the i-th sorted view."""

    order: list[int]
    worlds: list[WorldDraw]
    view_table: NDArray[np.void]
    world_table: NDArray[np.void]
    avatar_table: NDArray[np.void]
    visible_count: int
    args_count: int
    key_count: int
    picture_words: int


def raster_scale(view: View) -> int:
    """How many raster pixels a picture's pixel has along each side."""
    if view.refine and max(view.width, view.height) * _REFINE_SCALE <= RASTER_SIZE_PX:
        return _REFINE_SCALE
    return 1


def key_bytes(view: View) -> int:
    """What a view takes of the key buffer."""
    return view.width * view.height * raster_scale(view) ** 2 * KEY_BYTES


def split_views(views: Sequence[View], max_key_bytes: int) -> list[list[int]]:
    """Positions of the views of each submission, in order, so that none exceeds a limit of the GPU."""
    groups: list[list[int]] = [[]]
    used, worlds = 0, set[tuple[int, int]]()
    for position, view in enumerate(views):
        need, world = key_bytes(view), (id(view.scene), id(view.avatars))
        if need > max_key_bytes:
            raise RenderError(
                f"a view of {view.width}x{view.height} needs {need} bytes, this device has {max_key_bytes}"
            )
        full = used + need > max_key_bytes or len(groups[-1]) >= MAX_VIEWS
        if full or (world not in worlds and len(worlds) >= MAX_WORLDS):
            groups.append([])
            used, worlds = 0, set()
        groups[-1].append(position)
        used += need
        worlds.add(world)
    return groups


def make_batch(
    views: Sequence[View],
    counts: Callable[[Scene], SceneCounts],
    tag_cell: Callable[[str], int],
    avatar_indices: tuple[int, int],
) -> Batch:
    """Lay out one submission; `avatar_indices`, those of the fine and of the coarse avatar.

    Raises `RenderError` when people are too many.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for position, view in enumerate(views):
        groups.setdefault((id(view.scene), id(view.avatars)), []).append(position)
    people = sum(len(views[group[0]].avatars.ids) for group in groups.values())
    if people > MAX_AVATARS:
        raise RenderError(f"{people} avatars in one tick, the limit is {MAX_AVATARS}")
    order = [position for group in groups.values() for position in group]
    world_table = np.zeros(len(groups), WORLD)
    worlds: list[WorldDraw] = []
    avatar_tables: list[NDArray[np.void]] = []
    visible = args = first_view = first_avatar = 0
    for layer, group in enumerate(groups.values()):
        scene, avatars = views[group[0]].scene, views[group[0]].avatars
        size, count, chunks = counts(scene), len(avatars.ids), -(-len(avatars.ids) // AVATAR_CHUNK)
        avatar_visible = visible + size.objects * len(group)
        avatar_args = args + size.chunks * len(group)
        tag_visible, tag_args = avatar_visible + count * len(group), avatar_args + AVATAR_DETAILS * chunks * len(group)
        world_table[layer]["avatar_shadow"] = avatar_shadow_matrix(avatars)
        numbers = (first_view, len(group), visible, args, first_avatar, count, avatar_visible, avatar_args)
        world_table[layer]["words"] = (*numbers, tag_visible, tag_args, layer, *avatar_indices)
        worlds.append(WorldDraw(scene, avatars, first_view, len(group), args, avatar_args, tag_args, chunks))
        avatar_tables.append(avatar_rows(avatars, tag_cell))
        visible, args = tag_visible + count * len(group), tag_args + chunks * len(group)
        first_view, first_avatar = first_view + len(group), first_avatar + count
    view_table, keys, words = view_rows([views[position] for position in order])
    return Batch(order, worlds, view_table, world_table, np.concatenate(avatar_tables), visible, args, keys, words)


def view_rows(views: Sequence[View]) -> tuple[NDArray[np.void], int, int]:
    """The view table, and how many keys and words of pictures the views need."""
    table = np.zeros(len(views), VIEW)
    keys = words = 0
    for row, view in zip(table, views, strict=True):
        matrices = camera_matrices(view.camera, view.width / view.height)
        row["view_projection"] = for_gpu(matrices.view_projection)
        row["position"][:3] = view.camera.position
        row["right"][:3], row["up"][:3], row["forward"][:3] = matrices.right, matrices.up, matrices.forward
        row["planes"] = matrices.planes
        scale, stride = raster_scale(view), row_words(view)
        width, height = view.width * scale, view.height * scale
        row["raster"] = (width, height, keys, _NOBODY if view.hidden_avatar is None else view.hidden_avatar)
        row["picture"] = (view.width, view.height, words, stride)
        keys += width * height
        words += stride * view.height * 3 // 2
    return table, keys, words


def row_words(view: View) -> int:
    """32-bit words in a row of a picture; a width that is not a multiple of four is padded."""
    return -(-view.width // 4)


def avatar_rows(avatars: AvatarFrame, tag_cell: Callable[[str], int]) -> NDArray[np.void]:
    """One world's rows of the avatar table."""
    table = np.zeros(len(avatars.ids), AVATAR)
    table["place"][:, :3], table["place"][:, 3] = avatars.positions, avatars.yaws
    table["hue"] = avatars.hues
    table["flags"] = avatars.hands_raised * _HAND_RAISED + avatars.seated * _SEATED
    table["tag"] = [tag_cell(name) for name in avatars.names]
    return table


def avatar_shadow_matrix(avatars: AvatarFrame) -> NDArray[np.float32]:
    """The sun's projection around everybody of a world."""
    if not len(avatars.ids):
        return for_gpu(sun_matrix(((0.0, -9001.0, 0.0), (1.0, -9000.0, 1.0))))
    low, high = avatars.positions.min(axis=0).tolist(), avatars.positions.max(axis=0).tolist()
    reach = _PERSON_RADIUS_M
    box_low = (low[0] - reach, low[1] - 0.3, low[2] - reach)
    return for_gpu(sun_matrix((box_low, (high[0] + reach, high[1] + _PERSON_HEIGHT_M, high[2] + reach))))
