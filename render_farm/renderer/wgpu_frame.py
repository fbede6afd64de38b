"""The buffers of a tick and the commands that fill them: everything a submission reads and writes except scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import wgpu
from numpy.typing import NDArray
from wgpu.backends.wgpu_native.extras import multi_draw_indexed_indirect

from render_farm.renderer.avatar_mesh import avatar_mesh
from render_farm.renderer.name_tags import CELL_HEIGHT, CELL_WIDTH, COLUMNS, ROWS
from render_farm.renderer.wgpu_batch import (
    ARGS_BYTES,
    AVATAR,
    AVATAR_DETAILS,
    KEY_BYTES,
    MAX_VIEWS,
    MAX_WORLDS,
    VIEW,
    WORLD,
    WORLD_STRIDE,
    Batch,
    WorldDraw,
)
from render_farm.renderer.wgpu_pipelines import COVER_FORMAT, DEPTH_FORMAT, RASTER_SIZE_PX, Pipelines
from render_farm.renderer.wgpu_scene import ResidentScene, bind

_AVATAR_SHADOW_PX = 1024
_STAGING_BUFFERS = 3
_CULL_GROUP = 64
_SETTLE_PX, _RESOLVE_PX = (32, 8), (128, 4)
"""Pixels of a picture that one workgroup makes, across and down; as in `shaders/settle.wgsl` and `resolve.wgsl`."""
_FIRST_CAPACITY = {
    "visible": 1 << 16,
    "args": 1 << 16,
    "avatars": 1 << 12,
    "keys": 1 << 22,
    "colors": 1 << 21,
    "pictures": 1 << 20,
}
"""Bytes; buffers grow by doubling."""


@dataclass(slots=True)
class _Groups:
    cull: Any
    raster: Any
    shadow: Any
    settle: Any
    resolve: Any


class FrameResources:
    """Owns what is common to all ticks. `software`: spend less on filtering, the processor does it."""

    def __init__(self, device: Any, pipelines: Pipelines, *, software: bool) -> None:
        self._device, self._pipelines, self._software = device, pipelines, software
        usage = wgpu.BufferUsage
        self._usages = {
            "visible": usage.STORAGE,
            "args": usage.STORAGE | usage.INDIRECT,
            "avatars": usage.STORAGE | usage.COPY_DST,
            "keys": usage.STORAGE | usage.COPY_DST,
            "colors": usage.STORAGE,
            "pictures": usage.STORAGE | usage.COPY_SRC,
        }
        upload = usage.STORAGE | usage.UNIFORM | usage.COPY_DST
        self._views = device.create_buffer(size=VIEW.itemsize * MAX_VIEWS, usage=upload)
        self._worlds = device.create_buffer(size=WORLD_STRIDE * MAX_WORLDS, usage=upload)
        self._buffers: dict[str, Any] = {}
        self._staging: list[Any] = [None] * _STAGING_BUFFERS
        self._tick = 0
        self._make_textures()
        self._make_avatar_mesh()
        self._groups: _Groups | None = None

    @property
    def avatar_indices(self) -> tuple[int, int]:
        """How many indices the fine and the coarse avatar have; in the index buffer they follow one another."""
        return self._avatar_index_counts

    def write_tag(self, cell: int, pixels: NDArray[np.uint8]) -> None:
        """Put a painted name tag into its cell of the atlas."""
        origin = (cell % COLUMNS * CELL_WIDTH, cell // COLUMNS * CELL_HEIGHT, 0)
        target = {"texture": self._tags, "origin": origin}
        layout = {"bytes_per_row": CELL_WIDTH * 2, "rows_per_image": CELL_HEIGHT}
        self._device.queue.write_texture(target, np.ascontiguousarray(pixels), layout, (CELL_WIDTH, CELL_HEIGHT, 1))

    def submit(self, batch: Batch, scenes: Sequence[ResidentScene]) -> Any:
        """Record and submit one batch; `scenes[i]` belongs to world i. Returns the staging buffer to be mapped."""
        self._reserve(batch)
        assert self._groups is not None
        queue = self._device.queue
        queue.write_buffer(self._views, 0, batch.view_table)
        queue.write_buffer(self._worlds, 0, batch.world_table)
        if len(batch.avatar_table):
            queue.write_buffer(self._buffers["avatars"], 0, batch.avatar_table)
        encoder = self._device.create_command_encoder()
        encoder.clear_buffer(self._buffers["keys"], 0, batch.key_count * KEY_BYTES)
        self._cull(encoder, batch, scenes, self._groups)
        for layer, world in enumerate(batch.worlds):
            self._draw_avatar_shadows(encoder, layer, world, self._groups)
        self._draw(encoder, batch, scenes, self._groups)
        self._resolve(encoder, batch, self._groups)
        staging = self._next_staging(batch.picture_words * 4)
        encoder.copy_buffer_to_buffer(self._buffers["pictures"], 0, staging, 0, batch.picture_words * 4)
        queue.submit([encoder.finish()])
        return staging

    def _make_textures(self) -> None:
        device, usage = self._device, wgpu.TextureUsage
        cover = device.create_texture(
            size=(RASTER_SIZE_PX, RASTER_SIZE_PX, 1), format=COVER_FORMAT, usage=usage.RENDER_ATTACHMENT
        )
        self._cover = cover.create_view()
        shadows = device.create_texture(
            size=(_AVATAR_SHADOW_PX, _AVATAR_SHADOW_PX, MAX_WORLDS),
            format=DEPTH_FORMAT,
            usage=usage.RENDER_ATTACHMENT | usage.TEXTURE_BINDING,
        )
        self._shadow_array = shadows.create_view(dimension="2d-array")
        self._shadow_layers = [
            shadows.create_view(dimension="2d", base_array_layer=layer, array_layer_count=1)
            for layer in range(MAX_WORLDS)
        ]
        self._tags = device.create_texture(
            size=(COLUMNS * CELL_WIDTH, ROWS * CELL_HEIGHT, 1),
            format="rg8unorm",
            usage=usage.TEXTURE_BINDING | usage.COPY_DST,
        )
        filtering = {"mag_filter": "linear", "min_filter": "linear"}
        repeat = {"address_mode_u": "repeat", "address_mode_v": "repeat"}
        between = "nearest" if self._software else "linear"
        self.texture_sampler = device.create_sampler(**filtering, **repeat, mipmap_filter=between)
        self.shadow_sampler = device.create_sampler(**filtering, compare="less-equal")
        self._tag_sampler = device.create_sampler(**filtering)

    def _make_avatar_mesh(self) -> None:
        fine, coarse = avatar_mesh(), avatar_mesh(coarse=True)
        vertices = np.concatenate(
            [np.concatenate([mesh.positions, mesh.normals, mesh.uvs], axis=1) for mesh in (fine, coarse)]
        )
        indices = np.concatenate([fine.indices, coarse.indices + np.uint32(len(fine.positions))])
        usage = wgpu.BufferUsage
        self._avatar_vertices = self._device.create_buffer_with_data(data=vertices, usage=usage.VERTEX)
        self._avatar_indices = self._device.create_buffer_with_data(data=indices, usage=usage.INDEX)
        self._avatar_index_counts = len(fine.indices), len(coarse.indices)
        corners = np.array([0, 2, 1, 1, 2, 3], np.uint32)
        self._tag_indices = self._device.create_buffer_with_data(data=corners, usage=usage.INDEX)

    def _reserve(self, batch: Batch) -> None:
        needs = {
            "visible": batch.visible_count * 4,
            "args": batch.args_count * ARGS_BYTES,
            "avatars": len(batch.avatar_table) * AVATAR.itemsize,
            "keys": batch.key_count * KEY_BYTES,
            "colors": batch.key_count * 4,
            "pictures": batch.picture_words * 4,
        }
        grown = [name for name, need in needs.items() if name not in self._buffers or self._buffers[name].size < need]
        for name in grown:
            if name in self._buffers:
                self._buffers[name].destroy()
            size = max(_FIRST_CAPACITY[name], 1 << (needs[name] - 1).bit_length() if needs[name] else 0)
            if name in ("keys", "colors"):
                size = max(_FIRST_CAPACITY[name], needs[name])
            self._buffers[name] = self._device.create_buffer(size=size, usage=self._usages[name])
        if grown:
            self._groups = self._bind_all()

    def _bind_all(self) -> _Groups:
        device, layouts = self._device, self._pipelines.layouts
        views, world = {"buffer": self._views}, {"buffer": self._worlds, "offset": 0, "size": WORLD.itemsize}
        whole = {name: {"buffer": buffer} for name, buffer in self._buffers.items()}
        raster = (
            views,
            world,
            whole["visible"],
            whole["avatars"],
            whole["keys"],
            self._shadow_array,
            self.shadow_sampler,
            self._tags.create_view(),
            self._tag_sampler,
        )
        return _Groups(
            cull=bind(device, layouts.cull_frame, views, world, whole["visible"], whole["args"], whole["avatars"]),
            raster=bind(device, layouts.raster_frame, *raster),
            shadow=bind(device, layouts.avatar_shadow, world, whole["avatars"]),
            settle=bind(device, layouts.picture, views, whole["keys"], whole["colors"]),
            resolve=bind(device, layouts.picture, views, whole["colors"], whole["pictures"]),
        )

    def _cull(self, encoder: Any, batch: Batch, scenes: Sequence[ResidentScene], groups: _Groups) -> None:
        computing = encoder.begin_compute_pass()
        for layer, (world, scene) in enumerate(zip(batch.worlds, scenes, strict=True)):
            computing.set_bind_group(0, groups.cull, [layer * WORLD_STRIDE])
            computing.set_bind_group(1, scene.cull_group)
            computing.set_pipeline(self._pipelines.cull_scene)
            computing.dispatch_workgroups(-(-scene.chunk_count // _CULL_GROUP), world.views)
            if world.avatar_chunks:
                computing.set_pipeline(self._pipelines.cull_avatars)
                computing.dispatch_workgroups(-(-world.avatar_chunks // _CULL_GROUP), world.views)
        computing.end()

    def _draw_avatar_shadows(self, encoder: Any, layer: int, world: WorldDraw, groups: _Groups) -> None:
        attachment = {
            "view": self._shadow_layers[layer],
            "depth_clear_value": 1.0,
            "depth_load_op": "clear",
            "depth_store_op": "store",
        }
        drawing = encoder.begin_render_pass(color_attachments=[], depth_stencil_attachment=attachment)
        if len(world.avatars.ids):
            drawing.set_pipeline(self._pipelines.avatar_shadow)
            drawing.set_bind_group(0, groups.shadow, [layer * WORLD_STRIDE])
            drawing.set_vertex_buffer(0, self._avatar_vertices)
            drawing.set_index_buffer(self._avatar_indices, "uint32")
            fine, coarse = self._avatar_index_counts
            drawing.draw_indexed(coarse, len(world.avatars.ids), first_index=fine)
        drawing.end()

    def _draw(self, encoder: Any, batch: Batch, scenes: Sequence[ResidentScene], groups: _Groups) -> None:
        # Nothing is written to it: clearing it would touch all its memory every tick.
        cover = {"view": self._cover, "load_op": "load", "store_op": "store"}
        drawing = encoder.begin_render_pass(color_attachments=[cover])
        for layer, (world, scene) in enumerate(zip(batch.worlds, scenes, strict=True)):
            drawing.set_bind_group(0, groups.raster, [layer * WORLD_STRIDE])
            drawing.set_bind_group(1, scene.raster_group)
            self._draw_scene(drawing, world, scene)
            if world.avatar_chunks:
                self._draw_people(drawing, world)
        drawing.end()

    def _draw_scene(self, drawing: Any, world: WorldDraw, scene: ResidentScene) -> None:
        drawing.set_vertex_buffer(0, scene.vertices)
        drawing.set_index_buffer(scene.indices, "uint32")
        single = scene.single_sided * world.views
        double = scene.chunk_count * world.views - single
        if single:
            drawing.set_pipeline(self._pipelines.scene_single)
            multi_draw_indexed_indirect(drawing, self._buffers["args"], offset=world.args * ARGS_BYTES, count=single)
        if double:
            drawing.set_pipeline(self._pipelines.scene_double)
            start = (world.args + single) * ARGS_BYTES
            multi_draw_indexed_indirect(drawing, self._buffers["args"], offset=start, count=double)

    def _draw_people(self, drawing: Any, world: WorldDraw) -> None:
        count, args = world.avatar_chunks * world.views, self._buffers["args"]
        drawing.set_pipeline(self._pipelines.avatars)
        drawing.set_vertex_buffer(0, self._avatar_vertices)
        drawing.set_index_buffer(self._avatar_indices, "uint32")
        multi_draw_indexed_indirect(drawing, args, offset=world.avatar_args * ARGS_BYTES, count=AVATAR_DETAILS * count)
        drawing.set_pipeline(self._pipelines.tags)
        drawing.set_index_buffer(self._tag_indices, "uint32")
        multi_draw_indexed_indirect(drawing, args, offset=world.tag_args * ARGS_BYTES, count=count)

    def _resolve(self, encoder: Any, batch: Batch, groups: _Groups) -> None:
        widest, highest = (int(batch.view_table["picture"][:, axis].max()) for axis in (0, 1))
        views = len(batch.view_table)
        computing = encoder.begin_compute_pass()
        computing.set_pipeline(self._pipelines.settle)
        computing.set_bind_group(0, groups.settle)
        computing.dispatch_workgroups(-(-widest // _SETTLE_PX[0]), -(-highest // _SETTLE_PX[1]), views)
        computing.set_pipeline(self._pipelines.resolve)
        computing.set_bind_group(0, groups.resolve)
        computing.dispatch_workgroups(-(-widest // _RESOLVE_PX[0]), -(-highest // _RESOLVE_PX[1]), views)
        computing.end()

    def _next_staging(self, size: int) -> Any:
        self._tick = (self._tick + 1) % _STAGING_BUFFERS
        held = self._staging[self._tick]
        if held is None or held.size < size:
            if held is not None:
                held.destroy()
            usage = wgpu.BufferUsage.MAP_READ | wgpu.BufferUsage.COPY_DST
            held = self._device.create_buffer(size=max(1 << 20, size), usage=usage)
            self._staging[self._tick] = held
        return held
