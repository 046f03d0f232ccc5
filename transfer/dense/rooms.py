"""Rendered rooms with per-pixel labels as a dense data set.

In: a folder with the data sets train, val and test, each rendered by `simpath render --layout room --passes
class,normals,depth,keypoints,edges` (see `sim.labels` for the encodings). Out: `DenseData`. The three parts must not
share a 3D model: render them from different halves of the models, or from other catalogue seeds.

Segmentation has the classes environment, floor, walls and those of the objects. Keypoints and edges go from -1 to 1 as
in Tiny-Taskonomy.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sim.inspection import read_index
from sim.labels import DEPTH_UNIT_M
from sim.shards import file_sha256
from transfer.dense.data import DenseData, Scene, SceneSet, scene_set
from transfer.dense.files import decode_normals
from transfer.images import FORMATS

PARTS = ("train", "val", "test")
FILES = {
    "segmentation": "class.png",
    "normals": "normals.png",
    "depth": "depth.png",
    "keypoints": "keypoints.png",
    "edges": "edges.png",
}
"""Member of a sample that holds each task's labels."""
BACKGROUND = ("environment", "floor", "walls")
"""Segmentation classes before those of the objects."""


@dataclass(frozen=True)
class Member:
    """A file inside a tar."""

    path: Path
    offset: int
    size: int

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


@dataclass(frozen=True)
class RoomSource:
    """Samples of one rendered data set.

    Attributes:
        members: of every sample by field; the image's own field is `image`.
        tasks: whose labels are decoded, where there are any.
    """

    members: tuple[dict[str, Member], ...]
    image: str
    tasks: tuple[str, ...]

    def read(self, row: int) -> Scene:
        fields = self.members[row]
        picture = _pixels(fields[self.image]).astype(np.float32)
        labels = {
            task: decode_label(task, _pixels(fields[FILES[task]])) for task in self.tasks if FILES[task] in fields
        }
        return Scene(torch.from_numpy(picture).permute(2, 0, 1) / 255, labels)


def decode_label(task: str, pixels: np.ndarray) -> Tensor:
    """A label picture as the label map of `data.Scene`."""
    if task == "segmentation":
        return torch.from_numpy(pixels.astype(np.int64))
    if task == "normals":
        return decode_normals(pixels, pixels.max(axis=2) > 0)
    values = torch.from_numpy(pixels.astype(np.float32))[None]
    return values * DEPTH_UNIT_M if task == "depth" else values / 255 * 2 - 1


def read_rooms(root: Path, tasks: tuple[str, ...] = tuple(FILES)) -> DenseData:
    """The three parts of a folder, every shard checked against its index.

    Args:
        tasks: whose labels are decoded when a scene is read; by default all that there are.

    Raises:
        FileNotFoundError: a part or a shard is missing.
        ValueError: damaged shards, parts with other classes or labels, or a model in two parts.
    """
    sets: dict[str, SceneSet] = {}
    indices = {part: read_index(root / part) for part in PARTS}
    labelled: set[str] = set(FILES)
    models: dict[str, set[str]] = {}
    for part, index in indices.items():
        if index["classes"] != indices["train"]["classes"]:
            raise ValueError(f"{root}: {part} has other classes than train")
        source, names, models[part] = _scan(root / part, index, tasks)
        labelled &= set(FILES) if not names else {t for t, f in FILES.items() if f in source.members[0]}
        sets[part] = scene_set(source, names)
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        common = sorted(models[first] & models[second])
        if common:
            raise ValueError(f"{root}: {first} and {second} share {len(common)} models, among them {common[0]}")
    if not labelled:
        raise ValueError(f"{root} has no label maps; render with --passes class,normals,depth,keypoints,edges")
    classes = (*BACKGROUND, *indices["train"]["classes"])
    shards = [[part, [shard["sha256"] for shard in index["shards"]]] for part, index in indices.items()]
    return DenseData(
        name="rooms",
        classes=len(classes),
        labelled=tuple(task for task in FILES if task in labelled),
        train=sets["train"],
        val=sets["val"],
        test=sets["test"],
        depth="metres",
        digest=hashlib.sha256(json.dumps(shards).encode()).hexdigest(),
        class_names=classes,
    )


def _scan(folder: Path, index: dict[str, Any], tasks: tuple[str, ...]) -> tuple[RoomSource, list[str], set[str]]:
    """Samples of a data set in index order, their keys, and the models that they show."""
    samples: dict[str, dict[str, Member]] = {}
    models: set[str] = set()
    catalog = index["config"]["catalog"]
    # one folder has many spellings; a model in two parts is one whatever was typed
    origin = f"seed {catalog['seed']}" if catalog["assets"] is None else str(Path(catalog["assets"]).resolve())
    for shard in index["shards"]:
        path = folder / shard["name"]
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing")
        if file_sha256(path) != shard["sha256"]:
            raise ValueError(f"{path} was altered: its sha256 differs from {folder / 'index.json'}")
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                key, _, field = member.name.partition(".")
                samples.setdefault(key, {})[field] = Member(path, member.offset_data, member.size)
    for key, fields in samples.items():
        if fields.keys() != samples[next(iter(samples))].keys():
            raise ValueError(f"{folder}: sample {key} has other files than the first one")
        record = json.loads(fields["json"].read())
        shown = [record, *(record["room"]["others"] if record.get("room") else [])]
        models |= {f"{thing['model']} ({origin})" for thing in shown}
    names = sorted(samples)
    return RoomSource(tuple(samples[name] for name in names), index["config"]["format"], tasks), names, models


def _pixels(member: Member) -> np.ndarray:
    with Image.open(io.BytesIO(member.read()), formats=FORMATS) as picture:
        return np.asarray(picture.convert("RGB") if picture.format == "JPEG" else picture)
