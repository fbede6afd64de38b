"""Opening a Vulkan device with what the renderer needs, or saying what is missing."""

import os
from dataclasses import dataclass
from typing import Any

import wgpu

from render_farm.renderer.interface import RenderError

REQUIRED_FEATURES = ("clip-distances", "indirect-first-instance", "shader-int64", "shader-int64-atomic-min-max")
_REMEDY = "install a Vulkan driver (Debian, Ubuntu: mesa-vulkan-drivers) or use the cpu renderer"
_MAX_BUFFER_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class OpenedDevice:
    """A wgpu `device`, its description, the largest storage buffer it binds in bytes, and whether it is software."""

    device: Any
    description: str
    max_binding_bytes: int
    software: bool


def open_device() -> OpenedDevice:
    """The first Vulkan device, hardware before software. Blocks; raises `RenderError`."""
    adapter = _choose_adapter()
    missing = [feature for feature in REQUIRED_FEATURES if feature not in adapter.features]
    if missing:
        raise RenderError(f"{_describe(adapter)} lacks {', '.join(missing)}; update its driver or use the cpu renderer")
    binding = min(_MAX_BUFFER_BYTES, int(adapter.limits["max-storage-buffer-binding-size"]))
    limits = {
        "max-storage-buffer-binding-size": binding,
        "max-buffer-size": min(_MAX_BUFFER_BYTES, int(adapter.limits["max-buffer-size"])),
        "max-texture-dimension-2d": min(8192, int(adapter.limits["max-texture-dimension-2d"])),
        "max-texture-array-layers": min(1024, int(adapter.limits["max-texture-array-layers"])),
        "max-inter-stage-shader-variables": min(16, int(adapter.limits["max-inter-stage-shader-variables"])),
    }
    try:
        device = adapter.request_device_sync(required_features=list(REQUIRED_FEATURES), required_limits=limits)
    except (RuntimeError, wgpu.GPUError) as error:
        raise RenderError(f"{_describe(adapter)} cannot be opened: {error}; {_REMEDY}") from error
    return OpenedDevice(device, _describe(adapter), binding, adapter.info["adapter_type"] == "CPU")


def _choose_adapter() -> Any:
    # Mesa's layer of this name asks a desktop which device it prefers, and complains on standard error without one.
    os.environ.setdefault("NODEVICE_SELECT", "1")
    try:
        adapters = wgpu.gpu.enumerate_adapters_sync()
    except (RuntimeError, OSError) as error:
        raise RenderError(f"wgpu finds no graphics driver ({error}); {_REMEDY}") from error
    vulkan = [adapter for adapter in adapters if adapter.info["backend_type"] == "Vulkan"]
    if not vulkan:
        raise RenderError(f"there is no Vulkan device; {_REMEDY}")
    order = {"DiscreteGPU": 0, "IntegratedGPU": 1, "VirtualGPU": 2}
    return min(vulkan, key=lambda adapter: order.get(adapter.info["adapter_type"], 3))


def _describe(adapter: Any) -> str:
    return f"{adapter.info['device']} ({adapter.info['description']})"
