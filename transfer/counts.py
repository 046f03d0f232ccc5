"""What a named set holds against what it should hold: totals, classes, images per class. Nothing is decoded."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from transfer.catalogue import TaskRow
from transfer.data import Task
from transfer.layouts import Request
from transfer.readers import READERS

SHOWN = 10
"""Classes that are named; of the others the number is said."""


def whole_set(request: Request, task: Task) -> Task:
    """The set under its published split, which alone has known sizes; a grouped split may leave images out."""
    return task if request.split == "published" else READERS[request.row.name](replace(request, split="published"))


def part_sizes(task: Task) -> tuple[int, int, int]:
    """Train with validation, test, classes."""
    return len(task.train) + (0 if task.val is None else len(task.val)), len(task.test), len(task.classes)


def size_problems(request: Request, task: Task, whole: Task) -> list[str]:
    """Where split, totals and classes are not those of the version that was asked for; empty: they are.

    Args:
        task: what the reader gave for the request.
        whole: the set under its published split. Where that one had to be made, because the official one is not in
            these files, only the sum of both parts is known.
    """
    row, found, expected = request.row, part_sizes(whole), request.row.sizes(request.variant)
    published = "published are" if expected == row.sizes() else f"version {request.variant} has"
    problems = []
    if task.split == "made":
        problems.append("the split is made: the official one is not in these files")
    if whole.split == "made":
        if sum(found[:2]) != sum(expected[:2]):
            problems.append(f"{sum(found[:2])} images, {published} {sum(expected[:2])}")
    elif found[:2] != expected[:2]:
        other = [version.note for version in row.known_sizes if row.sizes(version.variant) == found]
        why = f": {other[0]}" if other else ""
        problems.append(f"{found[0]} + {found[1]} images, {published} {expected[0]} + {expected[1]}{why}")
    if found[2] != expected[2]:
        problems.append(f"{found[2]} classes, {published} {expected[2]}")
    return problems


def class_problems(row: TaskRow, whole: Task) -> list[str]:
    """Classes that have more or fewer images than they should, by name; empty: none, or their sizes are not known."""
    allowed = row.class_sizes * len(whole.classes) if len(row.class_sizes) == 1 else row.class_sizes
    if len(allowed) != len(whole.classes):
        return []  # unknown; or a class is missing, so that nobody knows whose size is whose
    wrong = [
        f"{name} {count} (expected {' or '.join(map(str, sizes))})"
        for name, count, sizes in zip(whole.classes, class_counts(whole), allowed, strict=True)
        if count not in sizes
    ]
    return [f"{len(wrong)} classes with other numbers of images: {_listed(wrong)}"] if wrong else []


def fewest_images(whole: Task) -> str:
    """The classes with the fewest images, for sets whose class sizes the reference does not state."""
    counts = class_counts(whole)
    return "fewest images: " + _listed([f"{whole.classes[i]} {counts[i]}" for i in np.argsort(counts, kind="stable")])


def class_counts(task: Task) -> np.ndarray:
    """Images of each class (C,) in all parts together."""
    labels = [images.labels for images in (task.train, task.val, task.test) if images is not None]
    return np.bincount(np.concatenate(labels), minlength=len(task.classes))


def _listed(entries: list[str]) -> str:
    return ", ".join(entries[:SHOWN]) + (f" and {len(entries) - SHOWN} more" if len(entries) > SHOWN else "")
