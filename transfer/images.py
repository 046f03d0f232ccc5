"""Any image file in, one plain RGB picture out; then the test transform: resize, centre crop.

Users' folders hold grey, 16-bit, palette, RGBA and CMYK files, turned phone pictures and broken downloads.
All of that is settled here, once, so that every protocol sees the same (3, S, S) uint8 array.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".jfif", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What Pillow may take a file for, whatever its name: it would hand PostScript to Ghostscript."""
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class UnreadableImage(ValueError):
    """A file that should be an image and cannot be decoded."""


def decode_image(data: bytes | Path) -> Image.Image:
    """Decode to upright 8-bit RGB.

    - EXIF orientation is applied (cameras store portraits lying).
    - Transparent pixels are laid on white: their hidden colours are arbitrary, and drawings with an alpha
      channel mean a white sheet.
    - 16-bit grey is divided by 257 (65535 becomes 255), so that one file's brightness keeps its meaning;
      only pictures outside 0 to 65535, and floating-point ones outside 0 to 1, are stretched between their
      own extremes.
    - CMYK (Adobe's inverted kind too) and palettes are converted by Pillow; of an animation the first frame
      counts.

    Raises:
        UnreadableImage: the bytes are no image, truncated, or larger than Pillow's bomb limit.
    """
    try:
        with warnings.catch_warnings():
            # Broken EXIF blocks and odd palettes only warn; the pixels are what matters here.
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as opened:
                opened.load()
                return _to_rgb(ImageOps.exif_transpose(opened))
    except FileNotFoundError:
        raise
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UnreadableImage(str(error)) from error
    except Exception as error:  # Pillow's plugins raise SyntaxError, struct.error, zlib.error ... on broken files
        raise UnreadableImage(f"{type(error).__name__}: {error}") from error


def array_to_image(array: np.ndarray) -> Image.Image:
    """(H, W) or (H, W, 3) uint8 to RGB; an array that a data set keeps instead of files."""
    if array.dtype != np.uint8 or array.ndim not in (2, 3):
        raise UnreadableImage(f"expected a uint8 picture, got {array.dtype} {array.shape}")
    return Image.fromarray(array).convert("RGB")


def resize_and_crop(image: Image.Image, *, size: int, resize: int) -> np.ndarray:
    """Short side to `resize` (bicubic), then the central `size` square: (3, size, size) uint8."""
    width, height = image.size
    scale = resize / min(width, height)
    # torchvision's rule: the long side is truncated, not rounded
    target = (resize, int(height * scale)) if width <= height else (int(width * scale), resize)
    target = (max(target[0], size), max(target[1], size))
    if target != image.size:
        image = image.resize(target, Image.Resampling.BICUBIC)
    left = round((target[0] - size) / 2)
    top = round((target[1] - size) / 2)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)))  # (S, S, 3)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        return _wide_to_rgb(np.asarray(image, dtype=np.float64), full_scale=1.0)
    if image.mode.startswith("I"):
        return _wide_to_rgb(np.asarray(image, dtype=np.float64), full_scale=65535.0)
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        sheet = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(sheet, rgba).convert("RGB")
    return image.convert("RGB")


def _wide_to_rgb(values: np.ndarray, *, full_scale: float) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    if not np.isfinite(low + high):
        raise UnreadableImage("pixels that are not finite")
    if low < 0 or high > full_scale:
        values, full_scale = values - low, max(high - low, 1e-12)
    return Image.fromarray(np.round(values * (255 / full_scale)).astype(np.uint8)).convert("RGB")
