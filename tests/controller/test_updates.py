"""Credit per task, exploration, and both gradients against exact expectations by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from controller.updates import (
    explored,
    greedy_actions,
    sample_actions,
    self_critical_gradient,
    table_gradient,
)

SIZES = (2, 3, 2)
ACTIONS = np.array(list(itertools.product(range(2), range(3), range(2))))


def normalised(logits: np.ndarray) -> np.ndarray:
    parts = np.split(logits, np.cumsum(SIZES)[:-1], axis=1)
    return np.concatenate([part - np.log(np.exp(part).sum(axis=1, keepdims=True)) for part in parts], axis=1)


def by_logits(log_probs: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Chain rule through the softmaxes, parameter by parameter."""
    out = []
    for g, lp in zip(
        np.split(gradient, np.cumsum(SIZES)[:-1], axis=1),
        np.split(log_probs, np.cumsum(SIZES)[:-1], axis=1),
        strict=True,
    ):
        out.append(g - np.exp(lp) * g.sum(axis=1, keepdims=True))
    return np.concatenate(out, axis=1)


@pytest.fixture
def log_probs() -> np.ndarray:
    return normalised(np.random.default_rng(0).normal(size=(4, 7)))


def score(log_probs: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return np.stack([log_probs[:, 0 + a] + log_probs[:, 2 + b] + log_probs[:, 5 + c] for a, b, c in actions], axis=1)


def test_a_tasks_gradient_ignores_the_actions_and_rewards_of_others(log_probs) -> None:
    actions, advantages = ACTIONS[[1, 4, 7, 10]], np.array([1.0, -2.0, 3.0, 0.5])
    args = {"exploration": 0.1, "cross_task_credit": False}
    first = self_critical_gradient(log_probs, actions, advantages, SIZES, **args)
    actions[1:], advantages[1:] = ACTIONS[[0, 0, 0]], 99.0
    second = self_critical_gradient(log_probs, actions, advantages, SIZES, **args)
    np.testing.assert_array_equal(first[0], second[0])
    assert (first[1:] != second[1:]).any()
    mixed = {"exploration": 0.1, "cross_task_credit": True}
    assert (self_critical_gradient(log_probs, actions, advantages, SIZES, **mixed)[0] != first[0]).any()


def test_one_task_at_a_time_averages_to_the_batch(log_probs) -> None:
    actions, advantages = ACTIONS[[1, 4, 7, 10]], np.array([1.0, -2.0, 3.0, 0.5])
    args = {"exploration": 0.2, "cross_task_credit": False}
    batch = self_critical_gradient(log_probs, actions, advantages, SIZES, **args)
    for i in range(4):
        alone = self_critical_gradient(log_probs[[i]], actions[[i]], advantages[[i]], SIZES, **args)
        np.testing.assert_allclose(alone[0] / 4, batch[i], atol=1e-14)


def test_the_sampled_arg_max_has_no_gradient(log_probs) -> None:
    actions = greedy_actions(log_probs, SIZES)
    gradient = self_critical_gradient(log_probs, actions, np.zeros(4), SIZES, exploration=0.1, cross_task_credit=False)
    assert not gradient.any()


def test_the_expected_self_critical_gradient_is_that_of_the_expected_reward(log_probs) -> None:
    """By enumeration of all actions, against finite differences of E[reward] over the logits."""
    rewards = np.random.default_rng(1).normal(size=len(ACTIONS))
    row = log_probs[:1]
    expected = np.zeros((1, 7))
    baseline = rewards[3]
    for action, reward in zip(ACTIONS, rewards, strict=True):
        chance = float(np.exp(score(row, action[None]))[0, 0])
        gradient = self_critical_gradient(
            row, action[None], np.array([reward - baseline]), SIZES, exploration=0.0, cross_task_credit=False
        )
        expected += chance * by_logits(row, gradient)

    def value(logits: np.ndarray) -> float:
        return float(np.exp(score(normalised(logits), ACTIONS))[0] @ rewards)

    for column in range(7):
        step = np.zeros((1, 7))
        step[0, column] = 1e-6
        assert expected[0, column] == pytest.approx(-(value(row + step) - value(row - step)) / 2e-6, abs=1e-8)


def test_the_table_gradient_is_that_of_its_objective(log_probs) -> None:
    rng = np.random.default_rng(2)
    known = ACTIONS[[0, 3, 5, 8, 11]]
    rewards = rng.normal(size=(4, 5))
    rewards[1, 2] = rewards[3, :4] = np.nan
    gradient = table_gradient(log_probs, known, rewards, SIZES, entropy=0.3, cross_task_credit=False)

    def objective(at: np.ndarray) -> float:
        total = 0.0
        for row in range(4):
            mask = np.isfinite(rewards[row])
            chance = np.exp(score(at[[row]], known[mask])[0])
            chance /= chance.sum()
            total += float(chance @ rewards[row, mask] - 0.3 * (chance @ np.log(chance)))
        return -total

    for place in itertools.product(range(4), range(7)):
        step = np.zeros((4, 7))
        step[place] = 1e-6
        slope = (objective(log_probs + step) - objective(log_probs - step)) / 2e-6
        assert gradient[place] == pytest.approx(slope, abs=1e-8)


def test_exploration_moves_that_much_from_the_top_level_and_keeps_the_sum(log_probs) -> None:
    before, after = np.exp(log_probs), explored(log_probs, 0.3, SIZES)
    np.testing.assert_allclose(after.sum(axis=1), 3, atol=1e-12)
    for row in range(4):
        top = before[row, :2].argmax()
        assert after[row, top] == pytest.approx(before[row, top] - 0.3)
    assert (explored(normalised(np.zeros((1, 7))), 0.9, SIZES) >= 0).all()


def test_samples_follow_their_probabilities() -> None:
    likely = np.tile(np.array([[0.2, 0.8, 0.5, 0.1, 0.4, 1.0, 0.0]]), (20000, 1))
    drawn = sample_actions(np.random.default_rng(0), likely, SIZES)
    assert drawn[:, 0].mean() == pytest.approx(0.8, abs=0.01)
    np.testing.assert_allclose(np.bincount(drawn[:, 1]) / 20000, [0.5, 0.1, 0.4], atol=0.015)
    assert not drawn[:, 2].any()
