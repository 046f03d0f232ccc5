"""Downstream tasks by name: `load_task` turns a name or a path into a `Task`.

Names are the 20 of `TASKS` (spelt exactly so), whose files lie under ROOT/NAME, and `digits`. `NAME:VARIANT` is another
version of a named set, a task of its own; `decathlon:DOMAIN` is a domain of the Visual Decathlon. Anything else is a
path: a labelled image folder, a CSV list, or WebDataset shards.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfer.catalogue import TASKS, TaskRow, task_row
from transfer.counts import size_problems, whole_set
from transfer.data import ArraySource, Task, holds_image_classes, image_set, read_image_folder, split_task
from transfer.fetch import Verification, download_task, verify_task
from transfer.layouts import Request
from transfer.lists import read_csv_task, read_shard_task
from transfer.readers import READERS

__all__ = ["TASKS", "TaskRow", "Verification", "download_task", "list_tasks", "load_task", "verify_task"]


def load_task(
    name_or_folder: str | Path,
    *,
    root: str | Path | None = None,
    seed: int = 0,
    split: str = "published",
    variant: str = "",
) -> Task:
    """The task of this exact name, else of this path.

    A named set that has not the sizes of the version that was asked for is read all the same, and its notes say so.

    Args:
        name_or_folder: a name of TASKS (or name:variant, as Flowers102:2040), `decathlon:DOMAIN` (files under
            root/decathlon), `digits` (1,797 real handwritten digits, inside scikit-learn), a labelled image folder, a
            `.csv` list, a `.tar` or a folder of WebDataset shards.
        root: where the files of the named sets lie, each under root/NAME.
        seed: of the split, where a task brings none.
        split: `published`, or `grouped`: nothing that belongs together (leaf, lesion, patient) is torn apart.
        variant: a version of a named set, one of its row's `variants` (as Flowers102: 1020 or 2040).

    Raises:
        FileNotFoundError: neither a known name nor an existing path, or a named set's files are missing.
        ValueError: what is found there is no task (one class, no image, ...); no groups are known for `grouped`; there
            is no such variant.
    """
    if split not in ("published", "grouped"):
        raise ValueError(f"split {split}; allowed: published, grouped")
    name, colon, suffix = str(name_or_folder).partition(":")
    if name == "decathlon" and colon:
        return _load_domain(suffix, root=root, split=split)
    if suffix and task_row(name) is not None:
        if variant not in ("", suffix):
            raise ValueError(f"task {name_or_folder}: variant {variant} contradicts its name")
        task = load_task(name, root=root, seed=seed, split=split, variant=suffix)
        return replace(task, name=str(name_or_folder))  # never taken for the published task
    row = task_row(str(name_or_folder))
    if row is not None and root is not None:
        folder = Path(root) / row.name
        request = Request(row, folder, split, seed, variant)  # a variant that it does not have is refused first
        if not folder.is_dir():
            raise FileNotFoundError(f"task {row.name}: {folder} is missing; to get it: {row.steps}")
        task = READERS[row.name](request)
        problems = size_problems(request, task, whole_set(request, task))
        note = f"not the published set ({'; '.join(problems)}); see `simpath tasks verify {row.name}`"
        return replace(task, notes=(*task.notes, note)) if problems else task
    if variant:
        raise ValueError(f"task {name_or_folder}: variant {variant} is for the named sets, with --root ROOT")
    path = Path(name_or_folder)
    if not path.exists() and root is not None and (Path(root) / path).exists():
        path = Path(root) / path
    if str(name_or_folder) != "digits" and not path.exists():
        if row is not None:
            raise FileNotFoundError(f"task {row.name}: say where its files lie (--root ROOT, holding {row.name}/)")
        raise FileNotFoundError(
            f"no task named {name_or_folder} and no such path; names: digits, {', '.join(r.name for r in TASKS)}"
        )
    task = load_digits(seed=seed) if str(name_or_folder) == "digits" else _load_path(path, seed=seed, split=split)
    if split == "grouped" and task.split != "grouped":
        raise ValueError(f"task {task.name} has no grouped split: nothing says what belongs together")
    return task


def _load_domain(domain: str, *, root: str | Path | None, split: str) -> Task:
    from transfer.pathways.decathlon import load_domain

    if root is None:
        raise ValueError(
            f"task decathlon:{domain}: say where its files lie (--root ROOT, holding decathlon/annotations/)"
        )
    if split == "grouped":
        raise ValueError(f"task decathlon:{domain} has no grouped split: nothing says what belongs together")
    return load_domain(domain, root=Path(root))


def _load_path(path: Path, *, seed: int, split: str) -> Task:
    if path.suffix.lower() == ".csv":
        return read_csv_task(path, seed=seed, split=split)
    if path.suffix.lower() == ".tar":
        return read_shard_task(path, seed=seed)
    # a download's archive may lie beside the class folders that came out of it
    if path.is_dir() and next(path.rglob("*.tar"), None) is not None and not holds_image_classes(path):
        return read_shard_task(path, seed=seed)
    return read_image_folder(path, seed=seed)


def load_digits(*, seed: int = 0) -> Task:
    """scikit-learn's copy of the UCI handwritten digits' test part: 1,797 grey 8 x 8 images, split 70/30."""
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    arrays = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # published range is 0 to 16
    images = image_set([f"{i:04d}" for i in range(len(arrays))], labels, ArraySource(arrays))
    return split_task("digits", [str(digit) for digit in range(10)], images, seed=seed)


def list_tasks() -> list[dict[str, Any]]:
    """The 20 rows as dictionaries, by the names of TaskRow's fields: all of them."""
    return [asdict(row) for row in TASKS]
