"""How rewards vary over settings and tasks: a Gaussian process with main, pairwise and residual effects.

    reward(task, setting) = level(task) + scale(task) * (shared effects + effects that follow the task vector
                                                        + effects of the task's own)

with each kind of effect split into main effects (one parameter), pairwise effects and a residual of that one
cell. All kernels have variance 1 on average over the full factorial, so that a `Variances` field is that
part's share. The residual is part of the reward, not an error of observation: asking the same cell again
would give the same value.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.trials import FloatArray, IntArray

JITTER = 1e-8


@dataclass(frozen=True)
class Variances:
    """Variance of each part, in units of the variance of one task's rewards. The defaults are a guess that
    suits few data: half of what matters is shared, single parameters matter most."""

    shared_main: float = 0.35
    vector_main: float = 0.05
    own_main: float = 0.3
    shared_pair: float = 0.08
    vector_pair: float = 0.01
    own_pair: float = 0.08
    shared_cell: float = 0.04
    own_cell: float = 0.08

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; allowed: 0 or more")


PARTS = tuple(field.name for field in dataclasses.fields(Variances))


def action_kernels(a: IntArray, b: IntArray, sizes: Sequence[int]) -> dict[str, FloatArray]:
    """Similarity of settings a (n, P) and b (m, P) for main, pair and cell effects: three (n, m) matrices.

    One parameter with L levels has the kernel (L * [equal] - 1) / (L - 1), +-1 for two levels: zero mean over
    the levels, variance 1. Main effects average it over the parameters, pairwise ones average the products
    over pairs.
    """
    varying = [p for p, size in enumerate(sizes) if size > 1]
    single = np.zeros((len(a), len(b)))
    squares = np.zeros((len(a), len(b)))
    cell = np.ones((len(a), len(b)))
    for p in varying:
        equal = (a[:, None, p] == b[None, :, p]).astype(np.float64)
        kernel = (sizes[p] * equal - 1) / (sizes[p] - 1)
        single += kernel
        squares += kernel**2
        cell *= equal
    count = max(len(varying), 1)
    pairs = max(count * (count - 1) / 2, 1)
    return {"main": single / count, "pair": (single**2 - squares) / 2 / pairs, "cell": cell}


def task_kernels(x: FloatArray, y: FloatArray, same: FloatArray) -> dict[str, FloatArray]:
    """Similarity of tasks: shared (always 1), by vector (inner product of centred vectors), own (identity
    `same`)."""
    return {"shared": np.ones_like(same), "vector": x @ y.T, "own": same}


def combined(variances: Variances, by_task: dict[str, FloatArray], by_action: dict[str, FloatArray]) -> FloatArray:
    """Sum over parts of variance * task kernel * action kernel; both kernels of the same shape."""
    total = np.zeros_like(by_action["main"])
    for part in PARTS:
        task, effect = part.split("_")
        total += getattr(variances, part) * by_task[task] * by_action[effect]
    return total


def centred_vectors(vectors: FloatArray) -> FloatArray:
    """Task vectors minus their mean, scaled to a mean square norm of 1; all zero when they do not differ."""
    x = vectors - vectors.mean(axis=0)
    scale = np.sqrt((x**2).sum(axis=1).mean())
    return x / scale if scale > 1e-12 else np.zeros_like(x)


@dataclass(frozen=True, eq=False)
class Table:
    """Observations for `posterior`: N rewards with their task rows and settings, and the task vectors."""

    rows: IntArray  # (N,)
    actions: IntArray  # (N, P)
    values: FloatArray  # (N,) standardised per task, see `standardise`
    x: FloatArray  # (T, d) centred task vectors (d = 0 without vectors)


LEVEL_VARIANCE = 4.0
"""Prior variance of a task's mean reward around the mean of the few settings seen, in units of its own
variance."""


def posterior(
    table: Table, sizes: Sequence[int], variances: Variances, candidates: IntArray, *, tasks: int
) -> tuple[FloatArray, FloatArray]:
    """Mean and variance of every task's standardised reward at the candidates: two (T, C) arrays."""
    observed = covariance(table, table.rows, table.actions, table.rows, table.actions, sizes, variances)
    factor = np.linalg.cholesky(observed + JITTER * np.eye(len(observed)))
    weights = np.linalg.solve(factor, table.values)
    mean = np.zeros((tasks, len(candidates)))
    spread = np.zeros((tasks, len(candidates)))
    for task in range(tasks):
        rows = np.full(len(candidates), task)
        cross = covariance(table, table.rows, table.actions, rows, candidates, sizes, variances)
        solved = np.linalg.solve(factor, cross)
        mean[task] = solved.T @ weights
        prior = LEVEL_VARIANCE + sum(
            getattr(variances, part) * (float(table.x[task] @ table.x[task]) if part.startswith("vector") else 1.0)
            for part in PARTS
        )
        spread[task] = np.maximum(prior - (solved**2).sum(axis=0), 0.0)
    return mean, spread


def covariance(
    table: Table,
    rows: IntArray,
    actions: IntArray,
    other_rows: IntArray,
    other_actions: IntArray,
    sizes: Sequence[int],
    variances: Variances,
) -> FloatArray:
    """Prior covariance of rewards (rows, actions) with rewards (other_rows, other_actions), task levels
    included."""
    same = (rows[:, None] == other_rows[None, :]).astype(np.float64)
    by_task = task_kernels(table.x[rows], table.x[other_rows], same)
    total: FloatArray = LEVEL_VARIANCE * same + combined(
        variances, by_task, action_kernels(actions, other_actions, sizes)
    )
    return total


def standardise(rewards: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Rewards (T, n) with NaN for unknown, per task minus their mean and over their scale; the means and the
    scales.

    With few rewards a task's own scale says little: it is shrunk towards that of all tasks as if two more
    rewards had been seen (a scaled inverse chi-square prior with two degrees of freedom).
    """
    known = np.isfinite(rewards)
    count = known.sum(axis=1)
    mean = np.where(count > 0, np.nansum(rewards, axis=1) / np.maximum(count, 1), 0.0)
    squares = np.nansum((rewards - mean[:, None]) ** 2, axis=1)
    freedom = np.maximum(count - 1, 0)
    pooled = squares.sum() / max(int(freedom.sum()), 1)
    scale = np.sqrt((squares + 2 * pooled) / (freedom + 2))
    scale = np.where(scale > 1e-12, scale, 1.0)
    return (rewards - mean[:, None]) / scale[:, None], mean, scale


def expected_improvement(mean: FloatArray, variance: FloatArray, best: FloatArray) -> FloatArray:
    """E[max(0, reward - best)] of normal rewards, elementwise."""
    from scipy.special import ndtr

    deviation = np.sqrt(np.maximum(variance, 1e-16))
    gap = (mean - best) / deviation
    out: FloatArray = deviation * (gap * ndtr(gap) + np.exp(-0.5 * gap**2) / np.sqrt(2 * np.pi))
    return out
