"""Averaging an image over blocks: how an environment map is made coarse without losing light."""

from __future__ import annotations

import numpy as np


def block_means(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(H, W, C) -> (rows, columns, C) float32 by averaging blocks as even as the sizes allow."""
    height, width = pixels.shape[:2]
    tops = np.arange(rows) * height // rows
    lefts = np.arange(columns) * width // columns
    sums = np.add.reduceat(np.add.reduceat(pixels, tops, axis=0, dtype=np.float64), lefts, axis=1)
    counts = np.diff(np.append(tops, height))[:, None] * np.diff(np.append(lefts, width))[None, :]
    means: np.ndarray = (sums / counts[..., None]).astype(np.float32)
    return means
