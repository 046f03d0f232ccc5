"""The controller: schedules, purity, budget, resuming, known optima, and the guard against cross-task credit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest

from controller.learning import exploration_at, learning_rate_at, self_critical_plan
from controller.reinforce import (
    ReinforceConfig,
    ReinforceState,
    Trial,
    ask,
    chosen,
    controller_start,
    dump_state,
    finished,
    load_state,
    most_probable,
    probabilities,
    task2sim_preset,
    tell,
)
from sim.params import TASK2SIM_SPACE, ActionSpace, all_off, all_on

SMALL = ActionSpace((("a", ("x", "y")), ("b", ("x", "y", "z")), ("c", ("x", "y"))))
TASKS = ("one", "two", "three")
OPTIMA = {"one": (0, 2, 1), "two": (1, 0, 0), "three": (1, 1, 1)}


def reward(trial: Trial) -> float:
    """Minus ten for each parameter away from the task's optimum."""
    return 50.0 - 10 * sum(a != b for a, b in zip(trial.action, OPTIMA[trial.task], strict=True))


def advance(state: ReinforceState, rounds: int) -> ReinforceState:
    for _ in range(rounds):
        trials = ask(state)
        state = tell(state, trials, [reward(trial) for trial in trials])
    return state


def same(a: ReinforceState, b: ReinforceState) -> bool:
    (document, arrays), (other, others) = dump_state(a), dump_state(b)
    return document == other and all(np.array_equal(arrays[k], others[k], equal_nan=True) for k in arrays)


def start(**changes: object) -> ReinforceState:
    return controller_start(ReinforceConfig(**changes), TASKS, space=SMALL)  # type: ignore[arg-type]


def original(**changes: object) -> ReinforceConfig:
    return dataclasses.replace(task2sim_preset(seed=0), **changes)  # type: ignore[arg-type]


def test_each_task_finds_its_own_optimum() -> None:
    state = advance(start(rounds=60), 60)
    assert finished(state)
    assert {task: chosen(state, task) for task in TASKS} == OPTIMA
    assert {task: most_probable(state, task) for task in TASKS} == OPTIMA


@pytest.mark.parametrize("wrong", [False, True])
def test_credit_per_task_finds_each_optimum_and_cross_task_credit_does_not(wrong: bool) -> None:
    """The original's rule and the released code's mistake, on the same table."""
    config = original(
        rounds=120,
        hidden=32,
        warmup_epochs=5,
        learning_rate=0.01,
        imitation_from=20,
        drop_epoch=100,
        compat_cross_task_credit=wrong,
    )
    rng = np.random.default_rng(1)
    vectors = {task: rng.normal(size=30) for task in TASKS}
    state = controller_start(config, TASKS, vectors, SMALL)
    while not finished(state):
        state = advance(state, 1)
    got = {task: most_probable(state, task) for task in TASKS}
    gain = np.mean([reward(Trial(task, action)) for task, action in got.items()])
    if wrong:
        assert gain < 42
        assert len(set(got.values())) < 3
    else:
        assert got == OPTIMA


def test_ask_is_a_function_of_the_state() -> None:
    state = advance(start(), 3)
    assert ask(state) == ask(state)
    before = dump_state(state)
    tell(state, ask(state), [0.0] * 3)
    after = dump_state(state)
    assert before[0] == after[0]
    assert all(np.array_equal(before[1][name], after[1][name], equal_nan=True) for name in before[1])


@pytest.mark.parametrize(
    "config", [ReinforceConfig(seed=3), ReinforceConfig(budget=6, final_updates=30), original(hidden=16)]
)
def test_resumed_at_any_step_it_ends_with_the_same_bits(config: ReinforceConfig) -> None:
    vectors = {"one": np.arange(1.0, 9), "three": np.ones(8), "later": np.eye(8)[2]}
    state = controller_start(config, TASKS, vectors, SMALL)
    states = list(itertools.accumulate(range(7), lambda before, _: advance(before, 1), initial=state))
    whole = states.pop()
    for stop, stopped in enumerate(states):
        document, arrays = dump_state(stopped)
        document = json.loads(json.dumps(document))
        arrays = {name: array.copy() for name, array in arrays.items()}
        assert same(advance(load_state(document, arrays), 7 - stop), whole)


def test_a_budget_is_of_distinct_settings_shared_by_all_tasks() -> None:
    state = start(budget=5, in_flight=2)
    first = ask(state)
    ends = (all_off(SMALL), all_on(SMALL))
    assert first == tuple(Trial(task, action) for action in ends for task in TASKS)
    state = tell(state, first, [reward(trial) for trial in first])
    settings = list(ends)
    while not finished(state):
        trials = ask(state)
        new = list(dict.fromkeys(trial.action for trial in trials))
        assert len(new) <= 2 and not set(new) & set(settings)
        assert {(t.task, t.action) for t in trials} == {(task, action) for task in TASKS for action in new}
        settings += new
        state = tell(state, trials, [reward(trial) for trial in trials])
    assert state.evaluations.distinct == len(settings) == 5
    evaluated = set(settings)
    for _ in range(5):
        trials = ask(state)
        assert [trial.task for trial in trials] == list(TASKS)
        assert {trial.action for trial in trials} <= evaluated
        state = tell(state, trials, [reward(trial) for trial in trials])
    assert state.evaluations.distinct == 5
    for task in TASKS:
        best = max(reward(Trial(task, action)) for action in evaluated)
        assert reward(Trial(task, chosen(state, task))) == best


def test_pairs_that_were_not_told_are_asked_again_before_anything_new() -> None:
    state = start(budget=4)
    trials = ask(state)
    state = tell(state, trials[:1], [1.0])
    assert ask(state) == trials[1:]
    assert not finished(state)


def test_settings_nobody_asked_for_may_be_told() -> None:
    state = start(budget=3)
    trials = [Trial(task, (1, 2, 0)) for task in TASKS]
    state = tell(state, trials, [1.0, 2.0, 3.0])
    assert state.evaluations.distinct == 1
    assert chosen(state, "two") == (1, 2, 0)


def test_a_budget_beyond_the_space_ends_with_the_space() -> None:
    space = ActionSpace((("a", ("x", "y")), ("b", ("x",))))
    state = controller_start(ReinforceConfig(budget=9), ("one",), space=space)
    while not finished(state):
        trials = ask(state)
        state = tell(state, trials, [float(trial.action[0]) for trial in trials])
    assert state.evaluations.distinct == 2
    assert chosen(state, "one") == (1, 0)


def test_only_recorded_settings_are_asked_for() -> None:
    settings = np.array([[0, 2, 1], [1, 0, 0], [0, 0, 0]])
    state = controller_start(ReinforceConfig(rounds=20), TASKS, space=SMALL, settings=settings)
    allowed = {tuple(row) for row in settings.tolist()}
    for _ in range(20):
        trials = ask(state)
        assert {trial.action for trial in trials} <= allowed
        state = tell(state, trials, [reward(trial) for trial in trials])
    assert most_probable(state, "two") == (1, 0, 0)
    assert same(load_state(*dump_state(state)), state)


def test_tasks_that_only_have_a_vector_are_answered_like_their_neighbour() -> None:
    vectors = {"one": np.eye(4)[0], "two": np.eye(4)[1], "three": np.eye(4)[2]}
    vectors["near two"] = np.array([0.05, 1.0, 0.0, 0.02])
    state = advance(controller_start(ReinforceConfig(rounds=60), TASKS, vectors, SMALL), 60)
    assert most_probable(state, "near two") == OPTIMA["two"]
    with pytest.raises(ValueError, match="nothing was evaluated for near two"):
        chosen(state, "near two")


def test_probabilities_are_named_and_sum_to_one() -> None:
    table = probabilities(advance(start(), 2))
    assert list(table) == list(TASKS)
    for row in table.values():
        assert {name: tuple(levels) for name, levels in row.items()} == dict(SMALL.levels)
        for levels in row.values():
            assert sum(levels.values()) == pytest.approx(1)


def test_the_originals_exploration_schedule() -> None:
    config = task2sim_preset()
    wanted = {0: 0.4, 4: 0.4, 5: 0.2, 9: 0.2, 10: 0.4 / 3, 45: 0.04, 49: 0.04}
    assert {epoch: exploration_at(config, epoch) for epoch in wanted} == pytest.approx(wanted)


def test_the_originals_learning_rates() -> None:
    config = task2sim_preset()
    assert learning_rate_at(config, 0) == pytest.approx(1e-6)
    assert learning_rate_at(config, 50) == pytest.approx(1e-3)
    assert learning_rate_at(config, 499) == pytest.approx(1e-3)
    assert learning_rate_at(config, 500) == pytest.approx(1e-4)


def test_the_originals_number_of_updates() -> None:
    """3 an epoch before imitation starts, 18 after; 12 tasks; here on a tiny network and a few epochs."""
    config = original(rounds=3, hidden=4, imitation_from=2)
    tasks = tuple(f"task{i}" for i in range(12))
    state = controller_start(config, tasks, space=SMALL)
    counts = []
    while not finished(state):
        epoch = state.epoch
        trials = ask(state)
        state = tell(state, trials, [float(sum(trial.action)) for trial in trials])
        if state.epoch != epoch:
            counts.append(state.updates)
    assert counts == [3, 6, 24]
    assert 50 * 3 + 950 * 18 == 17_250


def test_imitation_uses_the_best_setting_seen_and_asks_for_no_other_but_the_arg_max() -> None:
    config = original(rounds=4, hidden=8, imitation_from=0)
    state = controller_start(config, TASKS, space=SMALL)
    checked = 0
    while not finished(state):
        if state.repeat:
            rows, actions, greedy = self_critical_plan(state)
            known = state.evaluations
            for row, action in zip(rows, actions, strict=True):
                column = known.positions[tuple(action.tolist())]
                assert known.rewards[row, column] == np.nanmax(known.rewards[row])
                checked += 1
            asked = {trial.action for trial in ask(state)}
            assert asked <= {tuple(a) for a in actions.tolist()} | {tuple(g) for g in greedy.tolist()}
        state = advance(state, 1)
    assert checked == 4 * 5 * 3


def test_the_original_waits_until_its_rewards_are_there() -> None:
    state = controller_start(original(hidden=8), TASKS, space=SMALL)
    trials = ask(state)
    waiting = tell(state, trials[:1], [1.0])
    assert waiting.updates == 0 and waiting.evaluations.distinct == 1
    assert ask(waiting) == trials
    assert tell(waiting, trials[1:], [reward(t) for t in trials[1:]]).updates == 1


@pytest.mark.parametrize(
    ("trials", "rewards", "message"),
    [
        ([Trial("four", (0, 0, 0))], [1.0], "unknown task 'four'; this controller knows one, two, three"),
        ([Trial("one", (0, 3, 0))], [1.0], r"action \(0, 3, 0\) is outside the space"),
        ([Trial("one", (0, 0))], [1.0], "is outside the space"),
        ([Trial("one", (0, 0, 0))], [float("nan")], "must be finite"),
        ([Trial("one", (0, 0, 0))], [], "1 trials but 0 rewards"),
    ],
)
def test_bad_rewards_are_refused(trials, rewards, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tell(start(), trials, rewards)


@pytest.mark.parametrize(
    ("tasks", "vectors", "message"),
    [
        ((), None, "at least one task"),
        (("a", "a"), None, "named twice"),
        (("a", "b"), {"a": np.ones(3), "b": np.ones(4)}, "differ in length: a 3, b 4"),
        (("a",), {"a": np.zeros(3)}, "vector of a is zero"),
        (("a",), {"a": np.array([1.0, np.inf])}, "vector of a must be one row of finite numbers"),
    ],
)
def test_a_bad_start_is_refused(tasks, vectors, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        controller_start(ReinforceConfig(), tasks, vectors, TASK2SIM_SPACE)


def test_bad_configurations_are_refused() -> None:
    for changes in ({"budget": 0}, {"rounds": 0}, {"exploration": 1.0}, {"budget": 3, "rule": "self_critical"}):
        with pytest.raises(ValueError):
            ReinforceConfig(**changes)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="version"):
        load_state({"version": 99}, {})


def test_importing_the_controller_imports_no_torch() -> None:
    code = "import sys, controller.reinforce, controller.replay; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
