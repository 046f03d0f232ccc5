"""Plane curves for the procedural models: closed outlines (P, 2), counter-clockwise, and open paths.

In: a few numbers. Out: float64 arrays for `sim.geometry` to extrude, turn on a lathe, loft or sweep.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Points = Sequence[Sequence[float] | Array] | Array


def ellipse(radius_x: float, radius_y: float | None = None, sides: int = 24) -> Array:
    """Closed ellipse (sides, 2); a regular polygon when `sides` is small."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    return np.stack([radius_x * np.cos(angles), (radius_x if radius_y is None else radius_y) * np.sin(angles)], axis=1)


def rectangle(width: float, depth: float, corner: float = 0.0, steps: int = 3) -> Array:
    """Closed rectangle centred on the origin; `corner` is the radius of its rounded corners."""
    x, y = width / 2, depth / 2
    if corner <= 0:
        return np.array([[-x, -y], [x, -y], [x, y], [-x, y]])
    corner = min(corner, 0.999 * x, 0.999 * y)
    quarter = np.linspace(0, np.pi / 2, steps + 1)
    points = [
        np.stack([cx + corner * np.cos(quarter + start), cy + corner * np.sin(quarter + start)], axis=1)
        for cx, cy, start in (
            (x - corner, y - corner, 0.0),
            (corner - x, y - corner, np.pi / 2),
            (corner - x, corner - y, np.pi),
            (x - corner, corner - y, 1.5 * np.pi),
        )
    ]
    return np.concatenate(points)


def star(points: int, outer: float, inner: float) -> Array:
    """Closed star (2 * points, 2)."""
    angles = np.arange(2 * points) * (np.pi / points) + np.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, outer, inner)
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def gear(teeth: int, outer: float, inner: float, tip: float = 0.3) -> Array:
    """Closed gear wheel outline (4 * teeth, 2); `tip` is the part of a tooth's pitch that its tip takes."""
    pitch = 2 * np.pi / teeth
    offsets = np.array([-0.5 + 0.5 * tip, -0.5 * tip, 0.5 * tip, 0.5 - 0.5 * tip]) * pitch
    radii = np.array([inner, outer, outer, inner])
    angles = (np.arange(teeth)[:, None] * pitch + offsets[None, :]).ravel()
    return np.stack([np.tile(radii, teeth) * np.cos(angles), np.tile(radii, teeth) * np.sin(angles)], axis=1)


def lobes(count: int, radius: float, depth: float, sides: int = 48) -> Array:
    """Closed flower-like outline: radius * (1 + depth * cos(count * angle))."""
    angles = np.arange(sides) * (2 * np.pi / sides)
    radii = radius * (1 + depth * np.cos(count * angles))
    return np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=1)


def heart(size: float, sides: int = 36) -> Array:
    """Closed heart outline, point down (towards -y)."""
    t = np.arange(sides) * (2 * np.pi / sides)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, y], axis=1)[::-1] * (size / 32)


def arc(
    radius: float, start_deg: float, end_deg: float, steps: int = 12, center: Sequence[float] = (0.0, 0.0)
) -> Array:
    """Open circular arc (steps + 1, 2)."""
    angles = np.radians(np.linspace(start_deg, end_deg, steps + 1))
    return np.stack([center[0] + radius * np.cos(angles), center[1] + radius * np.sin(angles)], axis=1)


def spline(points: Points, per_segment: int = 5, closed: bool = False) -> Array:
    """Catmull-Rom curve through `points` (P, D): smooth, and passes through every one of them."""
    knots = np.asarray(points, dtype=np.float64)
    if closed:
        padded = np.concatenate([knots[-1:], knots, knots[:2]])
    else:
        padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = (np.arange(per_segment) / per_segment)[:, None]
    pieces = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False):
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    if not closed:
        pieces.append(knots[-1:])
    return np.concatenate(pieces)


def symmetric(right_side: Points, smooth: int = 0) -> Array:
    """Closed outline mirrored in x: `right_side` runs from bottom to top with x >= 0."""
    side = np.asarray(right_side, dtype=np.float64)
    if smooth:
        side = spline(side, smooth)
    left = side[::-1] * [-1.0, 1.0]
    keep = left[:, 0] < -1e-9  # points on the axis stand once
    return np.concatenate([side, left[keep]])


def in_space(path: Points, plane: str = "xz", third: float = 0.0) -> Array:
    """A plane path (P, 2) put into space (P, 3): its axes become the two named ones, the other is `third`."""
    flat = np.asarray(path, dtype=np.float64)
    space = np.full((len(flat), 3), float(third))
    space[:, "xyz".index(plane[0])] = flat[:, 0]
    space[:, "xyz".index(plane[1])] = flat[:, 1]
    return space


def area(outline: Array) -> float:
    """Signed area, positive when counter-clockwise."""
    x, y = outline[:, 0], outline[:, 1]
    return float(0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def triangulate(outline: Array) -> npt.NDArray[np.int64]:
    """Triangles (P - 2, 3) of a simple polygon, by ear clipping.

    Raises:
        ValueError: the outline crosses itself so that no ear is left.
    """
    order = list(range(len(outline)))
    if area(outline) < 0:
        order.reverse()
    triangles = []
    while len(order) > 3:
        for position in range(len(order)):
            a, b, c = order[position - 1], order[position], order[(position + 1) % len(order)]
            if _is_ear(outline, a, b, c, order):
                triangles.append((a, b, c))
                del order[position]
                break
        else:
            raise ValueError(f"outline of {len(outline)} points crosses itself")
    triangles.append((order[0], order[1], order[2]))
    return np.array(triangles, dtype=np.int64)


def _is_ear(outline: Array, a: int, b: int, c: int, order: list[int]) -> bool:
    pa, pb, pc = outline[a], outline[b], outline[c]
    if _cross(pa, pb, pc) < -1e-12:
        return False
    others = outline[[i for i in order if i not in (a, b, c)]]
    inside = (_cross(pa, pb, others) > 1e-12) & (_cross(pb, pc, others) > 1e-12) & (_cross(pc, pa, others) > 1e-12)
    return not bool(np.any(inside))


def _cross(a: Array, b: Array, c: Array) -> Array:
    result: Array = (b[..., 0] - a[..., 0]) * (c[..., 1] - a[..., 1]) - (b[..., 1] - a[..., 1]) * (
        c[..., 0] - a[..., 0]
    )
    return result
