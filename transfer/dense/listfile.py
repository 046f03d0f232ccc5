"""List files: JSON that names the files of every scene of every part, as AdaShare's authors split their data.

{"train": [[IMAGE, LABEL, ...], ...], "test": [...], ...}; paths are relative to the list's folder, and null means that
a scene has no such label. No image is in two lists. train1 and train2, the scenes of train that are for the weights and
for the policy, may be left out together.
"""

from __future__ import annotations

import json
import os.path
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from transfer.dense.data import SceneSet, SceneSource, scene_set

Entry = tuple[str | None, ...]
"""Image and labels of one scene."""
POLICY_PARTS = ("train1", "train2")
"""Keys of the training scenes for weights and for the policy."""


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
    """The lists of a list file, checked: keys, columns, that every named file is there, and that lists share no image.

    Args:
        needed: lists that have to be there.
        columns: allowed numbers of files in a scene.

    Raises:
        FileNotFoundError: a file that the list names is missing.
        ValueError: no JSON, or of another form; an image twice; only one of train1 and train2, or one with an image
            that is not in train.
    """
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or any(not content.get(key) for key in needed):
        raise ValueError(f"{path} needs the keys {', '.join(needed)}, each with at least one scene")
    given = [key for key in POLICY_PARTS if key in content]
    if len(given) == 1:
        raise ValueError(f"{path} has {given[0]} alone; allowed: both of train1 and train2, or neither")
    lists = {key: _entries(path, key, content[key], columns) for key in (*needed, *given)}
    _require_apart(path, {key: lists[key] for key in needed})
    _require_apart(path, {key: lists[key] for key in given})
    trained = {entry[0] for entry in lists["train"]}
    for key in given:
        foreign = [entry[0] for entry in lists[key] if entry[0] not in trained]
        if foreign:
            raise ValueError(f"{path}: {foreign[0]} of {key} is not in train; allowed: scenes of train")
    return lists


def _entries(path: Path, key: str, value: Any, columns: tuple[int, ...]) -> list[Entry]:
    """The scenes of one list."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{path}: {key} is no list of scenes with at least one")
    for number, entry in enumerate(value):
        if not isinstance(entry, list) or len(entry) not in columns or not isinstance(entry[0], str):
            raise ValueError(f"{path}: scene {number} of {key} is no list of {' or '.join(map(str, columns))} files")
        for name in entry:
            if not isinstance(name, str | None):
                raise ValueError(
                    f"{path}: scene {number} of {key} names {name!r}; allowed: a file, or null for no label"
                )
            if name is not None and not (path.parent / name).is_file():
                raise FileNotFoundError(f"{path.parent / name}, which {path.name} names, is missing")
    return [tuple(entry) for entry in value]


def _require_apart(path: Path, lists: dict[str, list[Entry]]) -> None:
    """Refuse an image in two of these lists, or twice in one."""
    owners: dict[str, str] = {}
    for key, entries in lists.items():
        for entry in entries:
            image = os.path.normpath(str(entry[0]))
            if image in owners:
                raise ValueError(
                    f"{path}: {image} is in {owners[image]} and again in {key}; allowed: each image in one list, once"
                )
            owners[image] = key


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
