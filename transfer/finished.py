"""Directories that `transfer.score.final`, `transfer.finetune.tune` and the pathway methods leave, read again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfer.published import matched_protocol


@dataclass(frozen=True)
class Finished:
    """One result: a backbone on the test images of a task."""

    folder: Path
    task: str
    method: str
    """knn | linear | linear_sgd | finetune | a pathway method"""
    correct: np.ndarray  # (S, N) uint8
    labels: np.ndarray  # (N,)
    index: str | None
    """Digest of the split's index."""
    metrics: Mapping[str, float]
    """Accuracy and what the task's community reports beside it, in percent."""
    skipped: tuple[tuple[str, str, str], ...]
    """Unreadable images: part, name, reason."""
    settings: str
    """The configuration but for its seed, that of the features included, as text: seeds of one experiment share it.

    knn and linear results of versions that did not record the features' configuration share it with each other alone,
    so that nothing tells their resolutions apart; score them again to be sure.
    """
    protocol: str
    """Protocol of published numbers that this may stand beside (see `transfer.published`); empty: none."""


def read_finished(folder: Path) -> Finished:
    """The result in a directory.

    Raises:
        FileNotFoundError: no finished result lies there.
    """
    from safetensors import safe_open

    summary_file, predictions = folder / "summary.json", folder / "predictions.safetensors"
    if not summary_file.is_file() or not predictions.is_file():
        raise FileNotFoundError(f"{folder} holds no finished result (summary.json and predictions.safetensors)")
    summary: dict[str, Any] = json.loads(summary_file.read_text(encoding="utf-8"))
    with safe_open(predictions, framework="np") as file:
        labels, correct = file.get_tensor("label"), np.atleast_2d(file.get_tensor("correct"))
    arch = str(summary.get("backbone", "")).partition(" ")[0]
    config = {name: value for name, value in summary.get("config", {}).items() if name != "seed"}
    return Finished(
        folder,
        summary["task"],
        summary["method"],
        correct,
        labels,
        summary.get("index"),
        {name: value for name, value in summary["metrics"].items() if name in ("accuracy", *summary["also_report"])},
        skipped_images(summary),
        json.dumps({**config, "features": summary.get("feature_config")}, sort_keys=True),
        matched_protocol(summary, arch, len(labels)),
    )


def skipped_images(summary: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
    """(part, name, reason) of the images that could not be read, as any of the stages writes them."""
    skipped = summary.get("skipped", {})
    if not isinstance(skipped, Mapping):  # a pathway method names them only
        return tuple(("", str(name), "not decoded") for name in skipped)
    return tuple((part, name, reason) for part, images in skipped.items() for name, reason in images)


def find_finished(folder: Path) -> Iterator[Finished]:
    """Every result at or below a directory, by path; one that was scored on a validation part is none.

    Raises:
        FileNotFoundError: no such directory.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    for predictions in sorted(folder.rglob("predictions.safetensors")):
        summary_file = predictions.with_name("summary.json")
        if not summary_file.is_file():
            continue
        summary = json.loads(summary_file.read_text(encoding="utf-8"))
        if {"task", "method", "metrics", "also_report"} <= set(summary) and summary.get(
            "evaluated_on", "test"
        ) == "test":
            yield read_finished(predictions.parent)
