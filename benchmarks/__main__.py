"""All benchmarks in one run, as the README's table or as one JSON object: `make bench`.

python -m benchmarks [--json] [--quick] [--save FILE]

Nothing else should run meanwhile. `--quick` is for seeing that everything runs; its figures mean little.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import encode_views, forward_input, render_views
from edge.engine_choice import native_is_built
from farstage import logs
from farstage.bench.fanout import FanoutSettings
from farstage.bench.fanout import measure as measure_fanout
from farstage.bench.join import JoinSettings
from farstage.bench.join import measure as measure_join
from farstage.bench.latency import LatencySettings
from farstage.bench.latency import measure as measure_latency
from farstage.bench.machine import machine
from farstage.bench.placement import PlacementSettings
from farstage.bench.placement import measure as measure_placement
from farstage.config import LogConfig


def run(*, quick: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """Every benchmark, one after the other."""
    results: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    logs.configure(LogConfig(level="warning"), "benchmarks")
    progress("latency: 720p60, CPU renderer, everything on this machine")
    settings = LatencySettings(2.0 if quick else 30.0, 1280, 720, 60, "cpu")
    results["latency"] = msgspec.to_builtins(asyncio.run(measure_latency(settings, lambda _: None)))
    progress("forward_input: an input's way through the edge")
    results["forward_input_ms"] = asyncio.run(forward_input.measure(50 if quick else 2000))
    progress("encode_views: encoders, on one core")
    results["encode_views"] = [asdict(row) for row in encode_views.run(20 if quick else 120)]
    for renderer in ("cpu", "wgpu"):
        progress(f"render_views: {renderer}")
        results[f"render_views_{renderer}"] = asyncio.run(render_views.run(renderer, 0.2 if quick else 3.0))
    nodes, clients = (400, 1_200) if quick else (10_000, 20_000)
    placed = asyncio.run(measure_placement(PlacementSettings(nodes, clients), progress))
    results["placement"] = msgspec.to_builtins(placed)
    if native_is_built():
        results |= fan_out(quick=quick, progress=progress)
    return results


def fan_out(*, quick: bool, progress: Callable[[str], None]) -> dict[str, Any]:
    """The native engine's part."""
    viewers, seconds = (50, 2.0) if quick else (1000, 15.0)
    runs = [FanoutSettings(viewers, kbps, seconds) for kbps in (2500, 1000)]
    fanouts = [msgspec.to_builtins(asyncio.run(measure_fanout(settings, progress))) for settings in runs]
    joins = msgspec.to_builtins(asyncio.run(measure_join(JoinSettings(viewers), progress)))
    return {"fanout": fanouts, "join": joins}


def table(results: dict[str, Any]) -> str:
    """The README's table."""
    latency, forward = results["latency"], results["forward_input_ms"]
    rows = [
        ("input at the edge to the first packet that shows it, 720p60", in_short(latency["input_to_packet_ms"], "ms")),
        ("input sent to decoded picture in a headless viewer, 720p60", in_short(latency["input_to_photon_ms"], "ms")),
        ("input's way through the edge to the node", in_short(forward, "ms")),
    ]
    for row in results["encode_views"]:
        if (row["width"], row["height"]) == (1280, 720):
            name = f"{row['encoder']} {row['profile'].replace('_', ' ')}".strip()
            rows.append((f"encode 720p, {name}, one core", f"{row['encode_ms']} ms, {row['psnr_db']} dB"))
    for renderer in ("cpu", "wgpu"):
        found = results[f"render_views_{renderer}"]
        for size, rates in found["views_per_s"].items():
            name = f"draw {size}, `{renderer}` on {found['device'].split(' (')[0]}"
            gain = rates["16"] / rates["1"]
            rows.append((name, f"{rates['1']} views/s alone, {rates['16']} in batches of 16 ({gain:.1f} times)"))
    rows += placement_rows(results["placement"])
    for fanout in results.get("fanout", ()):
        name = f"{fanout['viewers']:,} viewers of one stream at {fanout['kbps'] / 1000:g} Mbit/s"
        rows.append((f"{name}: CPU a packet, all in all", f"{fanout['cpu_us_per_packet']:.2f} µs"))
        rows.append((f"{name}: ÷ bare encryption and sends", f"{fanout['ratio_to_ceiling']:.2f}"))
        rows.append((f"{name}: edge to the client's kernel", in_short(fanout["edge_latency_ms"], "ms")))
        rows.append((f"{name}: lost in the edge, memory each", lost_and_memory(fanout)))
    if "join" in results:
        rows += join_rows(results["join"])
    return "\n".join(["| what | figure |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in rows)])


def placement_rows(placed: dict[str, Any]) -> list[tuple[str, str]]:
    """Where everybody is put."""
    name = f"placement, {placed['nodes']:,} nodes, {placed['clients']:,} clients"
    spent, best = placed["decision_us"], min(placed["baselines"], key=lambda rule: cost_of(placed, rule))
    speed = f"{placed['decisions_per_s'] / 1000:.0f}k/s; p50 {spent['p50']:.0f}, p99 {spent['p99']:.0f} µs"
    ratios = f"{placed['cost_ratio_online']:.3f} online, {placed['cost_ratio_reoptimised']:.3f} re-optimised"
    return [
        (f"{name}: decisions on one core", speed),
        (f"{name}: quality and cost ÷ exact optimum", f"{ratios}; {placed['capacity_violations']} overbooked"),
        (f"{name}: best of five other rules (`{best}`)", f"{cost_of(placed, best):.3f}"),
        (f"{name}: fewer users below good than by it", f"{100 * placed['fewer_below_good']:.0f} %"),
    ]


def cost_of(placed: dict[str, Any], rule: str) -> float:
    """What another rule's assignment costs, by the optimum."""
    return float(placed["baselines"][rule]["cost_ratio"])


def lost_and_memory(fanout: dict[str, Any]) -> str:
    """Packets lost of those delivered, kilobytes a viewer."""
    delivered = fanout["delivered_packets"] / 1e6
    return f"{fanout['lost_packets']} of {delivered:.1f} million packets, {fanout['bytes_per_viewer'] / 1000:.0f} kB"


def join_rows(join: dict[str, Any]) -> list[tuple[str, str]]:
    """Everybody at once."""
    name = f"{join['joined']:,} viewers join at once, engine on one core"
    return [
        (f"{name}: all connected", f"{join['seconds']:.2f} s, {join['cpu_ms_per_join']:.2f} ms of CPU each"),
        (f"{name}: first picture after DTLS", in_short(join["first_frame_ms"], "ms")),
    ]


def in_short(percentiles: dict[str, float] | None, unit: str) -> str:
    """p50, p95, p99 in one cell."""
    if percentiles is None:
        return "–"
    digits = 1 if percentiles["p50"] >= 1.0 else 2
    return ", ".join(f"{name} {percentiles[name]:.{digits}f}" for name in ("p50", "p95", "p99")) + f" {unit}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--quick", action="store_true", help="short runs")
    parser.add_argument("--save", type=Path, help="write the JSON object to this file too")
    options = parser.parse_args()
    results = run(quick=options.quick, progress=lambda line: print(f"· {line}", file=sys.stderr))
    if options.save:
        options.save.write_text(json.dumps(results, indent=1) + "\n")
    print(json.dumps(results) if options.json else table(results))


if __name__ == "__main__":
    main()
