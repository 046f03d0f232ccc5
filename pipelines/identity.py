"""Whose results a directory holds: `identity.json`, written when an experiment starts, compared before another does.

The same experiment may go on: the same preset, configuration and tasks, with the same budget of settings or another. A
task is the same when its folder is where it was (a broken picture may have been mended since) or holds what it held (it
may have been moved).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.artifact import write_text
from pipelines.configs import to_json
from pipelines.experiment import ExperimentConfig, ExperimentTask
from pipelines.folders import digest_folder
from pipelines.summary import load_summary

IDENTITY = "identity.json"


def claim_directory(
    out: Path, name: str, config: ExperimentConfig, tasks: Sequence[ExperimentTask], *, cache: Path
) -> None:
    """Make `out` the directory of this experiment, or see that it is.

    Args:
        cache: of the digests of the tasks' folders (see `digest_folder`).

    Raises:
        ValueError: `out` holds another experiment (the first difference is named), the complete results of more
            settings than this budget, or a summary.json of something else.
    """
    known = _read(out)
    mine = _identity(name, config, tasks, cache)
    if known is not None:
        _require_same(out, known, mine)
        _require_budget(out, config)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / IDENTITY, json.dumps(mine, indent=1) + "\n")


def _identity(name: str, config: ExperimentConfig, tasks: Sequence[ExperimentTask], cache: Path) -> dict[str, Any]:
    plain = to_json(config)
    del plain["controller"]["budget"]
    listed: dict[str, Any] = {}
    for task in tasks:
        if task.folder is not None:
            listed[task.name] = {"folder": str(task.folder), "content": digest_folder(task.folder, cache)}
        else:
            listed[task.name] = to_json(task.source)
    return {"experiment": name, "tasks": listed, "config": plain}


def _read(out: Path) -> dict[str, Any] | None:
    path = out / IDENTITY
    if not path.exists():
        if (out / "summary.json").exists():
            raise ValueError(
                f"{out} holds a summary.json but no {IDENTITY}: it is not the directory of a run; choose another"
            )
        return None
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); choose another directory") from None
    if not isinstance(known, dict):
        raise ValueError(f"{path} is not of a run; choose another directory")
    return known


def _require_same(out: Path, known: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    there, here = dict(_flatten(known)), dict(_flatten(mine))
    for task in mine["tasks"]:
        folder, content = f"tasks.{task}.folder", f"tasks.{task}.content"
        if folder in there and (there[folder] == here.get(folder) or there.get(content) == here.get(content)):
            for field in (folder, content):
                there.pop(field, None)
                here.pop(field, None)
    for field in [*there, *here]:
        if there.get(field) != here.get(field):
            raise ValueError(
                f"{out} holds another experiment: {field} is {there.get(field, 'absent')!r} there and "
                f"{here.get(field, 'absent')!r} here; choose another directory"
            )


def _require_budget(out: Path, config: ExperimentConfig) -> None:
    """Fewer settings than asked for may lie there, or all of a smaller search; more would be lost from its tables."""
    if not (out / "summary.json").exists():
        return
    summary = load_summary(out)
    budget = config.controller.budget
    if summary.status == "complete" and budget is not None and budget < len(summary.settings):
        raise ValueError(
            f"{out} holds the results of {len(summary.settings)} settings; allowed: a budget of so many and more, not "
            f"{budget}, or another directory"
        )


def _flatten(record: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in record.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
