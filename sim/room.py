"""The room layout: several objects on a floor between three walls, for multi-task learning.

Light, camera distance, environment, focus and materials follow the same parameters, and the same draws, as the
single-object layout; the room's own draws come from a stream of their own. With `materials: random_per_model` a model
looks the same in every room, and alone.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal
from zlib import crc32

import numpy as np

from sim.params import SimParams, SimRanges
from sim.scene import (
    MaterialSpec,
    PlacedObject,
    RoomSpec,
    SceneSpec,
    drawn_materials,
    model_uniforms,
    sample_scene,
)

if TYPE_CHECKING:
    from sim.assets import AssetCatalog, ModelAsset

MIN_OBJECTS, MAX_OBJECTS = 3, 6
WIDTH_M, DEPTH_M, HEIGHT_M = (3.2, 4.4), (3.2, 4.4), (2.2, 2.8)
SIZE_M = (0.5, 1.0)
"""Longest sides of the objects."""
GAP_M = 0.05
LOOK_AT_M = (0.0, 0.2, 0.35)
CAMERA_HEIGHT_M = 1.5
PLACE_ATTEMPTS = 30
FLOOR_CATEGORIES = ("wood", "stone", "concrete", "ceramic", "fabric")
WALL_CATEGORIES = ("concrete", "paper", "wood", "stone", "ceramic", "plastic")


def sample_room(
    catalog: AssetCatalog,
    params: SimParams,
    ranges: SimRanges,
    seed: int,
    index: int,
    *,
    models: Literal["all", "train", "heldout"] = "all",
) -> SceneSpec:
    """Draw image `index` of a data set of rooms: the single-object scene's draws plus floor, walls and more objects.

    Objects stand upright, turned about z; `object_rotation: random` turns them freely. They keep apart by their
    enclosing circles; one that finds no place is left out, so a room has 1 to 6 of them.

    Raises:
        ValueError: as `sample_scene`.
    """
    alone = sample_scene(catalog, params, ranges, seed, index, models=models)
    rng = np.random.default_rng([seed, index, crc32(b"room")])
    width, depth, height = (float(rng.uniform(*limits)) for limits in (WIDTH_M, DEPTH_M, HEIGHT_M))
    floor, walls = _surface(catalog, rng, FLOOR_CATEGORIES), _surface(catalog, rng, WALL_CATEGORIES)
    taken: list[tuple[float, float, float]] = []
    size = float(rng.uniform(*SIZE_M))
    place = _place(rng, width, depth, size, taken)
    assert place is not None, "the first object always finds a place"
    others = []
    for _ in range(int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1)) - 1):
        other = _object(catalog, params, rng, seed, models)
        spot = _place(rng, width, depth, other.size_m, taken)
        if spot is not None:
            others.append(dataclasses.replace(other, place_m=spot))
    yaw = float(rng.uniform(-180, 180))
    rotation = alone.object_rotation_deg if params.object_rotation == "random" else (0.0, 0.0, yaw)
    factor = float(np.linalg.norm(alone.camera_position_m)) / _base_distance(catalog, ranges, seed, index, models)
    return dataclasses.replace(
        alone,
        object_rotation_deg=rotation,
        camera_position_m=(-0.45 * factor, -(depth / 2 + 1.1) * factor, CAMERA_HEIGHT_M),
        room=RoomSpec(width, depth, height, floor, walls, LOOK_AT_M, place, size, tuple(others)),
    )


def _base_distance(
    catalog: AssetCatalog, ranges: SimRanges, seed: int, index: int, models: Literal["all", "train", "heldout"]
) -> float:
    """Camera distance of the single-object layout with everything off."""
    fixed = sample_scene(catalog, SimParams(), ranges, seed, index, models=models)
    return float(np.linalg.norm(fixed.camera_position_m))


def _object(
    catalog: AssetCatalog,
    params: SimParams,
    rng: np.random.Generator,
    seed: int,
    models: Literal["all", "train", "heldout"],
) -> PlacedObject:
    class_id = int(rng.integers(len(catalog.classes)))
    candidates = catalog.models(catalog.classes[class_id], models)
    asset = candidates[int(rng.integers(len(candidates)))]
    yaw, pitch, roll = (float(value) for value in rng.uniform(-180, 180, 3))
    fresh = tuple(catalog.materials[k] for k in rng.integers(len(catalog.materials), size=len(asset.natural)))
    return PlacedObject(
        class_id=class_id,
        class_name=asset.class_name,
        model=asset.id,
        place_m=(0.0, 0.0),
        rotation_deg=(pitch, roll, yaw) if params.object_rotation == "random" else (0.0, 0.0, yaw),
        size_m=float(rng.uniform(*SIZE_M)),
        materials=_materials(catalog, params, asset, fresh, seed),
    )


def _materials(
    catalog: AssetCatalog, params: SimParams, asset: ModelAsset, fresh: tuple[MaterialSpec, ...], seed: int
) -> tuple[MaterialSpec, ...]:
    """Of an object, given those drawn anew for this room: drawn in any case, so that no setting shifts other draws."""
    if params.materials == "natural":
        return asset.natural
    return fresh if params.materials == "random" else drawn_materials(catalog, asset, model_uniforms(seed, asset.id))


def _place(
    rng: np.random.Generator, width: float, depth: float, size: float, taken: list[tuple[float, float, float]]
) -> tuple[float, float] | None:
    """A free place for a circle of diameter `size` times the square root of two; remembered in `taken`."""
    radius = size / np.sqrt(2)
    for _ in range(PLACE_ATTEMPTS):
        x = float(rng.uniform(-width / 2 + radius, width / 2 - radius))
        y = float(rng.uniform(-depth / 2 + radius, depth / 2 - radius))
        if all(np.hypot(x - a, y - b) > radius + r + GAP_M for a, b, r in taken):
            taken.append((x, y, float(radius)))
            return x, y
    return None


def _surface(catalog: AssetCatalog, rng: np.random.Generator, categories: tuple[str, ...]) -> MaterialSpec:
    fitting = [material for material in catalog.materials if material.category in categories]
    choices = fitting or list(catalog.materials)
    return choices[int(rng.integers(len(choices)))]
