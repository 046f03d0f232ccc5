"""The private folder in which a run keeps the credentials of its workers: made for it, removed with it.

The workers read them there, so it lies in the run's directory, which all nodes share. Another run may use the same
directory at the same time; what a killed run has left is removed by the next one on the same machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

PREFIX = ".tls-"


@contextmanager
def private_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` that only this user can read, for as long as the block runs; those of dead runs go."""
    # a process id says something on its own machine only
    ours = f"{PREFIX}{socket.gethostname()}-"
    for path in sorted(parent.glob(f"{PREFIX}*")):
        process, _, _ = path.name.removeprefix(ours).partition("-")
        if path.name.startswith(ours) and process.isdecimal() and not psutil.pid_exists(int(process)):
            shutil.rmtree(path, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{ours}{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_private(folder: Path, texts: Mapping[str, str]) -> None:
    """New files by name, which are never readable for others, not even while they are written."""
    for name, text in texts.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
