"""Natural materials by kind, and the library behind `materials: random`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sim.materials import KINDS, LIBRARY_COUNTS, PALETTES, material_library, natural_material
from sim.scene import MaterialSpec
from sim.shapes import recipes

PATTERNS = {"none", "noise", "wood", "marble", "checker", "brick", "voronoi", "stripes"}


def check(material: MaterialSpec) -> None:
    for name in ("metallic", "roughness", "transmission", "sheen", "coat", "bump"):
        assert 0 <= getattr(material, name) <= 1, (material.name, name)
    assert all(0 <= channel <= 1 for channel in (*material.base_color, *material.second_color)), material.name
    assert material.pattern in PATTERNS and material.pattern_scale > 0 and 1 <= material.ior <= 2.5, material.name


def test_the_library_has_the_originals_number_and_mix() -> None:
    library = material_library()
    assert len(library) == 141 == len({material.name for material in library})
    assert Counter(material.category for material in library) == LIBRARY_COUNTS
    for material in library:
        check(material)


def test_library_materials_are_all_different() -> None:
    looks = {(m.base_color, m.second_color, m.pattern, m.roughness) for m in material_library()}
    assert len(looks) == 141
    assert {m.pattern for m in material_library()} == PATTERNS


def test_the_library_is_constant() -> None:
    library = material_library()
    assert material_library() is library
    assert library[0].name == "plastic_00"
    assert np.mean([m.roughness for m in library]) == pytest.approx(0.46, abs=0.08)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_drawn(kind: str) -> None:
    rng = np.random.default_rng(0)
    drawn = [natural_material(kind, rng) for _ in range(30)]
    for material in drawn:
        check(material)
        assert material.category == kind
    assert {m.metallic for m in drawn} == {1.0 if kind == "metal" else 0.0}
    assert (min(m.transmission for m in drawn) > 0.8) == (kind == "glass")


@pytest.mark.parametrize("palette", PALETTES)
def test_every_palette_can_be_drawn(palette: str) -> None:
    check(natural_material(f"plastic:{palette}", np.random.default_rng(1)))


def test_palettes_look_like_their_names() -> None:
    rng = np.random.default_rng(2)
    for palette, channel in (("red", 0), ("green", 1), ("blue", 2)):
        for _ in range(20):
            color = natural_material(f"plastic:{palette}", rng).base_color
            assert max(color) == color[channel], palette
    assert max(natural_material("plastic:black", rng).base_color) < 0.02
    assert min(natural_material("plastic:white", rng).base_color) > 0.6


def test_alternatives_all_occur() -> None:
    rng = np.random.default_rng(3)
    assert {natural_material("wood|metal|plastic:red", rng).category for _ in range(60)} == {"wood", "metal", "plastic"}


def test_unknown_kinds_and_palettes_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown kind of material 'wod'"):
        natural_material("wod", np.random.default_rng(0))
    with pytest.raises(ValueError, match="unknown palette 'rde'"):
        natural_material("plastic:rde", np.random.default_rng(0))


def test_every_slot_of_every_class_names_kinds_that_exist() -> None:
    assert len(recipes()) == 237
    for recipe in recipes().values():
        assert 1 <= len(recipe.slots) <= 9, recipe.name
        for kinds in recipe.slots.values():
            for option in kinds.split("|"):
                kind, _, palettes = option.partition(":")
                assert kind in KINDS, (recipe.name, option)
                assert set(palettes.split(",")) <= {*PALETTES, ""}, (recipe.name, option)
