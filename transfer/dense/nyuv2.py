"""NYUv2 in either of the layouts that go round.

* A list file with the keys train and test (train1 and train2 too, if the parts for weights and policy are given), each
  a list of [image png, segmentation png, normals png, depth npy]; the last is left out with two tasks. 40 classes, 255
  where a pixel does not count; the picture of normals holds (n + 1) / 2 * 255 in RGB = xyz; depth is in metres.
* mtan's arrays, see `arrays.py`.

Deviation: pictures of normals are decoded, which AdaShare's code does not do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfer.dense.arrays import NYUV2_CLASSES, read_nyuv2_arrays
from transfer.dense.data import DenseData, Scene, SceneSet, random_split
from transfer.dense.files import (
    class_labels,
    digest_of_files,
    image_from_picture,
    normals_from_picture,
    of_one_size,
    read_map,
    read_picture,
)
from transfer.dense.listfile import Entry, all_entries, find_list_file, named_files, read_list_file, sets_of_lists
from transfer.dense.metrics import IGNORED

TASKS = ("segmentation", "normals", "depth")
LISTED_CLASSES = NYUV2_CLASSES[-1]


@dataclass(frozen=True)
class ListedSource:
    """Scenes of a list file."""

    root: Path
    entries: tuple[Entry, ...]

    def read(self, row: int) -> Scene:
        image, *labels = self.entries[row]
        assert image is not None
        found: dict[str, Tensor] = {}
        for task, name in zip(TASKS, labels, strict=False):
            if name is None:
                continue
            path = self.root / name
            if task == "segmentation":
                pixels = read_picture(path, "L")
                found[task] = class_labels(path, pixels, classes=LISTED_CLASSES, ignored=IGNORED)
            elif task == "normals":
                found[task] = normals_from_picture(path)
            else:
                found[task] = torch.from_numpy(read_map(path, 1).astype(np.float32))[None]
        return of_one_size(Scene(image_from_picture(self.root / image), found), self.root / image)


def read_nyuv2(root: Path, *, validation: float, list_file: str | None = None) -> DenseData:
    """NYUv2; a seeded share of its training scenes becomes the validation part.

    Args:
        validation: this share.
        list_file: which list file is read; without it, a folder with train/image is read as mtan's arrays.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: neither layout, a choice among list files is needed, or a list file that cannot be used.
    """
    if list_file is None and (root / "train" / "image").is_dir():
        return read_nyuv2_arrays(root, validation=validation)
    path = find_list_file(root, list_file)
    if path is None:
        raise ValueError(f"{root} is no NYUv2 folder: it has neither a list file (*.json) nor train/image")
    lists = read_list_file(path, ("train", "test"), columns=(3, 4))
    entries = all_entries(lists)
    sets = sets_of_lists(ListedSource(root, entries), lists)
    train, val = random_split(sets["train"], validation, seed=0)
    parts = None
    if "train1" in sets:
        parts = (_kept(path, "train1", sets, train), _kept(path, "train2", sets, train))
    labelled = TASKS[: max(len(entry) for entry in entries) - 1]
    digest = digest_of_files(root, [path.name, *named_files(entries)], whole=True)
    return DenseData("NYUv2", LISTED_CLASSES, labelled, train, val, sets["test"], "metres", digest, parts=parts)


def _kept(path: Path, key: str, sets: dict[str, SceneSet], train: SceneSet) -> SceneSet:
    """The scenes of a list that are not held out for validation."""
    names = set(train.names)
    rows = [row for row, name in enumerate(sets[key].names) if name in names]
    if not rows:
        raise ValueError(f"{path}: every scene of {key} is held out for validation; allowed: a list with more scenes")
    return sets[key].select(np.array(rows))
