"""Shaders, bind group layouts and pipelines of the wgpu renderer, made once per device."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import wgpu

RASTER_SIZE_PX = 4096
"""The square in whose centre every view is rasterised; the same as in `shaders/frame.wgsl`."""
COVER_FORMAT = "r8unorm"
DEPTH_FORMAT = "depth32float"

_VERTEX, _FRAGMENT, _COMPUTE = wgpu.ShaderStage.VERTEX, wgpu.ShaderStage.FRAGMENT, wgpu.ShaderStage.COMPUTE
_MESH_ATTRIBUTES = ((0, 0, "float32x3"), (1, 12, "float32x3"), (2, 24, "float32x2"))
VERTEX_BYTES = 32

_READ: dict[str, Any] = {"buffer": {"type": "read-only-storage"}}
_WRITE: dict[str, Any] = {"buffer": {"type": "storage"}}
_UNIFORM: dict[str, Any] = {"buffer": {"type": "uniform"}}
_UNIFORM_AT: dict[str, Any] = {"buffer": {"type": "uniform", "has_dynamic_offset": True}}
_FILTERING: dict[str, Any] = {"sampler": {"type": "filtering"}}
_COMPARING: dict[str, Any] = {"sampler": {"type": "comparison"}}


def _texture(sample_type: str, dimension: str = "2d") -> dict[str, Any]:
    return {"texture": {"sample_type": sample_type, "view_dimension": dimension}}


@dataclass(frozen=True, slots=True)
class Layouts:
    """Bind group layouts; the names say for which stage of a tick."""

    raster_frame: Any
    raster_scene: Any
    cull_frame: Any
    cull_scene: Any
    picture: Any
    static_shadow: Any
    avatar_shadow: Any


@dataclass(frozen=True, slots=True)
class Pipelines:
    """All pipelines. `scene_single` culls back faces, `scene_double` draws both sides."""

    layouts: Layouts
    cull_scene: Any
    cull_avatars: Any
    scene_single: Any
    scene_double: Any
    avatars: Any
    tags: Any
    static_shadow: Any
    avatar_shadow: Any
    settle: Any
    resolve: Any


def make_pipelines(device: Any) -> Pipelines:
    """Compile everything. Blocks for as long as the driver compiles."""
    layouts = _make_layouts(device)
    raster = (layouts.raster_frame, layouts.raster_scene)
    scene = _module(device, "frame", "raster", "scene", clip=True)
    avatar = _module(device, "frame", "raster", "pose", "avatar", clip=True)
    cull = _module(device, "frame", "cull")
    moving = _module(device, "frame", "pose", "avatar_shadow")
    return Pipelines(
        layouts=layouts,
        cull_scene=_compute(device, cull, "cull_scene", (layouts.cull_frame, layouts.cull_scene)),
        cull_avatars=_compute(device, cull, "cull_avatars", (layouts.cull_frame, layouts.cull_scene)),
        scene_single=_raster(device, scene, ("vertex", "fragment"), raster, cull_mode="back"),
        scene_double=_raster(device, scene, ("vertex", "fragment"), raster),
        avatars=_raster(device, avatar, ("vertex", "fragment"), raster, cull_mode="back"),
        tags=_raster(device, avatar, ("tag_vertex", "tag_fragment"), raster, mesh=False),
        static_shadow=_depth(device, _module(device, "shadow"), "scene_vertex", (layouts.static_shadow,)),
        avatar_shadow=_depth(device, moving, "vertex", (layouts.avatar_shadow,)),
        settle=_compute(device, _module(device, "frame", "settle"), "settle", (layouts.picture,)),
        resolve=_compute(device, _module(device, "frame", "resolve"), "resolve", (layouts.picture,)),
    )


def _make_layouts(device: Any) -> Layouts:
    both = _VERTEX | _FRAGMENT
    return Layouts(
        raster_frame=_layout(
            device,
            (both, _READ),
            (both, _UNIFORM_AT),
            (_VERTEX, _READ),
            (_VERTEX, _READ),
            (_FRAGMENT, _WRITE),
            (_FRAGMENT, _texture("depth", "2d-array")),
            (_FRAGMENT, _COMPARING),
            (_FRAGMENT, _texture("float")),
            (_FRAGMENT, _FILTERING),
        ),
        raster_scene=_layout(
            device,
            (_VERTEX, _READ),
            (_VERTEX, _READ),
            (_FRAGMENT, _texture("float", "2d-array")),
            (_FRAGMENT, _FILTERING),
            (_FRAGMENT, _texture("depth")),
            (_FRAGMENT, _texture("depth")),
            (_FRAGMENT, _UNIFORM),
        ),
        cull_frame=_layout(
            device,
            (_COMPUTE, _READ),
            (_COMPUTE, _UNIFORM_AT),
            (_COMPUTE, _WRITE),
            (_COMPUTE, _WRITE),
            (_COMPUTE, _READ),
        ),
        cull_scene=_layout(device, (_COMPUTE, _READ), (_COMPUTE, _READ)),
        picture=_layout(device, (_COMPUTE, _READ), (_COMPUTE, _READ), (_COMPUTE, _WRITE)),
        static_shadow=_layout(device, (_VERTEX, _UNIFORM), (_VERTEX, _READ)),
        avatar_shadow=_layout(device, (_VERTEX, _UNIFORM_AT), (_VERTEX, _READ)),
    )


def _layout(device: Any, *entries: tuple[int, dict[str, Any]]) -> Any:
    numbered = [{"binding": number, "visibility": stage, **kind} for number, (stage, kind) in enumerate(entries)]
    return device.create_bind_group_layout(entries=numbered)


def _module(device: Any, *names: str, clip: bool = False) -> Any:
    folder = files("render_farm.renderer") / "shaders"
    parts = ["enable clip_distances;\n"] if clip else []
    parts += [(folder / f"{name}.wgsl").read_text("utf-8") for name in names]
    return device.create_shader_module(label="+".join(names), code="\n".join(parts))


def _compute(device: Any, module: Any, entry: str, layouts: tuple[Any, ...]) -> Any:
    return device.create_compute_pipeline(
        label=entry,
        layout=device.create_pipeline_layout(bind_group_layouts=list(layouts)),
        compute={"module": module, "entry_point": entry},
    )


def _vertex_buffers(attributes: tuple[tuple[int, int, str], ...]) -> list[dict[str, Any]]:
    listed = [{"shader_location": place, "offset": offset, "format": form} for place, offset, form in attributes]
    return [{"array_stride": VERTEX_BYTES, "step_mode": "vertex", "attributes": listed}]


def _raster(
    device: Any,
    module: Any,
    entries: tuple[str, str],
    layouts: tuple[Any, ...],
    *,
    cull_mode: str = "none",
    mesh: bool = True,
) -> Any:
    return device.create_render_pipeline(
        label=entries[0],
        layout=device.create_pipeline_layout(bind_group_layouts=list(layouts)),
        vertex={
            "module": module,
            "entry_point": entries[0],
            "buffers": _vertex_buffers(_MESH_ATTRIBUTES) if mesh else [],
        },
        primitive={"topology": "triangle-list", "front_face": "ccw", "cull_mode": cull_mode},
        fragment={
            "module": module,
            "entry_point": entries[1],
            "targets": [{"format": COVER_FORMAT, "write_mask": 0}],
        },
    )


def _depth(device: Any, module: Any, entry: str, layouts: tuple[Any, ...]) -> Any:
    attributes = _MESH_ATTRIBUTES if entry == "vertex" else _MESH_ATTRIBUTES[:1]
    return device.create_render_pipeline(
        label=entry,
        layout=device.create_pipeline_layout(bind_group_layouts=list(layouts)),
        vertex={"module": module, "entry_point": entry, "buffers": _vertex_buffers(attributes)},
        primitive={"topology": "triangle-list", "cull_mode": "none"},
        depth_stencil={
            "format": DEPTH_FORMAT,
            "depth_write_enabled": True,
            "depth_compare": "less",
            "depth_bias": 2,
            "depth_bias_slope_scale": 2.0,
        },
    )
