"""Pictures of label maps and of a policy, pixel by pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transfer.dense.data import Scene
from transfer.dense.losses import DenseTask
from transfer.dense.pictures import class_colors, picture_of, policy_grid, prediction_sheet

EVERYWHERE = torch.ones(1, 2, dtype=torch.bool)


def test_normals_are_shown_as_they_are_stored() -> None:
    values = torch.tensor([[[0.0, 2.0]], [[0.0, 0.0]], [[1.0, 0.0]]])
    picture = picture_of(DenseTask("normals", 3), values, valid=EVERYWHERE, limits=(0, 1))
    assert picture[0, 0].tolist() == [128, 128, 255] and picture[0, 1].tolist() == [255, 128, 128]


def test_depth_is_grey_between_its_limits_and_classes_have_their_colours() -> None:
    grey = picture_of(DenseTask("depth", 1), torch.tensor([[[1.0, 5.0]]]), valid=EVERYWHERE, limits=(1, 3))
    assert grey[0].tolist() == [[0, 0, 0], [255, 255, 255]]
    classes = picture_of(DenseTask("segmentation", 3), torch.tensor([[0, 2]]), valid=EVERYWHERE, limits=(0, 1))
    assert np.array_equal(classes[0], class_colors(3)[[0, 2]])


@pytest.mark.parametrize("task", ["segmentation", "depth", "normals"])
def test_pixels_without_a_label_are_neutral(task: str) -> None:
    values = torch.zeros(1, 2).long() if task == "segmentation" else torch.ones(3 if task == "normals" else 1, 1, 2)
    picture = picture_of(DenseTask(task, 3), values, valid=torch.tensor([[True, False]]), limits=(0, 1))
    assert picture[0, 1].tolist() == [128, 128, 128] != picture[0, 0].tolist()


def test_a_sheet_has_a_column_for_every_label_and_prediction(tmp_path: Path) -> None:
    tasks = (DenseTask("segmentation", 3), DenseTask("depth", 1))
    scenes = [Scene(torch.ones(3, 16, 16), {"segmentation": torch.full((16, 16), row)}) for row in (0, 1)]
    logits = torch.zeros(2, 3, 2, 2)
    logits[:, 2] = 1
    prediction_sheet(
        scenes, {"segmentation": logits, "depth": torch.rand(2, 1, 2, 2)}, tasks, out=tmp_path / "a.png", tile=32
    )
    with Image.open(tmp_path / "a.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (16 + 4 + 2 * 36, 4 + 5 * 36, 3)
    middles = [pixels[36, 4 + 36 * column + 16].tolist() for column in range(4)]
    assert middles[0] == [255, 255, 255]
    assert middles[1] == class_colors(3)[0].tolist() and middles[2] == class_colors(3)[2].tolist()
    assert middles[3] == [128, 128, 128]  # this scene has no depth


def test_colours_differ_and_the_grid_shades_by_probability(tmp_path: Path) -> None:
    assert len({tuple(color) for color in class_colors(40).tolist()}) == 40
    policy_grid([[1.0, 0.0]], [[1, 0]], ["depth"], out=tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as picture:
        pixels = np.asarray(picture)
    assert tuple(pixels[31, 125]) == (31, 91, 158) and tuple(pixels[31, 155]) == (255, 255, 255)
