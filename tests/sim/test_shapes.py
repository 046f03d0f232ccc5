"""Procedural models: what every one of them must keep, and what makes classes and models differ."""

from __future__ import annotations

import numpy as np
import pytest

from sim.families.table import FAMILIES, FIRST, handmade
from sim.geometry import Solid, join, rotation
from sim.outlines import arc, area, ellipse, gear, heart, lobes, rectangle, spline, star, symmetric, triangulate
from sim.shapes import CLASSES, Mesh, assemble, build_mesh, find_recipe, recipes, split_creases
from sim.solids import (
    ball,
    bar,
    blob,
    box,
    cylinder,
    extrude,
    frame,
    lathe,
    leaf,
    plate_with_hole,
    superellipsoid,
    torus,
    tube,
)  # fmt: skip

MOST_TRIANGLES = 6_500


def check_model(name: str, mesh: Mesh) -> None:
    extent = mesh.vertices.max(0) - mesh.vertices.min(0)
    assert np.isfinite(mesh.vertices).all(), name
    assert extent.max() == pytest.approx(1, abs=1e-5), name
    np.testing.assert_allclose(mesh.vertices.max(0) + mesh.vertices.min(0), 0, atol=1e-5, err_msg=name)
    assert 50 < len(mesh.faces) <= MOST_TRIANGLES, (name, len(mesh.faces))
    assert mesh.faces.min() == 0 and mesh.faces.max() == len(mesh.vertices) - 1, name
    assert set(mesh.face_slots) == set(range(len(mesh.slots))), f"{name} leaves a slot of {mesh.slots} unused"
    assert len(mesh.face_slots) == len(mesh.face_smooth) == len(mesh.faces), name
    sides = mesh.vertices[mesh.faces].astype(np.float64)
    areas = np.linalg.norm(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), axis=1)
    assert (areas > 0).all(), name


def test_the_catalogue_has_237_classes_with_24_chosen_ones_first() -> None:
    assert len(recipes()) == CLASSES == 237
    assert tuple(recipes())[:24] == FIRST
    assert len(handmade()) == sum(len(family) for family in FAMILIES) >= 200
    assert all(name.isidentifier() for name in recipes())


def test_every_class_makes_sound_models() -> None:
    for name, recipe in recipes().items():
        parts = recipe.build(np.random.default_rng([1, 2]))
        for slot, part in parts:
            assert part.volume() > 0, (name, slot)
        check_model(name, assemble(parts, tuple(recipe.slots)))


@pytest.mark.slow
def test_more_models_of_every_class_are_sound() -> None:
    for name in recipes():
        for index in (5, 11):
            check_model(f"{name}/{index}", build_mesh(7, name, index))


def test_equal_arguments_make_equal_models_and_others_do_not() -> None:
    for name in (*FIRST[::4], "composed_005"):
        one, again = build_mesh(7, name, 3), build_mesh(7, name, 3)
        for field in ("vertices", "faces", "face_slots", "face_smooth"):
            np.testing.assert_array_equal(getattr(one, field), getattr(again, field))
        for other in (build_mesh(7, name, 4), build_mesh(8, name, 3)):
            assert one.vertices.shape != other.vertices.shape or not np.allclose(one.vertices, other.vertices), name


def test_models_of_a_class_differ_in_proportions() -> None:
    for name in FIRST:
        extents = np.array([np.ptp(build_mesh(7, name, index).vertices, axis=0) for index in range(3)])
        assert extents.std(axis=0).max() > 0.002, name


def test_classes_differ_more_from_each_other_than_their_models_do() -> None:
    """Nearest centroid on coarse occupancy histograms of other models already beats chance by far."""

    def occupancy(mesh: Mesh) -> np.ndarray:
        centers = mesh.vertices[mesh.faces].mean(1)
        cells = np.clip(((centers + 0.5) * 6).astype(int), 0, 5) @ [36, 6, 1]
        sides = mesh.vertices[mesh.faces]
        areas = np.linalg.norm(np.cross(sides[:, 1] - sides[:, 0], sides[:, 2] - sides[:, 0]), axis=1)
        counts = np.bincount(cells, weights=areas, minlength=216)
        return np.sqrt(counts / counts.sum())

    names = list(recipes())[::6]
    known = np.array([np.mean([occupancy(build_mesh(7, name, i)) for i in (0, 2)], axis=0) for name in names])
    asked = np.array([occupancy(build_mesh(7, name, 1)) for name in names])
    hits = (asked @ known.T).argmax(1) == np.arange(len(names))
    assert len(names) == 40 and hits.mean() > 0.7


@pytest.mark.parametrize(
    ("name", "faces", "spread"),
    [
        ("chair", 536, 0.20185),
        ("mug", 1744, 0.21186),
        ("car", 2868, 0.19595),
        ("broadleaf_tree", 1456, 0.15897),
        ("teapot", 2416, 0.15689),
        ("dog", 5060, 0.17290),
        ("composed_005", 5064, 0.13984),
        ("composed_030", 1460, 0.12902),
    ],
)
def test_a_changed_shape_needs_another_catalogue_version(name: str, faces: int, spread: float) -> None:
    """Raise CATALOGUE_VERSION together with these numbers: data sets of different models must not be mixed."""
    mesh = build_mesh(7, name, 0)
    assert len(mesh.faces) == faces
    assert np.abs(mesh.vertices).mean() == pytest.approx(spread, abs=1e-4)


def test_unknown_classes_and_indices_are_refused() -> None:
    with pytest.raises(ValueError, match="no procedural class 'chiar'"):
        find_recipe("chiar")
    with pytest.raises(ValueError, match="model index is -1"):
        build_mesh(7, "chair", -1)


def test_parts_must_name_known_slots_and_have_extent() -> None:
    with pytest.raises(ValueError, match="'lid' is no slot"):
        assemble([("lid", ball(1.0))], ("body",))
    with pytest.raises(ValueError, match="span 0"):
        assemble([("body", ball(1.0).scaled(0.0))], ("body",))


SOLIDS = {
    "ball": (ball(0.5, 48), np.pi / 6),
    "box": (box(1, 2, 3), 6.0),
    "cylinder": (cylinder(1, 2, sides=96), 2 * np.pi),
    "cone": (lathe([[1, 0], [0, 3]], 96), np.pi),
    "torus": (torus(1, 0.2, 64, 32), 2 * np.pi**2 * 0.04),
    "tube": (tube([[0, 0, 0], [0, 0, 1], [0, 0, 4]], 0.5, 64), np.pi),
    "bar": (bar([1, 1, 1], [1, 1, 3], 0.5, sides=64), np.pi / 2),
    "frame": (frame(2, 1, 0.1, 0.5), (2 - 1.8 * 0.8) * 0.5),
    "ring": (plate_with_hole(ellipse(1, sides=96), ellipse(0.5, sides=96), 2), 1.5 * np.pi),
    "star": (extrude(star(5, 1, 0.4), 2), 2 * area(star(5, 1, 0.4))),
    "hollow": (lathe([[0, 0], [1, 0], [1, 1], [0.5, 1], [0.5, 0.5], [0, 0.5]], 96), np.pi * (1 - 0.125)),
    "mirrored": (box(1, 2, 3).at(5).mirrored("x"), 6.0),
    "sideways": (cylinder(1, 2, sides=96).sideways(), 2 * np.pi),
    "turned": (box(1, 2, 3).turned(30, 40, 50), 6.0),
    "row": (box(1, 1, 1).row(3, (2, 0, 0)), 3.0),
    "round box": (superellipsoid(0.5, square=0.05, upright=0.05, sides=64, rings=32), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_enclose_their_volume_and_look_outwards(name: str) -> None:
    solid, volume = SOLIDS[name]
    assert solid.volume() == pytest.approx(volume, rel=0.05)


@pytest.mark.parametrize("name", [name for name in SOLIDS if name != "row"])
def test_solids_are_closed(name: str) -> None:
    solid, _ = SOLIDS[name]
    start, end = solid.faces.ravel(), np.roll(solid.faces, -1, axis=1).ravel()
    forward, backward = set(zip(start, end, strict=True)), set(zip(end, start, strict=True))
    assert forward == backward


def test_creases_split_a_box_but_not_a_ball() -> None:
    vertices, faces = split_creases(box(1, 1, 1))
    assert (len(vertices), len(faces)) == (24, 12)  # every corner three times
    smooth = ball(1, 24)
    vertices, faces = split_creases(smooth)
    assert len(vertices) == len(np.unique(smooth.faces)) == 24 * 11 + 2  # both poles are one vertex
    np.testing.assert_allclose(vertices[faces], smooth.vertices[smooth.faces])
    rim = lathe([[0, 0], [1, 0], [1, 1], [0, 1]], 24)
    assert len(split_creases(rim)[0]) == 4 * 24 + 2  # the rims twice, the poles once
    assert len(split_creases(smooth.faceted())[0]) == 3 * len(smooth.faces)


@pytest.mark.parametrize(
    "outline",
    [star(7, 1, 0.3), gear(9, 1, 0.8), lobes(5, 1, 0.3), heart(1), rectangle(2, 1, 0.2), arc(1, 0, 250),
     symmetric([[0, 0], [1, 0.2], [0.2, 0.5], [0.8, 1], [0, 1]])],
)  # fmt: skip
def test_outlines_are_counter_clockwise_and_filled_by_their_triangles(outline: np.ndarray) -> None:
    triangles = triangulate(outline)
    assert area(outline) > 0
    assert len(triangles) == len(outline) - 2
    assert sum(area(outline[t]) for t in triangles) == pytest.approx(area(outline))


def test_an_outline_that_crosses_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="crosses itself"):
        triangulate(np.array([[0, 0], [4, 3], [0, 3], [4, 0], [2, 9.0], [2, -4], [1, 7]]))


def test_splines_pass_through_their_points() -> None:
    points = np.array([[0, 0], [1, 2], [3, 1], [4, 4.0]])
    np.testing.assert_allclose(spline(points, 5)[::5], points)
    np.testing.assert_allclose(spline(points, 5, closed=True)[::5], points)


def test_rotations_turn_about_x_then_y_then_z() -> None:
    np.testing.assert_allclose(rotation(90, 0, 0) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation(90, 0, 90) @ [0, 1, 0], [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(rotation(0, 90, 90) @ [1, 0, 0], [0, 0, -1], atol=1e-12)
    np.testing.assert_allclose(rotation(0, 0, 90) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_blobs_and_leaves_follow_their_arguments() -> None:
    one = blob(np.random.default_rng(0), 1.0)
    np.testing.assert_array_equal(one.vertices, blob(np.random.default_rng(0), 1.0).vertices)
    assert 0.5 < np.linalg.norm(one.vertices, axis=1).min() < np.linalg.norm(one.vertices, axis=1).max() < 1.5
    assert leaf(2.0, 0.3).vertices[:, 0].max() == pytest.approx(2.0)


def test_copies_are_placed_evenly() -> None:
    ring = box(0.1, 0.1, 0.1).at(1).ring(4)
    assert len(ring.faces) == 48
    np.testing.assert_allclose(ring.vertices.mean(0), 0, atol=1e-12)
    both: Solid = join([box(1, 1, 1).at(2), ball(1)]).both("x")
    np.testing.assert_allclose(both.vertices.mean(0)[0], 0, atol=1e-12)
