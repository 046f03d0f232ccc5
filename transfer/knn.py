"""Weighted k-nearest-neighbour classification on frozen features; `knn_predict` is the protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TEMPERATURE = 0.07
"""Vote weight exp(similarity / T); Wu et al. 2018 (instance discrimination) and Task2Sim's kNN."""


def knn_predict(
    gallery: torch.Tensor,
    gallery_labels: torch.Tensor,
    queries: torch.Tensor,
    *,
    k: int = 5,
    temperature: float = TEMPERATURE,
    num_classes: int | None = None,
    block_bytes: int = 64 << 20,
) -> torch.Tensor:
    """Votes of the k most cosine-similar gallery rows: (Q, C) float32; the arg-max is the prediction.

    Protocol: L2-normalised features, cosine similarity, vote weight exp(similarity / 0.07), k = 5 (10, 20, 100 and 200
    are usual too), top-1, not class-averaged. Source: Task2Sim, section on the reward (reference task2sim.md, 2.8).
    Deviations: 1. features come from a network in eval mode (the original's did not); 2. fixed block size, so that one
    query works; 3. the caller decides what the queries are: test images for the final score alone, for rewards held-out
    training images; 4. the weights are taken relative to the nearest neighbour, exp((s - s_max) / T): the same arg-max,
    and no overflow at small T.

    Args:
        gallery: (N, D) features of the training images.
        gallery_labels: (N,) int64.
        queries: (Q, D).
        k: neighbours; N at most are used.
        num_classes: C (default: largest label + 1).
        block_bytes: size of the similarity block, which bounds the extra memory whatever N and Q are.

    Ties between equal similarities go to whichever torch.topk returns.
    """
    import torch
    from torch.nn.functional import normalize

    classes = int(gallery_labels.max()) + 1 if num_classes is None else num_classes
    k = min(k, len(gallery))
    unit = normalize(gallery.float(), dim=1).T.contiguous()  # (D, N)
    block = max(1, block_bytes // (4 * len(gallery)))
    votes = torch.zeros(len(queries), classes)
    for start in range(0, len(queries), block):
        similarity = normalize(queries[start : start + block].float(), dim=1) @ unit  # (B, N)
        near, where = similarity.topk(k, dim=1)  # (B, k)
        weights = ((near - near[:, :1]) / temperature).exp()
        votes[start : start + block].scatter_add_(1, gallery_labels[where], weights)
    return votes
