"""Charts of the pathways page as inline SVG: bars, named points, a map of decisions, and the lesion study's curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines.charts import Line, line_chart, spread
from pipelines.svg import Axis, drawing, make_axis, mark, put_text, put_title, short_number, shorten, tag, tick_text

MAX_TICKS = 18  # labels under bars or columns; more would touch


def bar_chart(
    title: str, x_label: str, y_label: str, bars: Sequence[tuple[str, float]], *, alt: str, color: int = 0,
    percent: bool = False, width: float = 440.0, height: float = 240.0,
) -> Markup:  # fmt: skip
    """One bar for each (name, value) from zero upwards; of many names only some are written."""
    y_axis = make_axis([0.0, *(value for _, value in bars)], height - 44, 34, ticks=4, percent=percent)
    left, right = 52.0, width - 12
    slot = (right - left) / len(bars)
    parts = [put_title(title, width), *_rows(y_axis, y_label, left, right)]
    every = -(-len(bars) // MAX_TICKS)
    for index, (name, value) in enumerate(bars):
        x, y = left + slot * (index + 0.5), y_axis.at(value)
        said = tag("title", f"{name}: {short_number(value)}")
        thick = min(0.8 * slot, 34.0)
        box = {"x": x - thick / 2, "y": y, "width": thick, "height": max(0.0, y_axis.at(0.0) - y)}
        parts.append(tag("rect", said, **box, class_=f"mark c{color}"))
        if index % every == 0:
            parts.append(put_text(x, height - 28, name, "tick", "middle"))
    parts.append(put_text((left + right) / 2, height - 8, x_label, "label", "middle"))
    return drawing(width, height, alt, *parts)


@dataclass(frozen=True)
class Named:
    """A point that is named beside the chart."""

    x: float
    y: float
    label: str
    color: int
    shape: str = "dot"


def named_points(
    title: str, x_label: str, y_label: str, points: Sequence[Named], *, alt: str,
    path: Sequence[tuple[float, float]] = (), width: float = 440.0, height: float = 270.0,
) -> Markup:  # fmt: skip
    """Points, each with a thin line to its name at the right; `path` is drawn as a faint curve behind them."""
    right = width - 16 - 7.0 * max(len(point.label) for point in points)
    y_axis = make_axis([*(point.y for point in points), *(y for _, y in path)], height - 44, 34, ticks=5, percent=True)
    x_axis = make_axis([*(point.x for point in points), *(x for x, _ in path)], 58, right - 14, ticks=5)
    parts = [put_title(title, width), *_rows(y_axis, y_label, x_axis.start - 6, x_axis.end + 6)]
    for value in x_axis.ticks:
        parts.append(put_text(x_axis.at(value), y_axis.start + 16, tick_text(value, x_axis), "tick", "middle"))
    parts.append(put_text((x_axis.start + x_axis.end) / 2, height - 8, x_label, "label", "middle"))
    if path:
        corners = " ".join(f"{short_number(x_axis.at(x))},{short_number(y_axis.at(y))}" for x, y in path)
        parts.append(tag("polyline", points=corners, class_="curve faint"))
    ends = [(y_axis.at(point.y), Line(str(index), [], [], 0)) for index, point in enumerate(points)]
    for label_y, line in spread(ends, gap=14, low=38, high=height - 40):
        point = points[int(line.label)]
        x, y = x_axis.at(point.x), y_axis.at(point.y)
        parts.append(tag("line", x1=x + 6, y1=y, x2=right, y2=label_y, class_="grid"))
        parts.append(put_text(right + 4, label_y + 4, point.label, f"end c{point.color}", "start"))
    for point in points:
        said = f"{point.label}: {short_number(point.y)} at {short_number(point.x)}"
        parts.append(mark(point.shape, x_axis.at(point.x), y_axis.at(point.y), 4.5, f"mark c{point.color}", said))
    return drawing(width, height, alt, *parts)


def share_map(
    title: str, x_label: str, rows: Sequence[tuple[str, Sequence[float]]], *, alt: str, width: float = 860.0
) -> Markup:
    """A cell for each (row, column) of shares from 0 to 1: the darker, the larger."""
    columns = len(rows[0][1])
    gutter = 24 + 7.0 * min(26, max(len(name) for name, _ in rows))
    cell = min(40.0, (width - gutter - 12) / columns)
    deep, top = 17.0, 30.0
    height = top + deep * len(rows) + 44
    parts = [put_title(title, width)]
    for row, (name, shares) in enumerate(rows):
        y = top + deep * row
        parts.append(put_text(gutter - 8, y + 12.5, shorten(name, 26), "name", "end", full=name))
        for column, share in enumerate(shares):
            said = tag("title", f"{name}, block {column + 1}: {100 * share:.0f} %")
            box = {"x": gutter + cell * column, "y": y, "width": max(1.0, cell - 1), "height": deep - 1}
            paint = f"fill:var(--heat);fill-opacity:{0.06 + 0.94 * share:.2f}"
            parts.append(tag("rect", said, **box, style=paint))
    every = -(-columns // MAX_TICKS)
    for column in range(0, columns, every):
        x = gutter + cell * (column + 0.5)
        parts.append(put_text(x, height - 28, str(column + 1), "tick", "middle"))
    parts.append(put_text(gutter + cell * columns / 2, height - 8, x_label, "label", "middle"))
    return drawing(width, height, alt, *parts)


def lesion_charts(content: dict[str, Any]) -> Iterable[Markup]:
    """The curves of a lesion.json: single blocks, random sets, sequences, shuffled order."""
    studies = {"ResNet": content["resnet"]["studies"], "plain net": content["plain"]["studies"]}
    intervals = [content[kind].get("ci95") for kind in ("resnet", "plain")]  # older studies have none
    chance = 100 / content["classes"]
    for key, title, x_label in (
        ("single", "One block deleted", "block"),
        ("random_sets", "Random blocks deleted", "blocks deleted"),
        ("sequences", "Neighbouring blocks deleted", "blocks deleted"),
        ("shuffles", "Order of blocks shuffled", "swaps of two blocks within a stage"),
    ):
        lines = []
        for color, (label, found) in enumerate(studies.items()):
            if not all(study[key] for study in found):
                continue  # no two blocks of a stage can be swapped
            full = float(np.mean([study["full"] for study in found]))
            if key == "single":
                ys = [float(value) for value in np.mean([study[key] for study in found], axis=0)]
                xs = [float(index + 1) for index in range(len(ys))]
            else:
                means = np.mean([[row["mean"] for row in study[key]] for study in found], axis=0)
                name = "swaps" if key == "shuffles" else "removed"
                xs = [0.0, *(float(row[name]) for row in found[0][key])]
                ys = [full, *(float(value) for value in means)]
            lines.append(Line(label, xs, ys, color))
            if (found_ci95 := intervals[color]) is not None:
                bounds = found_ci95[key] if key == "single" else [*found_ci95["full"], *found_ci95[key]]
                lines += [Line(f"{label}, 95 % interval", xs, ends, None) for ends in zip(*bounds, strict=True)]
        if lines:
            ends = [min(lines[0].xs), max(lines[0].xs)]
            lines.append(Line("chance", ends, [chance, chance], 7))
            alt = f"{title}: test accuracy of {', '.join(line.label for line in lines)}"
            yield line_chart(title, x_label, "test accuracy, %", lines, alt=alt, percent=True)


def _rows(axis: Axis, label: str, left: float, right: float) -> list[Markup]:
    """Grid lines with their numbers and the label of the vertical axis."""
    parts = []
    for value in axis.ticks:
        y = axis.at(value)
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(put_text(left - 6, y + 4, tick_text(value, axis), "tick", "end"))
    middle = (axis.start + axis.end) / 2
    turned = f"rotate(-90 12 {short_number(middle)})"
    return [*parts, tag("text", label, x=12.0, y=middle, class_="label", text_anchor="middle", transform=turned)]
