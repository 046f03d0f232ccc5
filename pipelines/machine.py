"""What a run says of where it was made: versions of the packages, processor, GPU, memory."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import psutil

VERSIONS = (
    "simpath",
    "bpy",
    "blenderproc",
    "torch",
    "torchvision",
    "numpy",
    "scikit-learn",
    "webdataset",
    "timm",
    "dask",
)


def package_versions() -> dict[str, str]:
    """Of Python and of what changes the numbers."""
    found = {"python": platform.python_version()}
    for package in VERSIONS:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def describe_machine() -> dict[str, Any]:
    """The machine that this process runs on: cpu, cores, gpu, memory_gb, platform."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor()
    )
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "gpu": _gpu_name(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "platform": platform.platform(),
    }


def _gpu_name() -> str | None:
    """As the driver tells it; this process loads no PyTorch for it."""
    names = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for path in names for line in path.read_text(encoding="utf-8").splitlines()]
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:")]
    return ", ".join(models) or None


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
