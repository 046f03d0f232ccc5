"""NYUv2 and CityScapes in the layout of mtan's arrays, generated: every value is compared with what was written."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from transfer.dense.arrays import read_cityscapes, read_nyuv2_arrays
from transfer.dense.config import MultitaskConfig
from transfer.dense.data import Scene
from transfer.dense.metrics import IGNORED, LEAST_DEPTH
from transfer.dense.readers import read_dense


def _nyuv2(root: Path) -> Scene:
    """The first test scene."""
    return read_nyuv2_arrays(root, validation=0.25).test.read(0)


def test_nyuv2s_arrays_are_found_without_an_option(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    data = read_dense(MultitaskConfig(layout="nyuv2", validation=0.25), tmp_path)
    assert (data.name, data.classes, data.depth) == ("NYUv2", 13, "metres")
    assert data.labelled == ("segmentation", "normals", "depth")
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 4)
    assert sorted(data.train.names + data.val.names) == [f"train/{number}" for number in range(8)]
    assert data.test.names == ("val/0", "val/1", "val/2", "val/3")


def test_nyuv2s_arrays_are_decoded(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    truth, scene = scenes.make_scene(100), _nyuv2(tmp_path)
    np.testing.assert_allclose(scene.image.numpy(), truth["image"].transpose(2, 0, 1) / 255, rtol=1e-6)
    labels, depth, normals = scene.labels["segmentation"], scene.labels["depth"][0], scene.labels["normals"]
    assert labels.dtype == torch.int64 and bool((labels[:2] == IGNORED).all())
    assert np.array_equal(labels[2:].numpy(), truth["classes"][2:] + 9)
    assert np.array_equal(depth[2:].numpy(), truth["depth"][2:]) and float(depth[:2].max()) <= LEAST_DEPTH
    np.testing.assert_allclose(normals[:, 2:].numpy(), truth["normals"][2:].transpose(2, 0, 1), atol=1e-6)
    assert not bool(normals[:, :2].any())  # no vector, no normal


def test_normals_of_arrays_keep_their_sign_and_become_unit_vectors(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    vectors = np.zeros((32, 40, 3))
    vectors[0, 0], vectors[0, 1] = (-0.48, 0, 0.64), (0, -1, 0)  # the first is 0.8 long, as resizing leaves them
    np.save(tmp_path / "val" / "normal" / "0.npy", vectors)
    normals = _nyuv2(tmp_path).labels["normals"]
    assert normals[:, 0, 0].tolist() == pytest.approx([-0.6, 0, 0.8]) and normals[:, 0, 1].tolist() == [0, -1, 0]


def test_bytes_and_floats_are_the_same_image(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path / "floats")
    scenes.write_nyuv2_arrays(tmp_path / "bytes", bytes_image=True)
    images = [_nyuv2(tmp_path / name).image for name in ("floats", "bytes")]
    assert float(images[0].max()) > 0.5 and torch.allclose(images[0], images[1])


def test_the_number_of_classes_is_what_the_labels_need(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    path = tmp_path / "val" / "label" / "3.npy"
    labels = np.load(path)
    for value, classes in ((12, 13), (13, 40), (39, 40)):
        labels[5, 5] = value
        np.save(path, labels)
        assert read_nyuv2_arrays(tmp_path, validation=0.25).classes == classes
    for value in (40, -2, 2.5):
        labels[5, 5] = value
        np.save(path, labels)
        with pytest.raises(ValueError, match=rf"3\.npy has the label {value}; allowed: 0 to 39, and -1 for pixels"):
            read_nyuv2_arrays(tmp_path, validation=0.25)


def test_a_task_without_a_folder_has_no_labels(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    for part in ("train", "val"):
        (tmp_path / part / "label").rename(tmp_path / part / "unused")
    data = read_nyuv2_arrays(tmp_path, validation=0.25)
    assert (data.classes, data.labelled) == (0, ("normals", "depth")) and set(data.test.read(0).labels) == {
        "normals",
        "depth",
    }
    with pytest.raises(ValueError, match="no labels for segmentation; it has normals, depth"):
        read_dense(MultitaskConfig(layout="nyuv2"), tmp_path)


@pytest.mark.parametrize(
    ("kind", "values", "reason"),
    [
        ("image", np.ones((32, 40)), r"has the shape \(32, 40\); allowed: \(height, width, 3\)"),
        ("image", np.full((32, 40, 3), 255.0), "has float64 values from 255 to 255; allowed: floats from 0 to 1, or"),
        ("image", np.ones((32, 40, 3), np.int64), "has int64 values from 1 to 1; allowed: floats from 0 to 1, or"),
        ("depth", np.ones((32, 40, 2)), r"has the shape \(32, 40, 2\); allowed: \(height, width, 1\)"),
        ("normal", np.ones((32, 40, 2)), r"has the shape \(32, 40, 2\); allowed: \(height, width, 3\)"),
        ("normal", np.full((32, 40, 3), 128.0), "has float64 values from 128 to 128; allowed: floats from -1 to 1"),
        ("normal", np.full((32, 40, 3), None), "cannot be read as an array: Object arrays cannot be loaded"),
    ],
)
def test_an_array_that_cannot_be_right_is_refused(
    kind: str, values: np.ndarray, reason: str, tmp_path: Path, scenes: ModuleType
) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    np.save(tmp_path / "val" / kind / "0.npy", values, allow_pickle=values.dtype == object)
    with pytest.raises(ValueError, match=rf"val/{kind}/0\.npy {reason}"):
        _nyuv2(tmp_path)


def test_labels_as_objects_are_refused_before_training(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    np.save(tmp_path / "val" / "label" / "3.npy", np.full((32, 40), None), allow_pickle=True)
    with pytest.raises(ValueError, match=r"label/3\.npy cannot be read as an array: Object arrays cannot be loaded"):
        read_nyuv2_arrays(tmp_path, validation=0.25)


def test_a_scene_of_two_sizes_is_refused(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    np.save(tmp_path / "val" / "depth" / "0.npy", np.ones((32, 39, 1)))
    with pytest.raises(ValueError, match=r"val/image/0\.npy has 32 x 40 pixels, but its depth 32 x 39"):
        _nyuv2(tmp_path)


def test_missing_and_misnamed_arrays_are_named(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    (tmp_path / "val" / "normal" / "2.npy").rename(tmp_path / "lost.npy")
    with pytest.raises(FileNotFoundError, match=r"val/normal/2\.npy is missing"):
        read_nyuv2_arrays(tmp_path, validation=0.25)
    (tmp_path / "lost.npy").rename(tmp_path / "val" / "image" / "mean.npy")
    with pytest.raises(ValueError, match=r"val/image holds mean\.npy; allowed: <number>\.npy"):
        read_nyuv2_arrays(tmp_path, validation=0.25)
    (tmp_path / "val" / "image").rename(tmp_path / "images")
    with pytest.raises(ValueError, match=r"val/image holds no \.npy files"):
        read_nyuv2_arrays(tmp_path, validation=0.25)


@pytest.mark.parametrize("classes", [2, 7, 19])
def test_cityscapes_is_decoded_with_each_of_its_label_maps(classes: int, tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_cityscapes(tmp_path)
    data = read_dense(
        MultitaskConfig(
            layout="cityscapes",
            cityscapes_classes=classes,  # type: ignore[arg-type]
            tasks=("segmentation", "depth"),
            loss_weights=(1.0, 20.0),
            validation=0.2,
        ),
        tmp_path,
    )
    assert (len(data.train), len(data.val), len(data.test)) == (5, 1, 3)
    assert (data.depth, data.classes, data.labelled) == ("disparity", classes, ("segmentation", "depth"))
    truth, scene = scenes.make_scene(100), data.test.read(0)
    labels = scene.labels["segmentation"]
    assert bool((labels[:2] == IGNORED).all()) and int(labels[2:].max()) == classes - 1
    assert np.array_equal(labels[2:].numpy(), scenes.city_classes(truth["classes"], classes)[2:])
    np.testing.assert_allclose(scene.labels["depth"][0].numpy(), 0.5 / truth["depth"], rtol=1e-6)
    np.testing.assert_allclose(scene.image.numpy(), truth["image"].transpose(2, 0, 1) / 255, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 7, 19])
def test_a_label_that_a_map_of_cityscapes_cannot_have_is_refused(
    classes: int, tmp_path: Path, scenes: ModuleType
) -> None:
    scenes.write_cityscapes(tmp_path)
    path = tmp_path / "val" / f"label_{classes}" / "0.npy"
    labels = np.load(path)
    labels[5, 5] = classes
    np.save(path, labels)
    reason = rf"label_{classes}/0\.npy has the label {classes}; allowed: 0 to {classes - 1}, and -1 for pixels"
    with pytest.raises(ValueError, match=reason):
        read_cityscapes(tmp_path, classes=classes, validation=0.2).test.read(0)


def test_a_label_map_that_cityscapes_lacks_is_named_with_those_that_are_there(
    tmp_path: Path, scenes: ModuleType
) -> None:
    scenes.write_cityscapes(tmp_path)
    for part in ("train", "val"):
        (tmp_path / part / "label_19").rename(tmp_path / part / "unused")
    with pytest.raises(ValueError, match=r"cityscapes_classes is 19, but .*train has label_2, label_7"):
        read_cityscapes(tmp_path, classes=19, validation=0.2)
    (tmp_path / "val" / "label_7" / "1.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"val/label_7/1\.npy is missing"):
        read_cityscapes(tmp_path, classes=7, validation=0.2)


def test_other_arrays_under_the_same_names_are_another_data_set(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2_arrays(tmp_path)
    before = read_nyuv2_arrays(tmp_path, validation=0.25).digest
    assert read_nyuv2_arrays(tmp_path, validation=0.25).digest == before
    np.save(tmp_path / "val" / "depth" / "1.npy", np.full((32, 40, 1), 2, np.float32))  # the same size
    assert read_nyuv2_arrays(tmp_path, validation=0.25).digest != before
