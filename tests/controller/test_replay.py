"""Replay: every method by one driver, what each may know, and the numbers it must reach."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from controller import methods as m
from controller.replay import METHODS, hamming, interval, play, replay
from controller.rewards import RewardTable
from controller.ridge import PENALTIES, pair_features, ridge_predictions
from controller.synthetic import Shares, make_table
from sim.params import ActionSpace, all_off, all_on

SPACE = ActionSpace((("a", ("x", "y")), ("b", ("x", "y", "z")), ("c", ("x", "y"))))
QUICK = tuple(name for name in METHODS if not name.startswith(("tpe", "reinforce")))


def recorded(seed: int = 0, **options) -> RewardTable:
    table = make_table(seed, **options)
    return RewardTable(table.tasks, table.space, table.actions, table.rewards, table.vectors)


def small() -> RewardTable:
    return recorded(space=SPACE, num_tasks=7, latent=2, vector_dim=6)


def test_names_are_those_of_the_command_line() -> None:
    counts = {"random_search": (8, 16, 32), "tpe": (8, 16, 32), "few_shot": (0, 8, 32)}
    wanted = {"random", "all_off", "all_on", "best_fixed", "nearest_task", "ridge", "reinforce", "oracle"}
    wanted |= {f"{name}_{n}" for name, numbers in counts.items() for n in numbers}
    assert set(METHODS) == wanted and len(METHODS) == 17


def test_every_method_is_reported_with_its_evaluations() -> None:
    table = small()
    result = replay(table, table.tasks[:4], table.tasks[4:], seeds=[0])
    assert tuple(result["methods"]) == METHODS
    asked = {name: values["unseen"]["evaluations"] for name, values in result["methods"].items()}
    assert asked["random_search_8"] == asked["tpe_8"] == asked["few_shot_8"] == 8
    # There are only 12 settings.
    assert asked["random_search_32"] == asked["tpe_16"] == asked["few_shot_32"] == asked["oracle"] == 12
    assert asked["random"] == asked["ridge"] == asked["few_shot_0"] == asked["reinforce"] == 0
    for name in ("random_search_32", "tpe_32", "few_shot_32", "oracle"):
        assert result["methods"][name]["unseen"]["share"] == pytest.approx(1)
    assert result["methods"]["random"]["seen"]["share"] == 0
    assert result["methods"]["reinforce"]["seen"]["share"] > 0.95


def test_fixed_methods_choose_what_their_definition_says() -> None:
    table = small()
    problem = m.Problem(table, table.tasks[:4], table.tasks[4:])
    fixed = m.start_best_fixed(problem, 0).choice(table.tasks[6])
    assert fixed == table.action(int(table.rewards[:4].mean(axis=0).argmax()))
    assert m.start_all_off(problem, 0).choice(table.tasks[5]) == all_off(SPACE)
    assert m.start_all_on(problem, 0).choice(table.tasks[5]) == all_on(SPACE)
    nearest = m.start_nearest_task(problem, 0)
    cosines = table.vectors[:4] @ table.vectors[5]
    assert nearest.choice(table.tasks[5]) == table.action(int(table.rewards[cosines.argmax()].argmax()))
    others = [1, 2, 3]
    cosines = table.vectors[others] @ table.vectors[0]
    assert nearest.choice(table.tasks[0]) == table.action(int(table.rewards[others[cosines.argmax()]].argmax()))


def test_rewards_of_unseen_tasks_reach_a_method_by_asking_only() -> None:
    """Other rewards of the unseen tasks change no choice that was made without evaluations."""
    table = small()
    rewards = table.rewards.copy()
    rewards[4:] = np.random.default_rng(0).normal(size=rewards[4:].shape)
    other = dataclasses.replace(table, rewards=rewards)
    checked = 0
    for start in (m.start_random, m.start_best_fixed, m.start_nearest_task, m.start_ridge, m.start_few_shot):
        for task in table.tasks:
            choices = {start(m.Problem(t, table.tasks[:4], table.tasks[4:]), 3).choice(task) for t in (table, other)}
            assert len(choices) == 1
            checked += 1
    assert checked == 35


def test_a_seen_tasks_own_rewards_do_not_reach_its_few_shot_prior() -> None:
    table = small()
    rewards = table.rewards.copy()
    rewards[0] = np.random.default_rng(0).normal(size=12)
    other = dataclasses.replace(table, rewards=rewards)
    for start in (m.start_few_shot, m.start_nearest_task):
        choices = {start(m.Problem(t, table.tasks[:4], table.tasks[4:]), 0).choice("task00") for t in (table, other)}
        assert len(choices) == 1


def test_methods_that_draw_differ_by_seed_and_repeat_by_seed() -> None:
    table = small()
    problem = m.Problem(table, table.tasks[:4], table.tasks[4:])
    names = (("random_search_8", 3),)
    runs = [play(m.start_random_search, names, problem, seed)["random_search_8"].choices for seed in (0, 0, 1)]
    assert runs[0] == runs[1] != runs[2]


def test_ridge_agrees_with_a_plain_solve() -> None:
    table = small()
    seen = table.of(table.tasks[:5])
    predicted = ridge_predictions(seen, table.vectors)
    features = pair_features(seen.actions, SPACE.sizes)
    features = features - features.mean(axis=0)
    centre = seen.vectors.mean(axis=0)
    scale = np.sqrt(((seen.vectors - centre) ** 2).sum(axis=1).mean())
    z = np.concatenate([np.ones((7, 1)), (table.vectors - centre) / scale], axis=1)
    design = np.kron(z, features)  # (tasks * settings, ...)
    target = (seen.rewards - seen.rewards.mean(axis=1, keepdims=True)).ravel()
    rows = design[: 5 * 12]
    gaps = []
    for penalty in PENALTIES:
        weights = rows.T @ np.linalg.solve(rows @ rows.T + penalty * np.eye(60), target)
        gaps.append(np.abs((design @ weights).reshape(7, 12) - predicted).max())
    assert min(gaps) < 1e-6


def test_few_shot_beats_random_search_with_four_times_its_evaluations() -> None:
    table = recorded(1)
    names = ("random", "best_fixed", "random_search_32", "few_shot_0", "few_shot_8", "few_shot_32", "oracle")
    result = replay(table, table.tasks[:12], table.tasks[12:], seeds=[0], names=names)["methods"]
    share = {name: values["unseen"]["share"] for name, values in result.items()}
    assert share["few_shot_8"] > share["random_search_32"]
    assert share["few_shot_32"] > 0.97
    assert share["few_shot_0"] > share["best_fixed"] - 0.1


@pytest.mark.slow
def test_reinforce_nears_the_oracle_on_seen_tasks_and_cross_task_credit_does_not() -> None:
    table = recorded(0, shares=Shares(own_pairs=0.0))
    problem = m.Problem(table, table.tasks[:12], table.tasks[12:])
    shares = {}
    for wrong in (False, True):
        config = m.reinforce.ReinforceConfig(rounds=100, compat_cross_task_credit=wrong)
        run = play(lambda p, _, c=config: m.start_reinforce_with(c, p), (("reinforce", None),), problem, 0)
        choices = run["reinforce"].choices
        positions = table.positions
        rewards = [table.rewards[row, positions[choices[task]]] for row, task in enumerate(problem.seen)]
        rows = table.rewards[:12]
        shares[wrong] = (np.mean(rewards) - rows.mean()) / (rows.max(axis=1).mean() - rows.mean())
    assert shares[False] > 0.96
    assert shares[True] < shares[False] - 0.1


def test_intervals_and_hamming() -> None:
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.3027 / 3**0.5, 2 + 4.3027 / 3**0.5), abs=1e-3)
    assert interval(np.array([4.0])) == (4.0, 4.0)
    assert hamming([(0, 0), (0, 1), (1, 1)]) == pytest.approx((1 + 2 + 1) / 3)
    assert hamming([(0, 0)]) == 0


def test_progress_reaches_its_total() -> None:
    table, calls = small(), []
    replay(
        table,
        table.tasks[:4],
        table.tasks[4:],
        seeds=[0],
        names=("random", "oracle"),
        progress=lambda *c: calls.append(c),
    )
    assert calls == [(0, 2, "random"), (1, 2, "oracle"), (2, 2, "done")]


def test_a_table_with_gaps_or_of_another_shape_is_refused() -> None:
    table = small()
    with pytest.raises(ValueError, match="complete and finite"):
        dataclasses.replace(table, rewards=np.where(table.rewards > 50, np.nan, table.rewards) * np.nan)
    with pytest.raises(ValueError, match="do not fit"):
        dataclasses.replace(table, rewards=table.rewards[:, :3])
    with pytest.raises(ValueError, match="one setting"):
        replay(
            dataclasses.replace(table, rewards=table.rewards[:, :1], actions=table.actions[:1]),
            table.tasks[:3],
            table.tasks[3:],
            seeds=[0],
        )
