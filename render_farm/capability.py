"""What this machine can do, measured at start: views drawn and encoded per second, in comparable units.

One unit is one 1280x720 view at 30 frames/s. A node draws a small batch of each scene it offers, encodes it with each
codec in as many threads as it has cores, and counts. The units are those of the scene that takes most and of the
codec that a client gets by default, so that whatever room comes, no more is promised than can be drawn; V100S, 4090
and a machine without a GPU thus compare in one figure. It takes two to three seconds for the built-in scene and
half a second for each further one, `MAX_SCENES` of them at most, and holds for the process's life.
"""

import asyncio
import os
import time
from collections.abc import Sequence

import msgspec
import structlog

from broker.protocol import Codec, H264Profile, NodeCapability
from render_farm.encoder.interface import EncoderError, EncoderSettings
from render_farm.encoder.opening import available_encoders, open_encoder
from render_farm.renderer.interface import AvatarFrame, Camera, PlanarFrame, Renderer, RenderError, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene, SceneError

_log = structlog.get_logger(__name__)

WIDTH, HEIGHT, FPS = 1280, 720, 30
BATCH = 2
MEASURE_S = 0.8
FURTHER_SCENE_S = 0.4
MAX_SCENES = 8
"""A node that offers more measures the first ones by name."""
HEADROOM = 0.8
"""Share of what was measured that is promised: the event loop, trunks and worlds need the rest."""
MIN_UNITS = 1.0


async def measure(renderer: Renderer, library: SceneLibrary, scene_name: str = "campus") -> NodeCapability:
    """Measure the machine. Raises `SceneError`, `RenderError` or `EncoderError` if it cannot draw or encode at all."""
    scene = await asyncio.to_thread(library.load, scene_name)
    await renderer.load(scene)
    views = [_view(scene, index) for index in range(BATCH)]
    frames = list(await renderer.render(views))
    drawn_per_s = {scene_name: await _drawn_per_s(renderer, views, MEASURE_S)}
    drawn_per_s |= await _further_scenes(renderer, library, scene_name)
    codecs = sorted(available_encoders(), key=list(Codec).index)
    encoded_per_s = await asyncio.to_thread(_all_encoded_per_s, frames[0], codecs)
    # Drawing and encoding share the cores of a machine without a GPU.
    shared = renderer.name == "cpu" or "llvmpipe" in renderer.device.lower()
    units = _units(min(drawn_per_s.values()), encoded_per_s[codecs[0]], shared=shared)
    _log.info("capability", units=units, drawn_per_s=drawn_per_s, encoded_per_s=encoded_per_s)
    return NodeCapability(
        renderer=renderer.name,
        device=renderer.device,
        units=units,
        codecs=codecs,
        scenes=library.names(),
        drawn_per_s={name: round(rate, 1) for name, rate in drawn_per_s.items()},
        encoded_per_s={codec: round(rate, 1) for codec, rate in encoded_per_s.items()},
    )


def _units(drawn_per_s: float, encoded_per_s: float, *, shared: bool) -> float:
    """Units to promise for these rates; `shared`: the same cores do both."""
    both = 1.0 / (1.0 / drawn_per_s + 1.0 / encoded_per_s) if shared else min(drawn_per_s, encoded_per_s)
    return max(MIN_UNITS, round(both * HEADROOM / FPS, 2))


async def _further_scenes(renderer: Renderer, library: SceneLibrary, measured: str) -> dict[str, float]:
    """The rates of the operator's scenes. One that cannot be shown is left for the room that asks for it to hear of."""
    rates = {}
    for name in [name for name in library.names() if name.lower() != measured.lower()][: MAX_SCENES - 1]:
        try:
            scene = await asyncio.to_thread(library.load, name)
            await renderer.load(scene)
            rates[name] = await _drawn_per_s(renderer, [_view(scene, index) for index in range(BATCH)], FURTHER_SCENE_S)
            await renderer.unload(scene)
        except (SceneError, RenderError) as error:
            _log.warning("scene_not_measured", scene=name, error=str(error))
        library.forget(name)
    return rates


def _view(scene: Scene, index: int) -> View:
    x, y, z, yaw = (float(value) for value in scene.places.spawns[index % len(scene.places.spawns)])
    return View(scene, AvatarFrame.empty(), Camera((x, y + 1.6, z), yaw + index, 0.0), WIDTH, HEIGHT)


async def _drawn_per_s(renderer: Renderer, views: Sequence[View], for_s: float) -> float:
    begun, drawn = time.perf_counter(), 0
    while time.perf_counter() - begun < for_s:
        await renderer.render(views)
        drawn += len(views)
    return drawn / (time.perf_counter() - begun)


def _all_encoded_per_s(frame: PlanarFrame, codecs: Sequence[Codec]) -> dict[Codec, float]:
    """On all cores; a codec that fails here is not the first one, which must not."""
    cores, rates = os.cpu_count() or 1, {}
    for index, codec in enumerate(codecs):
        try:
            rates[codec] = cores * _encoded_per_s(frame, codec, FURTHER_SCENE_S if index else MEASURE_S)
        except EncoderError as error:
            if not index:
                raise
            _log.warning("codec_not_measured", codec=codec.value, error=str(error))
    return rates


def _encoded_per_s(frame: PlanarFrame, codec: Codec, for_s: float) -> float:
    profile = H264Profile.CONSTRAINED_BASELINE if codec is Codec.H264 else None
    encoder = open_encoder(EncoderSettings(codec, WIDTH, HEIGHT, FPS, 2_500_000, profile))
    try:
        encoder.encode(frame, keyframe=True)
        begun, encoded = time.perf_counter(), 0
        while time.perf_counter() - begun < for_s:
            encoder.encode(frame)
            encoded += 1
        return encoded / (time.perf_counter() - begun)
    finally:
        encoder.close()


def promising(capability: NodeCapability, units: float) -> NodeCapability:
    """The same capability, promising what the operator says instead of what was measured."""
    return msgspec.structs.replace(capability, units=units)
