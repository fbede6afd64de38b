"""How fast and how well one core draws and encodes views: `python -m benchmarks.encode_views [--json]`.

Every row walks the same way through the built-in campus, drawn by the CPU renderer at 60 frames a second, and
decodes what was encoded to measure its fidelity. Times are CPU seconds of the encoding thread, so other work on the
machine disturbs them little; compare rows of one run, not runs of two machines.
"""

import argparse
import asyncio
import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import av
import numpy as np
from rich.console import Console
from rich.table import Table

from broker.protocol import Codec, H264Profile
from render_farm.encoder.interface import EncoderSettings
from render_farm.encoder.opening import open_encoder
from render_farm.renderer.cpu import CpuRenderer
from render_farm.renderer.interface import AvatarFrame, Camera, PlanarFrame, View
from render_farm.scene.library import SceneLibrary
from render_farm.scene.model import Scene

FPS = 60
WARM_UP = 10
SIZES = ((1280, 720, 2_500_000), (854, 480, 1_200_000), (640, 360, 800_000))
CODECS = ((Codec.H264, H264Profile.MAIN), (Codec.H264, H264Profile.CONSTRAINED_BASELINE), (Codec.VP8, None))


@dataclass(frozen=True, slots=True)
class Row:
    """One codec at one size. Times are medians in milliseconds of CPU."""

    encoder: str
    profile: str
    width: int
    height: int
    render_ms: float
    encode_ms: float
    encodes_per_s: float
    bitrate_bps: int
    largest_over_mean: float
    keyframe_bytes: int
    psnr_db: float
    refine_steps: int
    refined_psnr_db: float


def walk(scene: Scene, width: int, height: int, count: int) -> tuple[list[PlanarFrame], float]:
    """Return the pictures of a walk from the first spawn, and the median milliseconds one took to draw."""
    x, y, z, yaw = scene.places.spawns[0].tolist()
    renderer, frames, times_s = CpuRenderer(), [], []
    for number in range(count):
        turned = yaw + 0.3 * math.sin(number / 40)
        position = (x - 0.06 * number * math.sin(yaw), y + 1.65, z - 0.06 * number * math.cos(yaw))
        view = View(scene, AvatarFrame.empty(), Camera(position, turned, -0.03), width, height)
        start = time.perf_counter()
        frame = asyncio.run(renderer.render([view]))[0]
        times_s.append(time.perf_counter() - start)
        frames.append(replace(frame, pixels=frame.pixels.copy()))
    return frames, float(np.median(times_s)) * 1e3


def psnr_db(received: np.ndarray, frame: PlanarFrame) -> float:
    error = received[: frame.height].astype(np.float32) - frame.pixels[: frame.height]
    return float(10 * np.log10(255**2 / max(float(np.mean(error**2)), 1e-9)))


def measure(
    codec: Codec, profile: H264Profile | None, frames: Sequence[PlanarFrame], bitrate_bps: int, render_ms: float
) -> Row:
    width, height = frames[0].width, frames[0].height
    encoder = open_encoder(EncoderSettings(codec, width, height, FPS, bitrate_bps, profile))
    decoder = av.CodecContext.create("h264" if codec is Codec.H264 else "vp8", "r")
    times_s, sizes, fidelity = [], [], []
    for frame in frames:
        start = time.thread_time()
        picture = encoder.encode(frame)
        times_s.append(time.thread_time() - start)
        sizes.append(len(picture.payload))
        received = decoder.decode(av.Packet(picture.payload))[0].to_ndarray()
        fidelity.append(psnr_db(received, frame))
    steps = 0
    while (refined := encoder.refine(frames[-1], step=steps)) is not None:
        received = decoder.decode(av.Packet(refined.payload))[0].to_ndarray()
        steps += 1
    encode_s = float(np.median(times_s))
    return Row(
        encoder=encoder.name,
        profile=profile.name.lower() if profile else "",
        width=width,
        height=height,
        render_ms=round(render_ms, 2),
        encode_ms=round(encode_s * 1e3, 2),
        encodes_per_s=round(1 / encode_s, 1),
        bitrate_bps=int(np.mean(sizes[WARM_UP:]) * 8 * FPS),
        largest_over_mean=round(max(sizes[WARM_UP:]) / float(np.mean(sizes[WARM_UP:])), 2),
        keyframe_bytes=sizes[0],
        psnr_db=round(float(np.mean(fidelity[WARM_UP:])), 1),
        refine_steps=steps,
        refined_psnr_db=round(psnr_db(received, frames[-1]), 1),
    )


def run(count: int) -> list[Row]:
    scene, rows = SceneLibrary().load("campus"), []
    for width, height, bitrate_bps in SIZES:
        frames, render_ms = walk(scene, width, height, count)
        rows += [measure(codec, profile, frames, bitrate_bps, render_ms) for codec, profile in CODECS]
    return rows


def print_table(rows: Sequence[Row]) -> None:
    table = Table(title="one core")
    for name in ("encoder", "profile", "size", "render ms", "encode ms", "encodes/s", "Mbit/s", "max/mean"):
        table.add_column(name)
    for name in ("keyframe B", "PSNR dB", "refine steps", "refined dB"):
        table.add_column(name)
    for row in rows:
        table.add_row(
            row.encoder,
            row.profile,
            f"{row.width}x{row.height}",
            f"{row.render_ms}",
            f"{row.encode_ms}",
            f"{row.encodes_per_s}",
            f"{row.bitrate_bps / 1e6:.2f}",
            f"{row.largest_over_mean}",
            f"{row.keyframe_bytes}",
            f"{row.psnr_db}",
            f"{row.refine_steps}",
            f"{row.refined_psnr_db}",
        )
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--frames", type=int, default=120, help="pictures a row (default 120)")
    arguments = parser.parse_args()
    rows = run(max(arguments.frames, WARM_UP + 1))
    if arguments.json:
        print(json.dumps({"encode_views": [asdict(row) for row in rows]}))
    else:
        print_table(rows)


if __name__ == "__main__":
    main()
