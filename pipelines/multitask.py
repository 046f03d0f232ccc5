"""The multi-task page: the results of `simpath multitask` in, one HTML page out.

In: summary.json and runs/ as transfer/dense/stage.py leaves them. Out: report.html, self-contained as the report of a
run is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines import wording
from pipelines.charts import Dot, Line, dot_chart, line_chart
from pipelines.pathway_charts import Named, named_points, share_map
from pipelines.pictures import Picture, embed_picture, write_whole
from pipelines.templates import page_template

LABELS = {
    "single_task": "single-task networks",
    "hard": "hard sharing",
    "soft": "soft sharing",
    "cross_stitch": "cross-stitch",
    "sluice": "sluice",
    "nddr": "NDDR-CNN",
    "mtan": "MTAN",
    "pad_net": "PAD-Net",
    "adashare": "AdaShare",
}
SMALLER_IS_BETTER = ("Mean", "Median", "Abs", "Rel", "L1", "CE")
"""Last words of the columns of errors."""
SHEET_WIDTH = 930
NARROW, WIDE = 420.0, 860.0


@dataclass(frozen=True)
class Sheet:
    """Predictions of one row, as a picture."""

    label: str
    picture: Picture


def holds_multitask(folder: Path) -> bool:
    """Whether `simpath multitask` finished in this directory."""
    return (folder / "table.csv").is_file() and (folder / "identity.json").is_file() and _file(folder).is_file()


def write_multitask_report(folder: Path) -> Path:
    """Write `folder/report.html` from a finished experiment; returns its path.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a summary that is no JSON, or a picture that cannot be read.
    """
    if not holds_multitask(folder):
        raise FileNotFoundError(f"{folder} holds no finished run of simpath multitask")
    try:
        summary = json.loads(_file(folder).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{_file(folder)} is not JSON: {error}") from None
    path = folder / "report.html"
    write_whole(path, render_multitask(summary, folder).encode("utf-8", "replace"))
    return path


def _interval(ci95: Any) -> str:
    return wording.interval(_known(ci95))


def render_multitask(summary: dict[str, Any], folder: Path) -> str:
    rows = summary["rows"]
    columns, lines = summary["table"]["columns"], summary["table"]["lines"]
    filters: dict[str, Any] = {
        "number": wording.number,
        "interval": _interval,
        "signed": wording.signed,
        "shell": wording.shell,
    }
    return page_template("multitask_template.html", filters).render(
        summary=summary,
        columns=[(name, _arrow(name)) for name in columns[1:-3]],
        lines=[(label_of(line[0]), line[1:-3]) for line in lines],
        best=_best(columns, lines),
        rows=[(label_of(row["name"]), row) for row in rows],
        deltas=[_deltas(summary, width) for width in (WIDE, NARROW)],
        cost=_cost(rows),
        policies=[_policy(summary, row) for row in rows if "rounds" in row["runs"][0]],
        sheets=[_sheet(folder, row, summary["seeds"][0]) for row in rows],
        remake=("simpath", "report", str(folder)),
    )


def label_of(row: str) -> str:
    """`hard+dwa` is `hard sharing, dwa`."""
    architecture, _, balancer = row.partition("+")
    return LABELS.get(architecture, architecture) + (f", {balancer}" if balancer else "")


def _known(ci95: Sequence[float | None]) -> tuple[float, float] | None:
    """The interval, unless there is none: the summary then holds two nulls."""
    low, high = ci95
    return None if low is None or high is None else (low, high)


def _file(folder: Path) -> Path:
    return folder / "summary.json"


def _arrow(column: str) -> str:
    """Which way is better; nothing for sizes and costs."""
    if column.startswith(("params", "GFLOP")):
        return ""
    return "↓" if column.rpartition(" ")[2] in SMALLER_IS_BETTER else "↑"


def _best(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> set[tuple[int, int]]:
    """(row, column) of the best values of each metric, counted as the page shows them."""
    found = set()
    for column, name in enumerate(columns[1:-3]):
        values = [None if line[column + 1] == "-" else float(line[column + 1]) for line in lines]
        known = [value for value in values if value is not None]
        if _arrow(name) and known:
            best = min(known) if _arrow(name) == "↓" else max(known)
            found |= {(row, column) for row, value in enumerate(values) if value == best}
    return found


def _deltas(summary: dict[str, Any], width: float) -> Markup:
    groups = []
    for row in summary["rows"]:
        if row["name"] == "single_task":
            continue
        change = row["improvement"]
        dots = [Dot("all tasks", change["total"], _known(change["ci95"]), 0, "dot", strong=True)]
        for index, task in enumerate(summary["tasks"]):
            if change["by_task"][task] is not None:
                dots.append(Dot(task, change["by_task"][task], None, 1 + index % 7, "diamond"))
        groups.append((label_of(row["name"]), dots))
    title = "Improvement over single-task networks"
    alt = f"{title}, percent, by architecture, with 95 % intervals"
    return dot_chart(title, "%", groups, width=width, alt=alt, quantity="relative improvement")


def _cost(rows: Sequence[dict[str, Any]]) -> Markup:
    points = [
        Named(row["flops"]["total"] / 1e9, row["improvement"]["total"], label_of(row["name"]), index % 8)
        for index, row in enumerate(rows)
    ]
    alt = "Improvement and GFLOPs per image of every architecture"
    return named_points("Improvement against cost", "GFLOPs per image", "improvement, %", points, alt=alt, width=520.0)


def _policy(summary: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """What AdaShare chose: probabilities and decisions, mean over seeds, and how they came about."""
    runs, tasks = row["runs"], summary["tasks"]
    learnt = np.mean([run["probabilities"] for run in runs], axis=0)
    chosen = np.mean([run["policy"] for run in runs], axis=0)
    label = label_of(row["name"])
    maps = []
    for title, shares in (
        ("Probability of running each block", learnt),
        ("Blocks that run in the chosen policy, share of the seeds", chosen),
    ):
        cells = [(task, values.tolist()) for task, values in zip(tasks, shares, strict=True)]
        maps.append(share_map(title, "block", cells, alt=f"{label}: {title.lower()}, by task"))
    lines = []
    for color, task in enumerate(tasks):
        means = np.mean([[np.mean(record["probabilities"][color]) for record in run["rounds"]] for run in runs], axis=0)
        lines.append(Line(task, [float(index + 1) for index in range(len(means))], means.tolist(), color))
    title = "Mean probability while the policy is learnt"
    return {
        "label": label,
        "maps": maps,
        "rounds": line_chart(title, "round", "probability", lines, alt=f"{label}: {title.lower()}, by task"),
        "kept": [(task, float(chosen[index].sum()), chosen.shape[1]) for index, task in enumerate(tasks)],
        "deltas": [delta for run in runs for delta in run["sample_deltas"]],
        "pruned": float(np.mean([run["pruned"]["ratio"] for run in runs])),
    }


def _sheet(folder: Path, row: dict[str, Any], seed: int) -> Sheet:
    picture = folder / "runs" / row["name"] / f"seed-{seed}" / "predictions.png"
    return Sheet(label_of(row["name"]), embed_picture(picture, max_width=SHEET_WIDTH))
