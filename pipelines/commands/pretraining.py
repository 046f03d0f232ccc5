"""`simpath pretrain`: a data set in, a backbone out."""

from __future__ import annotations

import dataclasses
import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from pipelines.bar import progress_bar
from pipelines.locks import alone
from pipelines.terminal import say
from pipelines.usage import reading_options
from pretrain.recipes import RECIPES


def pretrain(
    data: str,
    out: Path,
    val: str | None = None,
    recipe: Literal["paper", "paper-sgd", "small", "demo"] = "paper",
    arch: str | None = None,
    size: int | None = None,
    epochs: int | None = None,
    warmup_epochs: float | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    learning_rate: float | None = None,
    clip_norm: float | None = None,
    drop_path: float | None = None,
    ema_decay: float | None = None,
    precision: Literal["bf16", "fp32"] | None = None,
    seed: int = 0,
    device: Literal["cpu", "cuda"] = "cpu",
    processes: int = 1,
    workers: int = 0,
    threads: int | None = None,
    on_bad_shard: Literal["stop", "skip"] = "stop",
    shard_cache: Path | None = None,
    checkpoint_every_s: float = 120.0,
    keep_checkpoints: int = 2,
    compile: bool = False,
) -> int:
    """Pre-train a backbone from scratch on a rendered data set; resumable.

    OUT gets backbone.safetensors (torchvision's ResNet keys), metrics.jsonl and summary.json. SIGTERM saves after the
    step that runs and ends with status 75. `torchrun --nproc-per-node=2 -m pipelines pretrain …`, by hand, saves as
    well, but torchrun's own status is 1 then, and it kills after 30 s (its --shutdown-timeout).

    Args:
        data: directory of the data set, or its http(s):// or s3:// address.
        val: data set to measure accuracy on after every epoch; the best epoch's weights are kept beside the last.
        out: directory of the results; run again with the same one to continue.
        recipe: `paper` is Task2Sim's (ResNet-50, 224 px, 100 epochs); `small` is for a few thousand images of 64 px.
        arch: another network than the recipe's, by torchvision's or timm's name; one that ends in a linear layer, so
            not squeezenet, and has no auxiliary classifiers as googlenet and inception_v3.
        size: pixels of a training image; default: the recipe's.
        epochs: passes over the data; default: the recipe's.
        warmup_epochs: in which the learning rate rises, fewer than `--epochs`; default: the recipe's.
        batch_size: images for each optimiser step, over all processes; default: the recipe's.
        micro_batch: images for each forward pass at most, a larger batch is accumulated; default: the recipe's.
        learning_rate: peak of the schedule; default: the recipe's.
        clip_norm: largest norm of the gradient; 0: no clipping; default: the recipe's.
        drop_path: stochastic depth, rate of the last block; 0: off, as networks without it need; default: the recipe's.
        ema_decay: save a moving average of the weights, for example 0.9998; 0: off; default: the recipe's.
        precision: of the forward pass; default: the recipe's. On CPUs without AVX-512 fp32 is many times faster.
        seed: of initialisation, order and augmentation.
        device: where to train.
        processes: that share every batch, on this machine, each with a GPU of its own or its part of the threads; a
            training may go on with another number of them.
        workers: processes that read and augment images, for each that trains; 0: in that one. A GPU waits unless most
            of the cores beside it do so.
        threads: CPU threads of PyTorch, over all processes; default: all cores.
        on_bad_shard: what to do about a shard that is not what the index says.
        shard_cache: where the shards of a remote data set are kept; default: OUT/shards.
        checkpoint_every_s: seconds between checkpoints; 0: one for each step.
        keep_checkpoints: newest checkpoints that stay.
        compile: use torch.compile.
    """
    from pipelines.training import check_processes, train_in_processes
    from pretrain.model import check_backbone
    from pretrain.stopping import asked_to_stop
    from pretrain.train import check_knobs
    from pretrain.train import pretrain as run_pretrain

    overrides: dict[str, Any] = {
        "seed": seed,
        "arch": arch,
        "size": size,
        "epochs": epochs,
        "warmup_epochs": warmup_epochs,
        "batch_size": batch_size,
        "micro_batch": micro_batch,
        "learning_rate": learning_rate,
        "clip_norm": clip_norm,
        "drop_path": drop_path,
        "ema_decay": ema_decay,
        "precision": precision,
    }
    knobs: dict[str, Any] = {
        "val": val,
        "device": device,
        "workers": workers,
        "threads": threads,
        "compile": compile,
        "on_bad_shard": on_bad_shard,
        "shard_cache": None if shard_cache is None else str(shard_cache),
        "checkpoint_every_s": checkpoint_every_s,
        "keep_checkpoints": keep_checkpoints,
    }
    with reading_options():
        given = {name: value for name, value in overrides.items() if value is not None}
        config = dataclasses.replace(RECIPES[recipe], **given)
        check_knobs(
            workers=workers,
            threads=threads,
            processes=processes,
            checkpoint_every_s=checkpoint_every_s,
            keep_checkpoints=keep_checkpoints,
        )
        check_processes(config, processes)
        check_backbone(config.arch, size=config.size, drop_path=config.drop_path)
    first = os.environ.get("RANK", "0") == "0"  # torchrun: every process has the same directory and summary
    with alone(out) if first else nullcontext(), progress_bar("pre-train", "steps") as progress:
        if processes == 1:
            summary = run_pretrain(config, data, out=out, progress=progress, **knobs)
        else:
            knobs["threads"] = threads or len(os.sched_getaffinity(0))
            with asked_to_stop(None) as stop:
                summary = train_in_processes(config, data, out, processes, knobs, progress, stop, quiet=True)
    if first:
        say(json.dumps(summary, indent=1))
        say(f"backbone  {out / 'backbone.safetensors'}")
    return 0
