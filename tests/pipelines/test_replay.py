"""Reward tables as files: what is read, what is refused, what comes out."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from controller.synthetic import make_table
from pipelines.replay import export_table, format_replay, read_table, replay_files
from sim.params import TASK2SIM_SPACE

FAST = ("random", "all_off", "all_on", "best_fixed", "nearest_task", "random_search_8", "few_shot_0", "oracle")


@pytest.fixture(scope="module")
def table():
    return make_table(3, num_tasks=7, latent=2)


@pytest.fixture
def files(table, tmp_path: Path) -> tuple[Path, Path]:
    rows = [
        {"task": task, **table.space.to_levels(tuple(action)), "reward": f"{reward:.17g}"}
        for task, row in zip(table.tasks, table.rewards, strict=True)
        for action, reward in zip(table.actions.tolist(), row, strict=True)
    ]
    write(tmp_path / "table.csv", rows)
    np.savez(tmp_path / "vectors.npz", **dict(zip(table.tasks, table.vectors, strict=True)))
    return tmp_path / "table.csv", tmp_path / "vectors.npz"


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def small(tmp_path: Path, rows: list[tuple[str, str, str, str]]) -> Path:
    path = tmp_path / "small.csv"
    path.write_text("task,fog,snow,reward\n" + "".join(",".join(row) + "\n" for row in rows))
    return path


GOOD = [
    (task, fog, snow, str(reward))
    for task, base in (("a", 1), ("b", 2), ("c", 3), ("d", 4))
    for reward, (fog, snow) in enumerate([("no", "0"), ("no", "10"), ("yes", "2"), ("thick", "0")], start=base)
]


def vectors(tmp_path: Path, **changes: np.ndarray) -> Path:
    path = tmp_path / "small.npz"
    given = {task: np.array([1.0, row, 0.0]) for row, task in enumerate("abcd")} | changes
    np.savez(path, **{task: vector for task, vector in given.items() if vector is not None})
    return path


def test_a_table_is_read_as_it_was_written(files, table) -> None:
    read = read_table(*files)
    assert read.space == TASK2SIM_SPACE
    assert read.tasks == table.tasks
    np.testing.assert_array_equal(read.rewards, table.rewards)
    np.testing.assert_array_equal(read.actions, table.actions)
    np.testing.assert_allclose(read.vectors, table.vectors, atol=1e-12)


def test_unknown_parameters_make_an_action_space_of_their_own(tmp_path: Path) -> None:
    read = read_table(small(tmp_path, GOOD), vectors(tmp_path))
    assert read.space.levels == (("fog", ("no", "thick", "yes")), ("snow", ("0", "2", "10")))
    assert read.rewards.shape == (4, 4)


def test_replay_reports_every_method_and_is_json(files, table) -> None:
    seen, unseen = table.tasks[:4], table.tasks[4:]
    result = replay_files(*files, seen=seen, unseen=unseen, seeds=2, methods=FAST)
    assert json.loads(json.dumps(result)) == result
    assert tuple(result["methods"]) == FAST
    for values in result["methods"].values():
        for split in ("seen", "unseen"):
            low, high = values[split]["ci95"]
            assert low <= values[split]["mean"] <= high
    rows = [table.tasks.index(task) for task in unseen]
    assert result["methods"]["oracle"]["unseen"]["mean"] == pytest.approx(table.rewards[rows].max(axis=1).mean())
    assert result["methods"]["random"]["unseen"]["mean"] == pytest.approx(table.rewards[rows].mean())
    assert result["methods"]["all_off"]["unseen"]["mean"] == pytest.approx(table.rewards[rows, 0].mean())
    assert result["methods"]["random_search_8"]["evaluations"] == 8
    text = format_replay(result)
    assert all(f"\n{name} " in text for name in FAST)


def test_an_incomplete_factorial_leaves_out_what_it_cannot_judge(tmp_path: Path) -> None:
    files = small(tmp_path, GOOD), vectors(tmp_path)
    result = replay_files(*files, seen=("a", "b", "c"), unseen=("d",), seeds=1)
    assert "all_on" in result["left_out"]
    assert result["methods"]["all_off"]["unseen"]["mean"] == 4.0
    assert result["methods"]["reinforce"]["seen"]["mean"] == pytest.approx(result["methods"]["oracle"]["seen"]["mean"])
    assert result["methods"]["tpe_8"]["unseen"] == result["methods"]["oracle"]["unseen"] | {"evaluations": 4.0}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*GOOD[:-1], ("d", "thick", "", "7")], r"line 17: snow is missing"),
        (GOOD[:-1], r"d has no row for fog=thick snow=0"),
        ([*GOOD, GOOD[4]], r"line 18: repeats task and setting of line 6"),
        ([*GOOD[:-1], ("d", "thick", "0", "nan")], r"line 17: reward is nan; it must be finite"),
        ([*GOOD[:-1], ("d", "thick", "0", "good")], r"line 17: reward 'good' is no number"),
        ([*GOOD[:-1], ("d", "thick", "0")], r"line 17: 3 cells, the header has 4"),
        ([], r"has a header and no rows"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(tmp_path: Path, rows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(small(tmp_path, rows), vectors(tmp_path))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d": None}, r"lack task 'd'; they have a, b, c"),
        ({"d": np.ones(2)}, r"d has 2 numbers, a has 3"),
        ({"d": np.array([1.0, np.nan, 0.0])}, r"d has shape \(3,\).*needed: one finite vector"),
        ({"d": np.zeros(3)}, r"d is all zero"),
        ({"d": np.array([{}], dtype=object)}, r"no pickle is read"),
    ],
)
def test_bad_embeddings_are_refused_by_name(tmp_path: Path, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_table(small(tmp_path, GOOD), vectors(tmp_path, **changes))


def test_files_that_are_something_else_are_refused(tmp_path: Path) -> None:
    table, good = small(tmp_path, GOOD), vectors(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(tmp_path / "absent.csv", good)
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_table(table, tmp_path / "absent.npz")
    with pytest.raises(ValueError, match=r"no \.npz file"):
        read_table(table, table)
    with pytest.raises(ValueError, match="no CSV in UTF-8"):
        read_table(good, good)
    (tmp_path / "x.csv").write_text("task,fog\na,b\n")
    with pytest.raises(ValueError, match="no column 'reward'"):
        read_table(tmp_path / "x.csv", good)


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"seen": ("a", "b", "z"), "unseen": ("d",)}, "unknown task 'z'"),
        ({"seen": ("a", "b", "c"), "unseen": ("c",)}, "named twice"),
        ({"seen": ("a", "b"), "unseen": ("c",)}, "needed: 3 or more seen"),
        ({"seen": ("a", "b", "c"), "unseen": ()}, "1 or more unseen"),
        ({"seen": ("a", "b", "c"), "unseen": ("d",), "methods": ("magic",)}, "unknown method 'magic'"),
        ({"seen": ("a", "b", "c"), "unseen": ("d",), "seeds": 0}, "seeds is 0"),
    ],
)
def test_a_bad_split_is_refused(tmp_path: Path, split, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replay_files(small(tmp_path, GOOD), vectors(tmp_path), **split)


def test_a_runs_rewards_become_a_table(tmp_path: Path) -> None:
    levels = [TASK2SIM_SPACE.to_levels((0,) * 8), TASK2SIM_SPACE.to_levels((1,) * 8)]
    rows = [
        {"order": str(k), "task": task, "origin": "asked", **level, "reward": str(50 + k)}
        for k, level in enumerate(levels)
        for task in ("digits", "lines")
    ]
    run = tmp_path / "run"
    run.mkdir()
    write(run / "trials.csv", rows[:-1])
    summary = export_table(run, tmp_path / "out.csv")
    assert summary == {
        "table": str(tmp_path / "out.csv"),
        "tasks": ["digits", "lines"],
        "settings": 1,
        "left_out": 1,
    }
    np.savez(tmp_path / "v.npz", digits=np.ones(2), lines=np.array([1.0, 2.0]))
    read = read_table(tmp_path / "out.csv", tmp_path / "v.npz")
    assert read.space == TASK2SIM_SPACE
    assert read.rewards.tolist() == [[50.0], [50.0]]
    with pytest.raises(FileNotFoundError, match=r"no trials\.csv"):
        export_table(tmp_path, tmp_path / "other.csv")
    assert not (tmp_path / "other.csv").exists()
