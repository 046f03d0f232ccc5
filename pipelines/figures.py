"""Figures of the report: a `Summary` and its training logs in, charts with their alternative texts out."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipelines import charts, wording
from pipelines.census import BARS
from pipelines.summary import Setting, Summary, Task, Trial
from sim.histograms import NAMES
from sim.params import parameter_levels

STYLE = {  # colour and shape of every method in the dot chart
    "random weights": (7, "ring"),
    "random": (1, "square"),
    "all_off": (3, "triangle"),
    "all_on": (2, "diamond"),
    "best_fixed": (4, "square"),
    "chosen": (0, "dot"),
}
ORIGINS = {
    "all_off": (3, "triangle", "all off"),
    "all_on": (2, "diamond", "all on"),
    "uniform": (5, "ring", "drawn uniformly"),
    "asked": (1, "square", "asked for"),
}

QUANTITIES = {  # titles of the histograms of `sim.histograms`
    "rotation_x_deg": "rotation about x (degrees)",
    "rotation_y_deg": "rotation about y (degrees)",
    "rotation_z_deg": "rotation about z (degrees)",
    "camera_distance_m": "camera distance (m)",
    "light_strength": "sunlight (W/m²)",
    "light_red": "red of the light (0 to 1)",
    "light_green": "green of the light (0 to 1)",
    "light_blue": "blue of the light (0 to 1)",
    "light_elevation_deg": "height of the light (degrees)",
    "hdri": "environment (name)",
    "focus_distance_m": "focus distance (m)",
    "aperture_fstop": "aperture (f-number)",
    "material": "material (name)",
}
SIZE_BINS = 6


def score_chart(summary: Summary, width: float) -> Markup | None:
    """Scores with intervals, one group of dots per task; None where nothing was scored."""
    groups: list[tuple[str, list[charts.Dot]]] = []
    for task in summary.scored_tasks():
        dots = []
        for method in wording.method_names(summary):
            row = summary.score(task, method)
            if row is not None and row.score is not None:
                color, shape = STYLE.get(method, (5, "dot"))
                label = wording.METHODS.get(method, method)
                dots.append(charts.Dot(label, row.score, row.ci95, color, shape, strong=method == "chosen"))
        if dots:
            groups.append((task, dots))
    if not groups:
        return None
    said = [f"{task}: {', '.join(f'{dot.label} {wording.number(dot.value)}' for dot in dots)}" for task, dots in groups]
    alt = f"Chart of test scores in percent with 95 % intervals, larger is better. {'; '.join(said)}."
    return charts.dot_chart("Test score by task and method", "%", groups, width=width, alt=alt)


def reward_charts(summary: Summary) -> list[Markup]:
    """One chart per task: the reward of every trial in order of evaluation, the chosen setting ringed."""
    by_task: dict[str, list[Trial]] = {}
    for trial in sorted(summary.trials, key=lambda trial: trial.order):
        if trial.reward is not None:
            by_task.setdefault(trial.task, []).append(trial)
    drawn = []
    for task, trials in by_task.items():
        points = []
        for trial in trials:
            color, shape, _ = ORIGINS.get(trial.origin, (1, "square", ""))
            name = summary.setting_name(trial.setting)
            ringed = summary.chosen.get(task) == trial.setting
            points.append(charts.Point(trial.order + 1, trial.reward or 0.0, name, color, shape, ringed))
        listed = ", ".join(f"{point.label} {wording.number(point.y)}" for point in points[:40])
        alt = f"Reward in percent on {task} in order of evaluation: {listed}{' …' if len(points) > 40 else ''}."
        alt += "".join(f" Chosen: {point.label}." for point in [point for point in points if point.ringed][:1])
        drawn.append(charts.point_chart(task, "order of evaluation", "reward (%)", points, alt=alt))
    return drawn


def heat_map(summary: Summary) -> dict[str, Any] | None:
    """P(parameter is not at its first, "off" level) by task, each with all its levels in words."""
    if not summary.probabilities:
        return None
    known = parameter_levels()
    present = dict.fromkeys(name for row in summary.probabilities.values() for name in row)
    names = [name for name in known if name in present] + [name for name in present if name not in known]
    rows = []
    for task, row in summary.probabilities.items():
        cells: list[tuple[float, str] | None] = []
        for name in names:
            levels = {level: p for level, p in row.get(name, {}).items() if p is not None}
            off = known[name][0] if name in known else next(iter(levels), "")
            said = ", ".join(f"{level} {wording.number(100 * p, 0)} %" for level, p in levels.items())
            on = sum(p for level, p in levels.items() if level != off)
            cells.append((min(1.0, max(0.0, on)), said) if levels else None)
        rows.append((task, cells))
    return {"names": [name.replace("_", " ") for name in names], "rows": rows}


def histogram_charts(setting: Setting) -> list[Markup]:
    """What the images of a setting had, one chart for each quantity that its parameters spread."""
    drawn = []
    histograms = setting.data.histograms if setting.data else {}
    for quantity, bars in histograms.items():
        if not bars:
            continue
        title = QUANTITIES.get(quantity, quantity.replace("_", " "))
        unit = "parts of objects" if quantity == "material" else "images"
        if quantity in NAMES:
            shown, rest = bars[:BARS], bars[BARS:]
            unit += "".join(f"; {label} in {wording.count(count)}" for label, count in rest)
        else:
            shown = tuple((label.replace("-", "\u2212"), count) for label, count in bars)
        drawn.append(charts.bar_chart(title, unit, shown, alt=_bars_in_words(f"{title}, {setting.name}", unit, shown)))
    return drawn


def class_size_chart(task: Task) -> Markup | None:
    """How many classes of a task have how many training images; None where all have as many."""
    sizes = next((split.per_class for split in task.splits if split.name == "train"), ())
    if len(set(sizes)) < 2:
        return None
    bars = _size_bins(sizes)
    title, unit = f"{task.name}: class sizes", "classes by their training images"
    return charts.bar_chart(title, unit, bars, alt=_bars_in_words(title, unit, bars))


def _size_bins(sizes: Sequence[int]) -> list[tuple[str, int]]:
    """Numbers of classes by size, in at most SIZE_BINS ranges of whole numbers."""
    low, high = min(sizes), max(sizes)
    step = -(-(high - low + 1) // SIZE_BINS)
    counts = Counter((size - low) // step for size in sizes)
    ranges = [(start, min(start + step - 1, high)) for start in range(low, high + 1, step)]
    labels = [wording.count(a) if a == b else f"{wording.count(a)} to {wording.count(b)}" for a, b in ranges]
    return [(label, counts[index]) for index, label in enumerate(labels)]


def _bars_in_words(title: str, unit: str, bars: Sequence[tuple[str, int]]) -> str:
    return f"Histogram of {title}, in {unit}: {'; '.join(f'{label}: {count}' for label, count in bars)}."


def training_curves(summary: Summary, run_dir: Path) -> tuple[list[Markup], list[str]]:
    """Charts of loss and training accuracy, one line per setting; and what cannot be shown."""
    problems: list[str] = []
    logs: dict[str, list[dict[str, Any]]] = {}
    for setting in summary.settings:
        try:
            logs[setting.id] = read_metrics(run_dir, setting)
        except ValueError as error:
            problems.append(f"{setting.name}: {error}")
    if not logs:
        return [], problems
    colored = {
        setting.id: index for index, setting in enumerate(s for s in summary.important_settings() if s.id in logs)
    }
    names = {setting.id: setting.name for setting in summary.settings}
    drawn = []
    for key, title, unit, percent in (
        ("loss", "Training loss", "cross-entropy (nats)", False),
        ("accuracy", "Accuracy on the synthetic training images", "accuracy (%)", True),
    ):
        lines = []
        for name, log in logs.items():
            if all(row[key] is None for row in log):
                problems.append(f"{names[name]}: its log holds no {key}")
                continue
            color = colored[name] if colored[name] < charts.COLORS else None
            lines.append(charts.Line(names[name], [row["epoch"] for row in log], [row[key] for row in log], color))
        if not lines:
            continue
        last = [(line.label, next((y for y in reversed(line.ys) if y is not None), None)) for line in lines]
        listed = ", ".join(f"{label} {wording.number(y, 2)}" for label, y in last[:40] if y is not None)
        alt = f"{title} by epoch, one line per parameter setting. At the end: {listed}."
        drawn.append(charts.line_chart(title, "epochs", unit, lines, alt=alt, percent=percent))
    return drawn, problems


def read_metrics(run_dir: Path, setting: Setting) -> list[dict[str, Any]]:
    """Rows {epoch, loss, accuracy} of a training log (`pretrain.watch`), the last one of each epoch.

    Epochs are counted from 1 here and accuracies are percentages; the log counts from 0 and holds fractions, and
    its lines of kind "step" are passed over. A broken last line is what a killed training leaves; it is skipped.
    Raises ValueError (one line).
    """
    if setting.metrics is None:
        raise ValueError("no training log was recorded")
    path = run_dir / setting.metrics
    if not path.resolve().is_relative_to(run_dir.resolve()):
        raise ValueError(f"{setting.metrics} lies outside the run's directory and is not read")
    if not path.is_file():
        raise ValueError(f"{setting.metrics} is missing")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows: dict[float, dict[str, Any]] = {}
    for index, line in enumerate(lines):
        try:
            raw = json.loads(line, parse_constant=lambda _name: None)
            if raw.get("kind", "epoch") != "epoch":
                continue
            epoch, accuracy = float(raw["epoch"]) + 1, _finite(raw.get("accuracy"))
            rows[epoch] = {
                "epoch": epoch,
                "loss": _finite(raw.get("loss")),
                "accuracy": None if accuracy is None else 100 * accuracy,
            }
        except (ValueError, TypeError, KeyError, AttributeError):
            if index < len(lines) - 1:
                raise ValueError(f"{setting.metrics}, line {index + 1}, is no training record") from None
    if not rows:
        raise ValueError(f"{setting.metrics} holds no epoch")
    return [rows[epoch] for epoch in sorted(rows)]


def _finite(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < 1e300 else None
