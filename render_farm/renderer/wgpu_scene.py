"""A scene resident on the GPU: geometry, instances sorted into chunks, textures, and its fixed shadow maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray
from PIL import Image

from render_farm.renderer.interface import RenderError
from render_farm.renderer.view_math import Box, for_gpu, roof_matrix, sun_matrix
from render_farm.renderer.wgpu_pipelines import DEPTH_FORMAT, Pipelines
from render_farm.scene.model import Geometry, Mesh, Scene

CHUNK_OBJECTS = 64
_SUN_MAP_PX, _ROOF_MAP_PX = 4096, 1024
_ROOF_RADIUS_M = 8.0
_MAX_TEXTURE_PX = 2048
_MAX_TEXTURE_BYTES = 512 * 1024 * 1024
_MAX_OBJECTS = 1 << 24

_INSTANCE = np.dtype([("rows", "<f4", (3, 4)), ("sphere", "<f4", 4), ("material", "<u4"), ("padding", "<u4", 3)])
_MATERIAL = np.dtype(
    [
        ("base_color", "<f4", 4),
        ("emission", "<f4", 3),
        ("cutoff", "<f4"),
        ("metallic", "<f4"),
        ("roughness", "<f4"),
        ("layer", "<i4"),
        ("padding", "<u4"),
    ]
)
_CHUNK = np.dtype("<u4,<u4,<u4,<u4,<u4,<u4,<u4,<u4")


@dataclass(frozen=True, slots=True)
class SceneTables:
    """A scene's draw tables, on the CPU.

    `instances` (structured, sorted by mesh); `chunks` uint32 (n, 8), single-sided first; `vertices` float32 (v, 8);
    `indices` uint32.
    """

    instances: NDArray[np.void]
    chunks: NDArray[np.uint32]
    single_sided: int
    vertices: NDArray[np.float32]
    indices: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class ResidentScene:
    """What the GPU holds of a scene."""

    vertices: Any
    indices: Any
    cull_group: Any
    raster_group: Any
    object_count: int
    chunk_count: int
    single_sided: int


def scene_tables(geometry: Geometry) -> SceneTables:
    """Sort instances by sidedness and mesh, and cut them into chunks of up to 64."""
    double = np.array([_draws_both_sides(geometry, mesh) for mesh in geometry.meshes], bool)
    mirrored = np.linalg.det(geometry.instance_transform[:, :3, :3].astype(np.float64)) < 0
    both = double[geometry.instance_mesh] | mirrored if len(geometry.instance_mesh) else np.zeros(0, bool)
    order = np.lexsort((geometry.instance_mesh, both))
    meshes, sides = geometry.instance_mesh[order], both[order]
    first_vertex = np.cumsum([0] + [len(mesh.positions) for mesh in geometry.meshes])
    first_index = np.cumsum([0] + [len(mesh.indices) for mesh in geometry.meshes])
    rows: list[tuple[int, ...]] = []
    start = 0
    while start < len(order):
        same = (meshes[start : start + CHUNK_OBJECTS] == meshes[start]) & (
            sides[start : start + CHUNK_OBJECTS] == sides[start]
        )
        count = len(same) if same.all() else int(np.argmin(same))
        mesh = int(meshes[start])
        indices = len(geometry.meshes[mesh].indices)
        rows.append((start, count, indices, int(first_index[mesh]), int(first_vertex[mesh]), int(sides[start]), 0, 0))
        start += count
    chunks = np.array(rows, np.uint32).reshape(-1, 8)
    single = int((chunks[:, 5] == 0).sum())
    chunks[:, 5] = single
    return SceneTables(_instances(geometry, order), chunks, single, _vertices(geometry), _indices(geometry))


def _draws_both_sides(geometry: Geometry, mesh: Mesh) -> bool:
    return geometry.materials[mesh.material].double_sided


def _instances(geometry: Geometry, order: NDArray[np.int64]) -> NDArray[np.void]:
    table = np.zeros(len(order), _INSTANCE)
    spheres = [_sphere(mesh) for mesh in geometry.meshes]
    for row, instance in enumerate(order):
        matrix = geometry.instance_transform[instance].astype(np.float64)
        mesh = int(geometry.instance_mesh[instance])
        centre, radius = spheres[mesh]
        scale = float(np.sqrt((matrix[:3, :3] ** 2).sum(axis=0).max()))
        table[row]["rows"] = matrix[:3]
        table[row]["sphere"] = (*(matrix[:3, :3] @ centre + matrix[:3, 3]), radius * scale * 1.0001)
        table[row]["material"] = geometry.meshes[mesh].material
    return table


def _sphere(mesh: Mesh) -> tuple[NDArray[np.float64], float]:
    points = mesh.positions.astype(np.float64)
    centre = (points.min(axis=0) + points.max(axis=0)) / 2
    return centre, float(np.sqrt(((points - centre) ** 2).sum(axis=1).max()))


def _vertices(geometry: Geometry) -> NDArray[np.float32]:
    parts = [np.concatenate([mesh.positions, mesh.normals, mesh.uvs], axis=1) for mesh in geometry.meshes]
    return np.concatenate(parts) if parts else np.zeros((1, 8), np.float32)


def _indices(geometry: Geometry) -> NDArray[np.uint32]:
    parts = [mesh.indices for mesh in geometry.meshes]
    return np.concatenate(parts) if parts else np.zeros(3, np.uint32)


def roof_chunks(tables: SceneTables) -> NDArray[np.uint32]:
    """The chunks of what is large enough to make a room dark beneath it: a tree's shade is still out of doors."""
    radii = tables.instances["sphere"][:, 3]
    large = [bool((radii[first : first + count] > _ROOF_RADIUS_M).any()) for first, count in tables.chunks[:, :2]]
    return np.asarray(tables.chunks[np.array(large, bool)], np.uint32)


def lit_box(scene: Scene, instances: NDArray[np.void]) -> Box:
    """The box that the shadow maps cover: the geometry, as far as people come near it."""
    low_x, low_z, high_x, high_z = scene.places.bounds
    if not len(instances):
        return (low_x, -1.0, low_z), (high_x, 3.0, high_z)
    spheres = instances["sphere"].astype(np.float64)
    radius = spheres[:, 3:]
    low, high = (spheres[:, :3] - radius).min(axis=0), (spheres[:, :3] + radius).max(axis=0)
    tall = instances[spheres[:, 3] < max(high_x - low_x, high_z - low_z)]["sphere"].astype(np.float64)
    top = float((tall[:, 1] + tall[:, 3]).max()) if len(tall) else float(high[1])
    bottom = float((tall[:, 1] - tall[:, 3]).min()) if len(tall) else float(low[1])
    box_low = (max(low_x, float(low[0])), max(bottom, -50.0), max(low_z, float(low[2])))
    return box_low, (min(high_x, float(high[0])), top, min(high_z, float(high[2])))


def make_resident(device: Any, pipelines: Pipelines, scene: Scene, samplers: tuple[Any, Any]) -> ResidentScene:
    """Upload a scene and draw its fixed shadow maps. Blocks; raises `RenderError`.

    `samplers`: repeating for textures, comparing for shadows (unused here but bound with the frame).
    """
    tables = scene_tables(scene.geometry)
    if len(tables.instances) >= _MAX_OBJECTS:
        raise RenderError(
            f"scene {scene.name!r} has {len(tables.instances)} instances, the limit is {_MAX_OBJECTS - 1}"
        )
    usage = wgpu.BufferUsage
    vertices = device.create_buffer_with_data(data=tables.vertices, usage=usage.VERTEX)
    indices = device.create_buffer_with_data(data=tables.indices, usage=usage.INDEX)
    instances = _storage(device, tables.instances if len(tables.instances) else np.zeros(1, _INSTANCE))
    chunks = _storage(device, tables.chunks if len(tables.chunks) else np.zeros((1, 8), np.uint32))
    box = lit_box(scene, tables.instances)
    sun, above = sun_matrix(box), roof_matrix(box)
    bound = (vertices, indices, instances)
    sun_map = _shadow_map(device, pipelines, for_gpu(sun), (*bound, tables.chunks), _SUN_MAP_PX)
    roof_map = _shadow_map(device, pipelines, for_gpu(above), (*bound, roof_chunks(tables)), _ROOF_MAP_PX)
    extent = max(high - low for low, high in zip(*box, strict=True))
    light = _light(for_gpu(sun), for_gpu(above), extent)
    raster = (
        {"buffer": instances},
        {"buffer": _storage(device, _materials(scene.geometry))},
        _texture_array(device, scene),
        samplers[0],
        sun_map,
        roof_map,
        {"buffer": device.create_buffer_with_data(data=light, usage=usage.UNIFORM)},
    )
    return ResidentScene(
        vertices=vertices,
        indices=indices,
        cull_group=bind(device, pipelines.layouts.cull_scene, {"buffer": instances}, {"buffer": chunks}),
        raster_group=bind(device, pipelines.layouts.raster_scene, *raster),
        object_count=max(1, len(tables.instances)),
        chunk_count=max(1, len(tables.chunks)),
        single_sided=tables.single_sided,
    )


def bind(device: Any, layout: Any, *resources: Any) -> Any:
    """A bind group of resources in the order of their bindings."""
    entries = [{"binding": number, "resource": resource} for number, resource in enumerate(resources)]
    return device.create_bind_group(layout=layout, entries=entries)


def _storage(device: Any, values: NDArray[Any]) -> Any:
    return device.create_buffer_with_data(data=np.ascontiguousarray(values), usage=wgpu.BufferUsage.STORAGE)


def _light(sun: NDArray[np.float32], above: NDArray[np.float32], extent: float) -> NDArray[np.float32]:
    texel = 1.3 * extent / _SUN_MAP_PX
    fog_distance = max(650.0, 4.0 * extent)
    return np.concatenate([sun.reshape(-1), above.reshape(-1), np.array([fog_distance, 1.6 * texel, 0, 0], np.float32)])


def _materials(geometry: Geometry) -> NDArray[np.void]:
    table = np.zeros(len(geometry.materials), _MATERIAL)
    for row, material in zip(table, geometry.materials, strict=True):
        row["base_color"] = material.base_color
        row["emission"] = material.emissive
        row["cutoff"] = 0.0 if material.alpha_cutoff is None else material.alpha_cutoff
        row["metallic"], row["roughness"] = material.metallic, material.roughness
        row["layer"] = -1 if material.texture is None else material.texture
    return table


def texture_layer_px(sizes: list[int]) -> int:
    """The common side of all layers: the largest texture's, as long as all of them fit the memory."""
    side = 1
    largest = min(_MAX_TEXTURE_PX, max(sizes, default=1))
    while side < largest:
        side *= 2
    while side > 64 and len(sizes) * side * side * 16 // 3 > _MAX_TEXTURE_BYTES:
        side //= 2
    return side


def _texture_array(device: Any, scene: Scene) -> Any:
    textures = scene.geometry.textures or (np.full((1, 1, 4), 255, np.uint8),)
    limit = device.limits["max-texture-array-layers"]
    if len(textures) > limit:
        raise RenderError(f"scene {scene.name!r} has {len(textures)} textures, this device takes {limit}")
    side = texture_layer_px([max(texture.shape[:2]) for texture in textures])
    levels = side.bit_length()
    array = device.create_texture(
        label=f"textures of {scene.name}",
        size=(side, side, max(2, len(textures))),
        format="rgba8unorm-srgb",
        mip_level_count=levels,
        usage=wgpu.TextureUsage.TEXTURE_BINDING | wgpu.TextureUsage.COPY_DST,
    )
    for layer, texture in enumerate(textures):
        image = Image.fromarray(texture).resize((side, side), Image.Resampling.BILINEAR)
        for level in range(levels):
            size = side >> level
            pixels = np.ascontiguousarray(image if level == 0 else image.resize((size, size), Image.Resampling.BOX))
            device.queue.write_texture(
                {"texture": array, "mip_level": level, "origin": (0, 0, layer)},
                pixels,
                {"bytes_per_row": size * 4, "rows_per_image": size},
                (size, size, 1),
            )
    return array.create_view(dimension="2d-array")


def _shadow_map(
    device: Any,
    pipelines: Pipelines,
    matrix: NDArray[np.float32],
    bound: tuple[Any, Any, Any, NDArray[np.uint32]],
    side: int,
) -> Any:
    vertices, indices, instances, chunks = bound
    usage = wgpu.TextureUsage.RENDER_ATTACHMENT | wgpu.TextureUsage.TEXTURE_BINDING
    view = device.create_texture(size=(side, side, 1), format=DEPTH_FORMAT, usage=usage).create_view()
    uniform = device.create_buffer_with_data(data=matrix, usage=wgpu.BufferUsage.UNIFORM)
    encoder = device.create_command_encoder()
    attachment = {"view": view, "depth_clear_value": 1.0, "depth_load_op": "clear", "depth_store_op": "store"}
    drawing = encoder.begin_render_pass(color_attachments=[], depth_stencil_attachment=attachment)
    drawing.set_pipeline(pipelines.static_shadow)
    group = bind(device, pipelines.layouts.static_shadow, {"buffer": uniform}, {"buffer": instances})
    drawing.set_bind_group(0, group)
    drawing.set_vertex_buffer(0, vertices)
    drawing.set_index_buffer(indices, "uint32")
    for first_object, count, index_count, first_index, base_vertex in chunks[:, :5].tolist():
        drawing.draw_indexed(index_count, count, first_index, base_vertex, first_object)
    drawing.end()
    device.queue.submit([encoder.finish()])
    return view
