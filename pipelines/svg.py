"""SVG for the charts: escaped elements, marks, text and axes.

Text and attributes are escaped by `tag`, the only place that makes markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


def tag(name: str, *children: Markup | str, **attributes: object) -> Markup:
    """One SVG element; `class_` and `stroke_width` become class and stroke-width, None is left out."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    shown = ((key, short_number(value) if isinstance(value, float) else value) for key, value in pairs)
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
        points = " ".join(f"{short_number(x + r * dx)},{short_number(y + r * dy)}" for dx, dy in corners)
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
        viewBox=f"0 0 {short_number(width)} {short_number(height)}",
        style=f"max-width:{round(width * 1.25)}px",
    )


def put_title(text: str, width: float) -> Markup:
    return put_text(4, 15, shorten(text, int(width / 7)), "title", "start", full=text)


def put_text(x: float, y: float, text: str, class_: str, anchor: str, *, full: str = "") -> Markup:
    inside = [tag("title", full)] if full and full != text else []
    return tag("text", *inside, text, x=float(x), y=float(y), class_=class_, text_anchor=anchor)


def shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def _round_step(step: float) -> float:
    """The next larger 1, 2, 2.5 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= step * (1 - 1e-9))


def tick_text(value: float, axis: Axis) -> str:
    step = (axis.high - axis.low) / max(1, len(axis.ticks) - 1)
    digits = max(
        0,
        -math.floor(math.log10(step) + 1e-9) + (1 if round(step / 10 ** math.floor(math.log10(step)), 6) == 2.5 else 0),
    )
    text = f"{value:.3g}" if abs(value) >= 1e6 or digits > 5 else f"{value:.{digits}f}"
    return text.replace("-", "\u2212")


def short_number(value: float) -> str:
    """At most two decimals, no trailing zeros: smaller files."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if abs(value) < 1e6 else f"{value:.4g}"
