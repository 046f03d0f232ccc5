"""One Blender child process: started, spoken to, ended. What to do when it is lost is decided in `sim.render`."""

from __future__ import annotations

import fcntl
import os
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sim.wire import pack_line, split_frame

WORKER = (sys.executable, "-m", "sim.blender.worker")
SHARED_MEMORY = Path("/dev/shm")  # nosec B108 # holds folders that mkdtemp makes for this user alone
PREFIX = "simpath-"
HELD = "held"
"""File in the folder of a child, locked as long as the process that started the child lives."""


class ChildLost(Exception):
    """The child ended, or sent nothing for too long; the argument says how."""


class ChildRefused(Exception):
    """Blender cannot work here; the argument is the child's own line."""


class Child:
    """One Blender process: start it, send lines, receive frames, end it."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None,
        variables: Mapping[str, str],
        threads: int,
    ) -> None:
        """`variables` go into its environment, such as the one that says which GPU it sees."""
        code = str(Path(__file__).parents[1])
        environment = {**os.environ, **variables}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [code, environment.get("PYTHONPATH")]))
        # Dask sets this to 1 for its children; Blender's denoiser and OpenMP follow it.
        environment["OMP_NUM_THREADS"] = str(threads)
        # In memory where there is such a place: Blender hands each picture over through a file in it. It
        # also is an empty home for Blender's user files, so that neither preferences nor start-up
        # scripts change a picture.
        root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
        remove_left_folders(root)
        self.folder = tempfile.mkdtemp(prefix=PREFIX, dir=root)
        self._lock = _hold(Path(self.folder))
        environment["BLENDER_USER_RESOURCES"] = self.folder
        self.log = log or Path(self.folder) / "blender.log"
        """Where it prints; every scene that it is sent names the file for the output from there on."""
        self._buffer = bytearray()
        self.retiring = False
        """Takes no further scenes and is ended when it has delivered what it was sent."""
        with self.log.open("ab") as log_file:
            self.process = subprocess.Popen(  # nosec B603 # our own module, arguments as a list
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log_file,
                env=environment,
                bufsize=0,
            )
        assert self.process.stdin is not None and self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stdout, selectors.EVENT_READ)

    def send(self, message: dict[str, Any]) -> None:
        """Send one line. To an ended child it goes nowhere: `receive` says so, after the frames still unread."""
        data = memoryview(pack_line(message))
        with suppress(BrokenPipeError):
            while data:
                data = data[self._stdin.write(data) :]

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """The next frame.

        Raises:
            ChildLost: the child ended, or sent nothing for `timeout_s`.
            ChildRefused: Blender cannot work here.
        """
        deadline = time.monotonic() + timeout_s
        while (frame := split_frame(self._buffer)) is None:
            if not self._selector.select(max(0.0, deadline - time.monotonic())):
                raise ChildLost(f"no image within {timeout_s:g} s")
            chunk = os.read(self._stdout.fileno(), 1 << 20)
            if not chunk:
                raise ChildLost(self._death())
            self._buffer += chunk
        if frame[0]["kind"] == "fatal":
            raise ChildRefused(frame[0]["message"])
        return frame

    def stop(self) -> None:
        """End the process at once; everything that it delivered is safe already."""
        self._selector.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self._stdin, self._stdout):
            pipe.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def _death(self) -> str:
        status = self.process.wait()
        how = f"signal {-status}" if status < 0 else f"exit status {status}"
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"Blender ended with {how}" + (f" ({lines[-1][:200]})" if lines else "")


def remove_left_folders(root: Path) -> None:
    """Remove folders in `root` of children that were killed together with the process that had started them.

    The lock says so, not a process id: processes of other containers may share `root`.
    """
    for folder in root.glob(f"{PREFIX}*"):
        # not a child's, not ours to open, or in use
        with suppress(OSError), (folder / HELD).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _hold(folder: Path) -> IO[bytes]:
    """A file whose lock keeps others from removing `folder`; it gets its name when it is locked."""
    file = (folder / f"{HELD}.tmp").open("wb")
    fcntl.flock(file, fcntl.LOCK_EX)
    Path(file.name).rename(folder / HELD)
    return file
