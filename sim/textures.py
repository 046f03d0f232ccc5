"""A PBR texture set -> normalised maps: colour, roughness with metalness, height; at most 512 pixels wide.

Runs in the throw-away process of `sim.importer`, because a hostile picture may take all memory or all time. A picture
is refused by the size in its header, before anything is decoded.

Normals become heights: a map of normals needs texture coordinates, heights work with any projection. The slopes of a
map that repeats are integrated exactly by Fourier transform (Frankot and Chellappa, "A Method for Enforcing
Integrability in Shape from Shading Algorithms", PAMI 1988). Deviation: slopes are limited to 8 (83 degrees).
"""

from __future__ import annotations

import io
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from sim import srgb
from sim.conversion import convert
from sim.exr import exr_size
from sim.importing import MAX_FILE_BYTES, MAX_TEXTURE_PIXELS

Array = npt.NDArray[np.float64]
SIZE = 512
"""Wider maps are reduced: a picture of a few hundred pixels shows no more, and 141 sets must fit a child's memory."""
STEEPEST = 8.0
DISPLACEMENT_RELIEF = 0.03
"""Depth of a displacement map without normals, in widths of the texture; the files do not say."""
DEFAULT_ROUGHNESS = 0.6


class TextureRefused(ValueError):
    """A file that is not taken, with the reason."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(reason)
        self.path = path


def import_textures(maps: Mapping[str, Path], out: Path) -> dict[str, Any]:
    """Read the maps of one set and write them into `out` (.npz of PNG files).

    Args:
        maps: file by role: color and any of roughness, metalness, arm, normal_gl, normal_dx, displacement.

    Returns:
        size, roughness (mean), relief (depth of the height map in widths of the texture).

    Raises:
        TextureRefused: with a reason that a user can act on.
    """
    color = read_picture(maps["color"], is_color=True)
    arm = read_picture(maps["arm"]) if "arm" in maps else None
    shape = color.shape[:2]
    roughness = _plane(maps, "roughness", None if arm is None else arm[..., 1], DEFAULT_ROUGHNESS, shape)
    metalness = _plane(maps, "metalness", None if arm is None else arm[..., 2], 0.0, shape)
    height, relief = _height(maps, shape)
    surface = np.stack([np.zeros_like(roughness), roughness, metalness], axis=-1)
    arrays = {
        "color": _png(np.rint(color * 255).astype(np.uint8)),
        "surface": _png(np.rint(surface * 255).astype(np.uint8)),
        "height": _png(np.rint(height * 65535).astype(np.uint16)),
    }
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.frombuffer(data, np.uint8) for name, data in arrays.items()})  # type: ignore[arg-type]
    temporary = out.with_name(out.name + ".tmp")
    temporary.write_bytes(buffer.getvalue())
    temporary.replace(out)
    return {
        "size": [color.shape[1], color.shape[0]],
        "roughness": round(float(roughness.mean()), 4),
        "relief": round(relief, 5),
    }


def read_textures(path: Path) -> dict[str, bytes]:
    """PNG files by name: color, surface (green roughness, blue metalness), height. Raises ValueError otherwise."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name].tobytes() for name in ("color", "surface", "height")}
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(f"{path} holds no texture maps: {error}") from error


def read_picture(path: Path, *, is_color: bool = False) -> Array:
    """(H, W, 3) in 0 to 1, at most `SIZE` wide; colours display-referred (sRGB).

    Raises:
        TextureRefused: too large by its header, or no picture.
    """
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise TextureRefused(path, f"it has {size} bytes; allowed: 1 to {MAX_FILE_BYTES}")
    try:
        pixels = _read_exr(path, is_color) if path.suffix.lower() == ".exr" else _read_with_pillow(path)
    except (OSError, ValueError, SyntaxError, struct.error, IndexError, KeyError) as error:
        if isinstance(error, TextureRefused):
            raise
        raise TextureRefused(path, f"it cannot be read as a picture ({type(error).__name__}: {error})") from None
    return pixels


def heights_of_normals(normals: Array) -> Array:
    """Heights (H, W) in widths of the texture from a periodic map of unit normals, x right, y up (OpenGL).

    The mean is 0. Rows run downwards, as in a picture.
    """
    upright = np.maximum(normals[..., 2], 1e-3)
    right = np.clip(-normals[..., 0] / upright, -STEEPEST, STEEPEST)  # dh/dx
    down = np.clip(normals[..., 1] / upright, -STEEPEST, STEEPEST)  # dh/d(row): y points up, rows down
    rows, columns = right.shape
    u = 2j * np.pi * np.fft.fftfreq(columns)[None, :] * columns  # per width
    v = 2j * np.pi * np.fft.fftfreq(rows)[:, None] * columns
    # At the Nyquist frequency a real signal's derivative cannot be told from none.
    if columns % 2 == 0:
        u[:, columns // 2] = 0
    if rows % 2 == 0:
        v[rows // 2, :] = 0
    size = np.abs(u) ** 2 + np.abs(v) ** 2
    size[size == 0] = np.inf
    spectrum = (np.conj(u) * np.fft.fft2(right) + np.conj(v) * np.fft.fft2(down)) / size
    heights: Array = np.real(np.fft.ifft2(spectrum))
    return heights


def _height(maps: Mapping[str, Path], shape: tuple[int, int]) -> tuple[Array, float]:
    """Heights scaled to 0 to 1, and what 1 means in widths of the texture."""
    if "normal_gl" in maps or "normal_dx" in maps:
        role = "normal_gl" if "normal_gl" in maps else "normal_dx"
        normals = read_picture(maps[role]) * 2 - 1
        if role == "normal_dx":
            normals[..., 1] *= -1
        heights = heights_of_normals(normals)
        low, relief = float(heights.min()), float(np.ptp(heights))
        return (heights - low) / max(relief, 1e-9), relief
    if "displacement" in maps:
        heights = read_picture(maps["displacement"])[..., 0]
        low, span = float(heights.min()), float(np.ptp(heights))
        return (heights - low) / max(span, 1e-9), DISPLACEMENT_RELIEF if span > 0 else 0.0
    return np.zeros(shape), 0.0


def _plane(maps: Mapping[str, Path], role: str, packed: Array | None, default: float, shape: tuple[int, int]) -> Array:
    """A map of its own, else the channel of a packed one, else an even value; resized to the colour's size."""
    if role in maps:
        plane = read_picture(maps[role])[..., 0]
    elif packed is not None:
        plane = packed
    else:
        return np.full(shape, default)
    if plane.shape != shape:
        wanted = Image.fromarray(plane.astype(np.float32)).resize((shape[1], shape[0]), Image.Resampling.BOX)
        plane = np.asarray(wanted, np.float64)
    return np.clip(plane, 0, 1)


def _read_with_pillow(path: Path) -> Array:
    Image.MAX_IMAGE_PIXELS = None  # our own limit, on the header
    with Image.open(path, formats=("JPEG", "PNG")) as picture:
        _require_size(path, picture.width, picture.height)
        deep = picture.mode.startswith("I")  # 16-bit grey, as displacement maps are
        picture.load()
        if deep:
            planes = [Image.fromarray(np.asarray(picture).astype(np.float32) / 65535)]
        else:
            planes = [Image.fromarray(band) for band in np.moveaxis(np.asarray(picture.convert("RGB")), -1, 0) / 255]
    return _reduced(planes)


def _read_exr(path: Path, is_color: bool) -> Array:
    """Header here, pixels by Blender: no other library of the installation reads compressed OpenEXR."""
    with path.open("rb") as file:
        _require_size(path, *exr_size(file.read(1 << 16)))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pixels.npy"
        convert(path, place)
        pixels = np.load(place, allow_pickle=False)[..., :3].astype(np.float64)  # (H, W, 3) linear
    if not np.isfinite(pixels).all():
        raise TextureRefused(path, "it has pixels that are not finite numbers")
    pixels = np.clip(pixels, 0, 1)
    if is_color:
        pixels = srgb.encode(pixels)
    return _reduced([Image.fromarray(plane) for plane in np.moveaxis(pixels.astype(np.float32), -1, 0)])


def _require_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1 or width * height > MAX_TEXTURE_PIXELS:
        raise TextureRefused(
            path, f"it is a texture of {width} x {height} pixels; allowed: {MAX_TEXTURE_PIXELS} in all"
        )


def _reduced(planes: list[Image.Image]) -> Array:
    """One or three planes of 32-bit floats as (H, W, 3), at most `SIZE` wide."""
    if len(planes) == 1:
        planes = planes * 3
    width, height = planes[0].size
    factor = max(width, height) / SIZE
    if factor > 1:
        size = (max(1, round(width / factor)), max(1, round(height / factor)))
        planes = [plane.resize(size, Image.Resampling.BOX) for plane in planes]
    return np.stack([np.clip(np.asarray(plane, np.float64), 0, 1) for plane in planes], axis=-1)


def _png(image: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
