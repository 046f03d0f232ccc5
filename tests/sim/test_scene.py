"""Statistics of the drawn scenes: off is constant, on keeps its distribution, nothing depends on anything else."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from sim.assets import AssetCatalog, CatalogConfig, load_catalog
from sim.geometry import rotation
from sim.params import TASK2SIM_SPACE, SimParams, SimRanges, all_on
from sim.scene import CAMERA_POSITION_M, SUN_STRENGTH, SceneSpec, sample_scene
from sim.skies import PLAIN, SKIES

RANGES = SimRanges()
ALL_ON = SimParams(**TASK2SIM_SPACE.to_levels(all_on()))  # type: ignore[arg-type]
# What each parameter may change. The focus distance is measured from the camera, so it follows the distance.
OWN_FIELDS = {
    "object_rotation": {"object_rotation_deg"},
    "object_distance": {"camera_position_m", "focus_distance_m"},
    "light_intensity": {"light_strength"},
    "light_color": {"light_color"},
    "light_direction": {"light_direction"},
    "background": {"hdri", "hdri_rotation_deg"},
    "focus_blur": {"focus_distance_m", "aperture_fstop"},
    "materials": {"materials"},
}
CHOICE = {"index", "class_id", "class_name", "model"}
LEAST_P = 1e-4  # of a fixed draw: fails for a wrong distribution, not by bad luck


@pytest.fixture(scope="module")
def catalog() -> AssetCatalog:
    return load_catalog(CatalogConfig())


def draw(catalog: AssetCatalog, params: SimParams, count: int = 1500, seed: int = 3) -> list[SceneSpec]:
    return [sample_scene(catalog, params, RANGES, seed, index) for index in range(count)]


@pytest.fixture(scope="module")
def everything(catalog: AssetCatalog) -> list[SceneSpec]:
    return draw(catalog, ALL_ON)


def uniform(values: object, low: float, high: float) -> None:
    array = np.asarray(values, dtype=float)
    assert array.min() >= low and array.max() <= high
    assert stats.kstest(array, "uniform", (low, high - low)).pvalue > LEAST_P


def test_with_everything_off_only_the_object_changes(catalog: AssetCatalog) -> None:
    specs = draw(catalog, SimParams(), 480)
    still = {field.name for field in dataclasses.fields(SceneSpec)} - CHOICE - {"materials"}
    for name in still:
        assert len({getattr(spec, name) for spec in specs}) == 1, name
    assert specs[0].focus_distance_m is None and specs[0].aperture_fstop is None
    assert specs[0].object_rotation_deg == specs[0].hdri_rotation_deg == (0, 0, 0)
    assert specs[0].camera_position_m == CAMERA_POSITION_M and specs[0].hdri == catalog.hdris[0].name


def test_natural_materials_are_the_models_own(catalog: AssetCatalog) -> None:
    for spec in draw(catalog, SimParams(), 300):
        own = {model.id: model.natural for model in catalog.models(spec.class_name)}
        assert spec.materials == own[spec.model]


@pytest.mark.parametrize("name", OWN_FIELDS)
def test_switching_one_parameter_changes_nothing_else(catalog: AssetCatalog, name: str) -> None:
    """From everything off and from everything on."""
    off_level = getattr(SimParams(), name)
    on_level = getattr(ALL_ON, name)
    for base, level in ((SimParams(), on_level), (ALL_ON, off_level)):
        switched = dataclasses.replace(base, **{name: level})
        changed: Counter[str] = Counter()
        for one, other in zip(draw(catalog, base, 100), draw(catalog, switched, 100), strict=True):
            different = {key for key in vars(one) if getattr(one, key) != getattr(other, key)}
            assert different <= OWN_FIELDS[name]
            changed.update(different)
        assert max(changed.values()) > 60


def test_every_combination_draws_the_same_values_for_what_is_on(catalog: AssetCatalog) -> None:
    everything_on = vars(sample_scene(catalog, ALL_ON, RANGES, 3, 11))
    all_off = vars(sample_scene(catalog, SimParams(), RANGES, 3, 11))
    actions = list(TASK2SIM_SPACE.actions())
    assert len(actions) == 256
    for action in actions:
        params = SimParams(**TASK2SIM_SPACE.to_levels(action))  # type: ignore[arg-type]
        spec = vars(sample_scene(catalog, params, RANGES, 3, 11))
        for (name, fields), bit in zip(OWN_FIELDS.items(), action, strict=True):
            for field in fields - {"focus_distance_m"}:
                assert spec[field] == (everything_on if bit else all_off)[field], (name, field)


def test_rotations_are_uniform_in_each_angle(everything: list[SceneSpec]) -> None:
    for axis in range(3):
        uniform([spec.object_rotation_deg[axis] for spec in everything], -180, 180)


def test_the_distance_is_a_uniform_factor_along_one_ray(everything: list[SceneSpec]) -> None:
    base = np.array(CAMERA_POSITION_M)
    places = np.array([spec.camera_position_m for spec in everything])
    factors = places @ base / (base @ base)
    np.testing.assert_allclose(places, factors[:, None] * base, atol=1e-12)
    uniform(factors, 0.4, 1.5)


def test_the_light_keeps_its_distributions(everything: list[SceneSpec]) -> None:
    uniform([spec.light_strength / SUN_STRENGTH - 1 for spec in everything], -0.6, 0.6)
    for channel in range(3):
        uniform([spec.light_color[channel] for spec in everything], 0.05, 1)
    directions = np.array([spec.light_direction for spec in everything])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-12)
    uniform(np.arccos(-directions[:, 2]) / np.pi, 0, 1)  # the pitch, folded
    uniform(np.arctan2(directions[:, 1], directions[:, 0]), -np.pi, np.pi)
    assert 0.4 < np.mean(directions[:, 2] > 0) < 0.6  # also from below


def test_parameters_are_drawn_independently(everything: list[SceneSpec]) -> None:
    columns = np.array(
        [
            [*s.object_rotation_deg, np.linalg.norm(s.camera_position_m), s.light_strength, *s.light_color,
             *s.light_direction, s.hdri_rotation_deg[2], s.aperture_fstop is None]
            for s in everything
        ],
        dtype=float,
    )  # fmt: skip
    correlation = np.corrcoef(columns.T) - np.eye(columns.shape[1])
    assert np.abs(correlation).max() < 0.12


def test_a_quarter_of_the_images_stays_in_focus(everything: list[SceneSpec]) -> None:
    sharp = sum(spec.focus_distance_m is None for spec in everything)
    assert stats.binomtest(sharp, len(everything), 0.25).pvalue > LEAST_P
    blurred = [spec for spec in everything if spec.focus_distance_m is not None]
    uniform([spec.aperture_fstop for spec in blurred], 0.5, 1.2)
    distances = np.array([np.linalg.norm(spec.camera_position_m) for spec in blurred])
    focus = np.array([spec.focus_distance_m for spec in blurred], dtype=float)
    assert focus.min() >= 0.1
    far = distances > 1.11  # there the nearest focus of 0.1 m never binds
    assert far.sum() > 500
    uniform((focus - distances)[far], -1, 1)
    assert all((spec.focus_distance_m is None) == (spec.aperture_fstop is None) for spec in everything)


def test_backgrounds_take_every_map_and_look_everywhere(catalog: AssetCatalog, everything: list[SceneSpec]) -> None:
    counts = Counter(spec.hdri for spec in everything)
    assert set(counts) == {hdri.name for hdri in catalog.hdris}
    assert stats.chisquare(list(counts.values())).pvalue > LEAST_P
    forward = -np.array(CAMERA_POSITION_M) / np.linalg.norm(CAMERA_POSITION_M)
    right = np.cross(forward, [0, 0, 1.0])
    turns = np.array([rotation(*spec.hdri_rotation_deg) for spec in everything])  # environment to world
    seen = forward @ turns  # the direction of the environment in the middle of the picture
    uniform(seen[:, 2], -1, 1)  # uniform on the sphere: Archimedes
    uniform(np.arctan2(seen[:, 1], seen[:, 0]), -np.pi, np.pi)
    np.testing.assert_allclose((right @ turns)[:, 2], 0, atol=1e-9)  # the horizon stays level
    assert ((np.cross(right, forward) @ turns)[:, 2] > -1e-9).all()  # and the sky above


def test_random_materials_are_new_for_every_image_and_use_the_whole_library(
    catalog: AssetCatalog, everything: list[SceneSpec]
) -> None:
    drawn = [material.name for spec in everything for material in spec.materials]
    counts = Counter(drawn)
    assert len(counts) == 141
    assert stats.chisquare(list(counts.values())).pvalue > LEAST_P
    assert len({spec.materials for spec in everything}) > 0.99 * len(everything)
    for spec in everything[:200]:
        model = next(model for model in catalog.models(spec.class_name) if model.id == spec.model)
        assert len(spec.materials) == len(model.natural)


def test_materials_per_model_stay_with_the_model(catalog: AssetCatalog) -> None:
    params = dataclasses.replace(ALL_ON, materials="random_per_model")
    seen: dict[str, set[object]] = {}
    for spec, fresh in zip(draw(catalog, params, 720), draw(catalog, ALL_ON, 720), strict=True):
        seen.setdefault(spec.model, set()).add(spec.materials)
        assert dataclasses.replace(spec, materials=()) == dataclasses.replace(fresh, materials=())
    assert len(seen) == 240 and all(len(materials) == 1 for materials in seen.values())
    assert len(set.union(*seen.values())) > 220
    other = sample_scene(catalog, params, RANGES, 4, 0)
    assert other.materials not in seen[other.model]


def test_plain_backgrounds_are_one_grey_and_skies_are_seen_from_everywhere(catalog: AssetCatalog) -> None:
    plain = draw(catalog, SimParams(background="plain"), 100)
    assert {(spec.hdri, spec.hdri_rotation_deg) for spec in plain} == {(PLAIN, (0.0, 0.0, 0.0))}
    skies = draw(catalog, SimParams(background="sky"), 400)
    assert {spec.hdri for spec in skies} == set(SKIES)
    assert len({spec.hdri_rotation_deg for spec in skies}) == 400
    for params in (SimParams(background="plain"), SimParams(background="sky")):
        for one, other in zip(draw(catalog, params, 50), draw(catalog, SimParams(), 50), strict=True):
            still = {"hdri": other.hdri, "hdri_rotation_deg": other.hdri_rotation_deg}
            assert dataclasses.replace(one, **still) == other


def test_classes_and_models_take_turns(catalog: AssetCatalog) -> None:
    specs = draw(catalog, SimParams(), 480)
    assert Counter(spec.model for spec in specs) == {m.id: 2 for name in catalog.classes for m in catalog.models(name)}
    for index, spec in enumerate(specs):
        assert spec.index == index and spec.class_id == index % 24
        assert spec.class_name == catalog.classes[index % 24]
        assert spec.model == f"{spec.class_name}/{index // 24 % 10}"


def test_train_and_heldout_images_show_different_models(catalog: AssetCatalog) -> None:
    shown = {
        split: {sample_scene(catalog, ALL_ON, RANGES, 3, index, models=split).model for index in range(480)}  # type: ignore[arg-type]
        for split in ("train", "heldout")
    }
    assert len(shown["train"]) == len(shown["heldout"]) == 120
    assert not shown["train"] & shown["heldout"]


def test_images_do_not_depend_on_order_or_on_how_many_there_are(
    catalog: AssetCatalog, everything: list[SceneSpec]
) -> None:
    for index in (1499, 0, 700, 23):
        assert sample_scene(load_catalog(CatalogConfig()), ALL_ON, RANGES, 3, index) == everything[index]


def test_seeds_and_images_have_streams_of_their_own(catalog: AssetCatalog) -> None:
    """`default_rng([7, 0])` is `default_rng(7)`: image 0, or seed 0, must not repeat another stream."""
    assert np.random.default_rng([7, 0]).random() == np.random.default_rng(7).random()
    rotations = {
        sample_scene(catalog, ALL_ON, RANGES, seed, index).object_rotation_deg
        for seed in (0, 1, 7) for index in (0, 1, 7)
    }  # fmt: skip
    assert len(rotations) == 9
    spec = sample_scene(catalog, ALL_ON, RANGES, 7, 0)
    plain = np.random.default_rng(7).random(3) * 360 - 180
    assert not np.allclose(spec.object_rotation_deg, plain)
    angles = (np.array(spec.object_rotation_deg) + 180) / 360
    colors = (np.array(spec.light_color) - 0.05) / 0.95
    assert not np.allclose(angles, colors)  # equal streams would show in equal numbers


def test_other_ranges_are_kept(catalog: AssetCatalog) -> None:
    narrow = SimRanges(
        rotation_deg=(10, 20), distance_factor=(1, 1), light_intensity_offset=(0, 0), light_color_channel=(0.5, 0.6),
        light_yaw_deg=(0, 0), light_pitch_deg=(0, 0), aperture_fstop=(8, 9), in_focus_probability=0.0,
    )  # fmt: skip
    for index in range(100):
        spec = sample_scene(catalog, ALL_ON, narrow, 3, index)
        assert all(10 <= angle <= 20 for angle in spec.object_rotation_deg)
        assert spec.camera_position_m == CAMERA_POSITION_M and spec.light_strength == SUN_STRENGTH
        assert all(0.5 <= channel <= 0.6 for channel in spec.light_color)
        np.testing.assert_allclose(spec.light_direction, (0, 0, -1), atol=1e-12)
        assert spec.aperture_fstop is not None and 8 <= spec.aperture_fstop <= 9


def test_a_spec_is_plain_data(everything: list[SceneSpec]) -> None:
    """No numpy number inside: what is written to JSON reads back as the same scene."""
    for spec in everything[:50]:
        written = dataclasses.asdict(spec)
        assert json.loads(json.dumps(written)) == json.loads(
            json.dumps(written | {"materials": list(written["materials"])})
        )
        for value in (*spec.camera_position_m, *spec.light_color, *spec.light_direction, *spec.hdri_rotation_deg):
            assert type(value) is float


@pytest.mark.parametrize(("seed", "index"), [(-1, 0), (0, -1)])
def test_negative_numbers_are_refused(catalog: AssetCatalog, seed: int, index: int) -> None:
    with pytest.raises(ValueError, match="allowed: 0 and up"):
        sample_scene(catalog, SimParams(), RANGES, seed, index)
