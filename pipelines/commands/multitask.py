"""`simpath multitask`: dense multi-task training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pipelines.bar import progress_bar
from pipelines.doctor import require_device
from pipelines.locks import alone
from pipelines.terminal import say
from pipelines.usage import reading_options
from transfer.dense.config import (
    AdaShareConfig,
    Architecture,
    BalanceConfig,
    Balancer,
    MultitaskConfig,
    NetworkConfig,
    SharingConfig,
    TaskName,
)
from transfer.dense.presets import PRESETS

Preset = Literal["rooms_small", "nyuv2_2", "nyuv2_3", "cityscapes", "taskonomy"]


def options_of(config: type) -> Any:
    """The fields of a configuration as options of the command line: each may be the word "preset", and is by default.

    None would not do: some fields may be None. Derived, so that tyro finds the fields' docstrings.
    """
    hints = get_type_hints(config)
    fields = [(field.name, hints[field.name] | Literal["preset"], "preset") for field in dataclasses.fields(config)]
    unchecked = {"__post_init__": lambda self: None}  # `replaced` makes the configuration, which checks itself
    options = dataclasses.make_dataclass(
        f"{config.__name__}Options", fields, bases=(config,), namespace=unchecked, frozen=True, kw_only=True
    )
    return options()


def replaced(config: Any, options: Any) -> Any:
    """The configuration with those of its `options_of` that are not "preset"."""
    given = {name: value for name, value in vars(options).items() if value != "preset"}
    return dataclasses.replace(config, **given)


NETWORK, SHARING = options_of(NetworkConfig), options_of(SharingConfig)
BALANCE, ADASHARE = options_of(BalanceConfig), options_of(AdaShareConfig)


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
    scale: tuple[float, float] | None = None,
    flip: bool | None = None,
    head_learning_rate: float | None = None,
    trunk_learning_rate: float | None = None,
    weight_decay: float | None = None,
    learning_rate_step: int | None = None,
    learning_rate_factor: float | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    validation: float | None = None,
    metrics: Literal["standard", "taskonomy"] | None = None,
    network: Any = NETWORK,
    sharing: Any = SHARING,
    balance: Any = BALANCE,
    adashare: Any = ADASHARE,
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
        batch_size: images per step, at most all training images; default: the preset's.
        crop: side of the training views in pixels; default: the preset's.
        scale: range of the random factor by which training images are resized; default: the preset's.
        flip: mirror half of the training images; default: the preset's.
        head_learning_rate: of the heads; default: the preset's.
        trunk_learning_rate: of everything else; default: the preset's.
        weight_decay: of all weights; default: the preset's.
        learning_rate_step: iterations after which both learning rates fall; default: the preset's.
        learning_rate_factor: by which they fall; default: the preset's.
        precision: of the forward pass; default: the preset's. On CPUs without AVX-512 fp32 is many times faster.
        validation: share of the training images held out, where the data bring no validation part; default: the
            preset's.
        metrics: accuracies, or taskonomy's losses (cross-entropy, cosine, L1); default: the preset's.
        network: trunk and heads.
        sharing: details of the architectures that AdaShare is compared with.
        balance: details of the balancers.
        adashare: learning which blocks each task executes.
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
        "scale": scale,
        "flip": flip,
        "head_learning_rate": head_learning_rate,
        "trunk_learning_rate": trunk_learning_rate,
        "weight_decay": weight_decay,
        "learning_rate_step": learning_rate_step,
        "learning_rate_factor": learning_rate_factor,
        "precision": precision,
        "validation": validation,
        "metrics": metrics,
        "list_file": list_file,
        "normals_space": normals_space,
        "cityscapes_classes": cityscapes_classes,
        "miou_drop_zero_tp": miou_drop_zero_tp,
    }
    given = {name: value for name, value in given.items() if value is not None}
    base, nested = PRESETS[preset], {"network": network, "sharing": sharing, "balance": balance, "adashare": adashare}
    with reading_options():
        given |= {name: replaced(getattr(base, name), options) for name, options in nested.items()}
        config: MultitaskConfig = dataclasses.replace(base, **given)
    with alone(out), progress_bar("multitask", "steps") as progress:
        train_multitask(config, data, out=out, device=device, jobs=jobs, threads=threads, progress=progress)
    say((out / "table.md").read_text(encoding="utf-8"))
    say(f"page  {write_multitask_report(out)}")
    return 0
