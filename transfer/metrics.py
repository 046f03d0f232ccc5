"""Classification metrics over a whole test set, in percent, through torchmetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def classification_metrics(probabilities: torch.Tensor, labels: torch.Tensor) -> dict[str, float]:
    """Top-1 accuracy, mean per-class accuracy (which is balanced accuracy) and macro one-against-rest AUC.

    Classes without a test image are left out of the two averages over classes (an AUC also needs another
    class).

    Args:
        probabilities: (N, C), any monotone score per class.
        labels: (N,) int64.
    """
    import torch
    from torchmetrics.functional.classification import binary_auroc, multiclass_accuracy

    classes = probabilities.shape[1]
    present = torch.unique(labels)
    recall = multiclass_accuracy(probabilities, labels, num_classes=classes, average="none")
    aucs = [float(binary_auroc(probabilities[:, c], (labels == c).long())) for c in present.tolist()]
    top1 = multiclass_accuracy(probabilities, labels, num_classes=classes, average="micro")
    auc = float(torch.tensor(aucs).double().mean()) if len(present) > 1 else float("nan")
    per_class = float(recall[present].double().mean())
    values = {"accuracy": float(top1), "mean_per_class": per_class, "macro_auc": auc}
    # torchmetrics works in float32: more digits than these would be noise
    return {name: round(100 * value, 4) for name, value in values.items()}
