"""One training run from data to backbone: opens, resumes, loops, finishes. `train.pretrain` is its front."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import torch

from pretrain.augment import Augmentation
from pretrain.checkpoint import (
    checkpoints,
    load_checkpoint,
    load_weights,
    remove_checkpoints,
    save_backbone,
    save_checkpoint,
    sha256_file,
    write_json,
)
from pretrain.data import OnBadShard, Progress, ShardSet, open_shards
from pretrain.divergence import describe_divergence
from pretrain.loader import Batch, ImageSource, decode_all, load_batches, whole_images
from pretrain.memory import freed_memory_is_kept
from pretrain.model import check_backbone, check_bf16_size
from pretrain.order import plan_batches, rank_slice, steps_per_epoch
from pretrain.ranks import Ranks, join_ranks
from pretrain.remote import fetch_shards, is_remote
from pretrain.step import StepResult, Trainer
from pretrain.stopping import asked_to_stop, stopping_progress
from pretrain.train import (
    CONFIG_NAME,
    SUMMARY_NAME,
    PretrainConfig,
    SavedAndStoppedError,
    TrainingDivergedError,
    check_same_run,
    config_values,
    data_values,
)
from pretrain.watch import NO_SUMS, Watch

log = logging.getLogger(__name__)

BACKBONE_NAME = "backbone.safetensors"
VAL_BATCH = 256

STEPS_AHEAD = {"cpu": 0, "cuda": 1}
"""Steps begun before the outcome of the one before them is looked at, so that a GPU never waits for Python. Nothing is
saved before its step was found finite."""


@dataclass(frozen=True)
class Knobs:
    """How to run, without effect on the result; see `train.pretrain`."""

    device: Literal["cpu", "cuda"]
    workers: int
    threads: int | None
    compile: bool
    on_bad_shard: OnBadShard
    cache_bytes: int
    shard_cache: Path | None
    tensorboard: bool
    checkpoint_every_s: float
    keep_checkpoints: int
    progress: Progress | None
    stop: Callable[[], bool] | None


def run(config: PretrainConfig, data: str, out: Path, val: str | None, knobs: Knobs) -> dict[str, Any]:
    if knobs.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda was asked for, but torch sees no GPU here; allowed: cpu")
    if config.precision == "bf16":
        check_bf16_size(config.size, knobs.device)
    if knobs.device == "cpu" and config.precision == "bf16" and torch.backends.cpu.get_cpu_capability() == "AVX2":
        log.warning("this CPU has no AVX-512: bf16 training takes about nine times as long as fp32 (precision fp32)")
    before = torch.get_num_threads()
    if knobs.threads is not None:
        torch.set_num_threads(knobs.threads)
    ranks = join_ranks(knobs.device)
    try:
        with asked_to_stop(knobs.stop) as stop:
            return _run(config, data, out, val, knobs, ranks, stop)
    finally:
        ranks.leave()
        torch.set_num_threads(before)


@freed_memory_is_kept()
def _run(
    config: PretrainConfig,
    data: str,
    out: Path,
    val: str | None,
    knobs: Knobs,
    ranks: Ranks,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    started = time.monotonic()
    check_backbone(config.arch, size=config.size, drop_path=config.drop_path)
    opening = stopping_progress(knobs.progress if ranks.first else None, stop)
    shards = ranks.share(lambda: _open("data", data, out, knobs, opening))
    val_shards = None if val is None else ranks.share(lambda: _open("val", val, out, knobs, opening))
    if val_shards is not None and val_shards.classes != shards.classes:
        raise ValueError(f"{val} has other classes than {data}, so its accuracy would mean nothing")
    val_digest = None if val_shards is None else val_shards.digest
    recorded = {**data_values(shards.classes, shards.digest), "val_digest": val_digest}
    identity = {"config": config_values(config), "data": recorded}
    total = config.epochs * steps_per_epoch(len(shards), config.batch_size)
    unit = 2 if config.mixes else 1
    rank_slice(config.batch_size, ranks.rank, ranks.world_size, unit)  # refuses a batch too small for the ranks
    skipped = {"data": shards.skipped_names, "val": None if val_shards is None else val_shards.skipped_names}
    ranks.share(lambda: _claim(out, identity, skipped))
    source = _source(config, shards, knobs, ranks, opening)
    val_source = None if val_shards is None else _source(config, val_shards, knobs, ranks, opening)

    trainer = Trainer(config, len(shards.classes), len(shards), knobs.device, ranks, compile=knobs.compile)
    folder = out / "checkpoints"
    saved = ranks.share(lambda: checkpoints(folder))
    sums = _resume(trainer, saved[-1], len(shards.classes)) if saved else NO_SUMS
    watch = Watch(
        out if ranks.first else None,
        start=trainer.step,
        total=total,
        batch_size=config.batch_size,
        progress=knobs.progress if ranks.first else None,
        tensorboard=knobs.tensorboard,
        sums=sums,
    )
    plans = plan_batches(
        num_samples=len(shards),
        batch_size=config.batch_size,
        seed=config.seed,
        start=trainer.step,
        stop=total,
        rank=ranks.rank,
        world_size=ranks.world_size,
        unit=unit,
    )

    def save() -> None:
        if ranks.first:
            watch.flush()
            state = {**trainer.state(), "epoch_sums": watch.sums}
            save_checkpoint(folder, trainer.step, state, keep=max(1, knobs.keep_checkpoints))

    def save_and_stop() -> NoReturn:
        save()
        ranks.wait()  # a rank that ends before the first one has saved may make torchrun end that one
        raise SavedAndStoppedError(f"stopped after step {trainer.step} of {total}; saved in {folder}")

    def settle(batch: Batch, read: Callable[[], StepResult]) -> bool:
        """Waits for a step; true when a rank was asked to stop before it."""
        result = read()
        if not result.finite:
            step, epoch, loss = batch.step, batch.epoch, result.loss
            why = ranks.share(lambda: describe_divergence(config, step, epoch, loss, shards, out))
            raise TrainingDivergedError(why)
        watch.step(batch.step + 1, batch.epoch, result)
        return result.asked_to_stop

    def end_epoch() -> None:
        validate = None if val_source is None else lambda: _accuracy(trainer, val_source, ranks, stop)
        try:
            accuracy = watch.epoch(trainer.step, trainer.step // per_epoch - 1, validate)
        except _ValidationStoppedError:
            save_and_stop()
        if accuracy is not None and accuracy > trainer.best:
            trainer.best = accuracy
            if ranks.first:
                save_backbone(folder / "best.safetensors", trainer.averaged, _header(config, shards, trainer.step))

    per_epoch = total // config.epochs
    last_save = time.monotonic()
    begun: deque[tuple[Batch, Callable[[], StepResult]]] = deque()
    try:
        if watch.sums["steps"] == per_epoch:
            end_epoch()  # it was stopped in its validation
        batches = load_batches(source, plans, workers=knobs.workers, pin=knobs.device == "cuda")
        for batch in watch.timed(batches):
            begun.append((batch, trainer.begin_step(batch, stop=stop)))
            epoch_ends = trainer.step % per_epoch == 0
            stopping = False
            while len(begun) > (0 if epoch_ends or stopping else STEPS_AHEAD[knobs.device]):
                stopping |= settle(*begun.popleft())
            if epoch_ends:
                end_epoch()
            if stopping and trainer.step < total:
                save_and_stop()
            if trainer.step < total and time.monotonic() - last_save >= knobs.checkpoint_every_s:
                # they stay in line: a stop is heeded in the same round on every rank, and ranks' clocks differ
                for last, read in begun:
                    settle(last, read)
                save()
                last_save = time.monotonic()
    finally:
        watch.close()
    weights = trainer.averaged.state_dict()
    # the first rank's, which are those that are saved: norm statistics differ between ranks
    bad = ranks.share(lambda: [name for name, value in weights.items() if not bool(torch.isfinite(value).all())])
    if bad:
        raise TrainingDivergedError(f"the trained weights are not finite: {', '.join(bad[:3])}")
    summary = {
        "arch": config.arch,
        "num_classes": len(shards.classes),
        "num_images": len(shards),
        "data_digest": shards.digest,
        "skipped_shards": list(shards.skipped),
        "epochs": config.epochs,
        "steps": total,
        "images_from": "memory" if source.cache is not None else "shards",
        "seconds": round(time.monotonic() - started, 1),
        **watch.final(),
        "val_accuracy_best": trainer.best if val is not None else None,
        "val_digest": val_digest,
        "val_skipped_shards": list(val_shards.skipped) if val_shards is not None else [],
        "backbone": BACKBONE_NAME,
        "config": config_values(config),
        "classes": list(shards.classes),
    }
    ranks.share(lambda: _finish(out, trainer, _header(config, shards, total), summary, knobs))
    return summary


def _open(role: Literal["data", "val"], data: str, out: Path, knobs: Knobs, progress: Progress) -> ShardSet:
    """A run that goes on leaves out the shards that it was begun without and needs all others, so its data stay."""
    begun_without = _begun_without(out, role)
    on_bad_shard = knobs.on_bad_shard if begun_without is None else "stop"
    leave_out = begun_without or ()
    threads = max(1, min(8, torch.get_num_threads()))
    directory = Path(data)
    if is_remote(data):
        cache = knobs.shard_cache or out / "shards"
        directory = fetch_shards(data, cache, on_bad_shard=on_bad_shard, leave_out=leave_out, progress=progress)
    shards = open_shards(
        directory, on_bad_shard=on_bad_shard, leave_out=leave_out, location=data, threads=threads, progress=progress
    )
    for reason in shards.skipped:
        log.warning("%s: left out, %s", data, reason)
    return shards


def _begun_without(out: Path, role: Literal["data", "val"]) -> list[str] | None:
    """Names of the shards that the run in `out` leaves out; None: no run was begun there, or an earlier version's."""
    if not (out / CONFIG_NAME).is_file():
        return None
    recorded = json.loads((out / CONFIG_NAME).read_text(encoding="utf-8"))
    names: list[str] | None = recorded.get("skipped_shards", {}).get(role)
    return names


def _source(config: PretrainConfig, shards: ShardSet, knobs: Knobs, ranks: Ranks, progress: Progress) -> ImageSource:
    """Every rank decodes for itself; all stop if one was asked to."""
    policy = Augmentation(
        size=config.size,
        decoder=config.decoder,
        crop_scale=config.crop_scale,
        interpolation=config.interpolation,
        horizontal_flip=config.horizontal_flip,
        grayscale=config.grayscale,
        rand_augment=config.rand_augment,
    )
    cache, stopped = None, None
    try:
        cache = decode_all(shards, config.decoder, limit_bytes=knobs.cache_bytes, progress=progress)
    except SavedAndStoppedError as error:
        stopped = error
    if ranks.any(stopped is not None):
        raise stopped or SavedAndStoppedError("stopped while decoding images into memory; no step was taken")
    return ImageSource(shards, policy, config.seed, cache)


def _claim(out: Path, identity: dict[str, Any], skipped: dict[str, list[str] | None]) -> None:
    """Checks that `out` is this run's, marks it as such, and clears half-written files of a process that was killed."""
    check_same_run(out / CONFIG_NAME, identity)
    for left in out.rglob(".*.tmp"):
        left.unlink()
    if not (out / CONFIG_NAME).is_file():
        write_json(out / CONFIG_NAME, {**identity, "skipped_shards": skipped})


def _resume(trainer: Trainer, path: Path, num_classes: int) -> dict[str, float]:
    """Puts the checkpoint into the trainer; returns the sums of the epoch that it lies in."""
    state = load_checkpoint(path)
    if state["num_classes"] != num_classes:
        raise ValueError(f"checkpoint {path} was trained on {state['num_classes']} classes, the data has {num_classes}")
    if state["arch"] != trainer.config.arch:
        raise ValueError(f"checkpoint {path} is a {state['arch']}, the run is a {trainer.config.arch}")
    load_weights(trainer.model, state["model"], f"checkpoint {path}", trainer.config.arch)
    trainer.restore(state)
    # a checkpoint of an earlier version has none: the epoch's mean is then that of its other steps
    sums: dict[str, float] = state.get("epoch_sums", NO_SUMS)
    return sums


class _ValidationStoppedError(Exception):
    """Asked to stop during a validation, which the resumed run does again."""


def _accuracy(trainer: Trainer, source: ImageSource, ranks: Ranks, stop: Callable[[], bool]) -> float:
    """Share of the set that rank 0's weights, which are those that are saved, classify as labelled."""
    ranks.broadcast_buffers(trainer.averaged)
    counts = torch.zeros(2, dtype=torch.float64)
    batches = whole_images(source, VAL_BATCH, ranks.rank, ranks.world_size)
    for _ in range(-(-len(source.shards) // (VAL_BATCH * ranks.world_size))):  # as many rounds on every rank
        if ranks.any(stop()):
            raise _ValidationStoppedError
        for images, labels in itertools.islice(batches, 1):
            counts += torch.tensor([trainer.count_correct(images, labels), len(labels)], dtype=torch.float64)
    correct, seen = ranks.sum(counts.to(trainer.device)).tolist()
    return float(correct / seen)


def _header(config: PretrainConfig, shards: ShardSet, step: int) -> dict[str, str]:
    return {
        "arch": config.arch,
        "num_classes": str(len(shards.classes)),
        "classes": json.dumps(shards.classes),
        "size": str(config.size),
        "step": str(step),
        "data_digest": shards.digest,
        "config": json.dumps(config_values(config)),
    }


def _finish(out: Path, trainer: Trainer, header: dict[str, str], summary: dict[str, Any], knobs: Knobs) -> None:
    """Weights first, the summary that says the run is complete last."""
    save_backbone(out / BACKBONE_NAME, trainer.averaged, header)
    summary["backbone_sha256"] = sha256_file(out / BACKBONE_NAME)
    if knobs.keep_checkpoints:
        save_checkpoint(out / "checkpoints", trainer.step, trainer.state(), keep=knobs.keep_checkpoints)
    write_json(out / SUMMARY_NAME, summary)
    if not knobs.keep_checkpoints:
        remove_checkpoints(out / "checkpoints")
