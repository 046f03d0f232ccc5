"""List files: JSON that names the files of every scene of every part, as AdaShare's authors split their data.

{"train": [[IMAGE, LABEL, ...], ...], "test": [...], ...}; paths are relative to the list's folder, and null means that
a scene has no such label. The lists train1 and train2, for weights and for the policy, may be left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.dense.data import SceneSet, SceneSource, scene_set

Entry = tuple[str | None, ...]
"""Image and labels of one scene."""


def find_list_file(root: Path, name: str | None) -> Path | None:
    """The list file of this name, or the only one of the folder; none if there is none.

    Raises:
        ValueError: no list file of this name, or several without a choice.
    """
    found = sorted(path.name for path in root.glob("*.json"))
    if name is not None and name not in found:
        raise ValueError(f"list_file is {name}; allowed in {root}: {', '.join(found) or 'none, it has no *.json'}")
    if name is None and len(found) > 1:
        raise ValueError(f"{root} has {len(found)} list files; choose with --list-file: {', '.join(found)}")
    return root / (name or found[0]) if found else None


def read_list_file(path: Path, needed: Sequence[str], *, columns: tuple[int, ...]) -> dict[str, list[Entry]]:
    """The lists of a list file, checked: keys, columns, and that every named file is there.

    Args:
        needed: lists that have to be there.
        columns: allowed numbers of files in a scene.

    Raises:
        FileNotFoundError: a file that the list names is missing.
        ValueError: no JSON, or of another form.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or any(not content.get(key) for key in needed):
        raise ValueError(f"{path} needs the keys {', '.join(needed)}, each with at least one scene")
    lists: dict[str, list[Entry]] = {}
    for key in (*needed, "train1", "train2"):
        if not content.get(key):
            continue
        for number, entry in enumerate(content[key]):
            if not isinstance(entry, list) or len(entry) not in columns or not isinstance(entry[0], str):
                raise ValueError(
                    f"{path}: scene {number} of {key} is no list of {' or '.join(map(str, columns))} files"
                )
            for name in entry:
                if name is not None and not (path.parent / name).is_file():
                    raise FileNotFoundError(f"{path.parent / name}, which {path.name} names, is missing")
        lists[key] = [tuple(entry) for entry in content[key]]
    return lists


def all_entries(lists: dict[str, list[Entry]]) -> tuple[Entry, ...]:
    """Of all lists, in the order of the keys; `sets_of_lists` expects a source with these rows."""
    return tuple(entry for entries in lists.values() for entry in entries)


def sets_of_lists(source: SceneSource, lists: dict[str, list[Entry]]) -> dict[str, SceneSet]:
    """One SceneSet per list."""
    whole = scene_set(source, [str(entry[0]) for entry in all_entries(lists)])
    sets, start = {}, 0
    for key, entries in lists.items():
        sets[key] = whole.select(np.arange(start, start + len(entries)))
        start += len(entries)
    return sets


def named_files(entries: Sequence[Entry]) -> list[str]:
    """All files of these scenes."""
    return [name for entry in entries for name in entry if name is not None]
