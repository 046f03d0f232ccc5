"""The arithmetic of Task2Vec: class-balanced draws, class numbers, and the Fisher information per filter."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch
    from torch import nn


def by_first_appearance(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Labels numbered in the order in which they first appear: the same for every permutation of the classes."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def balanced_draws(rng: np.random.Generator, labels: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """Positions drawn with replacement, every class equally often in expectation."""
    weights = 1.0 / np.bincount(labels)[labels]
    drawn: npt.NDArray[np.int64] = rng.choice(len(labels), size=count, p=weights / weights.sum())
    return drawn


def fisher_per_filter(
    model: nn.Module,
    weight: torch.Tensor,
    bias: torch.Tensor,
    batches: Iterator[torch.Tensor],
    *,
    seed: int,
    bn_mode: Literal["eval", "train"],
    scale: float,
) -> npt.NDArray[np.float32]:
    """`scale` times the mean over batches of the squared gradient of the mean loss, averaged per filter: (D,).

    The labels are drawn from the softmax of `weight`, `bias` on the model's features. The model's own state is left as
    it was.
    """
    import torch
    from torch.nn.functional import cross_entropy
    from torch.nn.modules.batchnorm import _BatchNorm

    attributes = [getattr(module, "weight", None) for module in model.modules()]
    weights = [attribute for attribute in attributes if isinstance(attribute, torch.nn.Parameter)]
    if not weights:
        raise ValueError("the probe has no weights")
    wanted = {id(parameter) for parameter in weights}
    flags = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [module.momentum for module in norms]
    model.eval()
    generator = torch.Generator().manual_seed(seed)
    sums = [torch.zeros(len(parameter), dtype=torch.float64, device=parameter.device) for parameter in weights]
    count = 0
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(id(parameter) in wanted)
        if bn_mode == "train":
            for module in norms:
                module.train()
                module.momentum = 0.0
        for pixels in batches:
            logits = model(pixels) @ weight.T + bias
            likely = logits.detach().double().cpu().softmax(dim=1)
            drawn = torch.multinomial(likely, 1, generator=generator).squeeze(1).to(logits.device)
            gradients = torch.autograd.grad(cross_entropy(logits, drawn), weights)
            for total, gradient in zip(sums, gradients, strict=True):
                total += gradient.detach().flatten(1).square().mean(dim=1) if gradient.ndim > 1 else gradient.square()
            count += 1
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, momentum in zip(norms, momenta, strict=True):
            module.momentum = momentum
        model.eval()
    fisher: npt.NDArray[np.float32] = (torch.cat(sums) * (scale / count)).cpu().numpy().astype(np.float32)
    return fisher
