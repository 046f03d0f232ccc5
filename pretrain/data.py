"""A data set directory as an array of samples that can be read in any order.

In: `index.json` and the tars that it names. Out: a `ShardSet` with one row per sample (which file, where, how long,
which class), after every shard has been read once from end to end and compared with its sha256. Random access by
position makes the epoch's order, the batches of every rank and a resume plain arithmetic; see `pretrain.order`.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Progress = Callable[[int, int, str], None]
OnBadShard = Literal["stop", "skip"]

INDEX_NAME = "index.json"
IMAGE_FIELDS = frozenset({"jpg", "jpeg", "png", "webp"})
"""Members that are decoded as images. Besides these only `.cls` is read; others are left alone (webdataset would
unpickle a `.pyd`)."""

OPEN_FILES = 256
"""Shard files that one process keeps open; the usual limit of a process is 1,024."""


class ShardError(ValueError):
    """A shard that is missing, altered, truncated or not what the index says; the message starts with its name."""


@dataclass(frozen=True)
class ShardRow:
    """One line of `index.json`."""

    name: str
    num_samples: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """What `index.json` says, checked for form only."""

    location: str
    rows: tuple[ShardRow, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class ShardSet:
    """Every usable sample of a data set, in index order; row i of each array belongs to sample i."""

    location: str
    names: tuple[str, ...]
    """Shards that are used, in index order."""
    paths: tuple[str, ...]
    """Local file of each shard."""
    classes: tuple[str, ...]
    shard: NDArray[np.int32]  # (N,) row in `paths`
    offset: NDArray[np.int64]  # (N,) first byte of the encoded image inside the file
    length: NDArray[np.int64]  # (N,) bytes
    label: NDArray[np.int64]  # (N,) row in `classes`
    keys: NDArray[np.bytes_]  # (N,)
    digest: str
    """`data_digest` of the used shards."""
    skipped: tuple[str, ...]
    """Shards that were left out (`on_bad_shard="skip"` or `leave_out`), each as `name: reason`."""

    def __len__(self) -> int:
        return len(self.label)

    @property
    def skipped_names(self) -> list[str]:
        return [reason.partition(":")[0] for reason in self.skipped]

    def describe(self, index: int) -> str:
        """`shard-000000.tar: 00000007`, for messages."""
        return f"{self.names[self.shard[index]]}: {self.keys[index].decode()}"


def read_index(text: str, location: str) -> ShardIndex:
    """Parses `index.json`.

    Raises:
        ValueError: not an index, a value of another type, no shard, a shard name that is not a plain relative path,
            or a repeated name.
    """
    where = f"{location}/{INDEX_NAME}"
    try:
        index = json.loads(text)
        rows = tuple(
            ShardRow(_value(row, "name", str), _value(row, "images", int), _value(row, "sha256", str))
            for row in _value(index, "shards", list)
        )
        classes = tuple(_value(index, "classes", list))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{where} is not a data set index: {type(error).__name__}: {error}") from None
    if not rows:
        raise ValueError(f"{where} names no shard")
    if not all(isinstance(name, str) for name in classes) or len(set(classes)) != len(classes) or not classes:
        raise ValueError(f"{where}: classes must be distinct texts and at least one, got {list(classes)}")
    for row in rows:
        _check_plain(row.name, where)
    if len({row.name for row in rows}) != len(rows):
        raise ValueError(f"{where} names a shard twice")
    return ShardIndex(location, rows, classes)


def load_index(directory: Path, location: str | None = None) -> ShardIndex:
    """`read_index` of a local directory. Raises FileNotFoundError when there is none."""
    path = directory / INDEX_NAME
    location = location or str(directory)
    if not path.is_file():
        raise FileNotFoundError(f"{location}: no {INDEX_NAME} (not a finished data set directory)")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{location}/{INDEX_NAME} is not a data set index: {error}") from None
    return read_index(text, location)


def _value(found: Any, name: str, kind: type) -> Any:
    """`found[name]`, which JSON may hold in any type."""
    if type(found[name]) is not kind:
        raise TypeError(f"{name} is {found[name]!r:.60}; allowed: {kind.__name__}")
    return found[name]


def data_digest(rows: Iterable[ShardRow], classes: tuple[str, ...]) -> str:
    """sha256 over the names and sha256s of the used shards and the classes."""
    return hashlib.sha256(json.dumps([[[row.name, row.sha256] for row in rows], classes]).encode()).hexdigest()


def _check_plain(name: str, where: str) -> None:
    """webdataset would run `pipe:` names as shell commands and open URLs; here a shard is a file beside its index."""
    path = PurePosixPath(name)
    if not name or ":" in name or "\\" in name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{where}: shard name {name!r} is not a plain relative path")


def open_shards(
    directory: Path,
    *,
    on_bad_shard: OnBadShard = "stop",
    leave_out: Collection[str] = (),
    location: str | None = None,
    threads: int = 1,
    progress: Progress | None = None,
) -> ShardSet:
    """Reads every shard once: sha256, sample count, labels, and where each image lies.

    Args:
        directory: local data set directory (remote ones are fetched first, see `pretrain.remote`).
        on_bad_shard: `stop` raises at the first bad shard, `skip` leaves it out and lists it in `ShardSet.skipped`.
        leave_out: names of shards that an earlier start of the run did without; also listed, but not looked at.
        location: how messages call the data set, if not by the directory.
        threads: shards hashed at a time.
        progress: called with (shards read, shards, note).

    Raises:
        FileNotFoundError: no index.json.
        ShardError: a bad shard (`stop`), or no good one.
    """
    location = location or str(directory)
    index = load_index(directory, location)
    rows = [row for row in index.rows if row.name not in leave_out]
    used: list[ShardRow] = []
    scans: list[_Scan] = []
    skipped = [f"{row.name}: the run was begun without it" for row in index.rows if row.name in leave_out]
    with concurrent.futures.ThreadPoolExecutor(max(1, threads)) as pool:
        jobs = [pool.submit(_scan, directory, row, len(index.classes)) for row in rows]
        try:
            for number, (row, job) in enumerate(zip(rows, jobs, strict=True), 1):
                try:
                    scan = job.result()
                except ShardError as error:
                    if on_bad_shard == "stop":
                        raise
                    skipped.append(str(error))
                else:
                    used.append(row)
                    scans.append(scan)
                if progress:
                    progress(number, len(rows), "checking shards")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    if not used:
        raise ShardError(f"{location}: none of the {len(index.rows)} shards can be used; first: {skipped[0]}")
    return ShardSet(
        location=location,
        names=tuple(row.name for row in used),
        paths=tuple(str(directory / row.name) for row in used),
        classes=index.classes,
        shard=np.repeat(np.arange(len(used), dtype=np.int32), [len(scan.label) for scan in scans]),
        offset=np.array([x for scan in scans for x in scan.offset], dtype=np.int64),
        length=np.array([x for scan in scans for x in scan.length], dtype=np.int64),
        label=np.array([x for scan in scans for x in scan.label], dtype=np.int64),
        keys=np.array([x for scan in scans for x in scan.keys], dtype=np.bytes_),
        digest=data_digest(used, index.classes),
        skipped=tuple(skipped),
    )


@dataclass(frozen=True)
class _Scan:
    offset: list[int]
    length: list[int]
    label: list[int]
    keys: list[bytes]


def _scan(directory: Path, row: ShardRow, num_classes: int) -> _Scan:
    try:
        content = (directory / row.name).read_bytes()
    except FileNotFoundError:
        raise ShardError(f"{row.name}: {INDEX_NAME} of {directory} names it, but there is no such file") from None
    except OSError as error:
        raise ShardError(f"{row.name}: cannot be read: {error.strerror}") from None
    found = hashlib.sha256(content).hexdigest()
    if found != row.sha256:
        raise ShardError(f"{row.name}: sha256 is {found[:12]}…, {INDEX_NAME} says {row.sha256[:12]}…")
    return scan_tar(content, row.name, row.num_samples, num_classes)


def scan_tar(content: bytes, name: str, num_samples: int, num_classes: int) -> _Scan:
    """Finds image, label and key of every sample in one tar; members that share the name before the dot are one.

    Raises:
        ShardError: not a tar, a sample without image or label, a label outside the classes, another number of samples.
    """
    samples: dict[str, dict[str, tuple[int, int]]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as tar:
            for member in tar:
                key, dot, field = member.name.rpartition("/")[2].partition(".")
                if member.isreg() and dot:
                    samples.setdefault(key, {})[field] = (member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ShardError(f"{name}: not a readable tar: {error}") from None
    scan = _Scan([], [], [], [])
    for key, fields in samples.items():
        images = sorted(IMAGE_FIELDS & fields.keys())
        if len(images) != 1:
            raise ShardError(f"{name}: sample {key} needs one image, it has {sorted(fields)}")
        if "cls" not in fields:
            raise ShardError(f"{name}: sample {key} has no label (.cls)")
        start, size = fields["cls"]
        scan.label.append(_label(content[start : start + size], name, key, num_classes))
        start, size = fields[images[0]]
        scan.offset.append(start)
        scan.length.append(size)
        scan.keys.append(key.encode())
    if len(scan.keys) != num_samples:
        raise ShardError(f"{name}: holds {len(scan.keys)} samples, {INDEX_NAME} says {num_samples}")
    return scan


def _label(text: bytes, name: str, key: str, num_classes: int) -> int:
    try:
        label = int(text)
    except ValueError:
        raise ShardError(f"{name}: sample {key} has the label {text[:20]!r}, which is no number") from None
    if not 0 <= label < num_classes:
        raise ShardError(f"{name}: sample {key} has the label {label}, the data set has {num_classes} classes")
    return label


class SampleReader:
    """Reads the encoded image of a sample; opens files on first use, so that every process has its own."""

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        self._files: dict[int, int] = {}

    def read(self, index: int) -> bytearray:
        """The bytes of one image, writable so that torch wraps them without a copy."""
        shards = self._shards
        row = int(shards.shard[index])
        file = self._files.get(row)
        if file is None:
            if len(self._files) >= OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            file = self._files[row] = os.open(shards.paths[row], os.O_RDONLY | os.O_CLOEXEC)
        content = bytearray(int(shards.length[index]))
        if os.preadv(file, [content], int(shards.offset[index])) != len(content):
            raise ShardError(f"{shards.describe(index)}: the shard became shorter while it was in use")
        return content

    def close(self) -> None:
        for file in self._files.values():
            os.close(file)
        self._files.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {"_shards": self._shards, "_files": {}}
