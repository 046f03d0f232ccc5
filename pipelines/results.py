"""From correct and wrong answers on the test images to the transfer table, its comparisons and the preference finding.

In: for every (backbone, task) the correctness of each test image, and which backbones a method uses on a task. Out:
rows of `pipelines.summary`. Pure; every interval is `transfer.intervals`' bootstrap over seeds and test images.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.summary import Comparison, Preference, Score
from sim.text import visible
from transfer.intervals import Pair, accuracy, average_difference, difference

RANDOM_WEIGHTS, RANDOM, ALL_ON, CHOSEN = "random weights", "random", "all_on", "chosen"
IMAGENET = "ImageNet weights"
METHODS = (RANDOM_WEIGHTS, RANDOM, ALL_ON, CHOSEN)
"""Always there; `IMAGENET` where the weights are on the disk."""
AVERAGE = "average"


@dataclass(frozen=True)
class Answers:
    """Correctness of one method on one task's test images."""

    correct: npt.NDArray[np.uint8]  # (S, N): one row for each backbone
    settings: tuple[str, ...]
    """Setting ids behind the rows, without repetition; empty for random and for ImageNet weights."""
    seeds: int
    """Pre-training seeds (random weights: initialisations) of each setting."""


Table = Mapping[tuple[str, str], Answers]
"""(task, method) -> answers."""


def transfer_scores(table: Table, *, seed: int) -> tuple[Score, ...]:
    """One row for each (task, method), in the table's order."""
    rows = []
    for (task, method), answers in table.items():
        estimate = accuracy(answers.correct, seed=seed)
        rows.append(
            Score(
                task=task,
                method=method,
                score=estimate.mean,
                settings=answers.settings,
                ci95=estimate.ci95,
                n_test=answers.correct.shape[1],
                seeds=answers.seeds,
            )
        )
    return tuple(rows)


def comparisons(table: Table, tasks: Sequence[str], *, seed: int) -> tuple[Comparison, ...]:
    """chosen minus each other method, per task and averaged over the tasks."""
    rows = []
    methods = dict.fromkeys(method for _, method in table)
    for other in (method for method in methods if method != CHOSEN):
        pairs = [_pair(table[task, CHOSEN], table[task, other], other) for task in tasks]
        for task, pair in zip(tasks, pairs, strict=True):
            estimate = difference(pair, seed=seed)
            rows.append(Comparison(task, CHOSEN, other, estimate.mean, estimate.ci95))
        estimate = average_difference(pairs, seed=seed)
        rows.append(Comparison(AVERAGE, CHOSEN, other, estimate.mean, estimate.ci95))
    return tuple(rows)


def _pair(chosen: Answers, answers: Answers, method: str) -> Pair:
    (setting,) = chosen.settings
    same_for_all = method in (RANDOM_WEIGHTS, RANDOM, IMAGENET)
    return Pair(chosen.correct, answers.correct, setting, method if same_for_all else answers.settings[0])


def preference(
    correct: Mapping[tuple[str, str], npt.NDArray[np.uint8]],
    chosen: Mapping[str, str],
    names: Mapping[str, str],
    *,
    seed: int,
) -> Preference:
    """Do two tasks prefer different parameters: does p beat q on A while q beats p on B?

    p and q are what was chosen for A and for B on their training splits, so the test splits decide nothing but the
    answer. All pairs of tasks with different choices are looked at and the clearest one is reported; the number of
    pairs stands in the text, because among many pairs one in 40 x 40 would pass by chance alone.

    Args:
        correct: (setting, task) -> correctness (S, N), for every chosen setting on every task.
        chosen: task -> setting.
        names: setting -> what a reader calls it.
    """
    findings = []
    for task_a, task_b in itertools.combinations(chosen, 2):
        p, q = chosen[task_a], chosen[task_b]
        if p == q:
            continue
        on_a = difference(Pair(correct[p, task_a], correct[q, task_a], p, q), seed=seed)
        on_b = difference(Pair(correct[q, task_b], correct[p, task_b], q, p), seed=seed)
        findings.append((min(on_a.ci95[0], on_b.ci95[0]), task_a, task_b, p, q, on_a, on_b))
    if not findings:
        return Preference(False, "The same parameters were chosen for every task, so there is no pair to compare.")
    clearest, task_a, task_b, p, q, on_a, on_b = max(findings, key=lambda finding: finding[0])
    found = clearest > 0
    pairs = f"{len(findings)} pair{'s' if len(findings) > 1 else ''} of tasks with different choices"
    text = (
        f"{task_a} prefers {names[p]} and {task_b} prefers {names[q]}: each beats the other on its own task, "
        f"both 95 % intervals above 0 (clearest of {pairs})."
        if found
        else f"No two tasks show a preference for different parameters with both 95 % intervals above 0; "
        f"closest of {pairs}: {names[p]} against {names[q]} on {task_a} and {task_b}."
    )
    return Preference(found, text, task_a, task_b, p, q, on_a.mean, on_a.ci95, on_b.mean, on_b.ci95)


def as_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """CSV text with the first row's keys as header; tuples become lists joined by spaces, names are made visible."""
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        plain = {k: " ".join(map(str, v)) if isinstance(v, tuple | list) else v for k, v in row.items()}
        writer.writerow({k: visible(v) if isinstance(v, str) else v for k, v in plain.items()})
    return text.getvalue()


def format_table(scores: Sequence[Score], tasks: Sequence[str]) -> str:
    """The transfer table as aligned plain text: score [low, high] in percent, the mean over tasks below."""
    cells = {(row.task, row.method): row for row in scores}
    methods = tuple(dict.fromkeys(row.method for row in scores))

    def cell(task: str, method: str) -> str:
        row = cells.get((task, method))
        if row is None or row.score is None or row.ci95 is None:
            return "-"
        return f"{row.score:.1f} [{row.ci95[0]:.1f}, {row.ci95[1]:.1f}]"

    def mean(method: str) -> str:
        values = [cells[task, method].score for task in tasks if (task, method) in cells]
        present = [value for value in values if value is not None]
        return f"{sum(present) / len(present):.1f}" if present and len(present) == len(tasks) else "-"

    lines = [["task", *methods]]
    lines += [[visible(task), *(cell(task, method) for method in methods)] for task in tasks]
    lines.append(["mean", *(mean(method) for method in methods)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(methods) + 1)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def busy_seconds(spans: Iterable[tuple[float, float]]) -> float:
    """How long something was under way, given when each thing was (start, end): what ran side by side counts once, and
    the pauses between the sessions of a run not at all."""
    busy, until = 0.0, -math.inf
    for start, end in sorted(spans):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy
