"""Data sets behind http(s):// or s3:// addresses: fetched once into a local directory, then read like any other.

Random access needs the shards on a local disk; one sequential download is also what object stores are good at. A shard
gets its final name only when its sha256 is the index's, and is compared again before it is used from the cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pretrain.checkpoint import write_atomic
from pretrain.data import INDEX_NAME, OnBadShard, Progress, ShardError, ShardIndex, ShardRow, load_index, read_index

CHUNK_BYTES = 1 << 20
DOWNLOADS = 4
"""Shards fetched at a time."""
SILENCE_S = 60.0
"""A server that sends nothing for so long is given up. There is no limit for a whole shard (aiohttp's own is 300 s)."""


def is_remote(location: str) -> bool:
    return "://" in location


def index_at(location: str) -> ShardIndex:
    """The index of a data set, local or not, without its shards.

    Raises:
        FileNotFoundError, ValueError, OSError: no index, or none that can be read.
    """
    if not is_remote(location):
        return load_index(Path(location))
    return read_index(_fetch_index(*_open_system(location), location), location)


def fetch_shards(
    location: str,
    cache: Path,
    *,
    on_bad_shard: OnBadShard = "stop",
    leave_out: Collection[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Downloads what `cache` lacks of the data set at `location`; returns the local data set directory.

    The directory is named after the index's content, so that a data set that changed is another one. A shard that was
    damaged since is fetched again. With `on_bad_shard="skip"` a shard that cannot be fetched stays away, which
    `open_shards` then counts; those of `leave_out` are not asked for. One process at a time fills a directory.

    Raises:
        FileNotFoundError: no index at the address.
        ShardError: a shard that is missing or has another sha256 (`stop`).
        ValueError: an address of an unknown kind.
    """
    system, root = _open_system(location)
    text = _fetch_index(system, root, location)
    index = read_index(text, location)
    rows = [row for row in index.rows if row.name not in leave_out]
    directory = cache / hashlib.sha256(text.encode()).hexdigest()[:16]
    directory.mkdir(parents=True, exist_ok=True)

    def fetch(row: ShardRow) -> None:
        if _is_intact(directory / row.name, row):
            return
        try:
            write_atomic(directory / row.name, lambda path: _download(system, f"{root}/{row.name}", path, row))
        except ShardError:
            if on_bad_shard == "stop":
                raise

    with _locked(directory.with_suffix(".lock")), ThreadPoolExecutor(DOWNLOADS) as pool:
        for half in directory.rglob(".*.tmp"):  # of a process that was killed: a living one would hold the lock
            half.unlink()
        try:
            for number, _ in enumerate(pool.map(fetch, rows), 1):
                if progress:
                    progress(number, len(rows), f"fetching shards from {location}")
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        write_atomic(directory / INDEX_NAME, lambda path: path.write_text(text, encoding="utf-8"))
    return directory


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Waits until no other process holds the file locked; the lock ends with the process."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _is_intact(path: Path, row: ShardRow) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == row.sha256


def _fetch_index(system: Any, root: str, location: str) -> str:
    try:
        return bytes(system.cat_file(f"{root}/{INDEX_NAME}")).decode()
    except FileNotFoundError:
        raise FileNotFoundError(f"{location}: no {INDEX_NAME} (not a finished data set directory)") from None
    except Exception as error:  # each file system has its own errors: aiohttp's, botocore's, ...
        raise OSError(f"{location}: {INDEX_NAME} cannot be read: {_one_line(error)}") from None


def _open_system(location: str) -> tuple[Any, str]:
    import fsspec

    kind = location.partition("://")[0]
    if kind not in ("http", "https", "s3"):
        raise ValueError(f"data {location}: allowed are a directory, http://, https:// and s3://")
    options: dict[str, Any] = {}
    try:
        if kind != "s3":
            import aiohttp

            # in one stream: servers need not know Range requests
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S)
            options = {"block_size": 0, "client_kwargs": {"timeout": timeout}}
        system, root = fsspec.core.url_to_fs(location, **options)
    except ImportError as error:
        raise ValueError(f"data {location}: {_one_line(error)}") from None
    return system, str(root).rstrip("/")


def _download(system: Any, source: str, path: Path, row: ShardRow) -> None:
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for chunk in _chunks(system, source, row):
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != row.sha256:
        raise ShardError(f"{row.name}: sha256 is {digest.hexdigest()[:12]}…, {INDEX_NAME} says {row.sha256[:12]}…")


def _chunks(system: Any, source: str, row: ShardRow) -> Iterator[bytes]:
    """Errors of the remote side become a ShardError; those of the local disk are none of its business."""
    try:
        with system.open(source, "rb") as remote:
            while chunk := remote.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        raise ShardError(f"{row.name}: {INDEX_NAME} names it, but {source} is not there") from None
    except Exception as error:  # as above
        raise ShardError(f"{row.name}: cannot be fetched from {source}: {_one_line(error)}") from None


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
