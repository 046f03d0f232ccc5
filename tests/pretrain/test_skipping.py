"""Runs that were begun without a bad shard: they go on without it, and with all others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pretrain.train import PretrainConfig, SavedAndStoppedError, pretrain

MakeSet = Callable[..., Path]

TINY = PretrainConfig(
    arch="test_resnet",
    size=16,
    epochs=3,
    batch_size=8,
    micro_batch=8,
    warmup_epochs=0,
    rand_augment="",
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    precision="fp32",
)
"""Three steps on the 14 images of two shards, six on the 24 of three."""


def run(data: Path, out: Path, val: Path, **knobs: Any) -> dict[str, Any]:
    return pretrain(TINY, data, out=out, val=val, tensorboard=False, **knobs)


def begin(data: Path, out: Path, val: Path) -> None:
    """Skips bad shards, and stops after the first step or two."""
    with pytest.raises(SavedAndStoppedError):
        run(data, out, val, on_bad_shard="skip", stop=(out / "metrics.jsonl").is_file)


@pytest.mark.parametrize("on_bad_shard", ["skip", "stop"])
def test_a_shard_that_is_good_again_stays_left_out(
    make_set: MakeSet, tmp_path: Path, caplog: pytest.LogCaptureFixture, on_bad_shard: str
) -> None:
    data, val = make_set(), make_set(num=20, name="val")
    for folder in (data, val):
        (folder / "shard-000001.tar").rename(folder / "away")
    whole = run(data, tmp_path / "whole", val, on_bad_shard="skip")
    begin(data, tmp_path / "out", val)
    for folder in (data, val):
        (folder / "away").rename(folder / "shard-000001.tar")
    caplog.clear()
    summary = run(data, tmp_path / "out", val, on_bad_shard=on_bad_shard)
    assert (summary["num_images"], summary["steps"]) == (14, 3)
    without = ["shard-000001.tar: the run was begun without it"]
    assert summary["skipped_shards"] == summary["val_skipped_shards"] == without
    assert sum(without[0] in record.getMessage() for record in caplog.records) == 2
    assert summary["backbone_sha256"] == whole["backbone_sha256"]
    assert run(data, tmp_path / "out", val, on_bad_shard=on_bad_shard) == summary


def test_a_run_that_goes_on_needs_every_shard_that_it_had(make_set: MakeSet, tmp_path: Path) -> None:
    data, val, out = make_set(), make_set(num=20, name="val"), tmp_path / "out"
    begin(data, out, val)
    (data / "shard-000002.tar").rename(data / "away")
    with pytest.raises(ValueError, match=r"^shard-000002\.tar: index\.json .* names it, but there is no such file"):
        run(data, out, val, on_bad_shard="skip")
    (data / "away").rename(data / "shard-000002.tar")
    assert run(data, out, val, on_bad_shard="skip")["steps"] == 9
