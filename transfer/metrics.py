"""Classification metrics over a whole test set, in percent, through torchmetrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def classification_metrics(
    probabilities: torch.Tensor, labels: torch.Tensor, also: Sequence[str] = ("mean_per_class", "macro_auc")
) -> dict[str, float]:
    """Top-1 accuracy, and of the others those that are asked for.

    Deviations from torchmetrics: 1. top-1 is counted here, exactly, since importing torchmetrics takes twice as long as
    importing PyTorch and most tasks report nothing else; tests hold the two equal.

    `mean_per_class` is the mean of the classes' accuracies, which is balanced accuracy; `macro_auc` the mean
    one-against-rest AUC. Classes without a test image are left out of both means.

    Args:
        probabilities: (N, C), any monotone score per class.
        labels: (N,) int64.

    Raises:
        ValueError: an unknown metric.
    """
    import torch

    unknown = [name for name in also if name not in ("mean_per_class", "macro_auc")]
    if unknown:
        raise ValueError(f"no metric {unknown[0]}; there are mean_per_class, macro_auc")
    values = {"accuracy": float((probabilities.argmax(1) == labels).double().mean())}
    if also:
        # Importing torchmetrics takes seconds, and most tasks report accuracy only.
        from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

        present = torch.unique(labels)
        if "mean_per_class" in also:
            classes = probabilities.shape[1]
            recall = multiclass_accuracy(probabilities, labels, num_classes=classes, average="none")
            values["mean_per_class"] = float(recall[present].double().mean())
        if "macro_auc" in also:
            aucs = [float(binary_auroc(probabilities[:, c], (labels == c).long())) for c in present.tolist()]
            values["macro_auc"] = sum(aucs) / len(aucs) if len(aucs) > 1 else float("nan")
    # torchmetrics works in float32: more digits than these would be noise
    return {name: round(100 * value, 4) for name, value in values.items()}
