"""What the load generator must find out about a server, over real sockets and against both of our engines."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from broker.protocol import Codec
from client_demo.headless.load.process import Impairment
from client_demo.headless.load.report import LoadReport
from client_demo.headless.load.seats import ListedEndpoints, OneEndpoint
from client_demo.headless.loadtest import LoadSettings, load
from edge.aiortc_engine import AiortcEngine
from edge.engine import MediaEngine, ViewerHandler
from edge.native_engine import NativeEngine
from tests.support.whep_server import WhepServer

ENGINES: dict[str, Callable[[ViewerHandler], MediaEngine]] = {"native": NativeEngine, "aiortc": AiortcEngine}


@pytest.fixture(params=list(ENGINES))
async def server(request: pytest.FixtureRequest) -> AsyncIterator[WhepServer]:
    async with WhepServer().running(ENGINES[request.param]) as running:
        yield running


@pytest.fixture
async def native_server() -> AsyncIterator[WhepServer]:
    async with WhepServer().running(NativeEngine) as running:
        yield running


@asynccontextmanager
async def answering(status: int, body: str) -> AsyncIterator[str]:
    """The URL of a server that answers every offer like this."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text=body, content_type="application/sdp")

    application = web.Application()
    application.router.add_post("/whep", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/whep"
    finally:
        await runner.cleanup()


async def run(server: WhepServer, **settings) -> LoadReport:
    return await load(LoadSettings(**{"viewers": 3, "seconds": 2.0, **settings}), OneEndpoint(server.url, server.token))


async def test_every_packet_and_picture_of_each_viewer_is_seen(server) -> None:
    report = await run(server, verify=1.0, decode=1, pids=(os.getpid(),))
    assert (report.joined, report.failed, report.watching, report.connected_at_end) == (3, 0, 3, 3)
    assert (report.lost_packets, report.viewers_with_loss, report.generator.receiver_drops) == (0, 0, 0)
    assert report.verified.packets == report.delivered_packets > 0
    assert (report.verified.authentication_failures, report.verified.foreign_packets) == (0, 0)
    assert report.verified.decodable_pictures == report.clean.pictures > 100
    assert (report.clean.broken_pictures, report.clean.undecodable_pictures) == (0, 0)
    assert report.decoded.barcodes > 30
    assert (report.decoded.crc_failures, report.decoded.frames_lost, report.decoded.decode_errors) == (0, 0, 0)
    assert 0 <= report.decoded.latency_ms.p50 < 2000
    assert report.join_ms.count == report.first_frame_ms.count == report.post_ms.count == 3
    assert report.server.cpu_s > 0
    assert report.server.rss_bytes > 0
    assert report.timeline[-1].connected == 3


async def test_viewers_that_do_not_decrypt_see_the_same(server) -> None:
    report = await run(server, verify=0.0)
    assert (report.verified.viewers, report.verified.packets) == (0, 0)
    assert (report.watching, report.lost_packets) == (3, 0)
    assert report.clean.pictures > 100
    assert report.first_frame_ms.count == 3


async def test_vp8_is_put_together_too() -> None:
    async with WhepServer(codec=Codec.VP8).running(NativeEngine) as running:
        report = await run(running, verify=1.0, decode=1, codecs="vp8")
    assert report.verified.decodable_pictures == report.clean.pictures > 100
    assert report.decoded.barcodes > 30
    assert report.decoded.frames_lost == 0


async def test_loss_of_a_bad_network_is_repaired_and_told_apart(server) -> None:
    impairment = Impairment(loss=0.15, delay_ms=20, share=0.5)
    report = await run(server, viewers=4, seconds=4.0, verify=1.0, impairment=impairment)
    assert report.joined == 4
    assert (report.clean.lost_packets, report.clean.nacked_packets, report.clean.dropped_on_purpose) == (0, 0, 0)
    assert report.impaired.dropped_on_purpose > 20
    assert report.impaired.nacked_packets > 0
    assert report.impaired.recovered_packets > 0
    assert report.viewers_with_loss == 0, "they are those on a good network"


async def test_loss_that_nobody_repairs_is_reported_as_such(native_server) -> None:
    """A link of a quarter of the stream's rate: repeats would not fit either."""
    impairment = Impairment(rate_kbps=100, share=0.34)
    report = await run(native_server, seconds=5.0, verify=1.0, impairment=impairment)
    assert report.impaired.lost_packets > 0
    assert report.impaired.loss_percent > 1
    assert report.impaired.keyframe_requests > 0
    assert report.clean.lost_packets == 0


async def test_nobody_gets_in_over_a_dead_network() -> None:
    settings = {"viewers": 2, "verify": 0.0, "impairment": Impairment(loss=1.0, share=1.0)}
    async with WhepServer().running(NativeEngine) as running:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(run(running, **settings), 3.0)
    assert running.posted == 2


async def test_viewers_come_by_tcp_if_they_are_told_to(native_server) -> None:
    report = await run(native_server, tcp=True, verify=1.0)
    assert (report.joined, report.lost_packets) == (3, 0)
    assert report.verified.decodable_pictures > 100


async def test_viewers_come_by_tcp_if_there_is_no_other_way(native_server) -> None:
    native_server.change_answer = lambda answer: re.sub(
        r"a=candidate:\S+ 1 udp .*\r\n", "", answer, flags=re.IGNORECASE
    )
    report = await run(native_server, verify=1.0)
    assert (report.joined, report.lost_packets) == (3, 0)


async def test_ramp_spreads_the_joins(native_server) -> None:
    report = await run(native_server, viewers=5, ramp_s=2.0, seconds=1.0)
    assert report.joined == 5
    assert report.join_seconds >= 1.6


async def test_churn_exchanges_viewers(native_server) -> None:
    report = await run(native_server, viewers=4, churn_per_s=4.0, seconds=2.0)
    assert report.joined == 12
    assert report.connected_at_end == 4
    assert sorted(native_server.deleted) == sorted(f"s{number}" for number in range(1, 13))
    assert report.failures == {}


async def test_tokens_are_sent_and_resources_deleted() -> None:
    async with WhepServer(token="secret").running(NativeEngine) as running:
        refused = await load(LoadSettings(viewers=2, seconds=1.0), OneEndpoint(running.url, "wrong"))
        listed = ListedEndpoints([f"{running.url} secret", f"{running.url} wrong"])
        report = await load(LoadSettings(viewers=4, seconds=1.0), listed)
    assert (refused.joined, refused.failures) == (0, {"HTTP 401 to the offer": 2})
    assert (report.joined, report.failures) == (2, {"HTTP 401 to the offer": 2})
    assert sorted(running.deleted) == ["s1", "s2"]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (201, "hello", "the answer is not SDP (no v=0 at its start, or too long)"),
        (201, "v=0\r\n" * 100_000, "the answer is longer than 262144 bytes"),
        (201, "v=0\r\na=ice-ufrag:x\r\n", "the answer has no a=ice-pwd"),
        (200, "v=0", "HTTP 200 to the offer"),
        (503, "", "HTTP 503 to the offer"),
    ],
)
async def test_nonsense_is_named_and_does_not_end_the_run(status: int, body: str, reason: str) -> None:
    async with answering(status, body) as url:
        report = await load(LoadSettings(viewers=3, seconds=1.0), OneEndpoint(url))
    assert (report.joined, report.failed, report.failures) == (0, 3, {reason: 3})


@pytest.mark.parametrize(
    ("pattern", "replacement", "reason"),
    [
        (
            r"a=fingerprint:sha-256 ..",
            "a=fingerprint:sha-256 00",
            "DTLS certificate does not match the SDP fingerprint",
        ),
        (r"a=setup:\w+", "a=setup:actpass", "the answer has neither a=setup:passive nor a=setup:active"),
        (r"m=video \d+", "m=video 0", "the answer rejects the video section"),
    ],
)
async def test_answer_that_cannot_be_trusted_is_refused(native_server, pattern, replacement, reason) -> None:
    native_server.change_answer = lambda answer: re.sub(pattern, replacement, answer)
    report = await run(native_server, viewers=2, seconds=1.0)
    assert (report.joined, report.failures) == (0, {reason: 2})
    assert sorted(native_server.deleted) == ["s1", "s2"], "what the server made is deleted all the same"


async def test_server_that_is_not_there_is_named() -> None:
    report = await load(LoadSettings(viewers=2, seconds=1.0), OneEndpoint("http://127.0.0.1:9/whep"))
    (reason,) = report.failures
    assert reason.startswith("no answer to the offer")


async def test_server_that_ends_its_viewers_is_noticed(server) -> None:
    async def end_all() -> None:
        await asyncio.sleep(2.5)
        await asyncio.gather(*(server.engine.close(f"s{number}") for number in (1, 2, 3)))

    ending = asyncio.create_task(end_all())
    report = await run(server, seconds=4.0)
    await ending
    assert report.joined == 3
    assert report.connected_at_end == 0
    assert sum(report.failures.values()) == 3


async def test_command_prints_one_object_and_writes_a_page_that_needs_nothing(native_server, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    arguments = ["loadtest", "--whep", native_server.url, "--viewers", "3", "--seconds", "2", "--json"]
    arguments += ["--impair", "loss=0.1,share=0.34", "--pid", str(os.getpid()), "--html", str(page)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "farstage", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, errors.decode()
    report = json.loads(output)
    assert report["joined"] == 3
    assert report["impaired"]["dropped_on_purpose"] > 0
    assert {"delivered_packets", "lost_packets", "first_frame_ms", "server"} <= set(report)
    text = page.read_text()
    assert text.count("<svg") >= 5
    assert not re.search(r"<script|<link|src=|@import|url\(", text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --whep, --endpoints and --room"),
        (["--whep", "http://127.0.0.1:9", "--impair", "loss=2"], "loss and share lie between 0 and 1"),
        (["--whep", "http://127.0.0.1:9", "--impair", "colour=1"], "--impair colour=1"),
        (["--whep", "http://127.0.0.1:9", "--codecs", "h263"], "--codecs: 'h263' is none of"),
    ],
)
async def test_command_says_what_is_wrong_with_its_options(arguments: list[str], message: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "farstage", "loadtest", *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert message in errors.decode()
