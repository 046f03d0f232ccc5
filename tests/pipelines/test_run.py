"""A run's directory: what is read of the tasks, whose results it holds, and the whole of it at the smallest size."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.__main__ import build_app
from pipelines.experiment import ExperimentTask
from pipelines.presets import PRESETS
from pipelines.rendering import DatasetConfig, render_command
from pipelines.run import _some_images
from sim.assets import CatalogConfig
from sim.params import SimParams, SimRanges
from sim.shards import RenderConfig


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


ODD = RenderConfig(
    params=SimParams(background="sky", materials="random_per_model"),
    ranges=SimRanges(focus_offset_m=(-0.5, 0.25), in_focus_probability=0.5),
    catalog=CatalogConfig(seed=3, num_classes=5, trust_assets=True),
    models="heldout",
    seed=9,
    format="png",
    layout="room",
    passes=("depth", "normals"),
)
RENDERED = {**{name: dataclasses.replace(preset.render, seed=4) for name, preset in PRESETS.items()}, "odd": ODD}


@pytest.mark.parametrize("render", [RenderConfig(), *RENDERED.values()], ids=["default", *RENDERED])
def test_the_command_of_a_setting_makes_the_same_data_set(
    render: RenderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[tuple[RenderConfig, dict[str, Any]]] = []

    def take(config: RenderConfig, **options: Any) -> dict[str, Any]:
        parsed.append((config, options))
        return {"images": 7, "shards": 1, "rendered": 0, "failed": [], "complete": True}

    monkeypatch.setattr("sim.dataset.render_dataset", take)
    words = render_command(DatasetConfig(render, 7), device="optix")
    assert words[0] == "simpath" and build_app().cli(prog="simpath", args=list(words[1:])) == 0
    [(config, options)] = parsed
    assert config.as_json() == render.as_json()
    assert (options["num_images"], options["out"], options["device"]) == (7, Path("DIR"), "optix")
