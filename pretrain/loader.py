"""Batches of augmented images, from memory or from the shards, in this process or in worker processes."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pretrain.augment import Augmentation, Decoder, augment, decode, resize
from pretrain.data import Progress, SampleReader, ShardSet
from pretrain.order import BatchPlan


@dataclass(frozen=True)
class Batch:
    """One rank's share of a global batch."""

    step: int
    epoch: int
    images: Tensor  # (b, 3, S, S) uint8
    labels: Tensor  # (b,) int64
    indices: NDArray[np.int64]  # (b,) sample numbers
    error: str = ""
    """Not empty: why the batch could not be made (an exception of a worker would arrive as a page of traceback)."""

    def pin_memory(self) -> Batch:
        images, labels = self.images.pin_memory(), self.labels.pin_memory()
        return Batch(self.step, self.epoch, images, labels, self.indices, self.error)


@dataclass
class ImageSource(Dataset[Batch]):
    """Makes the batch of a plan; decoded images come from `cache` when there is one."""

    shards: ShardSet
    policy: Augmentation
    seed: int
    cache: Tensor | None = None  # (N, 3, H, W) uint8
    reader: SampleReader = field(init=False)

    def __post_init__(self) -> None:
        self.reader = SampleReader(self.shards)

    def pixels(self, index: int) -> Tensor:
        if self.cache is not None:
            return self.cache[index]
        return read_image(self.reader, self.shards, index, self.policy.decoder)

    def __getitem__(self, plan: BatchPlan) -> Batch:
        size, count = self.policy.size, len(plan.indices)
        images = torch.empty(count, 3, size, size, dtype=torch.uint8)
        labels = torch.from_numpy(self.shards.label[plan.indices])
        try:
            for row, index in enumerate(plan.indices.tolist()):
                pixels = self.pixels(index)
                images[row] = augment(pixels, self.policy, seed=self.seed, epoch=plan.epoch, sample=index)
        except (ValueError, OSError) as error:
            return Batch(plan.step, plan.epoch, images, labels, plan.indices, str(error))
        return Batch(plan.step, plan.epoch, images, labels, plan.indices)


def read_image(reader: SampleReader, shards: ShardSet, index: int, decoder: Decoder) -> Tensor:
    """Decodes one sample.

    Raises:
        ValueError: it does not decode; the message names shard and key.
    """
    try:
        return decode(reader.read(index), decoder)
    except ValueError as error:
        raise ValueError(f"{shards.describe(index)}: {error}") from None


def decode_all(
    shards: ShardSet, decoder: Decoder, *, limit_bytes: int, progress: Progress | None = None
) -> Tensor | None:
    """The whole set decoded once, if it fits: uint8 (N, 3, H, W), else None.

    It fits when all images have one size and N x 3 x H x W bytes are at most `limit_bytes`. The pixels are those that
    decoding anew gives, so the rule changes the speed only. At 64 px a GiB holds 87,000 images, at 256 px 5,400.
    """
    reader = SampleReader(shards)
    try:
        first = read_image(reader, shards, 0, decoder)
        if first.numel() * len(shards) > limit_bytes:
            return None
        cache = torch.empty((len(shards), *first.shape), dtype=torch.uint8)
        for index in range(len(shards)):
            pixels = first if index == 0 else read_image(reader, shards, index, decoder)
            if pixels.shape != first.shape:
                return None
            cache[index] = pixels
            if progress and index % 256 == 0:
                progress(index, len(shards), "decoding images into memory")
    finally:
        reader.close()
    return cache


class _Plans(Sampler[BatchPlan]):
    def __init__(self, plans: Iterable[BatchPlan]) -> None:
        self._plans = plans

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self._plans)


def _start_worker(worker: int) -> None:
    """SIGTERM and SIGINT reach the whole process group; the main process decides when workers end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def load_batches(
    source: ImageSource, plans: Iterable[BatchPlan], *, workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Batches in the order of the plans; with workers, whole batches are made ahead in worker processes.

    Raises:
        ValueError: an image that does not decode, by shard and key.
    """
    loader = DataLoader(
        source,
        sampler=_Plans(plans),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 if workers else None,
        worker_init_fn=_start_worker if workers else None,
        pin_memory=pin,
    )
    for batch in loader:
        if batch.error:
            raise ValueError(batch.error)
        yield batch


def whole_images(
    source: ImageSource, batch_size: int, rank: int = 0, world_size: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """For evaluation: every `world_size`-th sample once, resized without a crop: images (b, 3, S, S), labels (b,)."""
    mine = range(rank, len(source.shards), world_size)
    for start in range(0, len(mine), batch_size):
        rows = list(mine[start : start + batch_size])
        views = [resize(source.pixels(row), source.policy.size, source.policy.interpolation) for row in rows]
        yield torch.stack(views), torch.from_numpy(source.shards.label[np.array(rows)])
