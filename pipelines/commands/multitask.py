"""`simpath multitask`: dense multi-task training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal

from pipelines.bar import progress_bar
from pipelines.doctor import require_device
from pipelines.locks import alone
from pipelines.terminal import say
from transfer.dense.config import Architecture, Balancer, TaskName
from transfer.dense.presets import PRESETS

Preset = Literal["rooms_small", "nyuv2_2", "nyuv2_3", "cityscapes", "taskonomy"]


def multitask(
    data: Path,
    out: Path,
    preset: Preset = "rooms_small",
    architectures: tuple[Architecture, ...] | None = None,
    balancers: tuple[Balancer, ...] | None = None,
    seeds: tuple[int, ...] | None = None,
    tasks: tuple[TaskName, ...] | None = None,
    loss_weights: tuple[float, ...] | None = None,
    iterations: int | None = None,
    batch_size: int | None = None,
    crop: int | None = None,
    list_file: str | None = None,
    normals_space: Literal["decoded", "uint8"] | None = None,
    cityscapes_classes: Literal[2, 7, 19] | None = None,
    miou_drop_zero_tp: bool | None = None,
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
        tasks: what is learned, in this order; default: the preset's. With another number of tasks, give
            --loss-weights too.
        loss_weights: one factor per task on its loss; default: the preset's.
        iterations: training steps of every network; default: the preset's.
        batch_size: images per step; default: the preset's.
        crop: side of the training views in pixels; default: the preset's.
        list_file: name of the list file (.json) to read, where a folder of NYUv2 or Tiny-Taskonomy has several.
        normals_space: decoded compares unit vectors; uint8 compares undecoded bytes, as the published NYUv2 tables do;
            default: the preset's.
        cityscapes_classes: which of CityScapes' label maps; default: the preset's.
        miou_drop_zero_tp: leave classes that were never hit out of mIoU, as AdaShare's code does; default: the
            preset's.
        device: where networks train.
        jobs: networks trained side by side; on two cores `--jobs 2` is 1.3 times as fast as one at a time.
        threads: CPU threads of each job; default: all cores, shared among the jobs.
    """
    from pipelines.multitask import write_multitask_report
    from transfer.dense.stage import train_multitask

    require_device(device)
    given: dict[str, Any] = {
        "architectures": architectures,
        "balancers": balancers,
        "seeds": seeds,
        "tasks": tasks,
        "loss_weights": loss_weights,
        "iterations": iterations,
        "batch_size": batch_size,
        "crop": crop,
        "list_file": list_file,
        "normals_space": normals_space,
        "cityscapes_classes": cityscapes_classes,
        "miou_drop_zero_tp": miou_drop_zero_tp,
    }
    config = dataclasses.replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})
    with alone(out), progress_bar("multitask", "steps") as progress:
        train_multitask(config, data, out=out, device=device, jobs=jobs, threads=threads, progress=progress)
    say((out / "table.md").read_text(encoding="utf-8"))
    say(f"page  {write_multitask_report(out)}")
    return 0
