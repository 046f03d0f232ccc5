"""Reward tables as files: TABLE.csv and FILE.npz in, every method's results out; a run's rewards as such a table.

TABLE.csv: UTF-8 with a header; the columns `task`, one per parameter (text values) and `reward` (a number, larger is
better), in any order; one row per task and setting, and every task has every setting. Parameters that `SimParams`
names keep its order of levels (the first is off); any other column makes an action space of its own, its levels sorted
(as numbers where all are), the first counting as off and the last as on.

FILE.npz: numpy's format without pickles, one vector per task under the task's name, all of one length; vectors of
further tasks are ignored. They are L2-normalised on reading.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from controller.replay import METHODS, replay
from controller.rewards import RewardTable
from controller.trials import Action, FloatArray
from pipelines.artifact import write_text
from sim.params import ActionSpace, parameter_levels

Progress = Callable[[int, int, str], None]


def replay_files(
    table: Path,
    embeddings: Path,
    *,
    seen: Sequence[str],
    unseen: Sequence[str],
    seeds: int = 5,
    methods: Sequence[str] = METHODS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """`controller.replay.replay` on files; returns its result with the file names added.

    Args:
        seeds: number of seeds, from 0.

    Raises:
        FileNotFoundError: a file does not exist.
        ValueError: bad table, embeddings, split or method; one line that names the file and the place.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds}; allowed: 1 or more")
    rewards = read_table(table, embeddings)
    with threadpool_limits(1):  # arrays are small: a second BLAS thread is only waited for
        result = replay(rewards, seen, unseen, seeds=range(seeds), names=methods, progress=progress)
    return {"table": str(table), "embeddings": str(embeddings), **result}


def format_replay(result: Mapping[str, Any]) -> str:
    """The result as text: one line per method."""
    head = f"{'':18}{'seen tasks':>34}   {'unseen tasks':>34}"
    columns = f"{'reward':>8} {'95 % interval':>17} {'gain':>7}"
    lines = [head, f"{'method':18}{columns}   {columns}   {'asked':>6} {'differ':>6}"]
    for name, values in result["methods"].items():
        cells = []
        for split in ("seen", "unseen"):
            one = values[split]
            low, high = one["ci95"]
            cells.append(f"{one['mean']:8.2f} {f'{low:.2f} to {high:.2f}':>17} {100 * one['share']:6.1f}%")
        asked, differ = values["evaluations"], values["unseen"]["hamming"]
        lines.append(f"{name:18}{cells[0]}   {cells[1]}   {asked:6.1f} {differ:6.2f}")
    lines += [f"{name}: left out, {why}" for name, why in result["left_out"].items()]
    lines.append(
        f"{len(result['seen'])} seen and {len(result['unseen'])} unseen tasks, {result['settings']} settings, "
        f"{result['seeds']} seeds. gain: share of the oracle's gain over random; asked: evaluations per task; "
        "differ: parameters in which two unseen tasks' choices differ, on average."
    )
    return "\n".join(lines)


def read_table(path: Path, embeddings: Path) -> RewardTable:
    """A TABLE.csv and the vectors of its tasks; see the module for the formats and `replay_files` for the errors."""
    rows = read_rows(path)
    parameters = tuple(name for name in rows[0][1] if name not in ("task", "reward"))
    space = ActionSpace(tuple((name, levels_of(name, {row[name] for _, row in rows})) for name in parameters))
    known: dict[tuple[str, Action], tuple[int, float]] = {}
    for line, row in rows:
        pair = row["task"], space.from_levels({name: row[name] for name in parameters})
        if pair in known:
            raise ValueError(f"{path} line {line}: repeats task and setting of line {known[pair][0]}")
        known[pair] = line, reward_of(path, line, row["reward"])
    tasks = tuple(dict.fromkeys(task for task, _ in known))
    actions = tuple(dict.fromkeys(action for _, action in known))
    for task in tasks:
        for action in actions:
            if (task, action) not in known:
                setting = " ".join(f"{name}={value}" for name, value in space.to_levels(action).items())
                raise ValueError(f"{path}: {task} has no row for {setting}; every task needs every setting")
    rewards = np.array([[known[task, action][1] for action in actions] for task in tasks])
    vectors = read_embeddings(embeddings, tasks)
    return RewardTable(tasks, space, np.array(actions, np.int64), rewards, vectors)


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a CSV without empty cells."""
    if not path.is_file():
        raise FileNotFoundError(f"reward table {path}: no such file")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [(reader.line_num, line) for reader in [csv.reader(file)] for line in reader if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"reward table {path} is no CSV in UTF-8: {error}") from None
    if not lines:
        raise ValueError(f"reward table {path} is empty")
    header = [name.strip() for name in lines[0][1]]
    for needed in ("task", "reward"):
        if needed not in header:
            raise ValueError(f"reward table {path} has no column {needed!r}; it has {', '.join(header)}")
    if len(set(header)) != len(header) or "" in header:
        raise ValueError(f"reward table {path} has a repeated or nameless column: {', '.join(header)}")
    if len(header) < 3:
        raise ValueError(f"reward table {path} has no parameter column beside task and reward")
    rows = []
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise ValueError(f"{path} line {number}: {len(line)} cells, the header has {len(header)}")
        row = {name: value.strip() for name, value in zip(header, line, strict=True)}
        for name, value in row.items():
            if not value:
                raise ValueError(f"{path} line {number}: {name} is missing")
        rows.append((number, row))
    if not rows:
        raise ValueError(f"reward table {path} has a header and no rows")
    return rows


def reward_of(path: Path, line: int, text: str) -> float:
    try:
        reward = float(text)
    except ValueError:
        raise ValueError(f"{path} line {line}: reward {text!r} is no number") from None
    if not np.isfinite(reward):
        raise ValueError(f"{path} line {line}: reward is {text}; it must be finite")
    return reward


def levels_of(name: str, present: set[str]) -> tuple[str, ...]:
    """The levels of a parameter: those of SimParams if it is one of its and has no other values, else sorted ones."""
    ours = parameter_levels().get(name, ())
    if present <= set(ours):
        # Levels appended to SimParams later count only where a table uses them.
        return ours[: max(2, 1 + max(ours.index(value) for value in present))]
    try:
        return tuple(sorted(present, key=float))
    except ValueError:
        return tuple(sorted(present))


def read_embeddings(path: Path, tasks: Sequence[str]) -> FloatArray:
    """Unit vectors of these tasks (T, D) from an .npz file."""
    if not path.is_file():
        raise FileNotFoundError(f"embeddings {path}: no such file")
    try:
        with np.load(path, allow_pickle=False) as file:
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError(f"embeddings {path} hold one array; needed: an .npz with one vector per task")
            if missing := [task for task in tasks if task not in file.files]:
                raise ValueError(f"embeddings {path} lack task {missing[0]!r}; they have {', '.join(file.files)}")
            vectors = {task: np.asarray(file[task]) for task in tasks}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"embeddings {path} are no .npz file: {error}") from None
    except ValueError as error:
        if "pickle" in str(error):
            raise ValueError(f"embeddings {path} are no .npz file of plain arrays (no pickle is read)") from None
        raise
    for task, vector in vectors.items():
        if vector.ndim != 1 or vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
            raise ValueError(
                f"embeddings {path}: {task} has shape {vector.shape} and type {vector.dtype}; needed: one finite vector"
            )
        if len(vector) != len(vectors[tasks[0]]):
            raise ValueError(
                f"embeddings {path}: {task} has {len(vector)} numbers, {tasks[0]} has {len(vectors[tasks[0]])}"
            )
        if not vector.any():
            raise ValueError(f"embeddings {path}: {task} is all zero")
    table = np.stack([vectors[task].astype(np.float64) for task in tasks])
    out: FloatArray = table / np.linalg.norm(table, axis=1, keepdims=True)
    return out


def export_table(run: Path, out: Path) -> dict[str, Any]:
    """The rewards that a run left in RUN/trials.csv as a TABLE.csv; settings that a task lacks are left out.

    Returns:
        {"table", "tasks", "settings", "left_out"}: names, counts and the number of incomplete settings.

    Raises:
        FileNotFoundError: the run has no trials yet.
        ValueError: no setting was evaluated for every task.
    """
    source = run / "trials.csv"
    if not source.is_file():
        raise FileNotFoundError(f"{run} has no trials.csv; is it the directory of a run that has evaluated settings?")
    rows = [row for _, row in read_rows(source)]
    parameters = [name for name in parameter_levels() if name in rows[0]]
    if not parameters:
        raise ValueError(f"{source} names no simulation parameter")
    rewards = {(row["task"], tuple(row[name] for name in parameters)): row["reward"] for row in rows}
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    settings = list(dict.fromkeys(setting for _, setting in rewards))
    complete = [setting for setting in settings if all((task, setting) in rewards for task in tasks)]
    if not complete:
        raise ValueError(f"{source} has no setting that was evaluated for every task")
    write_table(out, parameters, [(task, *setting, rewards[task, setting]) for task in tasks for setting in complete])
    return {
        "table": str(out),
        "tasks": tasks,
        "settings": len(complete),
        "left_out": len(settings) - len(complete),
    }


def write_table(out: Path, parameters: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A TABLE.csv from rows of task, levels and reward, replaced as a whole."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["task", *parameters, "reward"])
    writer.writerows(rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text.getvalue())
