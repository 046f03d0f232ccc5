"""Label maps as files: what `--passes` names, how each is encoded, and the maps that are derived from others.

| pass | file | content |
|---|---|---|
| depth | .depth.png, 16 bit | millimetres along the optical axis, 0: nothing there (or beyond 65.5 m) |
| normals | .normals.png, RGB | (n + 1) / 2 * 255, camera axes: x right, y up, z to the camera; 0, 0, 0: nothing |
| instance | .instance.png, 8 bit | 0: no object, else the object's number in the scene from 1 |
| class | .class.png, 16 bit | 0: environment, 1: floor, 2: walls, else 3 + class number |
| part | .part.png, 8 bit | 0: no object, else material slot + 1 |
| edges | .edges.png, 8 bit | strength of the strongest of depth step, crease and instance border, 255 is full |
| keypoints | .keypoints.png, 8 bit | corners of those edges (Harris), blurred to a heat map, 255 is the strongest |
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.generic]
FLOOR_CLASS, WALL_CLASS, FIRST_OBJECT_CLASS = 1, 2, 3
DEPTH_UNIT_M = 0.001
PASSES = ("depth", "normals", "instance", "class", "part", "edges", "keypoints")


def require_passes(passes: tuple[str, ...]) -> None:
    """Raises ValueError for an unknown or repeated pass."""
    for name in passes:
        if name not in PASSES:
            raise ValueError(f"passes has {name!r}; allowed: {', '.join(PASSES)}")
    if len(set(passes)) < len(passes):
        raise ValueError(f"passes names one twice: {', '.join(passes)}")


def encode_labels(labels: Mapping[str, Array], passes: tuple[str, ...]) -> dict[str, bytes]:
    """PNG files by suffix from the maps of `sim.blender.labels`."""
    return {f"{name}.png": _png(ENCODERS[name](labels)) for name in passes}


def edge_map(labels: Mapping[str, Array]) -> npt.NDArray[np.float32]:
    """Edge strength 0 to 1 (H, W): the largest of three measures between a pixel and its neighbours.

    Depth steps count fully from 5 % of the distance on, creases from 60 degrees on, borders between instances, and
    between something and nothing, always.
    """
    depth = np.asarray(labels["depth"], np.float64)
    there = np.isfinite(depth)
    inverse = np.where(there, 1.0 / np.where(there, np.maximum(depth, 1e-3), 1.0), 0.0)
    normal = np.asarray(labels["normal"], np.float64)
    instance = np.asarray(labels["instance"], np.int64) + 1000 * there
    strength = np.zeros(depth.shape)
    for axis in (0, 1):
        before = [slice(None)] * 2
        after = [slice(None)] * 2
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(before), tuple(after)
        step = np.abs(inverse[a] - inverse[b]) / np.maximum(np.maximum(inverse[a], inverse[b]), 1e-9) / 0.05
        both = there[a] & there[b]
        bend = np.arccos(np.clip(np.sum(normal[a] * normal[b], axis=-1), -1, 1)) / np.radians(60)
        border = instance[a] != instance[b]
        edge = np.clip(np.maximum(np.where(both, np.maximum(step - 1, bend), 0), border), 0, 1)
        strength[a] = np.maximum(strength[a], edge)
        strength[b] = np.maximum(strength[b], edge)
    return strength.astype(np.float32)


def keypoint_map(labels: Mapping[str, Array], sigma: float = 1.5) -> npt.NDArray[np.float32]:
    """Heat map 0 to 1 (H, W) of corners: Harris response of the edge map, local maxima, blurred by `sigma` pixels."""
    from scipy import ndimage  # slow to import, and the configuration above needs this module

    edges = edge_map(labels).astype(np.float64)
    dx, dy = ndimage.sobel(edges, axis=1), ndimage.sobel(edges, axis=0)
    xx, yy, xy = (ndimage.gaussian_filter(product, sigma) for product in (dx * dx, dy * dy, dx * dy))
    response = xx * yy - xy**2 - 0.05 * (xx + yy) ** 2
    peak = response.max()
    if peak <= 1e-12:
        return np.zeros(edges.shape, np.float32)
    summit = (response == ndimage.maximum_filter(response, 5)) & (response > 0.05 * peak)
    heat = ndimage.gaussian_filter(np.where(summit, np.sqrt(np.maximum(response, 0) / peak), 0), sigma)
    return np.asarray(heat / heat.max(), np.float32)


def _depth(labels: Mapping[str, Array]) -> Array:
    depth = np.asarray(labels["depth"], np.float64) / DEPTH_UNIT_M
    return np.where(np.isfinite(depth) & (depth < 65535.5), np.rint(np.where(np.isfinite(depth), depth, 0)), 0).astype(
        np.uint16
    )


def _normals(labels: Mapping[str, Array]) -> Array:
    normal = np.asarray(labels["normal"], np.float64)
    coded = np.rint((normal + 1) / 2 * 255)
    return np.where(np.abs(normal).sum(-1, keepdims=True) > 0, coded, 0).astype(np.uint8)


def _edges(labels: Mapping[str, Array]) -> Array:
    return np.rint(edge_map(labels) * 255).astype(np.uint8)


def _keypoints(labels: Mapping[str, Array]) -> Array:
    return np.rint(keypoint_map(labels) * 255).astype(np.uint8)


ENCODERS: dict[str, Callable[[Mapping[str, Array]], Array]] = {
    "depth": _depth,
    "normals": _normals,
    "instance": lambda labels: np.asarray(labels["instance"], np.uint8),
    "class": lambda labels: np.asarray(labels["class"], np.uint16),
    "part": lambda labels: np.asarray(labels["part"], np.uint8),
    "edges": _edges,
    "keypoints": _keypoints,
}


def _png(image: Array) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
