"""The table of an experiment: metrics per row, improvement over single-task networks, intervals, text and CSV.

In: per-image statistics of every run. Out: means and deviations over seeds, Delta_T with 95 % intervals by a two-stage
bootstrap: seeds are drawn with replacement, then test images, the same images for all rows.

Source: AdaShare section 4 (`adashare.md` 4): Delta_T is the mean over tasks of the mean signed change of the task's
metrics against single-task networks.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfer.dense.losses import DenseTask
from transfer.dense.metrics import Meter, relative_improvement

DRAWS = 400
REFERENCE = "single_task"
COLUMNS = {
    "miou": "mIoU",
    "pixel_accuracy": "PixAcc",
    "mean": "Mean",
    "median": "Median",
    "within_11.25": "11.25",
    "within_22.5": "22.5",
    "within_30": "30",
    "abs": "Abs",
    "rel": "Rel",
    "delta1": "d1.25",
    "delta2": "d1.25^2",
    "delta3": "d1.25^3",
    "l1": "L1",
    "cosine": "Cosine",
    "cross_entropy": "CE",
}
"""Headings of the published tables."""

Statistics = Mapping[str, np.ndarray]
"""Per task (N, S) of one run."""


@dataclass(frozen=True)
class Improvement:
    """Delta_T over single-task networks in percent, with its parts and 95 % intervals."""

    total: float
    ci95: tuple[float, float]
    by_task: dict[str, float]


def delta(
    metrics: Mapping[str, Mapping[str, float]],
    reference: Mapping[str, Mapping[str, float]],
    meters: Mapping[str, Meter],
) -> dict[str, float]:
    """Delta_Tk of every task in percent."""
    return {
        name: relative_improvement(metrics[name], reference[name], meter.higher_is_better)
        for name, meter in meters.items()
    }


def mean_delta(
    metrics: Mapping[str, Mapping[str, float]],
    reference: Mapping[str, Mapping[str, float]],
    meters: Mapping[str, Meter],
) -> float:
    """Delta_T in percent."""
    return float(np.mean(list(delta(metrics, reference, meters).values())))


class Comparison:
    """All rows of a table on the same test images.

    Args:
        runs: row -> one Statistics per seed; `REFERENCE` must be among them.
        seed: of the bootstrap.
    """

    def __init__(self, runs: Mapping[str, Sequence[Statistics]], tasks: Sequence[DenseTask], *, seed: int) -> None:
        if REFERENCE not in runs:
            raise ValueError(f"a comparison needs the row {REFERENCE}")
        self.meters = {task.name: task.meter() for task in tasks}
        counts = {len(table) for statistics in runs.values() for each in statistics for table in each.values()}
        if len(counts) != 1:
            raise ValueError(f"rows were tested on different numbers of images: {sorted(counts)}")
        rng = np.random.default_rng([seed, 3])
        (images,) = counts
        weights = np.concatenate([np.ones((1, images)), rng.multinomial(images, np.full(images, 1 / images), DRAWS)])
        self._metrics = {row: [self._drawn(each, weights) for each in statistics] for row, statistics in runs.items()}
        self._rng = rng
        self._seeds = {row: _seed_weights(len(each), rng) for row, each in self._metrics.items()}
        self._deltas = {row: self._delta_draws(row) for row in runs}

    def _drawn(self, statistics: Statistics, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of all images (first row) and of resampled ones: task -> (1 + DRAWS, metrics)."""
        result = {}
        for name, meter in self.meters.items():
            totals = weights @ statistics[name]
            result[name] = np.array([list(meter.compute(total).values()) for total in totals])
        return result

    def _mean_metrics(self, row: str, name: str) -> np.ndarray:
        """Metrics averaged over (resampled) seeds. (1 + DRAWS, metrics)."""
        stacked = np.stack([each[name] for each in self._metrics[row]])  # (seeds, 1 + DRAWS, metrics)
        mean: np.ndarray = np.einsum("ds,sdm->dm", self._seeds[row], stacked)
        return mean

    def _delta_draws(self, row: str) -> dict[str, np.ndarray]:
        """Delta_Tk of all images (first) and of the draws. task -> (1 + DRAWS,)."""
        result = {}
        for name, meter in self.meters.items():
            signs = np.array([1 if higher else -1 for higher in meter.higher_is_better.values()])
            own, reference = self._mean_metrics(row, name), self._mean_metrics(REFERENCE, name)
            # a metric whose reference is 0 has no relative change: left out, as in `relative_improvement`
            known = (reference != 0) & np.isfinite(reference) & np.isfinite(own)
            change = np.where(known, signs * (own - reference) / np.where(known, np.abs(reference), 1), 0.0)
            counts = known.sum(axis=1)
            result[name] = np.where(counts > 0, 100 * change.sum(axis=1) / np.maximum(counts, 1), np.nan)
        return result

    def improvement(self, row: str) -> Improvement:
        """Delta_T of a row over the reference."""
        deltas = self._deltas[row]
        total = np.mean(list(deltas.values()), axis=0)
        return Improvement(float(total[0]), _interval(total), {name: float(draws[0]) for name, draws in deltas.items()})

    def difference(self, row: str, other: str) -> Improvement:
        """Delta_T of `row` minus that of `other`, on the same drawn images and reference seeds."""
        deltas = {name: draws - self._deltas[other][name] for name, draws in self._deltas[row].items()}
        total = np.mean(list(deltas.values()), axis=0)
        return Improvement(float(total[0]), _interval(total), {name: float(draws[0]) for name, draws in deltas.items()})

    def metrics(self, row: str) -> dict[str, dict[str, dict[str, float]]]:
        """Mean over seeds and standard deviation (NaN with one seed): task -> metric -> {mean, std}."""
        result: dict[str, dict[str, dict[str, float]]] = {}
        for name, meter in self.meters.items():
            values = np.stack([each[name][0] for each in self._metrics[row]])  # (seeds, metrics)
            spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.full(values.shape[1], math.nan)
            result[name] = {
                metric: {"mean": float(mean), "std": float(std)}
                for metric, mean, std in zip(meter.higher_is_better, values.mean(axis=0), spread, strict=True)
            }
        return result


def _seed_weights(seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Share of each seed: all alike (first row), then drawn with replacement. (1 + DRAWS, seeds)."""
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS)
    shares: np.ndarray = np.concatenate([np.ones((1, seeds)), drawn]) / seeds
    return shares


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.nanpercentile(draws[1:], [2.5, 97.5]) if np.isfinite(draws[1:]).any() else (math.nan, math.nan)
    return float(low), float(high)


def header(tasks: Sequence[DenseTask]) -> list[str]:
    """Column names: the metrics of every task, then size, cost and improvement."""
    metrics = [f"{task.name} {COLUMNS[metric]}" for task in tasks for metric in task.meter().higher_is_better]
    return ["model", "params (trunks)", "params (M)", "GFLOP", *metrics, "Delta_T (%)", "95 % low", "95 % high"]


def table_rows(rows: Sequence[Mapping[str, Any]], tasks: Sequence[DenseTask]) -> list[list[str]]:
    """One line of text cells per row of a summary (`stage.py`), under `header`."""
    lines = []
    for row in rows:
        cells = [
            str(row["name"]),
            f"{row['parameters']['ratio']:.3f}",
            f"{row['parameters']['total'] / 1e6:.3f}",
            f"{row['flops']['total'] / 1e9:.3f}",
        ]
        for task in tasks:
            values = row["metrics"][task.name]
            digits = 1 if task.name in ("segmentation", "normals") and not task.taskonomy_metrics else 3
            for metric in task.meter().higher_is_better:
                places = 1 if metric.startswith("delta") else digits
                cells.append(_cell(values[metric]["mean"], places))
        change = row["improvement"]
        lines.append([*cells, *(_cell(value, 2) for value in (change["total"], *change["ci95"]))])
    return lines


def _cell(value: float, places: int) -> str:
    return "-" if math.isnan(value) else f"{value:.{places}f}"


def as_csv(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([names, *lines])
    return text.getvalue()


def as_markdown(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rows = [names, ["---"] * len(names), *lines]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)
