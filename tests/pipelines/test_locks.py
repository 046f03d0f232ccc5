"""Locks: one command at a time in an output directory, and no trace of those that were killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.__main__ import build_app, main
from pipelines.locks import LOCK, DirectoryBusy, alone

ME = f"{socket.gethostname()} process {os.getpid()}"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_table(folder: Path) -> None:
    """A controller of a recorded table, as far as `recommend` reads it before it starts."""
    folder.mkdir()
    rows = [f"{task},{level},1" for task in "ab" for level in ("fixed", "random")]
    (folder / "table.csv").write_text("\n".join(["task,background,reward", *rows]) + "\n")
    np.savez(folder / "vectors.npz", a=np.array([1.0, 0.0]), b=np.array([0.0, 1.0]))
    (folder / "summary.json").write_text("{}")


def write_tasks(folder: Path) -> None:
    """Two tasks with two classes of 16 pictures."""
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for number in range(2):
            (folder / name / f"class_{number}").mkdir(parents=True)
            for index in range(16):
                pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"class_{number}" / f"{index}.png")


def test_a_second_holder_is_refused_and_the_directory_is_free_after_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for _ in range(2):
        with alone(out):
            with pytest.raises(DirectoryBusy, match=f"{out} is in use by {ME}; wait for its end, stop it, or choose"):
                alone(out).__enter__()
            (out / "result.txt").write_text("mine")
        assert names(out) == ["result.txt"]


def test_a_directory_of_which_nothing_came_is_left_as_it_was(tmp_path: Path) -> None:
    for out in (tmp_path / "there", tmp_path / "absent"):
        (tmp_path / "there").mkdir(exist_ok=True)
        with pytest.raises(ValueError, match="no"), alone(out):
            raise ValueError("no")
    assert names(tmp_path) == ["there"] and names(tmp_path / "there") == []


HOLDER = """
import os, sys, time
from pathlib import Path
from pipelines.locks import alone
with alone(Path(sys.argv[1])):
    if os.fork() == 0:
        print("forked", flush=True)
        sys.stdin.read()
        os._exit(0)
    time.sleep(600)
"""


def test_a_killed_holder_is_no_obstacle_though_its_forked_child_lives_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == b"forked\n"
        with pytest.raises(DirectoryBusy, match=f"in use by {socket.gethostname()} process {holder.pid};"):
            alone(tmp_path).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert names(tmp_path) == [LOCK]
        with alone(tmp_path):
            assert ME in (tmp_path / LOCK).read_text()
        assert names(tmp_path) == []


COMMANDS = (
    "demo --out {out}",
    "run small --tasks {here}/tasks --out {out}",
    "controller train --tasks {here}/tasks --probe random:resnet18 --budget 2 --out {out}",
    "controller train {here}/controller/table.csv --embeddings {here}/controller/vectors.npz --out {out}",
    "recommend --task {here}/tasks/a --controller {here}/controller --probe random:resnet18 --out {out}",
    "render --cluster local --num-images 8 --out {out}",
    "render --num-images 8 --out {out}",
    "pretrain --recipe demo --arch test_resnet --data {here}/tasks --out {out}",
    "evaluate --backbone random:test_resnet --task {here}/tasks/a --out {out}",
    "embed --task {here}/tasks/a --probe random:resnet18 --out {out}",
    "multitask --data {here}/tasks --out {out}",
)


@pytest.mark.parametrize("line", COMMANDS, ids=[line[:22] for line in COMMANDS])
def test_no_command_starts_in_a_directory_where_another_is_at_work(tmp_path: Path, line: str) -> None:
    write_tasks(tmp_path / "tasks")
    write_table(tmp_path / "controller")
    out = tmp_path / "out"
    with alone(out):
        with pytest.raises(DirectoryBusy, match=f"{out} is in use by {ME}"):
            build_app().cli(prog="simpath", args=line.format(here=tmp_path, out=out).split())
        assert names(out) == [LOCK]
    assert not out.exists()


def test_the_second_command_ends_with_one_line_and_status_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["simpath", "demo", "--out", str(tmp_path)])
    before = signal.getsignal(signal.SIGTERM)
    try:
        with alone(tmp_path), pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    said = f"simpath: {tmp_path} is in use by {ME}; wait for its end, stop it, or choose another directory\n"
    assert (ended.value.code, *capsys.readouterr()) == (1, "", said)
