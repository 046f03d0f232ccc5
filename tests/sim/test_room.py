"""What is drawn in a room: materials by the same rule as in the single-object layout, nothing else by their setting."""

from __future__ import annotations

import dataclasses

import pytest

from sim.assets import AssetCatalog, CatalogConfig, load_catalog
from sim.params import SimParams, SimRanges
from sim.room import sample_room
from sim.scene import MaterialSpec, SceneSpec, sample_scene

RANGES = SimRanges()
NUM_CLASSES, ROOMS = 3, 60


@pytest.fixture(scope="module")
def catalog() -> AssetCatalog:
    return load_catalog(CatalogConfig(num_classes=NUM_CLASSES))


def draw(catalog: AssetCatalog, params: SimParams, seed: int = 3) -> list[SceneSpec]:
    return [sample_room(catalog, params, RANGES, seed, index) for index in range(ROOMS)]


def objects(spec: SceneSpec) -> list[tuple[str, tuple[MaterialSpec, ...]]]:
    """Model and materials of everything that stands in the room."""
    assert spec.room is not None
    return [(spec.model, spec.materials), *((other.model, other.materials) for other in spec.room.others)]


def bare(spec: SceneSpec) -> SceneSpec:
    """Without the objects' materials."""
    assert spec.room is not None
    others = tuple(dataclasses.replace(other, materials=()) for other in spec.room.others)
    return dataclasses.replace(spec, materials=(), room=dataclasses.replace(spec.room, others=others))


def test_materials_per_model_stay_with_the_model_in_every_room_and_alone(catalog: AssetCatalog) -> None:
    params = SimParams(materials="random_per_model")
    rooms = draw(catalog, params)
    seen: dict[str, set[tuple[MaterialSpec, ...]]] = {}
    for model, materials in (pair for spec in rooms for pair in objects(spec)):
        seen.setdefault(model, set()).add(materials)
    models = [model.id for name in catalog.classes for model in catalog.models(name)]
    assert len(models) == len(seen) == 30 and sum(len(objects(spec)) for spec in rooms) > 3 * ROOMS
    assert all(len(materials) == 1 for materials in seen.values())
    assert len(set.union(*seen.values())) > 20  # models differ
    for index in range(len(models)):
        alone = sample_scene(catalog, params, RANGES, 3, index)
        assert seen[alone.model] == {alone.materials}
    other_seed = sample_scene(catalog, params, RANGES, 4, 0)
    assert other_seed.materials not in seen[other_seed.model]


def test_random_materials_are_new_in_every_room(catalog: AssetCatalog) -> None:
    drawn = [pair for spec in draw(catalog, SimParams(materials="random")) for pair in objects(spec)]
    assert len(drawn) > 3 * ROOMS and len(set(drawn)) > 0.95 * len(drawn)


def test_natural_materials_are_the_models_own(catalog: AssetCatalog) -> None:
    own = {model.id: model.natural for name in catalog.classes for model in catalog.models(name)}
    drawn = [pair for spec in draw(catalog, SimParams()) for pair in objects(spec)]
    assert len(drawn) > 3 * ROOMS and all(materials == own[model] for model, materials in drawn)


def test_the_setting_of_materials_changes_nothing_else_in_a_room(catalog: AssetCatalog) -> None:
    natural, fresh, fixed = (
        draw(catalog, SimParams(materials=level))  # type: ignore[arg-type]
        for level in ("natural", "random", "random_per_model")
    )
    assert len(natural) == ROOMS
    assert [bare(spec) for spec in natural] == [bare(spec) for spec in fresh] == [bare(spec) for spec in fixed]
