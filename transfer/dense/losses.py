"""The loss of each dense task over the pixels that have a label; no labelled pixel means no loss.

Source: AdaShare (`adashare.md` 2.4): cross-entropy, 1 - mean cosine, L1. Losses are computed at the resolution of the
prediction against labels resized by nearest neighbour. Deviation: 1. a depth of 0 counts as unmeasured in every data
set, in Taskonomy too, where the source leaves out far pixels (z of 64500 and more) only.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.dense.config import MultitaskConfig
from transfer.dense.heads import resize_nearest
from transfer.dense.metrics import (
    IGNORED,
    LEAST_DEPTH,
    NO_VALUE,
    CosineMeter,
    CrossEntropyMeter,
    DepthMeter,
    DistanceMeter,
    Meter,
    NormalsMeter,
    NormalsSpace,
    SegmentationMeter,
    cosines,
    normals_as_bytes,
    valid_normals,
)


@dataclass(frozen=True)
class DenseTask:
    """One per-pixel task: its channels, loss and meter.

    Attributes:
        name: one of `config.TaskName`.
        outputs: channels of the prediction.
        weight: lambda of its loss.
        class_weights: (C,) of the cross-entropy, if the data set brings them.
        focal_gamma: exponent of (1 - p) on each pixel's cross-entropy.
        regression: whether uncertainty weighting halves its loss.
    """

    name: str
    outputs: int
    weight: float = 1.0
    class_weights: tuple[float, ...] | None = None
    normals_space: NormalsSpace = "decoded"
    focal_gamma: float = 0.0
    drop_zero_tp: bool = False
    taskonomy_metrics: bool = False

    @property
    def regression(self) -> bool:
        return self.name != "segmentation"

    def valid(self, label: Tensor) -> Tensor:
        """(B, H, W) bool: the pixels of a label map that count."""
        if self.name == "segmentation":
            return label != IGNORED
        if self.name == "normals":
            return valid_normals(label)
        return (label > (LEAST_DEPTH if self.name == "depth" else NO_VALUE + 0.5)).squeeze(1)

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor | None:
        """Mean loss over the valid pixels in float32, None if there is none.

        Args:
            prediction: (B, outputs, h, w).
            label: (B, H, W) int64 classes, or (B, channels, H, W).
        """
        label = resize_nearest(label, (prediction.shape[-2], prediction.shape[-1]))
        valid = self.valid(label)
        if not bool(valid.any()):
            return None
        prediction = prediction.float()
        if self.name == "segmentation":
            return self._cross_entropy(prediction, label, valid)
        if self.name == "normals":
            target = label if self.normals_space == "decoded" else normals_as_bytes(label)
            return 1 - cosines(prediction, target)[valid].mean()
        return (prediction - label).abs()[valid[:, None]].mean()

    def _cross_entropy(self, prediction: Tensor, label: Tensor, valid: Tensor) -> Tensor:
        weights = None if self.class_weights is None else prediction.new_tensor(self.class_weights)
        if self.focal_gamma == 0:
            return F.cross_entropy(prediction, label, weight=weights, ignore_index=IGNORED)
        losses = F.cross_entropy(prediction, label, ignore_index=IGNORED, reduction="none")[valid]
        losses = (1 - torch.exp(-losses)) ** self.focal_gamma * losses
        if weights is None:
            return losses.mean()
        per_pixel = weights[label[valid]]
        return (losses * per_pixel).sum() / per_pixel.sum()

    def meter(self) -> Meter:
        """Statistics of the metrics that are reported for this task."""
        if self.name == "segmentation":
            if self.taskonomy_metrics:
                return CrossEntropyMeter(None if self.class_weights is None else torch.tensor(self.class_weights))
            return SegmentationMeter(self.outputs, drop_zero_tp=self.drop_zero_tp)
        if self.name == "normals":
            return CosineMeter() if self.taskonomy_metrics else NormalsMeter(space=self.normals_space)
        if self.name == "depth" and not self.taskonomy_metrics:
            return DepthMeter()
        return DistanceMeter(depth=self.name == "depth")

    def performance(self, prediction: Tensor, label: Tensor) -> float | None:
        """Key performance indicator in 0 to 1 for dynamic task prioritisation, None without a labelled pixel.

        Pixel accuracy; share of normals within 30 degrees; share of depths within a factor of 1.25; share of
        keypoint and edge values within 0.1.
        """
        label = resize_nearest(label, (prediction.shape[-2], prediction.shape[-1]))
        valid = self.valid(label)
        if not bool(valid.any()):
            return None
        if self.name == "segmentation":
            good = prediction.argmax(1) == label
        elif self.name == "normals":
            target = label if self.normals_space == "decoded" else normals_as_bytes(label)
            good = cosines(prediction.float(), target) > 3**0.5 / 2
        elif self.name == "depth":
            low, high = prediction.squeeze(1) * 1.25 > label.squeeze(1), prediction.squeeze(1) < label.squeeze(1) * 1.25
            good = low & high
        else:
            good = (prediction - label).abs().squeeze(1) < 0.1
        return float(good[valid].float().mean())


def dense_tasks(
    config: MultitaskConfig, *, classes: int, class_weights: tuple[float, ...] | None = None
) -> tuple[DenseTask, ...]:
    """The tasks of a configuration for data with this many segmentation classes."""
    outputs: dict[str, int] = {"segmentation": classes, "normals": 3}
    return tuple(
        DenseTask(
            name,
            outputs.get(name, 1),
            weight=weight,
            class_weights=class_weights if name == "segmentation" else None,
            normals_space=config.normals_space,
            focal_gamma=config.balance.dtp_focal_gamma if name == "segmentation" else 0.0,
            drop_zero_tp=config.miou_drop_zero_tp,
            taskonomy_metrics=config.metrics == "taskonomy",
        )
        for name, weight in zip(config.tasks, config.loss_weights, strict=True)
    )
