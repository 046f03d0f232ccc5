"""Files of scenes: pictures and arrays in, checked; images, classes and normals of `data.Scene` out.

Whatever is wrong with a file is said in one line that names it, before a wrong label reaches a loss.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from sim.shards import file_sha256
from transfer.dense.data import Scene
from transfer.dense.metrics import IGNORED
from transfer.images import FORMATS


def read_picture(path: Path, mode: str) -> np.ndarray:
    """Pixels of a picture; mode "RGB", "L" (8 bits, palette indices as they are) or "16" (16 bits).

    Raises:
        FileNotFoundError: no such file.
        ValueError: no picture, or of another kind.
    """
    try:
        with Image.open(path, formats=FORMATS) as picture:
            kind, pixels = picture.mode, np.asarray(picture.convert("RGB") if mode == "RGB" else picture)
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow's plugins raise OSError, SyntaxError, struct.error ... on broken files
        raise ValueError(f"{path} cannot be read as a picture: {error}") from None
    allowed = {"L": ("L", "P"), "16": ("I", "I;16", "I;16B")}.get(mode, (kind,))
    if kind not in allowed:
        raise ValueError(f"{path} has pixels of mode {kind}; allowed: {', '.join(allowed)}")
    return pixels


def read_array(path: Path) -> np.ndarray:
    """Finite numbers from an .npy file; objects, which would have to be unpickled, are refused.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no array of numbers, or one with NaN or infinity.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as an array: {error}") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "buif" or array.size == 0:
        found = f"{array.size} values of type {array.dtype}" if isinstance(array, np.ndarray) else "several arrays"
        raise ValueError(f"{path} holds {found}; allowed: one array of numbers")
    if not np.isfinite(array).all():
        raise ValueError(f"{path} holds NaN or infinity; allowed: finite numbers")
    return array


def read_map(path: Path, channels: int) -> np.ndarray:
    """`read_array` of one map: (H, W, channels), or (H, W) for one channel, which may have an axis of its own.

    Raises:
        FileNotFoundError: no such file.
        ValueError: `read_array`'s reasons, or another shape.
    """
    array = read_array(path)
    found = array.squeeze() if channels == 1 else array
    if found.ndim != (2 if channels == 1 else 3) or (channels > 1 and found.shape[2] != channels):
        raise ValueError(f"{path} has the shape {array.shape}; allowed: (height, width, {channels})")
    return found


def image_from_picture(path: Path) -> Tensor:
    """(3, H, W) in 0 to 1."""
    return torch.from_numpy(read_picture(path, "RGB").astype(np.float32)).permute(2, 0, 1) / 255


def image_from_array(path: Path) -> Tensor:
    """(3, H, W) in 0 to 1 from bytes, or from floats that have this range already.

    Raises:
        ValueError: `read_map`'s reasons, or another range.
    """
    array = read_map(path, 3)
    if array.dtype == np.uint8:
        return torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1) / 255
    # whoever resized the image may have overshot a little; -1 to 1 and 0 to 255 lie outside
    if array.dtype.kind != "f" or array.min() < -0.5 or array.max() > 1.5:
        raise ValueError(
            f"{path} has {array.dtype} values from {array.min():g} to {array.max():g}; "
            "allowed: floats from 0 to 1, or bytes"
        )
    return torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1).contiguous()


def class_labels(path: Path, values: np.ndarray, *, classes: int, ignored: int, first: int = 0) -> Tensor:
    """(H, W) classes from 0 on, `IGNORED` where a pixel does not count.

    Args:
        path: of the file, for the error.
        values: as the file has them.
        ignored: the file's mark of a pixel that does not count.
        first: the file's number of class 0.

    Raises:
        ValueError: a value that is neither a class nor the mark.
    """
    valid = (values >= first) & (values < first + classes) & (values == np.floor(values))
    wrong = ~valid & (values != ignored)
    if wrong.any():
        raise ValueError(
            f"{path} has the label {values[wrong][0]:g}; allowed: {first} to {first + classes - 1}, "
            f"and {ignored} for pixels that do not count"
        )
    return torch.from_numpy(np.where(valid, values.astype(np.int64) - first, IGNORED))


def normals_from_picture(path: Path, *, marked: bool = True) -> Tensor:
    """A picture with (n + 1) / 2 * 255 in RGB = xyz -> (3, H, W) unit vectors.

    Args:
        marked: a pixel with a channel of 255 has no normal (NYUv2); its vector becomes zero.
    """
    pixels = read_picture(path, "RGB")
    return decode_normals(pixels, (pixels != 255).all(axis=2) if marked else None)


def decode_normals(pixels: np.ndarray, valid: np.ndarray | None = None) -> Tensor:
    """(n + 1) / 2 * 255 of unit vectors, (H, W, 3) uint8 -> (3, H, W).

    Args:
        valid: (H, W) bool; the vectors of the other pixels become zero.
    """
    vectors = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255 * 2 - 1
    unit = torch.nn.functional.normalize(vectors, dim=0)
    return unit if valid is None else torch.where(torch.from_numpy(valid), unit, 0.0)


def normals_from_array(path: Path) -> Tensor:
    """An array of vectors xyz -> (3, H, W) unit vectors; a vector of zeros is a pixel without a normal and stays.

    The array holds the components themselves, -1 to 1: nothing is decoded, vectors are only made exactly as long as 1.

    Raises:
        ValueError: `read_map`'s reasons, or values that are no components of unit vectors.
    """
    array = read_map(path, 3)
    if array.dtype.kind != "f" or np.abs(array).max() > 1.5:
        raise ValueError(
            f"{path} has {array.dtype} values from {array.min():g} to {array.max():g}; allowed: floats from -1 to 1"
        )
    return torch.nn.functional.normalize(torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1), dim=0)


def of_one_size(scene: Scene, path: Path) -> Scene:
    """The scene.

    Args:
        path: of its image, for the error.

    Raises:
        ValueError: a label of another height or width than the image.
    """
    height, width = scene.image.shape[-2:]
    for task, label in scene.labels.items():
        if label.shape[-2:] != (height, width):
            raise ValueError(
                f"{path} has {height} x {width} pixels, but its {task} {label.shape[-2]} x {label.shape[-1]}"
            )
    return scene


def digest_of_files(root: Path, names: Sequence[str], *, whole: bool) -> str:
    """sha256 of what a data set consists of; other labels under the same names are another data set.

    Args:
        whole: files are read; else size and time of change stand for the content of each, because a large set takes
            long to read (copy such a set with its times).
    """
    facts: list[tuple[object, ...]] = []
    for name in sorted(set(names)):
        state = (root / name).stat()
        facts.append((name, file_sha256(root / name)) if whole else (name, state.st_size, state.st_mtime_ns))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
