"""What this machine may use: CPU cores of this process, GPUs for Blender processes."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # it loads NumPy, which not every process that counts GPUs needs
    from sim.wire import Device

AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


def cpu_count() -> int:
    """Cores that this process may run on (a batch system often grants fewer than the machine has)."""
    return len(os.sched_getaffinity(0))


def gpu_names(device: Device, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the runtime of `device` calls the GPUs that a child process would see.

    Where CUDA_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES is set, as batch systems do, these are its entries (indices or
    UUIDs): a position in that list is no name. Else 0 to n - 1 as nvidia-smi or, for `hip`, the kernel's amdkfd driver
    counts; none without a driver.
    """
    if device == "cpu":
        return []
    visible = environment.get(visible_variable(device))
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # both runtimes end the list at the first entry that names no GPU
        return list(itertools.takewhile(_names_a_gpu, names))
    if device == "hip":
        return [str(number) for number in range(_amd_gpus())]
    lister = shutil.which("nvidia-smi")
    if lister is None:
        return []
    # the driver's own tool, with fixed arguments
    listing = subprocess.run([lister, "-L"], capture_output=True, text=True, check=False, timeout=60)  # nosec B603
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listing.stdout.splitlines()))]


def visible_variable(device: Device) -> str:
    """The environment variable that says which GPUs a process sees."""
    return "HIP_VISIBLE_DEVICES" if device == "hip" else "CUDA_VISIBLE_DEVICES"


def _amd_gpus() -> int:
    """Nodes of the driver's topology that have SIMD units; the others are processors."""
    files = AMD_NODES.glob("*/properties")
    return sum(any(re.fullmatch("simd_count [1-9][0-9]*", line) for line in _lines(file)) for file in files)


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except PermissionError:  # a GPU that this process may not use
        return []


def _names_a_gpu(name: str) -> bool:
    return name.isdecimal() or name.startswith(("GPU-", "MIG-"))
