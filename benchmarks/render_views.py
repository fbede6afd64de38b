"""Views per second of a renderer: 1, 4 and 16 views of the campus at 640x360 and 1280x720.

python -m benchmarks.render_views [--renderer wgpu|cpu] [--seconds 3] [--json]
"""

import argparse
import asyncio
import json
import sys
import time
from importlib import import_module
from typing import cast

import numpy as np

from render_farm.renderer.interface import AvatarFrame, Camera, Renderer, RendererSettings, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene

SIZES = ((640, 360), (1280, 720))
COUNTS = (1, 4, 16)
PEOPLE = 16


def people(scene: Scene) -> AvatarFrame:
    """Sixteen people at the first spawns."""
    spawns = scene.places.spawns[:PEOPLE]
    count = len(spawns)
    return AvatarFrame(
        positions=np.ascontiguousarray(spawns[:, :3]),
        yaws=np.ascontiguousarray(spawns[:, 3]),
        hues=np.linspace(0, 0.9, count, dtype=np.float32),
        names=tuple(f"Visitor {index}" for index in range(count)),
        hands_raised=np.zeros(count, bool),
        seated=np.zeros(count, bool),
        ids=tuple(str(index) for index in range(count)),
    )


def views(scene: Scene, count: int, size: tuple[int, int], turn: float) -> list[View]:
    """Cameras of the first visitors, all looking about."""
    avatars = people(scene)
    cameras = [
        Camera(
            (*avatars.positions[i % PEOPLE].tolist()[:1], 1.6, float(avatars.positions[i % PEOPLE][2])),
            0.4 * i + turn,
            0.0,
        )
        for i in range(count)
    ]
    return [View(scene, avatars, camera, *size, hidden_avatar=i % PEOPLE) for i, camera in enumerate(cameras)]


async def measure(renderer: Renderer, scene: Scene, count: int, size: tuple[int, int], seconds: float) -> float:
    await renderer.render(views(scene, count, size, 0.0))
    drawn, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < seconds:
        await renderer.render(views(scene, count, size, drawn * 0.01))
        drawn += count
    return drawn / elapsed


def open_renderer(name: str) -> Renderer:
    module, cls = {"wgpu": ("wgpu_renderer", "WgpuRenderer"), "cpu": ("cpu", "CpuRenderer")}[name]
    made = getattr(import_module(f"render_farm.renderer.{module}"), cls)
    return cast(Renderer, made.create(RendererSettings()) if name == "wgpu" else made(RendererSettings()))


async def run(name: str, seconds: float) -> dict[str, object]:
    renderer = open_renderer(name)
    scene = SceneLibrary().load("campus")
    await renderer.load(scene)
    rates = {
        f"{size[0]}x{size[1]}": {
            str(count): round(await measure(renderer, scene, count, size, seconds), 1) for count in COUNTS
        }
        for size in SIZES
    }
    result: dict[str, object] = {"renderer": renderer.name, "device": renderer.device, "views_per_s": rates}
    renderer.close()
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--renderer", choices=("wgpu", "cpu"), default="wgpu")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = asyncio.run(run(options.renderer, options.seconds))
    if options.json:
        json.dump(result, sys.stdout)
        print()
        return
    print(f"{result['renderer']} on {result['device']}")
    for size, rates in cast(dict[str, dict[str, float]], result["views_per_s"]).items():
        print(size, *(f"{count} views: {rate}/s" for count, rate in rates.items()), sep="  ")


if __name__ == "__main__":
    main()
