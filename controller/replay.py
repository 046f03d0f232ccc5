"""Play every method on a recorded reward table and report how good its choices are.

Protocol: rewards of the chosen settings averaged over the seen and over the unseen tasks, per seed; then mean and 95 %
interval (Student's t) over the seeds. Methods without randomness have intervals of width 0 on one table. `share` is
the part of the oracle's gain over random that is reached; `random` is the mean over all recorded settings.
`evaluations` counts distinct rewards of a task that were asked for, averaged over tasks; `hamming` is the mean number
of parameters in which the choices for two tasks differ. For a seen task, nearest_task and few_shot use the other seen
tasks only; best_fixed and ridge know its rewards; reinforce asked for some of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controller import methods as m
from controller.rewards import RewardTable
from controller.trials import Action, FloatArray, Trial

Start = Callable[[m.Problem, int], m.Method]


@dataclass(frozen=True)
class Family:
    """One method, reported after different numbers of evaluations per task; without counts, when it is done."""

    start: Start
    names: tuple[tuple[str, int | None], ...]
    random: bool
    """Does its outcome depend on the seed?"""


def family(start: Start, name: str, counts: Sequence[int] = (), *, random: bool) -> Family:
    names = tuple((f"{name}_{count}", count) for count in counts) or ((name, None),)
    return Family(start, names, random)


FAMILIES = (
    family(m.start_random, "random", random=True),
    family(m.start_all_off, "all_off", random=False),
    family(m.start_all_on, "all_on", random=False),
    family(m.start_best_fixed, "best_fixed", random=False),
    family(m.start_nearest_task, "nearest_task", random=False),
    family(m.start_random_search, "random_search", (8, 16, 32), random=True),
    family(m.TpeSearch, "tpe", (8, 16, 32), random=True),
    family(m.start_ridge, "ridge", random=False),
    family(m.start_reinforce, "reinforce", random=True),
    family(m.start_few_shot, "few_shot", (0, 8, 32), random=False),
    family(m.start_oracle, "oracle", random=False),
)
METHODS = tuple(name for one in FAMILIES for name, _ in one.names)


@dataclass(frozen=True)
class Played:
    """What one method chose with one seed."""

    choices: dict[str, Action]
    evaluations: dict[str, int]


def play(start: Start, names: Sequence[tuple[str, int | None]], problem: m.Problem, seed: int) -> dict[str, Played]:
    """Run one method to its largest count (or its end) and take its choices at every count."""
    positions = problem.table.positions
    rows = {task: row for row, task in enumerate(problem.table.tasks)}
    asked: dict[str, set[Action]] = {task: set() for task in problem.tasks}
    wanted = {count: name for name, count in names}
    out: dict[str, Played] = {}
    method = start(problem, seed)

    def snapshot() -> Played:
        return Played(
            {task: method.choice(task) for task in problem.tasks}, {task: len(known) for task, known in asked.items()}
        )

    for rounds in itertools.count():
        if rounds in wanted:
            out[wanted[rounds]] = snapshot()
        trials: tuple[Trial, ...] = () if len(out) == len(names) else method.ask()
        if not trials:
            break
        rewards = [float(problem.table.rewards[rows[t.task], positions[t.action]]) for t in trials]
        for trial in trials:
            asked[trial.task].add(trial.action)
        method = method.tell(trials, rewards)
    for name, _ in names:
        # A count above the number of recorded settings ends with all of them.
        if name not in out:
            out[name] = snapshot()
    return out


def replay(
    table: RewardTable,
    seen: Sequence[str],
    unseen: Sequence[str],
    *,
    seeds: Sequence[int],
    names: Sequence[str] = METHODS,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Any]:
    """Every method on one table; see the module's protocol.

    Args:
        seen, unseen: tasks of the table, without overlap; two seen ones or more, one unseen or more.
        seeds: for the methods that draw; at least one.
        names: which methods, of `METHODS`.

    Returns:
        {"methods": {name: {"seen": {"mean", "ci95": [low, high], "share", "hamming", "evaluations"}, "unseen": {...},
        "evaluations"}}, "seen": [...], "unseen": [...], "settings": n, "seeds": k, "left_out": {name: why}}

    Raises:
        ValueError: no or an unknown method, an unknown task, a task both seen and unseen, too few tasks, no seed.
    """
    check_split(table, seen, unseen)
    if not seeds:
        raise ValueError("no seed; at least one is needed")
    if not names:
        raise ValueError(f"no method; allowed: {', '.join(METHODS)}")
    if unknown := [name for name in names if name not in METHODS]:
        raise ValueError(f"unknown method {unknown[0]!r}; allowed: {', '.join(METHODS)}")
    problem = m.Problem(table, tuple(seen), tuple(unseen))
    positions = table.positions
    results: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    families = [f for f in FAMILIES if any(name in names for name, _ in f.names)]
    total = sum(len(seeds) if f.random else 1 for f in families)
    done = 0
    for one in families:
        wanted = [pair for pair in one.names if pair[0] in names]
        played: list[dict[str, Played]] = []
        for seed in seeds if one.random else seeds[:1]:
            if progress:
                progress(done, total, wanted[0][0])
            played.append(play(one.start, wanted, problem, seed))
            done += 1
        for name, _ in wanted:
            runs = [run[name] for run in played]
            if any(action not in positions for run in runs for action in run.choices.values()):
                left_out[name] = "its setting is not in the table"
                continue
            results[name] = summary(name, problem, runs)
    if progress:
        progress(total, total, "done")
    ordered = {name: results[name] for name in METHODS if name in results}
    return {
        "methods": ordered,
        "seen": list(seen),
        "unseen": list(unseen),
        "settings": len(table.actions),
        "seeds": len(seeds),
        "left_out": left_out,
    }


def check_split(table: RewardTable, seen: Sequence[str], unseen: Sequence[str]) -> None:
    table.of([*seen, *unseen])
    if twice := sorted({task for task in [*seen, *unseen] if [*seen, *unseen].count(task) > 1}):
        raise ValueError(f"task {twice[0]!r} is named twice among the seen and unseen tasks")
    if len(seen) < 3 or not unseen:
        raise ValueError(f"{len(seen)} seen and {len(unseen)} unseen tasks; needed: 3 or more seen, 1 or more unseen")
    if len(table.actions) < 2:
        raise ValueError("the table has one setting; there is nothing to choose")


def summary(name: str, problem: m.Problem, runs: Sequence[Played]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for split, tasks in (("seen", problem.seen), ("unseen", problem.unseen)):
        rewards = problem.table.of(tasks).rewards
        positions = problem.table.positions
        low, high = float(rewards.mean()), float(rewards.max(axis=1).mean())
        values = np.array(
            [np.mean([rewards[row, positions[run.choices[task]]] for row, task in enumerate(tasks)]) for run in runs]
        )
        if name == "random":
            values = np.array([low])
        used = [run.evaluations[task] for run in runs for task in tasks]
        if name == "oracle":
            used = [len(problem.table.actions)]
        mean = float(values.mean())
        out[split] = {
            "mean": mean,
            "ci95": list(interval(values)),
            "share": (mean - low) / (high - low) if high > low else 1.0,
            "hamming": float(np.mean([hamming([run.choices[task] for task in tasks]) for run in runs])),
            "evaluations": float(np.mean(used)),
        }
    weights = [len(problem.seen), len(problem.unseen)]
    out["evaluations"] = float(np.average([out["seen"]["evaluations"], out["unseen"]["evaluations"]], weights=weights))
    return out


def interval(values: FloatArray) -> tuple[float, float]:
    """95 % interval of the mean by Student's t; one value (or equal ones) has width 0."""
    from scipy.special import stdtrit

    mean = float(values.mean())
    if len(values) < 2:
        return mean, mean
    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
    return mean - half, mean + half


def hamming(choices: Sequence[Action]) -> float:
    """Mean number of parameters in which two of the choices differ; 0 for a single one."""
    pairs = list(itertools.combinations(choices, 2))
    if not pairs:
        return 0.0
    return float(np.mean([sum(a != b for a, b in zip(one, other, strict=True)) for one, other in pairs]))
