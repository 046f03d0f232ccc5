"""Softmax losses and curvatures in float32, precise where they are tiny. Matrices are (C, N), a row for each class: the
probe's matrix products are faster so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cross_entropy(scores: torch.Tensor, labels: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Mean loss and residuals (C, N), with full relative precision however small they are.

    The true class's residual p - 1 is minus the sum of the others, and the loss is log1p of their odds.

    Args:
        scores: (C, N) logits.
        labels: (1, N) int64.
    """
    import torch

    residual = scores - scores.gather(0, labels)
    top = residual.amax(0, keepdim=True)  # >= 0: the true class's is 0
    residual.sub_(top).exp_().scatter_(0, labels, 0.0)
    others = residual.sum(0, keepdim=True)
    loss = float((top + (others + torch.expm1(-top)).log1p()).double().mean())
    total = others + torch.exp(-top)
    residual.div_(total).scatter_(0, labels, -others / total)
    return loss, residual


def class_curvature(residual: torch.Tensor) -> torch.Tensor:
    """Softmax's mean curvature p(1 - p) of each class (C,), from residuals (C, N)."""
    from torch.linalg import vector_norm

    # p(1 - p) is |r| - r^2, for the true class too
    total, squares = vector_norm(residual, 1, dim=1), vector_norm(residual, 2, dim=1).square()
    curvature: torch.Tensor = (total - squares) / residual.shape[1]
    # A class without images has next to none.
    return curvature.clamp_min(1e-3 * float(curvature.mean()) + 1e-12)
