"""The commands as a person or a script runs them, in processes of their own."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import psutil
import pytest

from broker.protocol import Mode, RoomCreate, SessionState
from client_demo.headless.api import BrokerClient, Refused
from farstage.bench.latency import free_ports
from farstage.farm import Farm, load_secrets

FARSTAGE = [sys.executable, "-m", "farstage"]


def chosen_ports() -> tuple[int, list[str]]:
    """The broker's free port, and the flags that give it and two more to `farstage up`."""
    broker, edge, node = free_ports(3)
    flags = ["--set", f"broker.port={broker}", "--set", f"edge.port={edge}", "--set", f"node.port={node}"]
    return broker, flags


async def run(
    *arguments: str, environment: dict[str, str] | None = None, folder: Path | None = None
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of one command."""
    process = await asyncio.create_subprocess_exec(
        *FARSTAGE,
        *arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "200", **(environment or {})},
        cwd=folder,
    )
    output, errors = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_watch_prints_what_was_seen_as_one_json_object(farm: Farm) -> None:
    code, output, errors = await run("watch", "--room", "walk", "--seconds", "3", "--json", "--broker", farm.broker_url)
    assert code == 0, errors
    report = json.loads(output)
    assert report["frames"] > 30
    assert report["crc_failures"] == 0
    assert report["frames_lost"] == 0
    assert report["fps"] > 10
    assert report["bitrate_bps"] > 10_000
    assert 0 < report["input_to_photon_ms"]["p50"] <= report["input_to_photon_ms"]["p95"]


async def test_watch_names_what_went_wrong(farm: Farm) -> None:
    code, output, errors = await run("watch", "--room", "nowhere", "--json", "--broker", farm.broker_url)
    assert (code, output) == (1, "")
    assert "404" in errors
    code, _, errors = await run("watch", "--broker", f"http://127.0.0.1:{free_ports(1)[0]}")
    assert code == 1
    assert "Cannot connect" in errors


async def test_tokens_are_made_for_each_kind(farm: Farm, tmp_path: Path) -> None:
    secret = {"FARSTAGE_BROKER_SECRET": "s" * 40, "FARSTAGE_BROKER_API_KEY": farm.api_key}
    for kind in ("node", "edge", "operator"):
        code, output, _ = await run("token", kind, "name-1", environment=secret)
        assert code == 0
        assert output.count(".") == 2
    code, output, _ = await run(
        "token", "join", "ada", "--room", "walk", "--json", "--broker", farm.broker_url, environment=secret
    )
    assert code == 0
    assert json.loads(output)["link"].startswith("http")
    code, _, errors = await run("token", "wizard", "x", environment=secret)
    assert code == 2
    assert "wizard" in errors
    code, _, errors = await run("token", "node", "x", folder=tmp_path)
    assert code == 2
    assert "broker.secret" in errors
    load_secrets(tmp_path / ".farstage")
    code, output, _ = await run("token", "node", "x", folder=tmp_path)
    assert code == 0, "the secret of the farm that has run here"
    assert output.count(".") == 2


async def test_watch_says_why_a_session_was_over(farm: Farm) -> None:
    async with BrokerClient(farm.broker_url, farm.api_key) as client:
        await client.create_room(RoomCreate(room="watched", mode=Mode.EXPLORE, open=True))
        watching = asyncio.create_task(
            run("watch", "--room", "watched", "--seconds", "60", "--json", "--broker", farm.broker_url)
        )
        async with asyncio.timeout(30):
            while not (people := await client.participants("watched")) or people[0].state is not SessionState.LIVE:
                await asyncio.sleep(0.1)
        await asyncio.sleep(2.0)  # past the settling, into what is measured
        await client.remove_participant("watched", people[0].participant)
        code, output, errors = await watching
    assert code == 1
    assert json.loads(output)["ended"] == "removed"
    assert "removed" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch", "--broker", "notaurl"),
        ("watch", "--token", "a\nb"),
        ("token", "node", "a b"),
        ("token", "node", "x", "--ttl-s", "inf"),
        ("broker", "--port", "80000"),
        ("node", "--scenes", "/nonexistent", "--token", "x", "--port", "1"),
        ("edge", "--public-url", "notaurl", "--token", "x"),
    ],
)
async def test_argument_that_cannot_be_used_is_told_in_a_line(farm: Farm, arguments: tuple[str, ...]) -> None:
    more = ("--broker", farm.broker_url) if "--token" in arguments and arguments[0] == "watch" else ()
    code, output, errors = await run(*arguments, *more, environment={"FARSTAGE_BROKER_SECRET": "s" * 40})
    assert code != 0
    assert output == ""
    assert errors.strip()
    assert "Traceback" not in errors


async def test_node_that_cannot_work_says_why_and_fails() -> None:
    (port,) = free_ports(1)
    code, _, errors = await run("node", "--scenes", "/nonexistent", "--token", "x", "--port", str(port))
    assert code == 1
    assert "/nonexistent" in errors
    assert "Traceback" not in errors


async def test_doctor_says_what_is_there(tmp_path: Path) -> None:
    _, output, _ = await run("doctor", "--json", environment={"FARSTAGE_BROKER_PORT": str(free_ports(1)[0])})
    findings = {finding["subject"]: finding for finding in json.loads(output)["findings"]}
    assert findings["H264 encoder"]["verdict"] == "ok"
    assert "wgpu" in findings["renderer"]["detail"]
    assert all(finding["verdict"] == "ok" or finding["remedy"] or finding["detail"] for finding in findings.values())


@pytest.mark.parametrize("role", ["broker", "edge", "node"])
async def test_role_without_its_secrets_says_how_to_get_them(role: str) -> None:
    code, _, errors = await run(role)
    assert code == 2
    assert "farstage token" in errors or "openssl rand" in errors


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
async def test_up_prints_links_and_leaves_no_process_behind(tmp_path: Path, ending: signal.Signals) -> None:
    broker, ports = chosen_ports()
    arguments = ["up", "--renderer", "cpu", "--state-dir", str(tmp_path), "--json", *ports]
    process = await asyncio.create_subprocess_exec(*FARSTAGE, *arguments, stdout=subprocess.PIPE)
    assert process.stdout is not None
    links = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    assert links["visitor"] == f"http://127.0.0.1:{broker}/?room=demo"
    assert set(links["rooms"]) == {"demo", "relics", "hall"}
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 3
    process.send_signal(ending)
    code = await asyncio.wait_for(process.wait(), 20)
    assert code == (0 if ending is signal.SIGINT else -signal.SIGKILL)
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert alive == []


async def test_up_tells_people_where_to_click_and_what_draws(tmp_path: Path) -> None:
    broker, ports = chosen_ports()
    process = await asyncio.create_subprocess_exec(
        *FARSTAGE, "up", "--renderer", "cpu", "--state-dir", str(tmp_path), *ports, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    shown = ""
    async with asyncio.timeout(60):
        while "Logs:" not in shown:
            line = await process.stdout.readline()
            assert line, shown
            shown += line.decode()
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert f"http://127.0.0.1:{broker}/?room=demo" in shown
    assert f"http://127.0.0.1:{broker}/operator#key=" in shown
    assert "Drawn by cpu" in shown
    assert "--renderer wgpu" in shown


async def test_up_stops_at_once_while_it_is_still_starting(tmp_path: Path) -> None:
    _, ports = chosen_ports()
    process = await asyncio.create_subprocess_exec(
        *FARSTAGE, "up", "--state-dir", str(tmp_path), *ports, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"starting node-1" not in await process.stderr.readline():
            pass
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 15)
    assert process.returncode == 0, errors.decode()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, 10)
    assert alive == []


async def test_up_opens_its_rooms_again_when_the_broker_was_lost(tmp_path: Path) -> None:
    broker, ports = chosen_ports()
    process = await asyncio.create_subprocess_exec(
        *FARSTAGE, "up", "--renderer", "cpu", "--state-dir", str(tmp_path), "--json", *ports, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    links = json.loads(await asyncio.wait_for(process.stdout.readline(), 60))
    (lost,) = [child for child in psutil.Process(process.pid).children() if "broker" in child.cmdline()]
    lost.kill()
    await asyncio.to_thread(lost.wait, 10)
    async with BrokerClient(f"http://127.0.0.1:{broker}", links["operator"].partition("#key=")[2]) as client:
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(aiohttp.ClientError, Refused):
                    if {room.room for room in await client.rooms()} == {"demo", "relics", "hall"}:
                        break
                await asyncio.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.wait(), 20) == 0


async def test_taken_port_is_named_with_a_remedy(farm: Farm, tmp_path: Path) -> None:
    taken = farm.settings.base.broker.port
    code, _, errors = await run("up", "--state-dir", str(tmp_path), "--set", f"broker.port={taken}")
    assert code == 1
    assert str(taken) in errors
    assert "broker.port=N" in errors
