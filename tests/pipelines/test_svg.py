"""Escaping and axes of the charts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.svg import make_axis, mark, tag

finite = st.floats(-1e30, 1e30, allow_nan=False)


@given(st.lists(finite, min_size=1, max_size=8), st.booleans(), st.booleans())
def test_an_axis_holds_its_values_between_its_ends(values: list[float], percent: bool, whole: bool) -> None:
    axis = make_axis(values, 10, 210, percent=percent, whole=whole)
    assert 2 <= len(axis.ticks) <= 13
    assert axis.low < axis.high
    assert all(9.9 <= axis.at(value) <= 210.1 for value in values)


def test_percentages_stay_within_0_and_100() -> None:
    axis = make_axis([1.0, 99.5], 0, 100, percent=True)
    assert (axis.low, axis.high) == (0, 100)


def test_equal_values_and_no_values_still_have_an_axis() -> None:
    assert make_axis([5.0, 5.0], 0, 1).low < 5 < make_axis([5.0, 5.0], 0, 1).high
    assert len(make_axis([], 0, 1).ticks) >= 2


def test_text_and_attributes_are_escaped() -> None:
    assert tag("text", "<b>&", class_='"x') == '<text class="&#34;x">&lt;b&gt;&amp;</text>'
    assert "&lt;script&gt;" in mark("dot", 1, 2, 3, "mark", "<script>")
