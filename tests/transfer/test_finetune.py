"""Fine-tuning learns, leaves a frozen backbone alone, and resumes to the same bits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from torch import nn

from pretrain.checkpoint import load_backbone
from pretrain.train import SavedAndStoppedError
from transfer.catalogue import TASKS
from transfer.data import ArraySource, Task, image_set
from transfer.finetune import TuneConfig, tune
from transfer.recipes import DEFAULT, RECIPES, recipe_for
from transfer.score import load_correct
from transfer.splits import parse_index
from transfer.tuning import TuningRun

TINY = TuneConfig(size=16, resize=16, epochs=2, batch_size=8, precision="fp32", learning_rate=0.02)
BACKBONE = "random:test_resnet"


def colours(count: int, seed: int) -> np.ndarray:
    """Noise around red (even) or blue (odd)."""
    pixels = np.random.default_rng(seed).integers(0, 90, (count, 32, 32, 3), dtype=np.uint8)
    pixels[::2, ..., 0] += 150
    pixels[1::2, ..., 2] += 150
    return pixels


def toy(train: int = 24, test: int = 10, validation: int = 0) -> Task:
    def images(count: int, seed: int, part: str):  # type: ignore[no-untyped-def]
        names = [f"{part}/{i:03d}" for i in range(count)]
        return image_set(names, np.arange(count) % 2, ArraySource(colours(count, seed)))

    val = images(validation, 2, "val") if validation else None
    return Task("toy", ("red", "blue"), images(train, 0, "train"), images(test, 1, "test"), val=val)


@pytest.mark.parametrize(
    ("trained", "augment", "method"),
    [("all", True, "finetune"), ("head", True, "linear_sgd"), ("head", False, "linear_sgd")],
)
def test_colours_are_learned(tmp_path: Path, trained: str, augment: bool, method: str) -> None:
    config = dataclasses.replace(TINY, trained=trained, augment=augment, epochs=4)
    calls: list[tuple[int, int, str]] = []
    result = tune(config, BACKBONE, toy(train=64), out=tmp_path, progress=lambda *call: calls.append(call))
    assert result["score"] == 100 and result["method"] == method and result["n_test"] == 10
    assert load_correct(tmp_path).all()
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [record["epoch"] for record in records] == [1, 2, 3, 4] and records[-1]["loss"] < records[0]["loss"]
    assert not (tmp_path / "checkpoints").exists()
    assert not calls or calls[-1][0] == calls[-1][1] == 4 * 64


def weights_after(tmp_path: Path, name: str, *, stop_after: int | None, trained: str = "all") -> dict[str, np.ndarray]:
    """Predictions of a run that was stopped after an epoch and continued, or not."""
    config = dataclasses.replace(TINY, trained=trained, epochs=3)
    if stop_after is not None:
        epochs = iter(range(1, 10))
        with pytest.raises(SavedAndStoppedError, match=f"saved after epoch {stop_after} of 3"):
            tune(config, BACKBONE, toy(), out=tmp_path / name, stop=lambda: next(epochs) == stop_after)
        assert not (tmp_path / name / "summary.json").exists()
    tune(config, BACKBONE, toy(), out=tmp_path / name)
    return load_file(tmp_path / name / "predictions.safetensors")


@pytest.mark.parametrize("trained", ["all", "head"])
def test_a_stopped_run_ends_as_if_it_had_not_been(tmp_path: Path, trained: str) -> None:
    whole = weights_after(tmp_path, "whole", stop_after=None, trained=trained)
    cut = weights_after(tmp_path, "cut", stop_after=2, trained=trained)
    assert np.array_equal(whole["probability"], cut["probability"])
    lines = [(tmp_path / name / "metrics.jsonl").read_text(encoding="utf-8") for name in ("whole", "cut")]
    assert lines[0] == lines[1] and len(lines[0].splitlines()) == 3


@pytest.mark.xdist_group("forkserver")
def test_worker_processes_change_nothing(tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, epochs=1)
    probabilities = []
    for workers in (0, 1):
        tune(config, BACKBONE, toy(), out=tmp_path / str(workers), workers=workers)
        probabilities.append(load_file(tmp_path / str(workers) / "predictions.safetensors")["probability"])
    assert np.array_equal(*probabilities)


def test_a_finished_run_is_returned_and_another_one_refused(tmp_path: Path) -> None:
    first = tune(TINY, BACKBONE, toy(), out=tmp_path)
    before = (tmp_path / "predictions.safetensors").stat().st_mtime_ns
    assert tune(TINY, BACKBONE, toy(), out=tmp_path) == json.loads(json.dumps(first))
    assert (tmp_path / "predictions.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="different config"):
        tune(dataclasses.replace(TINY, seed=1), BACKBONE, toy(), out=tmp_path)
    with pytest.raises(ValueError, match="different backbone"):
        tune(TINY, "random:resnet18:5", toy(), out=tmp_path)


def test_choosing_settings_reads_no_test_image(tmp_path: Path) -> None:
    task = toy()
    blind = dataclasses.replace(task, test=dataclasses.replace(task.test, source=ArraySource(np.zeros((10, 1)))))
    result = tune(dataclasses.replace(TINY, evaluate="val"), BACKBONE, blind, out=tmp_path / "carved")
    assert result["evaluated_on"] == "val" and (result["n_train"], result["n_test"]) == (16, 8)
    own = tune(dataclasses.replace(TINY, evaluate="val"), BACKBONE, toy(validation=6), out=tmp_path / "own")
    assert (own["n_train"], own["n_test"]) == (24, 6)
    final = tune(dataclasses.replace(TINY, epochs=1), BACKBONE, toy(validation=6), out=tmp_path / "final")
    assert (final["n_train"], final["n_test"]) == (30, 10)


def write_folder(folder: Path) -> None:
    """A task of 10 and 10 pictures."""
    for split in ("train", "test"):
        for i in range(10):
            path = folder / split / ("red", "blue")[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours(2, i)[i % 2]).save(path)


def test_broken_files_are_skipped_listed_and_limited(tmp_path: Path) -> None:
    write_folder(tmp_path / "task")
    (tmp_path / "task/train/red/0.png").write_bytes(b"broken")
    config = dataclasses.replace(TINY, epochs=1, max_unreadable=0.2)
    result = tune(config, BACKBONE, tmp_path / "task", out=tmp_path / "out")
    assert [name for name, _ in result["skipped"]["train"]] == ["train/red/0.png"]
    with pytest.raises(ValueError, match="1 of 10 train images are unreadable"):
        tune(dataclasses.replace(config, max_unreadable=0.0), BACKBONE, tmp_path / "task", out=tmp_path / "strict")


@pytest.mark.parametrize("trained", ["all", "head"])
@pytest.mark.parametrize("stopped", [True, False])
def test_pictures_that_changed_are_not_taken_for_those_of_a_run_that_was_stopped_or_has_ended(
    tmp_path: Path, trained: Literal["all", "head"], stopped: bool
) -> None:
    write_folder(tmp_path / "task")
    config = dataclasses.replace(TINY, trained=trained, epochs=2)
    try:
        tune(config, BACKBONE, tmp_path / "task", out=tmp_path / "out", stop=lambda: stopped)
    except SavedAndStoppedError:
        assert stopped
    Image.fromarray(colours(2, 99)[0]).save(tmp_path / "task" / "test" / "red" / "0.png")
    with pytest.raises(ValueError, match=r"another run \(different content\)"):
        tune(config, BACKBONE, tmp_path / "task", out=tmp_path / "out")


def test_the_index_says_what_was_for_training_validation_and_test(tmp_path: Path) -> None:
    task = toy()
    tune(dataclasses.replace(TINY, epochs=1), BACKBONE, task, out=tmp_path / "final")
    assert (tmp_path / "final" / "index.csv").read_text(encoding="utf-8") == task.index_text()
    config = dataclasses.replace(TINY, epochs=1, evaluate="val")
    result = tune(config, BACKBONE, task, out=tmp_path / "carved")
    rows = parse_index((tmp_path / "carved" / "index.csv").read_text(encoding="utf-8"))
    parts = {part: {row.name for row in rows if row.split == part} for part in ("train", "val", "test")}
    assert [len(names) for names in parts.values()] == [result["n_train"], result["n_test"], 10] == [16, 8, 10]
    assert parts["train"] | parts["val"] == set(task.train.names) and parts["test"] == set(task.test.names)


@pytest.mark.parametrize("trained", ["all", "head"])
def test_bf16_learns_and_resumes_to_the_same_bits(tmp_path: Path, trained: Literal["all", "head"]) -> None:
    config = dataclasses.replace(TINY, trained=trained, size=40, resize=40, epochs=3, precision="bf16")
    assert TuneConfig().precision == "bf16"
    first = tune(config, "random:test_resnet", toy(train=48), out=tmp_path / "whole")
    assert first["score"] == 100
    epochs = iter(range(1, 10))
    with pytest.raises(SavedAndStoppedError, match="saved after epoch 1 of 3"):
        tune(config, "random:test_resnet", toy(train=48), out=tmp_path / "cut", stop=lambda: next(epochs) == 1)
    tune(config, "random:test_resnet", toy(train=48), out=tmp_path / "cut")
    fp32 = dataclasses.replace(config, precision="fp32")
    tune(fp32, "random:test_resnet", toy(train=48), out=tmp_path / "fp32")
    whole, cut, other = (
        load_file(tmp_path / name / "predictions.safetensors")["probability"] for name in ("whole", "cut", "fp32")
    )
    assert np.array_equal(whole, cut) and not np.array_equal(whole, other)


def test_bf16_is_refused_where_gradients_would_be_undefined(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"size 32 in bf16 on the CPU.*above 32, or precision fp32"):
        tune(dataclasses.replace(TINY, size=32, resize=32, precision="bf16"), BACKBONE, toy(), out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_frozen_backbone_is_neither_changed_nor_in_train_mode(tmp_path: Path) -> None:
    network, info = load_backbone(BACKBONE)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    config = dataclasses.replace(TINY, trained="head")
    task = toy()
    run = TuningRun(config, config.recipe("toy"), network, info, task, task.train, "cpu", 0, tmp_path)
    run.train(None, lambda: False)
    assert not any(module.training for module in network.modules())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def tuning_run(out: Path, config: TuneConfig) -> TuningRun:
    network, info = load_backbone("random:test_resnet")
    task = toy(train=8)
    return TuningRun(config, config.recipe("toy"), network, info, task, task.train, "cpu", 0, out)


@pytest.mark.parametrize("trained", ["all", "head"])
def test_head_and_optimiser_are_those_of_the_reference(tmp_path: Path, trained: Literal["all", "head"]) -> None:
    run = tuning_run(tmp_path, TuneConfig(trained=trained, weight_decay=0.5, learning_rate=0.25))
    drop, norm, linear = run.head
    assert isinstance(drop, nn.Dropout) and drop.p == 0.2
    assert isinstance(norm, nn.BatchNorm1d) and not norm.affine and norm.num_features == linear.in_features
    assert isinstance(linear, nn.Linear) and linear.out_features == 2 and linear.bias is not None
    assert isinstance(run.optimizer, torch.optim.SGD)
    decayed, free = run.optimizer.param_groups
    assert all((g["lr"], g["momentum"], g["nesterov"], g["dampening"]) == (0.25, 0.9, True, 0) for g in (decayed, free))
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.5, 0)
    trainable = [*linear.parameters(), *(run.network.parameters() if trained == "all" else ())]
    assert {id(p) for p in decayed["params"]} == {id(p) for p in trainable if p.ndim > 1}
    assert {id(p) for p in free["params"]} == {id(p) for p in trainable if p.ndim <= 1}
    assert len(decayed["params"]) + len(free["params"]) == len(trainable) and len(free["params"]) >= 1


def test_the_rate_falls_tenfold_after_a_half_and_after_three_quarters(tmp_path: Path) -> None:
    whole = tuning_run(tmp_path, TuneConfig(trained="head", learning_rate=0.25))
    rates = [whole.learning_rate(epoch) for epoch in range(50)]
    assert rates == pytest.approx([0.25] * 25 + [0.025] * 12 + [0.0025] * 13)
    config = dataclasses.replace(TINY, trained="head", augment=False, epochs=4, learning_rate=0.25)
    run, seen = tuning_run(tmp_path, config), []

    def note_rates() -> bool:
        seen.append([group["lr"] for group in run.optimizer.param_groups])
        return False

    run.train(None, note_rates)
    assert seen == [pytest.approx([rate] * 2) for rate in (0.25, 0.25, 0.025, 0.0025)]


def test_every_named_task_has_its_published_recipe() -> None:
    assert set(RECIPES) == {row.name for row in TASKS} and len(RECIPES) == 20
    assert recipe_for("Omniglot", "all").learning_rate == 0.1 and recipe_for("Omniglot", "head").batch_size == 32
    assert recipe_for("Flowers102:2040", "head") == recipe_for("Flowers102", "head") != DEFAULT
    assert recipe_for("mine", "all") == DEFAULT
    assert TuneConfig().recipe("ISIC") == recipe_for("ISIC", "all")
    assert TuneConfig(weight_decay=0.5).recipe("ISIC").weight_decay == 0.5


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"batch_size": 1}, {"dropout": 1.0}, {"validation_fraction": 1.0}, {"size": 300}]
)
def test_impossible_settings_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        TuneConfig(**options)  # type: ignore[arg-type]
