"""Images of a task as batches: uint8 pixels in memory where they fit, decoded on the way where they do not.

In: a `transfer.data.ImageSet`. Out: normalised float batches, a random view in training and the centre crop in
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from transfer.data import ImageSet
from transfer.images import IMAGENET_MEAN, IMAGENET_STD, UnreadableImage, resize_and_crop

MEMORY_LIMIT_BYTES = 4 * 1024**3
"""Decoded pixels kept in memory per split; larger splits are decoded for every batch."""
UNREADABLE_SHARE = 0.02
"""Broken files up to this share are left out and named; more is an error."""

Augment = Literal["none", "crop", "crop_flip"]


@dataclass(frozen=True)
class Pixels:
    """N labelled images, ready to be cut into batches.

    Attributes:
        images: what is decoded; its labels are `labels`.
        labels: (N,) int64.
        size: side of the view; `margin` more pixels per side are kept for random crops.
        stored: (N, 3, size + margin, size + margin) uint8, or None where it would not fit into memory.
        skipped: names of the unreadable files.
        evaluate_whole: evaluation sees the whole stored square instead of its centre.
        uncut: (H, W) of pictures that are only resized; training and evaluation see all of them.
        wide: random crops come from anywhere in the resized pictures, not all of them square: decoded on the way.
    """

    images: ImageSet
    labels: Tensor
    size: int
    margin: int
    stored: Tensor | None
    skipped: tuple[str, ...] = ()
    evaluate_whole: bool = False
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    uncut: tuple[int, int] | None = None
    wide: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray) -> Pixels:
        """The images at these positions, in this order."""
        rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        return replace(
            self,
            images=self.images.select(np.asarray(indices, dtype=np.int64)),
            labels=self.labels[rows],
            stored=None if self.stored is None else self.stored[rows],
            skipped=(),
        )

    def _pixels(self, rows: Tensor) -> Tensor:
        if self.stored is not None:
            return self.stored[rows]
        return torch.stack(self._decoded(rows, uncut=self.uncut is not None))

    def _decoded(self, rows: Tensor, *, uncut: bool) -> list[Tensor]:  # of (3, H, W) uint8
        side = self.size + self.margin
        return [torch.from_numpy(_resized(self.images.read(int(row)), side, uncut=uncut)) for row in rows]

    def view(self, rows: Tensor, augment: Augment, generator: torch.Generator) -> Tensor:
        """Normalised views of these images. (B,) -> (B, 3, size, size) float32, channels last; uncut ones whole."""
        if self.uncut is not None:
            return self.normalise(self._pixels(rows))
        count, size = len(rows), self.size
        if augment == "none":
            start = self.margin // 2
            cut = self._pixels(rows)[:, :, start : start + size, start : start + size]
        else:
            pictures = self._decoded(rows, uncut=True) if self.wide else list(self._pixels(rows))
            # Drawn for every image in any case, so that flipping or not does not change the crops.
            if self.wide:
                reach = torch.tensor([[image.shape[1] - size + 1, image.shape[2] - size + 1] for image in pictures])
                drawn = torch.rand((count, 2), generator=generator, dtype=torch.float64)
                corner = (drawn * reach).long().tolist()
            else:
                corner = torch.randint(0, self.margin + 1, (count, 2), generator=generator).tolist()
            flip = torch.rand(count, generator=generator) < 0.5
            cut = torch.stack(
                [image[:, y : y + size, x : x + size] for image, (y, x) in zip(pictures, corner, strict=True)]
            )
            if augment == "crop_flip":
                cut[flip] = cut[flip].flip(-1)
        return self.normalise(cut)

    def normalise(self, cut: Tensor) -> Tensor:
        """uint8 pixels to zero mean and unit deviation per channel. (B, 3, H, W) -> the same shape, float32."""
        mean = torch.tensor(self.mean).view(1, 3, 1, 1) * 255
        std = torch.tensor(self.std).view(1, 3, 1, 1) * 255
        return ((cut.float() - mean) / std).contiguous(memory_format=torch.channels_last)

    def in_order(self, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Evaluation views in the stored order: (rows (B,), images (B, 3, S, S))."""
        unused = torch.Generator()
        for rows in torch.split(torch.arange(len(self)), batch_size):
            whole = self.normalise(self._pixels(rows)) if self.evaluate_whole else None
            yield rows, self.view(rows, "none", unused) if whole is None else whole

    @property
    def evaluation_shape(self) -> tuple[int, int]:
        """Height and width of the evaluation views."""
        side = self.size + self.margin if self.evaluate_whole else self.size
        return self.uncut or (side, side)


def _resized(image: Image.Image, side: int, *, uncut: bool) -> np.ndarray:
    """Short side to `side`, then the central square of it unless told otherwise. (3, H, W) uint8."""
    if not uncut:
        return resize_and_crop(image, size=side, resize=side)
    width, height = image.size
    scale = side / min(width, height)
    target = (side, int(height * scale)) if width <= height else (int(width * scale), side)  # torchvision's rule
    target = (max(target[0], side), max(target[1], side))
    resized = image if target == image.size else image.resize(target, Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(resized).transpose(2, 0, 1))


def load_pixels(
    images: ImageSet,
    *,
    size: int,
    resize: int | None = None,
    evaluate_whole: bool = False,
    uncut: bool = False,
    wide: bool = False,
    threads: int = 2,
    memory_limit_bytes: int = MEMORY_LIMIT_BYTES,
    unreadable_share: float = UNREADABLE_SHARE,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> Pixels:
    """Decode a split: short side to `resize` (None: size * 8/7), central square of that side (all of it if `uncut`).

    With `wide` random crops come from anywhere in the resized picture: a split that is not all squares is decoded anew
    for every batch of them, one of squares gives the same crops as without.

    Raises:
        ValueError: more than `unreadable_share` of the files, or all, cannot be decoded, or uncut ones differ in shape.
    """
    margin = size * 8 // 7 - size if resize is None else resize - size
    side = size + margin

    def decode(index: int) -> np.ndarray | str:
        try:
            image = images.read(index)
            oblong[index] = image.width != image.height
            return _resized(image, side, uncut=uncut)
        except UnreadableImage as error:
            return f"{images.names[index]}: {error}"

    stored: torch.Tensor | None = None
    shape: tuple[int, int] | None = None
    oblong = np.zeros(len(images), dtype=bool)
    good = np.ones(len(images), dtype=bool)
    skipped = []
    with ThreadPoolExecutor(threads) as pool:
        for index, decoded in enumerate(pool.map(decode, range(len(images)))):
            if isinstance(decoded, str):
                good[index] = False
                skipped.append(decoded)
                continue
            if shape is None:
                shape = (decoded.shape[1], decoded.shape[2])
                if len(images) * decoded.nbytes <= memory_limit_bytes:
                    stored = torch.empty((len(images), 3, *shape), dtype=torch.uint8)
            if decoded.shape[1:] != shape:
                found = f"{images.names[index]} is {decoded.shape[1]} x {decoded.shape[2]} after resizing"
                raise ValueError(f"{found}, the first picture {shape[0]} x {shape[1]}; uncut ones need one shape")
            if stored is not None:
                stored[index] = torch.from_numpy(decoded)
    if len(skipped) > unreadable_share * len(images) or len(skipped) == len(images) > 0:
        raise ValueError(f"{len(skipped)} of {len(images)} images cannot be decoded, first {skipped[0]}")
    labels = torch.from_numpy(images.labels.astype(np.int64))
    everything = Pixels(
        images,
        labels,
        size,
        margin,
        stored,
        evaluate_whole=evaluate_whole,
        mean=mean,
        std=std,
        uncut=shape if uncut else None,
        wide=wide and bool(oblong.any()),
    )
    if not skipped:
        return everything
    return replace(everything.select(np.flatnonzero(good)), skipped=tuple(skipped))


def joined(first: Pixels, second: Pixels) -> Pixels:
    """Two splits of one task as one, in this order.

    Raises:
        ValueError: uncut pictures of two shapes.
    """
    if first.uncut != second.uncut:
        raise ValueError(f"training pictures are {first.uncut} after resizing, those for validation {second.uncut}")
    images = _Joined(first.images, second.images)
    stored = None
    if first.stored is not None and second.stored is not None:
        stored = torch.cat([first.stored, second.stored])
    names = (*first.images.names, *second.images.names)
    labels = np.concatenate([first.images.labels, second.images.labels])
    both = ImageSet(names, labels, images, np.arange(len(names)))
    return replace(
        first,
        images=both,
        labels=torch.cat([first.labels, second.labels]),
        stored=stored,
        wide=first.wide or second.wide,
        skipped=(*first.skipped, *second.skipped),
    )


@dataclass(frozen=True)
class _Joined:
    """An image source over two image sets, one after the other."""

    first: ImageSet
    second: ImageSet

    def read(self, row: int) -> Image.Image:
        return self.first.read(row) if row < len(self.first) else self.second.read(row - len(self.first))
