"""Taskonomy's folders as the download leaves them: which files belong together, and which buildings to which part."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from transfer.dense.buildings import PUBLISHED_SPLIT, split_buildings
from transfer.dense.config import MultitaskConfig
from transfer.dense.metrics import IGNORED
from transfer.dense.readers import read_dense
from transfer.dense.taskonomy import TASKS, read_taskonomy

LAYOUTS = ("{building}/{domain}", "{domain}/{building}", "{domain}/taskonomy/{building}")
BUILDINGS = ("hall", "house", "hut", "inn")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_and_decoded(layout: str, tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS, layout=layout)
    config = MultitaskConfig(layout="taskonomy", tasks=TASKS, loss_weights=(1.0,) * 5)  # type: ignore[arg-type]
    data = read_dense(config, tmp_path)
    assert (data.name, data.classes, data.depth, data.labelled) == ("Tiny-Taskonomy", 17, "log", TASKS)
    assert (len(data.train), len(data.val), len(data.test)) == (4, 2, 2)
    name = data.test.names[1]
    row = next(row for row, building in enumerate(BUILDINGS) if f"/{building}/" in f"/{name}")
    assert name == f"{layout.format(building=BUILDINGS[row], domain='rgb')}/point_1_view_0_domain_rgb.png"
    truth, scene = scenes.make_scene(10 * row + 1, 64, 64), data.test.read(1)
    np.testing.assert_allclose(scene.image[:, ::4, ::4].numpy(), truth["image"].transpose(2, 0, 1) / 255, rtol=1e-6)
    labels = {task: label[..., ::4, ::4].numpy() for task, label in scene.labels.items()}
    expected = np.where(truth["classes"] == 0, IGNORED, truth["classes"] - 1)
    assert np.array_equal(labels["segmentation"], expected)
    np.testing.assert_allclose(labels["normals"], truth["normals"].transpose(2, 0, 1), atol=0.02)
    levels = (truth["depth"] * 512).astype(np.uint16)
    np.testing.assert_allclose(labels["depth"][0], np.log1p(levels) / math.log(65536), rtol=1e-5)
    hot = np.zeros((64, 64), bool)
    hot[10:20, 10:20] = True
    np.testing.assert_allclose(labels["keypoints"][0], np.where(hot, 1, -1))
    np.testing.assert_allclose(labels["edges"][0], np.where(hot, 655 / 65536 / 0.08 * 2 - 1, -1), rtol=1e-4)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_building_is_in_two_parts(layout: str, tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS, layout=layout)
    data = read_taskonomy(tmp_path)
    found = [{b for name in part.names for b in BUILDINGS if b in name.split("/")} for part in (data.train, data.val)]
    found.append({b for name in data.test.names for b in BUILDINGS if b in name.split("/")})
    assert [len(part) for part in found] == [2, 1, 1] and set.union(*found) == set(BUILDINGS)


def test_the_buildings_of_the_tiny_split_are_in_its_parts() -> None:
    assert {part: len(names) for part, names in PUBLISHED_SPLIT.items()} == {"train": 25, "val": 5, "test": 5}
    every = sorted(name for names in PUBLISHED_SPLIT.values() for name in names)
    assert len(set(every)) == 35
    assert split_buildings(every, 0.1) == PUBLISHED_SPLIT
    downloaded = [name for name in every if name != "woodbine"]
    assert split_buildings(downloaded, 0.1)["test"] == PUBLISHED_SPLIT["test"]
    assert split_buildings(["hanson", "darden", "ihlen"], 0.1) == {
        "train": ("hanson",),
        "val": ("darden",),
        "test": ("ihlen",),
    }


@pytest.mark.parametrize(
    "buildings",
    [
        ["ihlen", "hanson", "darden", "house"],  # one that the published split does not have
        ["hanson", "merom", "darden", "corozal"],  # none for testing
        [f"house{number}" for number in range(40)],
    ],
)
def test_other_buildings_are_split_by_the_seed_alone(buildings: list[str]) -> None:
    parts = split_buildings(buildings, 0.1)
    assert sorted(name for names in parts.values() for name in names) == sorted(buildings)
    assert parts == split_buildings(buildings, 0.1)
    count = len(buildings)
    test = max(1, round(count / 7))
    assert (len(parts["test"]), len(parts["val"])) == (test, max(1, round(0.1 * (count - test))))


def test_two_buildings_are_too_few(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS[:2], layout=LAYOUTS[0], views=1)
    with pytest.raises(ValueError, match=r"2 buildings \(hall, house\); allowed: 3 or more"):
        read_taskonomy(tmp_path)
    scenes.write_buildings(tmp_path, BUILDINGS[:3], layout=LAYOUTS[0], views=1)
    data = read_taskonomy(tmp_path, validation=0.9)
    assert (len(data.train), len(data.val), len(data.test)) == (1, 1, 1)


def test_distances_stand_in_for_depths_and_absent_domains_are_absent_tasks(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS, layout=LAYOUTS[1], views=1)
    (tmp_path / "depth_zbuffer").rename(tmp_path / "depth_euclidean")
    (tmp_path / "edge_texture").rename(tmp_path / "edge_occlusion")
    (tmp_path / "rgb" / ".cache").mkdir()  # no building
    data = read_taskonomy(tmp_path)
    assert data.labelled == TASKS[:-1] and set(data.test.read(0).labels) == set(TASKS[:-1])
    scenes.write_buildings(tmp_path, BUILDINGS, layout=LAYOUTS[1], views=1)  # both kinds of depth now
    for path in (tmp_path / "depth_euclidean").rglob("*.png"):
        Image.fromarray(np.zeros((64, 64), np.uint16)).save(path)
    assert float(read_taskonomy(tmp_path).test.read(0).labels["depth"].min()) > 0


def test_few_gaps_are_scenes_without_a_label_and_many_are_a_broken_download(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, ("hanson", "darden", "ihlen"), layout=LAYOUTS[0], views=20)
    (tmp_path / "ihlen" / "normal" / "point_3_view_0_domain_normal.png").unlink()
    test = read_taskonomy(tmp_path).test
    row = next(row for row, name in enumerate(test.names) if "point_3_" in name)
    assert set(test.read(row).labels) == set(TASKS) - {"normals"} and set(test.read(0).labels) == set(TASKS)
    (tmp_path / "ihlen" / "normal" / "point_4_view_0_domain_normal.png").unlink()
    reason = "2 of 20 pictures of building ihlen have no normal, among them point_3_view_0; download it again"
    with pytest.raises(FileNotFoundError, match=reason):
        read_taskonomy(tmp_path)
    (tmp_path / "ihlen" / "normal").rename(tmp_path / "normals")
    with pytest.raises(FileNotFoundError, match="20 of 20 pictures of building ihlen have no normal"):
        read_taskonomy(tmp_path)
    (tmp_path / "ihlen" / "rgb").rename(tmp_path / "pictures")
    with pytest.raises(FileNotFoundError, match="building ihlen has no pictures in rgb"):
        read_taskonomy(tmp_path)


def test_class_weights_and_every_file_belong_to_the_data_set(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS, layout=LAYOUTS[0], views=1)
    first = read_taskonomy(tmp_path)
    np.save(tmp_path / "semseg_prior_factor.npy", np.ones(17))
    second = read_taskonomy(tmp_path)
    assert first.class_weights is None and second.class_weights == (1.0,) * 17
    path = next((tmp_path / "inn" / "edge_texture").iterdir())
    Image.fromarray(np.zeros((64, 64), np.uint16)).save(path)
    assert len({first.digest, second.digest, read_taskonomy(tmp_path).digest}) == 3


def test_a_list_file_is_preferred_to_the_folders(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_buildings(tmp_path, BUILDINGS, layout=LAYOUTS[0], views=1)
    scenes.write_taskonomy(tmp_path)
    assert read_taskonomy(tmp_path).test.names == ("rgb/6.png", "rgb/7.png")
