"""Metrics of dense tasks as sums over images, so that they pool, stream and can be bootstrapped.

In: predictions and labels of a batch. Out: one row of additive statistics per image; the metrics are a function of the
summed rows alone. Adding rows in any batching gives the same result, and resampling rows resamples images.

Source: `datasets.md` 4 (AdaShare, section 4). Invalid pixels are marked in the labels: 255 in segmentation, the zero
vector in normals, values up to 3e-5 in depth, -2 in keypoints and edges.

Deviations from AdaShare's released code:

1. One confusion matrix; a class is left out of mIoU only if it is in neither labels nor predictions. The code leaves
   out every class without a true positive (`drop_zero_tp=True`).
2. Pixel accuracy and the depth errors are pooled over pixels, not averaged over batches; ignored pixels never count.
3. Normals are compared as unit vectors in camera space. The published NYUv2 numbers compare the raw bytes of the
   picture (`space="uint8"`), where all angles are two to three times smaller.
4. Thresholds are strict (the code has "at most").
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = 255
"""Segmentation label of a pixel that does not count."""
NO_VALUE = -2.0
"""Keypoint and edge label of a pixel that does not count (valid ones lie in -1 to 1)."""
LEAST_DEPTH = 3e-5
"""Depth up to here means: not measured."""

NormalsSpace = Literal["decoded", "uint8"]
ANGLE_BINS = 3600
"""Of 0.05 degrees each, for the median."""
NORMALS_THRESHOLDS_DEG = (11.25, 22.5, 30.0)


class Meter:
    """Additive statistics of one task.

    Attributes:
        higher_is_better: of every metric that `compute` returns, in the order of the published tables.
        size: statistics per image.
    """

    higher_is_better: ClassVar[Mapping[str, bool]]
    size: int

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """(B, size) float64 on the CPU. The prediction has the label's height and width."""
        raise NotImplementedError

    def compute(self, total: np.ndarray) -> dict[str, float]:
        """Metrics of a (size,) sum of rows; NaN where no pixel counted."""
        raise NotImplementedError


class SegmentationMeter(Meter):
    """Pooled mIoU and pixel accuracy in percent from one confusion matrix.

    Args:
        drop_zero_tp: leave out every class without a true positive, as AdaShare's code does (inflates mIoU).
    """

    higher_is_better: ClassVar[Mapping[str, bool]] = {"miou": True, "pixel_accuracy": True}

    def __init__(self, classes: int, *, drop_zero_tp: bool = False) -> None:
        self.classes, self.drop_zero_tp = classes, drop_zero_tp
        self.size = classes * classes

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Logits (B, C, H, W) or classes (B, H, W); labels (B, H, W), `IGNORED` where they do not count.

        Raises:
            ValueError: a label that is neither a class nor `IGNORED`.
        """
        chosen = prediction.argmax(1) if prediction.dim() == 4 else prediction
        valid = label != IGNORED
        if bool(((label < 0) | (label >= self.classes))[valid].any()):
            found = label[valid & ((label < 0) | (label >= self.classes))][0]
            raise ValueError(
                f"segmentation label {int(found)}; allowed: 0 to {self.classes - 1}, {IGNORED} for ignored pixels"
            )
        cell = torch.where(valid, label.long() * self.classes + chosen.long(), 0)
        rows = torch.zeros(len(label), self.size, dtype=torch.float64, device=label.device)
        rows.scatter_add_(1, cell.flatten(1), valid.flatten(1).double())
        return rows.cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        matrix = total.reshape(self.classes, self.classes)  # rows: labels, columns: predictions
        correct = np.diag(matrix)
        union = matrix.sum(0) + matrix.sum(1) - correct
        counted = correct > 0 if self.drop_zero_tp else union > 0
        return {
            "miou": 100 * float(np.mean(correct[counted] / union[counted])) if counted.any() else math.nan,
            "pixel_accuracy": 100 * _ratio(correct.sum(), matrix.sum()),
        }


class DepthMeter(Meter):
    """Mean absolute and relative error, and the share of pixels with max(p / g, g / p) below 1.25, 1.25^2, 1.25^3.

    A prediction that is not positive fails all three thresholds.
    """

    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "abs": False,
        "rel": False,
        "delta1": True,
        "delta2": True,
        "delta3": True,
    }
    size = 6

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """(B, 1, H, W) each, labels above `LEAST_DEPTH` where they count."""
        valid = label > LEAST_DEPTH
        predicted, true = prediction.double(), torch.where(valid, label.double(), 1.0)
        error = (predicted - true).abs()
        positive = predicted > 0
        ratio = torch.where(positive, predicted, 1.0) / true
        ratio = torch.where(positive, torch.maximum(ratio, 1 / ratio), math.inf)
        parts = [error, error / true, *((ratio < 1.25**power).double() for power in (1, 2, 3))]
        counts = valid.flatten(1).sum(1).double()
        sums = [torch.where(valid, part, 0.0).flatten(1).sum(1) for part in parts]
        return torch.stack([*sums, counts], dim=1).cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        scale = {"abs": 1, "rel": 1, "delta1": 100, "delta2": 100, "delta3": 100}
        return {
            name: scale[name] * _ratio(value, total[-1])
            for name, value in zip(self.higher_is_better, total, strict=False)
        }


class NormalsMeter(Meter):
    """Angles between predicted and true normals in degrees: mean, median, percent below 11.25, 22.5 and 30.

    The median comes from a histogram with bins of 0.05 degrees, interpolated inside the bin.

    Args:
        space: "uint8" compares the label's bytes (n + 1) / 2 * 255 with a prediction of such bytes, without
            decoding, as the published NYUv2 tables do; those are not angles between normals.
    """

    higher_is_better: ClassVar[Mapping[str, bool]] = {
        "mean": False,
        "median": False,
        "within_11.25": True,
        "within_22.5": True,
        "within_30": True,
    }
    size = 4 + 1 + ANGLE_BINS

    def __init__(self, *, space: NormalsSpace = "decoded") -> None:
        self.space = space

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """(B, 3, H, W) each; the prediction's length does not matter, labels are unit vectors or zero (invalid)."""
        valid = valid_normals(label)
        target = label if self.space == "decoded" else normals_as_bytes(label)
        angle = angles_deg(prediction, target)
        sums = [torch.where(valid, angle, 0.0)]
        sums += [(valid & (angle < threshold)).double() for threshold in NORMALS_THRESHOLDS_DEG]
        bins = (angle / 180 * ANGLE_BINS).long().clamp(0, ANGLE_BINS - 1)
        histogram = torch.zeros(len(label), ANGLE_BINS, dtype=torch.float64, device=label.device)
        histogram.scatter_add_(1, bins.flatten(1), valid.flatten(1).double())
        heads = [part.flatten(1).sum(1, keepdim=True) for part in (*sums, valid.double())]
        return torch.cat([*heads, histogram], dim=1).cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        angle, *below, count = total[:5]
        shares = {
            name: 100 * _ratio(value, count) for name, value in zip(list(self.higher_is_better)[2:], below, strict=True)
        }
        return {"mean": _ratio(angle, count), "median": _histogram_median(total[5:]), **shares}


class DistanceMeter(Meter):
    """Mean absolute difference over the pixels that count: keypoints, edges, and Tiny-Taskonomy's depth.

    Args:
        depth: the label is a depth, where other pixels do not count.
    """

    higher_is_better: ClassVar[Mapping[str, bool]] = {"l1": False}
    size = 2

    def __init__(self, *, depth: bool = False) -> None:
        self.least = LEAST_DEPTH if depth else NO_VALUE + 0.5  # between the mark and the least valid value, -1

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """(B, 1, H, W) each."""
        valid = label > self.least
        error = torch.where(valid, (prediction - label).abs().double(), 0.0)
        return torch.stack([error.flatten(1).sum(1), valid.flatten(1).sum(1).double()], dim=1).cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        return {"l1": _ratio(total[0], total[1])}


class CosineMeter(Meter):
    """Mean cosine between predicted and true normals; Tiny-Taskonomy's metric."""

    higher_is_better: ClassVar[Mapping[str, bool]] = {"cosine": True}
    size = 2

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        valid = valid_normals(label)
        cosine = torch.where(valid, cosines(prediction.double(), label.double()), 0.0)
        return torch.stack([cosine.flatten(1).sum(1), valid.flatten(1).sum(1).double()], dim=1).cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        return {"cosine": _ratio(total[0], total[1])}


class CrossEntropyMeter(Meter):
    """Class-weighted cross-entropy over the pixels that count; Tiny-Taskonomy's metric of segmentation.

    Args:
        class_weights: (C,), all 1 if none are given.
    """

    higher_is_better: ClassVar[Mapping[str, bool]] = {"cross_entropy": False}
    size = 2

    def __init__(self, class_weights: Tensor | None = None) -> None:
        self.class_weights = class_weights

    def per_image(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Logits (B, C, H, W), labels (B, H, W)."""
        weights = None if self.class_weights is None else self.class_weights.to(prediction.device).double()
        losses = F.cross_entropy(
            prediction.double(), label.long(), weight=weights, ignore_index=IGNORED, reduction="none"
        )
        valid = label != IGNORED
        counted = valid.double() if weights is None else torch.where(valid, weights[torch.where(valid, label, 0)], 0.0)
        return torch.stack([losses.flatten(1).sum(1), counted.flatten(1).sum(1)], dim=1).cpu()

    def compute(self, total: np.ndarray) -> dict[str, float]:
        return {"cross_entropy": _ratio(total[0], total[1])}


def measure(meter: Meter, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, float]:
    """Metrics over all (prediction, label) batches."""
    total = np.zeros(meter.size)
    for prediction, label in batches:
        total += meter.per_image(prediction, label).sum(0).numpy()
    return meter.compute(total)


def valid_normals(label: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, H, W) bool: the pixels that have a normal."""
    return label.abs().amax(1) > 0


def normals_as_bytes(normals: Tensor) -> Tensor:
    """(n + 1) / 2 * 255 without rounding: the values that a picture of normals holds. Zero vectors stay zero."""
    return torch.where(valid_normals(normals)[:, None], (normals + 1) / 2 * 255, 0.0)


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Cosines between the vectors of two maps of any length. (B, 3, H, W) x 2 -> (B, H, W)."""
    product = F.normalize(a, dim=1, eps=1e-12) * F.normalize(b, dim=1, eps=1e-12)
    return product.sum(1)


def angles_deg(a: Tensor, b: Tensor) -> Tensor:
    """Angles between the vectors of two maps in degrees, 0 to 180, float64. (B, 3, H, W) x 2 -> (B, H, W)."""
    return torch.rad2deg(torch.arccos(cosines(a.double(), b.double()).clamp(-1, 1)))


def _ratio(numerator: float, denominator: float) -> float:
    return float(numerator / denominator) if denominator > 0 else math.nan


def _histogram_median(counts: np.ndarray) -> float:
    number = counts.sum()
    if number <= 0:
        return math.nan
    cumulative = np.cumsum(counts)
    bin_of_median = int(np.searchsorted(cumulative, number / 2))
    before = cumulative[bin_of_median] - counts[bin_of_median]
    inside = (number / 2 - before) / counts[bin_of_median]
    return float((bin_of_median + inside) * 180 / ANGLE_BINS)


def relative_improvement(
    metrics: Mapping[str, float], reference: Mapping[str, float], higher_is_better: Mapping[str, bool]
) -> float:
    """Delta_Tk in percent: the mean over a task's metrics of the change against the reference, signed so that
    better is positive (AdaShare section 4; `adashare.md` 4).

    A metric whose reference is 0 has no relative change and is left out.

    Raises:
        ValueError: a metric is missing on one side, or every reference is 0.
    """
    changes = []
    for name, higher in higher_is_better.items():
        if name not in metrics or name not in reference:
            raise ValueError(f"relative improvement: no {name} on one of the two sides")
        if reference[name] == 0:
            continue
        change = (metrics[name] - reference[name]) / abs(reference[name])
        changes.append(change if higher else -change)
    if not changes:
        raise ValueError(f"relative improvement: the reference is 0 in {', '.join(higher_is_better)}")
    return 100 * float(np.mean(changes))
