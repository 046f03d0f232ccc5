"""Ridge regression of rewards on parameters and pairs, and on their products with the task vector."""

from __future__ import annotations

import itertools

import numpy as np

from controller.effects import centred_vectors
from controller.rewards import RewardTable
from controller.trials import FloatArray, IntArray

PENALTIES = np.logspace(-3, 5, 17)


def pair_features(actions: IntArray, sizes: tuple[int, ...]) -> FloatArray:
    """Centred level indicators of every parameter and their products over pairs of parameters: (n, F)."""
    single = []
    for p, size in enumerate(sizes):
        indicator = np.eye(size)[actions[:, p]][:, 1:]
        single.append(2 * indicator - 1)
    pairs = [(a[:, :, None] * b[:, None, :]).reshape(len(actions), -1) for a, b in itertools.combinations(single, 2)]
    return np.concatenate(single + pairs, axis=1)


def ridge_predictions(seen: RewardTable, vectors: FloatArray) -> FloatArray:
    """Predicted rewards less their task's level, for tasks with these vectors (T, D), at the table's settings: (T, n).

    The design is (1, vector) x features for every task, the same features for each: in the eigenvectors of the
    features' Gram matrix the problem falls apart into one small ridge regression over tasks per feature. The penalty is
    the one with the least squared error on tasks left out one by one.

    Args:
        seen: two tasks or more.
        vectors: unit norm, as long as those of `seen`.
    """
    features = pair_features(seen.actions, seen.space.sizes)
    features = features - features.mean(axis=0)
    left, singular, _ = np.linalg.svd(features, full_matrices=False)
    keep = singular > singular.max(initial=0.0) * 1e-9
    left, singular = left[:, keep], singular[keep]
    targets = (seen.rewards - seen.rewards.mean(axis=1, keepdims=True)) @ left  # (S, F)
    centre = seen.vectors.mean(axis=0)
    offsets = seen.vectors - centre
    scale = np.sqrt((offsets**2).sum(axis=1).mean()) if offsets.size else 0.0
    x = np.concatenate([np.ones((len(seen.tasks), 1)), centred_vectors(seen.vectors)], axis=1)
    asked = (vectors - centre) / scale if scale > 1e-12 else np.zeros_like(vectors)
    ask = np.concatenate([np.ones((len(vectors), 1)), asked], axis=1)

    def predict(rows: IntArray, at: FloatArray, penalty: float) -> FloatArray:
        # Dual form per feature f: c_f = s_f^2 G (s_f^2 G + penalty)^-1 t_f with the tasks' Gram matrix G.
        gram = x[rows] @ x[rows].T
        values, rotation = np.linalg.eigh(gram)
        shrink = singular**2 / (singular**2 * values[:, None] + penalty)  # (S, F)
        out: FloatArray = at @ x[rows].T @ rotation @ (shrink * (rotation.T @ targets[rows]))
        return out

    everyone = np.arange(len(seen.tasks))
    errors = []
    for penalty in PENALTIES:
        held_out = [predict(np.delete(everyone, row), x[row : row + 1], penalty)[0] - targets[row] for row in everyone]
        errors.append(float(np.square(held_out).sum()))
    best = float(PENALTIES[int(np.argmin(errors))])
    predicted: FloatArray = predict(everyone, ask, best) @ left.T
    return predicted
