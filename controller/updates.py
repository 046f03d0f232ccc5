"""The two policy-gradient rules of `reinforce.py`, as gradients of a loss by log-probabilities (B,
sum(sizes))."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.policy import level_columns
from controller.trials import FloatArray, IntArray


def explored(log_probs: FloatArray, exploration: float, sizes: Sequence[int]) -> FloatArray:
    """Probabilities in which every parameter's most probable level gave `exploration` to its other levels.

    Parameters with one level stay as they are; each block still sums to 1.
    """
    out = np.exp(log_probs)
    rows = np.arange(len(out))
    start = 0
    for size in sizes:
        if size > 1:
            block = out[:, start : start + size]
            top = block.argmax(axis=1)
            moved = np.minimum(exploration, block[rows, top])
            block += (moved / (size - 1))[:, None]
            block[rows, top] -= moved * size / (size - 1)
        start += size
    return out


def sample_actions(rng: np.random.Generator, probabilities: FloatArray, sizes: Sequence[int]) -> IntArray:
    """One action per row, every parameter drawn by itself: (B, P)."""
    draws = rng.random((len(probabilities), len(sizes)))
    actions = np.zeros((len(probabilities), len(sizes)), np.int64)
    start = 0
    for p, size in enumerate(sizes):
        cumulative = np.cumsum(probabilities[:, start : start + size], axis=1)
        actions[:, p] = np.minimum((draws[:, p : p + 1] >= cumulative).sum(axis=1), size - 1)
        start += size
    return actions


def greedy_actions(log_probs: FloatArray, sizes: Sequence[int]) -> IntArray:
    """Most probable level of every parameter: (B, P)."""
    parts = np.split(log_probs, np.cumsum(sizes)[:-1], axis=1)
    return np.stack([part.argmax(axis=1) for part in parts], axis=1)


def self_critical_gradient(
    log_probs: FloatArray,
    actions: IntArray,
    advantages: FloatArray,
    sizes: Sequence[int],
    *,
    exploration: float,
    cross_task_credit: bool,
) -> FloatArray:
    """Gradient of mean_i(advantage_i * -log q_i(action_i)), q being the explored probabilities.

    With `cross_task_credit` it is the released code's mean over all pairs (i, j) of advantage_j * -log
    q_i(action_j): every task is rewarded for every task's action.
    """
    batch = len(actions)
    columns = level_columns(actions, sizes)  # (B, P)
    ratio = np.exp(log_probs) / np.maximum(explored(log_probs, exploration, sizes), 1e-12)
    gradient = np.zeros_like(log_probs)
    for j in range(batch):
        rows = np.arange(batch) if cross_task_credit else np.array([j])
        share = batch**2 if cross_task_credit else batch
        gradient[rows[:, None], columns[j][None, :]] -= advantages[j] / share
    return gradient * ratio


def table_gradient(
    log_probs: FloatArray,
    actions: IntArray,
    rewards: FloatArray,
    sizes: Sequence[int],
    *,
    entropy: float,
    cross_task_credit: bool,
) -> FloatArray:
    """Gradient of -sum_t (E[reward] + entropy * H) under each task's policy renormalised over its known
    settings.

    Args:
        log_probs: (T, sum(sizes)).
        actions: known settings (n, P).
        rewards: (T, n), normalised per task, NaN where unknown.
    """
    known = np.isfinite(rewards)
    indicator = np.zeros((len(actions), log_probs.shape[1]))
    indicator[np.arange(len(actions))[:, None], level_columns(actions, sizes)] = 1.0
    score = np.where(known, log_probs @ indicator.T, -np.inf)  # (T, n)
    top = np.where(known.any(axis=1), score.max(axis=1, initial=-np.inf), 0.0)
    weight = np.exp(score - top[:, None])
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-300)
    chance = weight / total
    log_chance = np.where(known, score - top[:, None] - np.log(total), 0.0)
    value = np.where(known, rewards, 0.0) - entropy * log_chance
    by_setting = chance * (value - (chance * value).sum(axis=1, keepdims=True))
    if cross_task_credit:
        by_setting = np.broadcast_to(by_setting.mean(axis=0), by_setting.shape)
    gradient: FloatArray = -(by_setting @ indicator)
    return gradient
