"""What a controller asks (Trial) and what it has been told (Evaluations). No files, no clock, no
randomness."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sim.params import ActionSpace

Action = tuple[int, ...]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Trial:
    """One question: how good is this setting for this task?"""

    task: str
    action: Action
    """One level index per parameter, in the order of the action space's names."""


@dataclass(frozen=True, eq=False)
class Evaluations:
    """The reward table as far as it is known: T tasks by n distinct settings, in the order in which they were
    told."""

    tasks: tuple[str, ...]
    space: ActionSpace
    actions: IntArray  # (n, P)
    rewards: FloatArray  # (T, n), NaN where that pair was never told

    @classmethod
    def empty(cls, tasks: Sequence[str], space: ActionSpace) -> Evaluations:
        """Raises ValueError when no task is given or one is given twice."""
        if not tasks:
            raise ValueError("a controller needs at least one task")
        if len(set(tasks)) != len(tasks):
            raise ValueError(f"task named twice in {', '.join(tasks)}")
        shape = (0, len(space.sizes))
        return cls(tuple(tasks), space, np.zeros(shape, np.int64), np.zeros((len(tasks), 0)))

    @property
    def distinct(self) -> int:
        """Number of distinct settings that have a reward for at least one task."""
        return len(self.actions)

    @functools.cached_property
    def positions(self) -> dict[Action, int]:
        """Column of each known setting; not to be changed, it is made once."""
        return {tuple(row): column for column, row in enumerate(self.actions.tolist())}

    def action(self, column: int) -> Action:
        return tuple(int(level) for level in self.actions[column])

    def told(self, trials: Sequence[Trial], rewards: Sequence[float]) -> Evaluations:
        """These evaluations and the new ones; where a pair is told again, the last reward counts.

        Raises:
            ValueError: lengths differ, a task or level is unknown, or a reward is not finite.
        """
        if len(trials) != len(rewards):
            raise ValueError(f"{len(trials)} trials but {len(rewards)} rewards")
        columns = dict(self.positions)
        rows = {task: row for row, task in enumerate(self.tasks)}
        fresh: list[Action] = []
        for trial, reward in zip(trials, rewards, strict=True):
            if trial.task not in rows:
                raise ValueError(f"unknown task {trial.task!r}; this controller knows {', '.join(self.tasks)}")
            check_action(self.space, trial.action)
            if not np.isfinite(reward):
                raise ValueError(f"reward of {trial.task} at {trial.action} is {reward}; it must be finite")
            if trial.action not in columns:
                columns[trial.action] = len(columns)
                fresh.append(trial.action)
        places = [(rows[trial.task], columns[trial.action]) for trial in trials]
        if not fresh and all(self.rewards[place] == reward for place, reward in zip(places, rewards, strict=True)):
            return self  # nothing new: most tells of a long training on a recorded table
        table = np.full((len(self.tasks), len(columns)), np.nan)
        table[:, : self.distinct] = self.rewards
        for place, reward in zip(places, rewards, strict=True):
            table[place] = reward
        actions = (
            np.concatenate([self.actions, np.array(fresh, np.int64).reshape(len(fresh), -1)]) if fresh else self.actions
        )
        return Evaluations(self.tasks, self.space, actions, table)


def check_action(space: ActionSpace, action: Action) -> None:
    """Raises ValueError unless `action` is one level index of every parameter of `space`."""
    sizes = space.sizes
    if len(action) != len(sizes) or any(not 0 <= level < size for level, size in zip(action, sizes, strict=False)):
        raise ValueError(f"action {action} is outside the space with level counts {sizes}")
