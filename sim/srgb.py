"""The sRGB curve (IEC 61966-2-1), both ways."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt


def encode(linear: npt.NDArray[np.floating]) -> npt.NDArray[Any]:
    """Linear light, 0 and above, to sRGB of the same shape; 1 stays 1."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def decode(srgb: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """sRGB to linear light of the same shape; 1 stays 1."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((np.maximum(srgb, 0) + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Linear light to 8-bit sRGB of the same shape, rounded; below 0 is black, above 1 is white."""
    levels: npt.NDArray[np.uint8] = np.rint(255 * encode(np.clip(linear, 0.0, 1.0))).astype(np.uint8)
    return levels
