"""The report as one HTML file: figures and plots."""

import html
import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from client_demo.headless import plots
from client_demo.headless.load.report import LoadReport, Second
from client_demo.headless.plots import Axis, Curve, Point

TITLES = {
    "join_ms": "Offer to DTLS connected",
    "first_picture_ms": "DTLS connected to first picture",
    "capture_to_arrival_ms": "Capture to arrival",
    "picture_interval_ms": "Between two pictures",
}
TIME = Axis("s")


def write_html(report: LoadReport, file: Path) -> None:
    """Write the report to `file`."""
    file.write_text(page(report), encoding="utf-8")


def page(report: LoadReport) -> str:
    """The report as HTML."""
    timeline = report.timeline
    connected = Curve("", [(second.at_s, second.connected) for second in timeline])
    drawn = [
        plots.line_plot("Viewers connected", [connected], TIME, Axis("viewers")),
        plots.line_plot("Received", [Curve("", _rates(timeline))], TIME, Axis("Mbit/s")),
        plots.line_plot("CPU", _loads(timeline), TIME, Axis("% of a core")),
        *(
            plots.line_plot(TITLES[name], [Curve("", _cumulative(points))], Axis("ms"), Axis("% at most", high=100.0))
            for name, points in report.histograms.items()
            if points
        ),
    ]
    figures: dict[str, Any] = msgspec.to_builtins(report)
    for name in ("timeline", "histograms", "warnings", "failures"):
        del figures[name]
    notes = [f'<p class="failure">{count} × {html.escape(reason)}</p>' for reason, count in report.failures.items()]
    notes += [f'<p class="warning">{html.escape(warning)}</p>' for warning in report.warnings]
    return plots.page(
        f"Load on {report.whep}",
        f'{"".join(notes)}<div class="plots">{"".join(drawn)}</div><h2>Figures</h2>{plots.table(list(_rows(figures)))}',
    )


def _rows(figures: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            yield prefix + name, "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _rates(timeline: list[Second]) -> list[Point]:
    """Mbit/s from second to second, without the one in which the counters began anew."""
    return [
        (now.at_s, (now.octets - before.octets) * 8e-6 / max(now.at_s - before.at_s, 0.1))
        for before, now in itertools.pairwise(timeline)
        if now.octets >= before.octets
    ]


def _loads(timeline: list[Second]) -> list[Curve]:
    server, generator = [], []
    for before, now in itertools.pairwise(timeline):
        elapsed = max(now.at_s - before.at_s, 0.1)
        generator.append((now.at_s, 100.0 * (now.generator_cpu_s - before.generator_cpu_s) / elapsed))
        if now.server_cpu_s is not None and before.server_cpu_s is not None:
            server.append((now.at_s, 100.0 * (now.server_cpu_s - before.server_cpu_s) / elapsed))
    return [Curve("server", server), Curve("generator", generator)]


def _cumulative(points: list[tuple[float, int]]) -> list[Point]:
    """Share of the values up to each one, in percent."""
    total, seen, curve = sum(count for _, count in points), 0, [(0.0, 0.0)]
    for value, count in points:
        seen += count
        curve.append((value, 100.0 * seen / total))
    return curve
