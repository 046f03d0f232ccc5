"""Triangle solids and how to place, copy and deform them; `sim.solids` makes the primitive ones.

A class of models is a function that returns named solids (`Parts`), z up, fronts towards -y; `sim.shapes`
turns those into a `Mesh`. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from sim.outlines import Array, Points

Faces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Solid:
    """A closed triangle mesh with outward faces: vertices (V, 3), faces (F, 3).

    `smooth` (F,) says which faces are shaded smoothly where the surface has no crease.
    """

    vertices: Array
    faces: Faces
    smooth: npt.NDArray[np.bool_]

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Moved."""
        return Solid(self.vertices + np.array([x, y, z]), self.faces, self.smooth)

    def scaled(self, x: float, y: float | None = None, z: float | None = None) -> Solid:
        """Scaled about the origin, by one factor or one per axis; a negative one mirrors."""
        factors = np.array([x, x if y is None else y, x if z is None else z])
        faces = self.faces if np.prod(factors) > 0 else self.faces[:, ::-1]
        return Solid(self.vertices * factors, faces, self.smooth)

    def turned(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """Rotated about the x, then the y, then the z axis, in degrees."""
        return Solid(self.vertices @ rotation(x, y, z).T, self.faces, self.smooth)

    def sideways(self) -> Solid:
        """Axes exchanged: what lay in the xy plane stands in the yz plane, the old z axis points along x."""
        return Solid(self.vertices[:, [2, 0, 1]], self.faces, self.smooth)

    def mirrored(self, axis: str = "x") -> Solid:
        factors = {"x": (-1.0, 1.0, 1.0), "y": (1.0, -1.0, 1.0), "z": (1.0, 1.0, -1.0)}[axis]
        return self.scaled(*factors)

    def both(self, axis: str = "x") -> Solid:
        """Itself and its mirror image."""
        return join([self, self.mirrored(axis)])

    def ring(self, count: int | np.integer[Any], start_deg: float = 0.0) -> Solid:
        """`count` copies spread evenly about the z axis."""
        return join([self.turned(z=start_deg + 360.0 * i / int(count)) for i in range(count)])

    def row(self, count: int | np.integer[Any], step: Sequence[float]) -> Solid:
        """`count` copies, each moved by `step` from the last, the first in place."""
        return join([self.at(*(i * float(s) for s in step)) for i in range(count)])

    def warped(self, move: Callable[[Array], Array]) -> Solid:
        """Every vertex moved by a smooth map (V, 3) -> (V, 3) that keeps the orientation."""
        return Solid(move(self.vertices), self.faces, self.smooth)

    def tapered(self, factor: float) -> Solid:
        """x and y shrink linearly with z, from 1 at the bottom to `factor` at the top."""
        return self.warped(lambda v: v * _per_height(v, 1.0, factor))

    def twisted(self, degrees: float) -> Solid:
        """Turned about z in proportion to the height."""

        def twist(v: Array) -> Array:
            angle = np.radians(degrees) * _height(v)
            c, s = np.cos(angle), np.sin(angle)
            return np.stack([c * v[:, 0] - s * v[:, 1], s * v[:, 0] + c * v[:, 1], v[:, 2]], axis=1)

        return self.warped(twist)

    def faceted(self) -> Solid:
        """Shaded flat on every face."""
        return Solid(self.vertices, self.faces, np.zeros_like(self.smooth))

    def volume(self) -> float:
        a, b, c = (self.vertices[self.faces[:, i]] for i in range(3))
        return float(np.sum(a * np.cross(b, c)) / 6)


Parts = list[tuple[str, Solid]]
"""(slot name, solid) pairs: what a model is made of."""


def rotation(x_deg: float, y_deg: float, z_deg: float) -> Array:
    """Matrix (3, 3) that rotates about x, then y, then z."""
    (cx, cy, cz), (sx, sy, sz) = (f(np.radians([x_deg, y_deg, z_deg])) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    result: Array = about_z @ about_y @ about_x
    return result


def join(solids: Iterable[Solid]) -> Solid:
    """Several solids as one; they may overlap."""
    solids = list(solids)
    offsets = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
    return Solid(
        np.concatenate([s.vertices for s in solids]),
        np.concatenate([s.faces + offset for s, offset in zip(solids, offsets, strict=True)]),
        np.concatenate([s.smooth for s in solids]),
    )


def outward(vertices: Points, faces: npt.ArrayLike) -> Solid:
    """A closed mesh with its faces turned so that the enclosed volume is positive."""
    index = np.asarray(faces, dtype=np.int64)
    solid = Solid(np.asarray(vertices, dtype=np.float64), index, np.ones(len(index), dtype=bool))
    return solid if solid.volume() >= 0 else Solid(solid.vertices, index[:, ::-1], solid.smooth)


def strip(rings: int, sides: int, closed: bool = False, around: bool = True) -> Faces:
    """Triangles between consecutive rings of `sides` vertices each."""
    i = np.arange(rings if closed else rings - 1)[:, None]
    j = np.arange(sides if around else sides - 1)[None, :]
    a, b = i * sides + j, i * sides + (j + 1) % sides
    c, d = ((i + 1) % rings) * sides + (j + 1) % sides, ((i + 1) % rings) * sides + j
    return np.concatenate([np.stack([a, b, c], axis=-1).reshape(-1, 3), np.stack([a, c, d], axis=-1).reshape(-1, 3)])


def loft(sections: Points | Array, caps: bool = True) -> Solid:
    """Skin over sections (S, P, 3) that correspond point by point; the ends are closed by fans."""
    stack = np.asarray(sections, dtype=np.float64)
    rings, sides = stack.shape[:2]
    vertices, faces = stack.reshape(-1, 3), strip(rings, sides)
    if caps:
        j = np.arange(sides)
        following, last = (j + 1) % sides, (rings - 1) * sides
        vertices = np.concatenate([vertices, stack[:1].mean(axis=1), stack[-1:].mean(axis=1)])
        bottom = np.stack([np.full(sides, rings * sides), following, j], axis=1)
        top = np.stack([np.full(sides, rings * sides + 1), last + j, last + following], axis=1)
        faces = np.concatenate([faces, bottom, top])
    index = np.arange(len(vertices))
    points = np.abs(stack - stack[:, :1]).max(axis=(1, 2)) < 1e-9  # a ring that is one point is one vertex: a pole
    index[: rings * sides] = np.where(
        np.repeat(points, sides), index[: rings * sides] // sides * sides, index[: rings * sides]
    )
    faces = index[faces]
    faces = faces[(faces != np.roll(faces, 1, axis=1)).all(axis=1)]
    return outward(vertices, faces)


def _height(v: Array) -> Array:
    """Height of each vertex as a part of the whole, 0 at the bottom to 1 at the top."""
    low, high = v[:, 2].min(), v[:, 2].max()
    result: Array = (v[:, 2] - low) / max(high - low, 1e-12)
    return result


def _per_height(v: Array, bottom: float, top: float) -> Array:
    factor = bottom + (top - bottom) * _height(v)
    return np.stack([factor, factor, np.ones_like(factor)], axis=1)
