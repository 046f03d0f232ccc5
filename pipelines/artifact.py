"""The artifact store: what was computed stands under the digest of what it was computed from.

In: a `Key` (stage, version, config, input digests) and a function that fills a directory. Out: a complete
directory, made once however many runs and workers ask for it. Layout under the root:

    artifacts/<aa>/<digest>/…    complete: the stage's files and `artifact.json`; never changed afterwards
    partial/<digest>/            being made, or left by a killed run: the next attempt resumes in it
    partial/<digest>.lock        flock'd by the process that writes; its text names the holder
    runs/<name>.jsonl            the artifacts that a named run needs (see `pipelines.care`)

A directory under `artifacts/` is complete because it arrives there by one rename, after `artifact.json` was
written last. The kernel releases a dead holder's lock, so a killed run never blocks the next one.
"""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.configs import canonical, json_digest
from pipelines.locks import holder, sign, try_lock

Inputs = Mapping[str, str | Sequence[str]]
"""Input name -> digest (of an artifact, a folder, or a literal value), or a list of them where order matters."""

METADATA = "artifact.json"
# A lock that is held longer than any stage takes is a process that hangs: say so instead of waiting for
# ever.
LOCK_LIMIT_S = 24 * 3600.0


class StoreBusy(RuntimeError):
    """Another process held an artifact's lock for longer than the limit."""


@dataclass(frozen=True)
class Key:
    """Everything that decides an artifact's content; its digest is the artifact's address."""

    stage: str
    version: str
    config: Any
    """Canonical JSON of the stage's config."""
    inputs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, stage: str, version: str, config: Any, inputs: Inputs | None = None) -> Key:
        """Key from a config dataclass (or plain JSON) and input digests."""
        listed = {name: v if isinstance(v, str) else list(v) for name, v in (inputs or {}).items()}
        return cls(stage, version, canonical(config), listed)

    @functools.cached_property
    def digest(self) -> str:
        return json_digest(self.as_json())

    def as_json(self) -> dict[str, Any]:
        return {"stage": self.stage, "version": self.version, "config": self.config, "inputs": self.inputs}


@dataclass(frozen=True)
class Artifact:
    """A complete artifact: its directory and the contents of its `artifact.json`."""

    path: Path
    metadata: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return str(self.metadata["digest"])

    @property
    def stage(self) -> str:
        return str(self.metadata["stage"])

    @property
    def summary(self) -> Any:
        """What the stage returned."""
        return self.metadata["summary"]


class Store:
    """Artifacts under one directory, shared by any number of runs, processes and machines with working flock."""

    def __init__(self, root: str | Path, *, lock_limit_s: float = LOCK_LIMIT_S) -> None:
        self.root = Path(root).absolute()
        self.lock_limit_s = lock_limit_s

    def path(self, digest: str) -> Path:
        """Where the artifact is or will be; one stat tells whether it is complete, however many there are."""
        return self.root / "artifacts" / digest[:2] / digest

    def partial(self, digest: str) -> Path:
        return self.root / "partial" / digest

    def has(self, digest: str) -> bool:
        return self.path(digest).is_dir()

    def load(self, digest: str, *, patience_s: float = 0.0) -> Artifact:
        """The complete artifact; waits up to `patience_s` for it to appear. Raises FileNotFoundError."""
        path, deadline = self.path(digest), time.monotonic() + patience_s
        while True:
            try:
                return Artifact(path, json.loads((path / METADATA).read_text(encoding="utf-8")))
            except FileNotFoundError:
                if time.monotonic() >= deadline:
                    raise FileNotFoundError(f"no artifact {digest[:12]} in the store {self.root}") from None
                time.sleep(0.2)

    def produce(
        self,
        key: Key,
        make: Callable[[Path], Any],
        *,
        on_wait: Callable[[str, float], None] | None = None,
        note: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """The artifact of `key`; unless it is complete, `make(directory)` fills it and returns a JSON
        summary.

        Called with the lock held, `make` finds in its directory what a killed attempt left and resumes
        there; when it raises, the directory stays for the next attempt. While another process holds the
        lock, `on_wait(holder, seconds)` is called every second or so; StoreBusy after `lock_limit_s`.
        `note` is kept in the metadata (log file, host, …).
        """
        if self.has(key.digest):
            return self.load(key.digest)
        lock = self._acquire(key.digest, on_wait)
        if lock is None:
            return self.load(key.digest)
        try:
            if not self.has(key.digest):
                self._make_and_publish(key, make, dict(note or {}))
            # only the holder removes the lock file, and waiters check that the file they locked still has
            # its name
            self.lock_path(key.digest).unlink(missing_ok=True)
        finally:
            os.close(lock)
        return self.load(key.digest)

    def _make_and_publish(self, key: Key, make: Callable[[Path], Any], note: dict[str, Any]) -> None:
        partial = self.partial(key.digest)
        partial.mkdir(parents=True, exist_ok=True)
        (partial / METADATA).unlink(missing_ok=True)  # of an attempt that was killed between metadata and rename
        started = time.time()
        summary = make(partial)
        files = seal(partial)
        metadata = {
            "digest": key.digest,
            **key.as_json(),
            "summary": summary,
            "files": files,
            "bytes": sum(entry["bytes"] for entry in files.values()),
            "started": started,
            "wall_s": round(time.time() - started, 3),
            **note,
        }
        write_text(partial / METADATA, json.dumps(metadata, indent=1, sort_keys=True) + "\n")
        final = self.path(key.digest)
        final.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.rename(final)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or not self.has(key.digest):
                raise
            shutil.rmtree(partial)  # a run elsewhere, whose lock did not reach this machine, was first

    def lock_path(self, digest: str) -> Path:
        return self.root / "partial" / f"{digest}.lock"

    def _acquire(self, digest: str, on_wait: Callable[[str, float], None] | None) -> int | None:
        """Descriptor of the locked lock file, or None once the artifact is complete."""
        started, pause_s = time.monotonic(), 0.05
        while True:
            lock = self.try_lock(digest)
            if lock is not None:
                sign(lock)
                return lock
            if self.has(digest):
                return None
            waited = time.monotonic() - started
            who = holder(self.lock_path(digest))
            if waited > self.lock_limit_s:
                raise StoreBusy(f"{digest[:12]} has been locked by {who} for {waited:.0f} s; stop that process")
            if on_wait is not None:
                on_wait(who, waited)
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 1.0)

    def try_lock(self, digest: str) -> int | None:
        """Descriptor of the lock file if nobody holds it (see `pipelines.locks`)."""
        return try_lock(self.lock_path(digest))

    def artifacts(self) -> Iterator[Artifact]:
        """Every complete artifact, in the order of the digests."""
        for path in sorted((self.root / "artifacts").glob("??/*")):
            yield self.load(path.name)


def seal(directory: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file under `directory`, each flushed to the disk; by path, sorted.

    Directories are not flushed: a rename that a power failure undoes costs one attempt, empty files under a final
    name would cost the truth.

    Raises ValueError for links and special files: an artifact must be readable wherever it is copied.
    """
    entries: dict[str, dict[str, Any]] = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise ValueError(f"the stage left {name}, which is no plain file")
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                entries[name] = {"bytes": path.stat().st_size, "sha256": _sha256(file)}
    return entries


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _sha256(file)


def _sha256(file: Any) -> str:
    return hashlib.file_digest(file, "sha256").hexdigest()


def write_text(path: Path, text: str) -> None:
    """Replace the file in one step, on the disk before the name changes hands; nothing is left when that fails.

    Raises OSError naming the file, also for a full disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):  # on a disk that turned read-only
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # what an open file raises names none
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
