"""Files locked by the process that writes beside them; the kernel frees a dead holder's lock, so none is ever stale.

The store locks an artifact while it is made, a command its output directory while it runs.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
"""Name of the lock file inside an output directory."""


_held: set[int] = set()
"""Descriptors of the locks of `alone` that this process holds."""


def _close_copies() -> None:
    """In a forked child: a loader's worker outlives its killed parent by seconds, and would keep its lock so long."""
    for lock in _held:
        os.close(lock)
    _held.clear()


os.register_at_fork(after_in_child=_close_copies)


class DirectoryBusy(RuntimeError):
    """Another process writes its results into the directory."""


def try_lock(path: Path) -> int | None:
    """Descriptor of the lock file if nobody holds it; closing it, also by dying, releases the lock.

    Only the holder removes the file. Raises OSError where it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # the last holder may have removed the file between the two calls
        if os.path.samestat(os.fstat(lock), os.stat(path)):  # noqa: PTH116 (os.stat beside os.fstat)
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(lock)
        raise
    os.close(lock)
    return None


def sign(lock: int) -> None:
    """Write into a lock file who holds it; on a full disk the lock holds without that courtesy."""
    with suppress(OSError):
        os.ftruncate(lock, 0)
        os.write(lock, f"{socket.gethostname()} process {os.getpid()}\n".encode())


def holder(path: Path) -> str:
    """Who holds the lock, as far as the lock file tells."""
    try:
        return path.read_text(encoding="utf-8").strip() or "another process"
    except FileNotFoundError:
        return "another process"


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Keep a command's output directory, made if it is not there, from other commands until the end of the block.

    Raises:
        DirectoryBusy: another process has it; the message says which.
        OSError: the directory cannot be written.
    """
    made = not out.exists()
    lock = try_lock(out / LOCK)
    if lock is None:
        raise DirectoryBusy(
            f"{out} is in use by {holder(out / LOCK)}; wait for its end, stop it, or choose another directory"
        )
    sign(lock)
    _held.add(lock)
    try:
        yield
    finally:
        _held.remove(lock)
        # the file system may have turned read-only, and what the block raises then is the reason to be shown
        with suppress(OSError):
            (out / LOCK).unlink()
            if made:  # and nothing came of it
                out.rmdir()
        os.close(lock)
