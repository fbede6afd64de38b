"""What this machine can do, measured at start: views drawn and encoded per second, in comparable units.

One unit is one 1280x720 view at 30 frames/s. A node draws a small batch of the built-in scene, encodes it in as many
threads as it has cores, and counts; the answer takes two to three seconds and holds for the process's life.
"""

import asyncio
import os
import time

import msgspec
import structlog

from broker.protocol import Codec, H264Profile, NodeCapability
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.opening import available_encoders, open_encoder
from render_farm.renderer.interface import AvatarFrame, Camera, PlanarFrame, Renderer, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene

_log = structlog.get_logger(__name__)

WIDTH, HEIGHT, FPS = 1280, 720, 30
BATCH = 2
MEASURE_S = 0.8
HEADROOM = 0.8
"""Share of what was measured that is promised: the event loop, trunks and worlds need the rest."""
MIN_UNITS = 1.0


async def measure(renderer: Renderer, library: SceneLibrary, scene_name: str = "campus") -> NodeCapability:
    """Measure the machine. Raises `SceneError`, `RenderError` or `EncoderError` if it cannot draw or encode at all."""
    scene = await asyncio.to_thread(library.load, scene_name)
    await renderer.load(scene)
    views = [_view(scene, index) for index in range(BATCH)]
    frames = list(await renderer.render(views))
    seconds_per_draw = await _time_drawing(renderer, views)
    codecs = available_encoders()
    seconds_per_encode = await asyncio.to_thread(_time_encoding, frames[0])
    cores = os.cpu_count() or 1
    # Drawing and encoding share the cores of a machine without a GPU.
    shared = renderer.name == "cpu" or "llvmpipe" in renderer.device.lower()
    draws_per_s, encodes_per_s = 1.0 / seconds_per_draw, cores / seconds_per_encode
    views_per_s = 1.0 / (1.0 / draws_per_s + 1.0 / encodes_per_s) if shared else min(draws_per_s, encodes_per_s)
    units = max(MIN_UNITS, round(views_per_s * HEADROOM / FPS, 2))
    _log.info("capability", units=units, draw_ms=seconds_per_draw * 1e3, encode_ms=seconds_per_encode * 1e3)
    return NodeCapability(
        renderer=renderer.name,
        device=renderer.device,
        units=units,
        codecs=sorted(codecs, key=list(Codec).index),
        scenes=library.names(),
    )


def _view(scene: Scene, index: int) -> View:
    x, y, z, yaw = (float(value) for value in scene.places.spawns[index % len(scene.places.spawns)])
    return View(scene, AvatarFrame.empty(), Camera((x, y + 1.6, z), yaw + index, 0.0), WIDTH, HEIGHT)


async def _time_drawing(renderer: Renderer, views: list[View]) -> float:
    begun, drawn = time.perf_counter(), 0
    while time.perf_counter() - begun < MEASURE_S:
        await renderer.render(views)
        drawn += len(views)
    return (time.perf_counter() - begun) / drawn


def _time_encoding(frame: PlanarFrame) -> float:
    settings = EncoderSettings(Codec.H264, WIDTH, HEIGHT, FPS, 2_500_000, H264Profile.CONSTRAINED_BASELINE)
    encoder = open_encoder(settings)
    try:
        encoder.encode(frame, keyframe=True)
        begun, encoded = time.perf_counter(), 0
        while time.perf_counter() - begun < MEASURE_S:
            encoder.encode(frame)
            encoded += 1
        return (time.perf_counter() - begun) / encoded
    finally:
        encoder.close()


def promising(capability: NodeCapability, units: float) -> NodeCapability:
    """The same capability, promising what the operator says instead of what was measured."""
    return msgspec.structs.replace(capability, units=units)
