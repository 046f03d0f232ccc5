"""Files that are complete or not there: temporary name, flush to disk, rename."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def to_json(record: Mapping[str, Any]) -> bytes:
    return (json.dumps(record, indent=1, ensure_ascii=False) + "\n").encode()


def write_atomically(path: Path, data: bytes) -> None:
    """Temporary name in the same directory, flush to disk, rename. Raises OSError; a full disk is named with `path`."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with naming_full_disk(path, f"{path.name} could not be written"), temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def naming_full_disk(path: Path, what: str) -> Iterator[None]:
    """Turn the error of a full disk into one that says what could not be done, and at which path."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(error.errno, f"the disk is full: {what}", str(path)) from error
