"""The baselines behind ask and tell."""

from __future__ import annotations

import numpy as np
import pytest

from controller.baselines import BASELINES, ask, baseline_start, chosen, expected_reward, finished, tell
from controller.trials import Trial
from sim.params import ActionSpace, all_off, all_on

SPACE = ActionSpace((("a", ("x", "y")), ("b", ("x", "y", "z")), ("c", ("x", "y"))))
TASKS = ("one", "two")


def reward(trial: Trial) -> float:
    a, b, c = trial.action
    return 10.0 * (a if trial.task == "one" else 1 - a) + 3 * b + c


def run(name, budget: int = 6, seed: int = 0):
    state = baseline_start(name, TASKS, SPACE, budget=budget, seed=seed)
    rounds = 0
    while not finished(state):
        trials = ask(state)
        assert ask(state) == trials
        state = tell(state, trials, [reward(trial) for trial in trials])
        rounds += 1
    return state, rounds


def test_every_baseline_asks_each_setting_once_for_all_tasks() -> None:
    assert len(BASELINES) == 4
    for name in BASELINES:
        state, rounds = run(name)
        assert rounds == (6 if name in ("random", "best_fixed") else 1) == state.evaluations.distinct
        assert not np.isnan(state.evaluations.rewards).any()
        assert {trial.task for trial in ask(state)} == set(TASKS)


def test_off_and_on_are_the_first_and_the_last_levels() -> None:
    assert chosen(run("all_off")[0], "one") == all_off(SPACE)
    assert chosen(run("all_on")[0], "two") == all_on(SPACE)


def test_best_fixed_has_the_largest_mean_over_tasks() -> None:
    state, _ = run("best_fixed", budget=12)
    assert chosen(state, "one")[1:] == (2, 1) == chosen(state, "two")[1:]
    assert chosen(state, "one") == chosen(state, "two")


def test_random_is_the_mean_over_its_settings_and_differs_by_seed() -> None:
    state, _ = run("random")
    assert expected_reward(state, "one") == pytest.approx(state.evaluations.rewards[0].mean())
    assert chosen(state, "one") in state.evaluations.positions
    others = {tuple(sorted(run("random", seed=seed)[0].evaluations.positions)) for seed in range(4)}
    assert len(others) > 1


def test_a_budget_beyond_the_space_ends_with_it() -> None:
    assert run("random", budget=99)[0].evaluations.distinct == 12


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown baseline 'best'"):
        baseline_start("best", TASKS, SPACE, budget=1, seed=0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="budget is 0"):
        baseline_start("random", TASKS, SPACE, budget=0, seed=0)
    state = baseline_start("best_fixed", TASKS, SPACE, budget=2, seed=0)
    with pytest.raises(ValueError, match="needs a setting that was evaluated for all tasks"):
        chosen(state, "one")
    with pytest.raises(ValueError, match="unknown task 'three'"):
        chosen(state, "three")
    with pytest.raises(ValueError, match="lacks a reward"):
        expected_reward(baseline_start("all_on", TASKS, SPACE, budget=2, seed=0), "one")
