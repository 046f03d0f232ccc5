"""A complete table of rewards, what replay reads: every task at every setting, and a vector per task."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from controller.trials import Action, FloatArray, IntArray
from sim.params import ActionSpace


@dataclass(frozen=True, eq=False)
class RewardTable:
    """T tasks by n settings without gaps."""

    tasks: tuple[str, ...]
    space: ActionSpace
    actions: IntArray  # (n, P), distinct
    rewards: FloatArray  # (T, n) finite
    vectors: FloatArray  # (T, D) unit norm

    def __post_init__(self) -> None:
        if self.rewards.shape != (len(self.tasks), len(self.actions)) or len(self.vectors) != len(self.tasks):
            raise ValueError(
                f"{len(self.tasks)} tasks and {len(self.actions)} settings do not fit rewards of shape "
                f"{self.rewards.shape} and {len(self.vectors)} vectors"
            )
        if not np.isfinite(self.rewards).all():
            raise ValueError("a reward table must be complete and finite")

    @functools.cached_property
    def positions(self) -> dict[Action, int]:
        """Column of each setting; not to be changed, it is made once."""
        return {tuple(row): column for column, row in enumerate(self.actions.tolist())}

    def action(self, column: int) -> Action:
        return tuple(int(level) for level in self.actions[column])

    def of(self, tasks: Sequence[str]) -> RewardTable:
        """The rows of these tasks. Raises ValueError naming a task that is not in the table."""
        for task in tasks:
            if task not in self.tasks:
                raise ValueError(f"unknown task {task!r}; the table has {', '.join(self.tasks)}")
        rows = [self.tasks.index(task) for task in tasks]
        return RewardTable(tuple(tasks), self.space, self.actions, self.rewards[rows], self.vectors[rows])
