"""Reward tables with known structure and known optimum, to compare controllers on: exact variance shares, seeded."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass

import numpy as np

from controller.trials import Action, FloatArray, IntArray
from sim.params import TASK2SIM_SPACE, ActionSpace


@dataclass(frozen=True)
class Shares:
    """Shares of the variance of rewards within tasks; they add up to 1."""

    shared_main: float = 0.40
    """Single parameters, equal for all tasks."""
    vector_main: float = 0.25
    """Single parameters, a linear function of the task's latent vector, which its embedding shows."""
    own_main: float = 0.15
    """Single parameters, a task's own, orthogonal to everything that is linear in the embedding."""
    pair: float = 0.15
    """Pairs of parameters."""
    noise: float = 0.05
    """What is left: independent per cell, orthogonal to main effects and pairs."""
    own_pairs: float = 0.5
    """The part of `pair` that is a task's own; the rest is equal for all tasks."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ValueError(f"{field.name} is {getattr(self, field.name)}; allowed: 0 to 1")
        total = self.shared_main + self.vector_main + self.own_main + self.pair + self.noise
        if abs(total - 1) > 1e-9:
            raise ValueError(f"the shares add up to {total:g}; they must add up to 1")


@dataclass(frozen=True, eq=False)
class SyntheticTable:
    tasks: tuple[str, ...]
    space: ActionSpace
    actions: IntArray  # (A, P), every setting
    rewards: FloatArray  # (T, A) percent
    vectors: FloatArray  # (T, D) unit norm
    parts: dict[str, FloatArray]
    """The components (T, A) that add up to the rewards less the tasks' levels, by the names of `Shares`."""

    def best(self, task: str) -> Action:
        column = int(self.rewards[self.tasks.index(task)].argmax())
        return tuple(int(level) for level in self.actions[column])


def make_table(
    seed: int,
    *,
    num_tasks: int = 20,
    space: ActionSpace = TASK2SIM_SPACE,
    shares: Shares | None = None,
    latent: int = 4,
    vector_dim: int = 64,
    spread: float = 5.0,
    scale_ratio: float = 1.0,
) -> SyntheticTable:
    """A complete table in which every component has exactly its share of the variance within tasks.

    The components lie in orthogonal subspaces of (task, setting) space, so that the shares are exact and not only
    expected: task-dependent parts sum to zero over the tasks, a task's own main effects are orthogonal to the latent
    vectors, noise is orthogonal to main effects and pairs.

    Args:
        seed: of everything.
        num_tasks: more than `latent` + 1.
        latent: dimensions in which tasks differ visibly; the embedding is a common vector plus a linear image of
            them in `vector_dim` dimensions, L2-normalised.
        spread: standard deviation of the rewards within tasks, percentage points.
        scale_ratio: above 1, tasks' spreads vary log-uniformly by up to this factor up and down (the shares then hold
            before that scaling).

    Raises:
        ValueError: too few tasks for the latent dimensions.
    """
    shares = shares or Shares()
    if num_tasks <= latent + 1:
        raise ValueError(f"num_tasks is {num_tasks}; allowed: more than latent + 1 = {latent + 1}")
    if vector_dim < latent:
        raise ValueError(f"vector_dim is {vector_dim}; allowed: at least latent = {latent}")
    rng = np.random.default_rng([seed, 11])
    actions = np.array(list(space.actions()), np.int64)
    main, pair = effect_bases(actions, space.sizes)

    z = rng.normal(size=(num_tasks, latent))
    z = z - z.mean(axis=0)
    visible, _ = np.linalg.qr(np.concatenate([np.ones((num_tasks, 1)), z], axis=1))

    def own(effects: int, outside: FloatArray) -> FloatArray:
        """Independent effects per task, orthogonal over the tasks to the columns of `outside`."""
        drawn = rng.normal(size=(num_tasks, effects))
        result: FloatArray = drawn - outside @ (outside.T @ drawn)
        return result

    constant = visible[:, :1]
    noise = rng.normal(size=(num_tasks, len(actions)))
    noise -= noise.mean(axis=1, keepdims=True)
    for basis in (main, pair):
        noise -= (noise @ basis) @ basis.T
    parts = {
        "shared_main": np.ones((num_tasks, 1)) * (rng.normal(size=main.shape[1]) @ main.T),
        "vector_main": z @ rng.normal(size=(latent, main.shape[1])) @ main.T,
        "own_main": own(main.shape[1], visible) @ main.T,
        "shared_pair": np.ones((num_tasks, 1)) * (rng.normal(size=pair.shape[1]) @ pair.T),
        "own_pair": own(pair.shape[1], constant) @ pair.T,
        "noise": noise,
    }
    share = {
        "shared_main": shares.shared_main,
        "vector_main": shares.vector_main,
        "own_main": shares.own_main,
        "shared_pair": shares.pair * (1 - shares.own_pairs),
        "own_pair": shares.pair * shares.own_pairs,
        "noise": shares.noise,
    }
    for name, part in parts.items():
        rms = np.sqrt((part**2).mean())
        parts[name] = part * (spread * np.sqrt(share[name]) / rms) if rms > 0 else part
    scales = np.exp(rng.uniform(-1, 1, num_tasks) * np.log(scale_ratio))
    levels = rng.uniform(30, 70, num_tasks)
    rewards = levels[:, None] + scales[:, None] * np.sum(list(parts.values()), axis=0)

    lift, _ = np.linalg.qr(rng.normal(size=(vector_dim, latent)))
    common = np.abs(rng.normal(size=vector_dim)) * 2
    vectors = common + z @ lift.T
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = tuple(f"task{index:02d}" for index in range(num_tasks))
    return SyntheticTable(names, space, actions, rewards, vectors, parts)


def effect_bases(actions: IntArray, sizes: tuple[int, ...]) -> tuple[FloatArray, FloatArray]:
    """Orthonormal bases over the full factorial (A, k): of the main effects and of the pairwise ones."""
    contrasts = []
    for p, size in enumerate(sizes):
        # Orthonormal contrasts of one parameter's levels: the columns of Q after the constant one.
        q, _ = np.linalg.qr(np.concatenate([np.ones((size, 1)), np.eye(size)[:, : size - 1]], axis=1))
        contrasts.append(q[actions[:, p], 1:])
    main = np.concatenate(contrasts, axis=1)
    pair = [(a[:, :, None] * b[:, None, :]).reshape(len(actions), -1) for a, b in itertools.combinations(contrasts, 2)]
    pairs = np.concatenate(pair, axis=1) if pair else np.zeros((len(actions), 0))
    return main / np.linalg.norm(main, axis=0), pairs / np.maximum(np.linalg.norm(pairs, axis=0), 1e-12)
