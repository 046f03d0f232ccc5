"""What only Blender can read, read by a Blender process of its own: FBX and USD models, compressed OpenEXR.

Runs in the throw-away process of `sim.importer`, whose limits the Blender process inherits.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sim.importing import MAX_FILE_BYTES, ImportedModel, ImportRefused, import_file


def convert(source: Path, target: Path) -> None:
    """Have a Blender process turn one file into another (`sim.blender.convert`).

    Raises:
        ValueError: it could not, with Blender's last words.
    """
    done = subprocess.run(  # nosec B603 # our own module, arguments as a list
        [sys.executable, "-m", "sim.blender.convert", str(source), str(target)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"BLENDER_USER_RESOURCES": str(target.parent)},
    )
    if done.returncode or not target.exists():
        words = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise ValueError(f"Blender cannot read it: {words[:200]}")


def import_trusted(path: Path) -> ImportedModel:
    """Like `sim.importing.import_file` for .fbx and .usd, which Blender reads with all that they refer to.

    `sha256` is of the file alone.

    Raises:
        ImportRefused: with a reason that a user can act on.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise ImportRefused(f"it has {size} bytes; allowed: 1 to {MAX_FILE_BYTES}")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.glb"
        try:
            convert(path.absolute(), target)
        except ValueError as error:
            raise ImportRefused(str(error)) from None
        model = import_file(target, Path(folder), up="y")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return dataclasses.replace(model, sha256=digest, references={})
