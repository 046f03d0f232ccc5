"""A digest of a task's pictures, so that features of edited images are not taken for those of the images of now.

`Task.digest` covers names, labels and split only. Here the bytes are read: neither a file's place nor its time enters,
for the digest stands in results that are the same on every machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from transfer.data import FileSource, ImageSource, RangeSource, Task


def content_digest(task: Task) -> str | None:
    """sha256 over the files that hold the task's images; None for a data set that is read as arrays, which its name
    and its index stand for."""
    digest = hashlib.sha256()
    found = False
    for images in (task.train, task.val, task.test):
        for path in () if images is None else _files(images.source, images.rows.tolist()):
            found = True
            digest.update(_file_sha256(path))
    return digest.hexdigest() if found else None


def _files(source: ImageSource, rows: list[int]) -> list[Path]:
    """The files of these rows, in their order; one that holds several rows once."""
    if isinstance(source, FileSource):
        return [source.root / source.names[row] for row in rows]
    if isinstance(source, RangeSource):
        return list(dict.fromkeys(source.ranges[row][0] for row in rows))
    return []


def _file_sha256(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        # reading the image will say what is wrong with it; here it only must not look like one that can be read
        return b"unreadable"
