"""`simpath tasks table`: from finished results on disk to a table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.__main__ import build_app
from pipelines.usage import UsageError


def write_result(folder: Path, task: str, share: float, **about: Any) -> None:
    """What `transfer.score.final` leaves, with 100 test images."""
    folder.mkdir(parents=True)
    correct = (np.arange(100) < 100 * share).astype(np.uint8)
    save_file({"label": np.arange(100) % 5, "correct": correct}, folder / "predictions.safetensors")
    known = {"task": task, "method": "linear", "metrics": {"accuracy": 100 * share}, "also_report": [], "index": task}
    (folder / "summary.json").write_text(json.dumps({**known, **about}), encoding="utf-8")


def write_results(root: Path) -> None:
    for seed in (0, 1):
        write_result(root / "ours" / f"seed{seed}" / "AID" / "linear", "AID", 0.8 + 0.1 * seed)
    write_result(root / "ours" / "SVHN" / "linear", "SVHN", 0.6)
    write_result(root / "ours" / "SVHN" / "knn", "SVHN", 0.1, method="knn")
    write_result(root / "none" / "a" / "linear", "AID", 0.4)
    write_result(root / "none" / "b" / "linear", "SVHN", 0.6)


def table(*words: object) -> int:
    return int(build_app().cli(prog="simpath", args=["tasks", "table", *map(str, words)]))


def test_columns_are_folders_and_several_results_of_a_task_are_seeds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_results(tmp_path)
    words = (f"random weights={tmp_path / 'none'}", tmp_path / "ours", "--method", "linear", "--out", tmp_path / "out")
    assert table(*words) == 0
    said = capsys.readouterr().out
    lines = [line for line in said.splitlines() if line.startswith("|")]
    assert lines[0] == "| task | random weights | ours |" and lines[3].startswith("| SVHN | **60.0**")
    assert lines[2].startswith("| AID | 40.0 [") and "]* | **85.0** [" in lines[2]
    assert any(line.startswith("| *mean unseen (1)* | 40.0 | 85.0 |") for line in lines)
    assert (tmp_path / "out" / "table.md").read_text(encoding="utf-8") in said
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"table.csv", "table.md", "table.html"}


def test_what_makes_no_table_is_said_in_one_line(tmp_path: Path) -> None:
    write_results(tmp_path)
    ours, out = tmp_path / "ours", ("--out", tmp_path / "out")
    for words, message in (
        ((ours,), "several protocols, knn, linear"),
        ((ours, "--method", "finetune"), "holds no finished result of finetune"),
        ((ours, "--method", "knn", "--against", "absent"), "no method absent to compare with; there are ours"),
        ((ours, ours, "--method", "knn"), "stands twice in the column ours"),
    ):
        with pytest.raises(UsageError, match=message):
            table(*words, *out)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        table(tmp_path / "absent", *out)
    assert not (tmp_path / "out").exists()


def test_a_run_and_its_store_are_not_searched_through(tmp_path: Path) -> None:
    write_result(tmp_path / "run" / "store" / "ab", "AID", 0.5)
    (tmp_path / "run" / "store" / "ab" / "artifact.json").touch()
    with pytest.raises(UsageError, match="holds no finished result"):
        table(tmp_path / "run", "--out", tmp_path / "out")
    for name in ("identity.json", "trials.csv"):
        (tmp_path / "run" / name).touch()
    with pytest.raises(UsageError, match=r"holds a whole run, whose table is .*transfer_table\.md"):
        table(tmp_path / "run", "--out", tmp_path / "out")
