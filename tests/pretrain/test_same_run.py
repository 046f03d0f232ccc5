"""Whose result is it: what `pretrain` returns, resumes and refuses when its directory is not empty."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pretrain.train import PretrainConfig, SavedAndStoppedError, pretrain

MakeSet = Callable[..., Path]

TINY = PretrainConfig(
    arch="test_resnet",
    size=16,
    epochs=1,
    batch_size=8,
    micro_batch=8,
    warmup_epochs=0,
    rand_augment="",
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    precision="fp32",
)
"""Three steps on 24 images."""


def run(data: Path | str, out: Path, config: PretrainConfig = TINY, **knobs: Any) -> dict[str, Any]:
    return pretrain(config, data, out=out, **{"tensorboard": False, **knobs})


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_is_not_returned_for_other_data(make_set: MakeSet, tmp_path: Path) -> None:
    data, out = make_set(), tmp_path / "out"
    summary = run(data, out)
    before = files(out)
    with pytest.raises(ValueError, match=f"{out} holds a run with another num_classes: 2, now 3; use another"):
        run(make_set(classes=3, name="three"), out)
    with pytest.raises(ValueError, match="holds a run with another data_digest"):
        run(make_set(num=25, name="more"), out)
    with pytest.raises(ValueError, match="holds a run with another seed: 0, now 1"):
        run(data, out, dataclasses.replace(TINY, seed=1))
    with pytest.raises(FileNotFoundError, match=r"nowhere: no index\.json"):
        run(tmp_path / "nowhere", out)
    shutil.copytree(data, tmp_path / "copy")
    assert run(tmp_path / "copy", out) == summary
    assert files(out) == before


def test_a_finished_run_is_not_returned_for_another_validation_set(make_set: MakeSet, tmp_path: Path) -> None:
    data, val, out = make_set(), make_set(num=10, name="val"), tmp_path / "out"
    summary = run(data, out, val=val)
    assert run(data, out, val=val) == run(data, out) == summary
    with pytest.raises(ValueError, match=f"{out} holds a finished run without .*{data}"):
        run(data, out, val=data)
    run(data, tmp_path / "without")
    with pytest.raises(ValueError, match="holds a finished run without the validation set"):
        run(data, tmp_path / "without", val=val)


def test_a_finished_run_that_skipped_shards_is_returned(make_set: MakeSet, tmp_path: Path) -> None:
    data, val, out = make_set(), make_set(num=20, name="val"), tmp_path / "out"
    (data / "shard-000001.tar").unlink()
    (val / "shard-000000.tar").unlink()
    summary = run(data, out, val=val, on_bad_shard="skip")
    assert [len(summary[name]) for name in ("skipped_shards", "val_skipped_shards")] == [1, 1]
    assert run(data, out, val=val, on_bad_shard="skip") == summary


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_finished_run_on_remote_data_is_returned_and_fetches_the_index_only(
    make_set: MakeSet, tmp_path: Path
) -> None:
    data, other, out = make_set(), make_set(num=25, name="more"), tmp_path / "out"
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        summary = run(f"{address}/{data.name}", out)
        shutil.rmtree(out / "shards")
        assert run(f"{address}/{data.name}", out) == run(data, out) == summary
        with pytest.raises(ValueError, match="holds a run with another data_digest"):
            run(f"{address}/{other.name}", out)
        server.shutdown()
    assert not (out / "shards").exists()


@pytest.mark.parametrize("text", ['{"backbone": "backbone.safetensors"}', "{}", "[]", "no json"])
def test_a_summary_of_something_else_is_no_finished_run(make_set: MakeSet, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"out/summary\.json is not of a pre-training; use another directory") as error:
        run(make_set(), out)
    assert "\n" not in str(error.value)
    assert files(out) == {"summary.json": text.encode()}


@pytest.mark.parametrize(
    "text", ['{"model_type": "vit"}', '{"config": 3, "data": {}}', '{"config": {}}', "[]", "no json"]
)
def test_a_config_of_something_else_is_named(make_set: MakeSet, tmp_path: Path, text: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"out/config\.json is not of a pre-training; use another directory") as error:
        run(make_set(), out)
    assert "\n" not in str(error.value)
    assert files(out) == {"config.json": text.encode()}


def test_a_finished_run_without_its_backbone_is_named(make_set: MakeSet, tmp_path: Path) -> None:
    data, out = make_set(), tmp_path / "out"
    run(data, out)
    (out / "backbone.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"{out} holds a finished run, but its backbone\.safetensors is gone"):
        run(data, out)
    (out / "summary.json").unlink()
    assert run(data, out)["steps"] == 3
    assert (out / "backbone.safetensors").is_file()


def test_another_configuration_in_the_directory_is_refused_by_field(make_set: MakeSet, tmp_path: Path) -> None:
    data = make_set()
    with pytest.raises(SavedAndStoppedError):
        run(data, tmp_path / "out", stop=(tmp_path / "out" / "metrics.jsonl").is_file)
    with pytest.raises(ValueError, match=r"holds a run with another learning_rate: 0\.001, now 0\.002"):
        run(data, tmp_path / "out", dataclasses.replace(TINY, learning_rate=2e-3))
    with pytest.raises(ValueError, match="holds a run with another num_classes: 2, now 3"):
        run(make_set(classes=3, name="three"), tmp_path / "out")
    with pytest.raises(ValueError, match="holds a run with another data_digest"):
        run(make_set(num=25, name="more"), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "classes", "reason"),
    [
        ({}, 3, "was trained on 3 classes, the data has 2"),
        ({"arch": "test_efficientnet"}, 2, "is a test_efficientnet, the run is a test_resnet"),
    ],
)
def test_a_checkpoint_of_another_network_is_refused(
    make_set: MakeSet, tmp_path: Path, changes: dict[str, Any], classes: int, reason: str
) -> None:
    data, other = make_set(), make_set(classes=classes, name="other")
    for name, directory, config in (("out", data, TINY), ("other-out", other, dataclasses.replace(TINY, **changes))):
        with pytest.raises(SavedAndStoppedError):
            run(directory, tmp_path / name, config, stop=(tmp_path / name / "metrics.jsonl").is_file)
    shutil.rmtree(tmp_path / "out" / "checkpoints")
    shutil.copytree(tmp_path / "other-out" / "checkpoints", tmp_path / "out" / "checkpoints")
    before = files(tmp_path / "out")
    with pytest.raises(ValueError, match=rf"checkpoint {tmp_path}/out/checkpoints/step-00000001\.pt {reason}"):
        run(data, tmp_path / "out")
    assert files(tmp_path / "out") == before


def test_another_validation_set_on_a_resume_is_refused_by_field(make_set: MakeSet, tmp_path: Path) -> None:
    data, val, out = make_set(), make_set(num=10, name="val"), tmp_path / "out"
    with pytest.raises(SavedAndStoppedError):
        run(data, out, val=val, stop=(out / "metrics.jsonl").is_file)
    before = files(out)
    for other in (data, None):
        with pytest.raises(ValueError, match=f"{out} holds a run with another val_digest: "):
            run(data, out, val=other)
    assert files(out) == before
    config = json.loads((out / "config.json").read_text())
    del config["data"]["val_digest"]  # as an earlier version left it
    (out / "config.json").write_text(json.dumps(config))
    assert run(data, out, val=val)["steps"] == 3
