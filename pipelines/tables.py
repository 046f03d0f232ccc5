"""Columns of a transfer table from folders on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipelines.artifact import METADATA
from pipelines.identity import IDENTITY
from transfer.finished import Finished, find_finished


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
