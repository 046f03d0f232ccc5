"""A shard in the making: finished samples are appended to a journal, so that a killed run loses none of them.

A record is (CRC-32, length of the head, length of the body), a JSON head, and the members' bytes one after another.
The first record describes the shard. A torn or damaged tail is cut off when the journal is opened again.
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

RECORD = struct.Struct("<III")


class ShardBusy(RuntimeError):
    """Another process is writing this shard."""


class Journal:
    """Append-only file of samples, locked against other processes while open. Use as a context manager.

    Args:
        path: the journal; created when missing.
        description: what the samples belong to; a journal with another description is started afresh.
    """

    def __init__(self, path: Path, description: Mapping[str, Any]) -> None:
        self._path = path
        self._places: dict[int, tuple[int, dict[str, int]]] = {}
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise ShardBusy(f"{path.stem} is being rendered by another process") from None
        self._read_back(json.loads(json.dumps(description)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __contains__(self, index: int) -> bool:
        return index in self._places

    def __len__(self) -> int:
        return len(self._places)

    def append(self, index: int, members: Mapping[str, bytes]) -> None:
        """Add the sample `index`; members by file suffix."""
        sizes = {suffix: len(data) for suffix, data in members.items()}
        start = self._append({"index": index, "sizes": sizes}, b"".join(members.values()))
        self._places[index] = (start, sizes)

    def read(self, index: int) -> dict[str, bytes]:
        """The members of sample `index`. Raises KeyError when it is not there."""
        start, sizes = self._places[index]
        self._file.seek(start)
        return {suffix: self._file.read(size) for suffix, size in sizes.items()}

    def remove(self) -> None:
        """Delete the file; the shard is complete."""
        self._path.unlink()

    def _append(self, head: Mapping[str, Any], body: bytes) -> int:
        text = json.dumps(head).encode()
        self._file.seek(0, os.SEEK_END)
        record = RECORD.pack(zlib.crc32(body, zlib.crc32(text)), len(text), len(body)) + text + body
        self._file.write(record)
        self._file.flush()
        return self._file.tell() - len(body)

    def _read_back(self, description: Mapping[str, Any]) -> None:
        self._file.seek(0)
        good, first = 0, True
        while (record := self._next()) is not None:
            head, body_start, body_length = record
            if first and head != description:
                break
            if not first:
                self._places[head["index"]] = (body_start, head["sizes"])
            good, first = body_start + body_length, False
        self._file.truncate(good)
        if good == 0:
            self._append(description, b"")

    def _next(self) -> tuple[Any, int, int] | None:
        fixed = self._file.read(RECORD.size)
        if len(fixed) < RECORD.size:
            return None
        checksum, text_length, body_length = RECORD.unpack(fixed)
        text, body_start = self._file.read(text_length), self._file.tell()
        body = self._file.read(body_length)
        if len(body) < body_length or zlib.crc32(body, zlib.crc32(text)) != checksum:
            return None
        return json.loads(text), body_start, body_length


def move_journal(source: Path, target: Path) -> None:
    """Put a journal that nobody writes where the shard is gone on with, on the same file system.

    Raises ShardBusy.
    """
    with source.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ShardBusy(f"{source.stem} is being rendered by another process") from None
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
