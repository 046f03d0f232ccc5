"""How a controller learns from its evaluations: schedules, updates on the whole table, self-critical updates."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from controller.policy import adam_step, backward, forward, log_probabilities, sgd_step
from controller.state import ReinforceConfig, ReinforceState
from controller.trials import Action, FloatArray, IntArray
from controller.updates import (
    explored,
    greedy_actions,
    sample_actions,
    self_critical_gradient,
    table_gradient,
)


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


def as_action(row: IntArray) -> Action:
    return tuple(int(level) for level in row)


def task_log_probabilities(state: ReinforceState) -> FloatArray:
    """log P(level) for the training tasks: (T, sum(sizes))."""
    return log_probabilities(state.weights, state.inputs[: len(state.tasks)], state.space.sizes)


def table_updates(state: ReinforceState, count: int) -> ReinforceState:
    """`count` AdamW steps on the expected reward over everything known, rewards normalised per task."""
    config, known, sizes = state.config, state.evaluations, state.space.sizes
    known_count = np.maximum(np.isfinite(known.rewards).sum(axis=1, keepdims=True), 1)
    rewards = known.rewards - np.nansum(known.rewards, axis=1, keepdims=True) / known_count
    spread = np.sqrt(np.nansum(rewards**2, axis=1, keepdims=True) / known_count)
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
    columns = known.positions
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
