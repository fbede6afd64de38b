"""The report as one HTML file: figures and plots; several runs of a scenario side by side."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from client_demo.headless import plots
from client_demo.headless.plots import Axis, Curve, Mark
from farstage.simulation.distribution import Summary
from farstage.simulation.report import SimulationReport
from farstage.simulation.sampling import Sample
from farstage.simulation.tables import comparable_rows, counts, percent

TIME = Axis("virtual time, s")
BAR_POINTS = 5
"""Points of quality that one bar stands for."""
LONGEST_SHOWN = 0.995
"""Curves of round trips end where so many people are within them."""


def write_html(reports: Sequence[SimulationReport], file: Path) -> None:
    """Write the reports of one scenario to `file`."""
    file.write_text(page(reports), encoding="utf-8")


def page(reports: Sequence[SimulationReport]) -> str:
    """The reports as HTML."""
    first = reports[0]
    parts = [_introduction(first), "".join(_tiles(report, alone=len(reports) == 1) for report in reports)]
    parts.append(f'<div class="plots">{"".join(_plots(reports))}</div>')
    rows = [[row[0][0], *(value for _, value in row)] for row in zip(*map(comparable_rows, reports), strict=True)]
    parts.append("<h2>Figures</h2>" + plots.table(rows, ["", *(report.policy for report in reports)]))
    for report in reports:
        name = "" if len(reports) == 1 else f" · {html.escape(report.policy)}"
        parts += [f"<h2>{html.escape(title)}{name}</h2>{body}" for title, body in _tables(report) if body]
    return plots.page(first.scenario, "".join(parts))


def _introduction(report: SimulationReport) -> str:
    world = report.world
    facts = [
        f"{world.people:,} people",
        f"{world.nodes:,} nodes with {world.units:,.0f} units",
        f"{world.edges:,} edges",
        f"{world.sites} sites",
        f"{report.duration_s:,.0f} s of virtual time",
        f"seed {report.seed}",
        f"people are {world.inside_network_ms:.1f} ms from the nearest edge of their own network and "
        f"{world.between_networks_ms:.1f} ms from one of another, on average",
    ]
    return f'<p class="note">{" · ".join(facts)}</p>'


def _tiles(report: SimulationReport, *, alone: bool) -> str:
    """The figures that matter most."""
    found = report.violations
    tiles = [
        ("policy", report.policy),
        ("mean quality of 100", f"{report.quality.mean:.1f}"),
        ("below good", percent(report.quality.below_good_share)),
        ("round trip p50, ms", f"{report.latency.rtt_ms.p50:.1f}"),
        ("wait p95, s", f"{report.joins.wait_s.p95:.2f}"),
        ("turned away", f"{report.joins.turned_away:,}"),
        ("views moved", f"{sum(report.moves.by_reason.values()):,}"),
        ("sessions lost", f"{sum(found.sessions_lost.values()):,}"),
        ("cost of a viewer's hour", f"{report.cost.cost_per_viewer_hour:.4f}"),
        ("Wh of a viewer's hour", f"{report.cost.energy_wh_per_viewer_hour:.1f}"),
    ]
    boxes = (f"<div><b>{html.escape(value)}</b><small>{html.escape(name)}</small></div>" for name, value in tiles)
    return f'<div class="tiles">{"".join(boxes)}</div>'


def _plots(reports: Sequence[SimulationReport]) -> list[str]:
    return [
        _over_time(reports, "People online", "people", lambda sample: sample.online),
        _over_time(reports, "People without a picture", "people", lambda sample: sample.without_picture),
        _over_time(reports, "Quality, mean", "of 100 points", lambda sample: sample.mean_quality, low=None),
        _over_time(reports, "Less than good quality", "% of people", lambda sample: 100.0 * sample.below_good_share),
        _over_time(reports, "Round trip from client to node, mean", "ms", lambda sample: sample.mean_rtt_ms),
        _over_time(reports, "Units in use", "% of living nodes'", lambda sample: 100.0 * sample.units_used_share),
        _over_time(reports, "Power, with the data centres' overhead", "kW", lambda sample: sample.power_kw),
        _over_time(reports, "Views moved so far", "views", lambda sample: sample.moves),
        _over_time(reports, "Refusals so far", "refusals", lambda sample: sample.refusals),
        _qualities(reports),
        *(_round_trips(report, alone=len(reports) == 1) for report in reports),
    ]


def _over_time(
    reports: Sequence[SimulationReport],
    title: str,
    unit: str,
    value: Callable[[Sample], float],
    low: float | None = 0.0,
) -> str:
    curves = [Curve(report.policy, [(sample.at_s, value(sample)) for sample in report.samples]) for report in reports]
    marks = [Mark(incident.at_s, incident.what) for incident in reports[0].incidents]
    return plots.line_plot(title, curves, TIME, Axis(unit, low), marks)


def _qualities(reports: Sequence[SimulationReport]) -> str:
    return plots.bar_plot(
        "Quality that people experience",
        [Curve(report.policy, _bars(report.quality.histogram)) for report in reports],
        Axis("points of 100", high=100.0),
        Axis("% of people and time"),
    )


def _bars(histogram: Sequence[int]) -> list[tuple[float, float]]:
    """Percent for each five points; what is perfect counts to the last."""
    total = max(1, sum(histogram))
    whole = [*histogram[:99], sum(histogram[99:])]
    return [(float(at), 100.0 * sum(whole[at : at + BAR_POINTS]) / total) for at in range(0, len(whole), BAR_POINTS)]


def _round_trips(report: SimulationReport, *, alone: bool) -> str:
    curves = [
        Curve(place, [(rtt_ms, 100.0 * share) for rtt_ms, share in points if share <= LONGEST_SHOWN])
        for place, points in report.latency.curves_ms.items()
    ]
    title = "Round trip from client to node, by where people are" + ("" if alone else f" · {report.policy}")
    return plots.line_plot(title, curves, Axis("ms"), Axis("% of people within", high=100.0))


def _tables(report: SimulationReport) -> list[tuple[str, str]]:
    return [
        ("Round trip from client to node, ms", _latencies(report)),
        ("Without a picture, s", _dark(report)),
        ("Incidents", _incidents(report)),
        ("Refusals and moves", plots.table(_counts(report))),
    ]


def _latencies(report: SimulationReport) -> str:
    latency = report.latency
    found = {"all": latency.rtt_ms, **latency.by_place_ms, **latency.by_line_ms}
    found |= {f"{name} networks": summary for name, summary in latency.by_network_ms.items()}
    rows = [[name, *_row(summary, 1)] for name, summary in found.items() if summary.count]
    return plots.table(rows, ["", "mean", "p50", "p95", "p99", "largest"])


def _row(found: Summary, digits: int) -> list[str]:
    return [f"{value:,.{digits}f}" for value in (found.mean, found.p50, found.p95, found.p99, found.largest)]


def _dark(report: SimulationReport) -> str:
    found = report.moves.without_picture_s
    rows = [[cause, f"{summary.count:,}", *_row(summary, 2)] for cause, summary in found.items()]
    return plots.table(rows, ["because of", "people", "mean", "p50", "p95", "p99", "longest"]) if rows else ""


def _incidents(report: SimulationReport) -> str:
    rows = [
        [
            f"{found.what} of {found.target}",
            f"{found.at_s:g}",
            "for good" if found.for_s is None else f"{found.for_s:g}",
            f"{found.lost_picture:,}",
            "–" if found.known_s is None else f"{found.known_s:.2f}",
            f"{found.sessions_lost:,}",
        ]
        for found in report.incidents
    ]
    head = ["", "at, s", "for, s", "people who lost their picture", "known after, s", "sessions lost"]
    return plots.table(rows, head) if rows else ""


def _counts(report: SimulationReport) -> list[tuple[str, str]]:
    return [("refusals", counts(report.joins.refusals)), ("views moved", counts(report.moves.by_reason))]
