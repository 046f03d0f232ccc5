"""Procedural 3-D models: (catalogue seed, class name, model index) -> mesh with material slots. numpy only.

Classes differ by structure, models inside a class by proportions and parts. A class is a `Recipe`; the tables
of recipes stand in `sim.families` (written by hand) and `sim.composed` (part graphs).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from zlib import crc32

import numpy as np
import numpy.typing as npt

from sim.composed import composed_classes
from sim.families.recipe import Recipe
from sim.families.table import handmade
from sim.geometry import Parts, Solid, join
from sim.outlines import Array

# Part of what defines a procedural model: to be raised with every change of a shape or of a natural material.
CATALOGUE_VERSION = 1

# Classes of the published experiment's object set (task2sim.md, section 2.3).
CLASSES = 237

# Smooth faces that meet at more than this angle get an edge: round solids look round, boxes look sharp.
CREASE_DEG = 38.0


@dataclass(frozen=True)
class Mesh:
    """Triangles of one model: bounding box centred on the origin, longest side 1 m, z up, front towards -y."""

    vertices: npt.NDArray[np.float32]  # (V, 3)
    faces: npt.NDArray[np.int32]  # (F, 3), counter-clockwise seen from outside
    face_slots: npt.NDArray[np.int16]  # (F,) index of the material slot
    face_smooth: npt.NDArray[np.bool_]  # (F,) shaded smoothly; vertices are doubled along creases
    slots: tuple[str, ...]  # names of the material slots, for example ("seat", "leg")


@cache
def recipes() -> dict[str, Recipe]:
    """Every class by name, in the catalogue's order."""
    named = handmade()
    ordered = named + composed_classes(CLASSES - len(named))
    table = {recipe.name: recipe for recipe in ordered}
    assert len(table) == len(ordered), "two classes have one name"
    return table


def find_recipe(class_name: str) -> Recipe:
    """Raises ValueError when there is no procedural class of that name."""
    if class_name not in recipes():
        raise ValueError(
            f"no procedural class {class_name!r}; there are {len(recipes())}, from {next(iter(recipes()))}"
        )
    return recipes()[class_name]


def build_mesh(seed: int, class_name: str, model_index: int) -> Mesh:
    """The model `model_index` of a class; equal arguments give equal arrays.

    Raises:
        ValueError: unknown class, or a negative index.
    """
    if model_index < 0:
        raise ValueError(f"model index is {model_index}; allowed: 0 and up")
    recipe = find_recipe(class_name)
    rng = np.random.default_rng([seed, crc32(class_name.encode()), model_index])
    return assemble(recipe.build(rng), tuple(recipe.slots))


def assemble(parts: Parts, slots: tuple[str, ...]) -> Mesh:
    """Join named solids into one normalised mesh.

    Raises:
        ValueError: a part names a slot that is not in `slots`, or the parts have no extent.
    """
    if unknown := sorted({name for name, _ in parts} - set(slots)):
        raise ValueError(f"part {unknown[0]!r} is no slot; slots: {', '.join(slots)}")
    solid = join(part for _, part in parts)
    face_slots = np.concatenate([np.full(len(part.faces), slots.index(name)) for name, part in parts])
    low, high = solid.vertices.min(axis=0), solid.vertices.max(axis=0)
    extent = float((high - low).max())
    if not np.isfinite(extent) or extent <= 0:
        raise ValueError(f"parts span {extent} m; a model needs a positive, finite extent")
    placed = Solid((solid.vertices - (low + high) / 2) / extent, solid.faces, solid.smooth)
    keep = _areas(placed) > 1e-9  # poles of lathes and balls
    placed = Solid(placed.vertices, placed.faces[keep], placed.smooth[keep])
    vertices, faces = split_creases(placed)
    return Mesh(
        vertices.astype(np.float32),
        faces.astype(np.int32),
        face_slots[keep].astype(np.int16),
        placed.smooth,
        slots,
    )


def split_creases(solid: Solid, crease_deg: float = CREASE_DEG) -> tuple[Array, npt.NDArray[np.int64]]:
    """Double the vertices along creases so that smooth shading does not blur over them.

    Corners of smooth faces around a vertex stay joined across the edges that bend by less than `crease_deg`.
    """
    faces, count = solid.faces, len(solid.faces)
    normals = _normals(solid)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-30)
    # every face has three edges (corner k to corner k + 1); a shared edge stands once in each direction
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    corner = np.arange(3 * count)
    following = np.roll(corner.reshape(-1, 3), -1, axis=1).ravel()
    size = len(solid.vertices)
    forward, backward = start * size + end, end * size + start
    order = np.argsort(forward, kind="stable")
    place = np.minimum(np.searchsorted(forward[order], backward), 3 * count - 1)
    partner = order[place]
    shared = forward[partner] == backward
    one, other = corner[shared], partner[shared]
    bend = np.sum(normals[one // 3] * normals[other // 3], axis=1)
    joined = (bend > np.cos(np.radians(crease_deg))) & solid.smooth[one // 3] & solid.smooth[other // 3]
    one, other = one[joined], other[joined]
    left = np.concatenate([one, following[one]])
    right = np.concatenate([following[other], other])
    labels = corner.copy()
    while True:  # the smallest corner number of each joined fan spreads through it
        spread = labels.copy()
        np.minimum.at(spread, left, labels[right])
        np.minimum.at(spread, right, labels[left])
        if np.array_equal(spread, labels):
            break
        labels = spread[spread]
    kept, compact = np.unique(labels, return_inverse=True)
    return solid.vertices[start[kept]], compact.reshape(-1, 3)


def _normals(solid: Solid) -> Array:
    a, b, c = (solid.vertices[solid.faces[:, i]] for i in range(3))
    result: Array = np.cross(b - a, c - a)
    return result


def _areas(solid: Solid) -> Array:
    result: Array = 0.5 * np.linalg.norm(_normals(solid), axis=1)
    return result
