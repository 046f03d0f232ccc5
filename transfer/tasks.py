"""Downstream tasks by name: `load_task` turns a name or a path into a `Task`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.data import ArraySource, Task, image_set, read_image_folder, split_task


def load_task(
    name_or_folder: str | Path, *, root: str | Path | None = None, seed: int = 0, split: str = "published"
) -> Task:
    """The task of this exact name, else of this path.

    Args:
        name_or_folder: `digits` (1,797 real handwritten digits, inside scikit-learn) or a labelled image
            folder.
        root: where the files of the named sets lie, each under root/NAME.
        seed: of the split, where a task brings none.

    Raises:
        FileNotFoundError: neither a known name nor an existing path.
        ValueError: what is found there is no task (one class, no image, ...).
    """
    if str(name_or_folder) == "digits":
        return load_digits(seed=seed)
    folder = Path(name_or_folder)
    if not folder.exists() and root is not None and (Path(root) / folder).exists():
        folder = Path(root) / folder
    if not folder.exists():
        raise FileNotFoundError(f"no task named {name_or_folder} and no such folder; known names: digits")
    return read_image_folder(folder, seed=seed)


def load_digits(*, seed: int = 0) -> Task:
    """scikit-learn's copy of the UCI handwritten digits' test part: 1,797 grey 8 x 8 images, split 70/30."""
    from sklearn import datasets

    pixels, labels = datasets.load_digits(return_X_y=True)
    arrays = np.round(pixels.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # published range is 0 to 16
    images = image_set([f"{i:04d}" for i in range(len(arrays))], labels, ArraySource(arrays))
    return split_task("digits", [str(digit) for digit in range(10)], images, seed=seed)
