"""Pictures of BlockDrop's easy and hard images: per class those that were given the fewest and the most blocks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from transfer.data import ImageSet
from transfer.images import resize_and_crop

_TILE = 96
_GAP = 6
_LINE = 18
_INK, _MUTED = (28, 36, 48), (91, 102, 117)


def easy_and_hard(
    images: ImageSet, blocks_kept: np.ndarray, classes: Sequence[str], *, out: Path, rows: int = 8, columns: int = 4
) -> str:
    """A sheet with one row per class: images with the fewest blocks on the left, others with the most on the right.

    No image stands on both sides: a class of n images has n // 2 on each, at most `columns`. Classes are those whose
    images differ most in blocks kept, at most `rows` of them; one whose images all keep the same number of blocks has
    no easy and hard ones and is left out. Without any class no file is written.

    Args:
        blocks_kept: (N,) blocks that ran for each image.

    Returns:
        One line that says which classes the sheet leaves out and why; empty if it shows all.
    """
    members = [np.flatnonzero(images.labels == label) for label in range(len(classes))]
    spread = np.array([float(np.ptp(blocks_kept[rows_of])) if len(rows_of) else 0.0 for rows_of in members])
    shown = [label for label in np.argsort(-spread, kind="stable").tolist() if spread[label] > 0]
    uniform = len(classes) - len(shown)
    same = f"{uniform} have no two test images that differ in blocks kept"
    if not shown:
        out.unlink(missing_ok=True)
        return f"no picture of easy and hard images: of {len(classes)} classes {same}"
    further = len(shown[rows:])
    shown = shown[:rows]
    _draw(images, blocks_kept, [(classes[label], members[label]) for label in shown], columns, out)
    reasons = [same] * (uniform > 0) + [f"{further} differ less"] * (further > 0)
    if not reasons:
        return ""
    return f"{out.name} shows {len(shown)} of {len(classes)} classes: {' and '.join(reasons)}"


def _draw(
    images: ImageSet, blocks_kept: np.ndarray, shown: Sequence[tuple[str, np.ndarray]], columns: int, out: Path
) -> None:
    """Write the sheet; `shown` holds the name of each class and the positions of its images."""
    step, row_height = _TILE + _GAP, _TILE + 2 * _LINE + 2 * _GAP
    middle = columns * step + 3 * _GAP  # left edge of the right half
    sheet = Image.new("RGB", (middle + columns * step + _GAP, _LINE + 2 * _GAP + row_height * len(shown)), "white")
    draw = ImageDraw.Draw(sheet)
    font, small = ImageFont.load_default(size=13), ImageFont.load_default(size=11)
    for left, title in ((_GAP, "fewest blocks"), (middle, "most blocks")):
        draw.text((left, _GAP), title, fill=_INK, font=font)
    rule = middle - 2 * _GAP
    draw.line((rule, _GAP, rule, sheet.height - _GAP), fill=(223, 227, 232))
    for row, (name, members) in enumerate(shown):
        order = members[np.argsort(blocks_kept[members], kind="stable")]
        side = min(columns, len(order) // 2)
        top = _LINE + 2 * _GAP + row * row_height
        draw.text((_GAP, top), _shortened(draw, name, font, columns * step), fill=_INK, font=font)
        for left, chosen in ((_GAP, order[:side]), (middle, order[len(order) - side :])):
            for column, index in enumerate(chosen.tolist()):
                tile = resize_and_crop(images.read(index), size=_TILE, resize=_TILE)
                place = left + column * step
                sheet.paste(Image.fromarray(tile.transpose(1, 2, 0)), (place, top + _LINE))
                said = f"{blocks_kept[index]:g} {'block' if blocks_kept[index] == 1 else 'blocks'}"
                draw.text((place, top + _LINE + _TILE + 2), said, fill=_MUTED, font=small)
    temporary = out.with_name(f".{out.name}.tmp")
    sheet.save(temporary, format="PNG", optimize=True)
    temporary.replace(out)


def _shortened(
    draw: ImageDraw.ImageDraw, name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int
) -> str:
    text = " ".join(name.split())
    while draw.textlength(text, font=font) > width:
        text = text.removesuffix("…")[:-1].rstrip() + "…"
    return text
