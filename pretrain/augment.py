"""Encoded image in, augmented uint8 tensor out; and the mixing of whole batches.

Every draw comes from (seed, epoch, sample), for mixing from (seed, step): never from the process, the worker or the
batch in which a sample happens to be, so that batches are equal for any number of workers and ranks.
"""

from __future__ import annotations

import contextlib
import functools
import io
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast
from zlib import crc32

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

Decoder = Literal["torchvision", "pillow"]
Interpolation = Literal["bilinear", "bicubic"]

FORMATS = ("JPEG", "PNG", "WEBP")
"""What Pillow may take a member for, whatever its name: it would hand PostScript to Ghostscript."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""ImageNet's channel statistics, which torchvision's and the downstream protocols use."""

AUGMENT_STREAM = crc32(b"augment")
MIX_STREAM = crc32(b"mix")
CROP_TRIES = 10
"""As in torchvision's RandomResizedCrop: after this many boxes that do not fit, the largest centred one is taken."""


@dataclass(frozen=True)
class Augmentation:
    """What happens to one image, in this order."""

    size: int
    decoder: Decoder = "torchvision"
    crop_scale: tuple[float, float] = (0.08, 1.0)
    """Area of the crop as a share of the image."""
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bicubic"
    horizontal_flip: float = 0.5
    grayscale: float = 0.0
    """Probability that the colours are dropped (luma in all three channels)."""
    rand_augment: str = ""
    """timm's policy name; empty: none."""


def decode(content: bytearray, decoder: Decoder) -> Tensor:
    """JPEG, PNG or WebP bytes to uint8 (3, H, W).

    Raises:
        ValueError: the bytes are no such image, or cut short.
    """
    if decoder == "pillow":
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                array = np.asarray(image.convert("RGB"))
        except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
            raise ValueError(f"the image does not decode: {error}") from None
        return torch.from_numpy(array.copy()).permute(2, 0, 1)
    from torchvision.io import ImageReadMode

    if not content:
        raise ValueError("the image does not decode: it is empty")
    try:
        # the operator behind torchvision.io.decode_image, whose front warns on every call that it will be moved
        pixels: Tensor = torch.ops.image.decode_image(
            torch.frombuffer(content, dtype=torch.uint8), ImageReadMode.RGB.value
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the image does not decode: {str(error).splitlines()[0]}") from None
    if pixels.dtype != torch.uint8:
        raise ValueError(f"the image does not decode: its pixels are {pixels.dtype}, not 8 bits")
    if pixels.ndim != 3:  # the operator also takes a GIF
        raise ValueError(f"the image does not decode: it holds {len(pixels)} frames")
    return pixels


def crop_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height, width of a RandomResizedCrop, by torchvision's rule (area uniform, ratio log-uniform)."""
    for _ in range(CROP_TRIES):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    w = min(width, max(1, round(height * ratio[1]))) if width / height > ratio[1] else width
    h = min(height, max(1, round(width / ratio[0]))) if width / height < ratio[0] else height
    return (height - h) // 2, (width - w) // 2, h, w


def resize(pixels: Tensor, size: int, interpolation: Interpolation) -> Tensor:
    """uint8 (3, H, W) to (3, size, size), antialiased; torch's integer kernel, the same bits at any thread count."""
    if pixels.shape[-2:] == (size, size):
        return pixels
    return functional.interpolate(pixels[None], size=(size, size), mode=interpolation, antialias=True)[0]


def augment(pixels: Tensor, policy: Augmentation, *, seed: int, epoch: int, sample: int) -> Tensor:
    """One augmented view: crop, resize, flip, grayscale, RandAugment. uint8 (3, H, W) to (3, size, size)."""
    rng = np.random.default_rng([seed, AUGMENT_STREAM, epoch, sample])
    flip, gray = rng.random(2)
    top, left, h, w = crop_box(pixels.shape[1], pixels.shape[2], policy.crop_scale, policy.crop_ratio, rng)
    view = resize(pixels[:, top : top + h, left : left + w], policy.size, policy.interpolation)
    if flip < policy.horizontal_flip:
        view = view.flip(-1)
    if gray < policy.grayscale:
        red, green, blue = view.to(torch.int32)
        luma = (299 * red + 587 * green + 114 * blue) // 1000
        view = luma.to(torch.uint8).expand(3, -1, -1)
    if policy.rand_augment:
        with seeded_globals(rng):
            # Pillow interleaves the channels and takes them apart again four times as fast as a strided copy
            image = Image.merge("RGB", [Image.fromarray(channel.numpy()) for channel in view.contiguous()])
            channels = _rand_augment(policy)(image).split()
            view = torch.from_numpy(np.stack([np.asarray(channel) for channel in channels]))
    return view


_policies: dict[Augmentation, Any] = {}


def _rand_augment(policy: Augmentation) -> Any:
    """timm's RandAugment as its training script builds it (translation bound by the size, ImageNet's mean as fill).

    But for the interpolation, which is drawn here (deviation 5 of `train.PretrainConfig`).
    """
    if policy not in _policies:
        from timm.data.auto_augment import rand_augment_transform

        hparams = {"translate_const": int(policy.size * 0.45), "img_mean": tuple(round(255 * x) for x in MEAN)}
        transform = rand_augment_transform(policy.rand_augment, hparams)
        for op in transform.ops:
            if op.name.startswith("Posterize"):
                op.level_fn = functools.partial(_at_least_one_bit, op.level_fn)
        _policies[policy] = transform
    return _policies[policy]


def _at_least_one_bit(level_function: Any, level: float, hparams: Any) -> tuple[int]:
    """At its highest level timm's rising posterize keeps 0 bits, a black image, which Pillow 13 refuses."""
    (bits,) = level_function(level, hparams)
    return (max(1, bits),)


@functools.cache
def _seeder() -> np.random.RandomState:
    """Reused: making one takes 0.3 ms, because it asks the system for entropy first."""
    return np.random.RandomState(0)


@contextlib.contextmanager
def seeded_globals(rng: np.random.Generator) -> Iterator[None]:
    """timm draws from `random` and `np.random`: both are set from `rng` inside and put back afterwards."""
    state, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    word = int(rng.integers(2**32))
    random.seed(word)
    _seeder().seed(word)
    np.random.set_state(_seeder().get_state())  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(state)
        np.random.set_state(numpy_state)  # noqa: NPY002


@functools.cache
def _statistics(device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a channel in bytes, made once: a GPU tensor from Python's numbers waits for the queue."""
    with torch.inference_mode(False):  # evaluation may be the first to ask
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in (MEAN, STD))
    return mean, std


def normalize(pixels: Tensor) -> Tensor:
    """uint8 (B, 3, H, W) to float32 in ImageNet's units, channels_last."""
    mean, std = _statistics(pixels.device)
    # the layout changes while a pixel is one byte
    return pixels.contiguous(memory_format=torch.channels_last).float().sub_(mean).div_(std)


def mirror_pairs(rows: Tensor) -> Tensor:
    """Puts the neighbours (2j, 2j + 1) at mirrored places, where timm's batch mode looks for partners.

    Slices, because an index made on the CPU would be waited for by a GPU's queue.
    """
    return torch.cat([rows[0::2], rows[1::2].flip(0)])


class Mixer:
    """timm's Mixup in batch mode: one lambda, and one box for cutmix, per global batch, drawn from (seed, step).

    Task2Sim draws them for each GPU's part of the batch (deviation 4 of `train.PretrainConfig`). Partners are
    neighbours in the global batch (see `order.rank_slice`), so ranks and micro-batches that hold whole pairs mix what
    one process would.
    """

    def __init__(self, *, mixup: float, cutmix: float, label_smoothing: float, num_classes: int, seed: int) -> None:
        from timm.data.mixup import Mixup

        self._seed = seed
        self._mixup: Any = cast(Any, Mixup)(
            mixup_alpha=mixup, cutmix_alpha=cutmix, label_smoothing=label_smoothing, num_classes=num_classes
        )

    def __call__(self, images: Tensor, labels: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """uint8 (b, 3, S, S) and (b,) labels, b even, to normalized mixed images and soft targets (b, classes)."""
        with seeded_globals(np.random.default_rng([self._seed, MIX_STREAM, step])):
            mixed, targets = self._mixup(normalize(mirror_pairs(images)), mirror_pairs(labels))
        return mixed, targets
