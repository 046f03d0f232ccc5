"""Pictures of the report: small contact sheets of a task's images, and pictures as data: addresses.

Both take what others made (image folders, rendered sheets) and trust none of it: only the plain formats of
`FORMATS` are decoded, and only up to `MAX_PIXELS`.
"""

from __future__ import annotations

import base64
import io
import os
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 100_000_000  # a 10,000 x 10,000 sheet; a decompression bomb is larger

Array = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """A picture inside the page."""

    uri: str
    width: int
    height: int


def open_picture(path: Path) -> Image.Image:
    """The picture, decoded, as RGB on white. Raises FileNotFoundError or ValueError (one line)."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS:,}")
                return _on_white(image)
    except (
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
        Image.DecompressionBombWarning,
    ) as error:
        raise ValueError(f"{path} is no readable picture: {error}") from error


def embed_picture(path: Path, *, max_width: int) -> Picture:
    """The picture at most `max_width` wide as a data: address, PNG or JPEG, whichever is smaller."""
    image = open_picture(path)
    if image.width > max_width:
        height = max(1, round(image.height * max_width / image.width))
        image = image.resize((max_width, height), Image.Resampling.LANCZOS)
    encoded = []
    for kind, options in (("jpeg", {"quality": 84, "optimize": True}), ("png", {"optimize": True})):
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        encoded.append((len(buffer.getvalue()), kind, buffer.getvalue()))
    _, kind, data = min(encoded)
    return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", image.width, image.height)


def task_sheet(
    images: Sequence[Path | Array],
    labels: Sequence[str],
    out_png: Path,
    *,
    columns: int = 6,
    tile: int = 96,
) -> None:
    """Write a grid of images (files, or uint8 arrays (H, W) or (H, W, 3)) with their labels underneath.

    Every image keeps its proportions inside a square of `tile` pixels; one that is smaller than half of
    that is enlarged without smoothing, so that 8 x 8 digits stay what they are. Raises ValueError for no
    images, for another number of labels than of images, and for a picture that cannot be read.
    """
    if not images or len(images) != len(labels):
        raise ValueError(
            f"{len(images)} images with {len(labels)} labels; needed: as many labels as images, at least one"
        )
    gap, caption = 6, 18
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * (tile + gap) + gap, rows * (tile + caption + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    for index, (source, label) in enumerate(zip(images, labels, strict=True)):
        image = _fit(_decode(source), tile)
        left = gap + (index % columns) * (tile + gap)
        top = gap + (index // columns) * (tile + caption + gap)
        sheet.paste(image, (left + (tile - image.width) // 2, top + (tile - image.height) // 2))
        text = " ".join(label.split())
        if draw.textlength(text, font=font) > tile:
            while text and draw.textlength(f"{text}…", font=font) > tile:
                text = text[:-1]
            text = f"{text.rstrip()}…"
        draw.text((left + tile / 2, top + tile + 2), text, fill=(70, 70, 70), font=font, anchor="ma")
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    write_whole(out_png, buffer.getvalue())


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears under its name only when it is complete and on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)  # mkstemp makes files that only their owner reads
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _decode(source: Path | Array) -> Image.Image:
    if isinstance(source, Path):
        return open_picture(source)
    if source.dtype != np.uint8 or not (source.ndim == 2 or (source.ndim == 3 and source.shape[2] == 3)):
        raise ValueError(f"image array is {source.dtype} {source.shape}; allowed: uint8 (H, W) or (H, W, 3)")
    return Image.fromarray(source).convert("RGB")


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, so that line drawings on nothing stay visible in dark mode."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def _fit(image: Image.Image, tile: int) -> Image.Image:
    scale = tile / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS)
