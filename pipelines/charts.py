"""Charts of the report as inline SVG: numbers in, markup out.

Colours are CSS variables of the page (`--c0` … `--c7`, `--ink`, `--muted`, `--line`), so that one drawing
serves light, dark and print. Every chart has a title, axis labels with units and an alternative text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pipelines.svg import Axis, drawing, make_axis, mark, put_text, put_title, short_number, shorten, tag, tick_text

COLORS = 8
DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Dot:
    """A value with its interval; `color` and `shape` say which method it is."""

    label: str
    value: float
    ci95: tuple[float, float] | None
    color: int
    shape: str
    strong: bool = False


def dot_chart(
    title: str, unit: str, groups: Sequence[tuple[str, Sequence[Dot]]], *, width: float, alt: str,
    quantity: str = "score",
) -> Markup:  # fmt: skip
    """Dots with intervals, one group of rows per task; below 500 px the task's name stands above its rows."""
    narrow = width < 500
    longest = min(24, max(len(name) for name, _ in groups))
    gutter = 14.0 if narrow else 24 + 7.4 * longest
    row, header, gap, top = 17.0, 20.0 if narrow else 0.0, 12.0, 62.0
    values = [bound for _, dots in groups for dot in dots for bound in (dot.value, *(dot.ci95 or ()))]
    axis = make_axis(values, gutter + 10, width - 22, ticks=4 if narrow else 7, percent=unit == "%")
    height = top + sum(len(dots) * row + header + gap for _, dots in groups) + 46
    parts = [put_title(title, width), *_legend(groups, 30, width)]
    bottom = height - 40
    for value in axis.ticks:
        parts.append(tag("line", x1=axis.at(value), x2=axis.at(value), y1=top - 6, y2=bottom, class_="grid"))
        parts.append(put_text(axis.at(value), bottom + 15, tick_text(value, axis), "tick", "middle"))
    parts.append(put_text((axis.start + axis.end) / 2, height - 6, f"{quantity} ({unit})", "label", "middle"))
    y = top
    for index, (name, dots) in enumerate(groups):
        if index:
            parts.append(tag("line", x1=4.0, x2=width - 4, y1=y - gap / 2, y2=y - gap / 2, class_="rule"))
        place = (axis.start - 10, y + 13) if narrow else (gutter - 4, y + len(dots) * row / 2 + 4)
        parts.append(
            put_text(*place, shorten(name, 44 if narrow else 24), "name", "start" if narrow else "end", full=name)
        )
        y += header
        for dot in dots:
            middle = y + row / 2
            said = f"{name}, {dot.label}: {short_number(dot.value)} {unit}"
            if dot.ci95 is not None:
                low, high = (axis.at(bound) for bound in dot.ci95)
                said += f", 95 % interval {short_number(dot.ci95[0])} to {short_number(dot.ci95[1])}"
                parts.append(tag("line", x1=low, x2=high, y1=middle, y2=middle, class_=f"whisker c{dot.color}"))
            size = 5.5 if dot.strong else 4.2
            parts.append(mark(dot.shape, axis.at(dot.value), middle, size, f"mark c{dot.color}", said))
            y += row
        y += gap
    return drawing(width, height, alt, *parts)


@dataclass(frozen=True)
class Line:
    """A curve over epochs; None is a gap. Lines without a colour are drawn thin and unlabelled."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float | None]
    color: int | None


def line_chart(
    title: str, x_label: str, y_label: str, lines: Sequence[Line], *, alt: str, percent: bool = False,
    width: float = 440.0, height: float = 270.0,
) -> Markup:  # fmt: skip
    """Curves with their names at their right ends."""
    labelled = [line for line in lines if line.color is not None]
    right = 16 + min(14, max((len(line.label) for line in labelled), default=0)) * 7.4
    xs = [x for line in lines for x, y in zip(line.xs, line.ys, strict=True) if y is not None]
    ys = [y for line in lines for y in line.ys if y is not None]
    y_axis = make_axis(ys, height - 44, 34, percent=percent)
    x_axis = make_axis(xs, 52, width - right, whole=True)
    x_axis = Axis(min(xs), max(max(xs), min(xs) + 1), x_axis.start, x_axis.end, x_axis.ticks) if xs else x_axis
    parts = [put_title(title, width), *_frame(x_axis, y_axis, x_label, y_label, width, height)]
    ends: list[tuple[float, Line]] = []
    for line in sorted(lines, key=lambda line: line.color is not None):
        class_ = "curve faint" if line.color is None else f"curve c{line.color}"
        dash = None if line.color is None else DASHES[line.color % len(DASHES)] or None
        shown = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if y is not None]
        for run in _runs(line):
            points = " ".join(f"{short_number(x_axis.at(x))},{short_number(y_axis.at(y))}" for x, y in run)
            said = tag("title", f"{line.label}: {short_number(shown[-1][1])} at the end")
            parts.append(tag("polyline", said, points=points, class_=class_, stroke_dasharray=dash))
        if shown and line.color is not None:
            x, y = shown[-1]
            parts.append(mark("dot", x_axis.at(x), y_axis.at(y), 2.6, f"mark c{line.color}"))
            ends.append((y_axis.at(y), line))
    for y, line in spread(ends, gap=13, low=38, high=height - 40):
        parts.append(
            put_text(width - right + 8, y + 4, shorten(line.label, 14), f"end c{line.color}", "start", full=line.label)
        )
    return drawing(width, height, alt, *parts)


@dataclass(frozen=True)
class Point:
    """One evaluation of a setting on a task."""

    x: float
    y: float
    label: str
    color: int
    shape: str
    ringed: bool = False


def point_chart(
    title: str,
    x_label: str,
    y_label: str,
    points: Sequence[Point],
    *,
    alt: str,
    width: float = 310.0,
    height: float = 220.0,
) -> Markup:
    """Points in the order in which they came with the best so far as a line; the chosen one is ringed."""
    y_axis = make_axis([point.y for point in points], height - 56, 46, ticks=4, percent=True)
    x_axis = make_axis([point.x for point in points], 68, width - 28, whole=True)
    low, high = min(point.x for point in points), max(point.x for point in points)
    x_axis = Axis(low, max(high, low + 1), x_axis.start, x_axis.end, tuple(t for t in x_axis.ticks if low <= t <= high))
    named = len(points) <= 6
    parts = [put_title(title, width), *_frame(x_axis, y_axis, x_label, y_label, width, height)]
    corners, best = [], -math.inf
    for point in points:
        if best > -math.inf:
            corners.append((point.x, best))
        best = max(best, point.y)
        corners.append((point.x, best))
    path = " ".join(f"{short_number(x_axis.at(x))},{short_number(y_axis.at(y))}" for x, y in corners)
    parts.append(tag("polyline", points=path, class_="curve faint"))
    for point in points:
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        if point.ringed:
            parts.append(tag("circle", cx=x, cy=y, r=9.0, class_="ring"))
            parts.append(put_text(min(max(x, 84), width - 40), y - 14, "chosen", "chosen", "middle"))
        said = f"{point.label}: {short_number(point.y)}"
        parts.append(mark(point.shape, x, y, 4.5, f"mark c{point.color}", said))
        if named:
            parts.append(put_text(x, height - 26, shorten(point.label, 10), "tick", "middle", full=point.label))
    return drawing(width, height, alt, *parts)


def bar_chart(
    title: str, unit: str, bars: Sequence[tuple[str, int]], *, alt: str, width: float = 250.0
) -> Markup:  # fmt: skip
    """Counts as bars, one row for each value or range; `unit` says what is counted."""
    row, top = 16.0, 26.0
    gutter = 12 + 6.2 * min(18, max(len(label) for label, _ in bars))
    most = max(1, *(count for _, count in bars))
    room = width - gutter - 14 - 7 * len(str(most))
    height = top + row * len(bars) + 22
    parts = [put_title(title, width)]
    for index, (label, count) in enumerate(bars):
        y, length = top + row * index, room * count / most
        parts.append(put_text(gutter - 6, y + 11, shorten(label, 18), "tick", "end", full=label))
        parts.append(tag("rect", x=gutter, y=y + 2, width=length, height=11.0, class_="bar c0"))
        parts.append(put_text(gutter + length + 4, y + 11, str(count), "tick", "start"))
    parts.append(put_text(4, height - 6, unit, "label", "start"))
    return drawing(width, height, alt, *parts)


def spread(ends: Sequence[tuple[float, Line]], *, gap: float, low: float, high: float) -> list[tuple[float, Line]]:
    """Move labels apart to at least `gap`, keeping their order, inside low to high where they fit."""
    placed: list[tuple[float, Line]] = []
    for y, line in sorted(ends, key=lambda end: end[0]):
        placed.append((max(y, placed[-1][0] + gap) if placed else max(y, low), line))
    limit = high
    for index in range(len(placed) - 1, -1, -1):
        y = min(placed[index][0], limit)
        placed[index] = (y, placed[index][1])
        limit = y - gap
    return placed


def _runs(line: Line) -> list[list[tuple[float, float]]]:
    """The stretches of a line between its gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(line.xs, line.ys, strict=True):
        if y is None:
            runs.append([])
        else:
            runs[-1].append((x, y))
    return [run for run in runs if run]


def _frame(x_axis: Axis, y_axis: Axis, x_label: str, y_label: str, width: float, height: float) -> list[Markup]:
    parts = []
    for value in y_axis.ticks:
        y = y_axis.at(value)
        parts.append(tag("line", x1=x_axis.start - 8, x2=x_axis.end + 8, y1=y, y2=y, class_="grid"))
        parts.append(put_text(x_axis.start - 12, y + 4, tick_text(value, y_axis), "tick", "end"))
    for value in x_axis.ticks:
        if x_axis.low <= value <= x_axis.high:
            parts.append(put_text(x_axis.at(value), y_axis.start + 16, tick_text(value, x_axis), "tick", "middle"))
    parts.append(put_text((x_axis.start + x_axis.end) / 2, height - 8, x_label, "label", "middle"))
    middle = (y_axis.start + y_axis.end) / 2
    turned = f"rotate(-90 12 {short_number(middle)})"
    parts.append(tag("text", y_label, x=12.0, y=middle, class_="label", text_anchor="middle", transform=turned))
    return parts


def _legend(groups: Sequence[tuple[str, Sequence[Dot]]], y: float, width: float) -> list[Markup]:
    """Marks and names of all methods in one row, or two where they do not fit."""
    kinds = {dot.label: dot for _, dots in groups for dot in dots}
    parts, x = [], 12.0
    for label, dot in kinds.items():
        needed = 20 + 6.6 * len(label) + 14
        if x + needed > width and x > 12:
            x, y = 12.0, y + 16
        parts += [
            mark(dot.shape, x + 5, y, 4.2, f"mark c{dot.color}"),
            put_text(x + 15, y + 4, label, "key", "start"),
        ]
        x += needed
    return parts
