"""The command line as a user meets it: help, results on stdout, one clear line and a status for bad input."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.__main__ import _terminate, main
from pipelines.commands import FAILED, INTERRUPTED, PARTIAL, SAVED, USAGE
from pipelines.commands.data import _shard_range
from pipelines.run import RunResult

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("doctor", "demo", "render", "inspect", "pretrain", "evaluate", "embed", "run", "multitask", "submit", "status"),
    *("report", "tasks", "controller", "store"),
)


def simpath(*words: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "100", "NO_COLOR": "1"},
    )


def refused(done: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """The one line on stderr of a command that said no."""
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def ended(line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, list[str]]:
    """Status, stdout and the lines on stderr of `simpath LINE`, in this process, which has PyTorch imported already."""
    # as in a terminal: a test run that a script started in the background would pass on that SIGINT is ignored
    before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
    before[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["simpath", *line.split()])
    try:
        with pytest.raises(SystemExit) as end:
            main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    output = capsys.readouterr()
    return int(str(end.value.code)), output.out, output.err.splitlines()


def write_images(folder: Path, classes: dict[str, int], seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


def test_help_names_every_command_and_needs_no_torch() -> None:
    done = simpath("--help")
    assert done.returncode == 0
    for command in COMMANDS:
        assert re.search(rf"• {command} ", done.stdout), command
    code = "import pipelines.__main__, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = ended(f"{command} --help", monkeypatch, capsys)
    assert status == 0
    assert len(out.split()) > 15


def test_an_unknown_parameter_value_is_a_usage_error_naming_what_is_allowed(tmp_path: Path) -> None:
    done = simpath("render", "--out", tmp_path / "d", "--num-images", "4", "--params.background", "randm")
    assert done.returncode == 2
    assert "background" in done.stderr and "fixed" in done.stderr and "random" in done.stderr
    assert not (tmp_path / "d").exists()


def test_a_misspelt_option_is_a_usage_error(tmp_path: Path) -> None:
    done = simpath("render", "--out", tmp_path / "d", "--num-images", "4", "--params.backround", "random")
    assert done.returncode == 2 and "backround" in done.stderr


def test_a_range_with_low_above_high_is_refused(tmp_path: Path) -> None:
    done = simpath("render", "--out", tmp_path, "--num-images", "4", "--ranges.distance-factor", "2", "1")
    assert done.returncode == 2 and "distance_factor" in done.stderr


def test_inspecting_what_is_no_data_set_says_so(tmp_path: Path) -> None:
    assert "no index.json" in refused(simpath("inspect", tmp_path))


def test_a_task_with_one_class_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "task", {"only": 6})
    line = f"evaluate --backbone random:resnet18 --task {tmp_path / 'task'} --size 32"
    status, _, (error,) = ended(line, monkeypatch, capsys)
    assert status == 1 and "class" in error and "task" in error


def test_a_task_without_a_readable_image_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / "task" / name).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "task" / name / f"broken{number}.png").write_bytes(b"no image")
    line = f"evaluate --backbone random:resnet18 --task {tmp_path / 'task'} --size 32"
    status, _, errors = ended(line, monkeypatch, capsys)
    assert status == 1  # on a slow machine lines of progress come first
    said = r"simpath: task task: none of the \d train images is readable \(a/broken\d\.png: .*\)"
    assert re.fullmatch(said, errors[-1])


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--backbone random:resnet18 --task no_such_task", "digits"),
        ("--backbone random:resnet19 --task digits", "resnet19"),
    ],
)
def test_an_unknown_task_or_architecture_is_refused_by_name(
    words: str, named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, errors = ended(f"evaluate {words}", monkeypatch, capsys)
    assert status == 1 and named in errors[-1]


def test_the_last_line_of_evaluate_is_the_result_as_json(tmp_path: Path) -> None:
    write_images(tmp_path / "task", {"dark": 12, "light": 12})
    done = simpath("evaluate", "--backbone", "random:resnet18:0", "--task", tmp_path / "task", "--size", "32")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert set(result) == {"task", "method", "metric", "score", "ci95", "n_train", "n_test", "seeds"}
    assert result["score"] == 100 and result["method"] == "linear"
    assert result["n_train"] + result["n_test"] == 24


def test_running_without_tasks_is_refused(tmp_path: Path) -> None:
    line = refused(simpath("run", "small", "--tasks", tmp_path / "absent", "--out", tmp_path / "out"))
    assert "absent" in line and not (tmp_path / "out").exists()


def test_a_folder_that_is_no_store_is_refused(tmp_path: Path) -> None:
    assert "no artifact store" in refused(simpath("store", "ls", tmp_path))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pretrain --data absent --out {out} --epochs 0", "epochs is 0; allowed: 1 and more"),
        ("evaluate --backbone random:resnet18 --task digits --method knn --k 0", "k 0"),
    ],
)
def test_a_value_that_is_not_allowed_is_a_usage_error(
    words: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, (error,) = ended(words.format(out=tmp_path / "out"), monkeypatch, capsys)
    assert status == 2 and message in error
    assert not (tmp_path / "out").exists()


def test_a_directory_that_is_no_run_has_no_report(tmp_path: Path) -> None:
    assert "summary.json" in refused(simpath("report", tmp_path))


def test_an_absent_gpu_is_an_error_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    status, _, errors = ended(f"demo --out {tmp_path / 'out'} --device cuda", monkeypatch, capsys)
    assert status == 1
    assert errors == ["simpath: device cuda was asked for, but PyTorch finds no GPU here; allowed: cpu"]
    assert not (tmp_path / "out").exists()


def test_shards_are_given_as_first_and_last() -> None:
    assert _shard_range("2:8") == (2, 8) and _shard_range(None) is None
    with pytest.raises(ValueError, match="FIRST:LAST"):
        _shard_range("2-8")


@pytest.mark.parametrize("line", ["demo --out {out}", "run small --tasks {tasks} --out {out}"])
def test_a_run_says_with_its_status_whether_something_is_missing(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_images(tmp_path / "tasks" / "one", {"a": 3, "b": 3})
    line = line.format(out=tmp_path / "out", tasks=tmp_path / "tasks")
    for result in (RunResult(3, "missing:\n  pretrain 12: it diverged"), RunResult(0, "report    here")):
        monkeypatch.setattr("pipelines.run.run_experiment", lambda *_, result=result, **__: result)
        assert ended(line, monkeypatch, capsys) == (result.status, result.text + "\n", [])


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
    capsys: pytest.CaptureFixture[str],
) -> None:
    rest = {"images": 9, "shards": 1, "rendered": 9, "images_per_second": 3.5}
    monkeypatch.setattr("sim.dataset.render_dataset", lambda *_, **__: rest | summary)
    code, out, errors = ended(f"render --out {tmp_path / 'set'} --num-images 10", monkeypatch, capsys)
    assert (code, errors) == (status, [])
    assert ("missing: image 4 (model crate/0): it is bad" in out) == bool(summary["failed"])


def test_shards_that_a_cluster_could_not_make_are_partial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = {"images": 5, "shards": 1, "rendered": 5, "images_per_second": 3.5, "failed": [], "complete": False}
    lost = {"missing": ["render_shard 12: killed by SIGKILL (4 attempts)"]}
    monkeypatch.setattr("pipelines.farm.render_on_cluster", lambda *_, **__: summary | lost)
    line = f"render --out {tmp_path / 'set'} --num-images 10 --cluster local"
    code, out, errors = ended(line, monkeypatch, capsys)
    assert (code, errors) == (3, []) and "missing: render_shard 12: killed by SIGKILL (4 attempts)" in out


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGTERM, 75, "stopped by SIGTERM"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_stopped_command_says_how_to_go_on(
    number: signal.Signals,
    status: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), number)
        time.sleep(60)

    monkeypatch.setattr("pipelines.run.run_experiment", stopped)
    code, out, errors = ended(f"demo --out {tmp_path / 'out'}", monkeypatch, capsys)
    assert (code, out) == (status, "")
    assert errors == [f"simpath: {said}; run the same command again to continue"]


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
