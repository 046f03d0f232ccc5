"""The pre-training stage: a data set directory in, `backbone.safetensors` out.

This module is cheap to import (the settings are shown by the command line); torch comes in with the first call.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

Progress = Callable[[int, int, str], None]

SUMMARY_NAME = "summary.json"
CONFIG_NAME = "config.json"
EXIT_SAVED = 75
"""EX_TEMPFAIL: the work is saved, run the same command again."""


RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p(0(\.\d+)?|1)|mstd\d+(\.\d+)?|mmax\d+|inc[01]|t(weights|3aw?)))*")
"""Policies of which timm's `rand_augment_transform` heeds every part; of others it passes over some, or fails."""


class SavedAndStoppedError(Exception):
    """Training was asked to stop (SIGTERM or `stop`), saved a checkpoint and did; `exit_status` is for the shell."""

    exit_status = EXIT_SAVED


class TrainingDivergedError(RuntimeError):
    """The loss or the gradient is no longer finite; the message holds the step and samples of the batch."""


@dataclass(frozen=True)
class PretrainConfig:
    """Everything that changes the weights. The defaults are Task2Sim's recipe (see `pretrain.recipes`).

    Source: Task2Sim (Mishra et al., CVPR 2022) and its released configuration pt_default.yaml. Deviations:

    1. The learning rate is set at every step, not every epoch; both ends of the curve are the same.
    2. The cosine runs over the epochs after the warm-up. The original's scheduler (timm's, `warmup_prefix` False) runs
       it over all epochs, and the warm-up replaces its start: 9.05e-4 at epoch 20 and 3.5e-4 at epoch 60, where ours
       has 1e-3 and 5.05e-4.
    3. The augmentation's draws are a function of (seed, epoch, sample), the mixing's of (seed, step).
    4. One choice between mixup and cutmix, one share and one box are drawn for each global batch; the original draws
       them for each GPU's 256 images of it, so four times in a batch of 1,024. Pairs are neighbours in the shuffled
       global batch instead of mirror images in a GPU's share; either way they are random pairs.
    5. Each operation of RandAugment that resamples draws bilinear or bicubic, timm's default; its training script, the
       original's, passes the configured interpolation on.
    6. bf16 autocast instead of fp16 with loss scaling.
    7. Weight decay leaves out norms and biases, as timm's optimiser factory does by default.
    """

    arch: str = "resnet50"
    """A classification model of torchvision or timm that ends in one linear layer and has no auxiliary classifiers, so
    not squeezenet, googlenet and inception_v3; resnet18 and resnet50 are tested."""
    size: int = 224
    """Pixels of a training image, after the crop."""
    epochs: int = 100
    batch_size: int = 1024
    """Images per optimiser step, over all ranks."""
    micro_batch: int = 256
    """Images per forward pass at most; a larger share of the batch is accumulated (norm statistics are per pass)."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd: momentum 0.9, Nesterov."""
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-5
    """End of the cosine; where it is more than `learning_rate`, the rate stays at `learning_rate` after the warm-up."""
    warmup_learning_rate: float = 1e-6
    """Start of the warm-up; where it is more than `learning_rate`, the rate falls during the warm-up."""
    warmup_epochs: float = 20
    weight_decay: float = 0.05
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0: no clipping."""
    label_smoothing: float = 0.1
    mixup: float = 0.8
    """Beta parameter; 0: off. With cutmix on, each is used for half of the batches."""
    cutmix: float = 1.0
    drop_path: float = 0.1
    """Stochastic depth, rate of the last block; 0: off."""
    zero_init_residual: bool = True
    ema_decay: float = 0.0
    """Exponential moving average of the weights, which is then what is saved; 0: off."""
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Area of the random crop as a share of the image."""
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    horizontal_flip: float = 0.5
    grayscale: float = 0.0
    """Probability that an image loses its colours."""
    rand_augment: str = "rand-m9-mstd0.5-inc1"
    """timm's policy name (see RAND_AUGMENT); empty: none."""
    decoder: Literal["torchvision", "pillow"] = "torchvision"
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16: autocast; weights and optimiser stay fp32."""
    seed: int = 0

    def __post_init__(self) -> None:
        # each condition is what is allowed, because none holds for NaN
        for name, least in {"size": 1, "epochs": 1, "batch_size": 1, "micro_batch": 1, "seed": 0}.items():
            self._require(name, getattr(self, name) >= least, f"{least} and more")
        for name in ("horizontal_flip", "grayscale", "label_smoothing", "drop_path", "ema_decay"):
            self._require(name, 0 <= getattr(self, name) <= 1, "0 to 1")
        for name in ("min_learning_rate", "warmup_learning_rate", "weight_decay", "clip_norm", "mixup", "cutmix"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "0 and more, finite")
        self._require("learning_rate", 0 < self.learning_rate < math.inf, "more than 0, finite")
        self._require("crop_scale", 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1, "0 < low <= high <= 1")
        self._require("warmup_epochs", 0 <= self.warmup_epochs < self.epochs, f"0 to less than epochs ({self.epochs})")
        hints = get_type_hints(PretrainConfig)
        for name in ("optimizer", "interpolation", "decoder", "precision"):
            levels = get_args(hints[name])
            self._require(name, getattr(self, name) in levels, ", ".join(levels))
        known = not self.rand_augment or RAND_AUGMENT.fullmatch(self.rand_augment) is not None
        self._require("rand_augment", known, "nothing, or a policy of timm such as rand-m9-mstd0.5-inc1")
        if self.mixes and (self.batch_size % 2 or self.micro_batch % 2):
            raise ValueError(
                f"batch_size {self.batch_size} and micro_batch {self.micro_batch} must be even with mixup or cutmix"
            )

    def _require(self, name: str, good: bool, allowed: str) -> None:
        if not good:
            raise ValueError(f"{name} is {getattr(self, name)}; allowed: {allowed}")

    @property
    def mixes(self) -> bool:
        return self.mixup > 0 or self.cutmix > 0


def pretrain(
    config: PretrainConfig,
    data: Path | str,
    *,
    out: Path,
    val: Path | str | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    workers: int = 0,
    threads: int | None = None,
    compile: bool = False,
    on_bad_shard: Literal["stop", "skip"] = "stop",
    cache_mb: int = 1024,
    shard_cache: Path | str | None = None,
    tensorboard: bool = True,
    checkpoint_every_s: float = 120.0,
    keep_checkpoints: int = 2,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Trains a backbone from scratch by supervised classification; resumes from what it finds under `out`.

    Under torchrun every process calls this with the same arguments. Writes under `out`: config.json, metrics.jsonl,
    tensorboard/, checkpoints/, backbone.safetensors, and summary.json last. A run that was interrupted continues
    from its newest checkpoint, on the CPU bit for bit as if nothing had happened; a finished one returns its summary.

    Args:
        config: the recipe.
        data: data set directory, local or an http(s):// or s3:// address.
        out: result directory.
        val: data set directory to measure accuracy on after every epoch; also keeps the best epoch's weights as
            `checkpoints/best.safetensors`. The backbone is always the last epoch's.
        device: where to train; a missing GPU is an error.
        workers: processes that decode and augment; 0: this one does.
        threads: torch's threads per process; None: torch's choice.
        compile: run the model through torch.compile.
        on_bad_shard: see `data.open_shards`.
        cache_mb: decoded images are kept in memory when all have one size and together need at most this many MiB;
            the summary says which it was (`images_from`).
        shard_cache: where remote shards are kept; None: `out`/shards.
        tensorboard: also write event files for TensorBoard.
        checkpoint_every_s: time between checkpoints; 0: one per step.
        keep_checkpoints: newest checkpoints that stay, also after the end; 0: none stays after the end.
        progress: called with (steps done, steps, note) about once a second.
        stop: asked at every step; when true, saves and raises. Without it SIGTERM does that; with it the caller
            minds the signals.

    Raises:
        FileNotFoundError, ValueError: bad data, bad settings, or `out` holds a run of another configuration or on other
            data, or something else.
        TrainingDivergedError: the loss is not finite. Of a batch of more than a few dozen images the message names the
            first ones, and `out`/diverged.txt all.
        SavedAndStoppedError: stopped by SIGTERM or `stop`, after saving.
    """
    check_knobs(
        workers=workers, threads=threads, checkpoint_every_s=checkpoint_every_s, keep_checkpoints=keep_checkpoints
    )
    check_same_run(out / CONFIG_NAME, {"config": config_values(config)})
    if (out / SUMMARY_NAME).is_file():
        return _finished_run(out, str(data), None if val is None else str(val), keep_checkpoints)

    from pretrain.run import Knobs, run

    knobs = Knobs(
        device=device,
        workers=workers,
        threads=threads,
        compile=compile,
        on_bad_shard=on_bad_shard,
        cache_bytes=cache_mb << 20,
        shard_cache=None if shard_cache is None else Path(shard_cache),
        tensorboard=tensorboard,
        checkpoint_every_s=checkpoint_every_s,
        keep_checkpoints=keep_checkpoints,
        progress=progress,
        stop=stop,
    )
    return run(config, str(data), out, None if val is None else str(val), knobs)


def check_knobs(
    *, workers: int, threads: int | None, checkpoint_every_s: float, keep_checkpoints: int, processes: int = 1
) -> None:
    """Refuses numbers that mean nothing.

    Raises:
        ValueError: names the knob and what is allowed.
    """
    none_allowed = {"workers": workers, "checkpoint_every_s": checkpoint_every_s, "keep_checkpoints": keep_checkpoints}
    for name, value in none_allowed.items():
        if not value >= 0:
            raise ValueError(f"{name} is {value}; allowed: 0 and more")
    for name, value in {"threads": 1 if threads is None else threads, "processes": processes}.items():
        if value < 1:
            raise ValueError(f"{name} is {value}; allowed: 1 and more")


def config_values(config: PretrainConfig) -> dict[str, Any]:
    """The settings as JSON holds them."""
    values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return values


def data_values(classes: tuple[str, ...], digest: str) -> dict[str, Any]:
    """What is recorded of the training data."""
    return {"num_classes": len(classes), "classes": list(classes), "data_digest": digest}


def _finished_run(out: Path, data: str, val: str | None, keep_checkpoints: int) -> dict[str, Any]:
    """The summary in `out`, if it is of a training on what `data` and `val` hold today (their indexes are read)."""
    from pretrain.checkpoint import remove_checkpoints
    from pretrain.data import data_digest
    from pretrain.remote import index_at

    summary = _read(out / SUMMARY_NAME, {"backbone": str, "skipped_shards": list})
    if not (out / CONFIG_NAME).is_file():
        raise ValueError(_foreign(out / SUMMARY_NAME))

    def values(location: str, skipped: list[str]) -> dict[str, Any]:
        index = index_at(location)
        names = {reason.partition(":")[0] for reason in skipped}
        used = [row for row in index.rows if row.name not in names]
        return data_values(index.classes, data_digest(used, index.classes))

    check_same_run(out / CONFIG_NAME, {"data": values(data, summary["skipped_shards"])})
    # a summary of an earlier version does not say which set was the validation set
    digest = None if val is None else values(val, summary.get("val_skipped_shards", []))["data_digest"]
    if digest not in (None, summary.get("val_digest")):
        raise ValueError(f"{out} holds a finished run without the validation set {val}; use another directory")
    if not (out / summary["backbone"]).is_file():
        raise ValueError(
            f"{out} holds a finished run, but its {summary['backbone']} is gone; delete {SUMMARY_NAME} to make it again"
        )
    if not keep_checkpoints:  # the run may have been killed just after its summary
        remove_checkpoints(out / "checkpoints")
    return summary


def check_same_run(path: Path, wanted: dict[str, Any]) -> None:
    """Compares with the `config.json` of an earlier run, if there is one.

    Raises:
        ValueError: something differs, or the file is of something else; names the first field, or the file.
    """
    if not path.is_file():
        return
    found = _read(path, {"config": dict, "data": dict})
    for part, values in wanted.items():
        for field, value in values.items():
            if field == "val_digest" and field not in found[part]:
                continue  # an earlier version's, which does not say what it validated on
            if found[part].get(field) != value:
                raise ValueError(
                    f"{path.parent} holds a run with another {field}: {_short(found[part].get(field))}, "
                    f"now {_short(value)}; use another directory"
                )


def _read(path: Path, fields: dict[str, type]) -> dict[str, Any]:
    """A JSON file of ours: an object with at least these fields."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(name), kind) for name, kind in fields.items()):
        raise ValueError(_foreign(path))
    return found


def _foreign(path: Path) -> str:
    return f"{path} is not of a pre-training; use another directory"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
