"""A mesh and a view in, a pen drawing out: silhouettes and creases, hidden lines left out, an unsteady hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

CREASE_COSINE = np.cos(np.radians(35))
"""Faces that meet at more than 35 degrees have a visible edge."""
DEPTH_CELLS = 56
"""Side of the depth grid that hides lines; about the drawing's own resolution."""
SUPERSAMPLING = 3


@dataclass(frozen=True)
class Outline:
    """What does not depend on the view."""

    points: np.ndarray  # (P, 3) distinct positions
    edges: np.ndarray  # (E, 2) into points
    sides: np.ndarray  # (E, 2) faces on both sides; equal at a boundary
    is_crease: np.ndarray  # (E,) bool
    normals: np.ndarray  # (F, 3)
    surface: np.ndarray  # (S, 3) points all over the faces, for the depth grid


def trace_model(vertices: np.ndarray, faces: np.ndarray, *, surface_points: int = 12_000) -> Outline:
    """Edges with their two faces, and evenly spread surface points.

    Args:
        vertices: (V, 3); vertices at one place (doubled along creases) count as one.
        faces: (F, 3) triangles, counter-clockwise from outside.
    """
    _, first, inverse = np.unique(np.round(vertices, 5), axis=0, return_index=True, return_inverse=True)
    points, triangles = vertices[first].astype(np.float64), inverse.reshape(-1)[faces]
    corners = points[triangles]  # (F, 3, 3)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(cross, axis=1)
    triangles, corners, cross = (a[lengths > 1e-12] for a in (triangles, corners, cross))
    lengths = lengths[lengths > 1e-12]
    normals = cross / lengths[:, None]

    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    owner = np.repeat(np.arange(len(triangles)), 3)
    edges, index = np.unique(pairs, axis=0, return_inverse=True)
    order = np.argsort(index.reshape(-1), kind="stable")
    counts = np.bincount(index.reshape(-1), minlength=len(edges))
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sides = np.stack([owner[order[starts]], owner[order[starts + counts - 1]]], axis=1)
    cosine = (normals[sides[:, 0]] * normals[sides[:, 1]]).sum(axis=1)
    is_crease = (cosine < CREASE_COSINE) | (counts == 1)

    # Low-discrepancy points (Kronecker sequence with the plastic number): even, and no random stream is needed.
    steps = np.arange(surface_points)
    chosen = np.searchsorted(np.cumsum(lengths) / lengths.sum(), (steps + 0.5) / surface_points)
    chosen = np.minimum(chosen, len(lengths) - 1)
    u, v = (0.7548776662 * steps) % 1, (0.5698402910 * steps) % 1
    flip = u + v > 1
    u, v = np.where(flip, 1 - u, u), np.where(flip, 1 - v, v)
    base = corners[chosen]
    surface = base[:, 0] + u[:, None] * (base[:, 1] - base[:, 0]) + v[:, None] * (base[:, 2] - base[:, 0])
    return Outline(points, edges, sides, is_crease, normals, surface)


def draw_model(outline: Outline, rng: np.random.Generator, *, size: int) -> np.ndarray:
    """(size, size) uint8, dark lines on a white sheet, from a random side.

    The view turns fully about the vertical axis and looks from 10 degrees below to 45 above; the sheet leans up to 12
    degrees. The hand is a smooth displacement of the whole drawing, so that lines waver but still meet.
    """
    camera = _view(rng)
    view_points = outline.points @ camera.T  # x right, y up, z towards the viewer
    view_surface = outline.surface @ camera.T
    towards = (outline.normals @ camera.T)[:, 2] > 0  # (F,)
    front = towards[outline.sides]  # (E, 2)
    shown = (front[:, 0] != front[:, 1]) | (outline.is_crease & front.any(axis=1))
    edges = outline.edges[shown]

    low, high = view_points[:, :2].min(axis=0), view_points[:, :2].max(axis=0)
    fill = rng.uniform(0.72, 0.9)
    scale = fill / max(float((high - low).max()), 1e-6)
    middle = (low + high) / 2 + rng.uniform(-0.5, 0.5, 2) * (0.95 - fill) / scale

    def to_sheet(points: np.ndarray) -> np.ndarray:
        """View coordinates to 0..1, y down."""
        return np.stack([0.5 + (points[..., 0] - middle[0]) * scale, 0.5 - (points[..., 1] - middle[1]) * scale], -1)

    steps = np.linspace(0, 1, 9)[None, :, None]
    strokes = view_points[edges[:, 0]][:, None] * (1 - steps) + view_points[edges[:, 1]][:, None] * steps  # (E, 9, 3)
    sheet = to_sheet(strokes)
    # Slanted surfaces rise within a cell of the depth grid, and those that turn away at a silhouette rise most.
    tolerance = np.where((front[:, 0] != front[:, 1])[shown], 0.14, 0.045)[:, None]
    visible = _visible(sheet, strokes[..., 2] + tolerance, to_sheet(view_surface), view_surface[:, 2])
    side = size * SUPERSAMPLING
    pixels = (sheet + _waver(rng, sheet)) * side
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    ink, width = int(rng.integers(0, 90)), round(rng.uniform(0.012, 0.024) * side)
    # A stroke's piece is drawn where both its ends are seen.
    pieces = np.concatenate([pixels[:, :-1], pixels[:, 1:]], axis=-1)[visible[:, :-1] & visible[:, 1:]]
    for piece in pieces.tolist():
        pen.line(piece, fill=ink, width=max(1, width))
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def _view(rng: np.random.Generator) -> np.ndarray:
    """Rows: right, up and towards the viewer, for models with z up."""
    azimuth, elevation, roll = np.radians([rng.uniform(0, 360), rng.uniform(-10, 45), rng.uniform(-12, 12)])
    towards = np.array([np.sin(azimuth) * np.cos(elevation), -np.cos(azimuth) * np.cos(elevation), np.sin(elevation)])
    right = np.array([np.cos(azimuth), np.sin(azimuth), 0.0])
    up = np.cross(towards, right)
    return np.stack([np.cos(roll) * right + np.sin(roll) * up, np.cos(roll) * up - np.sin(roll) * right, towards])


def _visible(sheet: np.ndarray, depth: np.ndarray, surface_sheet: np.ndarray, surface_depth: np.ndarray) -> np.ndarray:
    """Stroke points (E, K) that no surface point covers; depth grows towards the viewer."""
    nearest = np.full(DEPTH_CELLS * DEPTH_CELLS, -np.inf)
    np.maximum.at(nearest, _cell(surface_sheet), surface_depth)
    seen: np.ndarray = depth >= nearest[_cell(sheet)]
    return seen


def _cell(sheet: np.ndarray) -> np.ndarray:
    cells = np.clip((sheet * DEPTH_CELLS).astype(np.int64), 0, DEPTH_CELLS - 1)
    index: np.ndarray = cells[..., 1] * DEPTH_CELLS + cells[..., 0]
    return index


def _waver(rng: np.random.Generator, sheet: np.ndarray) -> np.ndarray:
    """Smooth displacement of sheet positions: three waves per coordinate."""
    moved = np.zeros_like(sheet)
    for axis in range(2):
        for _ in range(3):
            direction = rng.uniform(-1, 1, 2) * rng.uniform(6, 26)
            moved[..., axis] += rng.uniform(0.002, 0.006) * np.sin(sheet @ direction + rng.uniform(0, 2 * np.pi))
    return moved
