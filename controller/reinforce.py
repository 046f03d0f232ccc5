"""Task2Sim's controller: REINFORCE over simulation parameters, one policy for all tasks, credit per task.

Live use (render, pre-train and score what it asks; everything here is pure, seeded and without files):

    state = controller_start(ReinforceConfig(budget=5, seed=0), ["digits", "lines"], vectors=None)
    while not finished(state):
        trials = ask(state)                      # (Trial(task, action), ...): what to evaluate next
        rewards = [evaluate(t.task, space.to_levels(t.action)) for t in trials]
        state = tell(state, trials, rewards)     # any (task, action) pairs may be told, also ones not asked
    chosen(state, "digits")                      # most probable evaluated setting, an action tuple
    probabilities(state)["digits"]["background"] # {"fixed": 0.3, "random": 0.7}
    document, arrays = dump_state(state)         # JSON-able dict, named arrays; load_state(document, arrays)

`ask` is a function of the state alone: asking twice gives the same trials, several of them may be in flight,
and a killed run that asks again gets what the store already holds. With a `budget`, every setting that is
asked is asked for all tasks (its pre-training is the cost, scoring it on one more task is not); once the
budget of distinct settings is spent, `ask` returns evaluated settings only. Tasks without a vector get a
one-hot identity as input.

Source: Task2Sim (Mishra et al., CVPR 2022), sections 3.2 and 4.1, and its released controller
(`task2sim_preset`). Deviations of both: 1. each task is credited with its own action (the released code
credits every task of a batch with every other's; `compat_cross_task_credit` brings that back for comparison).
2. log-softmax instead of the logarithm of a softmax. 3. The first layer is trained in the span of the task
vectors, which is the same arithmetic. 4. The arg-max probability cannot fall below its complement:
exploration is capped at that probability when there are more than two levels. Further deviations of the
default (docs/controller-notes.md has what was tried): 5. rewards are normalised per task. 6. Instead of one
sampled action per update, each update takes the expected policy gradient over all settings that are already
evaluated for a task (the policy renormalised over them): self-imitation of the whole table rather than of its
best entry. 7. An entropy term whose weight falls. 8. Vectors are centred over the training tasks, which also
get a one-hot input each. 9. Adam. 10. With a budget, settings are proposed by summed expected improvement
(`proposal.py`) instead of sampled from the policy.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from controller.learning import (
    as_action,
    exploration_at,
    self_critical_plan,
    self_critical_update,
    table_updates,
    task_log_probabilities,
)
from controller.policy import action_log_probabilities, log_probabilities
from controller.proposal import next_settings
from controller.state import (
    ReinforceConfig,
    ReinforceState,
    controller_start,
    dump_state,
    load_state,
    task2sim_preset,
)
from controller.trials import Action, FloatArray, IntArray, Trial
from controller.updates import explored, greedy_actions, sample_actions
from sim.params import all_off, all_on

__all__ = [
    "ReinforceConfig",
    "ReinforceState",
    "Trial",
    "ask",
    "chosen",
    "controller_start",
    "dump_state",
    "finished",
    "load_state",
    "most_probable",
    "probabilities",
    "task2sim_preset",
    "tell",
]


def ask(state: ReinforceState) -> tuple[Trial, ...]:
    """What to evaluate next; a function of the state alone, so that asking again gives the same.

    - While a budget lasts: `in_flight` settings, each for every task; first all off, then all on, then
      proposals. Pairs of an evaluated setting that were never told come before anything new.
    - Budget spent: one evaluated setting per task, drawn from the policy renormalised over its evaluated
      settings.
    - Without a budget, table rule: one setting per task, drawn from the exploring policy.
    - self_critical rule: for the tasks of the next batch, the action to learn from and the current arg-max.
    """
    tasks, space = state.tasks, state.space
    if state.config.rule == "self_critical":
        rows, actions, greedy = self_critical_plan(state)
        both = (
            (row, setting)
            for row, pair in zip(rows, zip(actions, greedy, strict=True), strict=True)
            for setting in pair
        )
        return tuple(dict.fromkeys(Trial(tasks[row], as_action(setting)) for row, setting in both))
    rng = np.random.default_rng([state.config.seed, 2, state.tells])
    if state.config.budget is None:
        likely = explored(task_log_probabilities(state), exploration_at(state.config, state.epoch), space.sizes)
        if state.settings is None:
            actions = sample_actions(rng, likely, space.sizes)
        else:
            actions = state.settings[sample_rows(rng, action_chances(np.log(likely), state.settings, space.sizes))]
        return tuple(Trial(task, as_action(action)) for task, action in zip(tasks, actions, strict=True))
    known = state.evaluations
    missing = np.argwhere(np.isnan(known.rewards).T)
    if len(missing):
        return tuple(Trial(tasks[row], known.action(column)) for column, row in missing)
    if budget_spent(state):
        picks = sample_rows(rng, evaluated_probabilities(state))
        return tuple(Trial(task, known.action(pick)) for task, pick in zip(tasks, picks, strict=True))
    assert state.config.budget is not None
    count = min(state.config.in_flight, state.config.budget - known.distinct)
    return tuple(Trial(task, setting) for setting in new_settings(state, rng, count) for task in tasks)


def new_settings(state: ReinforceState, rng: np.random.Generator, count: int) -> tuple[Action, ...]:
    known, space = state.evaluations, state.space
    settings = [s for s in dict.fromkeys((all_off(space), all_on(space))) if s not in known.positions][:count]
    if not known.distinct:
        # All on only follows all off here; before any reward there is nothing to propose from.
        return tuple(settings)
    wanted = count - len(settings)
    if state.config.proposal == "improvement":
        return (*settings, *next_settings(rng, known, state.vectors, wanted))
    log_probs = task_log_probabilities(state)
    exploration = exploration_at(state.config, state.epoch)
    while wanted > 0:
        drawn = sample_actions(rng, explored(log_probs, exploration, space.sizes), space.sizes)
        fresh = [
            s
            for s in map(as_action, drawn[rng.permutation(len(drawn))])
            if s not in known.positions and s not in settings
        ]
        settings += fresh[:wanted]
        wanted -= len(fresh[:wanted])
        # A policy that has settled draws what is known already: widen until something new turns up.
        exploration = min(exploration + 0.05, 0.95)
    return tuple(settings)


def tell(state: ReinforceState, trials: Sequence[Trial], rewards: Sequence[float]) -> ReinforceState:
    """Record rewards of any (task, action) pairs, asked for or not, and learn from all that is known.

    The self_critical rule moves on only when the rewards of the planned trials are all known.

    Raises:
        ValueError: unknown task or level, a reward that is not finite, trials and rewards of unequal length.
    """
    known = state.evaluations.told(trials, rewards)
    fresh = known.distinct > state.evaluations.distinct
    if state.config.rule == "self_critical":
        return self_critical_update(dataclasses.replace(state, evaluations=known, tells=state.tells + 1))
    state = dataclasses.replace(state, evaluations=known, tells=state.tells + 1, epoch=state.epoch + 1)
    live = state.config.budget is not None
    count = state.config.final_updates if live and fresh else state.config.table_updates
    return table_updates(state, count)


def chosen(state: ReinforceState, task: str) -> Action:
    """The most probable of the settings evaluated for this training task.

    Raises:
        ValueError: unknown task, or nothing evaluated for it yet.
    """
    row = task_row(state, task)
    known = state.evaluations
    if row >= len(state.tasks) or not np.isfinite(known.rewards[row]).any():
        raise ValueError(f"nothing was evaluated for {task}; most_probable gives the policy's own choice")
    return known.action(int(evaluated_probabilities(state)[row].argmax()))


def most_probable(state: ReinforceState, task: str) -> Action:
    """The most probable setting, evaluated or not; for any task with a vector."""
    log_probs = log_probabilities(state.weights, state.inputs[[task_row(state, task)]], state.space.sizes)
    if state.settings is not None:
        return as_action(state.settings[action_chances(log_probs, state.settings, state.space.sizes)[0].argmax()])
    return as_action(greedy_actions(log_probs, state.space.sizes)[0])


def probabilities(state: ReinforceState) -> dict[str, dict[str, dict[str, float]]]:
    """P(level) by task name, parameter name and level name, training tasks first."""
    likely = np.exp(log_probabilities(state.weights, state.inputs, state.space.sizes))
    out: dict[str, dict[str, dict[str, float]]] = {}
    for name, row in zip(state.names, likely, strict=True):
        values = iter(row.tolist())
        out[name] = {parameter: {level: next(values) for level in levels} for parameter, levels in state.space.levels}
    return out


def finished(state: ReinforceState) -> bool:
    """Budget spent with no reward missing; without a budget, all rounds (self_critical: epochs) done."""
    if state.config.budget is None:
        return state.epoch >= state.config.rounds
    return budget_spent(state) and not np.isnan(state.evaluations.rewards).any()


def budget_spent(state: ReinforceState) -> bool:
    budget = state.config.budget
    return budget is not None and state.evaluations.distinct >= min(budget, math.prod(state.space.sizes))


def task_row(state: ReinforceState, task: str) -> int:
    if task not in state.names:
        raise ValueError(f"unknown task {task!r}; this controller knows {', '.join(state.names)}")
    return state.names.index(task)


def evaluated_probabilities(state: ReinforceState) -> FloatArray:
    """The policy renormalised over the settings evaluated for each training task: (T, n), 0 where unknown."""
    known = state.evaluations
    return action_chances(task_log_probabilities(state), known.actions, state.space.sizes, known.rewards)


def action_chances(
    log_probs: FloatArray, actions: IntArray, sizes: tuple[int, ...], rewards: FloatArray | None = None
) -> FloatArray:
    """Factorised probabilities renormalised over `actions` (n, P): (B, n); 0 where `rewards` (B, n) is NaN."""
    score = action_log_probabilities(log_probs, actions, sizes)
    if rewards is not None:
        score = np.where(np.isfinite(rewards), score, -np.inf)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    out: FloatArray = weight / weight.sum(axis=1, keepdims=True)
    return out


def sample_rows(rng: np.random.Generator, chances: FloatArray) -> list[int]:
    """One column per row of `chances` (B, n)."""
    draws = rng.random(len(chances))
    cumulative = np.cumsum(chances, axis=1)
    return [int((draw * row[-1] >= row[:-1]).sum()) for draw, row in zip(draws, cumulative, strict=True)]
