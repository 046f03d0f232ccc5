"""Which setting to evaluate next when each costs a rendering and a pre-training, and only a handful can be
afforded.

A setting is scored on every task once its backbone exists, so a budget buys a portfolio: its worth is the sum
over tasks of the best reward in it. The rule is the one-step optimal one for that worth: the largest summed
expected improvement under the effects model of `effects.py`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from controller.effects import Table, Variances, expected_improvement, posterior, standardise
from controller.trials import Action, Evaluations, FloatArray, IntArray
from controller.variances import variances_of

MAX_CANDIDATES = 4096


def candidate_actions(rng: np.random.Generator, known: Evaluations) -> IntArray:
    """Settings that are not evaluated yet: all of them, or a seeded sample of a space with more than
    4,096."""
    space = known.space
    total = int(np.prod([float(size) for size in space.sizes]))
    if total <= MAX_CANDIDATES:
        actions = np.array(list(space.actions()), np.int64)
    else:
        actions = np.unique(rng.integers(0, space.sizes, (MAX_CANDIDATES, len(space.sizes))), axis=0)
    taken = known.positions
    keep = [row for row, action in enumerate(actions) if tuple(int(level) for level in action) not in taken]
    return actions[keep]


def next_settings(rng: np.random.Generator, known: Evaluations, x: FloatArray, count: int) -> tuple[Action, ...]:
    """Up to `count` new settings by summed expected improvement, each assumed to come out at its mean for the
    next.

    Args:
        known: what has been told; at least one reward.
        x: (T, d) centred task vectors, d = 0 without.
    """
    chosen: list[Action] = []
    values, _, scale = standardise(known.rewards)
    table = known
    # From four settings on, on two tasks or more, the table itself says a little about how its variance is made up.
    fit = known.distinct >= 4 and len(known.tasks) >= 2 and bool(np.isfinite(values).all())
    variances = variances_of(values, known.actions, known.space.sizes, x) if fit else Variances()
    for _ in range(count):
        candidates = candidate_actions(rng, table)
        if not len(candidates):
            break
        rows, columns = np.nonzero(np.isfinite(values))
        observed = Table(rows, table.actions[columns], values[rows, columns], x)
        mean, variance = posterior(observed, known.space.sizes, variances, candidates, tasks=len(known.tasks))
        best = np.where(np.isfinite(values), values, -np.inf).max(axis=1, initial=-np.inf)
        best = np.where(np.isfinite(best), best, 0.0)
        worth = (scale[:, None] * expected_improvement(mean, variance, best[:, None])).sum(axis=0)
        # Equal candidates (by symmetry there are many at the start) are told apart by a seeded draw, not by
        # order.
        worth = worth * (1 + 1e-9 * rng.random(len(worth)))
        pick = int(worth.argmax())
        chosen.append(tuple(int(level) for level in candidates[pick]))
        table = dataclasses.replace(table, actions=np.concatenate([table.actions, candidates[pick : pick + 1]]))
        values = np.concatenate([values, mean[:, pick : pick + 1]], axis=1)
    return tuple(chosen)
