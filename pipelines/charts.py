"""Charts of the report as inline SVG: numbers in, markup out.

Colours are CSS variables of the page (`--c0` … `--c7`, `--ink`, `--muted`, `--line`), so that one drawing
serves light, dark and print. Every chart has a title, axis labels with units and an alternative text. Text
is escaped by `tag`, the only place that makes markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

COLORS = 8
DASHES = ("", "6 3", "2 3", "8 3 2 3")
SHAPES = ("dot", "square", "diamond", "ring", "triangle")


def tag(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One SVG element; `class_` and `stroke_width` become class and stroke-width, None is left out."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    shown = ((key, _short(value) if isinstance(value, float) else value) for key, value in pairs)
    inside = Markup("").join(Markup(' {}="{}"').format(key, value) for key, value in shown)
    return Markup("<{0}{1}>{2}</{0}>").format(name, inside, Markup("").join(children))


def mark(shape: str, x: float, y: float, r: float, class_: str, tooltip: str = "") -> Markup:
    """A data mark; shapes differ so that colour is never the only difference."""
    inside = [tag("title", tooltip)] if tooltip else []
    if shape == "square":
        return tag("rect", *inside, x=x - r, y=y - r, width=2 * r, height=2 * r, class_=class_)
    if shape in ("diamond", "triangle"):
        corners = (
            ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)) if shape == "diamond" else ((0, -1.3), (1.25, 1), (-1.25, 1))
        )
        points = " ".join(f"{_short(x + r * dx)},{_short(y + r * dy)}" for dx, dy in corners)
        return tag("polygon", *inside, points=points, class_=class_)
    return tag("circle", *inside, cx=x, cy=y, r=r, class_=f"{class_} hollow" if shape == "ring" else class_)


def glyph(shape: str, color: int) -> Markup:
    """A mark for a legend in the text."""
    return tag(
        "svg",
        mark(shape, 7, 7, 4.5, f"mark c{color}"),
        class_="glyph",
        viewBox="0 0 14 14",
        aria_hidden="true",
    )


@dataclass(frozen=True)
class Axis:
    """A linear axis: `low` to `high` of the data at pixel `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def at(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def make_axis(
    values: Sequence[float],
    start: float,
    end: float,
    *,
    ticks: int = 5,
    percent: bool = False,
    whole: bool = False,
) -> Axis:
    """An axis that holds all values between round numbers; percentages stay within 0 to 100."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        padding = max(abs(low) * 0.05, 1.0 if whole else 0.05)
        low, high = low - padding, high + padding
    step = _round_step((high - low) / ticks)
    if whole:
        step = max(1.0, math.ceil(step))
    first, last = math.floor(low / step), math.ceil(high / step)
    if percent and min(values, default=0.0) >= 0 and max(values, default=100.0) <= 100:
        first, last = max(first, 0), min(last, math.ceil(100 / step))
    shown = tuple(index * step for index in range(first, last + 1))
    return Axis(first * step, last * step, start, end, shown)


def drawing(width: float, height: float, alt: str, *children: Markup) -> Markup:
    return tag(
        "svg",
        *children,
        class_="chart",
        role="img",
        aria_label=alt,
        viewBox=f"0 0 {_short(width)} {_short(height)}",
        style=f"max-width:{round(width * 1.25)}px",
    )


@dataclass(frozen=True)
class Dot:
    """A value with its interval; `color` and `shape` say which method it is."""

    label: str
    value: float
    ci95: tuple[float, float] | None
    color: int
    shape: str
    strong: bool = False


def dot_chart(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Dot]]], *, width: float, alt: str) -> Markup:
    """Dots with intervals, one group of rows per task; below 500 px the task's name stands above its rows."""
    narrow = width < 500
    longest = min(24, max(len(name) for name, _ in groups))
    gutter = 14.0 if narrow else 24 + 7.4 * longest
    row, header, gap, top = 17.0, 20.0 if narrow else 0.0, 12.0, 62.0
    values = [bound for _, dots in groups for dot in dots for bound in (dot.value, *(dot.ci95 or ()))]
    axis = make_axis(values, gutter + 10, width - 22, ticks=4 if narrow else 7, percent=unit == "%")
    height = top + sum(len(dots) * row + header + gap for _, dots in groups) + 46
    parts = [_title(title, width), *_legend(groups, 30, width)]
    bottom = height - 40
    for value in axis.ticks:
        parts.append(tag("line", x1=axis.at(value), x2=axis.at(value), y1=top - 6, y2=bottom, class_="grid"))
        parts.append(_text(axis.at(value), bottom + 15, _tick(value, axis), "tick", "middle"))
    parts.append(_text((axis.start + axis.end) / 2, height - 6, f"score ({unit})", "label", "middle"))
    y = top
    for index, (name, dots) in enumerate(groups):
        if index:
            parts.append(tag("line", x1=4.0, x2=width - 4, y1=y - gap / 2, y2=y - gap / 2, class_="rule"))
        place = (axis.start - 10, y + 13) if narrow else (gutter - 4, y + len(dots) * row / 2 + 4)
        parts.append(_text(*place, _cut(name, 44 if narrow else 24), "name", "start" if narrow else "end", full=name))
        y += header
        for dot in dots:
            middle = y + row / 2
            said = f"{name}, {dot.label}: {_short(dot.value)} {unit}"
            if dot.ci95 is not None:
                low, high = (axis.at(bound) for bound in dot.ci95)
                said += f", 95 % interval {_short(dot.ci95[0])} to {_short(dot.ci95[1])}"
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
    parts = [_title(title, width), *_frame(x_axis, y_axis, x_label, y_label, width, height)]
    ends: list[tuple[float, Line]] = []
    for line in sorted(lines, key=lambda line: line.color is not None):
        class_ = "curve faint" if line.color is None else f"curve c{line.color}"
        dash = None if line.color is None else DASHES[line.color % len(DASHES)] or None
        shown = [(x, y) for x, y in zip(line.xs, line.ys, strict=True) if y is not None]
        for run in _runs(line):
            points = " ".join(f"{_short(x_axis.at(x))},{_short(y_axis.at(y))}" for x, y in run)
            said = tag("title", f"{line.label}: {_short(shown[-1][1])} at the end")
            parts.append(tag("polyline", said, points=points, class_=class_, stroke_dasharray=dash))
        if shown and line.color is not None:
            x, y = shown[-1]
            parts.append(mark("dot", x_axis.at(x), y_axis.at(y), 2.6, f"mark c{line.color}"))
            ends.append((y_axis.at(y), line))
    for y, line in spread(ends, gap=13, low=38, high=height - 40):
        parts.append(
            _text(width - right + 8, y + 4, _cut(line.label, 14), f"end c{line.color}", "start", full=line.label)
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
    parts = [_title(title, width), *_frame(x_axis, y_axis, x_label, y_label, width, height)]
    corners, best = [], -math.inf
    for point in points:
        if best > -math.inf:
            corners.append((point.x, best))
        best = max(best, point.y)
        corners.append((point.x, best))
    path = " ".join(f"{_short(x_axis.at(x))},{_short(y_axis.at(y))}" for x, y in corners)
    parts.append(tag("polyline", points=path, class_="curve faint"))
    for point in points:
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        if point.ringed:
            parts.append(tag("circle", cx=x, cy=y, r=9.0, class_="ring"))
            parts.append(_text(min(max(x, 84), width - 40), y - 14, "chosen", "chosen", "middle"))
        said = f"{point.label}: {_short(point.y)}"
        parts.append(mark(point.shape, x, y, 4.5, f"mark c{point.color}", said))
        if named:
            parts.append(_text(x, height - 26, _cut(point.label, 10), "tick", "middle", full=point.label))
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
        parts.append(_text(x_axis.start - 12, y + 4, _tick(value, y_axis), "tick", "end"))
    for value in x_axis.ticks:
        if x_axis.low <= value <= x_axis.high:
            parts.append(_text(x_axis.at(value), y_axis.start + 16, _tick(value, x_axis), "tick", "middle"))
    parts.append(_text((x_axis.start + x_axis.end) / 2, height - 8, x_label, "label", "middle"))
    middle = (y_axis.start + y_axis.end) / 2
    turned = f"rotate(-90 12 {_short(middle)})"
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
            _text(x + 15, y + 4, label, "key", "start"),
        ]
        x += needed
    return parts


def _title(text: str, width: float) -> Markup:
    return _text(4, 15, _cut(text, int(width / 7)), "title", "start", full=text)


def _text(x: float, y: float, text: str, class_: str, anchor: str, *, full: str = "") -> Markup:
    inside = [tag("title", full)] if full and full != text else []
    return tag("text", *inside, text, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _round_step(step: float) -> float:
    """The next larger 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def _tick(value: float, axis: Axis) -> str:
    step = (axis.high - axis.low) / max(1, len(axis.ticks) - 1)
    digits = max(
        0,
        -math.floor(math.log10(step) + 1e-9) + (1 if round(step / 10 ** math.floor(math.log10(step)), 6) == 2.5 else 0),
    )
    text = f"{value:.3g}" if abs(value) >= 1e6 or digits > 5 else f"{value:.{digits}f}"
    return text.replace("-", "\u2212")


def _short(value: float) -> str:
    """At most two decimals, no trailing zeros: smaller files."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1e6 else f"{value:.4g}"
