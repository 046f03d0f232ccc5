"""The table's improvements and intervals on statistics made to measure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from transfer.dense.losses import DenseTask
from transfer.dense.table import Comparison, as_csv, as_markdown, header, table_rows

TASKS = (DenseTask("segmentation", 3), DenseTask("depth", 1))


def _statistics(seed: int, *, images: int = 30, quality: float = 0.7) -> dict[str, np.ndarray]:
    generator = torch.Generator().manual_seed(seed)
    label = torch.randint(0, 3, (images, 6, 6), generator=generator)
    right = torch.rand(label.shape, generator=generator) < quality
    depth = 1 + torch.rand(images, 1, 6, 6, generator=generator)
    noise = 1 + (1 - quality) * torch.randn(depth.shape, generator=generator)
    predictions = {"segmentation": torch.where(right, label, (label + 1) % 3), "depth": depth * noise}
    labels = {"segmentation": label, "depth": depth}
    return {task.name: task.meter().per_image(predictions[task.name], labels[task.name]).numpy() for task in TASKS}


def test_a_row_equal_to_the_reference_improves_by_nothing() -> None:
    runs = [_statistics(seed) for seed in range(3)]
    comparison = Comparison(
        {"single_task": runs, "same": runs, "better": [_statistics(0, quality=0.9)] * 3}, TASKS, seed=0
    )
    assert comparison.improvement("single_task").total == 0
    better = comparison.improvement("better")
    assert better.total > 10 and better.ci95[0] > 0 and set(better.by_task) == {"segmentation", "depth"}
    assert better.ci95[0] < better.total < better.ci95[1]
    assert comparison.difference("better", "better").ci95 == (0, 0)
    assert comparison.difference("better", "same").total == pytest.approx(better.total)


def test_seeds_that_disagree_widen_the_interval() -> None:
    def width(qualities: tuple[float, ...]) -> float:
        runs = [_statistics(seed, quality=quality) for seed, quality in enumerate(qualities)]
        comparison = Comparison({"single_task": [_statistics(9)], "row": runs}, TASKS, seed=0)
        low, high = comparison.improvement("row").ci95
        return high - low

    assert width((0.5, 0.7, 0.9)) > 2 * width((0.7, 0.7, 0.7))


def test_rows_on_different_images_are_not_compared() -> None:
    with pytest.raises(ValueError, match=r"different numbers of images: \[20, 30\]"):
        Comparison({"single_task": [_statistics(0)], "row": [_statistics(0, images=20)]}, TASKS, seed=0)
    with pytest.raises(ValueError, match="needs the row single_task"):
        Comparison({"row": [_statistics(0)]}, TASKS, seed=0)


def test_one_seed_has_no_deviation() -> None:
    values = Comparison({"single_task": [_statistics(0)]}, TASKS, seed=0).metrics("single_task")
    assert math.isnan(values["depth"]["abs"]["std"]) and values["depth"]["abs"]["mean"] > 0


def test_cells_have_the_published_digits_and_a_dash_where_nothing_was_measured() -> None:
    def cells(taskonomy: bool, metrics: dict[str, dict[str, float]]) -> list[str]:
        row = {
            "name": "hard+dwa",
            "parameters": {"ratio": 1.07, "trunk": 1, "total": 1234567},
            "flops": {"trunk": 1, "total": 2.5e9},
            "metrics": {
                task: {name: {"mean": mean, "std": 0.0} for name, mean in values.items()}
                for task, values in metrics.items()
            },
            "improvement": {"total": 1.234, "ci95": (-0.126, math.nan)},
        }
        tasks = [replace(task, taskonomy_metrics=taskonomy) for task in TASKS]
        (line,) = table_rows([row], tasks)
        assert line[:4] == ["hard+dwa", "1.070", "1.235", "2.500"] and line[-3:] == ["1.23", "-0.13", "-"]
        assert len(line) == len(header(tasks))
        return line[4:-3]

    depth = {"delta3": 99.96, "delta1": 61.24, "delta2": 80.0, "rel": 0.3456, "abs": 0.1234}  # by name, not by place
    standard = {"segmentation": {"pixel_accuracy": math.nan, "miou": 12.345}, "depth": depth}
    assert cells(False, standard) == ["12.3", "-", "0.123", "0.346", "61.2", "80.0", "100.0"]
    assert cells(True, {"segmentation": {"cross_entropy": 1.23456}, "depth": {"l1": 0.02551}}) == ["1.235", "0.026"]


def test_tables_as_text() -> None:
    names = header(TASKS)
    assert len(names) == 4 + 2 + 5 + 3
    assert as_csv(["a", "b"], [["1", "2"]]) == "a,b\n1,2\n"
    assert as_markdown(["a", "b"], [["1", "2"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n"
