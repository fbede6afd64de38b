"""Plots for reports: figures of plain SVG in a page of its own, nothing loaded from elsewhere."""

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 640, 260
LEFT, RIGHT, TOP, BOTTOM = 68, 16, 20, 42
COLOURS = ("#0b6bcb", "#c2410c", "#15803d", "#7c3aed", "#b45309", "#0f766e", "#be185d", "#4b5563")
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1340px; margin: 2rem auto; padding: 0 1rem; color: #1f2937; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
table { border-collapse: collapse; } td, th { padding: .15rem 1rem .15rem 0; border-bottom: 1px solid #e5e7eb; }
th { text-align: right; font-weight: 600; color: #6b7280; } th:first-child { text-align: left; }
td + td { font-variant-numeric: tabular-nums; text-align: right; }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 1.5rem; } figure { margin: 0; width: 640px; max-width: 100%; }
figcaption { font-weight: 600; } figure svg { max-width: 100%; height: auto; }
.legend { font-weight: 400; font-size: .8rem; color: #6b7280; }
.legend span { margin-left: .8rem; white-space: nowrap; }
.legend i { display: inline-block; width: .8rem; height: .2rem; margin-right: .3rem; vertical-align: middle; }
.tiles { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0; }
.tiles div { border: 1px solid #e5e7eb; border-radius: .5rem; padding: .5rem .9rem; min-width: 8rem; }
.tiles b { display: block; font-size: 1.25rem; font-variant-numeric: tabular-nums; } .tiles small { color: #6b7280; }
.warning { color: #b45309; } .failure { color: #b91c1c; } .note { color: #6b7280; }
svg text { font-size: 11px; fill: #6b7280; }
@media (prefers-color-scheme: dark) {
  body { background: #111827; color: #e5e7eb; } td, th, .tiles div { border-color: #374151; }
}
"""
Point = tuple[float, float]


class Curve(NamedTuple):
    """A line of a plot; `name` stands in the legend where there are several."""

    name: str
    points: Sequence[Point]


class Mark(NamedTuple):
    """Something that happened at `x`: a vertical line with a word."""

    x: float
    text: str


class Axis(NamedTuple):
    """What is shown along one side. `low`, `high`: from where to where at least; `None`: as the values are."""

    label: str
    low: float | None = 0.0
    high: float | None = None


class _Scale:
    """Ticks of an axis and where a value lies between its ends, from 0 to 1."""

    def __init__(self, axis: Axis, values: Sequence[float]) -> None:
        low = min(values, default=0.0) if axis.low is None else axis.low
        high = (max(values, default=1.0) or 1.0) if axis.high is None else axis.high
        self.ticks = ticks(low, high)

    def share(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return min(1.0, max(0.0, (value - low) / (high - low)))


def line_plot(title: str, curves: Sequence[Curve], across: Axis, up: Axis, marks: Sequence[Mark] = ()) -> str:
    """A figure with one line for each curve."""
    x = _Scale(across, [point[0] for curve in curves for point in curve.points])
    y = _Scale(up, [point[1] for curve in curves for point in curve.points])
    drawn = [
        f'<polyline fill="none" stroke="{colour(at)}" stroke-width="2" stroke-linejoin="round" points="'
        + " ".join(f"{_across(x.share(point[0])):.1f},{_up(y.share(point[1])):.1f}" for point in curve.points)
        + '"/>'
        for at, curve in enumerate(curves)
    ]
    grid = [*_grid(x, y), *_labels(across, up), *(_mark(x.share(mark.x), mark.text) for mark in marks)]
    return _figure(title, [*grid, *drawn], [curve.name for curve in curves])


def bar_plot(title: str, groups: Sequence[Curve], across: Axis, up: Axis) -> str:
    """A figure with bars side by side; the points of all groups stand at the same, evenly spaced places."""
    x = _Scale(across, [point[0] for group in groups for point in group.points])
    y = _Scale(up, [point[1] for group in groups for point in group.points])
    places = max((len(group.points) for group in groups), default=1)
    width = (WIDTH - LEFT - RIGHT) / places * 0.8 / max(1, len(groups))
    bars = [
        f'<rect x="{_across(x.share(point[0])) + at * width + 1:.1f}" y="{_up(y.share(point[1])):.1f}" '
        f'width="{width:.1f}" height="{_up(0.0) - _up(y.share(point[1])):.1f}" fill="{colour(at)}"/>'
        for at, group in enumerate(groups)
        for point in group.points
    ]
    return _figure(title, [*_grid(x, y), *_labels(across, up), *bars], [group.name for group in groups])


def page(title: str, body: str) -> str:
    """A whole document; `body` is HTML, `title` is text."""
    safe = html.escape(title)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{safe}</title><style>{STYLE}</style><h1>{safe}</h1>{body}</html>\n"
    )


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """A table of texts, the first column to the left."""
    top = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{f'<tr>{top}</tr>' if head else ''}{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers from at most `low` to at least `high`."""
    span = max(high - low, 1e-3)
    decade = 10.0 ** math.floor(math.log10(span / 5))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor * 5 >= span * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * at, 9) for at in range(first, max(last, first + 1) + 1)]


def colour(at: int) -> str:
    """Of the curve at this place."""
    return COLOURS[at % len(COLOURS)]


def _figure(title: str, drawn: Sequence[str], names: Sequence[str]) -> str:
    legend = "".join(
        f'<span><i style="background:{colour(at)}"></i>{html.escape(name)}</span>' for at, name in enumerate(names)
    )
    shown = f'<span class="legend">{legend}</span>' if len(names) > 1 else ""
    safe = html.escape(title)
    return (
        f'<figure><figcaption>{safe}{shown}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="{safe}">{"".join(drawn)}</svg></figure>'
    )


def _across(share: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * share


def _up(share: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _grid(x: _Scale, y: _Scale) -> list[str]:
    lines = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_up(y.share(value)):.1f}" y2="{_up(y.share(value)):.1f}" '
        f'stroke="#9ca3af" stroke-opacity=".35"/>'
        f'<text x="{LEFT - 6}" y="{_up(y.share(value)) + 4:.1f}" text-anchor="end">{value:,g}</text>'
        for value in y.ticks
    ]
    return lines + [
        f'<text x="{_across(x.share(value)):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{value:,g}</text>'
        for value in x.ticks
    ]


def _labels(across: Axis, up: Axis) -> list[str]:
    centre, middle = (LEFT + WIDTH - RIGHT) / 2, (TOP + HEIGHT - BOTTOM) / 2
    return [
        f'<text x="{centre}" y="{HEIGHT - 8}" text-anchor="middle">{html.escape(across.label)}</text>',
        f'<text x="12" y="{middle}" text-anchor="middle" transform="rotate(-90 12 {middle})">'
        f"{html.escape(up.label)}</text>",
    ]


def _mark(share: float, text: str) -> str:
    x = _across(share)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke="#b91c1c" stroke-opacity=".5" '
        f'stroke-dasharray="3 3"/><text x="{x:.1f}" y="{TOP - 6}" text-anchor="middle">{html.escape(text)}</text>'
    )
