"""The pathways page: results of SpotTune, BlockDrop, their baselines and the lesion study in, one HTML page out.

In: a directory with the results of `simpath evaluate --out` or of benchmarks/pathways_transfer.py, that is
[TASK/]METHOD/summary.json and the files beside it. Out: report.html, self-contained as the report of a run is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from pipelines import wording
from pipelines.pathway_charts import Named, bar_chart, lesion_charts, named_points, share_map
from pipelines.pictures import Picture, embed_picture, write_whole
from pipelines.templates import page_template
from transfer.pathways.config import METHODS
from transfer.pathways.decathlon import CLASSES, VAL_IS_TEST, decathlon_score

LABELS = {
    "feature_extractor": "feature extractor",
    "standard": "standard fine-tuning",
    "last1": "last block",
    "last2": "last 2 blocks",
    "last3": "last 3 blocks",
    "l2sp": "L2-SP",
    "stochastic": "stochastic",
    "random_policy": "random policy",
    "spottune": "SpotTune",
    "spottune_global": "SpotTune, Global-k",
    "blockdrop": "BlockDrop",
    "lesion": "lesion study",
}
OTHERS = {
    "full": "full network",
    "joint_full": "joint, all kept",
    "first_k": "FirstK",
    "random_k": "RandomK",
    "dist_k": "DistK",
    "all_tuned": "tuned blocks only",
}
MAX_CLASSES = 24  # rows of a map of decisions
SHEET_WIDTH = 840


@dataclass(frozen=True)
class PathwayRun:
    """One finished run: its directory and what its summary says."""

    folder: Path
    summary: dict[str, Any]

    @property
    def method(self) -> str:
        return str(self.summary["method"])

    @property
    def task(self) -> str:
        return str(self.summary["task"])

    @property
    def label(self) -> str:
        return LABELS[self.method]

    @property
    def backbone(self) -> str:
        """As the summary names it, a digest cut short."""
        return re.sub(r"(sha256:[0-9a-f]{8})[0-9a-f]+", r"\1", str(self.summary.get("backbone", "unknown")))

    def mean(self, key: str) -> float | None:
        """Mean over seeds of a number that the method reports about itself; None where it does not."""
        found = [row[key] for row in self.summary.get("per_seed", ()) if row.get(key) is not None]
        return float(np.mean(found)) if found else None

    def means(self, key: str) -> list[float]:
        """The same for a list of numbers; empty where there is none."""
        found = [row[key] for row in self.summary.get("per_seed", ()) if key in row]
        return [float(value) for value in np.mean(found, axis=0)] if found else []


def find_runs(folder: Path, *, below: bool = False) -> list[PathwayRun]:
    """Finished pathway runs in `folder`, or one or two levels below it, by task and in the order of methods.

    Other results are left alone, and a folder that is a result itself is not searched.

    Args:
        below: search it even then, and do not look at its own result.

    Raises:
        ValueError: a summary that is no JSON.
    """
    found = []
    inside = [*sorted(folder.glob("*/")), *sorted(folder.glob("*/*/"))]
    for path in [folder] if (folder / "summary.json").is_file() and not below else inside:
        file = path / "summary.json"
        if not file.is_file():
            continue
        try:
            summary = json.loads(file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{file} is not JSON: {error}") from None
        if isinstance(summary, dict) and summary.get("method") in METHODS and "task" in summary:
            found.append(PathwayRun(path, summary))
    order = list(METHODS)
    return sorted(found, key=lambda run: (run.task, order.index(run.method)))


def write_pathways_report(folder: Path, *, below: bool = False) -> Path:
    """Write `folder/report.html` from the finished pathway runs that `find_runs` finds; returns its path.

    Raises:
        FileNotFoundError: there is none.
        ValueError: a summary that is no JSON.
    """
    runs = find_runs(folder, below=below)
    if not runs:
        raise FileNotFoundError(f"{folder} holds no finished run of {', '.join(METHODS)}")
    path = folder / "report.html"
    write_whole(path, render_pathways(runs, folder).encode("utf-8", "replace"))
    return path


def render_pathways(runs: Sequence[PathwayRun], folder: Path) -> str:
    filters = {"number": wording.number, "interval": wording.interval, "shell": wording.shell, "broken": _broken}
    trained = [run for run in runs if run.method != "lesion"]
    methods = [name for name in METHODS if any(run.method == name for run in trained)]
    rows = _rows(trained)
    backbones = list(dict.fromkeys(run.backbone for run in trained))
    by_backbone = [(name, [run for run in trained if run.backbone == name]) for name in backbones]
    return page_template("pathways_template.html", filters).render(
        methods=[LABELS[name] for name in methods],
        backbones=backbones,
        rows=[
            {
                "task": next(iter(row.values())).task,
                "backbone": next(iter(row.values())).backbone,
                "again": None if first else ", ".join(str(run.folder.relative_to(folder)) for run in row.values()),
                "on_val": any(_on_val(run) for run in row.values()),
                "cells": [_cell(row.get(name)) for name in methods],
            }
            for row, first in rows
        ],
        decathlon=[
            (LABELS[name] + (f" from {backbone}" if len(backbones) > 1 else ""), *found)
            for backbone, own in by_backbone
            for name in methods
            if (found := _decathlon(own, name)) is not None
        ],
        costs=[_cost(run) for run in trained if run.mean("flops_plain")],
        blockdrop=[_blockdrop(run) for run in trained if run.method == "blockdrop"],
        spottune=[_spottune(run) for run in trained if run.means("share_tuned")],
        lesions=[_lesion(run) for run in runs if run.method == "lesion"],
        notes=[(run, note) for run in runs for note in run.summary.get("notes", ())],
        remake=("simpath", "report", str(folder)),
    )


def _broken(name: str) -> Markup:
    """A name whose line may end after an underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def _rows(runs: Sequence[PathwayRun]) -> list[tuple[dict[str, PathwayRun], bool]]:
    """Runs of one task and backbone by method, and whether they are the first of these: a second run of a method gets
    a row of its own."""
    groups: dict[tuple[str, str], list[dict[str, PathwayRun]]] = {}
    for run in runs:
        rows = groups.setdefault((run.task, run.backbone), [])
        free = next((row for row in rows if run.method not in row), None)
        if free is None:
            rows.append(free := {})
        free[run.method] = run
    return [(row, row is rows[0]) for rows in groups.values() for row in rows]


def _cell(run: PathwayRun | None) -> dict[str, Any] | None:
    if run is None:
        return None
    scores = run.summary["scores"]
    return {
        "score": run.summary["score"],
        "spread": float(np.std(scores, ddof=1)) if len(scores) > 1 else None,
        "seeds": len(scores),
        "ci95": run.summary["ci95"],
    }


def _on_val(run: PathwayRun) -> bool:
    """Whether the test split of this run is the challenge's validation part."""
    return VAL_IS_TEST in run.summary.get("notes", ())


def _decathlon(found: Sequence[PathwayRun], method: str) -> tuple[float, int] | None:
    """The Visual Decathlon's score of a method that was run on all ten domains, once on each, and on how many of them
    val was the test split."""
    places = {f"decathlon:{domain}": domain for domain in CLASSES}
    own = [run for run in found if run.method == method and run.task in places]
    runs = {places[run.task]: run for run in own}
    if not len(own) == len(runs) == len(CLASSES):
        return None
    score = decathlon_score({domain: run.summary["score"] for domain, run in runs.items()})
    return score, sum(_on_val(run) for run in runs.values())


def _cost(run: PathwayRun) -> dict[str, Any]:
    """What an image and a new task cost, relative to the plain network."""
    plain, network, total = (run.mean(f"flops_{name}") or 0.0 for name in ("plain", "network", "total"))
    size, new = run.mean("parameters_plain"), run.mean("parameters_new_per_task")
    return {
        "run": run,
        "plain": plain / 1e9,
        "network": 100 * network / plain,
        "total": 100 * total / plain,
        "new": None if new is None or not size else 100 * new / size,
        "policies": run.mean("unique_policies"),
    }


def _blockdrop(run: PathwayRun) -> dict[str, Any]:
    blocks, kept, plain = run.mean("blocks"), run.mean("blocks_kept"), run.mean("flops_plain")
    assert blocks is not None and kept is not None and plain is not None
    network, total = (run.mean(f"flops_{name}") or 0.0 for name in ("network", "total"))
    others = run.summary["others"]
    histogram, map_ = _decisions(run, "kept")
    return {
        "run": run,
        "blocks": blocks,
        "kept": kept,
        "kept_std": run.mean("blocks_kept_std"),
        "flops": network / 1e9,
        "flops_std": None if (deviation := run.mean("flops_network_std")) is None else deviation / 1e9,
        "saved": 100 * (1 - network / plain),
        "saved_total": 100 * (1 - total / plain),
        "others": [(OTHERS.get(name, name), row["score"], row["ci95"]) for name, row in others.items()],
        "points": _trade_off(run, plain),
        "tried": len(_tried(run)) > 1,
        "shares": _shares(run, "share_kept_per_block", "kept"),
        "histogram": histogram,
        "map": map_,
        "sheet": _sheet(run.folder / "easy_and_hard.png"),
    }


def _trade_off(run: PathwayRun, plain: float) -> Markup:
    """Accuracy against FLOPs: BlockDrop, its comparisons, and the candidates as the validation part saw them."""
    points = [
        Named(100 * (run.mean("flops_network") or 0.0) / plain, run.summary["score"], "BlockDrop", 0),
        Named(100 * (run.mean("flops_total") or 0.0) / plain, run.summary["score"], "policy counted", 0, "ring"),
    ]
    shapes = ("square", "diamond", "triangle", "square", "diamond")
    rows = [row["flops_others"] for row in run.summary["per_seed"] if "flops_others" in row]
    for index, (name, row) in enumerate(run.summary["others"].items()):
        if rows:
            flops = float(np.mean([flops_of[name] for flops_of in rows]))
            label = OTHERS.get(name, name)
            points.append(Named(100 * flops / plain, row["score"], label, 1 + index % 7, shapes[index % 5]))
    path = _tried(run)
    return named_points(
        "Accuracy against cost",
        "FLOPs, % of the full network",
        "test accuracy, %",
        points,
        path=path if len(path) > 1 else (),
        alt=f"{run.task}: test accuracy and FLOPs of BlockDrop and of policies that do not look at the image",
    )


def _tried(run: PathwayRun) -> list[tuple[float, float]]:
    """(FLOPs in percent, validation accuracy) of the candidates, cheapest first."""
    tried = [row for row in run.summary.get("selection", ()) if row.get("flops_share") is not None]
    return sorted((100 * row["flops_share"], row["accuracy"]) for row in tried)


def _shares(run: PathwayRun, key: str, what: str) -> Markup:
    shares = run.means(key)
    bars = [(str(index + 1), 100 * share) for index, share in enumerate(shares)]
    title = f"How often each block is {what}"
    alt = f"{run.task}: share of test images for which each block is {what}, mean over seeds"
    return bar_chart(title, "block", "% of test images", bars, alt=alt, percent=True)


def _decisions(run: PathwayRun, what: str) -> tuple[Markup | None, Markup | None]:
    """How many blocks images use, and which blocks the classes use; None where no decisions were kept."""
    from safetensors.numpy import load_file

    path = run.folder / "predictions.safetensors"
    tensors = load_file(path) if path.is_file() else {}
    if "policy" not in tensors:
        return None, None
    policy, labels = tensors["policy"].astype(float), tensors["label"]  # (S, N, L), (N,)
    counts = np.bincount(policy.sum(axis=2).astype(int).ravel(), minlength=policy.shape[2] + 1)
    bars = [(str(number), 100 * share) for number, share in enumerate(counts / counts.sum())]
    alt = f"{run.task}: distribution of the number of blocks {what} over test images and seeds"
    histogram = bar_chart(f"Blocks {what} per image", f"blocks {what}", "% of images", bars, alt=alt, percent=True)
    names = run.summary.get("classes") or [str(label) for label in range(int(labels.max()) + 1)]
    present = [label for label in range(len(names)) if (labels == label).any()]
    by_class = {label: policy[:, labels == label].mean(axis=(0, 1)) for label in present}
    order = sorted(present, key=lambda label: float(by_class[label].sum()))
    half = MAX_CLASSES // 2
    title = f"Blocks {what} by class (mean number), fewest first"
    if len(order) > MAX_CLASSES:
        order = [*order[:half], *order[-half:]]
        title += f"; {half} with the fewest and {half} with the most of {len(present)}"
    rows = [(f"{names[label]} ({by_class[label].sum():.1f})", by_class[label].tolist()) for label in order]
    alt = f"{run.task}: for each class the share of its test images for which each block is {what}"
    return histogram, share_map(title, "block", rows, alt=alt)


def _spottune(run: PathwayRun) -> dict[str, Any]:
    histogram, map_ = _decisions(run, "fine-tuned")
    return {
        "run": run,
        "shares": _shares(run, "share_tuned", "fine-tuned"),
        "histogram": histogram,
        "map": map_,
        "others": [(OTHERS.get(name, name), row["score"], row["ci95"]) for name, row in run.summary["others"].items()],
    }


def _lesion(run: PathwayRun) -> dict[str, Any]:
    file = run.folder / "lesion.json"
    if not file.is_file():
        return {"run": run, "charts": [], "kinds": [], "intervals": False}
    content = json.loads(file.read_text(encoding="utf-8"))
    return {
        "run": run,
        "charts": list(lesion_charts(content)),
        "kinds": [run.summary["resnet"], run.summary["plain"]],
        "intervals": all("ci95" in content[kind] for kind in ("resnet", "plain")),
    }


def _sheet(path: Path) -> Picture | None:
    return embed_picture(path, max_width=SHEET_WIDTH) if path.is_file() else None
