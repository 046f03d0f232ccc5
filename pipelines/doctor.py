"""What this machine has and lacks for each stage: one line a check, and what to install where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from pipelines.place import NEEDS_BOKEH, has_bokeh
from sim.blender.bridge import DEBIAN_PACKAGES, INSTALL_RENDER  # importing it loads no Blender

NEEDED_DISK_GB = 2.0
BLENDER_START_S, LOCK_START_S = 120.0, 60.0
RENDER_MODULES = {
    "bpy": "bpy",
    "blenderproc": "blenderproc",
    "cv2": "opencv-python-headless",
    "git": "gitpython",
    "imageio": "imageio",
    "png": "pypng",
    "pyoidn": "pyoidn",
    "pytz": "pytz",
    "skimage": "scikit-image",
    "trimesh": "trimesh",
}
"""What rendering imports, with the package that brings it: the extra `render` of pyproject.toml."""
# A torchvision that does not match torch fails with RuntimeError (operator torchvision::nms does not exist), a library
# that the dynamic loader misses with OSError.
TORCH_BROKEN = (ImportError, OSError, RuntimeError)


@dataclass(frozen=True)
class Check:
    """One finding. `missing` stops a stage, `note` does not."""

    name: str
    state: Literal["ok", "note", "missing"]
    text: str


def run_checks(store: Path | None) -> list[Check]:
    """All checks, in the order in which a person would mend them."""
    checks = [_python(), _cores_and_memory(), _torch(), _gpu(), _blender(), _dashboard(), _disk(store or Path.cwd())]
    if store is not None:
        checks.append(_locks(store))
    return checks


def _python() -> Check:
    version = platform.python_version()
    if sys.version_info[:2] not in {(3, 11), (3, 12)}:
        return Check("Python", "missing", f"{version}; simpath needs 3.11 (rendering) or 3.12 (training only)")
    if sys.version_info[:2] == (3, 12):
        return Check("Python", "note", f"{version}: trains and evaluates; rendering needs 3.11 (bpy's wheels)")
    return Check("Python", "ok", version)


def _cores_and_memory() -> Check:
    memory_gb = psutil.virtual_memory().total / 1e9
    text = f"{os.cpu_count()} cores, {memory_gb:.0f} GB of memory"
    return Check(
        "Machine",
        "ok" if memory_gb >= 6 else "note",
        text if memory_gb >= 6 else f"{text}; the demo wants 6 GB",
    )


def _torch() -> Check:
    try:
        import torch
        import torchvision
    except TORCH_BROKEN as error:
        return Check("PyTorch", "missing", f"{_first_line(error)}; run `make install`")
    return Check("PyTorch", "ok", f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def _gpu() -> Check:
    try:
        import torch
    except TORCH_BROKEN:
        return Check("GPU", "note", "not looked for: PyTorch does not import")
    if not torch.cuda.is_available():
        return Check("GPU", "note", "none that PyTorch can use; everything runs on the CPU, more slowly")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return Check("GPU", "ok", ", ".join(names))


def _blender() -> Check:
    absent = [package for module, package in RENDER_MODULES.items() if importlib.util.find_spec(module) is None]
    if absent:
        return Check("Blender", "missing", f"not installed: {', '.join(absent)}; rendering needs {INSTALL_RENDER}")
    # In a process of its own: Blender may crash at exit, and its libraries should not stay in this one.
    code = "import bpy, os, sys; sys.stdout.write(bpy.app.version_string); sys.stdout.flush(); os._exit(0)"
    try:
        child = subprocess.run(  # nosec B603 # a fixed line of Python
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=BLENDER_START_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Check("Blender", "missing", f"bpy did not import within {BLENDER_START_S:.0f} s")
    if child.returncode != 0:
        reason = child.stderr.strip().splitlines()[-1] if child.stderr.strip() else f"exit status {child.returncode}"
        hint = f"; apt-get install {DEBIAN_PACKAGES}" if ".so" in reason else ""
        return Check("Blender", "missing", f"bpy does not import: {reason}{hint}")
    blenderproc, oidn = (importlib.metadata.version(package) for package in ("blenderproc", "pyoidn"))
    return Check("Blender", "ok", f"bpy {child.stdout.split()[0]}, BlenderProc {blenderproc}, pyoidn {oidn}")


def _dashboard() -> Check:
    if has_bokeh():
        return Check("Dashboard", "ok", f"bokeh {importlib.metadata.version('bokeh')}: runs print its address")
    return Check("Dashboard", "note", f"none: Dask's dashboard {NEEDS_BOKEH}")


def require_device(device: str) -> None:
    """Raises ValueError if PyTorch cannot use `device` on this machine."""
    if device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise ValueError(f"device {device} was asked for, but PyTorch finds no GPU here; allowed: cpu")


def _disk(folder: Path) -> Check:
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    state: Literal["ok", "missing"] = "ok" if free_gb >= NEEDED_DISK_GB else "missing"
    return Check("Disk", state, f"{free_gb:.0f} GB free under {existing} (the demo needs {NEEDED_DISK_GB:.0f})")


# Takes the lock in a second process and says whether it got it while the first one holds it.
_TRY_LOCK = """
import fcntl, sys
with open(sys.argv[1], "rb+") as file:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(3)
"""


def _locks(store: Path) -> Check:
    """Some network file systems accept a lock and exclude nobody; two runs would then share a partial artifact."""
    import fcntl

    store.mkdir(parents=True, exist_ok=True)
    probe = store / f".lock-probe-{os.getpid()}"
    try:
        with probe.open("wb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            child = subprocess.run(  # nosec B603 # a fixed text of Python, the path as its argument
                [sys.executable, "-c", _TRY_LOCK, str(probe)], timeout=LOCK_START_S, check=False
            )
    except subprocess.TimeoutExpired:
        return Check("File locks", "missing", f"a lock in {store} was not answered within {LOCK_START_S:.0f} s")
    finally:
        probe.unlink(missing_ok=True)
    if child.returncode == 3:
        return Check("File locks", "ok", f"exclude other processes in {store}")
    return Check("File locks", "missing", f"do not exclude other processes in {store}; put the store on another disk")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def print_checks(checks: list[Check], write: Callable[[str], None]) -> bool:
    """Writes one line a check; True when nothing is missing."""
    marks = {"ok": "ok     ", "note": "note   ", "missing": "MISSING"}
    for check in checks:
        write(f"{marks[check.state]}  {check.name:<10}  {check.text}")
    return all(check.state != "missing" for check in checks)
