"""Ways to choose a setting, compared on a run's own rewards: a `Summary` in, rows of a table out.

Costs nothing, since every setting was scored on every task. Rewards are measured inside the training splits and the
choices below are made from the same numbers, so `oracle` and `chosen` are a little above what new images would give;
the transfer table has the test scores. Many more ways are compared by `simpath controller replay`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.summary import Summary

WAYS = {
    "random": ("random parameters", "mean of the settings drawn uniformly, else of all"),
    "all_off": ("all off", "no variation"),
    "all_on": ("all on", "everything varies"),
    "best_fixed": ("best fixed", "one setting for all tasks, best on average"),
    "best_of_others": ("best of the others", "best on average on all tasks but this one"),
    "chosen": ("chosen", "the controller's choice for each task"),
    "oracle": ("oracle", "best of the evaluated settings for each task"),
}
"""In the order of the table: what a reader calls each, and what it is."""


@dataclass(frozen=True)
class Way:
    """The rewards (percent) of one way to choose."""

    name: str
    rewards: Mapping[str, float]
    """By task."""
    mean: float
    share: float | None
    """Part of the oracle's gain over random; None where the oracle gains nothing."""


def ways_to_choose(summary: Summary) -> list[Way]:
    """Every way that the trials of a run allow; empty unless all settings have a reward on all of its tasks."""
    rewards: dict[str, dict[str, float]] = {}
    origins: dict[str, str] = {}
    for trial in summary.trials:
        if trial.reward is None:
            return []
        rewards.setdefault(trial.task, {})[trial.setting] = trial.reward
        origins[trial.setting] = trial.origin
    if not rewards or any(row.keys() != origins.keys() for row in rewards.values()):
        return []
    tasks = list(rewards)
    found: dict[str, dict[str, float]] = {}
    uniform = [setting for setting, origin in origins.items() if origin == "uniform"] or list(origins)
    found["random"] = {task: statistics.fmean(rewards[task][setting] for setting in uniform) for task in tasks}
    for end in ("all_off", "all_on"):
        for setting in [setting for setting, origin in origins.items() if origin == end][:1]:
            found[end] = {task: rewards[task][setting] for task in tasks}
    if len(tasks) > 1:
        best = _best_on_average(rewards)
        found["best_fixed"] = {task: rewards[task][best] for task in tasks}
        others = {task: {other: row for other, row in rewards.items() if other != task} for task in tasks}
        found["best_of_others"] = {task: rewards[task][_best_on_average(others[task])] for task in tasks}
    if all(summary.chosen.get(task) in origins for task in tasks):
        found["chosen"] = {task: rewards[task][summary.chosen[task]] for task in tasks}
    found["oracle"] = {task: max(rewards[task].values()) for task in tasks}
    means = {name: statistics.fmean(row.values()) for name, row in found.items()}
    gain = means["oracle"] - means["random"]
    return [
        Way(name, found[name], means[name], (means[name] - means["random"]) / gain if gain > 0 else None)
        for name in WAYS
        if name in found
    ]


def _best_on_average(rewards: Mapping[str, Mapping[str, float]]) -> str:
    """The setting with the largest mean over tasks, the first of equals."""
    settings = list(next(iter(rewards.values())))
    return max(settings, key=lambda setting: statistics.fmean(row[setting] for row in rewards.values()))
