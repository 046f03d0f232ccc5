"""The controller's network: task vectors in, one categorical distribution per simulation parameter out.

Plain numpy (an MLP of this size needs no framework, and help must not wait for torch): forward pass,
hand-written backward pass (tested against finite differences), SGD and Adam. Weights are a dict of float64
arrays, never changed in place, so that a state is a value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from controller.trials import FloatArray, IntArray

Weights = dict[str, FloatArray]


def span_of(vectors: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Orthonormal basis of the space that T vectors span, and their coordinates in it: vectors = coordinates
    @ basis.

    With D = 9,600 and T = 20 the first layer then has 20 columns instead of 9,600, and training by SGD
    (weight decay included) is exactly the same: gradients of the first layer lie in the span (task2sim.md,
    section 8).

    Args:
        vectors: (T, D).

    Returns:
        basis (r, D) and coordinates (T, r), r = rank.
    """
    left, singular, right = np.linalg.svd(vectors, full_matrices=False)
    rank = int((singular > singular[0] * 1e-10).sum()) if singular[0] > 0 else 0
    return right[:rank], left[:, :rank] * singular[:rank]


def init_weights(
    rng: np.random.Generator, inputs: int, hidden: int, sizes: Sequence[int], basis: FloatArray | None = None
) -> Weights:
    """Linear - ReLU - Linear - ReLU - one linear head per parameter (stored as one matrix).

    Weights and biases are uniform in +-1 / sqrt(fan in), torch's default for linear layers. With `basis` (r,
    inputs) the full first layer is drawn and projected, so that it acts on coordinates as the full one acts
    on vectors.
    """

    def uniform(rows: int, columns: int) -> tuple[FloatArray, FloatArray]:
        bound = 1.0 / np.sqrt(columns)
        return rng.uniform(-bound, bound, (rows, columns)), rng.uniform(-bound, bound, rows)

    first, first_bias = uniform(hidden, inputs)
    second, second_bias = uniform(hidden, hidden)
    head, head_bias = uniform(sum(sizes), hidden)
    return {
        "w1": first if basis is None else first @ basis.T,
        "b1": first_bias,
        "w2": second,
        "b2": second_bias,
        "w3": head,
        "b3": head_bias,
    }


def log_probabilities(weights: Mapping[str, FloatArray], x: FloatArray, sizes: Sequence[int]) -> FloatArray:
    """log P(level) of every parameter: (B, sum(sizes)), parameters side by side; each block's exp sums to
    1."""
    return forward(weights, x, sizes)[0]


def forward(
    weights: Mapping[str, FloatArray], x: FloatArray, sizes: Sequence[int]
) -> tuple[FloatArray, tuple[FloatArray, FloatArray, FloatArray]]:
    """log-probabilities (B, sum(sizes)) and what `backward` needs."""
    first = np.maximum(x @ weights["w1"].T + weights["b1"], 0.0)
    second = np.maximum(first @ weights["w2"].T + weights["b2"], 0.0)
    logits = second @ weights["w3"].T + weights["b3"]
    out = np.empty_like(logits)
    start = 0
    for size in sizes:
        block = logits[:, start : start + size]
        block = block - block.max(axis=1, keepdims=True)
        out[:, start : start + size] = block - np.log(np.exp(block).sum(axis=1, keepdims=True))
        start += size
    return out, (x, first, second)


def backward(
    weights: Mapping[str, FloatArray],
    cache: tuple[FloatArray, FloatArray, FloatArray],
    log_probs: FloatArray,
    gradient: FloatArray,
    sizes: Sequence[int],
) -> Weights:
    """Gradient of a loss with respect to the weights, from its gradient (B, sum(sizes)) by the
    log-probabilities."""
    x, first, second = cache
    by_logit = np.empty_like(gradient)
    start = 0
    for size in sizes:
        block = slice(start, start + size)
        total = gradient[:, block].sum(axis=1, keepdims=True)
        by_logit[:, block] = gradient[:, block] - np.exp(log_probs[:, block]) * total
        start += size
    by_second = (by_logit @ weights["w3"]) * (second > 0)
    by_first = (by_second @ weights["w2"]) * (first > 0)
    return {
        "w1": by_first.T @ x,
        "b1": by_first.sum(axis=0),
        "w2": by_second.T @ first,
        "b2": by_second.sum(axis=0),
        "w3": by_logit.T @ second,
        "b3": by_logit.sum(axis=0),
    }


def level_columns(actions: IntArray, sizes: Sequence[int]) -> IntArray:
    """Columns of the chosen levels among all levels side by side: (n, P)."""
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    columns: IntArray = actions + offsets
    return columns


def action_log_probabilities(log_probs: FloatArray, actions: IntArray, sizes: Sequence[int]) -> FloatArray:
    """Sum over parameters of log P(level): (B, n) for B tasks and n actions (n, P)."""
    summed: FloatArray = log_probs[:, level_columns(actions, sizes)].sum(axis=2)
    return summed


def sgd_step(
    weights: Weights,
    gradients: Weights,
    momentum: Weights,
    *,
    learning_rate: float,
    decay: float,
    beta: float,
) -> tuple[Weights, Weights]:
    """SGD as torch defines it: g + decay * w, then v = beta * v + g, w - learning_rate * v."""
    velocity: Weights = {}
    moved: Weights = {}
    for name, weight in weights.items():
        # In place: the original's 400 x 400 layer makes every temporary array a megabyte.
        velocity[name] = beta * momentum[name]
        velocity[name] += gradients[name]
        velocity[name] += decay * weight
        moved[name] = -learning_rate * velocity[name]
        moved[name] += weight
    return moved, velocity


def adam_step(
    weights: Weights,
    gradients: Weights,
    first: Weights,
    second: Weights,
    *,
    step: int,
    learning_rate: float,
    decay: float,
) -> tuple[Weights, Weights, Weights]:
    """AdamW with betas (0.9, 0.99); `step` counts from 1."""
    first = {name: 0.9 * first[name] + 0.1 * gradients[name] for name in weights}
    second = {name: 0.99 * second[name] + 0.01 * gradients[name] ** 2 for name in weights}
    scale = learning_rate * np.sqrt(1 - 0.99**step) / (1 - 0.9**step)
    out = {
        name: weights[name] * (1 - learning_rate * decay)
        - scale * first[name] / (np.sqrt(second[name]) + 1e-8 * np.sqrt(1 - 0.99**step))
        for name in weights
    }
    return out, first, second
