"""NYUv2 and CityScapes as mtan's authors preprocessed them: one .npy file per scene and kind.

    {train,val}/image/<n>.npy     (H, W, 3), floats from 0 to 1 or bytes
    {train,val}/depth/<n>.npy     (H, W, 1), NYUv2 in metres, CityScapes' is disparity; 0 where there is none
    {train,val}/label/<n>.npy     NYUv2: (H, W) classes, -1 where a pixel does not count
    {train,val}/normal/<n>.npy    NYUv2: (H, W, 3) unit vectors, zeros where there is none
    {train,val}/label_<c>/<n>.npy CityScapes: (H, W) classes of the map with c = 2, 7 or 19 of them, -1 as above

The part val is the test set; a seeded share of the part train is for validation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfer.dense.data import DenseData, DepthKind, Scene, random_split, scene_set
from transfer.dense.files import (
    class_labels,
    digest_of_files,
    image_from_array,
    normals_from_array,
    of_one_size,
    read_map,
)
from transfer.dense.metrics import IGNORED

PARTS = ("train", "val")
NYUV2_FOLDERS = {"segmentation": "label", "normals": "normal", "depth": "depth"}
NYUV2_CLASSES = (13, 40)
"""Sizes of the published label sets."""
UNLABELLED = -1


@dataclass(frozen=True)
class ArraySource:
    """Scenes of arrays.

    Attributes:
        names: part/number of every scene.
        folders: task -> folder of its labels.
        classes: of segmentation.
    """

    root: Path
    names: tuple[str, ...]
    folders: dict[str, str]
    classes: int

    def read(self, row: int) -> Scene:
        part, number = self.names[row].split("/")
        image = self.root / part / "image" / f"{number}.npy"
        labels = {
            task: read_label(task, self.root / part / folder / f"{number}.npy", self.classes)
            for task, folder in self.folders.items()
        }
        return of_one_size(Scene(image_from_array(image), labels), image)


def read_label(task: str, path: Path, classes: int) -> Tensor:
    """One array as a label map of `data.Scene`. Normals are vectors here, nothing has to be decoded."""
    if task == "segmentation":
        return class_labels(path, read_map(path, 1), classes=classes, ignored=UNLABELLED)
    if task == "normals":
        return normals_from_array(path)
    return torch.from_numpy(read_map(path, 1).astype(np.float32))[None]


def read_nyuv2_arrays(root: Path, *, validation: float) -> DenseData:
    """NYUv2: 288 x 384 pixels and 13 classes as published, 40 if there is a label from 13 on.

    All label maps are read for this: seconds, and a wrong label is found before training. A task without a folder has
    no labels.

    Args:
        validation: share of the training scenes.

    Raises:
        FileNotFoundError: a scene without one of its files.
        ValueError: another layout, or a label that no published set has.
    """
    folders = {task: name for task, name in NYUV2_FOLDERS.items() if (root / "train" / name).is_dir()}
    if not folders:
        raise ValueError(f"{root / 'train'} has no labels; allowed: {', '.join(NYUV2_FOLDERS.values())}")
    names = _names(root, folders.values())
    classes = 0
    if "segmentation" in folders:
        classes = _count_classes([root / part / "label" / f"{name}.npy" for part in PARTS for name in names[part]])
    return _data("NYUv2", root, names, folders, classes=classes, depth="metres", validation=validation)


def read_cityscapes(root: Path, *, classes: int, validation: float) -> DenseData:
    """CityScapes with 2, 7 or 19 classes.

    Args:
        classes: which of the label maps.
        validation: share of the training scenes.

    Raises:
        FileNotFoundError: a scene without one of its files.
        ValueError: another layout, or no label map with so many classes.
    """
    if not (root / "train" / "image").is_dir():
        raise ValueError(f"{root} is no CityScapes folder in mtan's layout: it has no train/image")
    folders = {"segmentation": f"label_{classes}", "depth": "depth"}
    if not (root / "train" / folders["segmentation"]).is_dir():
        found = ", ".join(sorted(path.name for path in (root / "train").glob("label_*"))) or "no label maps"
        raise ValueError(f"cityscapes_classes is {classes}, but {root / 'train'} has {found}")
    names = _names(root, folders.values())
    return _data("CityScapes", root, names, folders, classes=classes, depth="disparity", validation=validation)


def _names(root: Path, folders: Iterable[str]) -> dict[str, list[str]]:
    """Numbers of the scenes of every part, each with all its files."""
    names: dict[str, list[str]] = {}
    for part in PARTS:
        folder = root / part / "image"
        found = [path.stem for path in folder.glob("*.npy")]
        odd = sorted(name for name in found if not name.isdecimal())
        if odd or not found:
            raise ValueError(f"{folder} holds {f'{odd[0]}.npy' if odd else 'no .npy files'}; allowed: <number>.npy")
        names[part] = sorted(found, key=int)
        for kind in folders:
            for name in names[part]:
                path = root / part / kind / f"{name}.npy"
                if not path.is_file():
                    raise FileNotFoundError(f"{path} is missing")
    return names


def _count_classes(paths: Iterable[Path]) -> int:
    """The size of the smallest published label set that has all labels of these files."""
    largest = 0
    for path in paths:
        labels = class_labels(path, read_map(path, 1), classes=NYUV2_CLASSES[-1], ignored=UNLABELLED)
        largest = max(largest, int(torch.where(labels == IGNORED, 0, labels).max()))
    return next(size for size in NYUV2_CLASSES if largest < size)


def _data(
    name: str,
    root: Path,
    names: dict[str, list[str]],
    folders: dict[str, str],
    *,
    classes: int,
    depth: DepthKind,
    validation: float,
) -> DenseData:
    everything = [f"{part}/{number}" for part in PARTS for number in names[part]]
    whole = scene_set(ArraySource(root, tuple(everything), folders, classes), everything)
    count = len(names["train"])
    train, val = random_split(whole.select(np.arange(count)), validation, seed=0)
    test = whole.select(np.arange(count, len(everything)))
    kinds = ("image", *folders.values())
    files = [f"{part}/{kind}/{number}.npy" for part in PARTS for kind in kinds for number in names[part]]
    digest = digest_of_files(root, files, whole=False)
    return DenseData(name, classes, tuple(folders), train, val, test, depth, digest)
