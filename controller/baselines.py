"""What the controller has to beat, behind the same ask and tell: random, all_off, all_on and best_fixed.

    state = baseline_start("best_fixed", tasks, budget=16, seed=0)
    while not finished(state):
        trials = ask(state)
        state = tell(state, trials, rewards)
    chosen(state, task)        # an action tuple, the same for all tasks here
    expected_reward(state, task)  # what following this baseline brings on this task

They may also be told what others evaluated: over the live loop's table, `expected_reward` of random is the
mean over the settings drawn uniformly, and best_fixed chooses among everything that was told for all tasks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from controller.trials import Action, Evaluations, Trial
from sim.params import TASK2SIM_SPACE, ActionSpace, all_off, all_on

Baseline = Literal["random", "all_off", "all_on", "best_fixed"]
BASELINES: tuple[Baseline, ...] = ("random", "all_off", "all_on", "best_fixed")


@dataclass(frozen=True, eq=False)
class BaselineState:
    name: Baseline
    evaluations: Evaluations
    budget: int
    seed: int
    tells: int = 0


def baseline_start(
    name: Baseline, tasks: Sequence[str], space: ActionSpace = TASK2SIM_SPACE, *, budget: int, seed: int
) -> BaselineState:
    """A fresh baseline with a budget of distinct settings (all_off and all_on use one of it).

    Raises:
        ValueError: unknown name, no task, a budget below 1.
    """
    if name not in BASELINES:
        raise ValueError(f"unknown baseline {name!r}; allowed: {', '.join(BASELINES)}")
    if budget < 1:
        raise ValueError(f"budget is {budget}; allowed: 1 or more")
    return BaselineState(name, Evaluations.empty(tasks, space), budget, seed)


def plan(state: BaselineState) -> list[Action]:
    """The settings of this baseline in the order in which it asks for them, a function of its name and
    seed."""
    space = state.evaluations.space
    if state.name == "all_off":
        return [all_off(space)]
    if state.name == "all_on":
        return [all_on(space)]
    rng = np.random.default_rng([state.seed, 4])
    wanted = min(state.budget, math.prod(space.sizes))
    drawn: dict[Action, None] = {}
    while len(drawn) < wanted:
        drawn[tuple(int(level) for level in rng.integers(0, space.sizes))] = None
    return list(drawn)


def ask(state: BaselineState) -> tuple[Trial, ...]:
    """The next setting for every task that still lacks it; when all are known, the chosen one of every
    task."""
    known = state.evaluations
    columns = known.positions
    for action in plan(state):
        column = columns.get(action)
        lacking = [
            task for row, task in enumerate(known.tasks) if column is None or np.isnan(known.rewards[row, column])
        ]
        if lacking:
            return tuple(Trial(task, action) for task in lacking)
    return tuple(Trial(task, chosen(state, task)) for task in known.tasks)


def tell(state: BaselineState, trials: Sequence[Trial], rewards: Sequence[float]) -> BaselineState:
    """Record rewards; raises ValueError as `Evaluations.told` does."""
    return dataclasses.replace(state, evaluations=state.evaluations.told(trials, rewards), tells=state.tells + 1)


def finished(state: BaselineState) -> bool:
    known = state.evaluations
    columns = known.positions
    return all(action in columns and not np.isnan(known.rewards[:, columns[action]]).any() for action in plan(state))


def chosen(state: BaselineState, task: str) -> Action:
    """The setting that this baseline would use for a task; random's changes with the seed.

    Raises:
        ValueError: unknown task, or best_fixed knows no setting that was evaluated for all tasks.
    """
    known = state.evaluations
    if task not in known.tasks:
        raise ValueError(f"unknown task {task!r}; this baseline knows {', '.join(known.tasks)}")
    if state.name == "best_fixed":
        complete = ~np.isnan(known.rewards).any(axis=0)
        if not complete.any():
            raise ValueError("best_fixed needs a setting that was evaluated for all tasks")
        return known.action(int(np.where(complete, known.rewards.mean(axis=0), -np.inf).argmax()))
    if state.name == "random":
        rng = np.random.default_rng([state.seed, 5, known.tasks.index(task)])
        settings = plan(state)
        return settings[int(rng.integers(len(settings)))]
    return plan(state)[0]


def expected_reward(state: BaselineState, task: str) -> float:
    """The reward that following this baseline brings: random's mean over its settings, else that of its
    choice.

    Raises:
        ValueError: a needed reward was not told.
    """
    known = state.evaluations
    row = known.tasks.index(task)
    settings = plan(state) if state.name == "random" else [chosen(state, task)]
    columns = known.positions
    rewards = [known.rewards[row, columns[s]] if s in columns else math.nan for s in settings]
    if not np.isfinite(rewards).all():
        raise ValueError(f"{state.name} lacks a reward for {task}")
    return float(np.mean(rewards))
