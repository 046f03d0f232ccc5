"""`simpath pretrain` from the outside: what its options reach, and how it ends."""

from __future__ import annotations

import importlib
import json
import time
from collections.abc import Callable
from contextlib import nullcontext
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.locks import alone
from pretrain.checkpoint import checkpoints, load_checkpoint
from sim.dataset import render_dataset

Run = Callable[..., tuple[int, str, str]]
WORDS = "--recipe small --arch test_resnet --size 16 --batch-size 4 --micro-batch 2 --threads 2"


@pytest.fixture
def data(trivial: ModuleType, tmp_path: Path) -> Path:
    """12 images of 3 classes, one colour each."""
    flat: Any = importlib.import_module("flat_stages")
    factory = lambda *_, **__: nullcontext(flat.FlatRenderer({}))  # noqa: E731
    render_dataset(flat.CONFIG, out=tmp_path / "data", num_images=12, factory=factory, workers=1)
    return tmp_path / "data"


def test_what_the_errors_demand_can_be_given(data: Path, tmp_path: Path, simpath: Run) -> None:
    out = tmp_path / "out"
    paper = ["--data", str(data), "--out", str(out), "--arch", "test_resnet", "--size", "48", "--epochs", "1"]
    paper += ["--batch-size", "4", "--micro-batch", "4", "--precision", "fp32", "--threads", "1"]
    status, _, err = simpath("pretrain", *paper)
    assert status == 2 and "warmup_epochs is 20; allowed: 0 to less than epochs (1)" in err
    status, _, err = simpath("pretrain", *paper, "--warmup-epochs", "0", "--arch", "vgg11")
    assert status == 2 and "architecture vgg11 has no stochastic depth; set drop_path to 0" in err
    given = ("--warmup-epochs", "0.5", "--drop-path", "0", "--clip-norm", "1.5")
    assert simpath("pretrain", *paper, *given)[0] == 0
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
def test_what_cannot_be_meant_is_one_line_and_status_2(tmp_path: Path, simpath: Run, words: str, reason: str) -> None:
    here = ("--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"))
    status, _, said = simpath("pretrain", *here, *WORDS.split(), *words.split())
    assert status == 2 and reason in said and len(said.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_only_the_first_of_torchruns_processes_takes_the_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simpath: Run
) -> None:
    out = tmp_path / "out"
    words = [
        "pretrain",
        "--data",
        str(data),
        "--out",
        str(out),
        *WORDS.split(),
        "--epochs",
        "1",
        "--warmup-epochs",
        "0",
    ]
    with alone(out):
        status, _, err = simpath(*words)
        assert status == 1 and f"{out} is in use by" in err
        assert not (out / "config.json").exists()
        monkeypatch.setenv("RANK", "1")
        assert simpath(*words)[0] == 0
    assert (out / "summary.json").is_file()


Start = Callable[..., tuple[ForkServerProcess, Path]]


@pytest.fixture
def start(data: Path, tmp_path: Path, forking: ForkServerContext) -> Start:
    """Starts `simpath pretrain` into OUT; the process, and the file with what it says."""
    forked: Any = importlib.import_module("forked")

    def begin(*words: str) -> tuple[ForkServerProcess, Path]:
        said = tmp_path / "said.txt"
        here = ("pretrain", "--data", str(data), "--out", str(tmp_path / "out"))
        process = forking.Process(target=forked.command, args=([*here, *WORDS.split(), *words], str(said)))
        process.start()
        return process, said

    return begin


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
def test_sigterm_saves_and_the_status_is_75(start: Start, tmp_path: Path, processes: str) -> None:
    out = tmp_path / "out"
    command, printed = start("--epochs", "100000", "--processes", processes)
    wait_until((out / "metrics.jsonl").is_file, command)
    command.terminate()
    command.join(250)
    said = printed.read_text()
    assert command.exitcode == 75, said
    step = load_checkpoint(checkpoints(out / "checkpoints")[-1])["step"]
    last = f"simpath: stopped after step {step} of 300000; saved in {out}/checkpoints; run the same command again"
    assert said.splitlines()[-1].startswith(last)
    assert "Traceback" not in said
    assert not (out / "summary.json").exists()


@pytest.mark.slow
def test_bad_data_end_several_processes_with_one_line(data: Path, start: Start) -> None:
    """Not one line for each process, and no traceback."""
    (data / "shard-000000.tar").write_bytes(b"")
    command, printed = start("--epochs", "3", "--processes", "2")
    command.join(250)
    said = printed.read_text()
    assert command.exitcode == 1, said
    assert "shard-000000.tar: sha256" in said.splitlines()[-1]
    assert "Traceback" not in said and said.count("sha256 is") == 1


def wait_until(done: Callable[[], bool], process: ForkServerProcess) -> None:
    deadline = time.monotonic() + 200
    while not done() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert done()
