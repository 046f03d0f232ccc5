"""Class folders in every set's true layouts, written from generated images, and their traps."""

from __future__ import annotations

from pathlib import Path

import pytest
import set_layouts as layouts

from transfer.catalogue import TASKS
from transfer.tasks import load_task

put, tree, counts, PACS = layouts.put, layouts.tree, layouts.counts, layouts.PACS


AB, PARTS, EVALUATION = ("a", "b"), ("train", "test"), layouts.EVALUATION
# Task, folders that hold the class folders, classes, images per class, expected (train, test, classes).
TREES: list[tuple[str, tuple[str, ...], tuple[str, ...], int, tuple[int, int, int]]] = [
    ("CropDisease", ("dataset/train", "dataset/test"), AB, 10, (20, 20, 2)),
    ("CropDisease", ("train", "test"), AB, 10, (20, 20, 2)),
    ("CropDisease", ("raw/color", "raw/grayscale", "raw/segmented"), AB, 10, (16, 4, 2)),
    ("CropDisease", ("PlantVillage-Dataset/raw/color",), AB, 10, (16, 4, 2)),
    (
        "CropDisease",
        ("raw/color", "data_distribution_for_SVM/train", "data_distribution_for_SVM/test"),
        AB,
        10,
        (16, 4, 2),
    ),
    ("CropDisease", ("raw/color", "SVM/train", "SVM/test"), AB, 10, (16, 4, 2)),
    ("EuroSAT", ("2750",), AB, 10, (14, 6, 2)),
    ("EuroSAT", ("eurosat/2750",), AB, 10, (14, 6, 2)),
    ("EuroSAT", ("EuroSAT_RGB",), AB, 10, (14, 6, 2)),
    ("EuroSAT", (".",), AB, 10, (14, 6, 2)),
    ("Resisc45", ("NWPU-RESISC45",), ("airport", "sea_ice"), 10, (14, 6, 2)),
    ("Resisc45", (".",), ("airport", "sea_ice"), 10, (14, 6, 2)),
    ("AID", ("AID",), AB, 10, (14, 6, 2)),
    ("AID", ("AID/AID",), AB, 10, (14, 6, 2)),
    ("AID", (".",), AB, 10, (14, 6, 2)),
    ("CactusAerial", ("training_set/training_set", "validation_set/validation_set"), AB, 10, (20, 20, 2)),
    ("CactusAerial", ("training_set", "validation_set"), AB, 10, (20, 20, 2)),
    ("Omniglot", ("images_evaluation", "images_background"), EVALUATION, 20, (28, 12, 2)),
    ("Omniglot", ("omniglot-py/images_evaluation",), EVALUATION, 20, (28, 12, 2)),
    ("Omniglot", ("python/images_evaluation",), EVALUATION, 20, (28, 12, 2)),
    ("ChestXPneumonia", ("chest_xray/train", "chest_xray/val", "chest_xray/test"), AB, 10, (20, 20, 2)),
    ("ChestXPneumonia", ("chest_xray/chest_xray/train", "chest_xray/chest_xray/test"), AB, 10, (20, 20, 2)),
    ("ChestXPneumonia", ("train", "test"), AB, 10, (20, 20, 2)),
    ("Sketch", ("sketch",), ("n01440764", "n01443537"), 10, (14, 6, 2)),
    ("Sketch", (".",), ("n01440764", "n01443537"), 10, (14, 6, 2)),
    ("FMD", ("image", "mask"), AB, 10, (14, 6, 2)),
    ("FMD", ("FMD/image", "FMD/mask"), AB, 10, (14, 6, 2)),
    ("PACS-C", ("PACS/cartoon", "PACS/sketch"), PACS, 10, (63, 7, 7)),
    ("PACS-S", ("sketch",), PACS, 10, (63, 7, 7)),
]


@pytest.mark.parametrize("row", TREES, ids=lambda row: f"{row[0]}-{row[1][0]}-{len(row[1])}")
def test_class_folder_layouts(
    tmp_path: Path, row: tuple[str, tuple[str, ...], tuple[str, ...], int, tuple[int, int, int]]
) -> None:
    name, folders, classes, count, expected = row
    for folder in folders:
        tree(tmp_path / name / folder, classes, count)
    task = load_task(name, root=tmp_path)
    unofficial = name.startswith("PACS") or any("raw/color" in folder for folder in folders)
    assert counts(task) == expected and task.name == name and task.split == ("made" if unofficial else "published")
    assert task.digest() == load_task(name, root=tmp_path).digest()


def test_resisc_unpacked_without_folders(tmp_path: Path) -> None:
    for class_name in ("airport", "sea_ice"):
        for i in range(10):
            put(tmp_path / "Resisc45" / f"{class_name}_{i:03d}.jpg")
    task = load_task("Resisc45", root=tmp_path)
    assert counts(task) == (14, 6, 2) and task.classes == ("airport", "sea_ice")


@pytest.mark.parametrize("folders", [("raw/color",), ("dataset/train", "dataset/test")], ids=["git", "kaggle"])
def test_leaves_stay_together_in_the_grouped_crop_disease(tmp_path: Path, folders: tuple[str, ...]) -> None:
    layouts.write_crop_disease(tmp_path / "CropDisease", folders=folders)
    task = load_task("CropDisease", root=tmp_path, split="grouped")
    assert task.split == "grouped" and task.train.groups is not None and task.test.groups is not None
    assert len(set(task.train.groups) | set(task.test.groups)) == 20
    assert not set(task.train.groups) & set(task.test.groups) and len(task.test) == pytest.approx(12, abs=3)
    assert len(task.train) + len(task.test) == 60


@pytest.mark.parametrize("content", ["[]", "7", '{"rs_ap 0000": "Apple___rust:::0.0"}', '{"rs_ap 0000": [1]}', "{"])
def test_a_leaf_map_of_another_shape_is_named(tmp_path: Path, content: str) -> None:
    tree(tmp_path / "CropDisease/raw/color", AB, 2)
    (tmp_path / "CropDisease/leaf-map.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"leaf-map\.json(: expected an object that gives each| is no JSON)"):
        load_task("CropDisease", root=tmp_path)


def test_a_kaggle_copy_without_its_test_part_is_refused(tmp_path: Path) -> None:
    layouts.write_crop_disease(tmp_path / "CropDisease", folders=["dataset/train"])
    for split in ("published", "grouped"):
        with pytest.raises(FileNotFoundError, match=r"no test/ in .*looked for dataset/test"):
            load_task("CropDisease", root=tmp_path, split=split)


def test_a_grouped_split_without_known_groups_is_refused(tmp_path: Path) -> None:
    tree(tmp_path / "CropDisease/raw/color", ["a", "b"])
    tree(tmp_path / "AID", ["Beach", "Park"])
    with pytest.raises(ValueError, match="leaf is not stated in these files"):
        load_task("CropDisease", root=tmp_path, split="grouped")
    with pytest.raises(ValueError, match="has no grouped split"):
        load_task("AID", root=tmp_path, split="grouped")
    with pytest.raises(ValueError, match="allowed: published, grouped"):
        load_task("AID", root=tmp_path, split="random")


def test_training_images_of_tested_patients_are_left_out_of_the_grouped_pneumonia(tmp_path: Path) -> None:
    layouts.write_pneumonia(tmp_path / "ChestXPneumonia/chest_xray")
    assert counts(load_task("ChestXPneumonia", root=tmp_path)) == (12, 2, 2)
    task = load_task("ChestXPneumonia", root=tmp_path, split="grouped")
    assert counts(task) == (10, 2, 2) and "2 training images left out" in task.notes[1]


PATIENTS = {
    "person12_bacteria_34": "person12",
    "person12_virus_7": "person12",
    "IM-0588-0001": "IM-0588",
    "NORMAL2-IM-0588-0001": "NORMAL2-IM-0588",
    "NORMAL2-IM-0588-0001-0002": "NORMAL2-IM-0588",
    "IM-0429-0001-0002": "IM-0429",
    "VIRUS-1980593-0001": "VIRUS-1980593",
    "VIRUS-1980593-0002": "VIRUS-1980593",
    "scan": "scan",
}


def test_a_patients_pictures_are_one_group_however_many_numbers_follow(tmp_path: Path) -> None:
    base = tmp_path / "ChestXPneumonia"
    layouts.write_pneumonia(base)
    for stem in PATIENTS:
        put(base / "test/NORMAL" / f"{stem}.jpeg")
    task = load_task("ChestXPneumonia", root=tmp_path)
    assert task.test.groups is not None
    found = {Path(name).stem: group for name, group in zip(task.test.names, task.test.groups, strict=True)}
    assert {stem: found[stem] for stem in PATIENTS} == PATIENTS
    assert len(set(PATIENTS.values())) == 6


def test_every_set_obeys_grouped_or_refuses_it(tmp_path: Path) -> None:
    obeyed = []
    assert len(layouts.LAYOUTS) == 20
    for name, write in layouts.LAYOUTS.items():
        write(tmp_path / name)
        unofficial = name in ("CropDisease", "PACS-C", "PACS-S")
        assert load_task(name, root=tmp_path).split == ("made" if unofficial else "published")
        try:
            task = load_task(name, root=tmp_path, split="grouped")
        except ValueError as error:
            assert "has no grouped split" in str(error)
            continue
        assert task.split == "grouped" and task.train.groups is not None and task.test.groups is not None
        assert not set(task.train.groups) & set(task.test.groups)
        obeyed.append(name)
    assert obeyed == ["CropDisease", "ISIC", "ChestX", "ChestXPneumonia"]
    assert obeyed == [row.name for row in TASKS if row.grouped_by]


@pytest.mark.parametrize("folder", ["", "dtd"])
def test_dtd_reads_the_lists_of_a_fold(tmp_path: Path, folder: str) -> None:
    layouts.write_dtd(tmp_path / "DTD" / folder)
    task = load_task("DTD", root=tmp_path)
    assert counts(task) == (8, 4, 2) and task.val is not None and len(task.val) == 4 and "fold 1" in task.notes[0]
    assert load_task("DTD", root=tmp_path, variant="2").digest() != task.digest()


def test_fmd_never_reads_the_masks(tmp_path: Path) -> None:
    for kind in ("image", "mask"):
        tree(tmp_path / "FMD" / kind, [f"m{k}" for k in range(10)], 10)
    task = load_task("FMD", root=tmp_path)
    assert counts(task) == (70, 30, 10)
    assert not any("mask" in name for name in (*task.train.names, *task.test.names))


def test_absent_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"EuroSAT is missing; to get it"):
        load_task("EuroSAT", root=tmp_path)
    with pytest.raises(FileNotFoundError, match="--root ROOT"):
        load_task("EuroSAT")
    for row in TASKS:
        (tmp_path / row.name).mkdir()
        with pytest.raises((FileNotFoundError, ValueError), match=row.name) as caught:
            load_task(row.name, root=tmp_path)
        assert "\n" not in str(caught.value)
