"""Labelled folders as tasks: what is accepted, what is refused, and that the disk's order changes nothing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer.data import ArraySource, Task, image_set, read_image_folder
from transfer.splits import parse_index
from transfer.tasks import load_task


def put(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def folder(root: Path, names: list[str], count: int = 5) -> Path:
    for name in names:
        for i in range(count):
            put(root / name / f"{i}.png", i)
    return root


def test_given_splits_are_kept_and_validation_is_apart(tmp_path: Path) -> None:
    folder(tmp_path, ["train/b", "train/a", "val/a", "test/b"])
    task = read_image_folder(tmp_path)
    assert task.classes == ("a", "b") and task.split == "given"
    assert (len(task.train), len(task.test)) == (10, 5)
    assert task.val is not None and len(task.val) == 5
    assert task.train.names[0] == "train/a/0.png" and set(task.test.labels) == {1}
    assert task.train.read(0).size == (12, 12)


@pytest.mark.parametrize("names", ["Train Test", "Training Testing", "train valid test", "TRAIN Validation Test"])
def test_parts_are_known_by_other_spellings(tmp_path: Path, names: str) -> None:
    folder(tmp_path, [f"{part}/{kind}" for part in names.split() for kind in "ab"])
    task = load_task(tmp_path)
    assert task.classes == ("a", "b") and (len(task.train), len(task.test)) == (10, 10) and task.split == "given"
    assert {name.split("/")[0] for name in task.train.names} == {names.split()[0]}
    assert (0 if task.val is None else len(task.val)) == 10 * (len(names.split()) - 2)
    assert task.notes == () and task.train.read(0).size == (12, 12)


def test_folders_beside_the_parts_are_named(tmp_path: Path) -> None:
    folder(tmp_path, ["train/a", "train/b", "test/a", "test/b", "dev/a", "extra"])
    (tmp_path / "logs").mkdir()
    assert load_task(tmp_path).notes == ("not read, beside the parts of the split: dev, extra",)


def test_a_single_folder_is_split_seventy_to_thirty_by_class(tmp_path: Path) -> None:
    folder(tmp_path, ["a", "b"], count=10)
    task = load_task(tmp_path, seed=3)
    assert (len(task.train), len(task.test)) == (14, 6) and np.bincount(task.train.labels).tolist() == [7, 7]
    assert task.digest() == load_task(tmp_path, seed=3).digest() != load_task(tmp_path, seed=4).digest()


def test_unbalanced_classes_are_also_reported_per_class(tmp_path: Path) -> None:
    folder(tmp_path, ["a"], count=10)
    assert load_task(folder(tmp_path, ["b"], count=5)).also_report == ()
    assert load_task(folder(tmp_path, ["c"], count=4)).also_report == ("mean_per_class",)


def test_the_digest_does_not_depend_on_the_listing_order(tmp_path: Path) -> None:
    for root, order in (("one", range(12)), ("two", reversed(range(12)))):
        for i in order:
            put(tmp_path / root / "ab"[i % 2] / f"{i:02d}.png")
    assert read_image_folder(tmp_path / "one").digest() == read_image_folder(tmp_path / "two").digest()


def test_the_index_names_every_image_once(tmp_path: Path) -> None:
    folder(tmp_path, ["a", "b"], count=10)
    rows = parse_index(load_task(tmp_path).index_text())
    assert len(rows) == 20 == len({row.name for row in rows})
    assert {(row.class_name, row.label) for row in rows} == {("a", 0), ("b", 1)}


def test_a_class_called_train_is_a_class(tmp_path: Path) -> None:
    task = read_image_folder(folder(tmp_path, ["car", "train", "plane"]))
    assert task.classes == ("car", "plane", "train")


def test_hidden_files_and_other_files_are_passed_over(tmp_path: Path) -> None:
    folder(tmp_path, ["a", "b", ".cache", "__MACOSX"])
    (tmp_path / "a" / "._0.png").write_bytes(b"resource fork")
    (tmp_path / "a" / "notes.txt").write_text("text")
    assert len(read_image_folder(tmp_path).train) == 6


def test_nested_folders_and_names_in_any_script_work(tmp_path: Path) -> None:
    folder(tmp_path, ["кошка/дом", "犬/外"])
    task = read_image_folder(tmp_path)
    assert task.classes == ("кошка", "犬") and len(task.train) + len(task.test) == 10


def test_names_of_an_old_encoding_are_a_task_too(tmp_path: Path) -> None:
    folder(tmp_path, [os.fsdecode(b"caf\xe9"), "thé"], count=4)
    task = read_image_folder(tmp_path)
    assert len(task.digest()) == 64 and task.train.read(0).size == (12, 12)
    assert {row.class_name for row in parse_index(task.index_text())} == {"caf\\udce9", "thé"}


@pytest.mark.parametrize("label", [-1, 2])
@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_label_without_a_class_is_refused(label: int, part: str) -> None:
    source = ArraySource(np.zeros((4, 2, 2), np.uint8))
    good = {name: image_set(["a", "b", "c", "d"], [0, 1, 0, 1], source) for name in ("train", "val", "test")}
    Task("mine", ("x", "y"), **good)
    bad = image_set(["a", "b", "c", "d"], [0, 1, label, label], source)
    with pytest.raises(ValueError, match=f"2 labels are out of range, first c with {label}; allowed: 0 to 1"):
        Task("mine", ("x", "y"), **{**good, part: bad})


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a"], "only one class"),
        ([], "no class folder with images"),
        (["train/a", "train/b"], "needs train/ and test/"),
        (["train/a", "train/b", "test"], "holds train/ but needs train/ and test/, each with class folders inside"),
        (["train/a", "train/b", "Test/c"], "Test/ has classes without training images: c"),
        (["train/a", "train/b", "val/a", "valid/a", "test/a"], "val/ and valid/ in .* are both the val part"),
        (["Train/a", "test/a", "train/a"], "Train/ and train/ in .* are both the train part"),
        (["Training", "Testing"], "Testing, Training in .* hold images but no class folders"),
        (["train/a", "test/a"], "only one class"),
    ],
)
def test_what_is_no_task_gets_one_clear_line(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_task(folder(tmp_path, names))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no task named Nothing"):
        load_task("Nothing", root=tmp_path)


def test_digits_are_there_without_a_download() -> None:
    task = load_task("digits")
    assert isinstance(task, Task) and len(task.classes) == 10
    assert len(task.train) + len(task.test) == 1797 and np.bincount(task.train.labels).min() > 110
    assert np.asarray(task.train.read(0)).shape == (8, 8, 3)
    assert not set(task.train.names) & set(task.test.names)
