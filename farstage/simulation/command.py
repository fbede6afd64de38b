"""`farstage simulate`: the command around a simulation."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from broker.core.policies import POLICIES
from farstage.output import console, errors, fail, print_json

if TYPE_CHECKING:
    from farstage.simulation.report import SimulationReport
    from farstage.simulation.sampling import Sample
    from farstage.simulation.scenario import Scenario

MAX_DURATION_S = 86_400.0


def simulate(
    scenario: Annotated[str, typer.Argument(help="One that ships with Farstage, or a TOML file.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Show the scenarios that ship with Farstage.")] = False,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all that is random; default: the scenario's.")] = None,
    duration: Annotated[
        float | None, typer.Option(min=1, max=MAX_DURATION_S, help="Virtual seconds; default: the scenario's.")
    ] = None,
    policy: Annotated[str | None, typer.Option(help=f"Of placement: {', '.join(POLICIES)}.")] = None,
    compare: Annotated[str, typer.Option(help="Policies side by side, with commas between; or all.")] = "",
    html: Annotated[Path | None, typer.Option(help="Write a report with plots here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Run the broker's core in virtual time: people, sites, failures and crowds, as a scenario has them."""
    if listed:
        _list(as_json)
        return
    if not scenario:
        fail("name a scenario or a TOML file; farstage simulate --list shows those that ship with Farstage", 2)
    from farstage.simulation.reading import ScenarioError, find

    policies = _policies(policy, compare)
    try:
        found = find(scenario)
    except ScenarioError as error:
        fail(str(error), 2)
    if duration is not None:
        found = msgspec.structs.replace(found, duration_s=duration)
    _require_writable(html)
    reports = [_run(found, seed, name, quiet=as_json) for name in policies]
    _show(reports, html, as_json=as_json)


def _policies(policy: str | None, compare: str) -> list[str | None]:
    """What to run with; `None` is the scenario's own."""
    names = list(POLICIES) if compare == "all" else [name.strip() for name in compare.split(",") if name.strip()]
    for name in [*names, *([policy] if policy else [])]:
        if name not in POLICIES:
            fail(f"there is no policy {name!r}; choose from {', '.join(POLICIES)}", 2)
    if names and policy:
        fail("give --policy or --compare, not both", 2)
    return list(names) or [policy]


def _require_writable(file: Path | None) -> None:
    """Say now what would be said after minutes otherwise."""
    try:
        if file is not None:
            file.open("a").close()
    except OSError as error:
        fail(f"{file}: {error.strerror}")


def _list(as_json: bool) -> None:
    from farstage.simulation.reading import shipped

    titles = {name: scenario.title for name, scenario in shipped().items()}
    if as_json:
        print_json(titles)
        return
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, title in titles.items():
        table.add_row(f"[bold]{name}", title)
    console.print(table)


def _run(scenario: "Scenario", seed: int | None, policy: str | None, *, quiet: bool) -> "SimulationReport":
    from farstage.simulation.run import Simulation

    try:
        if quiet:
            return Simulation(scenario, seed, policy).run()
        with _progress(scenario, policy or scenario.policy) as bar:
            return Simulation(scenario, seed, policy, progress=bar).run()
    except KeyboardInterrupt:
        fail("interrupted", 130)


class _Bar:
    """Shows how far virtual time has come."""

    def __init__(self, progress: Progress, title: str, total_s: float) -> None:
        self._progress = progress
        self._task = progress.add_task(title, total=total_s, seen="")

    def __call__(self, sample: "Sample") -> None:
        minutes, seconds = divmod(int(sample.at_s), 60)
        seen = f"{minutes}:{seconds:02} · {sample.online:,} online · quality {sample.mean_quality:.1f}"
        self._progress.update(self._task, completed=sample.at_s, seen=seen)


@contextmanager
def _progress(scenario: "Scenario", policy: str) -> Iterator[_Bar]:
    columns = (TextColumn("[bold]{task.description}"), BarColumn(), TextColumn("{task.fields[seen]}"))
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as progress:
        yield _Bar(progress, policy, scenario.duration_s)


def _show(reports: "list[SimulationReport]", html: Path | None, *, as_json: bool) -> None:
    from farstage.simulation.html import write_html
    from farstage.simulation.tables import print_comparison, print_report

    if html is not None:
        write_html(reports, html)
    if as_json:
        print_json(reports[0] if len(reports) == 1 else reports)
    elif len(reports) == 1:
        print_report(reports[0])
    else:
        print_comparison(reports)
