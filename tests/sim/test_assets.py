"""The catalogue: classes, models, splits, environment maps, digest."""

from __future__ import annotations

import re

import pytest

from sim.assets import WHEEL_HDRIS, AssetCatalog, CatalogConfig, ProceduralModel, load_catalog, wheel_hdris
from sim.materials import material_library
from sim.shapes import build_mesh, recipes


@pytest.fixture(scope="module")
def catalog() -> AssetCatalog:
    return load_catalog(CatalogConfig())


def test_the_default_catalogue_has_24_classes_of_ten_models(catalog: AssetCatalog) -> None:
    assert catalog.classes == tuple(recipes())[:24]
    for name in catalog.classes:
        assert [model.id for model in catalog.models(name)] == [f"{name}/{i}" for i in range(10)]
    assert len(catalog.hdris) == 8 and len(catalog.materials) == 141


def test_the_full_catalogue_has_the_published_size() -> None:
    full = load_catalog(CatalogConfig(num_classes=237))
    assert len(full.classes) == 237
    assert sum(len(full.models(name)) for name in full.classes) == 2370
    assert len({model.sha256 for name in full.classes for model in full.models(name)}) == 2370


def test_a_smaller_catalogue_is_a_prefix_of_a_larger_one(catalog: AssetCatalog) -> None:
    small = load_catalog(CatalogConfig(num_classes=5, models_per_class=3))
    assert small.classes == catalog.classes[:5]
    for name in small.classes:
        assert small.models(name) == catalog.models(name)[:3]


def test_models_have_one_natural_material_per_slot_of_their_mesh(catalog: AssetCatalog) -> None:
    for name in catalog.classes:
        model = catalog.models(name)[1]
        assert isinstance(model.source, ProceduralModel)
        mesh = build_mesh(model.source.seed, model.source.class_name, model.source.index)
        assert tuple(material.name for material in model.natural) == mesh.slots


def test_natural_materials_differ_between_models_and_between_seeds(catalog: AssetCatalog) -> None:
    assert len({model.natural for model in catalog.models("mug")}) == 10
    other = load_catalog(CatalogConfig(seed=8))
    assert other.models("mug")[0].natural != catalog.models("mug")[0].natural


def test_train_and_heldout_models_share_nothing_and_miss_nothing(catalog: AssetCatalog) -> None:
    for name in catalog.classes:
        train = {model.id for model in catalog.models(name, "train")}
        heldout = {model.id for model in catalog.models(name, "heldout")}
        assert not train & heldout
        assert train | heldout == {model.id for model in catalog.models(name, "all")}
        assert len(train) == len(heldout) == 5


def test_a_class_with_one_model_cannot_be_split() -> None:
    lonely = load_catalog(CatalogConfig(num_classes=2, models_per_class=1))
    assert len(lonely.models("chair", "train")) == 1
    with pytest.raises(ValueError, match=r"'chair' has too few models .*'heldout'"):
        lonely.models("chair", "heldout")


def test_unknown_classes_and_splits_are_named(catalog: AssetCatalog) -> None:
    with pytest.raises(ValueError, match="no class 'chiar'"):
        catalog.models("chiar")
    with pytest.raises(ValueError, match="models is 'test'"):
        catalog.models("chair", "test")  # type: ignore[arg-type]


def test_the_digest_sees_everything_that_changes_a_picture(catalog: AssetCatalog) -> None:
    assert re.fullmatch("[0-9a-f]{64}", catalog.digest())
    assert load_catalog(CatalogConfig()).digest() == catalog.digest()
    variants = [
        load_catalog(CatalogConfig(seed=8)).digest(),
        load_catalog(CatalogConfig(num_classes=23)).digest(),
        load_catalog(CatalogConfig(models_per_class=9)).digest(),
        AssetCatalog(catalog.models_by_class, catalog.hdris[1:], catalog.materials).digest(),
        AssetCatalog(catalog.models_by_class, catalog.hdris, catalog.materials[1:]).digest(),
    ]
    assert len({catalog.digest(), *variants}) == 6


def test_the_eight_environment_maps_of_blender_are_known_by_name() -> None:
    assert sorted(WHEEL_HDRIS) == [
        "city", "courtyard", "forest", "interior", "night", "studio", "sunrise", "sunset",
    ]  # fmt: skip
    assert all(hdri.path is None and hdri.license.startswith("CC0") for hdri in wheel_hdris())


@pytest.mark.blender
def test_blender_brings_exactly_these_environment_maps() -> None:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("bpy")
    if spec is None or spec.origin is None:
        pytest.skip("needs the bpy wheel")
    world = Path(spec.origin).parent / "4.2" / "datafiles" / "studiolights" / "world"
    assert sorted(path.stem for path in world.glob("*.exr")) == sorted(WHEEL_HDRIS)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("seed", -1, "seed is -1"),
        ("num_classes", 0, "num_classes is 0; allowed: 1 to 237"),
        ("num_classes", 238, "num_classes is 238"),
        ("models_per_class", 0, "models_per_class is 0"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(field: str, value: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CatalogConfig(**{field: value})  # type: ignore[arg-type]


def test_the_library_is_the_catalogues(catalog: AssetCatalog) -> None:
    assert catalog.materials == material_library()
