"""The report as one HTML file: figures and plots drawn as SVG, nothing loaded from elsewhere."""

import html
import itertools
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from client_demo.headless.load.report import LoadReport, Second

WIDTH, HEIGHT, MARGIN = 640, 220, 48
COLOURS = ("#0b6bcb", "#c2410c")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1340px; margin: 2rem auto; padding: 0 1rem; color: #1f2937; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
table { border-collapse: collapse; } td { padding: .15rem 1rem .15rem 0; border-bottom: 1px solid #e5e7eb; }
td + td { font-variant-numeric: tabular-nums; text-align: right; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; } figcaption { font-weight: 600; }
.warning { color: #b45309; } .failure { color: #b91c1c; }
svg text { font-size: 11px; fill: #6b7280; }
@media (prefers-color-scheme: dark) { body { background: #111827; color: #e5e7eb; } td { border-color: #374151; } }
"""
TITLES = {
    "join_ms": "Offer to DTLS connected, ms",
    "first_picture_ms": "DTLS connected to first picture, ms",
    "capture_to_arrival_ms": "Capture to arrival, ms",
    "picture_interval_ms": "Between two pictures, ms",
}
Point = tuple[float, float]


def write_html(report: LoadReport, file: Path) -> None:
    """Write the report to `file`."""
    file.write_text(page(report), encoding="utf-8")


def page(report: LoadReport) -> str:
    """The report as HTML."""
    timeline = report.timeline
    plots = [
        _plot("Viewers connected", [[(second.at_s, second.connected) for second in timeline]], "s"),
        _plot("Received, Mbit/s", [_rates(timeline)], "s"),
        _plot("CPU, % (blue: server, orange: generator)", _loads(timeline), "s"),
        *(
            _plot(TITLES[name], [_cumulative(points)], "ms", 100.0)
            for name, points in report.histograms.items()
            if points
        ),
    ]
    figures: dict[str, Any] = msgspec.to_builtins(report)
    for name in ("timeline", "histograms", "warnings", "failures"):
        del figures[name]
    notes = [f'<p class="failure">{count} × {html.escape(reason)}</p>' for reason, count in report.failures.items()]
    notes += [f'<p class="warning">{html.escape(warning)}</p>' for warning in report.warnings]
    title = f"Load on {html.escape(report.whep)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"<h1>{title}</h1>{''.join(notes)}"
        f'<div class="plots">{"".join(plots)}</div><h2>Figures</h2><table>{"".join(_rows(figures))}</table></html>\n'
    )


def _rows(figures: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{name}.")
        else:
            shown = "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
            yield f"<tr><td>{html.escape(prefix + name)}</td><td>{html.escape(shown)}</td></tr>"


def _rates(timeline: list[Second]) -> list[Point]:
    """Mbit/s from second to second, without the one in which the counters began anew."""
    return [
        (now.at_s, (now.octets - before.octets) * 8e-6 / max(now.at_s - before.at_s, 0.1))
        for before, now in itertools.pairwise(timeline)
        if now.octets >= before.octets
    ]


def _loads(timeline: list[Second]) -> list[list[Point]]:
    server, generator = [], []
    for before, now in itertools.pairwise(timeline):
        elapsed = max(now.at_s - before.at_s, 0.1)
        generator.append((now.at_s, 100.0 * (now.generator_cpu_s - before.generator_cpu_s) / elapsed))
        if now.server_cpu_s is not None and before.server_cpu_s is not None:
            server.append((now.at_s, 100.0 * (now.server_cpu_s - before.server_cpu_s) / elapsed))
    return [server, generator]


def _cumulative(points: list[tuple[float, int]]) -> list[Point]:
    """Share of the values up to each one, in percent."""
    total, seen, curve = sum(count for _, count in points), 0, [(0.0, 0.0)]
    for value, count in points:
        seen += count
        curve.append((value, 100.0 * seen / total))
    return curve


def _plot(title: str, curves: list[list[Point]], unit: str, top: float | None = None) -> str:
    points = [point for curve in curves for point in curve]
    across = _ticks(max((x for x, _ in points), default=1.0))
    up = _ticks(top or max((y for _, y in points), default=1.0))

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            MARGIN + (WIDTH - 2 * MARGIN) * x / across[-1],
            HEIGHT - MARGIN / 2 - (HEIGHT - MARGIN) * min(y / up[-1], 1.0),
        )

    lines = [
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
        + " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in curve)
        + '"/>'
        for colour, curve in zip(COLOURS, curves, strict=False)
    ]
    grid = [_line(place(0.0, y)[1], f"{y:,g}") for y in up]
    grid += [_label(place(x, 0.0)[0], f"{x:,g} {unit}") for x in across]
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{html.escape(title)}">{"".join(grid + lines)}</svg></figure>'
    )


def _ticks(largest: float) -> list[float]:
    """Three to six round numbers from zero to at least `largest`."""
    largest = max(largest, 1e-3)
    decade = 10.0 ** math.floor(math.log10(largest / 5))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor * 5 >= largest)
    return [round(step * index, 9) for index in range(math.ceil(largest / step) + 1)]


def _line(y: float, text: str) -> str:
    return (
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{y:.1f}" y2="{y:.1f}" stroke="#9ca3af" stroke-opacity=".35"/>'
        f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>'
    )


def _label(x: float, text: str) -> str:
    return f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="middle">{text}</text>'
