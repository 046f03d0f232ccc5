"""The sRGB curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def to_srgb(linear: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Linear light to 8-bit sRGB (IEC 61966-2-1) of the same shape, rounded; below 0 is black, above 1 is white."""
    clipped = np.clip(linear, 0.0, 1.0)
    curved = np.where(clipped <= 0.0031308, 12.92 * clipped, 1.055 * clipped ** (1 / 2.4) - 0.055)
    levels: npt.NDArray[np.uint8] = np.rint(255 * curved).astype(np.uint8)
    return levels
