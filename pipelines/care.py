"""Store care: what runs need (`RunRecord`), listing, sizes, garbage collection, verification.

A run's record is `runs/<name>.jsonl`: one digest per line, appended before the artifact is looked up.
Collection holds `runs/.lock` exclusively, an append holds it shared, so that no artifact vanishes between
its registration and its use. What a record names is kept with everything that it was made from.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.artifact import METADATA, Artifact, Store, file_sha256, write_text

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunRecord:
    """The artifacts that a named run asked for; they survive `collect` until the record is forgotten."""

    def __init__(self, store: Store, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise ValueError(f"run name {name!r}; allowed: letters, digits, dot, dash, underscore, at most 100")
        self._store = store
        self._path = _record_path(store, name)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._known = set(_read_record(self._path))
        self._before = frozenset(self._known)
        self._used: set[str] = set()

    def add(self, digest: str) -> None:
        """Register an artifact, before looking whether it exists."""
        self._used.add(digest)
        if digest in self._known:
            return
        self._known.add(digest)
        with _runs_lock(self._store, fcntl.LOCK_SH), self._path.open("a", encoding="utf-8") as file:
            # the new line comes first: the last one may have been cut off by a kill
            file.write("\n" + json.dumps({"digest": digest}) + "\n")

    def finish(self) -> None:
        """Drop what was there before this object and was not registered through it: the run is complete without it.

        What another process has registered under the same name since then stays.
        """
        dropped = self._before - self._used
        if not dropped:
            return
        # exclusive: a line that another process appends to the replaced file would be lost
        with _runs_lock(self._store, fcntl.LOCK_EX):
            kept = self._used | (set(_read_record(self._path)) - dropped)
            write_text(self._path, "".join(json.dumps({"digest": digest}) + "\n" for digest in sorted(kept)))
        self._known = kept
        self._before = frozenset(kept)


@dataclass(frozen=True)
class Usage:
    stage: str
    artifacts: int
    bytes: int
    wall_s: float


@dataclass(frozen=True)
class Collected:
    artifacts: int
    partials: int
    bytes: int


def run_name(prefix: str, out: Path) -> str:
    """The name of a run that leaves its results in `out`: readable, and another one for every directory."""
    place = out.resolve()
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", place.name)[:40].strip("-")
    return "-".join(filter(None, [prefix, readable, hashlib.sha256(os.fsencode(place)).hexdigest()[:8]]))


def runs(store: Store) -> dict[str, set[str]]:
    """Digests by run name."""
    records = sorted((store.root / "runs").glob("*.jsonl"))
    return {path.stem: set(_read_record(path)) for path in records}


def forget(store: Store, name: str) -> None:
    """Drop a run's record. Raises FileNotFoundError naming the runs that there are."""
    # a name from the list, so that none leads outside the folder of the records
    if name not in (known := runs(store)):
        raise FileNotFoundError(f"no run {name!r} in {store.root}; there are: {', '.join(known) or 'none'}")
    _record_path(store, name).unlink()


def usage(store: Store) -> list[Usage]:
    """Number, bytes and computing time of the artifacts by stage. Hard links into other artifacts count twice."""
    sums: dict[str, list[Any]] = {}
    for artifact in store.artifacts():
        entry = sums.setdefault(artifact.stage, [0, 0, 0.0])
        entry[0] += 1
        entry[1] += artifact.metadata["bytes"]
        entry[2] += artifact.metadata["wall_s"]
    return [Usage(stage, *entry) for stage, entry in sorted(sums.items())]


def collect(store: Store, *, dry_run: bool = False) -> Collected:
    """Remove every artifact and unlocked partial directory that no run's record needs."""
    removed = partials = freed = 0
    (store.root / "runs").mkdir(parents=True, exist_ok=True)
    with _runs_lock(store, fcntl.LOCK_EX):
        needed = _closure(store)
        for artifact in list(store.artifacts()):
            if artifact.digest in needed:
                continue
            removed += 1
            freed += artifact.metadata["bytes"]
            if not dry_run:
                _remove(store, artifact.path)
        for path in sorted((store.root / "partial").glob("*")):
            if not path.is_dir() or path.name in needed:
                continue
            lock = store.try_lock(path.name)
            if lock is None:
                continue
            try:
                partials += 1
                freed += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                if not dry_run:
                    shutil.rmtree(path)
            finally:
                store.lock_path(path.name).unlink(missing_ok=True)
                os.close(lock)
        if not dry_run:
            shutil.rmtree(store.root / "trash", ignore_errors=True)
    return Collected(removed, partials, freed)


def verify(store: Store, progress: Callable[[int, int, str], None] | None = None) -> list[str]:
    """Read every byte; one line for each artifact that is not what its metadata says."""
    found = sorted((store.root / "artifacts").glob("??/*"))
    wrong = []
    for number, path in enumerate(found):
        try:
            problem = _problem(store.load(path.name))
        except (OSError, ValueError, KeyError) as error:
            problem = f"{METADATA} cannot be read ({error})"
        if problem is not None:
            wrong.append(f"{path}: {problem}")
        if progress is not None:
            progress(number + 1, len(found), "artifacts")
    return wrong


def _problem(artifact: Artifact) -> str | None:
    expected = artifact.metadata["files"]
    present = {str(p.relative_to(artifact.path)) for p in artifact.path.rglob("*") if p.is_file()} - {METADATA}
    if artifact.path.name != artifact.digest:
        return f"{METADATA} is of {artifact.digest[:12]}"
    if missing := sorted(set(expected) - present):
        return f"{missing[0]} is missing"
    if extra := sorted(present - set(expected)):
        return f"{extra[0]} does not belong there"
    for name, entry in expected.items():
        if file_sha256(artifact.path / name) != entry["sha256"]:
            return f"{name} was changed"
    return None


def _closure(store: Store) -> set[str]:
    """Digests that the runs name, with everything that they were made from."""
    needed: set[str] = set()
    todo = [digest for digests in runs(store).values() for digest in digests]
    while todo:
        digest = todo.pop()
        if digest in needed:
            continue
        needed.add(digest)
        if store.has(digest):
            for value in store.load(digest).metadata["inputs"].values():
                texts = [value] if isinstance(value, str) else value
                todo += [text.partition("/")[0] for text in texts]
    return needed


def _remove(store: Store, path: Path) -> None:
    """Out of the way in one rename, so that no half-removed directory stands under a final name."""
    trash = store.root / "trash"
    trash.mkdir(exist_ok=True)
    path.rename(trash / path.name)
    shutil.rmtree(trash / path.name)


def _record_path(store: Store, name: str) -> Path:
    return store.root / "runs" / f"{name}.jsonl"


def _read_record(path: Path) -> Iterator[str]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield str(json.loads(line)["digest"])
        except (ValueError, KeyError, TypeError):
            continue  # the last line of a run that was killed while it wrote


@contextmanager
def _runs_lock(store: Store, mode: int) -> Iterator[None]:
    lock = os.open(store.root / "runs" / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, mode)
        yield
    finally:
        os.close(lock)
