"""Image sets to batches of uint8 pixels, in this process or in others; broken files are named, not fatal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from transfer.data import ImageSet
from transfer.images import UnreadableImage, resize_and_crop

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PixelBatch:
    """Decoded images of one batch."""

    pixels: torch.Tensor  # (B, 3, S, S) uint8
    kept: list[int]
    skipped: list[tuple[str, str]]


class PixelDataset:
    """Picklable, so that DataLoader processes can run it: position -> pixels, or the reason why there are
    none."""

    def __init__(self, images: ImageSet, positions: np.ndarray, size: int, resize: int) -> None:
        self.images, self.positions, self.size, self.resize = images, positions, size, resize

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, item: int) -> tuple[int, np.ndarray | str]:
        position = int(self.positions[item])
        try:
            return position, resize_and_crop(self.images.read(position), size=self.size, resize=self.resize)
        except (UnreadableImage, FileNotFoundError) as error:
            return position, str(error) or type(error).__name__


def stream_pixels(
    images: ImageSet, positions: np.ndarray, *, size: int, resize: int, batch_size: int, workers: int = 0
) -> Iterator[PixelBatch]:
    """Decode, resize and batch these images in order; broken files are named instead of decoded."""
    from torch.utils.data import DataLoader

    dataset = PixelDataset(images, positions, size, resize)
    loader: Any = DataLoader(
        dataset,  # type: ignore[arg-type]
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context="forkserver" if workers else None,  # forking a process with threads deadlocks
    )
    for items in loader:
        yield _batch(items, images)


def _batch(items: list[tuple[int, np.ndarray | str]], images: ImageSet) -> PixelBatch:
    import torch

    good = [(position, value) for position, value in items if isinstance(value, np.ndarray)]
    bad = [(images.names[position], value) for position, value in items if isinstance(value, str)]
    pixels = torch.from_numpy(np.stack([value for _, value in good])) if good else torch.zeros(0)
    return PixelBatch(pixels, [position for position, _ in good], bad)


def check_readable(
    task: str, split: str, count: int, readable: int, skipped: Sequence[tuple[str, str]], limit: float
) -> None:
    """Raises ValueError when no image of a split is readable, or more than the share `limit` is not."""
    if count and not readable:
        reason = f"{skipped[0][0]}: {skipped[0][1]}" if skipped else "too few for one batch"
        raise ValueError(f"task {task}: none of the {count} {split} images is readable ({reason})")
    if len(skipped) > limit * count:
        name, reason = skipped[0]
        raise ValueError(
            f"task {task}: {len(skipped)} of {count} {split} images are unreadable, allowed share is {limit:g} "
            f"(first: {name}: {reason})"
        )
