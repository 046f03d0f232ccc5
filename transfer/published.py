"""Numbers that others printed, and which of our results may stand beside them.

A published number is shown for a row only where every result of ours in that row was made as it was: a ResNet-50, the
reference's recipe of the task, its resolution and number of epochs, its split, and every image of both parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transfer.catalogue import TASKS, task_row
from transfer.finetune import TuneConfig

ARCH = "resnet50"


@dataclass(frozen=True)
class Published:
    """A column of published numbers, by row name of the table: tasks, or the means `seen` and `unseen`."""

    name: str
    source: str
    protocol: str
    """linear_sgd | finetune"""
    values: Mapping[str, float]


SLIDES = "Task2Sim slides (ResNet-50, linear probe by SGD)"
POSTER = "Task2Sim poster (ResNet-50, full fine-tuning, +-0.1)"


def _slides(name: str, *values: float) -> Published:
    return Published(name, SLIDES, "linear_sgd", dict(zip(("EuroSAT", "SVHN", "Sketch", "DTD"), values, strict=True)))


def _poster(name: str, seen: float, unseen: float) -> Published:
    return Published(name, POSTER, "finetune", {"seen": seen, "unseen": unseen})


PUBLISHED: tuple[Published, ...] = (
    _slides("pose", 87.01, 28.49, 37.89, 37.39),
    _slides("pose, light", 88.57, 32.36, 38.81, 40.32),
    _slides("pose, light, blur", 90.20, 35.58, 35.53, 37.66),
    _slides("pose, light, blur, materials", 84.54, 44.84, 30.81, 38.51),
    _slides("pose, light, blur, materials, background", 80.44, 29.93, 14.60, 32.39),
    _poster("no pre-training", 64.8, 76.8),
    _poster("ImageNet subset", 77.5, 87.8),
    _poster("Random", 72.1, 83.4),
    _poster("Domain Rand.", 68.4, 78.1),
    _poster("Task2Sim", 76.8, 88.7),
)
"""Reference task2sim.md, section 5 (a) and (b)."""

AVERAGED = {
    "seen": frozenset(row.name for row in TASKS if row.seen),
    "unseen": frozenset(row.name for row in TASKS if not row.seen),
}
"""The tasks behind the published averages."""

FMD_NOTE = (
    "FMD here is 700/300 photos of 10 classes; the published unseen mean very probably rests on 1,400/600 pictures, "
    "photos against masks, so it is not quite of the same tasks."
)


def matched_protocol(summary: Mapping[str, Any], arch: str, n_test: int) -> str:
    """linear_sgd or finetune where a summary of `transfer.finetune.tune` is comparable, else nothing."""
    row, config = task_row(summary["task"]), summary.get("config", {})
    if row is None or arch != ARCH or summary["method"] not in ("linear_sgd", "finetune"):
        return ""
    default = TuneConfig()
    names = ("learning_rate", "batch_size", "weight_decay", "epochs", "dropout", "augment", "size", "resize")
    as_published = all(config.get(name) == getattr(default, name) for name in names)
    whole = (summary.get("n_train"), n_test) == (row.train, row.test) and not any(summary.get("skipped", {}).values())
    on_test = summary.get("evaluated_on") == "test" and summary.get("split") == "published"
    return str(summary["method"]) if as_published and whole and on_test else ""
