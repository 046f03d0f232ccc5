"""`simpath pretrain` from the outside: what its options reach, and how it ends."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.__main__ import main
from pipelines.locks import alone
from pretrain.checkpoint import checkpoints, load_checkpoint
from sim.dataset import render_dataset

ROOT = Path(__file__).parents[2]
WORDS = "--recipe small --arch test_resnet --size 16 --batch-size 4 --micro-batch 2 --threads 2"


@pytest.fixture
def data(trivial: ModuleType, tmp_path: Path) -> Path:
    """12 images of 3 classes, one colour each."""
    flat: Any = importlib.import_module("flat_stages")
    factory = lambda *_, **__: nullcontext(flat.FlatRenderer({}))  # noqa: E731
    render_dataset(flat.CONFIG, out=tmp_path / "data", num_images=12, factory=factory, workers=1)
    return tmp_path / "data"


def status_of(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["simpath", "pretrain", *words])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    return int(str(ended.value.code))


def test_what_the_errors_demand_can_be_given(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    paper = ["--data", str(data), "--out", str(out), "--arch", "test_resnet", "--size", "48", "--epochs", "1"]
    paper += ["--batch-size", "4", "--micro-batch", "4", "--precision", "fp32", "--threads", "1"]
    assert status_of(monkeypatch, *paper) == 2
    assert "warmup_epochs is 20; allowed: 0 to less than epochs (1)" in capsys.readouterr().err
    assert status_of(monkeypatch, *paper, "--warmup-epochs", "0", "--arch", "vgg11") == 2
    assert "architecture vgg11 has no stochastic depth; set drop_path to 0" in capsys.readouterr().err
    given = ("--warmup-epochs", "0.5", "--drop-path", "0", "--clip-norm", "1.5")
    assert status_of(monkeypatch, *paper, *given) == 0
    config = json.loads((out / "summary.json").read_text())["config"]
    assert [config[name] for name in ("warmup_epochs", "drop_path", "clip_norm")] == [0.5, 0.0, 1.5]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--keep-checkpoints -1", "keep_checkpoints is -1; allowed: 0 and more"),
        ("--processes 0", "processes is 0; allowed: 1 and more"),
        ("--processes 3", "a training by 3 processes; allowed: 1, 2, because a batch of 4 images takes passes of 2"),
        ("--arch squeezenet1_1 --size 48", "architecture squeezenet1_1 does not end in a linear classifier"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_status_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, reason: str
) -> None:
    here = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    assert status_of(monkeypatch, *here, *WORDS.split(), *words.split()) == 2
    said = capsys.readouterr().err
    assert reason in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_only_the_first_of_torchruns_processes_takes_the_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--data", str(data), "--out", str(out), *WORDS.split(), "--epochs", "1", "--warmup-epochs", "0"]
    with alone(out):
        assert status_of(monkeypatch, *words) == 1
        assert f"{out} is in use by" in capsys.readouterr().err
        assert not (out / "config.json").exists()
        monkeypatch.setenv("RANK", "1")
        assert status_of(monkeypatch, *words) == 0
    assert (out / "summary.json").is_file()


def start(data: Path, out: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "pipelines",
        "pretrain",
        "--data",
        str(data),
        "--out",
        str(out),
        *WORDS.split(),
        *words,
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_saves_and_the_status_is_75(data: Path, tmp_path: Path, processes: str) -> None:
    out = tmp_path / "out"
    with start(data, out, "--epochs", "100000", "--processes", processes) as command:
        wait_until((out / "metrics.jsonl").is_file, command)
        command.terminate()
        said = command.communicate(timeout=250)[1]
    assert command.returncode == 75, said
    step = load_checkpoint(checkpoints(out / "checkpoints")[-1])["step"]
    last = f"simpath: stopped after step {step} of 300000; saved in {out}/checkpoints; run the same command again"
    assert said.splitlines()[-1].startswith(last)
    assert "Traceback" not in said
    assert not (out / "summary.json").exists()


@pytest.mark.slow
def test_bad_data_end_several_processes_with_one_line(data: Path, tmp_path: Path) -> None:
    """Not one line for each process, and no traceback."""
    (data / "shard-000000.tar").write_bytes(b"")
    with start(data, tmp_path / "bad", "--epochs", "3", "--processes", "2") as command:
        said = command.communicate(timeout=250)[1]
    assert command.returncode == 1
    assert "shard-000000.tar: sha256" in said.splitlines()[-1]
    assert "Traceback" not in said and said.count("sha256 is") == 1


def wait_until(done: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while not done() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()
