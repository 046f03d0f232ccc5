"""Scenes with per-pixel labels: types, training views and batches; the same for every data set.

In: a source that reads one scene at a time. Out: batches of normalised images with labels, where pixels without a label
carry the marks of `metrics.py`.

Source: `datasets.md` 2.3 (AdaShare's loaders). Deviations:

1. Images are RGB in 0 to 1, normalised by ImageNet's mean and deviation (there: BGR minus mean).
2. Metric depth is divided by the scale factor of the view, and disparity multiplied by it.
3. The x component of normals changes sign when a view is flipped.
4. A file that cannot be read raises.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.dense.heads import resize_nearest
from transfer.dense.metrics import IGNORED, LEAST_DEPTH, NO_VALUE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
DepthKind = Literal["metres", "disparity", "log"]
TASKONOMY_LEVELS = 2.0**16


@dataclass(frozen=True)
class Scene:
    """One image with its labels.

    Attributes:
        image: (3, H, W) float32, RGB in 0 to 1.
        labels: per task (H, W) int64 classes, (3, H, W) unit normals, or (1, H, W); a task that is not there has no
            label in this scene.
    """

    image: Tensor
    labels: dict[str, Tensor]


class SceneSource(Protocol):
    """Where scenes lie; rows are positions in the source, not in a split."""

    def read(self, row: int) -> Scene: ...


@dataclass(frozen=True)
class SceneSet:
    """N scenes of one split."""

    source: SceneSource
    names: tuple[str, ...]
    rows: np.ndarray  # (N,) int64, position of each scene in the source

    def __len__(self) -> int:
        return len(self.names)

    def read(self, index: int) -> Scene:
        return self.source.read(int(self.rows[index]))

    def select(self, indices: np.ndarray) -> SceneSet:
        """The scenes at these positions, in this order."""
        return replace(self, names=tuple(self.names[i] for i in indices), rows=self.rows[indices])


def scene_set(source: SceneSource, names: Sequence[str]) -> SceneSet:
    """All scenes of a source."""
    return SceneSet(source, tuple(names), np.arange(len(names)))


@dataclass(frozen=True)
class DenseData:
    """A data set in three parts.

    Attributes:
        classes: of segmentation (0 without it), with their names where known.
        labelled: tasks that the data set has labels for.
        depth: what depth labels are, which scaling a view has to respect.
        parts: the training scenes for weights and for the policy, if the data set brings this split.
        digest: of what the set consists of, labels included.
    """

    name: str
    classes: int
    labelled: tuple[str, ...]
    train: SceneSet
    val: SceneSet
    test: SceneSet
    depth: DepthKind
    digest: str
    class_names: tuple[str, ...] = ()
    class_weights: tuple[float, ...] | None = None
    parts: tuple[SceneSet, SceneSet] | None = None


def random_split(scenes: SceneSet, share: float, *, seed: int) -> tuple[SceneSet, SceneSet]:
    """A seeded split: (1 - share, share) of the scenes, at least one in each.

    Raises:
        ValueError: fewer than two scenes.
    """
    if len(scenes) < 2:
        raise ValueError(f"{len(scenes)} scenes cannot be split in two")
    count = min(len(scenes) - 1, max(1, round(share * len(scenes))))
    order = np.random.default_rng([seed, 2]).permutation(len(scenes))
    return scenes.select(np.sort(order[count:])), scenes.select(np.sort(order[:count]))


def split_record(data: DenseData, parts: tuple[SceneSet, SceneSet]) -> dict[str, Any]:
    """Names of the scenes of every part, and the sha256 of these lists as compact JSON.

    Args:
        parts: the training scenes for weights and for the policy.
    """
    sets = {"train": data.train, "validation": data.val, "test": data.test}
    sets |= {"train_weights": parts[0], "train_policy": parts[1]}
    names = {name: list(scenes.names) for name, scenes in sets.items()}
    return {"parts": names, "sha256": hashlib.sha256(json.dumps(names, separators=(",", ":")).encode()).hexdigest()}


@dataclass(frozen=True)
class ViewConfig:
    """How a training view is cut from a scene."""

    crop: int
    scale: tuple[float, float]
    flip: bool
    depth: DepthKind


def training_view(scene: Scene, config: ViewConfig, generator: torch.Generator) -> Scene:
    """A scaled, flipped, padded and cropped view; four draws whatever the configuration."""
    factor, flip, top, left = torch.rand(4, generator=generator, dtype=torch.float64).tolist()
    factor = config.scale[0] + (config.scale[1] - config.scale[0]) * factor
    scene = pad(scaled(scene, factor, config.depth), config.crop)
    if config.flip and flip < 0.5:
        scene = flipped(scene)
    height, width = scene.image.shape[-2:]
    y, x = int(top * (height - config.crop + 1)), int(left * (width - config.crop + 1))

    def cut(map_: Tensor) -> Tensor:
        return map_[..., y : y + config.crop, x : x + config.crop]

    return Scene(cut(scene.image), {task: cut(label) for task, label in scene.labels.items()})


def scaled(scene: Scene, factor: float, depth: DepthKind) -> Scene:
    """Resized by a factor: the image bilinearly, labels to the nearest; things twice as large are half as far."""
    if factor == 1:
        return scene
    size = tuple(max(1, round(side * factor)) for side in scene.image.shape[-2:])
    image = F.interpolate(scene.image[None], size=size, mode="bilinear", align_corners=False)[0]
    labels = {task: resize_nearest(label, (size[0], size[1])) for task, label in scene.labels.items()}
    if "depth" in labels:
        labels["depth"] = scaled_depth(labels["depth"], factor, depth)
    return Scene(image, labels)


def scaled_depth(label: Tensor, factor: float, kind: DepthKind) -> Tensor:
    """Depth labels of a scene that looks `factor` times as large; pixels without depth keep their mark."""
    if kind == "metres":
        values = label / factor
    elif kind == "disparity":
        values = label * factor
    else:
        values = torch.log1p(torch.expm1(label * math.log(TASKONOMY_LEVELS)) / factor) / math.log(TASKONOMY_LEVELS)
    return torch.where(label > LEAST_DEPTH, values, label)


def flipped(scene: Scene) -> Scene:
    """Left and right exchanged; twice gives the scene back."""
    labels = {task: label.flip(-1) for task, label in scene.labels.items()}
    if "normals" in labels:
        labels["normals"] = labels["normals"] * torch.tensor([-1.0, 1, 1])[:, None, None]
    return Scene(scene.image.flip(-1), labels)


def pad(scene: Scene, side: int) -> Scene:
    """At least side x side, black and without labels at the right and at the bottom."""
    missing = (0, max(0, side - scene.image.shape[-1]), 0, max(0, side - scene.image.shape[-2]))
    if not any(missing):
        return scene
    labels = {task: F.pad(label, missing, value=empty_value(task)) for task, label in scene.labels.items()}
    return Scene(F.pad(scene.image, missing), labels)


def empty_value(task: str) -> float:
    """The mark of a pixel without a label."""
    return {"segmentation": IGNORED, "keypoints": NO_VALUE, "edges": NO_VALUE}.get(task, 0)


def empty_label(task: str, height: int, width: int) -> Tensor:
    """A label map without any labelled pixel."""
    if task == "segmentation":
        return torch.full((height, width), IGNORED)
    return torch.full((3 if task == "normals" else 1, height, width), float(empty_value(task)))


@dataclass(frozen=True)
class Batch:
    """B scenes of one size: normalised images (B, 3, H, W) and a label map per task."""

    images: Tensor
    labels: dict[str, Tensor]

    def to(self, device: str) -> Batch:
        return Batch(
            self.images.to(device, non_blocking=True),
            {task: label.to(device, non_blocking=True) for task, label in self.labels.items()},
        )


def stack(scenes: Sequence[Scene], tasks: Sequence[str]) -> Batch:
    """Scenes of one size as a batch; a task that a scene lacks becomes a map without labels.

    Raises:
        ValueError: scenes of different sizes.
    """
    sizes = {scene.image.shape for scene in scenes}
    if len(sizes) > 1:
        raise ValueError(f"scenes of different sizes in one batch: {sorted(tuple(size[1:]) for size in sizes)}")
    images = torch.stack([scene.image for scene in scenes])
    mean, std = (images.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    height, width = images.shape[-2:]
    labels = {
        task: torch.stack([scene.labels.get(task, empty_label(task, height, width)) for scene in scenes])
        for task in tasks
    }
    return Batch((images - mean) / std, labels)


def in_order(scenes: SceneSet, tasks: Sequence[str], batch_size: int) -> Iterator[Batch]:
    """Whole scenes, each once, in order."""
    for start in range(0, len(scenes), batch_size):
        yield stack([scenes.read(i) for i in range(start, min(start + batch_size, len(scenes)))], tasks)


def seeded_generator(*words: int) -> torch.Generator:
    """A generator of its own for every tuple of numbers."""
    # the length ends the tuple: numpy takes (7,) and (7, 0) for the same
    state = np.random.SeedSequence((*words, len(words))).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


@dataclass(frozen=True)
class Sampler:
    """Training batches by number: batch i is a function of (seed, i), so that a run can be taken up anywhere.

    Every epoch is a fresh permutation; its last batch is left out if it would be short, unless it is the only one.
    """

    scenes: SceneSet
    tasks: tuple[str, ...]
    view: ViewConfig
    batch_size: int
    seed: tuple[int, ...]

    @property
    def batches_per_epoch(self) -> int:
        return max(1, len(self.scenes) // self.batch_size)

    def batch(self, number: int) -> Batch:
        epoch, position = divmod(number, self.batches_per_epoch)
        order = torch.randperm(len(self.scenes), generator=seeded_generator(*self.seed, epoch))
        rows = order[position * self.batch_size : (position + 1) * self.batch_size].tolist()
        views = [
            training_view(self.scenes.read(row), self.view, seeded_generator(*self.seed, epoch, row)) for row in rows
        ]
        return stack(views, self.tasks)
