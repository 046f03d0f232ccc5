"""Label maps: exact values on analytic scenes from the real Blender, derived maps on made ones."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from sim.assets import AssetCatalog, CatalogConfig, FileModel, ModelAsset, load_catalog, wheel_hdris
from sim.labels import (
    FIRST_OBJECT_CLASS,
    FLOOR_CLASS,
    WALL_CLASS,
    edge_map,
    encode_labels,
    keypoint_map,
    require_passes,
)
from sim.materials import material_library
from sim.meshfile import FileMesh, write_mesh
from sim.params import SimParams, SimRanges
from sim.render import BlenderRenderer, Shot
from sim.room import sample_room
from sim.scene import SceneSpec, sample_scene
from sim.shapes import Mesh
from sim.wire import RenderSettings

SIZE = 48


def ball(rings: int = 96) -> Mesh:
    """A sphere of radius 0.5; the upper half is slot 1."""
    polar = np.linspace(0, np.pi, rings + 1)[:, None]
    around = np.linspace(0, 2 * np.pi, 2 * rings, endpoint=False)[None]
    grid = np.stack(
        np.broadcast_arrays(np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)), axis=-1
    )
    faces = []
    for i in range(rings):
        for j in range(2 * rings):
            a, b = i * 2 * rings + j, i * 2 * rings + (j + 1) % (2 * rings)
            c, d = b + 2 * rings, a + 2 * rings
            faces += [(a, d, b)] * (i > 0) + [(b, d, c)] * (i < rings - 1)
    vertices = 0.5 * grid.reshape(-1, 3)
    array = np.array(faces, np.int32)
    upper = vertices[array].mean(1)[:, 2] > 0
    return Mesh(
        vertices.astype(np.float32), array, upper.astype(np.int16), np.ones(len(array), bool), ("lower", "upper")
    )


def crate() -> Mesh:
    """A box of 1 x 0.6 x 0.4."""
    half = np.array([0.5, 0.3, 0.2])
    vertices = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([triangle for a, b, c, d in quads for triangle in ((a, b, c), (a, c, d))], np.int32)
    return Mesh(vertices.astype(np.float32), faces, np.zeros(12, np.int16), np.zeros(12, bool), ("side",))


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> AssetCatalog:
    folder, models = tmp_path_factory.mktemp("models"), {}
    for name, mesh in (("ball", ball()), ("crate", crate())):
        write_mesh(folder / f"{name}.npz", FileMesh(mesh))
        natural = tuple(material_library()[0] for _ in mesh.slots)
        models[name] = (ModelAsset(f"{name}/0", name, natural, FileModel(folder / f"{name}.npz"), "CC0", name),)
    return AssetCatalog(models, wheel_hdris(), material_library())


@pytest.fixture(scope="module")
def renderer(catalog: AssetCatalog) -> Iterator[BlenderRenderer]:
    pytest.importorskip("bpy", reason="needs the bpy wheel (simpath[render], Python 3.11)")
    with BlenderRenderer(catalog, RenderSettings(size=SIZE, samples=1, labels=True)) as renderer:
        yield renderer


def alone(catalog: AssetCatalog, index: int, **changes: object) -> SceneSpec:
    return dataclasses.replace(sample_scene(catalog, SimParams(), SimRanges(), 0, index), **changes)  # type: ignore[arg-type]


def shoot(renderer: BlenderRenderer, spec: SceneSpec) -> Shot:
    ((_, shot),) = renderer.shoot([spec])
    return shot


def rays(spec: SceneSpec) -> np.ndarray:
    """Directions through the pixel centres in camera axes, z = -1: (H, W, 3)."""
    focal = SIZE / 2 / np.tan(np.radians(spec.field_of_view_deg) / 2)
    offset = (np.arange(SIZE) + 0.5 - SIZE / 2) / focal
    return np.stack(np.broadcast_arrays(offset[None, :], -offset[:, None], -1.0), axis=-1)


@pytest.mark.blender
@pytest.mark.parametrize(
    "changes", [{}, {"hdri_rotation_deg": (20.0, 0.0, 130.0), "focus_distance_m": 0.5, "aperture_fstop": 0.3}]
)
def test_depth_and_normals_of_a_sphere_follow_the_closed_form(
    catalog: AssetCatalog, renderer: BlenderRenderer, changes: dict[str, object]
) -> None:
    """Also when the world is turned and the picture out of focus: within 1 mm and 1.5 degrees."""
    spec = alone(catalog, 0, **changes)
    labels = shoot(renderer, spec).labels
    directions, center = rays(spec), np.array([0, 0, -np.linalg.norm(spec.camera_position_m)])
    square, along = (directions**2).sum(-1), directions @ center
    discriminant = along**2 - square * (center @ center - 0.25)
    hit = discriminant > 0.002  # away from the silhouette, where the polyhedron is not the sphere
    assert hit.sum() > 100
    depth = (along - np.sqrt(np.maximum(discriminant, 0))) / square
    normal = (directions * depth[..., None] - center) / 0.5
    assert np.abs(labels["depth"] - depth)[hit].max() < 1e-3
    angle = np.degrees(np.arccos(np.clip((labels["normal"] * normal).sum(-1), -1, 1)))
    assert angle[hit].max() < 1.5
    assert np.isinf(labels["depth"][discriminant < -0.002]).all()


@pytest.mark.blender
def test_a_box_projects_by_the_pinhole_model(catalog: AssetCatalog, renderer: BlenderRenderer) -> None:
    spec = alone(catalog, 1, object_rotation_deg=(20.0, 10.0, 35.0))
    shot = shoot(renderer, spec)
    (record,) = shot.objects
    focal = SIZE / 2 / np.tan(np.radians(spec.field_of_view_deg) / 2)
    corners = np.array(record["box_3d_m"])
    pixels = SIZE / 2 + focal * corners[:, :2] * [1, -1] / -corners[:, 2:]
    expected = [*pixels.min(0), *pixels.max(0)]
    np.testing.assert_allclose(record["box_2d"], expected, atol=0.01)
    np.testing.assert_allclose(record["visible_box_2d"], expected, atol=1.0)
    edges = np.linalg.norm(corners[[4, 2, 1]] - corners[0], axis=1)
    np.testing.assert_allclose(edges, [1.0, 0.6, 0.4], atol=1e-4)
    np.testing.assert_allclose(np.array(record["object_to_camera"])[:3, 3], corners.mean(0), atol=1e-4)
    assert record["visibility"] > 0.95 and record["visible_pixels"] == (shot.labels["instance"] == 1).sum()


@pytest.mark.blender
def test_instances_classes_and_parts_are_told_apart(catalog: AssetCatalog, renderer: BlenderRenderer) -> None:
    labels = shoot(renderer, alone(catalog, 0)).labels
    there = np.isfinite(labels["depth"])
    assert set(np.unique(labels["instance"])) == {0, 1} and ((labels["instance"] == 1) == there).all()
    assert set(np.unique(labels["class"])) == {0, FIRST_OBJECT_CLASS}
    assert set(np.unique(labels["part"])) == {0, 1, 2}
    assert (labels["part"][:4] == 0).all()
    rows = np.arange(SIZE)[:, None]
    assert (rows * (labels["part"] == 2)).sum() / (labels["part"] == 2).sum() < (  # the upper half is above
        (rows * (labels["part"] == 1)).sum() / (labels["part"] == 1).sum()
    )


@pytest.mark.blender
def test_a_room_has_floor_walls_and_several_objects(catalog: AssetCatalog, renderer: BlenderRenderer) -> None:
    spec = sample_room(catalog, SimParams(), SimRanges(), 0, 3)
    assert spec.room is not None and spec.room.others
    shot = shoot(renderer, spec)
    assert {FLOOR_CLASS, WALL_CLASS} <= set(np.unique(shot.labels["class"]))
    assert len(shot.objects) == 1 + len(spec.room.others)
    assert [record["class_id"] for record in shot.objects] == [spec.class_id, *(o.class_id for o in spec.room.others)]
    seen = {record["instance"] for record in shot.objects if record["visible_pixels"]}
    assert seen == set(np.unique(shot.labels["instance"])) - {0} and len(seen) >= 2
    single = shoot(renderer, alone(catalog, 0))  # the room and the other objects are gone again
    assert set(np.unique(single.labels["class"])) == {0, FIRST_OBJECT_CLASS} and len(single.objects) == 1


def test_a_room_is_drawn_from_its_index_alone() -> None:
    catalog = load_catalog(CatalogConfig(num_classes=5, models_per_class=3))
    first = [sample_room(catalog, SimParams(), SimRanges(), 0, index) for index in range(30)]
    again = [sample_room(catalog, SimParams(), SimRanges(), 0, index) for index in reversed(range(30))][::-1]
    assert first == again and len({spec.room for spec in first}) == 30
    for spec in first:
        assert spec.room is not None and spec.class_id == spec.index % 5
        circles = [(*spec.room.place_m, spec.room.size_m), *((*o.place_m, o.size_m) for o in spec.room.others)]
        for k, (x, y, size) in enumerate(circles):
            assert abs(x) < spec.room.width_m / 2 and abs(y) < spec.room.depth_m / 2
            assert all(np.hypot(x - a, y - b) > (size + other) / 2 for a, b, other in circles[:k])


def made_labels() -> dict[str, np.ndarray]:
    """A square of instance 1 at 2 m before nothing."""
    inside = np.zeros((32, 32), bool)
    inside[8:24, 8:24] = True
    return {
        "depth": np.where(inside, 2.0, np.inf).astype(np.float32),
        "normal": np.where(inside[..., None], [0.0, 0.0, 1.0], 0.0).astype(np.float32),
        "instance": inside.astype(np.uint8),
        "part": inside.astype(np.uint8),
        "class": inside.astype(np.uint16) * 5,
    }


def test_edges_and_keypoints_of_a_square_are_its_border_and_corners() -> None:
    labels = made_labels()
    edges, heat = edge_map(labels), keypoint_map(labels)
    assert (edges[8, 8:24] == 1).all() and (edges[10:22, 10:22] == 0).all() and (edges[:6] == 0).all()
    assert heat.max() == pytest.approx(1)
    corner = max(heat[row, column] for row in range(6, 11) for column in range(6, 11))
    middle = heat[6:10, 14:18].max()
    assert corner > 0.7 and middle < 0.1 * corner
    empty = labels | {
        "depth": np.full((32, 32), np.inf),
        "instance": np.zeros((32, 32)),
        "normal": np.zeros((32, 32, 3)),
    }
    assert edge_map(empty).max() == 0 and keypoint_map(empty).max() == 0


def test_label_files_hold_what_the_table_says() -> None:
    passes = ("depth", "normals", "instance", "class", "part", "edges", "keypoints")
    files = encode_labels(made_labels(), passes)
    images = {name: np.asarray(Image.open(io.BytesIO(data))) for name, data in files.items()}
    assert list(images) == [f"{name}.png" for name in passes]
    assert images["depth.png"][10, 10] == 2000 and images["depth.png"][0, 0] == 0
    assert images["normals.png"][10, 10].tolist() == [128, 128, 255] and images["normals.png"][0, 0].tolist() == [
        0,
        0,
        0,
    ]
    assert images["class.png"][10, 10] == 5 and images["edges.png"].max() == 255


def test_unknown_passes_are_named() -> None:
    with pytest.raises(ValueError, match="passes has 'colour'; allowed: depth, normals"):
        require_passes(("depth", "colour"))
    with pytest.raises(ValueError, match="names one twice"):
        require_passes(("depth", "depth"))
