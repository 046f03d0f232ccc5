"""The importing child process (`sim.importer`) as its parent sees it: jobs in, records or reasons out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sim.blender.bridge import INSTALL_RENDER  # importing it loads no Blender


def cache_folder(kind: str) -> Path:
    """Where imported things of a kind are kept: `$XDG_CACHE_HOME/simpath/<kind>` (default ~/.cache), made if needed."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(base) / "simpath" / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class ImportChild:
    """Started when first asked, ended by `close`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run one job: the record that it made, or {"error": reason}.

        Raises:
            RuntimeError: the child cannot work here at all.
        """
        if self._process is None:
            root = str(Path(__file__).parents[1])
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
            }
            self._process = subprocess.Popen(  # nosec B603 # our own module, arguments as a list
                [sys.executable, "-m", "sim.importer"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=environment,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the importing process ended; what reads models comes with {INSTALL_RENDER}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None and self._process.stdout is not None
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
