"""Transfer tables of a run, and of finished results on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.artifact import METADATA
from pipelines.identity import IDENTITY
from pipelines.results import CHOSEN
from transfer.finished import Finished, find_finished, read_finished
from transfer.table import build_table
from transfer.table_files import Grid, lay_out, write_tables


def find_columns(results: Sequence[str], method: str | None) -> dict[str, list[Finished]]:
    """Column -> results, in the order of the words `NAME=DIR` or `DIR`.

    Args:
        method: leave out results of other methods.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a folder without a result, or with those of a whole run; one folder twice.
    """
    columns: dict[str, list[Finished]] = {}
    for word in results:
        name, equals, text = word.partition("=")
        folder = Path(word) if not equals or Path(word).is_dir() else Path(text)
        column = name if folder == Path(text) and equals else folder.absolute().name
        if (folder / IDENTITY).is_file() and (folder / "trials.csv").is_file():
            raise ValueError(f"{folder} holds a whole run, whose table is {folder / 'transfer_table.md'}")
        found = [result for result in find_finished(folder) if method in (None, result.method)]
        # an artifact store is searched through by nobody: its results are of many settings
        found = [result for result in found if result.folder == folder or not (result.folder / METADATA).exists()]
        if not found:
            kind = "" if method is None else f" of {method}"
            raise ValueError(f"{folder} holds no finished result{kind} of `simpath evaluate --out`")
        known = {result.folder.resolve() for result in columns.get(column, ())}
        twice = [result.folder for result in found if result.folder.resolve() in known]
        if twice:
            raise ValueError(f"{twice[0]} stands twice in the column {column}")
        columns.setdefault(column, []).extend(found)
    return columns


def write_run_table(directories: Mapping[str, Mapping[str, Sequence[Path]]], out: Path, *, seed: int) -> Grid:
    """transfer_table.{csv,md,html} in `out`: with means by group, ranks, significance, metrics beside accuracy.

    Returns what they show, for the report.

    Args:
        directories: method -> task -> what `transfer.score.final` left, one for each backbone.
        seed: of the bootstrap.
    """
    results = {
        # a made task's folder has another name
        method: [
            dataclasses.replace(read_finished(path), task=task) for task, paths in by_task.items() for path in paths
        ]
        for method, by_task in directories.items()
    }
    table = build_table(results, against=CHOSEN, seed=seed)
    write_tables(table, out, stem="transfer_table")
    return lay_out(table)


def cached_imagenet(arch: str) -> Path | None:
    """torchvision's ImageNet weights in torch's hub cache, if they are there; nothing is downloaded."""
    from pretrain.checkpoint import imagenet_weights

    try:
        path, _ = imagenet_weights(arch)
    except ValueError:  # not one of torchvision's
        return None
    return path if path.is_file() else None
