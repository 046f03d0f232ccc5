"""`simpath controller` and `recommend` as a user meets them, in this process: help, results, one line for bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]
ROWS = [
    f"{task},{background},{materials},{50 + index + 10 * (background == liked)}"
    for index, (task, liked) in enumerate((("a", "random"), ("b", "fixed"), ("c", "fixed"), ("d", "random")))
    for background in ("fixed", "random")
    for materials in ("natural", "random")
]
TINY = ("--size", "32", "--draws", "64", "--threads", "1")


def table(folder: Path, *, length: int = 3, header: str = "task,background,materials,reward") -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text("\n".join([header, *ROWS]) + "\n")
    rng = np.random.default_rng(0)
    np.savez(folder / "vectors.npz", **{task: rng.random(length) for task in "abcd"})
    return folder / "table.csv", folder / "vectors.npz"


def task(folder: Path, *, classes: int = 2, images: int = 16) -> Path:
    rng = np.random.default_rng(1)
    for number in range(classes):
        (folder / f"class_{number}").mkdir(parents=True)
        for index in range(images):
            pixels = rng.integers(0, 100, (16, 16, 3), dtype=np.uint8) + np.uint8(60 * number)
            Image.fromarray(pixels).save(folder / f"class_{number}" / f"{index}.png")
    return folder


def refused(done: tuple[int, str, str], status: int) -> str:
    code, out, err = done
    assert code == status and not out, done
    assert err.startswith("simpath: ") and len(err.strip().splitlines()) == 1, err
    return err


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("controller", "train"), "--budget"),
        (("controller", "replay"), "--unseen"),
        (("controller", "export-table"), "--out"),
        (("recommend",), "--controller"),
    ],
)
def test_help_names_the_options(simpath: Run, words: tuple[str, ...], option: str) -> None:
    code, out, err = simpath(*words, "--help")
    assert code == 0 and not err
    assert option in out and len(out.split()) > 40


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "got neither a table nor tasks; needed: TABLE --embeddings FILE (recorded), or --tasks DIR"),
        (("t.csv",), "got TABLE; needed"),
        (("--tasks", "t", "--budget", "4"), "got --tasks --budget; needed"),
        (("t.csv", "--embeddings", "v.npz", "--tasks", "t"), "got TABLE --embeddings --tasks; needed"),
        (("t.csv", "--embeddings", "v.npz", "--in-flight", "2"), "TABLE takes no --in-flight"),
        (("--tasks", "t", "--probe", "p", "--budget", "4", "--rounds", "9"), "--tasks takes no --rounds"),
        (("--tasks", "t", "--probe", "p", "--budget", "1"), "--budget is 1; allowed: 2 or more"),
    ],
)
def test_options_that_do_not_fit_together_are_a_usage_error(
    simpath: Run, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    assert said in refused(simpath("controller", "train", "--out", tmp_path / "out", *words), 2)
    assert not (tmp_path / "out").exists()


def test_a_preset_that_does_not_exist_is_a_usage_error(simpath: Run, tmp_path: Path) -> None:
    code, out, err = simpath("controller", "train", "--out", tmp_path / "out", "--preset", "tiny")
    assert code == 2 and not out and "tiny" in err and "small" in err


def test_live_tasks_that_cannot_be_learnt_from_are_refused_before_anything_is_made(
    simpath: Run, tmp_path: Path
) -> None:
    def train(tasks: str) -> str:
        words = ("--probe", "random:resnet18", "--budget", "3", "--out", tmp_path / "out", *TINY)
        return refused(simpath("controller", "train", "--tasks", tmp_path / tasks, *words), 1)

    assert f"no folder {tmp_path / 'absent'}" in train("absent")
    (tmp_path / "empty").mkdir()
    assert "has no folder inside" in train("empty")
    task(tmp_path / "one" / "a")
    assert "1 task; a controller learns from two or more" in train("one")
    for name, kind in (("single", {"classes": 1}), ("few", {"images": 3})):
        task(tmp_path / name / "a")
        task(tmp_path / name / "b", **kind)
    assert "class" in train("single")
    assert "task b has 4 training images; a task vector needs 10 or more" in train("few")
    assert not (tmp_path / "out").exists()
    table(tmp_path / "recorded")
    for number in range(2):
        task(tmp_path / "two" / str(number))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "summary.json").write_text('{"config": {}}')
    assert "holds a controller of a recorded table; choose another directory" in train("two")


def test_tables_that_cannot_be_learnt_from_are_refused(simpath: Run, tmp_path: Path) -> None:
    def train(files: tuple[Path, Path]) -> str:
        words = (files[0], "--embeddings", files[1], "--out", tmp_path / "out")
        return refused(simpath("controller", "train", *words), 1)

    good, vectors = table(tmp_path / "good")
    assert "no such file" in train((tmp_path / "absent.csv", vectors))
    assert "no column 'reward'" in train(table(tmp_path / "x", header="task,background,materials,score"))
    assert "no column 'task'" in train(table(tmp_path / "y", header="name,background,materials,reward"))
    np.savez(tmp_path / "other.npz", e=np.ones(3))
    assert "lack task 'a'" in train((good, tmp_path / "other.npz"))
    np.savez(tmp_path / "uneven.npz", a=np.ones(3), b=np.ones(2), c=np.ones(3), d=np.ones(3))
    assert "b has 2 numbers, a has 3" in train((good, tmp_path / "uneven.npz"))
    assert not (tmp_path / "out").exists()


def test_replay_ends_with_one_json_line_and_refuses_unknown_names(simpath: Run, tmp_path: Path) -> None:
    files = table(tmp_path)
    words = ("controller", "replay", files[0], "--embeddings", files[1], "--seen", "a,b,c", "--methods")
    code, out, err = simpath(*words, "best_fixed,oracle", "--unseen", "d", "--json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert list(result["methods"]) == ["best_fixed", "oracle"]
    assert result["methods"]["best_fixed"]["unseen"]["mean"] == 53
    assert result["methods"]["oracle"]["unseen"]["mean"] == 63
    assert "unknown method 'magic'; allowed: random, all_off" in refused(simpath(*words, "magic", "--unseen", "d"), 1)
    assert "no method; allowed" in refused(simpath(*words, ",", "--unseen", "d"), 1)
    assert "unknown task 'z'" in refused(simpath(*words, "oracle", "--unseen", "z"), 1)


def test_exporting_from_what_is_no_run_is_refused(simpath: Run, tmp_path: Path) -> None:
    assert "no trials.csv" in refused(simpath("controller", "export-table", tmp_path, "--out", tmp_path / "t.csv"), 1)


def test_recommend_refuses_what_it_cannot_do(simpath: Run, tmp_path: Path) -> None:
    words = ("recommend", "--task", tmp_path / "t", "--probe", "random:resnet18", "--controller", tmp_path / "none")
    assert "holds no trained controller (simpath controller train makes one)" in refused(simpath(*words), 1)
    assert "--budget is -1; allowed: 0 or more" in refused(simpath(*words, "--budget", "-1"), 2)
    said = refused(simpath(*words, "--budget", "2", "--root", tmp_path), 2)
    assert "needs --task FOLDER; --root is for named tasks" in said


def test_a_table_is_learnt_and_answers_for_a_folder_only_with_vectors_of_the_same_length(
    simpath: Run, tmp_path: Path
) -> None:
    for length in (3, 9600):
        files = table(tmp_path / str(length), length=length)
        out = tmp_path / f"controller-{length}"
        code, printed, err = simpath(
            "controller", "train", *files[:1], "--embeddings", files[1], "--out", out, "--rounds", "2"
        )
        assert code == 0 and printed == f"controller  {out}\n", err
    folder = task(tmp_path / "mine")
    words = ("recommend", "--task", folder, "--probe", "random:resnet18", *TINY)
    code, printed, err = simpath(*words, "--controller", tmp_path / "controller-9600", "--out", tmp_path / "kept")
    assert code == 0, err
    kept = json.loads((tmp_path / "kept" / "recommendation.json").read_text())
    assert set(kept["params"]) == {"background", "materials"} and kept["evaluated"] == []
    assert printed.splitlines()[-1] == f"numbers  {tmp_path / 'kept' / 'recommendation.json'}"
    code, printed, err = simpath(*words, "--controller", tmp_path / "controller-3")
    assert code == 1 and not printed
    last = err.strip().splitlines()[-1]
    assert last.startswith("simpath: ") and "9600" in last and "3" in last
