"""Plots hold what is drawn within round numbers, and nobody's text becomes markup."""

import itertools
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_demo.headless.plots import Axis, Curve, Mark, bar_plot, line_plot, page, table, ticks

NUMBERS = st.floats(-1e6, 1e6)


@given(low=NUMBERS, span=st.floats(0.0, 1e6))
def test_ticks_are_few_evenly_spaced_and_hold_all(low: float, span: float) -> None:
    found = ticks(low, low + span)
    assert 2 <= len(found) <= 8
    step = found[1] - found[0]
    assert found[0] <= low + step * 1e-3
    assert found[-1] >= low + span - step * 1e-3
    assert [b - a for a, b in itertools.pairwise(found)] == pytest.approx([step] * (len(found) - 1))


@given(st.lists(st.lists(st.tuples(NUMBERS, NUMBERS), max_size=5), max_size=3))
def test_every_point_lies_within_the_picture(curves: list[list[tuple[float, float]]]) -> None:
    drawn = line_plot("Any", [Curve("c", points) for points in curves], Axis("s", None), Axis("ms", None))
    svg = ElementTree.fromstring(drawn).find("svg")
    for line in svg.iter("polyline"):
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= 640
            assert 0 <= y <= 260


def test_text_is_text_wherever_it_stands() -> None:
    evil = "<script>&"
    parts = [
        line_plot(evil, [Curve(evil, [(0.0, 1.0)]), Curve(evil, [])], Axis(evil), Axis(evil), [Mark(0.5, evil)]),
        bar_plot(evil, [Curve(evil, [(0.0, 1.0)])], Axis(evil), Axis(evil)),
        table([[evil]], [evil]),
    ]
    assert "<script>" not in page(evil, "".join(parts))


def test_bars_are_as_high_as_their_values() -> None:
    drawn = bar_plot("Bars", [Curve("b", [(0.0, 10.0), (5.0, 20.0)])], Axis("x"), Axis("y", high=20.0))
    heights = [float(bar.attrib["height"]) for bar in ElementTree.fromstring(drawn).iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], rel=0.01)
