"""Parameters for a new task from a few evaluations: a Gaussian-process bandit whose prior comes from the seen tasks.

    prior = fit_prior(rewards, actions, vectors, sizes)          # seen tasks: (S, n), (n, P), (S, D)
    state = few_shot_start(prior, "new", space, vector, budget=8)
    while not finished(state):
        trials = ask(state)
        state = tell(state, trials, rewards)
    chosen(state)                                                # the largest posterior mean, evaluated or not

The model is that of `effects.py`. Its variance components are fitted to the seen tasks by penalised maximum
likelihood (empirical Bayes): how much of the reward is shared, how much follows the task vectors, how much is a task's
own. Where the vectors explain nothing their component goes to zero and the prior becomes the mean of the seen tasks,
which is why wrong vectors cost little. A new task's reward level and spread are unknown: the level has a wide prior,
the spread a log-normal one from the seen tasks, integrated on a grid. The next setting is that of the largest expected
improvement.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.effects import JITTER, PARTS, Variances, action_kernels, expected_improvement
from controller.trials import Action, FloatArray, IntArray, Trial, check_action
from controller.variances import fit_variances, settings_frame, task_covariance, task_rotation
from sim.params import ActionSpace


@dataclass(frozen=True, eq=False)
class Prior:
    """What the seen tasks say about any task."""

    variances: Variances
    vectors: FloatArray  # (S, D) unit norm, of the seen tasks
    centre: FloatArray  # (D,)
    norm: float
    """Root mean square distance of the seen vectors from their centre."""
    actions: IntArray  # (n, P) settings that all seen tasks share
    sizes: tuple[int, ...]
    rotation: FloatArray  # (S, S) task eigenvectors in columns, the constant one first
    eigenvalues: FloatArray  # (S,) of the centred vector kernel, 0 for the constant
    solved: FloatArray  # (S, n) C_j^-1 y_j of every rotated task
    inverses: FloatArray  # (S, n, n) C_j^-1
    log_spread: tuple[float, float]
    """Mean and standard deviation of the logarithm of the seen tasks' reward spreads."""


def fit_prior(rewards: FloatArray, actions: IntArray, vectors: FloatArray, sizes: Sequence[int]) -> Prior:
    """Empirical Bayes on a complete table of seen tasks.

    Args:
        rewards: (S, n) without gaps, at least two tasks and two settings.
        actions: (n, P) the settings.
        vectors: (S, D) task vectors; D may be 0.
    """
    tasks, settings = rewards.shape
    if tasks < 2 or settings < 2 or not np.isfinite(rewards).all():
        raise ValueError(f"a prior needs a complete table of 2 tasks and 2 settings or more, got {tasks} x {settings}")
    spreads = rewards.std(axis=1)
    typical = np.median(spreads[spreads > 0]) if (spreads > 0).any() else 1.0
    safe = np.maximum(spreads, 1e-3 * typical)
    values = (rewards - rewards.mean(axis=1, keepdims=True)) / safe[:, None]
    centre = vectors.mean(axis=0)
    offsets = vectors - centre
    norm = float(np.sqrt((offsets**2).sum(axis=1).mean())) if vectors.shape[1] else 0.0
    kernel = offsets @ offsets.T / norm**2 if norm > 1e-9 else np.zeros((tasks, tasks))
    rotation, eigenvalues = task_rotation(kernel)
    rotated = rotation.T @ values
    by_action = action_kernels(actions, actions, sizes)
    frame = settings_frame(by_action)
    kernels = {name: frame.T @ k @ frame for name, k in by_action.items()}
    variances = fit_variances(rotated @ frame, kernels, eigenvalues)
    inverses = np.stack(
        [frame @ np.linalg.inv(task_covariance(variances, kernels, eigenvalues, j)) @ frame.T for j in range(tasks)]
    )
    solved = np.einsum("jab,jb->ja", inverses, rotated)
    logs = np.log(safe)
    return Prior(
        variances,
        vectors,
        centre,
        norm,
        actions,
        tuple(sizes),
        rotation,
        eigenvalues,
        solved,
        inverses,
        (float(logs.mean()), float(max(logs.std(), 0.15))),
    )


@dataclass(frozen=True, eq=False)
class FewShotState:
    """One new task: the prior over its candidate settings and what has been told."""

    task: str
    space: ActionSpace
    candidates: IntArray  # (C, P)
    mean: FloatArray  # (C,) prior, in units of the task's unknown spread
    covariance: FloatArray  # (C, C)
    log_spread: tuple[float, float]
    budget: int
    columns: tuple[int, ...] = ()
    """Candidates told so far, in order."""
    rewards: tuple[float, ...] = ()


def few_shot_start(
    prior: Prior, task: str, space: ActionSpace, vector: FloatArray, *, budget: int, candidates: IntArray | None = None
) -> FewShotState:
    """A fresh bandit for one task.

    Args:
        vector: (D,) unit norm, as long as the prior's; D may be 0.
        budget: evaluations; 0 chooses by the prior alone.
        candidates: (C, P) settings that may be asked; None: all of the space.
    """
    if budget < 0:
        raise ValueError(f"budget is {budget}; allowed: 0 or more")
    if space.sizes != prior.sizes or vector.shape != prior.centre.shape:
        raise ValueError(f"{task} has another action space or vector length than the seen tasks")
    if candidates is None:
        candidates = np.array(list(space.actions()), np.int64)
    mean, covariance = predict(prior, vector, candidates)
    return FewShotState(task, space, candidates, mean, covariance, prior.log_spread, budget)


def predict(prior: Prior, vector: FloatArray, candidates: IntArray) -> tuple[FloatArray, FloatArray]:
    """Mean (C,) and covariance (C, C) of a task's effects at the candidates, given the seen tasks' tables."""
    similarity = np.zeros(len(prior.vectors))
    length = 0.0
    if prior.norm > 1e-9:
        offset = (vector - prior.centre) / prior.norm
        similarity = (prior.vectors - prior.centre) / prior.norm @ offset
        length = float(offset @ offset)
    along = prior.rotation.T @ similarity  # (S,), 0 for the constant one
    cross_kernels = action_kernels(candidates, prior.actions, prior.sizes)
    own_kernels = action_kernels(candidates, candidates, prior.sizes)
    weight = {"shared": 1.0, "vector": length, "own": 1.0}
    covariance = np.zeros((len(candidates), len(candidates)))
    cross = {kind: np.zeros((len(candidates), len(prior.actions))) for kind in ("shared", "vector", "own")}
    for part in PARTS:
        kind, effect = part.split("_")
        variance = getattr(prior.variances, part)
        covariance += variance * weight[kind] * own_kernels[effect]
        cross[kind] += variance * cross_kernels[effect]
    # The shared effects are seen through the mean over tasks, those of the vectors through the other rotated tasks.
    tasks = len(along)
    mean = cross["shared"] @ (np.sqrt(tasks) * prior.solved[0]) + cross["vector"] @ (along @ prior.solved)
    covariance -= tasks * cross["shared"] @ prior.inverses[0] @ cross["shared"].T
    covariance -= cross["vector"] @ np.tensordot(along**2, prior.inverses, 1) @ cross["vector"].T
    return mean, covariance


SPREAD_GRID = np.linspace(-2.5, 2.5, 11)
"""Grid of the spread's logarithm, in standard deviations of its prior."""
LEVEL_SD = 10.0
"""Prior standard deviation of the task's reward level, in units of its spread: wide."""


def beliefs(state: FewShotState) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Posterior over rewards at the candidates for every spread of the grid.

    Returns:
        weights (G,), means (G, C) and variances (G, C); before any evaluation the level is taken as 0.
    """
    spreads = np.exp(state.log_spread[0] + SPREAD_GRID * state.log_spread[1])
    log_weights = -0.5 * SPREAD_GRID**2
    means = spreads[:, None] * state.mean
    variances = spreads[:, None] ** 2 * np.diag(state.covariance)
    if state.columns:
        index = np.array(state.columns)
        rewards = np.array(state.rewards)
        centre = rewards.mean()
        # Everything in units of the spread: the Gram matrix does not depend on it.
        level = LEVEL_SD**2
        gram = state.covariance[np.ix_(index, index)] + level + JITTER * np.eye(len(index))
        factor = np.linalg.cholesky(gram)
        cross = np.linalg.solve(factor, state.covariance[index] + level)  # (n, C)
        residuals = (rewards - centre) / spreads[:, None] - state.mean[index]  # (G, n)
        gaps = np.linalg.solve(factor, residuals.T)  # (n, G)
        means = centre + spreads[:, None] * (state.mean + gaps.T @ cross)
        variances = spreads[:, None] ** 2 * np.maximum(np.diag(state.covariance) + level - (cross**2).sum(axis=0), 0.0)
        log_weights = log_weights - 0.5 * (gaps**2).sum(axis=0) - len(index) * np.log(spreads)
        means[:, index] = rewards
        variances[:, index] = 0.0
    weights = np.exp(log_weights - log_weights.max())
    return weights / weights.sum(), means, variances


def posterior_draws(state: FewShotState, rng: np.random.Generator, count: int) -> FloatArray:
    """Joint samples of the rewards at all candidates: (count, C); evaluated ones are what was told.

    Before any evaluation the level is taken as 0.
    """
    weights, means, _ = beliefs(state)
    spreads = np.exp(state.log_spread[0] + SPREAD_GRID * state.log_spread[1])
    index = np.array(state.columns, np.int64)
    covariance = state.covariance
    if len(index):
        total = covariance + LEVEL_SD**2
        gram = total[np.ix_(index, index)] + JITTER * np.eye(len(index))
        covariance = total - total[:, index] @ np.linalg.solve(gram, total[index])
    values, vectors = np.linalg.eigh(covariance)
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    grid = rng.choice(len(weights), size=count, p=weights)
    noise = rng.normal(size=(count, len(values))) @ root.T
    draws: FloatArray = means[grid] + spreads[grid, None] * noise
    draws[:, index] = np.array(state.rewards)
    return draws


def ask(state: FewShotState) -> tuple[Trial, ...]:
    """The setting of the largest expected improvement; when the budget is spent, the chosen one."""
    if finished(state):
        return (Trial(state.task, chosen(state)),)
    weights, means, variances = beliefs(state)
    if not state.columns:
        pick = int((weights @ means).argmax())
    else:
        worth = weights @ expected_improvement(means, variances, np.full(means.shape, max(state.rewards)))
        worth[list(state.columns)] = -np.inf
        pick = int(worth.argmax())
    return (Trial(state.task, tuple(int(level) for level in state.candidates[pick])),)


def tell(state: FewShotState, trials: Sequence[Trial], rewards: Sequence[float]) -> FewShotState:
    """Record rewards of candidates, asked for or not.

    Raises:
        ValueError: another task, a setting that is no candidate, a reward that is not finite.
    """
    known = dict(zip(state.columns, state.rewards, strict=True))
    for trial, reward in zip(trials, rewards, strict=True):
        if trial.task != state.task:
            raise ValueError(f"unknown task {trial.task!r}; this controller is for {state.task}")
        check_action(state.space, trial.action)
        found = np.flatnonzero((state.candidates == np.array(trial.action)).all(axis=1))
        if not len(found):
            raise ValueError(f"setting {state.space.to_levels(trial.action)} is not among the candidates")
        if not np.isfinite(reward):
            raise ValueError(f"reward of {trial.task} at {trial.action} is {reward}; it must be finite")
        known[int(found[0])] = float(reward)
    return dataclasses.replace(state, columns=tuple(known), rewards=tuple(known.values()))


def finished(state: FewShotState) -> bool:
    return len(state.columns) >= min(state.budget, len(state.candidates))


def chosen(state: FewShotState) -> Action:
    """The setting with the largest posterior mean, whether it was evaluated or not."""
    weights, means, _ = beliefs(state)
    return tuple(int(level) for level in state.candidates[int((weights @ means).argmax())])
