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
(`task2sim_preset`). Deviations of the preset: 1. each task is credited with its own action (the released code
credits every task of a batch with every other's; `compat_cross_task_credit` brings that back for comparison).
2. log-softmax instead of the logarithm of a softmax. 3. The first layer is trained in the span of the task
vectors, which is the same arithmetic. 4. The arg-max probability cannot fall below its complement:
exploration is capped at that probability when there are more than two levels. Deviations of the default (each
measured in benchmarks/controller.py): 5. rewards are normalised per task. 6. Instead of one sampled action
per update, each update takes the expected policy gradient over all settings that are already evaluated for a
task (the policy renormalised over them), with an entropy term: self-imitation of the whole table rather than
of its best entry. 7. Vectors are centred over the training tasks. 8. Adam.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from controller.policy import (
    action_log_probabilities,
    adam_step,
    backward,
    forward,
    log_probabilities,
    sgd_step,
)
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
from controller.updates import (
    explored,
    greedy_actions,
    sample_actions,
    self_critical_gradient,
    table_gradient,
)
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
        actions = sample_actions(rng, likely, space.sizes)
        return tuple(Trial(task, as_action(action)) for task, action in zip(tasks, actions, strict=True))
    known = state.evaluations
    missing = np.argwhere(np.isnan(known.rewards).T)
    if len(missing):
        return tuple(Trial(tasks[row], known.action(column)) for column, row in missing)
    if budget_spent(state):
        chances = evaluated_probabilities(state)
        draws = rng.random(len(tasks))
        picks = [int((draw >= np.cumsum(row)).sum()) for draw, row in zip(draws, chances, strict=True)]
        return tuple(
            Trial(task, known.action(min(pick, known.distinct - 1))) for task, pick in zip(tasks, picks, strict=True)
        )
    assert state.config.budget is not None
    count = min(state.config.in_flight, state.config.budget - known.distinct)
    return tuple(Trial(task, setting) for setting in new_settings(state, rng, count) for task in tasks)


def new_settings(state: ReinforceState, rng: np.random.Generator, count: int) -> tuple[Action, ...]:
    known, space = state.evaluations, state.space
    settings = [s for s in dict.fromkeys((all_off(space), all_on(space))) if s not in known.positions()][:count]
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
            if s not in known.positions() and s not in settings
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
    """The most probable level of every parameter, evaluated or not; for any task with a vector."""
    log_probs = log_probabilities(state.weights, state.inputs[[task_row(state, task)]], state.space.sizes)
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


def exploration_at(config: ReinforceConfig, epoch: int) -> float:
    """0.4 in epochs 0-4, 0.2 in 5-9, 0.1333 in 10-14 with the original's values."""
    return config.exploration / math.ceil((epoch + 1) / config.exploration_every)


def entropy_weights(config: ReinforceConfig, epoch: int, count: int) -> FloatArray:
    """Weight of the entropy term in each of a tell's updates, falling geometrically: first keep open, then decide.

    Over all rounds without a budget; with one, within every tell, since the next setting changes what is best.
    """
    if config.budget is not None:
        return np.geomspace(config.entropy, config.final_entropy_live, count)
    done = min(epoch / config.rounds, 1.0)
    return np.full(count, config.entropy * (config.final_entropy / config.entropy) ** done)


def learning_rate_at(config: ReinforceConfig, epoch: int) -> float:
    """Linear warm-up from 1e-6 over `warmup_epochs`, a tenth from `drop_epoch` (self_critical rule)."""
    if epoch < config.warmup_epochs:
        return 1e-6 + (config.learning_rate - 1e-6) * epoch / config.warmup_epochs
    return config.learning_rate * (0.1 if epoch >= config.drop_epoch else 1.0)


def task_row(state: ReinforceState, task: str) -> int:
    if task not in state.names:
        raise ValueError(f"unknown task {task!r}; this controller knows {', '.join(state.names)}")
    return state.names.index(task)


def as_action(row: IntArray) -> Action:
    return tuple(int(level) for level in row)


def task_log_probabilities(state: ReinforceState) -> FloatArray:
    """log P(level) for the training tasks: (T, sum(sizes))."""
    return log_probabilities(state.weights, state.inputs[: len(state.tasks)], state.space.sizes)


def evaluated_probabilities(state: ReinforceState) -> FloatArray:
    """The policy renormalised over the settings evaluated for each training task: (T, n), 0 where unknown."""
    known = state.evaluations
    score = action_log_probabilities(task_log_probabilities(state), known.actions, state.space.sizes)
    score = np.where(np.isfinite(known.rewards), score, -np.inf)
    weight = np.exp(score - score.max(axis=1, keepdims=True))
    out: FloatArray = weight / weight.sum(axis=1, keepdims=True)
    return out


def table_updates(state: ReinforceState, count: int) -> ReinforceState:
    """`count` AdamW steps on the expected reward over everything known, rewards normalised per task."""
    config, known, sizes = state.config, state.evaluations, state.space.sizes
    rewards = known.rewards - np.nanmean(known.rewards, axis=1, keepdims=True)
    spread = np.sqrt(np.nanmean(rewards**2, axis=1, keepdims=True))
    rewards = rewards / np.where(spread > 1e-12, spread, 1.0)
    x = state.inputs[: len(state.tasks)]
    weights, first, second = state.weights, state.moments["first"], state.moments["second"]
    for step, entropy in enumerate(entropy_weights(config, state.epoch, count), start=state.updates + 1):
        log_probs, cache = forward(weights, x, sizes)
        gradient = table_gradient(
            log_probs,
            known.actions,
            rewards,
            sizes,
            entropy=float(entropy),
            cross_task_credit=config.compat_cross_task_credit,
        )
        gradients = backward(weights, cache, log_probs, gradient, sizes)
        weights, first, second = adam_step(
            weights,
            gradients,
            first,
            second,
            step=step,
            learning_rate=config.learning_rate,
            decay=config.weight_decay,
        )
    return dataclasses.replace(
        state, weights=weights, moments={"first": first, "second": second}, updates=state.updates + count
    )


def self_critical_plan(state: ReinforceState) -> tuple[IntArray, IntArray, IntArray]:
    """Task rows of the next update (B,), the actions to learn from (B, P) and the arg-max actions (B, P)."""
    config, sizes = state.config, state.space.sizes
    order = np.random.default_rng([config.seed, 3, state.epoch]).permutation(len(state.tasks))
    rows = order[state.batch * config.batch_tasks : (state.batch + 1) * config.batch_tasks]
    log_probs = log_probabilities(state.weights, state.inputs[rows], sizes)
    if state.repeat:
        best = np.nanargmax(state.evaluations.rewards[rows], axis=1)
        actions = state.evaluations.actions[best]
    else:
        rng = np.random.default_rng([config.seed, 2, state.updates])
        actions = sample_actions(rng, explored(log_probs, exploration_at(config, state.epoch), sizes), sizes)
    return rows, actions, greedy_actions(log_probs, sizes)


def self_critical_update(state: ReinforceState) -> ReinforceState:
    config, known, sizes = state.config, state.evaluations, state.space.sizes
    rows, actions, greedy = self_critical_plan(state)
    columns = known.positions()
    pairs = [(columns.get(as_action(a)), columns.get(as_action(g))) for a, g in zip(actions, greedy, strict=True)]
    if any(column is None for pair in pairs for column in pair):
        return state
    value = np.array([[known.rewards[row, column] for column in pair] for row, pair in zip(rows, pairs, strict=True)])
    if np.isnan(value).any():
        return state
    log_probs, cache = forward(state.weights, state.inputs[rows], sizes)
    gradient = self_critical_gradient(
        log_probs,
        actions,
        value[:, 0] - value[:, 1],
        sizes,
        exploration=0.0 if state.repeat else exploration_at(config, state.epoch),
        cross_task_credit=config.compat_cross_task_credit,
    )
    weights, momentum = sgd_step(
        state.weights,
        backward(state.weights, cache, log_probs, gradient, sizes),
        state.moments["first"],
        learning_rate=learning_rate_at(config, state.epoch),
        decay=config.weight_decay,
        beta=config.momentum,
    )
    repeat, batch, epoch = state.repeat + 1, state.batch, state.epoch
    if repeat > (config.imitation_steps if epoch >= config.imitation_from else 0):
        repeat, batch = 0, batch + 1
    if batch * config.batch_tasks >= len(state.tasks):
        batch, epoch = 0, epoch + 1
    return dataclasses.replace(
        state,
        weights=weights,
        moments={"first": momentum},
        updates=state.updates + 1,
        repeat=repeat,
        batch=batch,
        epoch=epoch,
    )
