"""What is looked at before the first step: batches, labels of every part, and whose results a directory holds."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from transfer.dense.checks import require_scenes
from transfer.dense.config import AdaShareConfig, MultitaskConfig, NetworkConfig
from transfer.dense.data import DenseData, Scene, SceneSet, scene_set
from transfer.dense.losses import dense_tasks
from transfer.dense.readers import read_dense
from transfer.dense.stage import train_multitask

CONFIG = MultitaskConfig(
    layout="nyuv2",
    tasks=("segmentation", "depth"),
    loss_weights=(1.0, 2.0),
    architectures=("hard", "adashare"),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,), init_std=None),
    adashare=AdaShareConfig(policy_phases=8, curriculum_speed=1, samples=1),
    crop=16,
    batch_size=2,
    iterations=1,
    validation=0.25,
)
TASKS = dense_tasks(CONFIG, classes=3)
PARTS = {"train": range(6), "validation": range(6, 8), "test": range(8, 10)}
PARTS |= {"train_weights": range(4), "train_policy": range(4, 6)}


class Source:
    """Ten scenes with classes; only the rows of `measured` have a depth, in one pixel."""

    def __init__(self, measured: set[int]) -> None:
        self.measured, self.reads = measured, list[int]()

    def read(self, row: int) -> Scene:
        self.reads.append(row)
        depth = torch.zeros(1, 4, 4)
        depth[0, 3, 3] = float(row in self.measured)
        return Scene(torch.zeros(3, 4, 4), {"segmentation": torch.ones(4, 4, dtype=torch.int64), "depth": depth})


def check(source: Source, config: MultitaskConfig = CONFIG) -> None:
    everything = scene_set(source, [str(row) for row in range(10)])
    parts: dict[str, SceneSet] = {name: everything.select(np.array(rows)) for name, rows in PARTS.items()}
    data = DenseData("made", 3, config.tasks, parts["train"], parts["validation"], parts["test"], "metres", digest="0")
    require_scenes(config, data, (parts["train_weights"], parts["train_policy"]), TASKS)


@pytest.mark.parametrize("part", ["validation", "test", "train_weights", "train_policy"])
def test_a_part_without_a_label_for_a_task_is_named(part: str) -> None:
    with pytest.raises(ValueError, match=f"the {part} scenes have no labelled pixel for depth"):
        check(Source(set(range(10)) - set(PARTS[part])))


def test_training_scenes_without_a_label_for_a_task_are_refused() -> None:
    with pytest.raises(ValueError, match="the train scenes have no labelled pixel for depth"):
        check(Source({6, 7, 8, 9}))


def test_the_policys_scenes_matter_to_adashare_alone() -> None:
    check(Source({0, 6, 8}), replace(CONFIG, architectures=("hard",)))


def test_one_labelled_pixel_in_the_last_scene_is_enough_and_more_are_not_read() -> None:
    last = Source({3, 5, 7, 9})
    check(last)
    assert last.reads == [0, 1, 2, 3, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
    everywhere = Source(set(range(10)))
    check(everywhere)
    assert everywhere.reads == [0, 6, 8, 0, 4]


def test_a_batch_of_more_scenes_than_there_are_is_refused() -> None:
    check(Source(set(range(10))), replace(CONFIG, batch_size=6))
    with pytest.raises(ValueError, match="batch_size is 7; allowed: up to 6, the number of training scenes"):
        check(Source(set(range(10))), replace(CONFIG, batch_size=7))


def test_smaller_batches_of_adashares_search_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    check(Source(set(range(10))))
    assert not caplog.messages
    check(Source(set(range(10))), replace(CONFIG, batch_size=3))
    assert caplog.messages == ["train_policy has 2 scenes: AdaShare's search takes batches of so many there, not of 3"]


@pytest.fixture
def data(tmp_path: Path, scenes: ModuleType) -> Path:
    scenes.write_nyuv2(tmp_path / "nyuv2")
    return tmp_path / "nyuv2"


def never(step: int, total: int, note: str) -> None:
    raise AssertionError(f"a step was done: {note}")


def test_what_the_data_lack_is_said_before_the_first_step_and_leaves_no_directory(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match="batch_size is 16; allowed: up to 6"):
        train_multitask(replace(CONFIG, batch_size=16), data, out=out, progress=never)
    for row in range(8, 12):
        Image.fromarray(np.full((32, 40), 255, np.uint8)).save(data / "seg" / f"{row}.png")
    with pytest.raises(ValueError, match="the test scenes have no labelled pixel for segmentation"):
        train_multitask(CONFIG, data, out=out, progress=never)
    assert not out.exists()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"summary.json": "{}"}, "out holds a summary.json but no identity.json: it is not the directory of a multi"),
        ({"identity.json": "null"}, "identity.json is not of a multi-task run; choose another directory"),
        ({"identity.json": "{"}, "identity.json is damaged (Expecting property name"),
        ({"identity.json": '{"tasks": {}}'}, "out holds an experiment of another data and config; choose another"),
        ({"identity.json": "own", "summary.json": "[]"}, "summary.json is not of a multi-task run; choose another"),
        ({"identity.json": "own", "summary.json": ""}, "summary.json is damaged (Expecting value"),
    ],
)
def test_a_directory_of_something_else_is_refused_and_kept(
    files: dict[str, str], message: str, data: Path, tmp_path: Path
) -> None:
    own = {"data": read_dense(CONFIG, data).digest, "config": asdict(CONFIG)}
    out = tmp_path / "out"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(json.dumps(own) if text == "own" else text)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(ValueError) as caught:
        train_multitask(CONFIG, data, out=out, progress=never)
    assert str(caught.value).removeprefix(f"{tmp_path}/").removeprefix("out/").startswith(message)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
