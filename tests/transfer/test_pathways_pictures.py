"""The sheet of easy and hard images: what stands where, and what is left out and said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer.data import ArraySource, ImageSet, image_set
from transfer.pathways.pictures import easy_and_hard


def coloured(labels: list[int]) -> ImageSet:
    """Images of one colour each; image i has red value 10 + 10 i, so that it is recognised on the sheet."""
    arrays = np.zeros((len(labels), 32, 32, 3), dtype=np.uint8)
    arrays[:, :, :, 0] = (10 + 10 * np.arange(len(labels)))[:, None, None]
    return image_set([f"{i:03d}" for i in range(len(labels))], np.array(labels), ArraySource(arrays))


def shown(path: Path, count: int) -> tuple[list[int], list[int]]:
    """Images found on the left and on the right half of the sheet."""
    sheet = np.asarray(Image.open(path).convert("RGB")).astype(int)
    middle = sheet.shape[1] // 2
    halves = []
    for half in (sheet[:, :middle], sheet[:, middle:]):
        pure = half[(half[:, :, 1] == 0) & (half[:, :, 2] == 0)][:, 0]
        reds, areas = np.unique(pure, return_counts=True)
        halves.append([int(red) // 10 - 1 for red, area in zip(reds, areas, strict=True) if area > 5000])
    assert all(0 <= index < count for half in halves for index in half)
    return halves[0], halves[1]


@pytest.mark.parametrize("count", [2, 3, 5, 7, 8, 11])
def test_no_image_stands_on_both_sides(tmp_path: Path, count: int) -> None:
    kept = np.arange(count)[::-1].copy()  # image 0 needs the most blocks
    out = tmp_path / "sheet.png"
    assert easy_and_hard(coloured([0] * count), kept, ["only"], out=out) == ""
    easy, hard = shown(out, count)
    side = min(4, count // 2)
    assert easy == list(range(count - side, count)) and hard == list(range(side))


def test_classes_whose_images_keep_the_same_number_of_blocks_are_left_out_and_counted(tmp_path: Path) -> None:
    kept = np.array([3, 3, 1, 4, 2])
    out = tmp_path / "sheet.png"
    note = easy_and_hard(coloured([0, 0, 1, 1, 2]), kept, ["same", "differs", "single", "empty"], out=out)
    assert note == "sheet.png shows 1 of 4 classes: 3 have no two test images that differ in blocks kept"
    assert shown(out, 5) == ([2], [3])


def test_the_classes_that_differ_most_come_first(tmp_path: Path) -> None:
    kept = np.array([1, 2, 1, 9])
    note = easy_and_hard(coloured([0, 0, 1, 1]), kept, ["little", "much"], out=tmp_path / "sheet.png", rows=1)
    assert note == "sheet.png shows 1 of 2 classes: 1 differ less"
    assert shown(tmp_path / "sheet.png", 4) == ([2], [3])


def test_without_any_difference_there_is_no_file_and_a_reason(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    out.write_bytes(b"of an earlier run")
    note = easy_and_hard(coloured([0, 0, 1]), np.array([2, 2, 1]), ["a", "b"], out=out)
    assert note.startswith("no picture of easy and hard images: of 2 classes 2 have no two test images")
    assert not out.exists()


def test_a_long_class_name_is_cut_to_its_half(tmp_path: Path) -> None:
    names = ["x" * 500, "ünïcode 日本"]
    easy_and_hard(coloured([0, 0, 1, 1]), np.array([1, 2, 1, 2]), names, out=tmp_path / "sheet.png")
    assert shown(tmp_path / "sheet.png", 4) == ([0, 2], [1, 3])
