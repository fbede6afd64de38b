"""`farstage loadtest`: the command around `client_demo.headless.loadtest`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from client_demo.headless.api import Refused
from client_demo.headless.load.html import write_html
from client_demo.headless.load.process import Impairment, LoadError
from client_demo.headless.load.report import LoadReport
from client_demo.headless.load.seats import ListedEndpoints, OneEndpoint, RoomSeats, Seats
from client_demo.headless.load.whep import WhepError
from client_demo.headless.loadtest import LoadSettings, Progress, load
from farstage.output import errors, fail, print_figures, print_json

CODECS = ("all", "h264", "vp8")
IMPAIR_HELP = "A bad network: loss=0.02,delay_ms=40,jitter_ms=10,rate_kbps=800,share=0.1 (any of these)."


def loadtest(
    whep: Annotated[str, typer.Option(help="WHEP endpoint of the server, any maker's.")] = "",
    token: Annotated[str, typer.Option(help="Bearer token for it.")] = "",
    endpoints: Annotated[
        Path | None, typer.Option(help="File instead: a URL and a token a line, one a viewer.")
    ] = None,
    room: Annotated[str, typer.Option(help="Instead: an open room, joined as guests.")] = "",
    broker_url: Annotated[str, typer.Option("--broker", help="The room's broker.")] = "http://127.0.0.1:8080",
    viewers: Annotated[int, typer.Option(min=1, max=60_000)] = 100,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Measured time, after all have joined.")] = 10.0,
    ramp: Annotated[float, typer.Option(min=0, max=3600, help="Seconds over which they join; 0: all at once.")] = 0.0,
    churn: Annotated[float, typer.Option(min=0, max=1000, help="Viewers exchanged a second.")] = 0.0,
    verify: Annotated[float, typer.Option(min=0, max=1, help="Share that decrypts and checks everything.")] = 0.05,
    decode: Annotated[int, typer.Option(min=0, max=1000, help="Viewers whose pictures are decoded.")] = 0,
    impair: Annotated[str, typer.Option(help=IMPAIR_HELP)] = "",
    pid: Annotated[list[int] | None, typer.Option(help="Process of the server; may be given again.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=64)] = 1,
    tcp: Annotated[bool, typer.Option("--tcp", help="ICE-TCP even where UDP is offered.")] = False,
    codecs: Annotated[str, typer.Option(help="all, h264 or vp8.")] = "all",
    audio: Annotated[bool, typer.Option("--audio", help="Ask for sound too.")] = False,
    feedback_ms: Annotated[int, typer.Option(min=10, max=10_000, help="Between transport-wide feedbacks.")] = 100,
    receive_buffer: Annotated[int, typer.Option(min=4096, max=1 << 30, help="Bytes for each socket.")] = 1 << 20,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 1,
    html: Annotated[Path | None, typer.Option(help="Write a report with plots here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Load a WHEP server with viewers that do what browsers do, and report what became of them."""
    if codecs not in CODECS:
        fail(f"--codecs: {codecs!r} is none of {', '.join(CODECS)}", 2)
    settings = LoadSettings(
        viewers=viewers,
        seconds=seconds,
        ramp_s=ramp,
        churn_per_s=churn,
        verify=verify,
        decode=min(decode, viewers),
        impairment=parse_impairment(impair),
        pids=tuple(pid or ()),
        threads=threads,
        tcp=tcp,
        codecs=codecs,
        audio=audio,
        feedback_ms=feedback_ms,
        receive_buffer=receive_buffer,
        seed=seed,
    )
    if sum(map(bool, (whep, endpoints, room))) != 1:
        fail("give one of --whep, --endpoints and --room", 2)
    report = _run(settings, _Target(whep, token, endpoints, room, broker_url), quiet=as_json)
    if html is not None:
        write_html(report, html)
    _print(report, as_json)
    raise typer.Exit(0 if report.joined else 1)


def parse_impairment(text: str) -> Impairment:
    """Read `loss=0.02,delay_ms=40`; all viewers are behind it unless `share` says otherwise."""
    if not text:
        return Impairment()
    try:
        fields = {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
        impairment = msgspec.convert({"share": 1.0, **fields}, Impairment)
    except (ValueError, msgspec.ValidationError) as error:
        fail(f"--impair {text}: {error}", 2)
    shares = (impairment.loss, impairment.share)
    if not all(0.0 <= share <= 1.0 for share in shares) or min(fields.values()) < 0:
        fail(f"--impair {text}: loss and share lie between 0 and 1, nothing is negative", 2)
    return impairment


class _Target(msgspec.Struct, frozen=True):
    whep: str
    token: str
    endpoints: Path | None
    room: str
    broker_url: str

    @asynccontextmanager
    async def seats(self) -> AsyncIterator[Seats]:
        if self.room:
            async with RoomSeats.opened(self.broker_url, self.room) as seats:
                yield seats
        elif self.endpoints is not None:
            yield ListedEndpoints.of(self.endpoints)
        else:
            yield OneEndpoint(self.whep, self.token)


def _run(settings: LoadSettings, target: _Target, *, quiet: bool) -> LoadReport:
    async def run(show: Any) -> LoadReport:
        async with target.seats() as seats:
            return await load(settings, seats, show)

    try:
        if quiet:
            return asyncio.run(run(lambda _: None))
        with errors.status("joining") as status:
            return asyncio.run(run(lambda progress: status.update(_line(progress, settings.viewers))))
    except (LoadError, WhepError, Refused) as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted", 130)


def _line(now: Progress, viewers: int) -> str:
    parts = [
        f"[bold]{now.phase}[/]",
        f"{now.connected} of {viewers} connected",
        f"{now.packets_per_s:,} packets/s",
        f"{now.bitrate_bps / 1e6:,.0f} Mbit/s",
        f"{now.lost_packets} lost",
    ]
    if now.failed:
        parts.append(f"[red]{now.failed} failures[/]")
    if now.server_percent is not None:
        parts.append(f"server {now.server_percent:.0f} % CPU")
    return " · ".join(parts)


def _print(report: LoadReport, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    figures = msgspec.to_builtins(report)
    for name in ("timeline", "histograms", "warnings", "failures"):
        figures.pop(name)
    print_figures(f"Load on {report.whep}", figures)
    for reason, count in report.failures.items():
        errors.print(f"[red]{count} ×[/] {reason}", soft_wrap=True)
    for warning in report.warnings:
        errors.print(f"[yellow]{warning}[/]", soft_wrap=True)
