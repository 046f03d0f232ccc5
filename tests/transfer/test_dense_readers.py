"""Readers of the public data sets with list files on generated files; what is true of every reader."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from transfer.dense.config import MultitaskConfig
from transfer.dense.files import normals_from_picture
from transfer.dense.metrics import IGNORED, angles_deg
from transfer.dense.nyuv2 import read_nyuv2
from transfer.dense.readers import read_dense
from transfer.dense.taskonomy import encode_depth, encode_heat, read_taskonomy


def test_nyuv2_in_its_layout(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    data = read_nyuv2(tmp_path, validation=0.25)
    assert (len(data.train), len(data.val), len(data.test)) == (6, 2, 4)
    assert not set(data.train.names) & set(data.val.names)
    assert data.labelled == ("segmentation", "normals", "depth") and data.classes == 40
    truth, scene = scenes.make_scene(8), data.test.read(0)
    assert scene.image.shape == (3, 32, 40) and float(scene.image.max()) <= 1
    assert np.array_equal(scene.labels["segmentation"].numpy(), truth["classes"])
    assert np.array_equal(scene.labels["depth"][0].numpy(), truth["depth"])
    expected = torch.from_numpy(truth["normals"]).permute(2, 0, 1)[None]
    assert float(angles_deg(scene.labels["normals"][None], expected).max()) < 1


def test_nyuv2_with_two_tasks_has_no_depth(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path, depth=False)
    data = read_nyuv2(tmp_path, validation=0.25)
    assert data.labelled == ("segmentation", "normals") and "depth" not in data.test.read(0).labels
    with pytest.raises(ValueError, match="no labels for depth; it has segmentation, normals"):
        read_dense(MultitaskConfig(layout="nyuv2"), tmp_path)


def test_parts_of_the_training_scenes_are_taken_from_the_list(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    path = tmp_path / "nyu_v2.json"
    lists = json.loads(path.read_text())
    lists |= {"train1": lists["train"][:6], "train2": lists["train"][6:]}
    path.write_text(json.dumps(lists))
    data = read_nyuv2(tmp_path, validation=0.25)
    assert data.parts is not None
    joined = data.parts[0].names + data.parts[1].names
    assert sorted(joined) == sorted(data.train.names)


def test_a_missing_label_in_a_list_is_a_scene_without_it(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    path = tmp_path / "nyu_v2.json"
    lists = json.loads(path.read_text())
    lists["test"][0][2] = None
    path.write_text(json.dumps(lists))
    data = read_nyuv2(tmp_path, validation=0.25)
    assert set(data.test.read(0).labels) == {"segmentation", "depth"}
    assert set(data.test.read(1).labels) == {"segmentation", "normals", "depth"}


def test_a_pixel_of_255_has_no_normal(tmp_path: Path) -> None:
    picture = np.full((1, 2, 3), 128, np.uint8)
    picture[0, 1, 0] = 255
    Image.fromarray(picture).save(tmp_path / "normals.png")
    decoded = normals_from_picture(tmp_path / "normals.png")
    assert not bool(decoded[:, 0, 1].any()) and float(decoded[:, 0, 0].norm()) == pytest.approx(1)


def test_taskonomy_in_its_layout(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_taskonomy(tmp_path)
    data = read_taskonomy(tmp_path)
    assert (len(data.train), len(data.val), len(data.test)) == (4, 2, 2)
    assert data.class_weights is not None and len(data.class_weights) == 17
    truth, scene = scenes.make_scene(6, 64, 64), data.test.read(0)
    assert set(scene.labels) == {"segmentation", "normals", "depth", "keypoints", "edges"}
    assert {label.shape[-2:] for label in scene.labels.values()} == {(256, 256)}
    classes = scene.labels["segmentation"][::4, ::4].numpy()
    assert np.array_equal(classes, np.where(truth["classes"] == 0, IGNORED, truth["classes"] - 1))
    levels = (truth["depth"] * 512).astype(np.uint16)
    np.testing.assert_allclose(
        scene.labels["depth"][0, ::4, ::4].numpy(), np.log1p(levels) / math.log(65536), rtol=1e-5
    )
    assert set(scene.labels["keypoints"].unique().tolist()) == {-1, 1}
    assert float(scene.labels["edges"].max()) == pytest.approx(655 / 65536 / 0.08 * 2 - 1, rel=1e-4)


def test_taskonomys_encodings_at_their_ends() -> None:
    assert encode_depth(torch.tensor([0.0, 65535.0])).tolist() == pytest.approx([0, 1])
    assert encode_heat(torch.tensor([0.0, 0.005, 1.0]), 0.005).tolist() == [-1, 1, 1]
    assert encode_heat(torch.tensor([0.08]), 0.08).tolist() == [1]


def test_far_pixels_have_neither_depth_nor_normal(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_taskonomy(tmp_path)
    levels = np.full((64, 64), 64500, np.uint16)
    levels[:32] = 1000
    Image.fromarray(levels).save(tmp_path / "depth" / "6.png")
    labels = read_taskonomy(tmp_path).test.read(0).labels
    assert float(labels["depth"][0, 128:].max()) == 0 < float(labels["depth"][0, :128].min())
    assert not bool(labels["normals"][:, 128:].any()) and bool(labels["normals"][:, :128].abs().amax(0).all())


@pytest.mark.parametrize("layout", ["nyuv2", "cityscapes", "taskonomy"])
def test_other_labels_under_the_same_names_are_another_data_set(
    layout: str, tmp_path: Path, scenes: ModuleType
) -> None:
    write, label = {
        "nyuv2": (scenes.write_nyuv2, "seg/9.png"),
        "cityscapes": (scenes.write_cityscapes, "val/label_19/1.npy"),
        "taskonomy": (scenes.write_taskonomy, "segmentation/7.png"),
    }[layout]
    write(tmp_path)
    config = MultitaskConfig(
        layout=layout,  # type: ignore[arg-type]
        tasks=("segmentation",),
        loss_weights=(1.0,),
    )
    before = read_dense(config, tmp_path).digest
    assert read_dense(config, tmp_path).digest == before
    content = bytearray((tmp_path / label).read_bytes())
    content[-1] ^= 1  # the same size
    (tmp_path / label).write_bytes(content)
    assert read_dense(config, tmp_path).digest != before


def test_a_copy_of_nyuv2_is_the_same_data_set(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path / "a")
    scenes.write_nyuv2(tmp_path / "b")
    first, second = (read_nyuv2(tmp_path / name, validation=0.25).digest for name in "ab")
    assert first == second


def test_wrong_folders_are_refused_in_one_line(tmp_path: Path, scenes: ModuleType) -> None:
    config = MultitaskConfig(layout="nyuv2")
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_dense(config, tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no NYUv2 folder: it has neither a list file \(\*\.json\) nor train/image"):
        read_dense(config, tmp_path)
    with pytest.raises(ValueError, match="no Tiny-Taskonomy folder"):
        read_dense(MultitaskConfig(layout="taskonomy"), tmp_path)
    with pytest.raises(ValueError, match="no CityScapes folder"):
        read_dense(MultitaskConfig(layout="cityscapes"), tmp_path)
    scenes.write_nyuv2(tmp_path)
    (tmp_path / "depth" / "3.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"3\.npy, which nyu_v2\.json names, is missing"):
        read_dense(config, tmp_path)


def test_a_damaged_file_raises_instead_of_becoming_another_scene(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    data = read_nyuv2(tmp_path, validation=0.25)
    (tmp_path / "rgb" / "8.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"8\.png cannot be read as a picture"):
        data.test.read(0)
    whole = (tmp_path / "rgb" / "10.png").read_bytes()
    (tmp_path / "rgb" / "10.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"10\.png cannot be read as a picture: image file is truncated"):
        data.test.read(2)
    (tmp_path / "depth" / "9.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match=r"9\.npy cannot be read as an array"):
        data.test.read(1)


def test_a_picture_of_another_kind_is_refused(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(tmp_path / "seg" / "8.png")
    with pytest.raises(ValueError, match="mode RGB; allowed: L, P"):
        read_nyuv2(tmp_path, validation=0.25).test.read(0)


def _replace_pixel(path: Path, value: int) -> None:
    """The pixel in row 3, column 4 of a picture of labels."""
    with Image.open(path) as picture:
        pixels = np.array(picture)
    pixels[3, 4] = value
    Image.fromarray(pixels).save(path)


def test_nyuv2s_labels_end_at_39_and_255(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    test = read_nyuv2(tmp_path, validation=0.25).test
    for value in (39, 255):
        _replace_pixel(tmp_path / "seg" / "8.png", value)
        assert int(test.read(0).labels["segmentation"][3, 4]) == value
    _replace_pixel(tmp_path / "seg" / "8.png", 40)
    with pytest.raises(ValueError, match=r"8\.png has the label 40; allowed: 0 to 39, and 255 for pixels that do not"):
        test.read(0)


def test_taskonomys_labels_end_at_17(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_taskonomy(tmp_path)
    test = read_taskonomy(tmp_path).test
    _replace_pixel(tmp_path / "segmentation" / "6.png", 17)
    assert int(test.read(0).labels["segmentation"][12, 16]) == 16
    _replace_pixel(tmp_path / "segmentation" / "6.png", 18)
    with pytest.raises(ValueError, match=r"6\.png has the label 18; allowed: 1 to 17, and 0 for pixels that do not"):
        test.read(0)


def test_labels_of_another_size_than_the_image_are_refused(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    scenes.write_taskonomy(tmp_path / "t")
    np.save(tmp_path / "depth" / "8.npy", np.ones((16, 20), np.float32))
    with pytest.raises(ValueError, match=r"8\.png has 32 x 40 pixels, but its depth 16 x 20"):
        read_nyuv2(tmp_path, validation=0.25).test.read(0)
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "t" / "edges" / "6.png")
    with pytest.raises(ValueError, match=r"6\.png has 64 x 64 pixels, but its edges 32 x 32"):
        read_taskonomy(tmp_path / "t").test.read(0)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.ones((32, 40, 3)), r"has the shape \(32, 40, 3\); allowed: \(height, width, 1\)"),
        (np.full((32, 40), "far"), "holds 1280 values of type <U3; allowed: one array of numbers"),
        (np.full((32, 40), None), "cannot be read as an array: Object arrays cannot be loaded"),
        (np.full((32, 40), np.nan), "holds NaN or infinity"),
        (np.ones((0, 40)), "holds 0 values of type float64"),
    ],
)
def test_an_array_of_another_kind_is_refused(
    values: np.ndarray, reason: str, tmp_path: Path, scenes: ModuleType
) -> None:
    scenes.write_nyuv2(tmp_path)
    data = read_nyuv2(tmp_path, validation=0.25)
    np.save(tmp_path / "depth" / "8.npy", values, allow_pickle=values.dtype == object)
    with pytest.raises(ValueError, match=rf"8\.npy {reason}"):
        data.test.read(0)


def test_an_archive_of_arrays_is_no_array(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    data = read_nyuv2(tmp_path, validation=0.25)
    with (tmp_path / "depth" / "8.npy").open("wb") as file:
        np.savez(file, depth=np.ones((32, 40)))
    with pytest.raises(ValueError, match=r"8\.npy holds several arrays"):
        data.test.read(0)


def test_one_of_several_list_files_is_chosen_by_name(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_nyuv2(tmp_path)
    lists = json.loads((tmp_path / "nyu_v2.json").read_text())
    (tmp_path / "swapped.json").write_text(json.dumps({"train": lists["test"], "test": lists["train"]}))
    config = MultitaskConfig(layout="nyuv2", validation=0.25)
    with pytest.raises(ValueError, match=r"2 list files; choose with --list-file: nyu_v2\.json, swapped\.json"):
        read_dense(config, tmp_path)
    with pytest.raises(ValueError, match=r"list_file is other\.json; allowed in .*: nyu_v2\.json, swapped\.json"):
        read_dense(replace(config, list_file="other.json"), tmp_path)
    first, second = (read_dense(replace(config, list_file=name), tmp_path) for name in ("nyu_v2.json", "swapped.json"))
    assert (len(first.test), len(second.test)) == (4, 8) and second.test.names[0] == "rgb/0.png"
    assert first.digest != second.digest
    with pytest.raises(ValueError, match=r"list_file is a\.json; allowed: none, the layout rooms has no list files"):
        MultitaskConfig(layout="rooms", list_file="a.json")


A, B = (["rgb/0.png", "seg/0.png", "normals/0.png"], ["rgb/1.png", "seg/1.png", "normals/1.png"])
C = ["rgb/8.png", "seg/8.png", "normals/8.png"]


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([], "needs the keys train, test, each with at least one scene"),
        ({"train": [A]}, "needs the keys train, test, each with at least one scene"),
        ({"train": 5, "test": [C]}, ": train is no list of scenes with at least one"),
        ({"train": {"0": A}, "test": [C]}, ": train is no list of scenes with at least one"),
        ({"train": ["rgb/0.png"], "test": [C]}, ": scene 0 of train is no list of 3 or 4 files"),
        ({"train": [A, B[:2]], "test": [C]}, ": scene 1 of train is no list of 3 or 4 files"),
        ({"train": [[5, *A[1:]]], "test": [C]}, ": scene 0 of train is no list of 3 or 4 files"),
        ({"train": [A], "test": [[*C[:2], 5]]}, ": scene 0 of test names 5; allowed: a file, or null for no label"),
        ({"train": [A], "test": [[*C[:2], ["x"]]]}, ": scene 0 of test names ['x']; allowed: a file, or null"),
        ({"train": [A, B], "test": [A]}, ": rgb/0.png is in train and again in test; allowed: each image in one list"),
        ({"train": [A, B, A], "test": [C]}, ": rgb/0.png is in train and again in train; allowed: each image in one"),
        ({"train": [A], "test": [["./rgb/0.png", *C[1:]]]}, ": rgb/0.png is in train and again in test; allowed: each"),
        ({"train": [A, B], "train1": [A], "test": [C]}, " has train1 alone; allowed: both of train1 and train2, or"),
        ({"train": [A, B], "train2": [], "test": [C]}, " has train2 alone; allowed: both of train1 and train2, or"),
        ({"train": [A, B], "train1": [A], "train2": [], "test": [C]}, ": train2 is no list of scenes with at least"),
        (
            {"train": [A, B], "train1": [A, B], "train2": [A], "test": [C]},
            ": rgb/0.png is in train1 and again in train2",
        ),
        ({"train": [A], "train1": [A], "train2": [B], "test": [C]}, ": rgb/1.png of train2 is not in train; allowed:"),
        ({"train": [A], "train1": [A], "train2": [C], "test": [C]}, ": rgb/8.png of train2 is not in train; allowed:"),
        ({"train": [A, B], "train1": [A], "train2": [B], "test": [C]}, ": every scene of train1 is held out for valid"),
    ],
)
def test_a_list_file_that_cannot_be_used_is_refused_in_one_line(
    lists: object, message: str, tmp_path: Path, scenes: ModuleType
) -> None:
    scenes.write_nyuv2(tmp_path, depth=False)
    path = tmp_path / "nyu_v2.json"
    path.write_text(json.dumps(lists))
    with pytest.raises(ValueError) as caught:
        read_nyuv2(tmp_path, validation=0.5)
    assert str(caught.value).removeprefix(str(path)).strip().startswith(message.strip())
    assert "\n" not in str(caught.value)


def test_one_of_taskonomys_list_files_is_chosen_by_name(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_taskonomy(tmp_path)
    lists = json.loads((tmp_path / "taskonomy.json").read_text())
    (tmp_path / "small.json").write_text(json.dumps(lists | {"train": lists["train"][:1]}))
    with pytest.raises(ValueError, match=r"2 list files; choose with --list-file: small\.json, taskonomy\.json"):
        read_taskonomy(tmp_path)
    assert len(read_taskonomy(tmp_path, list_file="small.json").train) == 1


def test_class_weights_are_found_under_their_published_name(tmp_path: Path, scenes: ModuleType) -> None:
    scenes.write_taskonomy(tmp_path)
    (tmp_path / "semseg_prior.npy").rename(tmp_path / "semseg_prior_factor.npy")
    weights = read_taskonomy(tmp_path).class_weights
    assert weights == pytest.approx(np.linspace(0.5, 1.5, 17))
    np.save(tmp_path / "semseg_prior_factor.npy", np.ones(16))
    with pytest.raises(ValueError, match=r"semseg_prior_factor\.npy has 16 class weights; allowed: 17"):
        read_taskonomy(tmp_path)
