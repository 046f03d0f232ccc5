"""The log alone: with a clock that the test sets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pretrain.step import StepResult
from pretrain.watch import MAX_STEP_LINES, Watch, read_metrics


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watch(out: Path, clock: Clock, total: int = 8, **changes: Any) -> Watch:
    options = {"start": 0, "batch_size": 10, "progress": None, "tensorboard": False, "clock": clock, **changes}
    return Watch(out, total=total, **options)


def result(loss: float, accuracy: float | None = None) -> StepResult:
    return StepResult(loss, accuracy, 0.1, True, False)


def test_what_was_said_before_a_checkpoint_is_on_disk(tmp_path: Path) -> None:
    watching = watch(tmp_path, Clock())
    watching.step(1, 0, result(2.0))
    watching.step(2, 0, result(1.0))
    watching.flush()
    assert [line["loss"] for line in read_metrics(tmp_path)] == [2.0, 1.0]
    watching.close()


def test_tensorboard_is_on_disk_with_the_checkpoint(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watching = watch(tmp_path, Clock(), tensorboard=True)
    watching.step(1, 0, result(2.0))
    watching.flush()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.value for event in events.Scalars("loss")] == [2.0]
    watching.close()


def test_tensorboard_shows_every_curve_of_the_log(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    clock = Clock()
    watching = watch(tmp_path, clock, tensorboard=True)
    watching.step(1, 0, result(2.0, accuracy=0.25))
    clock.now += 4
    watching.epoch(1, 0, lambda: 0.5)
    watching.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    shown = {name: [(event.step, event.value) for event in events.Scalars(name)] for name in events.Tags()["scalars"]}
    values = {"loss": 2.0, "learning_rate": 0.1, "accuracy": 0.25, "val_accuracy": 0.5}
    values |= {"images_per_s": 2.5, "data_wait_share": 0.0}
    assert shown == {name: [(1, pytest.approx(value))] for name, value in values.items()}


def test_progress_says_loss_rate_speed_wait_and_time_left(tmp_path: Path) -> None:
    clock, notes = Clock(), []
    watching = watch(tmp_path, clock, progress=lambda done, total, note: notes.append((done, total, note)))

    def slow() -> Iterator[Any]:
        clock.now += 1
        yield object()

    for step in (1, 2):
        for _ in watching.timed(slow()):
            clock.now += 3
        watching.step(step, 0, result(2.0 / step))
    watching.close()
    assert notes == [
        (1, 8, "epoch 0, loss 2.000, lr 1.00e-01, 2 images/s, 25 % waiting for data, 28 s left"),
        (2, 8, "epoch 0, loss 1.000, lr 1.00e-01, 2 images/s, 25 % waiting for data, 24 s left"),
    ]


def test_validation_is_not_counted_as_training(tmp_path: Path) -> None:
    clock, notes = Clock(), []
    watching = watch(tmp_path, clock, progress=lambda done, total, note: notes.append(note))

    def validate() -> float:
        clock.now += 1000
        return 0.5

    for step in range(1, 9):
        for _ in watching.timed([object()]):  # type: ignore[list-item]
            clock.now += 2
        watching.step(step, (step - 1) // 4, result(1.0))
        if step % 4 == 0:
            assert watching.epoch(step, (step - 1) // 4, validate) == 0.5
    watching.close()
    epochs = [line for line in read_metrics(tmp_path) if line["kind"] == "epoch"]
    assert [line["images_per_s"] for line in epochs] == [5.0, 5.0]
    assert watching.final()["images_per_s"] == 5.0
    assert len(notes) == 8 and all("5 images/s" in note for note in notes)


def test_a_resumed_epoch_counts_all_its_steps_though_few_are_logged(tmp_path: Path) -> None:
    clock, total = Clock(), 4 * MAX_STEP_LINES
    losses = [3.0, 1.0, 2.0, 6.0]
    first = watch(tmp_path, clock, total=total)
    for step in (1, 2, 3):
        first.step(step, 0, result(losses[step - 1], accuracy=0.5))
    first.flush()
    assert read_metrics(tmp_path) == []
    second = watch(tmp_path, clock, total=total, start=3, sums=json.loads(json.dumps(first.sums)))
    second.step(4, 0, result(losses[3], accuracy=0.1))
    clock.now += 1
    second.epoch(4, 0, None)
    first.close()
    second.close()
    step, epoch = read_metrics(tmp_path)
    assert (step["kind"], step["step"]) == ("step", 4)
    assert (epoch["loss"], epoch["accuracy"]) == (3.0, pytest.approx(0.4))


def test_a_step_that_was_told_before_a_checkpoint_counts_once(tmp_path: Path) -> None:
    watching = watch(tmp_path, Clock())
    for _ in range(2):
        watching.step(1, 0, result(2.0))
    watching.close()
    assert len(read_metrics(tmp_path)) == 1
    assert watching.sums["steps"] == 1


def test_an_epoch_that_is_validated_again_has_one_line(tmp_path: Path) -> None:
    clock = Clock()
    first = watch(tmp_path, clock)
    for step in range(1, 5):
        first.step(step, 0, result(1.0))
    sums = dict(first.sums)  # of the checkpoint
    clock.now += 1
    first.epoch(4, 0, lambda: 0.5)
    first.close()
    again = watch(tmp_path, clock, start=4, sums=sums)
    again.epoch(4, 0, lambda: 0.5)
    again.close()
    lines = read_metrics(tmp_path)
    assert [line["kind"] for line in lines] == ["step"] * 4 + ["epoch"]
    assert (lines[-1]["loss"], lines[-1]["val_accuracy"], lines[-1]["images_per_s"]) == (1.0, 0.5, None)
