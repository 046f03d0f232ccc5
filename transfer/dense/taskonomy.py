"""Tiny-Taskonomy in either of the layouts that go round.

* A list file with the keys train, val and test of [rgb, segmentation, normals, depth, keypoints, edges] pngs.
* The folders that the data set's download leaves, see `buildings.py`.

Class weights come from `semseg_prior_factor.npy`, if it lies in the folder.

Encodings (`datasets.md` 2.3): segmentation 0 is no label, else class + 1; normals (n + 1) / 2 * 255; 16 bits of depth,
of keypoints and of edges. Pixels of 64500 and more have neither depth nor normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from transfer.dense.buildings import find_folders, list_scenes, split_buildings
from transfer.dense.data import TASKONOMY_LEVELS, DenseData, Scene, SceneSet, scene_set
from transfer.dense.files import (
    class_labels,
    digest_of_files,
    image_from_picture,
    normals_from_picture,
    of_one_size,
    read_array,
    read_picture,
)
from transfer.dense.heads import resize_nearest
from transfer.dense.listfile import Entry, all_entries, find_list_file, named_files, read_list_file, sets_of_lists

CLASSES, SIDE, FARTHEST = 17, 256, 64500
KEYPOINT_LARGEST, EDGE_LARGEST = 0.005, 0.08
CLASS_WEIGHTS_FILES = ("semseg_prior_factor.npy", "semseg_prior.npy")
TASKS = ("segmentation", "normals", "depth", "keypoints", "edges")


@dataclass(frozen=True)
class TaskonomySource:
    """Scenes of pictures."""

    root: Path
    entries: tuple[Entry, ...]

    def read(self, row: int) -> Scene:
        paths = [None if name is None else self.root / name for name in self.entries[row]]
        image, segmentation, normals, depth, keypoints, edges = paths
        assert image is not None
        labels: dict[str, Tensor] = {}
        measured: Tensor | None = None
        if segmentation is not None:
            pixels = read_picture(segmentation, "L")
            labels["segmentation"] = class_labels(segmentation, pixels, classes=CLASSES, ignored=0, first=1)
        if depth is not None:
            levels = torch.from_numpy(read_picture(depth, "16").astype(np.float32))
            measured = levels < FARTHEST
            labels["depth"] = torch.where(measured, encode_depth(levels), 0.0)[None]
        if normals is not None:
            labels["normals"] = normals_from_picture(normals, marked=False)
        for task, path, largest in (("keypoints", keypoints, KEYPOINT_LARGEST), ("edges", edges, EDGE_LARGEST)):
            if path is not None:
                heat = torch.from_numpy(read_picture(path, "16").astype(np.float32))
                labels[task] = encode_heat(heat / TASKONOMY_LEVELS, largest)[None]
        scene = of_one_size(Scene(image_from_picture(image), labels), image)
        if measured is not None and "normals" in labels:
            labels["normals"] = labels["normals"] * measured
        side = (SIDE, SIDE)
        return Scene(
            resize_nearest(scene.image, side), {task: resize_nearest(label, side) for task, label in labels.items()}
        )


def encode_depth(levels: Tensor) -> Tensor:
    """Taskonomy's depth label: log(1 + z) / log(2^16), so that 0 -> 0 and 65535 -> 1."""
    return torch.log1p(levels) / math.log(TASKONOMY_LEVELS)


def encode_heat(values: Tensor, largest: float) -> Tensor:
    """Taskonomy's keypoint and edge labels: clipped to 0 .. largest, then stretched to -1 .. 1."""
    return values.clamp(0, largest) / largest * 2 - 1


def read_taskonomy(root: Path, *, validation: float = 0.1, list_file: str | None = None) -> DenseData:
    """Tiny-Taskonomy from a list file, or, where there is none, from the folders of the download.

    Args:
        validation: share of the training buildings, if these are not the buildings of the published split.
        list_file: which list file is read.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: neither layout, a choice among list files is needed, or class weights for other classes.
    """
    path = find_list_file(root, list_file)
    if path is not None:
        lists = read_list_file(path, ("train", "val", "test"), columns=(6,))
        entries = all_entries(lists)
        sets = sets_of_lists(TaskonomySource(root, entries), lists)
        return _data(root, sets, entries, TASKS, [path.name])
    folders = find_folders(root)
    if not folders:
        raise ValueError(
            f"{root} is no Tiny-Taskonomy folder: it has no list file (*.json), no <building>/rgb and no rgb/<building>"
        )
    scenes = list_scenes(root, folders)
    entries = tuple(entry for listed in scenes.values() for entry in listed)
    whole = scene_set(TaskonomySource(root, entries), [str(entry[0]) for entry in entries])
    owners = np.repeat(list(scenes), [len(listed) for listed in scenes.values()])
    sets = {
        part: whole.select(np.flatnonzero(np.isin(owners, buildings)))
        for part, buildings in split_buildings(list(scenes), validation).items()
    }
    labelled = [task for column, task in enumerate(TASKS, 1) if any(entry[column] for entry in entries)]
    return _data(root, sets, entries, labelled, [])


def _data(
    root: Path, sets: dict[str, SceneSet], entries: tuple[Entry, ...], labelled: Sequence[str], others: list[str]
) -> DenseData:
    """All of it; `others` are files that belong to the data set besides those of the scenes."""
    weights = next((root / name for name in CLASS_WEIGHTS_FILES if (root / name).exists()), None)
    factors = None
    if weights is not None:
        values = read_array(weights).ravel()
        if len(values) != CLASSES:
            raise ValueError(f"{weights} has {len(values)} class weights; allowed: {CLASSES}")
        others, factors = [*others, weights.name], tuple(float(value) for value in values)
    return DenseData(
        "Tiny-Taskonomy",
        CLASSES,
        tuple(labelled),
        sets["train"],
        sets["val"],
        sets["test"],
        "log",
        digest_of_files(root, [*others, *named_files(entries)], whole=False),
        class_weights=factors,
        parts=(sets["train1"], sets["train2"]) if "train1" in sets else None,
    )
