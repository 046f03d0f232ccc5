"""What this machine may use: CPU cores of this process, GPUs for Blender processes."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping

from sim.wire import Device


def cpu_count() -> int:
    """Cores that this process may run on (a batch system often grants fewer than the machine has)."""
    return len(os.sched_getaffinity(0))


def gpu_names(device: Device, environment: Mapping[str, str] = os.environ) -> list[str]:
    """What the runtime of `device` calls the GPUs that a child process would see.

    Where CUDA_VISIBLE_DEVICES or HIP_VISIBLE_DEVICES is set, as batch systems do, these are its entries (indices or
    UUIDs): a position in that list is no name. Else 0 to n - 1 as nvidia-smi counts; none without a driver, and none
    for `hip`, whose GPUs are not counted here.
    """
    if device == "cpu":
        return []
    visible = environment.get(visible_variable(device))
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        # both runtimes end the list at the first entry that names no GPU
        return list(itertools.takewhile(_names_a_gpu, names))
    lister = shutil.which("nvidia-smi")
    if device == "hip" or lister is None:
        return []
    # the driver's own tool, with fixed arguments
    listing = subprocess.run([lister, "-L"], capture_output=True, text=True, check=False, timeout=60)  # nosec B603
    return [str(number) for number in range(sum(line.startswith("GPU ") for line in listing.stdout.splitlines()))]


def visible_variable(device: Device) -> str:
    """The environment variable that says which GPUs a process sees."""
    return "HIP_VISIBLE_DEVICES" if device == "hip" else "CUDA_VISIBLE_DEVICES"


def _names_a_gpu(name: str) -> bool:
    return name.isdecimal() or name.startswith(("GPU-", "MIG-"))
