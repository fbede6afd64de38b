"""`farstage simulate` as a person or a script runs it, in a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from farstage.simulation.report import SimulationReport

SMALL = ("small-city", "--duration", "40")


def simulate(*arguments: str, hash_seed: str = "0") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "farstage", "simulate", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "COLUMNS": "160", "PYTHONHASHSEED": hash_seed},
    )


def report(*arguments: str, hash_seed: str = "0") -> SimulationReport:
    done = simulate(*arguments, "--json", hash_seed=hash_seed)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout, type=SimulationReport)


def figures(found: SimulationReport) -> dict:
    return {name: value for name, value in msgspec.to_builtins(found).items() if name != "run"}


def test_json_is_one_object_of_the_documented_form() -> None:
    found = report(*SMALL)
    assert (found.duration_s, found.policy, found.seed) == (40.0, "best_value", 1)
    assert found.joins.placed > 100
    assert found.quality.mean > 80


def test_the_same_seed_gives_the_same_figures_in_another_process() -> None:
    once, again = (report(*SMALL, "--seed", "5", hash_seed=seed) for seed in ("1", "2"))
    assert figures(once) == figures(again)
    assert figures(once) != figures(report(*SMALL, "--seed", "6"))


def test_a_policy_can_be_chosen() -> None:
    assert report(*SMALL, "--policy", "packed").policy == "packed"


def test_tables_are_printed() -> None:
    done = simulate(*SMALL)
    assert done.returncode == 0, done.stderr
    for words in ("What people get", "mean opinion score", "fibre", "What it takes", "What should not be"):
        assert words in done.stdout


def test_policies_stand_side_by_side() -> None:
    done = simulate(*SMALL, "--compare", "best_value,least_loaded")
    assert done.returncode == 0, done.stderr
    assert re.search(r"best_value\W+least_loaded", done.stdout)
    both = json.loads(simulate(*SMALL, "--compare", "best_value,least_loaded", "--json").stdout)
    assert [one["policy"] for one in both] == ["best_value", "least_loaded"]


def test_the_report_is_one_file_that_loads_nothing(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert simulate(*SMALL, "--html", str(file)).returncode == 0
    text = file.read_text()
    assert text.count("<svg") >= 10
    assert "virtual time, s" in text
    assert not re.search(r"(?:src|href)=|url\(|<script", text)


def test_what_ships_is_listed() -> None:
    done = simulate("--list")
    assert done.returncode == 0
    assert "reference" in done.stdout
    assert json.loads(simulate("--list", "--json").stdout)["small-city"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "--list"),
        (("nowhere.toml",), "nowhere.toml: there is no such file"),
        (("small-city", "--policy", "best"), "there is no policy 'best'"),
        (("small-city", "--compare", "packed,best"), "there is no policy 'best'"),
        (("small-city", "--policy", "packed", "--compare", "all"), "not both"),
    ],
)
def test_what_cannot_be_run_is_told_in_a_line(arguments: tuple[str, ...], words: str) -> None:
    done = simulate(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_wrong_is_told_with_its_key_and_limit(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('title = "Mine"\nduration_s = -1\n')
    done = simulate(str(file))
    assert done.returncode == 2
    assert "mine.toml" in done.stderr
    assert "duration_s" in done.stderr
    file.write_text("duration_s = ")
    assert "mine.toml" in simulate(str(file)).stderr


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    done = simulate(*SMALL, "--html", str(tmp_path / "no" / "report.html"))
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
