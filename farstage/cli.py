"""The command line. Every command takes `--json` where it reports something, and `--config` and `--set` throughout."""

import asyncio
import re
import sys
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from broker.agent import AgentFailed
from broker.protocol import (
    AUDIENCE_EDGE,
    AUDIENCE_NODE,
    AUDIENCE_OPERATOR,
    IDENTIFIER_PATTERN,
    Role,
    TokenRequest,
)
from broker.tokens import TokenAuthority
from client_demo.headless.api import BrokerClient, Refused
from farstage import config as configuration
from farstage import loadtest, logs
from farstage.config import Config, ConfigError, LogConfig
from farstage.output import console, errors, fail, print_figures, print_json
from farstage.simulation.command import simulate

app = typer.Typer(
    name="farstage",
    help="Cloud-rendered shared worlds, streamed to anyone with a browser.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Measure this machine.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")
app.command()(loadtest.loadtest)
app.command()(simulate)

MAX_TTL_S = 10 * 365 * 86_400.0
DEFAULT_STATE_DIR = Path(".farstage")
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; default: ./farstage.toml if present.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="section.key=value; wins over file and variables.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
Supervised = Annotated[int, typer.Option("--supervised-by", hidden=True, help="Process with which to end.")]
BrokerUrl = Annotated[str, typer.Option("--broker", help="The broker's URL.")]
DEFAULT_BROKER = "http://127.0.0.1:8080"
STYLISED = (
    "Without a GPU pictures are stylised. The real scene, small and slow: "
    "make up ARGS='--renderer wgpu --set broker.max_long_side=640'"
)


def _load(file: Path | None, overrides: list[str] | None, named: dict[str, Any] | None = None) -> Config:
    flags = [f"{key}={value}" for key, value in (named or {}).items() if value is not None]
    try:
        return configuration.load(file, flags=[*(overrides or []), *flags])
    except ConfigError as error:
        fail(str(error), 2)


def _serve(role: str, config: Config, supervised_by: int) -> None:
    from farstage import roles

    logs.configure(config.log, role)
    try:
        roles.run(role, config, supervised_by=supervised_by)
    except ConfigError as error:
        fail(str(error), 2)
    except AgentFailed as error:
        fail(str(error))


@app.command()
def up(
    file: ConfigFile = None,
    overrides: Overrides = None,
    host: Annotated[str | None, typer.Option(help="0.0.0.0 lets phones on the same network in.")] = None,
    nodes: Annotated[int, typer.Option(min=1, max=16, help="Render nodes to start.")] = 1,
    renderer: Annotated[str | None, typer.Option(help="auto, cpu or wgpu.")] = None,
    state_dir: Annotated[Path, typer.Option(help="Where secrets and logs are kept.")] = DEFAULT_STATE_DIR,
    as_json: AsJson = False,
) -> None:
    """Start broker, edge and render nodes on this machine, with three demo rooms, until Ctrl-C."""
    from farstage import up as local
    from farstage.farm import FarmError

    named = {"broker.host": host, "edge.host": host, "node.renderer": renderer}
    config = _load(file, overrides, named)

    def ready(links: local.Links) -> None:
        if as_json:
            print_json(links)
            return
        console.print("\n[bold green]Farstage is up.[/] Ctrl-C stops it.\n")
        rows = {"Visitors": links.visitor, **dict(list(links.rooms.items())[1:]), "Operator": links.operator}
        for name, link in rows.items():
            console.print(f"  {name:<10}{link}", soft_wrap=True)
        console.print(f"\nDrawn by {links.renderer} on {links.device}.")
        if links.renderer == "cpu":
            console.print(f"[dim]{STYLISED}[/]", soft_wrap=True)
        console.print(f"[dim]Logs: {state_dir}/*.log[/]\n")

    try:
        asyncio.run(local.run(config, state_dir, nodes, lambda line: errors.print(f"[dim]· {line}[/]"), ready))
    except (FarmError, ConfigError, Refused) as error:
        fail(str(error))


@app.command()
def broker(
    file: ConfigFile = None,
    overrides: Overrides = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    public_url: Annotated[str | None, typer.Option(help="Where clients reach this broker.")] = None,
    store_url: Annotated[str | None, typer.Option(help="memory: or redis://HOST:PORT/DB")] = None,
    supervised_by: Supervised = 0,
) -> None:
    """Run the broker: rooms, joins, placement."""
    named = {"host": host, "port": port, "public_url": public_url, "store_url": store_url}
    config = _load(file, overrides, {f"broker.{key}": value for key, value in named.items()})
    _serve("broker", config, supervised_by)


@app.command()
def edge(
    file: ConfigFile = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option("--id", help="This edge's name; its token is for this name.")] = None,
    region: Annotated[str | None, typer.Option(help="Where it stands on the network.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    public_url: Annotated[str | None, typer.Option(help="Where browsers reach this edge.")] = None,
    trunk_url: Annotated[str | None, typer.Option(help="Where render nodes reach it, ws:// or wss://.")] = None,
    broker_url: Annotated[str | None, typer.Option("--broker", help="The broker's URL.")] = None,
    token: Annotated[str | None, typer.Option(help="From: farstage token edge NAME")] = None,
    supervised_by: Supervised = 0,
) -> None:
    """Run an edge: ends visitors' WebRTC connections.

    SIGTERM lets its visitors go elsewhere for edge.drain_s seconds (default 10) and then ends it; SIGUSR1 calls that
    off, a second SIGTERM or Ctrl-C ends it at once.
    """
    named = {
        "id": name,
        "region": region,
        "host": host,
        "port": port,
        "public_url": public_url,
        "trunk_url": trunk_url,
        "broker_url": broker_url,
        "token": token,
    }
    config = _load(file, overrides, {f"edge.{key}": value for key, value in named.items()})
    _serve("edge", config, supervised_by)


@app.command()
def node(
    file: ConfigFile = None,
    overrides: Overrides = None,
    name: Annotated[str | None, typer.Option("--id", help="This node's name; its token is for this name.")] = None,
    region: Annotated[str | None, typer.Option(help="Where it stands on the network.")] = None,
    port: Annotated[int | None, typer.Option(help="Port for health and metrics.")] = None,
    renderer: Annotated[str | None, typer.Option(help="auto, cpu or wgpu.")] = None,
    scenes: Annotated[Path | None, typer.Option(help="Folder with your own .glb and .gltf scenes.")] = None,
    broker_url: Annotated[str | None, typer.Option("--broker", help="The broker's URL.")] = None,
    token: Annotated[str | None, typer.Option(help="From: farstage token node NAME")] = None,
    supervised_by: Supervised = 0,
) -> None:
    """Run a render node: draws and encodes views.

    SIGTERM has its views moved to other nodes, for at most node.drain_s seconds (default 10), and then ends it;
    SIGUSR1 calls that off, a second SIGTERM or Ctrl-C ends it at once.
    """
    named = {
        "id": name,
        "region": region,
        "port": port,
        "renderer": renderer,
        "scene_dirs": scenes,
        "broker_url": broker_url,
        "token": token,
    }
    config = _load(file, overrides, {f"node.{key}": value for key, value in named.items()})
    _serve("node", config, supervised_by)


@app.command()
def token(
    kind: Annotated[str, typer.Argument(help="node, edge, operator, join, or publish")],
    name: Annotated[str, typer.Argument(help="Who it is for: the node's or edge's id, an operator, a visitor.")],
    file: ConfigFile = None,
    overrides: Overrides = None,
    room: Annotated[str, typer.Option(help="join, publish: the room.")] = "",
    role: Annotated[Role, typer.Option(help="join: what the person may do.")] = Role.VISITOR,
    ttl_s: Annotated[float, typer.Option(min=1, max=MAX_TTL_S, help="Seconds it is good for.")] = 86_400.0,
    broker_url: BrokerUrl = DEFAULT_BROKER,
    as_json: AsJson = False,
) -> None:
    """Make a token. Node, edge and operator tokens need broker.secret; the others broker.api_key and the broker.

    A publish token is for an encoder such as OBS: give it the WHIP address and the token as bearer.

    In a folder where `farstage up` has run, both are those of that farm unless you give your own.
    """
    config = _with_local_secrets(_load(file, overrides))
    audiences = {"node": AUDIENCE_NODE, "edge": AUDIENCE_EDGE, "operator": AUDIENCE_OPERATOR}
    if kind in ("join", "publish"):
        request = TokenRequest(identity=name, display_name=name, role=role, ttl_s=ttl_s, publish=kind == "publish")
        grant = asyncio.run(_room_token(config, broker_url, room, request))
        print_json(grant) if as_json else _print_grant(grant, request)
        return
    if kind not in audiences:
        fail(f"there is no {kind!r} token; kinds are node, edge, operator, join, publish", 2)
    if not re.fullmatch(IDENTIFIER_PATTERN, name):
        fail(f"{name!r} is no name: 1 to 64 letters, digits, '_', '.', '-', beginning with a letter or digit", 2)
    try:
        made = TokenAuthority(config.broker.secret.encode()).mint(audiences[kind], name, ttl_s, time.time())
    except ValueError as error:
        fail(f"broker.secret: {error}", 2)
    print_json({"token": made}) if as_json else sys.stdout.write(made + "\n")


def _with_local_secrets(config: Config) -> Config:
    from farstage.farm import known_secrets

    known = known_secrets(DEFAULT_STATE_DIR)
    if known is None:
        return config
    secret, api_key = config.broker.secret or known.secret, config.broker.api_key or known.api_key
    return msgspec.structs.replace(
        config, broker=msgspec.structs.replace(config.broker, secret=secret, api_key=api_key)
    )


def _print_grant(grant: Any, request: TokenRequest) -> None:
    console.print(grant.link, soft_wrap=True)
    if request.publish:
        console.print(grant.token, soft_wrap=True)


async def _room_token(config: Config, url: str, room: str, request: TokenRequest) -> Any:
    if not room:
        fail("a token for a room needs --room", 2)
    try:
        async with BrokerClient(url, config.broker.api_key) as client:
            return await client.mint_token(room, request)
    except (Refused, OSError, TimeoutError) as error:
        fail(str(error) or type(error).__name__)


@app.command()
def doctor(file: ConfigFile = None, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Say what this machine can do, and what to install for the rest. Exit code 1 if something needed is missing."""
    from farstage.doctor import Verdict, examine

    findings = examine(_load(file, overrides))
    healthy = all(finding.verdict is not Verdict.MISSING for finding in findings)
    if as_json:
        print_json({"healthy": healthy, "findings": findings})
    else:
        marks = {Verdict.OK: "[green]✓", Verdict.OPTIONAL: "[yellow]–", Verdict.MISSING: "[red]✗"}
        table = Table(show_header=False, box=None, padding=(0, 1))
        for finding in findings:
            remedy = f"\n[dim]{finding.remedy}[/]" if finding.remedy else ""
            table.add_row(marks[finding.verdict], f"[bold]{finding.subject}", finding.detail + remedy)
        console.print(table)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def watch(
    room: Annotated[str, typer.Option(help="The room to join.")] = "demo",
    seconds: Annotated[float, typer.Option(min=1, max=86_400)] = 10.0,
    broker_url: BrokerUrl = DEFAULT_BROKER,
    join_token: Annotated[str, typer.Option("--token", help="Join token, if the room is not open.")] = "",
    fps: Annotated[int, typer.Option(min=1, max=120)] = 30,
    as_json: AsJson = False,
) -> None:
    """Join a room without a screen: decode its video, read the barcode, send input, report what was seen."""
    from client_demo.headless.viewer import Reception
    from client_demo.headless.watch import WatchSettings
    from client_demo.headless.watch import watch as look

    settings = WatchSettings(broker_url, room, seconds, join_token, max_fps=fps)

    def run(show: Any) -> Any:
        try:
            return asyncio.run(look(settings, show))
        except Refused as error:
            fail(str(error))
        except TimeoutError:
            fail(f"{broker_url}: no answer, or no picture, within the deadline")
        except (OSError, ValueError) as error:
            fail(f"{broker_url}: {error}")

    def end(report: Any) -> None:
        if report.ended is not None:
            fail(f"the session was over after {report.seconds:.1f} s: {report.ended.value}")

    if as_json:
        report = run(lambda _: None)
        print_json(report)
        end(report)
        return
    with errors.status("joining") as status:

        def show(seen: Reception) -> None:
            status.update(f"{seen.frames} frames, {seen.frames_lost} lost, {seen.crc_failures} unreadable")

        report = run(show)
    print_figures(f"Room {room}", msgspec.to_builtins(report))
    end(report)


@bench_app.command()
def latency(
    seconds: Annotated[float, typer.Option(min=2, max=600)] = 15.0,
    width: Annotated[int, typer.Option(min=160, max=3840)] = 1280,
    height: Annotated[int, typer.Option(min=160, max=2160)] = 720,
    fps: Annotated[int, typer.Option(min=1, max=120)] = 60,
    renderer: Annotated[str, typer.Option(help="cpu or wgpu.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Input at the edge to the first packet that shows it, and to photon in a headless viewer."""
    from farstage.bench.latency import LatencySettings, measure

    settings = LatencySettings(seconds, width, height, fps, renderer)
    _bench("Latency", measure(settings, _progress), as_json=as_json)


Engine = Annotated[str, typer.Option(help="native or aiortc.")]


@bench_app.command()
def fanout(
    viewers: Annotated[int, typer.Option(min=1, max=20_000)] = 1000,
    kbps: Annotated[int, typer.Option(min=100, max=50_000)] = 2500,
    seconds: Annotated[float, typer.Option(min=1, max=600)] = 10.0,
    engine: Engine = "native",
    cores: Annotated[int, typer.Option(min=0, max=64, help="What the server may use; 0: all.")] = 0,
    as_json: AsJson = False,
) -> None:
    """One stream to many viewers: CPU a packet, against a bare loop of encryption and sends in the same run."""
    from farstage.bench.fanout import FanoutSettings, measure

    settings = FanoutSettings(viewers, kbps, seconds, engine, cores=cores)
    _bench("Fan-out", measure(settings, _progress), as_json=as_json)


@bench_app.command()
def join(
    viewers: Annotated[int, typer.Option(min=1, max=20_000)] = 1000,
    kbps: Annotated[int, typer.Option(min=100, max=50_000)] = 2500,
    engine: Engine = "native",
    cores: Annotated[int, typer.Option(min=0, max=64, help="What the server may use; 0: all.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Everybody joins at once: how soon all are connected and see a picture, and the server's CPU for each."""
    from farstage.bench.join import JoinSettings, measure

    _bench("Joining", measure(JoinSettings(viewers, kbps, engine, cores), _progress), as_json=as_json)


@bench_app.command()
def cascade(
    edges: Annotated[int, typer.Option(min=1, max=64)] = 4,
    seconds: Annotated[float, typer.Option(min=1, max=600)] = 10.0,
    fan_out: Annotated[int, typer.Option(min=0, max=64, help="Edges that an edge feeds; 0: a chain up to four.")] = 0,
    kills: Annotated[int, typer.Option(min=0, max=100, help="How often an edge in the middle is killed.")] = 10,
    as_json: AsJson = False,
) -> None:
    """A stream through edges that feed one another: what a hop adds, and how long the loss of an edge is seen."""
    from farstage.bench.cascade import CascadeSettings, measure

    logs.configure(LogConfig(level="warning"), "bench")
    _bench("Cascade", measure(CascadeSettings(edges, seconds, fan_out, kills), _progress), as_json=as_json)


@bench_app.command()
def placement(
    nodes: Annotated[int, typer.Option(min=16, max=100_000)] = 10_000,
    clients: Annotated[int, typer.Option(min=16, max=200_000)] = 20_000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    as_json: AsJson = False,
) -> None:
    """Where everybody is put: decisions a second, and how good they are against the exact optimum and others' rules."""
    from farstage.bench.placement import PlacementSettings, measure

    _bench("Placement", measure(PlacementSettings(nodes, clients, seed), _progress), as_json=as_json)


@bench_app.command()
def failover(
    sessions: Annotated[int, typer.Option(min=1, max=20_000)] = 1000,
    kills: Annotated[int, typer.Option(min=1, max=1000, help="How often the node with all sessions is killed.")] = 5,
    store_url: Annotated[str, typer.Option("--store", help="memory: or redis://HOST:PORT/DB")] = "memory:",
    as_json: AsJson = False,
) -> None:
    """A node is killed under all sessions: until it is known, until all are placed again, until pictures are back."""
    from farstage.bench.failover import FailoverSettings, measure

    logs.configure(LogConfig(level="warning"), "bench")
    _bench("Failover", measure(FailoverSettings(sessions, kills, store_url), _progress), as_json=as_json)


@bench_app.command()
def move(
    viewers: Annotated[int, typer.Option(min=1, max=1000)] = 6,
    rounds: Annotated[int, typer.Option(min=1, max=10_000, help="How often a node is drained and called back.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Views go from node to node by plan under their viewers: pictures lost or frozen, and how long a move takes."""
    from farstage.bench.move import MoveSettings, measure

    logs.configure(LogConfig(level="warning"), "bench")
    _bench("Planned moves", measure(MoveSettings(viewers, rounds), _progress), as_json=as_json)


@bench_app.command()
def claims(
    seconds: Annotated[float, typer.Option(min=0.5, max=600)] = 5.0,
    workers: Annotated[int, typer.Option(min=1, max=10_000, help="Claims under way at the same time.")] = 32,
    brokers: Annotated[int, typer.Option(min=1, max=64, help="Stores they are spread over, one a broker.")] = 2,
    store_url: Annotated[str, typer.Option("--store", help="redis://HOST:PORT/DB; default: one of its own.")] = "",
    as_json: AsJson = False,
) -> None:
    """Fenced claims a second from a real Redis, how long each takes, and whether any place is given twice."""
    from farstage.bench.claims import ClaimsSettings, measure

    _bench("Claims", measure(ClaimsSettings(seconds, workers, brokers, store_url), _progress), as_json=as_json)


@bench_app.command()
def telemetry(
    clients: Annotated[int, typer.Option(min=1, max=100_000, help="All of them report once a second.")] = 20_000,
    seconds: Annotated[float, typer.Option(min=1, max=600, help="Of a span without reports, and of one with.")] = 15.0,
    as_json: AsJson = False,
) -> None:
    """What it costs the broker to hear of each client once a second: the share of a core."""
    from farstage.bench.telemetry import TelemetrySettings, measure

    logs.configure(LogConfig(level="warning"), "bench")
    _bench("Telemetry", measure(TelemetrySettings(clients, seconds), _progress), as_json=as_json)


def _progress(line: str) -> None:
    errors.print(f"[dim]· {line}[/]")


def _bench(title: str, measuring: Coroutine[Any, Any, msgspec.Struct], *, as_json: bool) -> None:
    from client_demo.headless.load.process import LoadError
    from farstage.bench.server_process import ServerFailed
    from farstage.farm import FarmError

    try:
        report = asyncio.run(measuring)
    except (ConfigError, FarmError, LoadError, Refused, ServerFailed) as error:
        fail(str(error))
    if as_json:
        print_json(report)
    else:
        print_figures(title, msgspec.to_builtins(report))


def main() -> None:
    """Entry point of the `farstage` script."""
    app()
