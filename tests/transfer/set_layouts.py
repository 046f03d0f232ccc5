"""Small copies of the 20 sets in the layouts in which users have them, from generated images."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from transfer.data import Task

ISIC = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
PACS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
LEAF_CLASSES = ("Apple___rust", "Corn___healthy")


def put(path: Path, shade: int = 100, size: int = 6) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size, size), (shade, shade, shade)).save(path)


def tree(folder: Path, classes: Sequence[str], count: int = 10, name: str = "{c}_{i:03d}.jpg") -> None:
    for label, class_name in enumerate(classes):
        for i in range(count):
            put(folder / class_name / name.format(c=class_name.split("/")[-1], i=i), 20 * label)


def table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])


def counts(task: Task) -> tuple[int, int, int]:
    """train, test, classes; also every image can be read and lies where its name says."""
    for images in (task.train, task.test):
        assert images.read(0).size[0] > 1 and images.labels.max() < len(task.classes)
    assert not set(task.train.names) & set(task.test.names)
    return len(task.train) + (0 if task.val is None else len(task.val)), len(task.test), len(task.classes)


def trees(root: Path, *, folders: Sequence[str], classes: Sequence[str] = ("a", "b"), count: int = 10) -> None:
    for folder in folders:
        tree(root / folder, classes, count)


def write_crop_disease(root: Path, *, folders: Sequence[str] = ("raw/color",), leaf_map: bool = True) -> None:
    """30 pictures of each class, three of one leaf, dealt to the folders in turn."""
    leaves = {}
    for class_name in LEAF_CLASSES:
        for i in range(30):
            put(root / folders[i % len(folders)] / class_name / f"0a5e9323___RS_{class_name[:2]} {i:04d}.JPG")
            leaves[f"rs_{class_name[:2].lower()} {i:04d}"] = ["Other___class:::1.0", f"{class_name}:::{i // 3}.0"]
    if leaf_map:
        (root / "leaf-map.json").write_text(json.dumps(leaves), encoding="utf-8")


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


def write_deepweeds(root: Path, place: str = "labels.csv") -> None:
    rows = []
    for i in range(30):
        put(root / "images" / f"2016-{i}.jpg")
        rows.append([f"2016-{i}.jpg", 8 if i % 3 else 0, "Negative" if i % 3 else "Chinee apple"])
    table(root / place, ["Filename", "Label", "Species"], rows)


def write_cub(root: Path) -> None:
    names = [f"{c:03d}.Bird_{c}/Bird_{c}_{i}.jpg" for c in (1, 2, 3) for i in range(4)]
    for name in names:
        put(root / "images" / name)
    for file, values in (
        ("images.txt", names),
        ("image_class_labels.txt", [int(name[:3]) for name in names]),
        ("train_test_split.txt", [int(i % 4 < 2) for i in range(12)]),
    ):
        (root / file).write_text("".join(f"{i} {v}\n" for i, v in enumerate(values, 1)), encoding="utf-8")


def write_svhn(root: Path, labels: np.ndarray | None = None) -> np.ndarray:
    """The same 20 pictures (32, 32, 3, 20) in both parts, with labels 1 to 10; returns them."""
    root.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 20), dtype=np.uint8)
    digits = np.arange(20) % 10 + 1 if labels is None else labels
    for part in ("train", "test"):
        savemat(root / f"{part}_32x32.mat", {"X": pixels, "y": digits[:, None]})
    return pixels


def write_usps(root: Path) -> None:
    root.mkdir(parents=True)
    text = "".join(f"{i % 10 + 1} 1:-1 2:{i / 10 - 1:.3f} 256:1 \n" for i in range(20))
    for stem in ("usps", "usps.t"):
        (root / stem).write_text(text, encoding="utf-8")


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


def write_chestx(root: Path) -> None:
    """40 pictures of 20 patients with a finding of two."""
    names = [f"{i // 2:08d}_{i % 2:03d}.png" for i in range(40)]
    for name in names:
        put(root / "images" / name)
    rows = [[name, "Mass" if i % 4 < 2 else "Nodule"] for i, name in enumerate(names)]
    table(root / "Data_Entry_2017.csv", ["Image Index", "Finding Labels"], rows)


def write_pneumonia(root: Path) -> None:
    """12 training and 2 test pictures; two of the training pictures show a patient of the test part."""
    for i in range(6):
        put(root / "train/PNEUMONIA" / f"person{i}_virus_{i}.jpeg")
        put(root / "train/NORMAL" / f"IM-{i:04d}-0001.jpeg")
    put(root / "test/PNEUMONIA/person3_bacteria_9.jpeg")
    put(root / "test/NORMAL/IM-0005-0002.jpeg")


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


def write_dtd(root: Path) -> None:
    tree(root / "images", ["banded", "woven"], 6)
    (root / "labels").mkdir()
    for fold in (1, 2):
        for k, part in enumerate(("train", "val", "test")):
            names = [f"{c}/{c}_{i:03d}.jpg" for c in ("banded", "woven") for i in range(6) if (i + fold) % 3 == k]
            (root / "labels" / f"{part}{fold}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


EVALUATION = ("Avesta/character01", "Tifinagh/character01")
LAYOUTS: dict[str, Callable[[Path], object]] = {
    "CropDisease": write_crop_disease,
    "Flowers102": write_flowers,
    "DeepWeeds": write_deepweeds,
    "CUB": write_cub,
    "EuroSAT": partial(trees, folders=["2750"]),
    "Resisc45": partial(trees, folders=["NWPU-RESISC45"]),
    "AID": partial(trees, folders=["AID"]),
    "CactusAerial": partial(trees, folders=["training_set", "validation_set"]),
    "Omniglot": partial(trees, folders=["images_evaluation"], classes=EVALUATION),
    "SVHN": write_svhn,
    "USPS": write_usps,
    "ISIC": write_isic,
    "ChestX": write_chestx,
    "ChestXPneumonia": write_pneumonia,
    "Kaokore": partial(write_kaokore, sizes=(16, 8, 16)),
    "Sketch": partial(trees, folders=["sketch"]),
    "PACS-C": partial(trees, folders=["cartoon"], classes=PACS),
    "PACS-S": partial(trees, folders=["sketch"], classes=PACS),
    "DTD": write_dtd,
    "FMD": partial(trees, folders=["image", "mask"]),
}
"""Every set by name, written right into ROOT/NAME, with groups where the set has any."""
