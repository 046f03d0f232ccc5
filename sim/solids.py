"""Closed solids for the procedural models: lathes, extrusions, sweeps, balls, slabs, leaves.

In: outlines, paths, numbers (metres before the model is normalised). Out: `sim.geometry.Solid`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim.geometry import Solid, loft, outward, strip
from sim.outlines import Array, Points, ellipse, rectangle, triangulate


def lathe(profile: Points, sides: int = 28) -> Solid:
    """Profile (P, 2) of (radius, z) turned about z; ends off the axis are closed by discs.

    A hollow vessel is one profile that goes up outside and comes down inside.
    """
    points = np.maximum(np.asarray(profile, dtype=np.float64), [[0.0, -np.inf]])
    angles = np.arange(sides) * (2 * np.pi / sides)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = np.concatenate(
        [points[:, None, :1] * circle[None], np.broadcast_to(points[:, None, 1:], (len(points), sides, 1))],
        axis=2,
    )
    return loft(rings)


def extrude(outline: Points, height: float, bevel: float = 0.0) -> Solid:
    """Outline (P, 2) in the xy plane made `height` thick, centred on z = 0; `bevel` takes off its edges."""
    flat = np.asarray(outline, dtype=np.float64)
    bevel = min(bevel, 0.45 * height)
    shrunk = inset(flat, bevel) if bevel > 0 else flat
    levels = [
        (shrunk, -height / 2),
        (flat, bevel - height / 2),
        (flat, height / 2 - bevel),
        (shrunk, height / 2),
    ]
    if bevel <= 0:
        levels = [levels[0], levels[3]]
    vertices = np.concatenate([np.column_stack([shape, np.full(len(shape), z)]) for shape, z in levels])
    cap = triangulate(flat)
    side = strip(len(levels), len(flat))
    return outward(vertices, np.concatenate([side, cap[:, ::-1], cap + (len(levels) - 1) * len(flat)]))


def inset(outline: Array, distance: float) -> Array:
    """Outline moved inwards by `distance` along the vertex normals (for small distances)."""
    edge = np.roll(outline, -1, axis=0) - outline
    normal = np.stack([-edge[:, 1], edge[:, 0]], axis=1) / np.maximum(np.linalg.norm(edge, axis=1), 1e-12)[:, None]
    before = np.roll(normal, 1, axis=0)
    middle = normal + before
    scale = 2 / np.maximum(np.sum(middle**2, axis=1), 0.5)
    sign = (
        1.0
        if np.sum(outline[:, 0] * np.roll(outline[:, 1], -1) - outline[:, 1] * np.roll(outline[:, 0], -1)) > 0
        else -1.0
    )
    result: Array = outline + sign * distance * middle * scale[:, None]
    return result


def plate_with_hole(outer: Array, hole: Array, height: float) -> Solid:
    """Extruded ring between two outlines that correspond point by point (P, 2)."""
    low, high = -height / 2, height / 2
    rings = [(outer, low), (outer, high), (hole, high), (hole, low)]
    vertices = np.concatenate([np.column_stack([shape, np.full(len(shape), z)]) for shape, z in rings])
    return outward(vertices, strip(4, len(outer), closed=True))


def frame(width: float, depth: float, border: float, height: float) -> Solid:
    """Rectangular frame lying in the xy plane."""
    return plate_with_hole(rectangle(width, depth), rectangle(width - 2 * border, depth - 2 * border), height)


def tube(path: Points, radius: float | Array, sides: int = 8, closed: bool = False) -> Solid:
    """Round bar along path (P, 3); `radius` is one number or one per point."""
    return sweep(path, ellipse(1.0, sides=sides), radius, closed)


def sweep(path: Points, section: Array, scale: float | Array = 1.0, closed: bool = False) -> Solid:
    """Section (S, 2) carried along path (P, 3) without twisting; `scale` is one number or one per point."""
    line = np.asarray(path, dtype=np.float64)
    tangent = np.roll(line, -1, axis=0) - np.roll(line, 1, axis=0) if closed else np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1)[:, None]
    start = np.eye(3)[int(np.argmin(np.abs(tangent[0]) + np.array([0.0, 0.01, 0.02])))]
    side = np.cross(tangent[0], start)
    sides = []
    for direction in tangent:  # parallel transport: drop the part of the last side that lies along the path
        side = side - direction * np.dot(side, direction)
        side = side / np.linalg.norm(side)
        sides.append(side)
    first = np.array(sides)
    second = np.cross(tangent, first)
    scales = np.broadcast_to(np.asarray(scale, dtype=np.float64), (len(line),))[:, None, None]
    rings = line[:, None] + scales * (section[None, :, :1] * first[:, None] + section[None, :, 1:] * second[:, None])
    if closed:
        return outward(rings.reshape(-1, 3), strip(len(line), len(section), closed=True))
    return loft(rings)


def bar(
    start: Sequence[float] | Array,
    end: Sequence[float] | Array,
    radius: float,
    end_radius: float | None = None,
    sides: int = 10,
) -> Solid:
    """Straight round bar, tapering when `end_radius` is given."""
    ends = np.array([radius, radius if end_radius is None else end_radius])
    return tube(np.array([start, end]), ends, sides)


def beam(start: Sequence[float] | Array, end: Sequence[float] | Array, width: float, depth: float) -> Solid:
    """Straight bar of rectangular section; `width` lies across the first free axis."""
    return sweep(np.array([start, end]), rectangle(width, depth))


def box(x: float, y: float, z: float, bevel: float = 0.0) -> Solid:
    """Box centred on the origin with sides x, y, z; `bevel` rounds its edges."""
    return extrude(rectangle(x, y, corner=bevel, steps=2), z, bevel=bevel)


def cylinder(radius: float, height: float, top_radius: float | None = None, sides: int = 24) -> Solid:
    """Cylinder (or cone) about z, centred on the origin."""
    top = radius if top_radius is None else top_radius
    return lathe([[radius, -height / 2], [top, height / 2]], sides)


def torus(ring_radius: float, tube_radius: float, sides: int = 28, section: int = 10) -> Solid:
    """Ring about z."""
    circle = ellipse(ring_radius, sides=sides)
    return tube(np.column_stack([circle, np.zeros(sides)]), tube_radius, section, closed=True)


def superellipsoid(
    rx: float,
    ry: float | None = None,
    rz: float | None = None,
    *,
    square: float = 1.0,
    upright: float = 1.0,
    sides: int = 20,
    rings: int = 10,
) -> Solid:
    """Ball-like solid; exponents below 1 square it off, from above (`square`) or the side (`upright`)."""
    ry, rz = rx if ry is None else ry, rx if rz is None else rz
    u = np.arange(sides) * (2 * np.pi / sides)
    v = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
    ring, height = _power(np.cos(v), upright)[:, None], _power(np.sin(v), upright)[:, None]
    grid = np.stack(
        [rx * ring * _power(np.cos(u), square), ry * ring * _power(np.sin(u), square), rz * height + 0 * u],
        axis=2,
    )
    return loft(grid)


def ball(radius: float, sides: int = 20) -> Solid:
    return superellipsoid(radius, sides=sides, rings=max(6, sides // 2))


def blob(rng: np.random.Generator, radius: float, bumps: float = 0.12, waves: float = 3.0, sides: int = 20) -> Solid:
    """Ball with smooth random bumps of relative height `bumps`; `waves` is about how many fit around it."""
    directions = rng.normal(size=(6, 3)) * waves / 1.7
    phases = rng.uniform(0, 2 * np.pi, size=6)

    def swell(v: Array) -> Array:
        result: Array = v * (1 + bumps * np.sin(v / radius @ directions.T + phases).mean(axis=1, keepdims=True) * 2)
        return result

    return ball(radius, sides).warped(swell)


def slab(surface: Array, thickness: float) -> Solid:
    """Surface grid (M, N, 3) given a thickness along z, half on each side."""
    m, n = surface.shape[:2]
    offset = np.array([0.0, 0.0, thickness / 2])
    vertices = np.concatenate([(surface + offset).reshape(-1, 3), (surface - offset).reshape(-1, 3)])
    top = strip(m, n, around=False)
    border = np.concatenate(
        [
            np.arange(n),
            np.arange(1, m) * n + n - 1,
            (m - 1) * n + np.arange(n - 2, -1, -1),
            np.arange(m - 2, 0, -1) * n,
        ]
    )
    following = np.roll(border, -1)
    wall = np.concatenate(
        [
            np.stack([border, border + m * n, following], axis=1),
            np.stack([following, border + m * n, following + m * n], axis=1),
        ]
    )
    return outward(vertices, np.concatenate([top, top[:, ::-1] + m * n, wall]))


def leaf(length: float, width: float, droop: float = 0.2, fold: float = 0.1, thickness: float = 0.01) -> Solid:
    """Pointed leaf from the origin along +x; it arches down by `droop`, its halves rise by `fold`."""
    t = np.linspace(0, 1, 8)[:, None]
    s = np.linspace(-1, 1, 5)[None, :]
    half = width / 2 * np.sin(np.pi * np.clip(t, 0.02, 0.995) ** 0.8)
    grid = np.stack(
        [
            length * t + 0 * s,
            half * s,
            length * (0.25 * np.sin(np.pi * t) - droop * t**2) + fold * half * 2 * np.abs(s),
        ],
        axis=2,
    )
    return slab(grid, thickness)


def _power(values: Array, exponent: float) -> Array:
    result: Array = np.sign(values) * np.abs(values) ** exponent
    return result
