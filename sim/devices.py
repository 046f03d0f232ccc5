"""What this machine may use: CPU cores of this process, GPUs for Blender processes."""

from __future__ import annotations

import os
import shutil
import subprocess


def cpu_count() -> int:
    """Cores that this process may run on (a batch system often grants fewer than the machine has)."""
    return len(os.sched_getaffinity(0))


def gpu_count() -> int:
    """NVIDIA GPUs that a child process would see; 0 without a driver."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([name for name in visible.split(",") if name.strip()])
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False, timeout=60)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
