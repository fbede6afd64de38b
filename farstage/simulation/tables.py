"""The report as tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from farstage.output import console
from farstage.simulation.distribution import Summary
from farstage.simulation.report import IncidentFigures, SimulationReport

Row = tuple[str, str]
LABEL_CHARACTERS = 44
"""The same in all tables, so that they stand in one line, and leaves room for figures on a terminal of 80."""


def print_report(report: SimulationReport) -> None:
    """Everything of one run."""
    console.print(f"\n[bold]{report.scenario}[/]")
    world = report.world
    console.print(
        f"{world.people:,} people, {world.nodes:,} nodes with {world.units:,.0f} units, {world.edges:,} edges, "
        f"{world.sites} sites · {report.duration_s:,.0f} s of virtual time in {report.run.seconds:,.1f} s · "
        f"policy {report.policy}, seed {report.seed}\n",
        soft_wrap=True,
    )
    console.print(_figures("What people get", quality_rows(report) + join_rows(report)))
    console.print(_latencies(report))
    console.print(_figures("What it takes", cost_rows(report) + load_rows(report)))
    if report.moves.without_picture_s:
        console.print(_dark(report))
    if report.incidents:
        console.print(_incidents(report.incidents))
    console.print(_figures("What should not be", violation_rows(report)))


def print_comparison(reports: Sequence[SimulationReport]) -> None:
    """Several runs of one scenario side by side."""
    table = Table(title=reports[0].scenario, title_justify="left")
    table.add_column("")
    for report in reports:
        table.add_column(report.policy, justify="right")
    columns = [comparable_rows(report) for report in reports]
    for rows in zip(*columns, strict=True):
        table.add_row(rows[0][0], *(value for _, value in rows))
    console.print(table)


def comparable_rows(report: SimulationReport) -> list[Row]:
    """The figures that are worth comparing; every run has the same."""
    return [
        *quality_rows(report),
        ("round trip to the node, p50 · p95 · p99", _spread(report.latency.rtt_ms, "ms")),
        *join_rows(report),
        *cost_rows(report),
        *load_rows(report),
        *violation_rows(report),
    ]


# --- Rows -----------------------------------------------------------------------------------------------


def quality_rows(report: SimulationReport) -> list[Row]:
    """How good it is."""
    quality = report.quality
    return [
        ("quality of 100, mean · p50 · p5", f"{quality.mean:.1f} · {quality.p50:.1f} · {quality.p5:.1f}"),
        ("mean opinion score of 5", f"{quality.mean_opinion_score:.2f}"),
        ("below good (80)", percent(quality.below_good_share)),
        ("smaller pictures, as capacity is scarce", percent(quality.smaller_pictures_share)),
    ]


def join_rows(report: SimulationReport) -> list[Row]:
    """How people get in."""
    joins, moves = report.joins, report.moves
    return [
        ("came · placed · turned away", f"{joins.asked:,} · {joins.placed:,} · {joins.turned_away:,}"),
        ("wait for the first picture, p50 · p95 · p99", _spread(joins.wait_s, "s")),
        ("refusals", counts(joins.refusals)),
        ("views moved", counts(moves.by_reason)),
        ("lines changed · connections resumed", f"{moves.line_changes:,} · {moves.resumes:,}"),
    ]


def cost_rows(report: SimulationReport) -> list[Row]:
    """What it costs."""
    cost = report.cost
    return [
        ("cost, as the broker meters it", f"{cost.metered_cost:,.2f}"),
        ("units in use", f"{cost.metered_unit_hours:,.1f} unit-hours"),
        ("cost of a viewer's hour", f"{cost.cost_per_viewer_hour:.4f}"),
        ("energy of all nodes, idle ones too", f"{cost.energy_wh / 1_000.0:,.2f} kWh"),
        ("energy of a viewer's hour", f"{cost.energy_wh_per_viewer_hour:.1f} Wh"),
        ("carbon", f"{cost.carbon_g / 1_000.0:,.2f} kg"),
    ]


def load_rows(report: SimulationReport) -> list[Row]:
    """How full the nodes are."""
    load = report.load
    by_kind = [(f"load of {name}, mean · p95", _two(found)) for name, found in load.by_kind.items()]
    return [("units in use, mean over time", percent(load.units_used_share)), *by_kind]


def violation_rows(report: SimulationReport) -> list[Row]:
    """What went wrong."""
    found = report.violations
    return [
        ("nodes · edges over capacity", f"{found.nodes_over_capacity} · {found.edges_over_capacity}"),
        ("claims refused by the store", f"{found.claims_refused:,}"),
        ("views drawn twice", f"{found.views_drawn_twice_s:,.0f} s"),
        ("sessions lost", counts(found.sessions_lost)),
        (f"round trip over {found.latency_cap_ms:g} ms", percent(found.over_latency_cap_share)),
    ]


# --- Tables ---------------------------------------------------------------------------------------------


def _figures(title: str, rows: Sequence[Row]) -> Table:
    table = Table(title=title, show_header=False, title_justify="left", title_style="bold")
    table.add_column(no_wrap=True)
    table.add_column(justify="right")
    for label, value in rows:
        table.add_row(label.ljust(LABEL_CHARACTERS), value)
    return table


def _latencies(report: SimulationReport) -> Table:
    world, latency = report.world, report.latency
    table = Table(title="Round trip from client to node, ms", title_justify="left", title_style="bold")
    table.add_column("", min_width=28)
    for column in ("mean", "p50", "p95", "p99"):
        table.add_column(column, justify="right")
    groups = [("all", latency.rtt_ms)]
    for key, found in (("", latency.by_place_ms), ("", latency.by_line_ms), ("network: ", latency.by_network_ms)):
        groups += [(f"{key}{name}", summary) for name, summary in found.items() if summary.count]
    for name, summary in groups:
        table.add_row(name, *(f"{value:.1f}" for value in (summary.mean, summary.p50, summary.p95, summary.p99)))
    table.caption = (
        f"to the nearest edge: {world.inside_network_ms:.1f} ms inside networks, "
        f"{world.between_networks_ms:.1f} ms between"
    )
    return table


def _dark(report: SimulationReport) -> Table:
    table = Table(title="Without a picture, s", title_justify="left", title_style="bold")
    table.add_column("because of", min_width=28)
    for column in ("people", "p50", "p99", "longest"):
        table.add_column(column, justify="right")
    for cause, found in report.moves.without_picture_s.items():
        table.add_row(cause, f"{found.count:,}", f"{found.p50:.2f}", f"{found.p99:.2f}", f"{found.largest:.2f}")
    return table


def _incidents(incidents: Sequence[IncidentFigures]) -> Table:
    table = Table(title="Incidents", title_justify="left", title_style="bold")
    for column in (
        "what",
        "of",
        "at, s",
        "for, s",
        "machines",
        "lost their picture",
        "known after, s",
        "sessions lost",
    ):
        table.add_column(column, justify="left" if column in ("what", "of") else "right")
    for found in incidents:
        lasted = "for good" if found.for_s is None else f"{found.for_s:g}"
        known = "–" if found.known_s is None else f"{found.known_s:.2f}"
        counted = (f"{found.machines}", f"{found.lost_picture:,}", known, f"{found.sessions_lost:,}")
        table.add_row(found.what, found.target, f"{found.at_s:g}", lasted, *counted)
    return table


# --- Texts ----------------------------------------------------------------------------------------------


def percent(share: float) -> str:
    """A share for people."""
    return f"{100.0 * share:.1f} %"


def counts(found: dict[str, int]) -> str:
    """Counts by kind, the sum first."""
    if not found:
        return "0"
    parts = ", ".join(f"{name} {count:,}" for name, count in found.items())
    return f"{sum(found.values()):,} ({parts})"


def _spread(found: Summary, unit: str) -> str:
    digits = 1 if unit == "ms" else 2
    return " · ".join(f"{value:.{digits}f}" for value in (found.p50, found.p95, found.p99)) + f" {unit}"


def _two(found: Summary) -> str:
    return f"{percent(found.mean)} · {percent(found.p95)}"
