"""Digests of files and folders that the user gives, through an index of sha256s so that a second look is cheap."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from pipelines.artifact import file_sha256, write_text
from pipelines.configs import json_digest

# A file that changed this recently may change again within one tick of the file system's clock, unseen by
# its mtime: it is hashed again next time.
_RACY_NS = 2_000_000_000


def digest_folder(path: str | Path, cache: str | Path | None = None) -> str:
    """sha256 over the names and contents of all files under `path` (or of one file).

    Pipes, sockets, devices and links to nothing are left out: no reader opens them, and their reading may never end.

    `cache`: a directory for the index; a file whose size and mtime_ns are those of the index is not read
    again. Raises FileNotFoundError if there is nothing at `path` and ValueError for a folder without files.
    """
    root = Path(path).absolute()
    if not root.exists():
        raise FileNotFoundError(f"{path} does not exist")
    index_path = None
    if cache is not None:
        name = hashlib.sha256(os.fsencode(root)).hexdigest()[:32]
        index_path = Path(cache) / f"{name}.json"
    known = _read_index(index_path)
    index: dict[str, list[object]] = {}
    digests: list[list[str]] = []
    fresh = time.time_ns() - _RACY_NS
    for relative, file in _files(root):
        status = file.stat()
        entry = known.get(relative)
        if entry is None or entry[:2] != [status.st_size, status.st_mtime_ns]:
            entry = [status.st_size, status.st_mtime_ns, file_sha256(file)]
        if status.st_mtime_ns < fresh:
            index[relative] = entry
        digests.append([relative, str(entry[2])])
    if not digests:
        raise ValueError(f"{path} holds no file")
    if index_path is not None and index != known:
        index_path.parent.mkdir(parents=True, exist_ok=True)
        write_text(index_path, json.dumps(index))
    return json_digest(digests)


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    """(name relative to root, path) of regular files, sorted; links are followed, a loop of them is an error."""
    if root.is_file():
        yield ".", root
        return
    seen: set[tuple[int, int]] = set()
    found: list[tuple[str, Path]] = []
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            raise ValueError(f"{folder} is reached twice through a link")
        seen.add((status.st_dev, status.st_ino))
        subfolders.sort()
        files = [path for path in (Path(folder) / name for name in names) if path.is_file()]
        found += [(str(path.relative_to(root)), path) for path in files]
    yield from sorted(found)


def _read_index(path: Path | None) -> dict[str, list[object]]:
    if path is None or not path.exists():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return {}  # a cache only: an unreadable index is made anew
    return index if isinstance(index, dict) else {}
