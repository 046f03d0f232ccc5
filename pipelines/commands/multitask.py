"""`simpath multitask`: dense multi-task training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pipelines.bar import progress_bar
from pipelines.doctor import require_device
from transfer.dense.config import Architecture, Balancer
from transfer.dense.presets import PRESETS

Preset = Literal["rooms_small", "nyuv2_2", "nyuv2_3", "cityscapes", "taskonomy"]


def multitask(
    data: Path,
    out: Path,
    preset: Preset = "rooms_small",
    architectures: tuple[Architecture, ...] | None = None,
    balancers: tuple[Balancer, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    jobs: int = 1,
    threads: int | None = None,
) -> int:
    """Train dense multi-task networks (AdaShare and its baselines) and write the table against single-task networks.

    OUT gets report.html, table.csv, table.md, pictures of predictions, the policy grid and summary.json; finished runs
    are kept.

    Args:
        data: folder in the preset's layout: rendered rooms, NYUv2, CityScapes or Tiny-Taskonomy.
        out: directory of the results.
        preset: sizes and hyper-parameters; rooms_small is for two CPU cores, the others are the published ones.
        architectures: ways to share; default: the preset's.
        balancers: ways to weigh the tasks, each tried with every architecture that admits it; default: the preset's.
        seeds: one network each; default: the preset's.
        device: where networks train.
        jobs: networks trained side by side; on two cores `--jobs 2` is 1.3 times as fast as one at a time.
        threads: CPU threads of each job; default: all cores, shared among the jobs.
    """
    from pipelines.multitask import write_multitask_report
    from transfer.dense.stage import train_multitask

    require_device(device)
    given: dict[str, Any] = {"architectures": architectures, "balancers": balancers, "seeds": seeds}
    config = dataclasses.replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})
    with progress_bar("multitask", "steps") as progress:
        train_multitask(config, data, out=out, device=device, jobs=jobs, threads=threads, progress=progress)
    print((out / "table.md").read_text(encoding="utf-8"))
    print(f"page  {write_multitask_report(out)}")
    return 0
