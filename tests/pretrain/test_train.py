from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import pretrain.run as run_module
from pretrain.checkpoint import checkpoints, load_backbone
from pretrain.train import (
    PretrainConfig,
    SavedAndStoppedError,
    TrainingDivergedError,
    pretrain,
)
from pretrain.watch import read_metrics

MakeSet = Callable[..., Path]

TINY = PretrainConfig(
    arch="test_resnet",
    size=16,
    epochs=3,
    batch_size=8,
    micro_batch=8,
    warmup_epochs=1,
    learning_rate=1e-3,
    rand_augment="",
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    precision="fp32",
)
"""Nine steps on 24 images."""

FULL = dataclasses.replace(
    TINY, rand_augment="rand-m9-mstd0.5-inc1", mixup=0.8, cutmix=1.0, drop_path=0.1, ema_decay=0.9, micro_batch=4
)


def run(config: PretrainConfig, data: Path, out: Path, **knobs: Any) -> dict[str, Any]:
    return pretrain(config, data, out=out, **{"tensorboard": False, **knobs})


def after(steps: int, out: Path) -> Callable[[], bool]:
    """A `stop` that becomes true in that step: each asks once, and so does each small validation.

    It is asked before the first step too, but there is no log then.
    """
    asked = iter(range(10**6))
    return lambda: (out / "metrics.jsonl").is_file() and next(asked) >= steps - 1


def digest_of(data: Path) -> str:
    """sha256 over the index's shards and classes, as `simpath pretrain` records it."""
    index = json.loads((data / "index.json").read_text())
    shards = [[row["name"], row["sha256"]] for row in index["shards"]]
    return hashlib.sha256(json.dumps([shards, index["classes"]]).encode()).hexdigest()


def test_a_run_leaves_weights_metrics_and_a_summary(make_set: MakeSet, tmp_path: Path) -> None:
    notes: list[tuple[int, int, str]] = []
    out = tmp_path / "out"
    data = make_set()
    summary = run(TINY, data, out, progress=lambda *note: notes.append(note))
    assert summary == json.loads((out / "summary.json").read_text())
    assert summary["steps"] == 9
    assert summary["num_classes"] == 2
    assert summary["classes"] == ["class0", "class1"]
    assert summary["config"] == json.loads(json.dumps(dataclasses.asdict(TINY)))
    assert summary["data_digest"] == digest_of(data)
    assert summary["images_from"] == "memory"
    assert summary["skipped_shards"] == []
    lines = read_metrics(out)
    assert [line["step"] for line in lines if line["kind"] == "step"] == list(range(1, 10))
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [0, 1, 2]
    assert summary["loss"] == lines[-1]["loss"]
    done, total, text = notes[-1]
    assert (done, total) == (9, 9)
    said = r"epoch 2, loss \d\.\d{3}, lr (\S+), \d+ images/s, \d+ % waiting for data, 0 s left"
    found = re.fullmatch(said, text)
    assert found and float(found[1]) == pytest.approx(lines[-2]["learning_rate"], rel=1e-2)
    backbone, info = load_backbone(out / "backbone.safetensors")
    assert info.classes == ("class0", "class1")
    assert backbone(torch.zeros(1, 3, 16, 16)).shape == (1, info.num_features)
    assert not list(out.rglob("*.tmp"))


def untimed(out: Path) -> list[dict[str, Any]]:
    """The log without what no two runs share."""
    timed = ("images_per_s", "data_wait_share")
    lines = [{name: value for name, value in line.items() if name not in timed} for line in read_metrics(out)]
    assert lines
    return lines


def test_two_flat_colours_are_learnt_completely(make_set: MakeSet, tmp_path: Path) -> None:
    data, val = make_set(num=64, size=32), make_set(num=20, size=32, name="val")
    config = dataclasses.replace(TINY, size=32, epochs=6, batch_size=16, warmup_epochs=0)
    summary = run(config, data, tmp_path / "out", val=val)
    assert summary["accuracy"] == 1.0
    assert summary["val_accuracy"] == 1.0
    assert summary["val_accuracy_best"] == 1.0
    assert load_backbone(tmp_path / "out" / "checkpoints" / "best.safetensors")[1].arch == "test_resnet"


@pytest.mark.parametrize("config", [TINY, FULL], ids=["plain", "full"])
def test_a_resumed_run_equals_the_uninterrupted_one(make_set: MakeSet, tmp_path: Path, config: PretrainConfig) -> None:
    data, whole = make_set(), tmp_path / "whole"
    run(config, data, whole)
    for cut in (2, 3, 7):
        parts = tmp_path / f"cut{cut}"
        with pytest.raises(SavedAndStoppedError, match=f"stopped after step {cut} of 9") as stopped:
            run(config, data, parts, stop=after(cut, parts))
        assert stopped.value.exit_status == 75
        assert not (parts / "summary.json").exists()
        assert [path.name for path in checkpoints(parts / "checkpoints")] == [f"step-{cut:08d}.pt"]
        run(config, data, parts)
        assert (whole / "backbone.safetensors").read_bytes() == (parts / "backbone.safetensors").read_bytes()
        assert untimed(whole) == untimed(parts)


def test_a_stop_is_heeded_before_the_first_step(make_set: MakeSet, tmp_path: Path) -> None:
    data, said = make_set(), []

    def progress(done: int, total: int, note: str) -> None:
        said.append(note)

    stops = {
        "checking shards, 1 of 3": lambda: True,
        "decoding images into memory, 0 of 24": lambda: said.count("checking shards") == 3,
    }
    for where, stop in stops.items():
        with pytest.raises(SavedAndStoppedError, match=f"stopped while {where}; no step was taken"):
            run(TINY, data, tmp_path / "out", progress=progress, stop=stop)
    assert not (tmp_path / "out" / "checkpoints").exists()


def test_a_stop_in_a_validation_leaves_it_to_the_next_run(make_set: MakeSet, tmp_path: Path) -> None:
    data, val, whole = make_set(), make_set(num=12, name="val"), tmp_path / "whole"
    run(TINY, data, whole, val=val)
    for asks, step in ((4, 3), (12, 9)):
        parts = tmp_path / f"parts{step}"
        with pytest.raises(SavedAndStoppedError, match=f"stopped after step {step} of 9"):
            run(TINY, data, parts, val=val, stop=after(asks, parts))
        assert len([line for line in read_metrics(parts) if line["kind"] == "epoch"]) == step // 3 - 1
        run(TINY, data, parts, val=val)
        for name in ("backbone.safetensors", "checkpoints/best.safetensors"):
            assert (whole / name).read_bytes() == (parts / name).read_bytes()
        assert untimed(whole) == untimed(parts)


@pytest.mark.slow
def test_a_resumed_resnet18_in_bf16_equals_the_uninterrupted_one(make_set: MakeSet, tmp_path: Path) -> None:
    small = {"size": 34, "epochs": 1, "batch_size": 4, "micro_batch": 2, "warmup_epochs": 0}
    config = dataclasses.replace(FULL, arch="resnet18", precision="bf16", **small)
    data = make_set(num=8, size=40)
    run(config, data, tmp_path / "whole", threads=2)
    with pytest.raises(SavedAndStoppedError):
        run(config, data, tmp_path / "parts", stop=after(1, tmp_path / "parts"), threads=2)
    run(config, data, tmp_path / "parts", threads=2)
    assert (tmp_path / "whole" / "backbone.safetensors").read_bytes() == (
        tmp_path / "parts" / "backbone.safetensors"
    ).read_bytes()


def test_tiny_images_in_bf16_are_refused_on_the_cpu(make_set: MakeSet, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="size 32 in bf16 on the CPU: oneDNN"):
        run(dataclasses.replace(TINY, size=32, precision="bf16"), make_set(), tmp_path / "out")


def test_a_kill_costs_the_steps_since_the_last_checkpoint_only(make_set: MakeSet, tmp_path: Path) -> None:
    data = make_set()
    run(TINY, data, tmp_path / "whole")

    def die() -> bool:
        if (tmp_path / "killed" / "metrics.jsonl").is_file() and next(asked) == 5:
            raise KeyboardInterrupt
        return False

    asked = iter(range(100))
    with pytest.raises(KeyboardInterrupt):
        run(TINY, data, tmp_path / "killed", stop=die, checkpoint_every_s=0.0)
    assert checkpoints(tmp_path / "killed" / "checkpoints")[-1].name == "step-00000005.pt"
    (tmp_path / "killed" / "checkpoints" / ".step-00000006.pt.1.tmp").write_bytes(b"half")
    run(TINY, data, tmp_path / "killed")
    assert not list(tmp_path.rglob("*.tmp"))
    assert (tmp_path / "whole" / "backbone.safetensors").read_bytes() == (
        tmp_path / "killed" / "backbone.safetensors"
    ).read_bytes()


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_and_memory_change_the_speed_only(make_set: MakeSet, tmp_path: Path) -> None:
    data = make_set()
    run(FULL, data, tmp_path / "one")
    one = load_file(tmp_path / "one" / "backbone.safetensors")
    for number, knobs in enumerate(({"workers": 2}, {"cache_mb": 0}, {"workers": 4, "cache_mb": 0})):
        summary = run(FULL, data, tmp_path / str(number), **knobs)
        assert summary["images_from"] == ("shards" if "cache_mb" in knobs else "memory")
        other = load_file(tmp_path / str(number) / "backbone.safetensors")
        assert all(torch.equal(one[key], other[key]) for key in one), knobs


def test_tensorboard_shows_what_the_log_holds(make_set: MakeSet, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    data = make_set()
    with pytest.raises(SavedAndStoppedError):
        run(TINY, data, tmp_path / "out", stop=after(4, tmp_path / "out"), tensorboard=True)
    run(TINY, data, tmp_path / "out", tensorboard=True)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    shown = {event.step: event.value for event in events.Scalars("loss")}
    logged = {line["step"]: line["loss"] for line in read_metrics(tmp_path / "out") if line["kind"] == "step"}
    assert len(logged) == 9
    assert shown == pytest.approx(logged)


def test_a_finished_run_is_returned_at_once(make_set: MakeSet, tmp_path: Path) -> None:
    data = make_set()
    first = run(TINY, data, tmp_path / "out")
    before = (tmp_path / "out" / "backbone.safetensors").stat().st_mtime_ns
    assert run(TINY, data, tmp_path / "out") == first
    assert (tmp_path / "out" / "backbone.safetensors").stat().st_mtime_ns == before


def test_no_checkpoint_stays_when_none_is_asked_for(make_set: MakeSet, tmp_path: Path) -> None:
    run(TINY, make_set(), tmp_path / "out", keep_checkpoints=0, checkpoint_every_s=0.0)
    assert checkpoints(tmp_path / "out" / "checkpoints") == []


def test_checkpoints_that_a_kill_left_behind_the_summary_go_with_the_next_run(
    make_set: MakeSet, tmp_path: Path
) -> None:
    data, out = make_set(), tmp_path / "out"
    summary = run(TINY, data, out, keep_checkpoints=2)
    assert run(TINY, data, out, keep_checkpoints=2) == summary
    assert len(checkpoints(out / "checkpoints")) == 1
    assert run(TINY, data, out, keep_checkpoints=0) == summary
    assert checkpoints(out / "checkpoints") == []


def test_the_last_checkpoints_stay(make_set: MakeSet, tmp_path: Path) -> None:
    run(TINY, make_set(), tmp_path / "out", keep_checkpoints=3, checkpoint_every_s=0.0)
    names = [path.name for path in checkpoints(tmp_path / "out" / "checkpoints")]
    assert names == ["step-00000007.pt", "step-00000008.pt", "step-00000009.pt"]


def test_a_loss_that_is_not_finite_stops_with_step_and_samples(make_set: MakeSet, tmp_path: Path) -> None:
    config = dataclasses.replace(TINY, optimizer="sgd", learning_rate=1e30, warmup_epochs=0)
    with pytest.raises(TrainingDivergedError, match=r"^step \d .*not finite; .*shard-00000\d\.tar: 000000"):
        run(config, make_set(), tmp_path / "out", checkpoint_every_s=0.0)
    assert not (tmp_path / "out" / "summary.json").exists()


def test_of_a_large_batch_the_message_names_some_samples_and_a_file_all(make_set: MakeSet, tmp_path: Path) -> None:
    data, out = make_set(num=40), tmp_path / "out"
    config = dataclasses.replace(
        TINY, batch_size=40, micro_batch=40, optimizer="sgd", learning_rate=1e30, warmup_epochs=0
    )
    with pytest.raises(TrainingDivergedError) as diverged:
        run(config, data, out)
    keys = (out / "diverged.txt").read_text().splitlines()
    assert sorted(keys) == [f"shard-{index // 10:06d}.tar: {index:08d}" for index in range(40)]
    assert str(diverged.value).endswith(f"batch: {', '.join(keys[:32])} and 8 more (all 40 in {out}/diverged.txt)")


def test_steps_may_be_looked_at_one_later_as_on_a_gpu(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same run and the same message; a stop comes one step later and is resumed all the same."""
    data = make_set(num=26)
    diverging = dataclasses.replace(TINY, optimizer="sgd", learning_rate=1e30, warmup_epochs=0)
    messages = []
    for ahead in (0, 1):
        monkeypatch.setitem(run_module.STEPS_AHEAD, "cpu", ahead)
        run(TINY, data, tmp_path / f"whole{ahead}", val=data)
        with pytest.raises(TrainingDivergedError, match="not finite") as diverged:
            run(diverging, data, tmp_path / f"diverged{ahead}", checkpoint_every_s=0.0)
        messages.append(str(diverged.value))
        number = int(messages[-1].split()[1])  # the first step that is not finite: checkpoints end before it
        saved = [path.name for path in checkpoints(tmp_path / f"diverged{ahead}" / "checkpoints")]
        assert saved == [f"step-{step:08d}.pt" for step in range(1, number)][-2:]
        with pytest.raises(SavedAndStoppedError, match=f"stopped after step {4 + ahead} of 9"):
            run(TINY, data, tmp_path / f"parts{ahead}", val=data, stop=after(5, tmp_path / f"parts{ahead}"))
        run(TINY, data, tmp_path / f"parts{ahead}", val=data)
    assert messages[0] == messages[1]
    weights = {
        (tmp_path / f"{run}{n}" / "backbone.safetensors").read_bytes() for run in ("whole", "parts") for n in (0, 1)
    }
    assert len(weights) == 1
    assert len(untimed(tmp_path / "whole0")) == 12
    assert untimed(tmp_path / "whole0") == untimed(tmp_path / "whole1")


@pytest.mark.parametrize("workers", [0, 2])
def test_an_image_that_does_not_decode_is_named(make_set: MakeSet, tmp_path: Path, workers: int) -> None:
    data = make_set(replace={"00000012.jpg": b"not an image"})
    with pytest.raises(ValueError, match=r"^shard-000001\.tar: 00000012: the image does not decode") as error:
        run(TINY, data, tmp_path / "out", workers=workers, cache_mb=0)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        ({"keep_checkpoints": -1}, "keep_checkpoints is -1; allowed: 0 and more"),
        ({"checkpoint_every_s": -0.5}, r"checkpoint_every_s is -0\.5; allowed: 0 and more"),
        ({"workers": -1}, "workers is -1; allowed: 0 and more"),
        ({"threads": 0}, "threads is 0; allowed: 1 and more"),
    ],
)
def test_impossible_knobs_are_refused_before_anything_is_read(
    tmp_path: Path, knobs: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        run(TINY, tmp_path / "nowhere", tmp_path / "out", **knobs)


def test_a_bad_shard_can_be_skipped_and_is_said_and_counted(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = make_set()
    (data / "shard-000001.tar").unlink()
    with pytest.raises(ValueError, match=r"shard-000001\.tar"):
        run(TINY, data, tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()
    summary = run(TINY, data, tmp_path / "out", on_bad_shard="skip")
    assert len(summary["skipped_shards"]) == 1
    assert summary["num_images"] == 14
    assert [f"{data}: left out, {summary['skipped_shards'][0]}"] == [record.message for record in caplog.records]


def test_a_validation_set_of_other_classes_is_refused(make_set: MakeSet, tmp_path: Path) -> None:
    data, val = make_set(), make_set(classes=3, name="val")
    with pytest.raises(ValueError, match=f"^{val} has other classes than {data}, so its accuracy would mean nothing$"):
        run(TINY, data, tmp_path / "out", val=val)
    assert not (tmp_path / "out").exists()


def test_a_missing_gpu_is_an_error(make_set: MakeSet, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ValueError, match="torch sees no GPU"):
        run(TINY, make_set(), tmp_path / "out", device="cuda")


def test_bf16_on_a_cpu_that_is_slow_at_it_is_said(
    make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = dataclasses.replace(TINY, size=33, epochs=1, warmup_epochs=0, precision="bf16")
    data = make_set(num=8, size=33)
    for capability, said in (("AVX2", 1), ("AVX512", 0)):
        monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda capability=capability: capability)
        caplog.clear()
        run(config, data, tmp_path / capability)
        assert sum("precision fp32" in record.message for record in caplog.records) == said
