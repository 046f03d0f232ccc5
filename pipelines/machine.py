"""What a run says of where it was made: versions of the packages, processor, GPU, memory.

Every artifact's metadata hold the machine of the process that made it (see `pipelines.job`), beside the times that it
took; neither is part of its key or of its files.
"""

from __future__ import annotations

import functools
import importlib.metadata
import os
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from pipelines.summary import Machine

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


@functools.cache
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


def machine_rows(artifacts: Iterable[Mapping[str, Any]]) -> tuple[Machine, ...]:
    """The kinds of machines that made these artifacts, from their metadata; the busiest first.

    Machines of one kind have the same processor, cores for the process, and GPUs. Artifacts of an older simpath say
    nothing of it: they count as one kind, "not recorded".
    """
    # here: the process of every job loads this module, and need not load what a summary is made of
    from pipelines.summary import Machine

    hosts: dict[tuple[str, int | None, str | None], set[str]] = {}
    stages: dict[tuple[str, int | None, str | None], Counter[str]] = {}
    for metadata in artifacts:
        made_on = metadata.get("machine", {})
        kind = (made_on.get("cpu", "not recorded"), made_on.get("cores"), made_on.get("gpu"))
        hosts.setdefault(kind, set()).add(metadata.get("host", "a host that was not recorded"))
        stages.setdefault(kind, Counter())[metadata["stage"]] += 1
    busiest = sorted(stages, key=lambda kind: -stages[kind].total())
    return tuple(Machine(*kind, tuple(sorted(hosts[kind])), dict(stages[kind].most_common())) for kind in busiest)


def _gpu_name() -> str | None:
    """As the driver tells it; this process loads no PyTorch for it."""
    names = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for path in names for line in path.read_text(encoding="utf-8").splitlines()]
    models = Counter(line.split(":", 1)[1].strip() for line in lines if line.startswith("Model:"))
    return ", ".join(f"{count} x {model}" if count > 1 else model for model, count in models.items()) or None


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
