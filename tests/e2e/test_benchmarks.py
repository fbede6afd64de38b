"""The benchmarks run, and print what the README's table is made of. Speed itself is not asserted."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


async def printed_by(*module: str) -> Any:
    """The JSON that a module of ours prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 110)
    assert process.returncode == 0, errors.decode()
    return json.loads(output)


@pytest.mark.long
async def test_cascade_benchmark_loses_no_picture_and_recovers_from_a_killed_edge() -> None:
    report = await printed_by(
        *["farstage", "bench", "cascade", "--edges", "3", "--seconds", "2", "--kills", "1", "--json"]
    )
    assert (report["edges"], report["depth"], report["frames_lost"]) == (3, 3, 0)
    assert report["hop_ms"]["count"] == 2 * report["frames"] > 0
    assert report["reparent_ms"]["count"] == 1


async def test_placement_benchmark_is_near_the_optimum_and_overbooks_nothing() -> None:
    report = await printed_by(
        *["farstage", "bench", "placement", "--nodes", "400", "--clients", "1200", "--seed", "3", "--json"]
    )
    assert report["capacity_violations"] == 0
    assert 0.999 < report["cost_ratio_reoptimised"] <= report["cost_ratio_online"] < 1.1
    assert report["ours"]["unplaced"] == 0
    assert set(report["baselines"]) == {"nearest_region", "least_loaded", "two_random_choices", "livekit", "gamelift"}
    assert report["decision_us"]["p99"] >= report["decision_us"]["p50"] > 0
    assert report["decisions_per_s"] > 0


async def test_failover_benchmark_kills_a_node_under_all_sessions_and_loses_none() -> None:
    report = await printed_by("farstage", "bench", "failover", "--sessions", "12", "--kills", "2", "--json")
    assert (report["sessions"], report["kills"], report["sessions_lost"]) == (12, 2, 0)
    assert report["media_back_ms"]["count"] == 24
    for figure in ("detect_ms", "replace_ms", "media_back_ms"):
        assert 0 < report[figure]["p50"] <= report[figure]["p99"]
    assert report["detect_ms"]["count"] == report["replace_ms"]["count"] == 2


@pytest.mark.redis
async def test_claims_benchmark_books_nothing_twice() -> None:
    report = await printed_by("farstage", "bench", "claims", "--seconds", "1", "--workers", "8", "--json")
    assert report["double_bookings"] == 0
    assert 0 < report["refused"] < report["claims"]
    assert 0 < report["claim_ms"]["p50"] <= report["claim_ms"]["p99"]
    assert report["claims_per_s"] > 0


@pytest.mark.vulkan
@pytest.mark.long
async def test_all_benchmarks_run_and_print_one_json_object(tmp_path: Path) -> None:
    saved = tmp_path / "results.json"
    results = await printed_by("benchmarks", "--quick", "--json", "--save", str(saved))
    assert results == json.loads(saved.read_text())
    assert results["machine"]["cores"] >= 1
    latency = results["latency"]
    assert latency["crc_failures"] == 0
    assert latency["input_to_packet_ms"]["p50"] > 0
    assert latency["input_to_photon_ms"]["p50"] > latency["input_to_packet_ms"]["p50"]
    assert results["forward_input_ms"]["p50"] < results["forward_input_ms"]["longest"]
    assert {row["encoder"] for row in results["encode_views"]} >= {"libvpx"}
    for renderer in ("cpu", "wgpu"):
        rates = results[f"render_views_{renderer}"]["views_per_s"]["1280x720"]
        assert set(rates) == {"1", "4", "16"}
        assert all(rate > 0 for rate in rates.values())
    assert [fanout["kbps"] for fanout in results["fanout"]] == [2500, 1000]
    for fanout in results["fanout"]:
        assert fanout["joined"] == fanout["viewers"]
        assert fanout["lost_packets"] == 0
        assert fanout["ratio_to_ceiling"] > 0.5
        assert fanout["delivered_packets"] > 50 * 30 * fanout["packets_a_picture"]
    assert results["join"]["joined"] == 50
    assert results["join"]["failures"] == {}


async def test_telemetry_benchmark_has_every_report_taken() -> None:
    report = await printed_by("farstage", "bench", "telemetry", "--clients", "60", "--seconds", "2", "--json")
    assert report["reports_taken"] == report["reports_sent"] == 120
    assert (report["clients"], report["edges"]) == (60, 1)
    assert report["share_of_core_idle"] >= 0


@pytest.mark.long
async def test_move_benchmark_loses_and_freezes_no_picture() -> None:
    report = await printed_by("farstage", "bench", "move", "--viewers", "2", "--rounds", "3", "--json")
    assert (report["frames_lost"], report["packets_lost"], report["freezes"]) == (0, 0, 0)
    assert report["moves"] >= 2
    assert report["move_ms"]["count"] == 3
    assert min(report["pictures"], report["left_alone"]["pictures"]) > 0
