"""NYUv2, CityScapes and Tiny-Taskonomy as users have them on disk.

In: a folder. Out: `DenseData`. Layouts (`datasets.md` 2.3):

* NYUv2: a list file (.json) with the keys train and test (train1 and train2 too, if the parts for weights and policy
  are given), each a list of [image png, segmentation png, normals png, depth npy]; the last is left out with two tasks.
* CityScapes, mtan's preprocessing: {train,val}/{image,depth,label_2,label_7,label_19}/<n>.npy.
* Tiny-Taskonomy: a list file with the keys train, val and test of [rgb, segmentation, normals, depth, keypoints, edges]
  pngs, and semseg_prior.npy, the class weights, beside it.

Paths in list files are relative to the folder; null means that a scene has no such label. Deviation: in NYUv2 the
picture of normals is decoded ((n + 1) / 2 * 255 in RGB = xyz), which AdaShare's code does not do.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from sim.shards import file_sha256
from transfer.dense.config import MultitaskConfig
from transfer.dense.data import TASKONOMY_LEVELS, DenseData, Scene, SceneSet, random_split, scene_set
from transfer.dense.heads import resize_nearest
from transfer.dense.metrics import IGNORED
from transfer.images import FORMATS

TASKONOMY_CLASSES, TASKONOMY_SIDE, TASKONOMY_FARTHEST = 17, 256, 64500
KEYPOINT_LARGEST, EDGE_LARGEST = 0.005, 0.08
NYU_CLASSES = 40
CLASS_WEIGHTS_FILE = "semseg_prior.npy"


def read_dense(config: MultitaskConfig, data: Path) -> DenseData:
    """The data set of a configuration.

    Raises:
        FileNotFoundError: no such folder, or a file that its list names is not there.
        ValueError: a layout that is not the configuration's, or labels that it lacks.
    """
    if not data.is_dir():
        raise FileNotFoundError(f"{data} is no folder")
    if config.layout == "rooms":
        from transfer.dense.rooms import read_rooms

        found = read_rooms(data, config.tasks)
    elif config.layout == "nyuv2":
        found = read_nyuv2(data, validation=config.validation)
    elif config.layout == "cityscapes":
        found = read_cityscapes(data, classes=config.cityscapes_classes, validation=config.validation)
    else:
        found = read_taskonomy(data)
    absent = [task for task in config.tasks if task not in found.labelled]
    if absent:
        raise ValueError(f"{data} has no labels for {', '.join(absent)}; it has {', '.join(found.labelled)}")
    return found


@dataclass(frozen=True)
class _NyuSource:
    root: Path
    entries: tuple[tuple[str | None, ...], ...]

    def read(self, row: int) -> Scene:
        image, *labels = self.entries[row]
        assert image is not None
        found: dict[str, Tensor] = {}
        for task, name in zip(("segmentation", "normals", "depth"), labels, strict=False):
            if name is None:
                continue
            path = self.root / name
            if task == "segmentation":
                found[task] = torch.from_numpy(read_picture(path, "L").astype(np.int64))
            elif task == "normals":
                found[task] = decode_normals(read_picture(path, "RGB"))
            else:
                found[task] = torch.from_numpy(_read_array(path).astype(np.float32).squeeze())[None]
        return Scene(_to_image(read_picture(self.root / image, "RGB")), found)


def read_nyuv2(root: Path, *, validation: float) -> DenseData:
    """NYUv2; a seeded share of its training scenes becomes the validation part."""
    path, lists = _read_lists(root, ("train", "test"), columns=(3, 4))
    entries = [tuple(entry) for name in lists for entry in lists[name]]
    source = _NyuSource(root, tuple(entries))
    sets = _sets(source, lists)
    train, val = random_split(sets["train"], validation, seed=0)
    kept = set(train.names)
    parts = None
    if "train1" in sets and "train2" in sets:
        first, second = (
            sets[name].select(np.array([i for i, n in enumerate(sets[name].names) if n in kept], dtype=np.int64))
            for name in ("train1", "train2")
        )
        parts = (first, second)
    labelled = ("segmentation", "normals", "depth")[: max(len(entry) for entry in entries) - 1]
    digest = _digest(root, _listed(path, entries), whole=True)
    return DenseData("NYUv2", NYU_CLASSES, labelled, train, val, sets["test"], "metres", digest, parts=parts)


@dataclass(frozen=True)
class _CityscapesSource:
    root: Path
    classes: int
    names: tuple[str, ...]

    def read(self, row: int) -> Scene:
        part, number = self.names[row].split("/")

        def array(kind: str) -> np.ndarray:
            return _read_array(self.root / part / kind / f"{number}.npy")

        classes = torch.from_numpy(array(f"label_{self.classes}").astype(np.int64))
        disparity = torch.from_numpy(array("depth").astype(np.float32)).squeeze()
        image = torch.from_numpy(array("image").astype(np.float32)).permute(2, 0, 1).contiguous()
        labels = {"segmentation": torch.where(classes < 0, IGNORED, classes), "depth": disparity[None]}
        return Scene(image, labels)


def read_cityscapes(root: Path, *, classes: int, validation: float) -> DenseData:
    """CityScapes; its val part is the test set, a seeded share of its training scenes is for validation."""
    if not (root / "train" / "image").is_dir():
        raise ValueError(f"{root} is no CityScapes folder in mtan's layout: it has no train/image")
    names = {
        part: sorted((path.stem for path in (root / part / "image").glob("*.npy")), key=int)
        for part in ("train", "val")
    }
    kinds = ("image", f"label_{classes}", "depth")
    for part, found in names.items():
        if not found:
            raise ValueError(f"{root / part / 'image'} holds no .npy files")
        for kind in kinds[1:]:
            lacking = [n for n in found if not (root / part / kind / f"{n}.npy").exists()]
            if lacking:
                raise FileNotFoundError(f"{root / part / kind / lacking[0]}.npy is missing")
    everything = [f"{part}/{name}" for part, found in names.items() for name in found]
    whole = scene_set(_CityscapesSource(root, classes, tuple(everything)), everything)
    count = len(names["train"])
    train, val = random_split(whole.select(np.arange(count)), validation, seed=0)
    test = whole.select(np.arange(count, len(everything)))
    files = [f"{part}/{kind}/{name}.npy" for part, found in names.items() for kind in kinds for name in found]
    digest = _digest(root, files, whole=False)
    return DenseData("CityScapes", classes, ("segmentation", "depth"), train, val, test, "disparity", digest)


@dataclass(frozen=True)
class _TaskonomySource:
    root: Path
    entries: tuple[tuple[str | None, ...], ...]

    def read(self, row: int) -> Scene:
        paths = [None if name is None else self.root / name for name in self.entries[row]]
        image, segmentation, normals, depth, keypoints, edges = paths
        assert image is not None
        labels: dict[str, Tensor] = {}
        measured: Tensor | None = None
        if segmentation is not None:
            raw = torch.from_numpy(read_picture(segmentation, "L").astype(np.int64))
            labels["segmentation"] = torch.where(raw == 0, IGNORED, raw - 1)
        if depth is not None:
            levels = torch.from_numpy(read_picture(depth, "16").astype(np.float32))
            measured = levels < TASKONOMY_FARTHEST
            labels["depth"] = torch.where(measured, encode_depth(levels), 0.0)[None]
        if normals is not None:
            decoded = decode_normals(read_picture(normals, "RGB"), marked=False)
            labels["normals"] = decoded if measured is None else decoded * measured
        for task, path, largest in (("keypoints", keypoints, KEYPOINT_LARGEST), ("edges", edges, EDGE_LARGEST)):
            if path is not None:
                raw_map = torch.from_numpy(read_picture(path, "16").astype(np.float32))
                labels[task] = encode_heat(raw_map / TASKONOMY_LEVELS, largest)[None]
        side = (TASKONOMY_SIDE, TASKONOMY_SIDE)
        picture = _to_image(read_picture(image, "RGB"))
        return Scene(
            resize_nearest(picture, side), {task: resize_nearest(label, side) for task, label in labels.items()}
        )


def read_taskonomy(root: Path) -> DenseData:
    """Tiny-Taskonomy; class weights from `semseg_prior.npy` if it is there."""
    path, lists = _read_lists(root, ("train", "val", "test"), columns=(6,))
    entries = [tuple(entry) for name in lists for entry in lists[name]]
    source = _TaskonomySource(root, tuple(entries))
    sets = _sets(source, lists)
    weights = root / CLASS_WEIGHTS_FILE
    files, factors = _listed(path, entries), None
    if weights.exists():
        values = _read_array(weights).ravel()
        if len(values) != TASKONOMY_CLASSES:
            raise ValueError(f"{weights} has {len(values)} class weights; allowed: {TASKONOMY_CLASSES}")
        files, factors = [*files, weights.name], tuple(float(value) for value in values)
    parts = (sets["train1"], sets["train2"]) if "train1" in sets and "train2" in sets else None
    return DenseData(
        "Tiny-Taskonomy",
        TASKONOMY_CLASSES,
        ("segmentation", "normals", "depth", "keypoints", "edges"),
        sets["train"],
        sets["val"],
        sets["test"],
        "log",
        _digest(root, files, whole=False),
        class_weights=factors,
        parts=parts,
    )


def encode_depth(levels: Tensor) -> Tensor:
    """Taskonomy's depth label: log(1 + z) / log(2^16), so that 0 -> 0 and 65535 -> 1."""
    return torch.log1p(levels) / math.log(TASKONOMY_LEVELS)


def encode_heat(values: Tensor, largest: float) -> Tensor:
    """Taskonomy's keypoint and edge labels: clipped to 0 .. largest, then stretched to -1 .. 1."""
    return values.clamp(0, largest) / largest * 2 - 1


def decode_normals(picture: np.ndarray, *, marked: bool = True) -> Tensor:
    """(H, W, 3) uint8 with (n + 1) / 2 * 255 -> (3, H, W) unit vectors.

    Args:
        marked: a pixel with a channel of 255 has no normal (NYUv2); its vector becomes zero.
    """
    vectors = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 255 * 2 - 1
    unit = torch.nn.functional.normalize(vectors, dim=0)
    if not marked:
        return unit
    valid = torch.from_numpy((picture != 255).all(axis=2))
    return torch.where(valid, unit, 0.0)


def read_picture(path: Path, mode: str) -> np.ndarray:
    """Pixels of a picture; mode "RGB", "L" (8 bits, palette indices as they are) or "16" (16 bits).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, or of another kind.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            if mode == "RGB":
                return np.asarray(picture.convert("RGB"))
            allowed = ("L", "P") if mode == "L" else ("I", "I;16", "I;16B")
            if picture.mode not in allowed:
                raise ValueError(f"{path} has pixels of mode {picture.mode}; allowed: {', '.join(allowed)}")
            return np.asarray(picture)
    except (UnidentifiedImageError, SyntaxError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None


def _read_array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from None
    return array


def _to_image(picture: np.ndarray) -> Tensor:
    return torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1) / 255


def _read_lists(
    root: Path, needed: Sequence[str], *, columns: tuple[int, ...]
) -> tuple[Path, dict[str, list[list[str | None]]]]:
    """The one list file of a folder, checked: keys, columns, and that every named file is there."""
    found = sorted(root.glob("*.json"))
    if len(found) != 1:
        raise ValueError(f"{root} has {len(found)} list files (*.json); allowed: exactly one")
    path = found[0]
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or any(not content.get(key) for key in needed):
        raise ValueError(f"{path} needs the keys {', '.join(needed)}, each with at least one scene")
    lists: dict[str, list[list[str | None]]] = {
        key: content[key] for key in (*needed, "train1", "train2") if content.get(key)
    }
    for key, entries in lists.items():
        for number, entry in enumerate(entries):
            if not isinstance(entry, list) or len(entry) not in columns or not isinstance(entry[0], str):
                raise ValueError(
                    f"{path}: scene {number} of {key} is no list of {' or '.join(map(str, columns))} files"
                )
            for name in entry:
                if name is not None and not (root / name).is_file():
                    raise FileNotFoundError(f"{root / name}, which {path.name} names, is missing")
    return path, lists


def _sets(source: _NyuSource | _TaskonomySource, lists: dict[str, list[list[str | None]]]) -> dict[str, SceneSet]:
    """One SceneSet per key, over entries in the order of the keys."""
    whole = scene_set(source, [str(entry[0]) for entries in lists.values() for entry in entries])
    sets, start = {}, 0
    for key, entries in lists.items():
        sets[key] = whole.select(np.arange(start, start + len(entries)))
        start += len(entries)
    return sets


def _listed(path: Path, entries: Sequence[Sequence[str | None]]) -> list[str]:
    """A list file and all files that it names."""
    return [path.name, *(name for entry in entries for name in entry if name is not None)]


def _digest(root: Path, names: Sequence[str], *, whole: bool) -> str:
    """sha256 of what a data set consists of; other labels under the same names are another data set.

    Args:
        whole: files are read; else size and time of change stand for the content of each, because a large set takes
            long to read (copy such a set with its times).
    """
    facts: list[tuple[object, ...]] = []
    for name in sorted(set(names)):
        state = (root / name).stat()
        facts.append((name, file_sha256(root / name)) if whole else (name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
