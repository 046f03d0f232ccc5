"""Which samples make global batch number `step`: pure arithmetic, the same on every rank.

The position of a run is one number, the count of global batches consumed. Batch `step` is a function of (seed, step,
batch_size, number of samples) only; rank r of any world size takes its slice of it. So any world size and any number of
workers sees the same batches, and a resume at another world size continues where the old one stopped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

ORDER_STREAM = crc32(b"order")


@dataclass(frozen=True)
class BatchPlan:
    """One rank's share of one global batch."""

    step: int
    epoch: int
    indices: NDArray[np.int64]  # (b,) sample numbers


def epoch_order(seed: int, epoch: int, num_samples: int) -> NDArray[np.int64]:
    """The order of one epoch: a permutation drawn from (seed, epoch) alone."""
    return np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(num_samples)


def steps_per_epoch(num_samples: int, batch_size: int) -> int:
    """Whole global batches in an epoch; the last partial one is dropped, on every rank alike.

    Raises:
        ValueError: fewer samples than one batch.
    """
    if num_samples < batch_size:
        raise ValueError(f"batch_size {batch_size} is more than the {num_samples} images of the data set")
    return num_samples // batch_size


def rank_slice(batch_size: int, rank: int, world_size: int, unit: int) -> slice:
    """Positions of a global batch that rank `rank` takes; cuts lie on multiples of `unit`.

    Mixing pairs neighbours 2j and 2j + 1, so it takes unit 2: then no pair is torn apart, at any world size.

    Raises:
        ValueError: the batch is not a multiple of the unit, or has less than one unit per rank.
    """
    if batch_size % unit:
        raise ValueError(f"batch_size {batch_size} must be even with mixup or cutmix, which mix pairs")
    units = batch_size // unit
    if units < world_size:
        what = "images" if unit == 1 else "pairs of images"
        raise ValueError(f"a global batch of {batch_size} has {units} {what}, too few for {world_size} ranks")
    return slice(rank * units // world_size * unit, (rank + 1) * units // world_size * unit)


def plan_batches(
    *,
    num_samples: int,
    batch_size: int,
    seed: int,
    start: int,
    stop: int,
    rank: int = 0,
    world_size: int = 1,
    unit: int = 1,
) -> Iterator[BatchPlan]:
    """Plans of the global batches start to stop - 1, for one rank."""
    per_epoch = steps_per_epoch(num_samples, batch_size)
    share = rank_slice(batch_size, rank, world_size, unit)
    order, order_epoch = np.empty(0, np.int64), -1
    for step in range(start, stop):
        epoch, position = divmod(step, per_epoch)
        if epoch != order_epoch:
            order, order_epoch = epoch_order(seed, epoch, num_samples), epoch
        batch = order[position * batch_size : (position + 1) * batch_size]
        yield BatchPlan(step, epoch, batch[share])
