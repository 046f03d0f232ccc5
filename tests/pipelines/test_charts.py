"""The report's charts: what is drawn, where labels go."""

from __future__ import annotations

import itertools
import xml.dom.minidom

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.charts import Dot, Line, Point, bar_chart, dot_chart, line_chart, point_chart, spread


@pytest.mark.parametrize("width", [380.0, 760.0])
def test_every_dot_has_its_interval_and_a_tooltip(width: float) -> None:
    dots = [Dot("chosen", 70.0, (66.0, 74.0), 0, "dot", strong=True), Dot("random", 60.0, None, 1, "square")]
    chart = xml.dom.minidom.parseString(str(dot_chart("T", "%", [("a task", dots)], width=width, alt="said")))
    lines = [line.getAttribute("class") for line in chart.getElementsByTagName("line")]
    assert lines.count("whisker c0") == 1 and lines.count("whisker c1") == 0
    tips = [title.firstChild.nodeValue for title in chart.getElementsByTagName("title")]
    assert tips == ["a task, chosen: 70 %, 95 % interval 66 to 74", "a task, random: 60 %"]


def test_bars_are_as_long_as_their_counts_and_say_them() -> None:
    bars = [("0 to 1", 40), ("a name that is far too long for its place", 10), ("none", 0)]
    chart = xml.dom.minidom.parseString(str(bar_chart("height (m)", "images", bars, alt="said")))
    lengths = [float(bar.getAttribute("width")) for bar in chart.getElementsByTagName("rect")]
    assert len(lengths) == 3 and lengths[1] == pytest.approx(lengths[0] / 4, abs=0.1) and lengths[2] == 0
    texts = [text.lastChild.nodeValue for text in chart.getElementsByTagName("text")]
    assert texts == ["height (m)", "0 to 1", "40", "a name that is fa…", "10", "none", "0", "images"]
    assert chart.getElementsByTagName("title")[0].firstChild.nodeValue == bars[1][0]
    assert chart.documentElement.getAttribute("aria-label") == "said"


def test_a_gap_breaks_a_line_and_an_uncoloured_line_has_no_label() -> None:
    lines = [Line("kept", [1, 2, 3, 4, 5], [1, 2, None, 4, 5], 0), Line("faint", [1, 2], [3, 3], None)]
    chart = xml.dom.minidom.parseString(str(line_chart("T", "x", "y", lines, alt="said")))
    assert len(chart.getElementsByTagName("polyline")) == 3
    ends = [text for text in chart.getElementsByTagName("text") if text.getAttribute("class").startswith("end")]
    assert [text.firstChild.nodeValue for text in ends] == ["kept"]


def test_the_best_so_far_never_falls() -> None:
    points = [Point(i, y, f"s{i}", 1, "square", ringed=i == 2) for i, y in enumerate([50.0, 70.0, 60.0, 80.0])]
    chart = xml.dom.minidom.parseString(str(point_chart("T", "x", "y", points, alt="said")))
    corners = chart.getElementsByTagName("polyline")[0].getAttribute("points").split()
    heights = [float(corner.split(",")[1]) for corner in corners]
    assert len(heights) == 7 and heights == sorted(heights, reverse=True)  # SVG's y grows downwards
    assert [c.getAttribute("class") for c in chart.getElementsByTagName("circle")] == ["ring"]


@given(st.lists(st.floats(0, 100), min_size=1, max_size=7))
def test_labels_are_moved_apart_in_their_order(heights: list[float]) -> None:
    ends = [(y, Line(str(index), [], [], 0)) for index, y in enumerate(heights)]
    placed = [y for y, _ in spread(ends, gap=13, low=0, high=100)]
    assert len(placed) == len(heights)
    assert all(b - a >= 13 - 1e-9 for a, b in itertools.pairwise(placed))
    assert max(placed) <= 100 + 1e-9
    assert [line.label for _, line in spread(ends, gap=13, low=0, high=100)] == [
        line.label for _, line in sorted(ends, key=lambda end: end[0])
    ]
