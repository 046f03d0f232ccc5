"""Every set's true layouts, written from generated images, and their traps."""

from __future__ import annotations

import bz2
import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from transfer.catalogue import TASKS
from transfer.data import Task
from transfer.readers import READERS
from transfer.tasks import load_task


def put(path: Path, shade: int = 100, size: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (shade, shade, shade)).save(path)


def tree(folder: Path, classes: Sequence[str], count: int = 10, name: str = "{c}_{i:03d}.jpg") -> None:
    for label, class_name in enumerate(classes):
        for i in range(count):
            put(folder / class_name / name.format(c=class_name.split("/")[-1], i=i), 20 * label)


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def counts(task: Task) -> tuple[int, int, int]:
    """train, test, classes; also every image can be read and lies where its name says."""
    for images in (task.train, task.test):
        assert images.read(0).size[0] > 1 and images.labels.max() < len(task.classes)
    assert not set(task.train.names) & set(task.test.names)
    return len(task.train) + (0 if task.val is None else len(task.val)), len(task.test), len(task.classes)


def named(task: Task) -> tuple[tuple[str, ...], np.ndarray]:
    return task.train.names, task.train.labels


def test_every_named_set_has_a_reader() -> None:
    assert len(TASKS) == 20 == len(READERS) and {row.name for row in TASKS} == set(READERS)
    assert sum(row.seen for row in TASKS) == 12


AB, EVALUATION = ("a", "b"), ("Avesta/character01", "Tifinagh/character01")
PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
# Task, folders that hold the class folders, classes, images per class, expected (train, test, classes).
TREES: list[tuple[str, tuple[str, ...], tuple[str, ...], int, tuple[int, int, int]]] = [
    ("CropDisease", ("dataset/train", "dataset/test"), AB, 10, (20, 20, 2)),
    ("CropDisease", ("train", "test"), AB, 10, (20, 20, 2)),
    ("CropDisease", ("raw/color", "raw/grayscale", "raw/segmented"), AB, 10, (16, 4, 2)),
    ("CropDisease", ("PlantVillage-Dataset/raw/color",), AB, 10, (16, 4, 2)),
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


@pytest.mark.parametrize("row", TREES, ids=lambda row: f"{row[0]}-{row[1][0]}")
def test_class_folder_layouts(
    tmp_path: Path, row: tuple[str, tuple[str, ...], tuple[str, ...], int, tuple[int, int, int]]
) -> None:
    name, folders, classes, count, expected = row
    for folder in folders:
        tree(tmp_path / name / folder, classes, count)
    task = load_task(name, root=tmp_path)
    assert counts(task) == expected and task.name == name and task.split == "published"
    assert task.digest() == load_task(name, root=tmp_path).digest()


def test_resisc_unpacked_without_folders(tmp_path: Path) -> None:
    for class_name in ("airport", "sea_ice"):
        for i in range(10):
            put(tmp_path / "Resisc45" / f"{class_name}_{i:03d}.jpg")
    task = load_task("Resisc45", root=tmp_path)
    assert counts(task) == (14, 6, 2) and task.classes == ("airport", "sea_ice")


def test_leaves_stay_together_in_the_grouped_crop_disease(tmp_path: Path) -> None:
    root, leaves = tmp_path / "CropDisease", {}
    for class_name in ("Apple___rust", "Corn___healthy"):
        for i in range(30):
            put(root / "raw/color" / class_name / f"0a5e9323___RS_{class_name[:2]} {i:04d}.JPG")
            leaves[f"rs_{class_name[:2].lower()} {i:04d}"] = ["Other___class:::1.0", f"{class_name}:::{i // 3}.0"]
    (root / "leaf-map.json").write_text(json.dumps(leaves), encoding="utf-8")
    task = load_task("CropDisease", root=tmp_path, split="grouped")
    assert task.split == "grouped" and task.train.groups is not None and task.test.groups is not None
    assert len(set(task.train.groups) | set(task.test.groups)) == 20
    assert not set(task.train.groups) & set(task.test.groups) and len(task.test) == pytest.approx(12, abs=3)


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
    base = tmp_path / "ChestXPneumonia/chest_xray"
    for i in range(6):
        put(base / "train/PNEUMONIA" / f"person{i}_virus_{i}.jpeg")
        put(base / "train/NORMAL" / f"IM-{i:04d}-0001.jpeg")
    put(base / "test/PNEUMONIA/person3_bacteria_9.jpeg")
    put(base / "test/NORMAL/IM-0005-0002.jpeg")
    assert counts(load_task("ChestXPneumonia", root=tmp_path)) == (12, 2, 2)
    task = load_task("ChestXPneumonia", root=tmp_path, split="grouped")
    assert counts(task) == (10, 2, 2) and "2 training images left out" in task.notes[-1]


def write_flowers(root: Path, train: int = 4, valid: int = 2, test: int = 12, split: str = "setid.mat") -> None:
    total = train + valid + test
    for i in range(1, total + 1):
        put(root / "jpg" / f"image_{i:05d}.jpg", i)
    order = np.random.default_rng(0).permutation(total) + 1
    savemat(root / "imagelabels.mat", {"labels": (np.arange(total) % 2 + 1)[None]})
    ids = {
        "trnid": order[None, :train],
        "valid": order[None, train : train + valid],
        "tstid": order[None, train + valid :],
    }
    savemat(root / split, ids)


@pytest.mark.parametrize(("folder", "split"), [("", "setid.mat"), ("flowers-102", "setid.mat"), ("", "splits.mat")])
def test_flowers_train_on_the_smaller_part(tmp_path: Path, folder: str, split: str) -> None:
    write_flowers(tmp_path / "Flowers102" / folder, split=split)
    task = load_task("Flowers102", root=tmp_path)
    assert counts(task) == (4, 12, 2) and "trnid only" in task.notes[0]
    both = load_task("Flowers102", root=tmp_path, variant="2040")
    assert counts(both) == (6, 12, 2) and "trnid + valid" in both.notes[0]
    named_so = load_task("Flowers102:2040", root=tmp_path)
    assert named_so.name == "Flowers102:2040" and named_so.train.names == both.train.names
    number = int(task.train.names[0][-9:-4])
    assert task.train.labels[0] == (number - 1) % 2


def test_swapped_flower_splits_and_unknown_variants_are_refused(tmp_path: Path) -> None:
    write_flowers(tmp_path / "Flowers102", train=12, test=4)
    with pytest.raises(ValueError, match="swapped"):
        load_task("Flowers102", root=tmp_path)
    with pytest.raises(ValueError, match="allowed: 1020, 2040"):
        load_task("Flowers102", root=tmp_path, variant="6149")
    with pytest.raises(ValueError, match="allowed: 1020, 2040"):
        load_task("Flowers102:6149", root=tmp_path)


@pytest.mark.parametrize("place", ["labels.csv", "labels/labels.csv"])
def test_deepweeds(tmp_path: Path, place: str) -> None:
    root, rows = tmp_path / "DeepWeeds", []
    for i in range(30):
        put(root / "images" / f"2016-{i}.jpg")
        rows.append([f"2016-{i}.jpg", 8 if i % 3 else 0, "Negative" if i % 3 else "Chinee apple"])
    table(root / place, ["Filename", "Label", "Species"], rows)
    task = load_task("DeepWeeds", root=tmp_path)
    assert counts(task) == (21, 9, 2) and task.classes == ("Chinee apple", "Negative")
    assert task.also_report == ("mean_per_class",)


@pytest.mark.parametrize("folder", ["", "CUB_200_2011"])
def test_cub(tmp_path: Path, folder: str) -> None:
    base = tmp_path / "CUB" / folder
    names = [f"{c:03d}.Bird_{c}/Bird_{c}_{i}.jpg" for c in (1, 2, 3) for i in range(4)]
    for name in names:
        put(base / "images" / name)
    for file, values in (
        ("images.txt", names),
        ("image_class_labels.txt", [int(name[:3]) for name in names]),
        ("train_test_split.txt", [int(i % 4 < 2) for i in range(12)]),
    ):
        (base / file).write_text("".join(f"{i} {v}\n" for i, v in enumerate(values, 1)), encoding="utf-8")
    task = load_task("CUB", root=tmp_path)
    assert counts(task) == (6, 6, 3) and task.classes[0] == "001.Bird_1"
    labels = {name.split("/")[-2]: task.classes[label] for name, label in zip(*named(task), strict=True)}
    assert len(labels) == 3 and all(folder == class_name for folder, class_name in labels.items())


def test_the_older_cub_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "CUB/lists").mkdir(parents=True)
    (tmp_path / "CUB/lists/train.txt").write_text("001.Bird/a.jpg\n", encoding="utf-8")
    with pytest.raises(ValueError, match="CUB-200-2010"):
        load_task("CUB", root=tmp_path)


def test_svhn_calls_label_ten_the_digit_zero(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "SVHN").mkdir()
    pixels = rng.integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    for part in ("train", "test"):
        savemat(tmp_path / "SVHN" / f"{part}_32x32.mat", {"X": pixels, "y": (np.arange(20) % 10 + 1)[:, None]})
    task = load_task("SVHN", root=tmp_path)
    assert counts(task) == (20, 20, 10) and task.train.labels.tolist()[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert np.array_equal(np.asarray(task.train.read(3)), pixels[..., 3])


def test_a_broken_mat_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "SVHN").mkdir()
    (tmp_path / "SVHN/train_32x32.mat").write_bytes(b"not a mat file" * 20)
    with pytest.raises(ValueError, match=r"train_32x32\.mat is no readable MATLAB file"):
        load_task("SVHN", root=tmp_path)


@pytest.mark.parametrize("packed", [True, False])
def test_usps_labels_start_at_one(tmp_path: Path, packed: bool) -> None:
    (tmp_path / "USPS").mkdir()
    for stem in ("usps", "usps.t"):
        text = "".join(f"{i % 10 + 1} 1:-1 2:{i / 10 - 1:.3f} 256:1 \n" for i in range(20))
        path = tmp_path / "USPS" / (f"{stem}.bz2" if packed else stem)
        path.write_bytes(bz2.compress(text.encode()) if packed else text.encode())
    task = load_task("USPS", root=tmp_path)
    assert counts(task) == (20, 20, 10) and task.train.labels.tolist()[:3] == [0, 1, 2]
    pixels = np.asarray(task.train.read(10))[..., 0]
    assert pixels.shape == (16, 16) and pixels[0, 0] == 0 and pixels[0, 1] in (127, 128) and pixels[15, 15] == 255


def test_usps_as_hdf5(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "USPS").mkdir()
    with h5py.File(tmp_path / "USPS/usps.h5", "w") as file:
        for part in ("train", "test"):
            file[f"{part}/data"] = np.linspace(0, 1, 20 * 256).reshape(20, 256).astype(np.float32)
            file[f"{part}/target"] = np.arange(20) % 10
    task = load_task("USPS", root=tmp_path)
    assert counts(task) == (20, 20, 10) and task.train.labels.tolist()[:3] == [0, 1, 2]
    assert np.asarray(task.train.read(0)).max() < 20


ISIC = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")


def write_isic(root: Path, groups: bool = True) -> None:
    stems = [f"ISIC_{i:07d}" for i in range(70)]
    for stem in stems:
        put(root / "ISIC2018_Task3_Training_Input" / f"{stem}.jpg")
    rows = [[stem, *[float(i % 7 == k) for k in range(7)]] for i, stem in enumerate(stems)]
    table(root / "ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv", ["image", *ISIC], rows)
    if groups:
        lesions = [[stem, f"HAM_{i % 7}_{i // 14}", "histo"] for i, stem in enumerate(stems)]
        header = ["image", "lesion_id", "diagnosis_confirm_type"]
        table(root / "ISIC2018_Task3_Training_LesionGroupings.csv", header, lesions)


def test_isic_is_read_from_its_one_hot_table(tmp_path: Path) -> None:
    write_isic(tmp_path / "ISIC")
    task = load_task("ISIC", root=tmp_path)
    assert counts(task) == (49, 21, 7) and task.classes == ISIC
    grouped = load_task("ISIC", root=tmp_path, split="grouped")
    assert grouped.train.groups is not None and grouped.test.groups is not None
    assert not set(grouped.train.groups) & set(grouped.test.groups)
    assert np.bincount(grouped.test.labels, minlength=7).min() > 0


def test_isic_without_lesions_has_no_grouped_split_and_ham10000_is_read_too(tmp_path: Path) -> None:
    write_isic(tmp_path / "ISIC", groups=False)
    with pytest.raises(ValueError, match="lesion is not stated"):
        load_task("ISIC", root=tmp_path, split="grouped")
    other = tmp_path / "other/ISIC"
    rows = []
    for i in range(40):
        put(other / f"HAM10000_images_part_{1 + i // 20}" / f"ISIC_{i:07d}.jpg")
        rows.append([f"HAM_{i // 2}", f"ISIC_{i:07d}", "nv" if i % 4 < 2 else "mel"])
    table(other / "HAM10000_metadata.csv", ["lesion_id", "image_id", "dx"], rows)
    task = load_task("ISIC", root=tmp_path / "other", split="grouped")
    assert task.classes == ISIC and set(task.train.labels) == {0, 1} and len(task.train) + len(task.test) == 40
    assert "part_" in task.train.names[0]


def test_a_table_that_is_not_one_hot_is_refused(tmp_path: Path) -> None:
    write_isic(tmp_path / "ISIC")
    path = next((tmp_path / "ISIC").glob("**/*GroundTruth.csv"))
    path.write_text(path.read_text(encoding="utf-8").replace("1.0", "0.0", 1), encoding="utf-8")
    with pytest.raises(ValueError, match="not one-hot"):
        load_task("ISIC", root=tmp_path)


@pytest.mark.parametrize("folder", ["images", "images_{n:03d}/images", "."])
def test_chestx_keeps_rows_with_exactly_one_of_seven_findings(tmp_path: Path, folder: str) -> None:
    root, rows = tmp_path / "ChestX", []
    kinds = ["Atelectasis", "Effusion", "Effusion|Mass", "No Finding", "Pneumonia", "Hernia"]
    for i in range(120):
        name = f"{i // 6:08d}_{i % 6:03d}.png"
        rows.append([name, kinds[i % 6], i])
        put(root / folder.format(n=1 + i % 2) / name)
    table(root / "Data_Entry_2017.csv", ["Image Index", "Finding Labels", "Follow-up #"], rows)
    task = load_task("ChestX", root=tmp_path)
    assert len(task.train) + len(task.test) == 40 and len(task.classes) == 7
    assert set(task.train.labels) == {0, 2}
    counts(task)
    grouped = load_task("ChestX", root=tmp_path, split="grouped")
    assert grouped.train.groups is not None and grouped.test.groups is not None
    assert not set(grouped.train.groups) & set(grouped.test.groups) and len(set(grouped.train.groups)) > 5


def write_kaokore(root: Path, sizes: tuple[int, int, int]) -> None:
    rows = []
    for part, size in zip(("train", "dev", "test"), sizes, strict=True):
        rows += [
            [
                f"{part}{i}.jpg",
                ("male", "female")[i % 2],
                ("noble", "warrior", "incarnation", "commoner")[i // 2 % 4],
                part,
            ]
            for i in range(size)
        ]
    table(root / "labels.csv", ["image", "gender", "status", "set"], rows)
    for row in rows[:20] + rows[-20:]:
        put(root / "images_256" / row[0])


def test_kaokore_labels_and_version(tmp_path: Path) -> None:
    write_kaokore(tmp_path / "Kaokore", (6568, 826, 821))
    task = load_task("Kaokore", root=tmp_path)
    assert (len(task.train), len(task.test), len(task.classes)) == (6568, 821, 8) and "version 1.1" in task.notes[0]
    by_name = dict(zip(task.train.names, task.train.labels, strict=True))
    assert [by_name[f"images_256/train{i}.jpg"] for i in range(4)] == [0, 4, 1, 5]
    assert task.classes[5] == "female_warrior"
    with pytest.raises(ValueError, match=r"version 1\.1, not 1\.2"):
        load_task("Kaokore", root=tmp_path, variant="1.2")


def test_kaokore_with_numbers_instead_of_names_and_other_sets(tmp_path: Path) -> None:
    header = ["image", "gender", "status", "set"]
    rows = [["a", 1, 3, "train"], ["b", 0, 0, "train"], ["c", 1, 2, "test"]]
    table(tmp_path / "Kaokore/labels.csv", header, rows)
    (tmp_path / "Kaokore/images_256").mkdir()
    task = load_task("Kaokore", root=tmp_path)
    assert sorted(task.train.labels.tolist()) == [0, 7] and "version unknown" in task.notes[0]
    table(tmp_path / "Kaokore/labels.csv", header, [["a", 2, 0, "train"]])
    with pytest.raises(ValueError, match="'2' is none of male, female"):
        load_task("Kaokore", root=tmp_path)


def test_pacs_with_its_official_lists(tmp_path: Path) -> None:
    base, lists = tmp_path / "PACS-S", {"train": [], "crossval": [], "test": []}  # type: ignore[var-annotated]
    for label, class_name in enumerate(PACS, start=1):
        for i in range(5):
            put(base / "kfold/sketch" / class_name / f"{i}.png")
            part = "crossval" if i == 4 else "train"
            for key in (part, "test"):
                lists[key].append(f"sketch/{class_name}/{i}.png {label}")
    for part, lines in lists.items():
        (base / f"sketch_{part}_kfold.txt").write_text("\n".join(lines), encoding="utf-8")
    task = load_task("PACS-S", root=tmp_path)
    assert counts(task) == (28, 7, 7) and task.classes == PACS
    assert all(task.classes[label] in name for name, label in zip(task.test.names, task.test.labels, strict=True))


def test_pacs_as_hdf5_has_its_channels_turned_back(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "PACS-C").mkdir()
    pixels = np.zeros((14, 8, 8, 3), dtype=np.uint8)
    pixels[..., 0] = 250  # blue first in the file
    for part in ("train", "val"):
        with h5py.File(tmp_path / "PACS-C" / f"cartoon_{part}.hdf5", "w") as file:
            file["images"], file["labels"] = pixels, np.arange(14) % 7 + 1
    task = load_task("PACS-C", root=tmp_path)
    assert counts(task) == (14, 14, 7) and task.train.labels.tolist()[:3] == [0, 1, 2]
    assert task.train.read(0).getpixel((0, 0)) == (0, 0, 250)


@pytest.mark.parametrize("folder", ["", "dtd"])
def test_dtd_reads_the_lists_of_a_fold(tmp_path: Path, folder: str) -> None:
    base = tmp_path / "DTD" / folder
    tree(base / "images", ["banded", "woven"], 6)
    (base / "labels").mkdir()
    for fold in (1, 2):
        for k, part in enumerate(("train", "val", "test")):
            names = [f"{c}/{c}_{i:03d}.jpg" for c in ("banded", "woven") for i in range(6) if (i + fold) % 3 == k]
            (base / "labels" / f"{part}{fold}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    task = load_task("DTD", root=tmp_path)
    assert counts(task) == (8, 4, 2) and task.val is not None and len(task.val) == 4 and "fold 1" in task.notes[0]
    assert load_task("DTD", root=tmp_path, variant="2").digest() != task.digest()
    with pytest.raises(ValueError, match="folds 1 to 10"):
        load_task("DTD", root=tmp_path, variant="11")


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
