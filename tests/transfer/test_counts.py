"""Named sets against the table: totals, versions, splits and class sizes, when loading and when verifying."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import set_layouts as layouts

from transfer.catalogue import TASKS, task_row
from transfer.counts import SHOWN, class_problems, part_sizes, size_problems, whole_set
from transfer.data import ArraySource, Task, image_set
from transfer.fetch import verify_task
from transfer.layouts import Request
from transfer.readers import READERS
from transfer.tasks import load_task


def linked(folder: Path, sizes: dict[str, int], kept: Path) -> None:
    """Class folders with this many empty images: links to one folder for each size, since files take time."""
    folder.mkdir(parents=True)
    for name, size in sizes.items():
        images = kept / str(size)
        if not images.is_dir():
            images.mkdir(parents=True)
            for i in range(size):
                (images / f"{i:04d}.jpg").touch()
        (folder / name).symlink_to(images)


def kaokore(root: Path, sizes: tuple[int, int, int]) -> None:
    """A label file with these numbers of images in train, dev and test, and none of the images."""
    (root / "Kaokore/images_256").mkdir(parents=True)
    rows = [["image", "gender", "status", "set"]]
    for part, size in zip(("train", "dev", "test"), sizes, strict=True):
        rows += [[f"{part}{i}.jpg", str(i % 2), str(i // 2 % 4), part] for i in range(size)]
    (root / "Kaokore/labels.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")


def test_a_half_unpacked_set_is_read_with_a_note_that_says_so(tmp_path: Path) -> None:
    linked(tmp_path / "EuroSAT/2750", {"Forest": 30, "River": 20}, tmp_path / "kept")
    assert load_task("EuroSAT", root=tmp_path).notes == (
        "not the published set (35 + 15 images, published are 18900 + 8100; 2 classes, published are 10); see `simpath "
        "tasks verify EuroSAT`",
    )


def test_a_complete_set_has_no_such_note(tmp_path: Path) -> None:
    linked(tmp_path / "FMD/image", {f"material {k}": 100 for k in range(10)}, tmp_path / "kept")
    assert load_task("FMD", root=tmp_path).notes == ("mask/ is not read: 1,000 images, not 2,000",)


def test_another_version_is_noted_unless_it_was_asked_for(tmp_path: Path) -> None:
    kaokore(tmp_path, (4238, 533, 527))
    said = "4238 + 527 images, published are 6568 + 821: version 1.0"
    assert said in load_task("Kaokore", root=tmp_path).notes[-1]
    assert load_task("Kaokore:1.0", root=tmp_path).notes == ("version 1.0; dev (533 images) is not used",)


def test_kaokore_1_3_is_named_and_refused(tmp_path: Path) -> None:
    kaokore(tmp_path, (7405, 926, 926))
    message = r"labels\.csv is version 1\.3, with other images and labels than the task's; allowed: 1\.0, 1\.1, 1\.2$"
    with pytest.raises(ValueError, match=message):
        load_task("Kaokore", root=tmp_path)
    assert "is version 1.3" in verify_task("Kaokore", tmp_path).problems[0]
    with pytest.raises(ValueError, match=r"variant 1\.3; allowed: 1\.0, 1\.1, 1\.2"):
        load_task("Kaokore:1.3", root=tmp_path)


def test_pacs_without_its_lists_is_all_there_and_not_the_published_split(tmp_path: Path) -> None:
    sizes = {name: 334 + (k < 6) for k, name in enumerate(layouts.PACS)}  # 2,344 in all, as published
    linked(tmp_path / "PACS-C/cartoon", sizes, tmp_path / "kept")
    found = verify_task("PACS-C", tmp_path)
    assert found.problems == ("the split is made: the official one is not in these files",)
    assert found.notes == ("made 90/10: without cartoon_train_kfold.txt the official split is unknown",)


def sized(folder: Path, name: str, split: str, train: int, test: int, classes: int) -> Request:
    """A request for a small copy of a set whose row states these sizes."""
    row = task_row(name)
    assert row is not None
    return Request(replace(row, train=train, test=test, classes=classes), folder, split, 0)


def problems(request: Request) -> list[str]:
    task = READERS[request.row.name](request)
    return size_problems(request, task, whole_set(request, task))


def test_a_grouped_split_that_leaves_images_out_is_compared_by_its_files(tmp_path: Path) -> None:
    layouts.write_pneumonia(tmp_path)
    request = sized(tmp_path, "ChestXPneumonia", "grouped", 12, 2, 2)
    assert part_sizes(READERS["ChestXPneumonia"](request)) == (10, 2, 2) and problems(request) == []
    (tmp_path / "train/NORMAL/IM-0000-0001.jpeg").unlink()
    assert problems(request) == ["11 + 2 images, published are 12 + 2"]
    (tmp_path / "test/NORMAL/IM-0007-0002.jpeg").touch()
    assert problems(request) == ["11 + 3 images, published are 12 + 2"]


def test_a_grouped_split_of_a_made_one_is_compared_by_its_files(tmp_path: Path) -> None:
    layouts.write_isic(tmp_path)
    assert problems(sized(tmp_path, "ISIC", "grouped", 49, 21, 7)) == []
    assert problems(sized(tmp_path, "ISIC", "grouped", 56, 21, 7)) == ["49 + 21 images, published are 56 + 21"]


def test_without_the_official_split_only_the_sum_is_compared(tmp_path: Path) -> None:
    layouts.write_crop_disease(tmp_path)
    made = "the split is made: the official one is not in these files"
    assert problems(sized(tmp_path, "CropDisease", "grouped", 47, 13, 2)) == []
    assert problems(sized(tmp_path, "CropDisease", "published", 47, 13, 2)) == [made]
    assert problems(sized(tmp_path, "CropDisease", "grouped", 48, 13, 2)) == ["60 images, published are 61"]


def test_verifying_a_grouped_split_compares_sizes(tmp_path: Path) -> None:
    layouts.write_pneumonia(tmp_path / "ChestXPneumonia")
    found = verify_task("ChestXPneumonia", tmp_path, split="grouped")
    assert found.problems == ("12 + 2 images, published are 5216 + 624",)
    assert (found.train, found.test) == (10, 2) and "2 training images left out" in found.notes[1]


def test_a_variant_is_compared_with_its_own_sizes(tmp_path: Path) -> None:
    for part in ("evaluation", "background"):
        layouts.tree(tmp_path / f"Omniglot/images_{part}", [f"{part}/character01"], 20)
    found = verify_task("Omniglot", tmp_path, variant="1623")
    assert found.expected == (22722, 9738, 1623)
    assert found.problems[:2] == (
        "28 + 12 images, version 1623 has 22722 + 9738",
        "2 classes, version 1623 has 1623",
    )


def test_classes_of_another_size_are_named_with_both_numbers(tmp_path: Path) -> None:
    sizes = {f"material {k}": 100 for k in range(10)} | {"material 3": 90, "material 7": 101}
    linked(tmp_path / "FMD/image", sizes, tmp_path / "kept")
    assert verify_task("FMD", tmp_path).problems == (
        "692 + 299 images, published are 700 + 300",
        "2 classes with other numbers of images: material 3 90 (expected 100), material 7 101 (expected 100)",
    )


def test_where_class_sizes_are_unknown_the_smallest_classes_are_named(tmp_path: Path) -> None:
    sizes = {f"class {k:02d}": 20 for k in range(12)} | {"class 07": 4}
    linked(tmp_path / "AID", sizes, tmp_path / "kept")
    (note,) = verify_task("AID", tmp_path).notes
    assert note.startswith("fewest images: class 07 4, class 00 20, ") and note.endswith(
        f" and {len(sizes) - SHOWN} more"
    )


def in_memory(name: str, sizes: list[int]) -> Task:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    images = image_set([str(i) for i in range(len(labels))], labels, ArraySource(np.zeros((1, 1, 1), np.uint8)))
    half = np.arange(len(labels)) % 2 == 0
    return Task(name, tuple(f"c{k}" for k in range(len(sizes))), images.select(half), images.select(~half))


def test_sizes_stated_one_by_one_follow_the_order_of_the_classes() -> None:
    row = task_row("DeepWeeds")
    assert row is not None
    sizes = [size for (size,) in row.class_sizes]
    assert len(sizes) == 9 and class_problems(row, in_memory("DeepWeeds", sizes)) == []
    wrong = [*sizes[:3], sizes[3] - 1, *sizes[4:]]
    (said,) = class_problems(row, in_memory("DeepWeeds", wrong))
    assert said == "1 classes with other numbers of images: c3 1021 (expected 1022)"
    assert class_problems(row, in_memory("DeepWeeds", sizes[:8])) == []  # nobody knows which class is missing


def test_a_class_may_have_any_of_the_stated_sizes() -> None:
    row = task_row("Sketch")
    assert row is not None
    assert class_problems(row, in_memory("Sketch", [50, 51, 50])) == []
    (said,) = class_problems(row, in_memory("Sketch", [49, 51, 52]))
    assert said.endswith(": c0 49 (expected 50 or 51), c2 52 (expected 50 or 51)")


def test_class_sizes_add_up_to_the_published_parts() -> None:
    """int(0.7 * n) of every class is the published training part (reference datasets.md, 2.1)."""
    stated = {row.name: row for row in TASKS if row.class_sizes}
    assert set(stated) == {"DeepWeeds", "Resisc45", "Omniglot", "ISIC", "ChestX", "Sketch", "FMD"}
    for row in stated.values():
        sizes = [least for least, *_ in row.class_sizes] * (row.classes // len(row.class_sizes))
        rest = row.train + row.test - sum(sizes)  # that many classes of Sketch have one image more
        assert rest == (889 if row.name == "Sketch" else 0)
        assert sum(int(0.7 * (size + (k < rest))) for k, size in enumerate(sizes)) == row.train
