"""Pictures of predictions beside their labels, and of a policy as a grid of tasks and blocks.

In: scenes, predictions, probabilities. Out: PNG files.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pretrain.checkpoint import write_atomic
from transfer.dense.data import Scene
from transfer.dense.heads import resize_nearest
from transfer.dense.losses import DenseTask
from transfer.dense.metrics import IGNORED

_NO_LABEL = (128, 128, 128)
_INK, _PAPER, _RUN = (40, 40, 40), (255, 255, 255), (31, 91, 158)
_CAPTION = 16


def class_colors(classes: int) -> np.ndarray:
    """One colour per class, far apart in hue for neighbouring numbers. (C, 3) uint8."""
    colors = [colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.55 + 0.4 * (number % 2), 0.9) for number in range(classes)]
    return (255 * np.array(colors)).round().astype(np.uint8)


def picture_of(task: DenseTask, values: Tensor, *, valid: Tensor, limits: tuple[float, float]) -> np.ndarray:
    """A map of one task as colours. (H, W) classes, (3, H, W) normals or (1, H, W) -> (H, W, 3) uint8.

    Args:
        valid: (H, W) pixels that have a value; the others become grey.
        limits: of the grey scale of one-channel tasks.
    """
    if task.name == "segmentation":
        pixels = class_colors(task.outputs)[values.clamp(0, task.outputs - 1).numpy()]
    elif task.name == "normals":
        unit = torch.nn.functional.normalize(values, dim=0)
        pixels = ((unit + 1) / 2 * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    else:
        low, high = limits
        level = ((values[0] - low) / max(high - low, 1e-9)).clamp(0, 1)
        pixels = (255 * level).round().numpy().astype(np.uint8)[..., None].repeat(3, axis=2)
    return np.where(valid.numpy()[..., None], pixels, np.array(_NO_LABEL, np.uint8))


def prediction_sheet(
    scenes: Sequence[Scene],
    predictions: Mapping[str, Tensor],
    tasks: Sequence[DenseTask],
    *,
    out: Path,
    tile: int = 128,
) -> None:
    """One row per scene: the image, then label and prediction of every task.

    Args:
        predictions: per task (N, outputs, h, w) for these scenes.
    """
    columns = ["image", *(name for task in tasks for name in (task.name, "predicted"))]
    gap = 4
    sheet = Image.new("RGB", (len(columns) * (tile + gap) + gap, len(scenes) * (tile + gap) + gap + _CAPTION), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, text in enumerate(columns):
        draw.text((gap + column * (tile + gap), 2), text, fill=_INK, font=font)
    for row, scene in enumerate(scenes):
        tiles = [(scene.image.permute(1, 2, 0) * 255).round().clamp(0, 255).numpy().astype(np.uint8)]
        for task in tasks:
            tiles += _label_and_prediction(task, scene, predictions[task.name][row])
        for column, pixels in enumerate(tiles):
            picture = Image.fromarray(pixels).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(picture, (gap + column * (tile + gap), _CAPTION + gap + row * (tile + gap)))
    write_atomic(out, lambda name: sheet.save(name, "PNG"))


def _label_and_prediction(task: DenseTask, scene: Scene, prediction: Tensor) -> list[np.ndarray]:
    height, width = scene.image.shape[-2:]
    everywhere = torch.ones(height, width, dtype=torch.bool)
    enlarged = resize_nearest(prediction, (height, width))
    guess = enlarged.argmax(0) if task.name == "segmentation" else enlarged
    label = scene.labels.get(task.name)
    if label is None:
        nothing = torch.full((height, width), IGNORED) if task.name == "segmentation" else torch.zeros_like(guess)
        limits = (float(guess.min()), float(guess.max()))
        return [
            picture_of(task, nothing, valid=~everywhere, limits=limits),
            picture_of(task, guess, valid=everywhere, limits=limits),
        ]
    valid = task.valid(label[None])[0]
    shown = label[..., valid]
    limits = (float(shown.min()), float(shown.max())) if shown.numel() else (0.0, 1.0)
    return [
        picture_of(task, label, valid=valid, limits=limits),
        picture_of(task, guess, valid=everywhere, limits=limits),
    ]


def policy_grid(
    probabilities: Sequence[Sequence[float]], policy: Sequence[Sequence[int]], tasks: Sequence[str], *, out: Path
) -> None:
    """Tasks as rows, blocks as columns: the shade is the probability of running, a frame marks the blocks that run."""
    cell, margin = 30, 110
    blocks = len(probabilities[0])
    text = "shade: probability of running the block; frame: runs in the chosen policy"
    font = ImageFont.load_default(11)
    width = max(margin + blocks * cell + 10, 12 + round(font.getlength(text)))
    sheet = Image.new("RGB", (width, _CAPTION + len(tasks) * cell + 30), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for block in range(blocks):
        draw.text((margin + block * cell + cell / 2, 2), str(block + 1), fill=_INK, font=font, anchor="ma")
    for row, (task, values, decisions) in enumerate(zip(tasks, probabilities, policy, strict=True)):
        top = _CAPTION + row * cell
        draw.text((6, top + cell / 2), task, fill=_INK, font=font, anchor="lm")
        for block, (value, decision) in enumerate(zip(values, decisions, strict=True)):
            left = margin + block * cell
            shade = tuple(round(p + (r - p) * value) for p, r in zip(_PAPER, _RUN, strict=True))
            draw.rectangle((left + 2, top + 2, left + cell - 3, top + cell - 3), fill=shade, outline=(200, 200, 200))
            if decision:
                draw.rectangle((left + 2, top + 2, left + cell - 3, top + cell - 3), outline=_INK, width=2)
    draw.text((6, _CAPTION + len(tasks) * cell + 8), text, fill=_INK, font=font)
    write_atomic(out, lambda name: sheet.save(name, "PNG"))
