"""The stage `simpath multitask`: architectures and balancers on one data set, one table out.

Protocol: single-task networks are trained first; they are the reference of every improvement. Every architecture,
balancer and seed trains for the same number of iterations from random weights, with the same batches, and is tested
once with its last weights. AdaShare learns its policy first; of the binary policies drawn from it, all are trained, and
the one that improves most on the *validation* scenes is the row of the table (all of them are recorded).

Files left in `out`: identity.json (which experiment this is), split.json (which scenes are in which part),
runs/<row>/seed-<s>/ (see `rows.py`), table.csv, table.md, and summary.json, written last. A run that was interrupted
continues from its checkpoints.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfer.dense.config import MultitaskConfig

if TYPE_CHECKING:
    from transfer.dense.losses import DenseTask
    from transfer.dense.rows import Rows
    from transfer.dense.training import Tick

Progress = Callable[[int, int, str], None]


def train_multitask(
    config: MultitaskConfig,
    data: Path,
    *,
    out: Path,
    device: str = "cpu",
    jobs: int = 1,
    threads: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train and test every row of the table; returns the summary that it leaves in `out/summary.json`.

    Args:
        data: folder in the layout of `config.layout` (`rooms.py`, `readers.py`).
        out: receives the files; finished runs are found there.
        jobs: processes that train rows and seeds side by side.
        threads: torch's threads of each (default: leave as they are, or an equal part of the cores).

    Raises:
        ValueError: data in another layout, fewer training scenes than a batch, a part without labels, or `out` holds
            something else.
        FileNotFoundError: no data.
        TrainingDivergedError: the weights of a network are not finite.
        RuntimeError: one of several training processes was killed.
    """
    import torch

    from transfer.dense.checks import require_scenes
    from transfer.dense.data import split_record
    from transfer.dense.jobs import train_side_by_side
    from transfer.dense.readers import read_dense
    from transfer.dense.rows import Rows, plain, row_name, write_record

    if jobs < 1:
        raise ValueError(f"{jobs} jobs; allowed: 1 or more")
    if threads is not None:
        torch.set_num_threads(threads)
    began = time.monotonic()
    scenes = read_dense(config, data)
    identity = {"data": scenes.digest, "config": json.loads(json.dumps(asdict(config)))}
    done = _finished(out, identity)
    if done is not None:
        return done
    clock = _Clock(progress)
    rows = Rows(config, scenes, out=out / "runs", device=device, tick_of=clock.tick_of)
    require_scenes(config, scenes, rows.parts, rows.tasks)
    out.mkdir(parents=True, exist_ok=True)
    write_record(out / "identity.json", identity)
    write_record(out / "split.json", split_record(scenes, rows.parts))
    clock.total = rows.total_steps()
    if jobs > 1:
        share = threads or max(1, len(os.sched_getaffinity(0)) // jobs)
        train_side_by_side(
            config,
            data,
            out=out / "runs",
            device=device,
            jobs=jobs,
            threads=share,
            report=lambda run, note: clock.tick_of(run)(note),
        )
    results = {row_name(*pair): [rows.train(*pair, seed) for seed in config.seeds] for pair in config.runs}
    summary = {
        **identity,
        "data_set": scenes.name,
        "tasks": list(config.tasks),
        "classes": list(scenes.class_names),
        "n_train": len(scenes.train),
        "n_validation": len(scenes.val),
        "n_test": len(scenes.test),
        "seeds": list(config.seeds),
        **_table(config, rows, results, rows.tasks, out),
        "seconds": round(time.monotonic() - began, 1),
    }
    write_record(out / "summary.json", summary)
    finished: dict[str, Any] = plain(summary)
    return finished


def _table(
    config: MultitaskConfig,
    rows: Rows,
    results: dict[str, list[dict[str, Any]]],
    tasks: tuple[DenseTask, ...],
    out: Path,
) -> dict[str, Any]:
    """`rows` and `table` of the summary; leaves table.csv and table.md."""
    from safetensors.numpy import load_file

    from transfer.dense.rows import write_text
    from transfer.dense.table import Comparison, as_csv, as_markdown, header, table_rows

    tables = {
        row: [load_file(rows.folder(row, seed) / "statistics.safetensors") for seed in config.seeds] for row in results
    }
    comparison = Comparison(tables, tasks, seed=0)
    entries = []
    for row, runs in results.items():
        entry: dict[str, Any] = {
            "name": row,
            "metrics": comparison.metrics(row),
            "improvement": asdict(comparison.improvement(row)),
            # AdaShare's seeds run other blocks, so that cost differs
            "parameters": _means([run["parameters"] for run in runs]),
            "flops": _means([run["flops"] for run in runs]),
            "runs": runs,
        }
        if "hard" in results and row not in ("hard", "single_task"):
            entry["over_hard"] = asdict(comparison.difference(row, "hard"))
        entries.append(entry)
    names, lines = header(tasks), table_rows(entries, tasks)
    write_text(out / "table.csv", as_csv(names, lines))
    write_text(out / "table.md", as_markdown(names, lines))
    return {"rows": entries, "table": {"columns": names, "lines": lines}}


def _means(records: list[dict[str, float]]) -> dict[str, float]:
    """Mean over seeds of every entry."""
    return {name: statistics.fmean(record[name] for record in records) for name in records[0]}


class _Clock:
    """Counts training steps of all runs and reports them at most twice a second."""

    def __init__(self, progress: Progress | None) -> None:
        self.progress = progress
        self.done, self.total, self.last_report_s = 0, 0, -math.inf

    def tick_of(self, run: str) -> Tick:
        def tick(note: str) -> None:
            self.done += 1
            now = time.monotonic()
            if self.progress is not None and now - self.last_report_s > 0.5:
                self.last_report_s = now
                self.progress(self.done, max(self.total, self.done), f"{run}: {note}")

        return tick


def _finished(out: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """The summary of a finished experiment of the same identity, None if it did not finish.

    Raises:
        ValueError: `out` holds another experiment, or files of something else.
    """
    marker, summary = out / "identity.json", out / "summary.json"
    if not marker.exists():
        if summary.exists():
            raise ValueError(
                f"{out} holds a summary.json but no identity.json: it is not the directory of a multi-task run; "
                "choose another"
            )
        return None
    known = _read_object(marker)
    different = [key for key, value in identity.items() if known.get(key) != value]
    if different:
        raise ValueError(f"{out} holds an experiment of another {' and '.join(different)}; choose another directory")
    return _read_object(summary) if summary.exists() else None


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object that an experiment left."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); choose another directory") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not of a multi-task run; choose another directory")
    return content
