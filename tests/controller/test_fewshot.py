"""The few-shot bandit: agreement with one big Gaussian process, variance components found again, known optima."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller import fewshot
from controller.effects import (
    PARTS,
    Variances,
    action_kernels,
    expected_improvement,
    standardise,
)
from controller.synthetic import Shares, make_table
from controller.trials import Trial
from controller.variances import is_diagonal, settings_frame
from sim.params import ActionSpace

SPACE = ActionSpace((("a", ("x", "y")), ("b", ("x", "y", "z")), ("c", ("x", "y"))))
TABLE = make_table(0, space=SPACE, num_tasks=7, latent=2, vector_dim=6)


def test_kernels_have_unit_variance_and_no_mean_over_the_factorial() -> None:
    kernels = action_kernels(TABLE.actions, TABLE.actions, SPACE.sizes)
    for name, kernel in kernels.items():
        assert np.diag(kernel).mean() == pytest.approx(1)
        if name != "cell":
            np.testing.assert_allclose(kernel.sum(axis=1), 0, atol=1e-12)


@pytest.mark.parametrize("columns", [range(12), (0, 1, 3, 4, 7, 8, 11)])
def test_the_prediction_is_that_of_one_big_gaussian_process(columns) -> None:
    """Full factorial (diagonal path) and a part of it; every task and setting in a single covariance matrix."""
    chosen = np.array(list(columns))
    actions, rewards = TABLE.actions[chosen], TABLE.rewards[:5, chosen]
    prior = fewshot.fit_prior(rewards, actions, TABLE.vectors[:5], SPACE.sizes)
    mean, covariance = fewshot.predict(prior, TABLE.vectors[6], TABLE.actions)

    x = (np.concatenate([TABLE.vectors[:5], TABLE.vectors[6:7]]) - prior.centre) / prior.norm
    rows, settings = np.repeat(np.arange(5), len(chosen)), np.tile(actions, (5, 1))

    def prior_covariance(r, a, s, b) -> np.ndarray:
        kernels = action_kernels(a, b, SPACE.sizes)
        task = {
            "shared": np.ones((len(r), len(s))),
            "vector": x[r] @ x[s].T,
            "own": (r[:, None] == s[None]).astype(float),
        }
        return sum(
            getattr(prior.variances, part) * task[part.split("_")[0]] * kernels[part.split("_")[1]] for part in PARTS
        )

    values = (rewards - rewards.mean(axis=1, keepdims=True)) / rewards.std(axis=1, keepdims=True)
    centring = np.kron(np.eye(5), np.eye(len(chosen)) - 1 / len(chosen))
    observed = centring @ prior_covariance(rows, settings, rows, settings) @ centring.T
    asked = np.full(len(TABLE.actions), 5)
    cross = prior_covariance(asked, TABLE.actions, rows, settings) @ centring.T
    inverse = np.linalg.pinv(observed, rcond=1e-10)
    np.testing.assert_allclose(mean, cross @ inverse @ values.ravel(), atol=1e-4)
    own = prior_covariance(asked, TABLE.actions, asked, TABLE.actions)
    np.testing.assert_allclose(covariance, own - cross @ inverse @ cross.T, atol=1e-4)


def test_variance_components_are_found_again() -> None:
    table = make_table(0)
    found = fewshot.fit_prior(table.rewards, table.actions, table.vectors, table.space.sizes).variances
    assert found.shared_main == pytest.approx(0.4, abs=0.2)
    assert found.vector_main == pytest.approx(0.25, abs=0.12)
    assert found.own_main == pytest.approx(0.15, abs=0.08)
    assert found.shared_pair + found.own_pair == pytest.approx(0.15, abs=0.05)
    assert found.own_cell == pytest.approx(0.05, abs=0.03)


def test_vectors_that_say_nothing_get_little_weight() -> None:
    table = make_table(0)
    wrong = np.random.default_rng(0).permutation(table.vectors)
    true = fewshot.fit_prior(table.rewards[:12], table.actions, table.vectors[:12], table.space.sizes)
    shuffled = fewshot.fit_prior(table.rewards[:12], table.actions, wrong[:12], table.space.sizes)
    assert shuffled.variances.vector_main < 0.5 * true.variances.vector_main


def bandit(task: int, budget: int, seen: int = 12, seed: int = 0) -> tuple[fewshot.FewShotState, np.ndarray]:
    table = make_table(seed)
    prior = fewshot.fit_prior(table.rewards[:seen], table.actions, table.vectors[:seen], table.space.sizes)
    state = fewshot.few_shot_start(prior, "new", table.space, table.vectors[task], budget=budget)
    return state, table.rewards[task]


def finish(state: fewshot.FewShotState, rewards: np.ndarray) -> fewshot.FewShotState:
    position = {tuple(row): column for column, row in enumerate(state.candidates.tolist())}
    while not fewshot.finished(state):
        trials = fewshot.ask(state)
        assert trials == fewshot.ask(state)
        state = fewshot.tell(state, trials, [float(rewards[position[trial.action]]) for trial in trials])
    return state


def test_sixteen_evaluations_come_close_to_the_best_of_256_and_none_is_repeated() -> None:
    shares = []
    for task in (13, 15, 18):
        state, rewards = bandit(task, 16)
        state = finish(state, rewards)
        assert len(set(state.columns)) == 16
        column = state.candidates.tolist().index(list(fewshot.chosen(state)))
        shares.append((rewards[column] - rewards.mean()) / (rewards.max() - rewards.mean()))
    assert np.mean(shares) > 0.9


def test_rewards_in_other_units_lead_to_the_same_choices() -> None:
    """Level and spread of a new task are unknown and must not matter much."""
    state, rewards = bandit(14, 10)
    moved = dataclasses.replace(state, log_spread=(state.log_spread[0] + np.log(0.1), state.log_spread[1]))
    assert finish(state, rewards).columns == finish(moved, 1000 + 0.1 * rewards).columns


def test_what_was_told_is_what_is_believed() -> None:
    state, rewards = bandit(13, 4)
    state = finish(state, rewards)
    weights, means, variances = fewshot.beliefs(state)
    assert weights.sum() == pytest.approx(1)
    columns = list(state.columns)
    np.testing.assert_allclose(means[:, columns], np.tile(rewards[columns], (len(weights), 1)))
    assert not variances[:, columns].any()
    draws = fewshot.posterior_draws(state, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(draws[:, columns], np.tile(rewards[columns], (4000, 1)))
    expected = weights @ means
    assert np.abs(draws.mean(axis=0) - expected).max() < 0.35
    spread = np.sqrt(np.maximum(weights @ (variances + means**2) - expected**2, 0.0))
    others = np.setdiff1d(np.arange(256), columns)
    np.testing.assert_allclose(draws.std(axis=0)[others], spread[others], rtol=0.12)


def test_a_budget_of_nothing_asks_nothing() -> None:
    state, _ = bandit(13, 0)
    assert fewshot.finished(state)
    assert fewshot.ask(state) == (Trial("new", fewshot.chosen(state)),)


def test_expected_improvement_agrees_with_sampling() -> None:
    draws = np.random.default_rng(0).normal(1.0, 2.0, 400_000)
    found = float(expected_improvement(np.array(1.0), np.array(4.0), np.array(1.5)))
    assert found == pytest.approx(np.maximum(draws - 1.5, 0).mean(), abs=0.01)


def test_standardised_rewards_leave_gaps_and_constant_tasks_alone() -> None:
    values, mean, scale = standardise(np.array([[1.0, 3.0, np.nan], [2.0, 2.0, 2.0], [np.nan] * 3]))
    assert mean.tolist() == [2.0, 2.0, 0.0]
    assert np.isnan(values[0, 2]) and np.isnan(values[2]).all()
    assert values[0, 1] > 0 and not values[1].any() and (scale > 0).all()


def test_a_full_factorial_is_diagonal_in_its_frame_and_a_part_is_not() -> None:
    for chosen, diagonal in ((np.arange(12), True), (np.array([0, 1, 3, 4, 7, 8, 11]), False)):
        kernels = action_kernels(TABLE.actions[chosen], TABLE.actions[chosen], SPACE.sizes)
        frame = settings_frame(kernels)
        np.testing.assert_allclose(frame.T @ frame, np.eye(len(chosen) - 1), atol=1e-10)
        np.testing.assert_allclose(frame.sum(axis=0), 0, atol=1e-10)
        assert all(is_diagonal(frame.T @ kernel @ frame) for kernel in kernels.values()) == diagonal


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="complete table of 2 tasks"):
        fewshot.fit_prior(TABLE.rewards[:1], TABLE.actions, TABLE.vectors[:1], SPACE.sizes)
    prior = fewshot.fit_prior(TABLE.rewards, TABLE.actions, TABLE.vectors, SPACE.sizes)
    with pytest.raises(ValueError, match="budget is -1"):
        fewshot.few_shot_start(prior, "new", SPACE, TABLE.vectors[0], budget=-1)
    with pytest.raises(ValueError, match="another action space or vector length"):
        fewshot.few_shot_start(prior, "new", SPACE, np.ones(5), budget=1)
    state = fewshot.few_shot_start(prior, "new", SPACE, TABLE.vectors[0], budget=1, candidates=TABLE.actions[:4])
    for trial, reward, message in (
        (Trial("other", (0, 0, 0)), 1.0, "unknown task 'other'"),
        (Trial("new", (1, 2, 1)), 1.0, "is not among the candidates"),
        (Trial("new", (0, 0, 9)), 1.0, "outside the space"),
        (Trial("new", (0, 0, 0)), float("inf"), "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            fewshot.tell(state, [trial], [reward])
    with pytest.raises(ValueError, match="own_main is -1"):
        Variances(own_main=-1)
    with pytest.raises(ValueError):
        Shares(noise=-0.05)
