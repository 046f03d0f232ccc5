"""The command line as a user meets it: help, results on stdout, one clear line and a status for bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.__main__ import _terminate
from pipelines.commands import FAILED, INTERRUPTED, PARTIAL, SAVED, USAGE
from pipelines.commands.data import _shard_range
from pipelines.run import RunResult

Run = Callable[..., tuple[int, str, str]]
ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("doctor", "demo", "render", "inspect", "pretrain", "evaluate", "embed", "run", "multitask", "submit", "status"),
    *("report", "tasks", "controller", "store"),
)


def refused(done: tuple[int, str, str], status: int = 1) -> str:
    """The one line on stderr of a command that said no."""
    code, _, err = done
    assert code == status, err
    (line,) = err.strip().splitlines()
    return line


def write_images(folder: Path, classes: dict[str, int], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def test_help_names_every_command_and_needs_no_torch() -> None:
    command_line = [sys.executable, "-m", "pipelines", "--help"]
    done = subprocess.run(command_line, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"• {command} ", done.stdout), command
    code = "import pipelines.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, simpath: Run) -> None:
    status, out, _ = simpath(command, "--help")
    assert status == 0
    assert len(out.split()) > 15


def test_an_unknown_parameter_value_is_a_usage_error_naming_what_is_allowed(tmp_path: Path, simpath: Run) -> None:
    code, _, err = simpath("render", "--out", tmp_path / "d", "--num-images", "4", "--params.background", "randm")
    assert code == 2
    assert "background" in err and "fixed" in err and "random" in err
    assert not (tmp_path / "d").exists()


def test_a_misspelt_option_is_a_usage_error(tmp_path: Path, simpath: Run) -> None:
    code, _, err = simpath("render", "--out", tmp_path / "d", "--num-images", "4", "--params.backround", "random")
    assert code == 2 and "backround" in err


def test_a_range_with_low_above_high_is_refused(tmp_path: Path, simpath: Run) -> None:
    code, _, err = simpath("render", "--out", tmp_path, "--num-images", "4", "--ranges.distance-factor", "2", "1")
    assert code == 2 and "distance_factor" in err


def test_inspecting_what_is_no_data_set_says_so(tmp_path: Path, simpath: Run) -> None:
    assert "no index.json" in refused(simpath("inspect", tmp_path))


def test_a_task_with_one_class_is_refused(tmp_path: Path, simpath: Run) -> None:
    write_images(tmp_path / "task", {"only": 6})
    line = refused(simpath("evaluate", "--backbone", "random:resnet18", "--task", tmp_path / "task", "--size", "32"))
    assert "class" in line and "task" in line


def test_a_task_without_a_readable_image_is_refused(tmp_path: Path, simpath: Run) -> None:
    for name in ("a", "b"):
        (tmp_path / "task" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "task" / name / f"broken{number}.png").write_bytes(b"no image")
    words = ("--backbone", "random:test_resnet", "--task", tmp_path / "task", "--size", "32")
    status, _, err = simpath("evaluate", *words)
    assert status == 1  # on a slow machine lines of progress come first
    said = r"simpath: task task: none of the \d train images is readable \(a/broken\d\.png: .*\)"
    assert re.fullmatch(said, err.splitlines()[-1])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--backbone random:resnet18 --task no_such_task", "digits"),
        ("--backbone random:resnet19 --task digits", "resnet19"),
    ],
)
def test_an_unknown_task_or_architecture_is_refused_by_name(words: str, named: str, simpath: Run) -> None:
    status, _, err = simpath("evaluate", *words.split())
    assert status == 1 and named in err.splitlines()[-1]


def test_the_last_line_of_evaluate_is_the_result_as_json(tmp_path: Path, simpath: Run) -> None:
    write_images(tmp_path / "task", {"dark": 12, "light": 12})
    words = ("--backbone", "random:test_resnet:0", "--task", tmp_path / "task", "--size", "32")
    status, out, err = simpath("evaluate", *words)
    assert status == 0, err
    result = json.loads(out.splitlines()[-1])
    assert set(result) == {"task", "method", "metric", "score", "ci95", "n_train", "n_test", "seeds"}
    assert result["score"] == 100 and result["method"] == "linear"
    assert result["n_train"] + result["n_test"] == 24


def test_running_without_tasks_is_refused(tmp_path: Path, simpath: Run) -> None:
    line = refused(simpath("run", "small", "--tasks", tmp_path / "absent", "--out", tmp_path / "out"))
    assert "absent" in line and not (tmp_path / "out").exists()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path, simpath: Run) -> None:
    assert "no artifact store" in refused(simpath("store", "ls", tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pretrain --data absent --out {out} --epochs 0", "epochs is 0; allowed: 1 and more"),
        ("evaluate --backbone random:resnet18 --task digits --method knn --k 0", "k 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_a_usage_error(words: str, message: str, tmp_path: Path, simpath: Run) -> None:
    assert message in refused(simpath(*words.format(out=tmp_path / "out").split()), 2)
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_no_run_has_no_report(tmp_path: Path, simpath: Run) -> None:
    assert "summary.json" in refused(simpath("report", tmp_path))


def test_an_absent_gpu_is_an_error_and_nothing_is_left(tmp_path: Path, simpath: Run) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    line = refused(simpath("demo", "--out", tmp_path / "out", "--device", "cuda"))
    assert line == "simpath: device cuda was asked for, but PyTorch finds no GPU here; allowed: cpu"
    assert not (tmp_path / "out").exists()


def test_shards_are_given_as_first_and_last() -> None:
    assert _shard_range("2:8") == (2, 8) and _shard_range(None) is None
    with pytest.raises(ValueError, match="FIRST:LAST"):
        _shard_range("2-8")


@pytest.mark.parametrize("line", ["demo --out {out}", "run small --tasks {tasks} --out {out}"])
def test_a_run_says_with_its_status_whether_something_is_missing(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simpath: Run
) -> None:
    write_images(tmp_path / "tasks" / "one", {"a": 3, "b": 3})
    line = line.format(out=tmp_path / "out", tasks=tmp_path / "tasks")
    for result in (RunResult(3, "missing:\n  pretrain 12: it diverged"), RunResult(0, "report    here")):
        monkeypatch.setattr("pipelines.run.run_experiment", lambda *_, result=result, **__: result)
        assert simpath(*line.split()) == (result.status, result.text + "\n", "")


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        ({"failed": [], "complete": True}, 0),
        ({"failed": [{"index": 4, "model": "crate/0", "reason": "it is bad"}], "complete": True}, 3),
        ({"failed": [], "complete": False}, 0),  # the other shards are another call's
    ],
)
def test_a_rendering_that_lacks_images_is_partial(
    summary: dict[str, Any],
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    simpath: Run,
) -> None:
    rest = {"images": 9, "shards": 1, "rendered": 9, "images_per_second": 3.5}
    monkeypatch.setattr("sim.dataset.render_dataset", lambda *_, **__: rest | summary)
    code, out, err = simpath("render", "--out", tmp_path / "set", "--num-images", "10")
    assert (code, err) == (status, "")
    assert ("missing: image 4 (model crate/0): it is bad" in out) == bool(summary["failed"])


def test_shards_that_a_cluster_could_not_make_are_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simpath: Run
) -> None:
    summary = {"images": 5, "shards": 1, "rendered": 5, "images_per_second": 3.5, "failed": [], "complete": False}
    lost = {"missing": ["render_shard 12: killed by SIGKILL (4 attempts)"]}
    monkeypatch.setattr("pipelines.farm.render_on_cluster", lambda *_, **__: summary | lost)
    code, out, err = simpath("render", "--out", tmp_path / "set", "--num-images", "10", "--cluster", "local")
    assert (code, err) == (3, "") and "missing: render_shard 12: killed by SIGKILL (4 attempts)" in out


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGTERM, 75, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_stopped_command_says_how_to_go_on(
    number: signal.Signals,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    simpath: Run,
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr("pipelines.run.run_experiment", stopped)
    resume = f"simpath: {said}; run the same command again to continue\n"
    assert simpath("demo", "--out", tmp_path / "out") == (status, "", resume)


def test_the_statuses_are_listed_for_the_reader() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = re.findall(
        r"^\| (\d+) \| ", text.partition("## How a command ends")[2].partition("\n## ")[0], re.MULTILINE
    )
    assert [int(status) for status in listed] == [0, FAILED, USAGE, PARTIAL, SAVED, INTERRUPTED]


def test_sigterm_is_answered_once() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="75"):
            _terminate(signal.SIGTERM, None)
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
