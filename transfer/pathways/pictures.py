"""Pictures of BlockDrop's easy and hard images: per class those that were given the fewest and the most blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from transfer.data import ImageSet
from transfer.images import resize_and_crop

_TILE = 96
_TEXT_HEIGHT = 14


def easy_and_hard(
    images: ImageSet, blocks_kept: np.ndarray, classes: Sequence[str], *, out: Path, rows: int = 8, columns: int = 4
) -> None:
    """A sheet with one row per class: `columns` images with the fewest blocks on the left, with the most on the right.

    Classes are those whose images differ most in blocks kept, at most `rows` of them.

    Args:
        blocks_kept: (N,) blocks that ran for each image.
    """
    members = [np.flatnonzero(images.labels == label) for label in range(len(classes))]
    spread = [float(np.ptp(blocks_kept[rows_of])) if len(rows_of) else -1.0 for rows_of in members]
    shown = [label for label in np.argsort(-np.array(spread), kind="stable")[:rows].tolist() if len(members[label])]
    gap = _TILE // 4
    width, height = 2 * columns * _TILE + gap, _TILE + 2 * _TEXT_HEIGHT
    sheet = Image.new("RGB", (width, height * len(shown)), (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(shown):
        order = members[label][np.argsort(blocks_kept[members[label]], kind="stable")]
        few, many = order[:columns], order[len(order) - min(columns, len(order)) :]
        top = row * height
        # Pillow's built-in font knows Latin-1 only; the report has the class's true name.
        name = classes[label].encode("latin-1", "replace").decode("latin-1")
        draw.text((2, top), f"{name}: fewest blocks, most blocks", fill=(0, 0, 0))
        for side, chosen in enumerate((few, many)):
            for column, index in enumerate(chosen.tolist()):
                tile = resize_and_crop(images.read(index), size=_TILE - 4, resize=_TILE - 4)
                left = side * (columns * _TILE + gap) + column * _TILE
                sheet.paste(Image.fromarray(tile.transpose(1, 2, 0)), (left, top + _TEXT_HEIGHT))
                draw.text((left + 2, top + _TEXT_HEIGHT + _TILE - 3), f"{blocks_kept[index]:g}", fill=(0, 0, 0))
    temporary = out.with_name(f".{out.name}.tmp")
    sheet.save(temporary, format="PNG")
    temporary.replace(out)
