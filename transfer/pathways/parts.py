"""The parts of a task as pixels: what every method trains on, what it chooses on, what it is tested on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from transfer.data import ImageSet, Task
from transfer.pathways.config import PathwayConfig
from transfer.pathways.pixels import UNREADABLE_SHARE, Pixels, joined, load_pixels
from transfer.splits import validation_mask

Progress = Callable[[int, int, str], None]


def decode_part(
    config: PathwayConfig,
    images: ImageSet,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    note: str,
    unreadable_share: float = UNREADABLE_SHARE,
    progress: Progress | None = None,
) -> Pixels:
    """One split of a task as the config wants to see it.

    Args:
        mean: per channel, where the config names none.
        std: likewise.
        note: which part of which task, for progress.
        unreadable_share: of the images that may be left out.
    """
    if progress is not None:
        progress(0, 1, f"decoding {len(images)} {note}")
    return load_pixels(
        images,
        size=config.size,
        resize=config.resize,
        evaluate_whole=config.evaluate_whole,
        uncut=config.uncut,
        wide=config.crop_from == "picture",
        threads=max(1, torch.get_num_threads()),
        unreadable_share=unreadable_share,
        mean=config.channel_mean or mean,
        std=config.channel_std or std,
    )


def training_part(
    config: PathwayConfig, task: Task, decode: Callable[[ImageSet, str], Pixels]
) -> tuple[Pixels, np.ndarray]:
    """All training images (the task's own validation part last), and which of them are held out for choosing.

    Args:
        decode: images and what they are, to pixels.

    Raises:
        ValueError: too few training images for a validation part.
    """
    train = decode(task.train, "training")
    if task.val is not None and len(task.val):
        val = decode(task.val, "validation")
        return joined(train, val), np.arange(len(train), len(train) + len(val))
    mask = validation_mask(
        train.labels.numpy(), fraction=config.validation, seed=config.split_seed, groups=train.images.groups
    )
    rows = np.flatnonzero(mask)
    if not len(rows) or len(train) - len(rows) < 2:
        share = f"a validation part of {config.validation}"
        raise ValueError(f"task {task.name}: {len(train)} training images leave no {share}")
    return train, rows


def final_part(config: PathwayConfig, train: Pixels, val_rows: np.ndarray) -> Pixels:
    """What the final networks train on, of `training_part`'s images."""
    if config.train_splits == "train+val":
        return train
    return train.select(np.setdiff1d(np.arange(len(train)), val_rows))
