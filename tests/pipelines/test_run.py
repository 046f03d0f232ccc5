"""A run's directory: what is read of the tasks, whose results it holds, and the whole of it at the smallest size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.experiment import ExperimentTask
from pipelines.run import _some_images


def make_task(folder: Path, seed: int = 0) -> ExperimentTask:
    """Two classes of 20 pictures, told apart by their brightness."""
    rng = np.random.default_rng(seed)
    for number in range(2):
        (folder / f"class_{number}").mkdir(parents=True)
        for index in range(20):
            pixels = rng.integers(0, 100, (32, 32, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / f"class_{number}" / f"{index}.png")
    return ExperimentTask(folder.name, folder)


def truncate(picture: Path) -> None:
    picture.write_bytes(picture.read_bytes()[:200])


def test_a_sheet_shows_the_next_picture_of_a_class_for_one_that_is_broken(tmp_path: Path) -> None:
    task = make_task(tmp_path / "task")
    whole, labels = _some_images(task, tmp_path / "task", seed=0)
    assert labels == ["class_0"] * 6 + ["class_1"] * 6 and len(whole) == 12
    first = next(
        path for path in (tmp_path / "task" / "class_0").iterdir() if np.array_equal(Image.open(path), whole[0])
    )
    truncate(first)
    images, labels = _some_images(task, tmp_path / "task", seed=0)
    assert labels == ["class_0"] * 6 + ["class_1"] * 6 and len(images) == 12
    assert all(np.array_equal(*pair) for pair in zip(images[:5], whole[1:6], strict=True))
    assert not np.array_equal(images[5], whole[5])


def test_a_task_without_a_readable_picture_has_an_empty_sheet_and_no_error(tmp_path: Path) -> None:
    task = make_task(tmp_path / "task")
    for path in (tmp_path / "task").rglob("*.png"):
        truncate(path)
    assert _some_images(task, tmp_path / "task", seed=0) == ([], [])
