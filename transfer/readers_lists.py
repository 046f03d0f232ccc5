"""Readers of the sets whose labels stand in a table, a list or a .mat file beside the pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from transfer.data import ImageSet, Task
from transfer.layouts import (
    Request,
    files_by_stem,
    given_split,
    listed_images,
    made_split,
    numbered_lines,
    read_rows,
    sorted_names,
)
from transfer.readers_arrays import load_mat

ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CHESTX_CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
KAOKORE_GENDERS = ("male", "female")
KAOKORE_STATUSES = ("noble", "warrior", "incarnation", "commoner")
KAOKORE_VERSIONS = {
    (4238, 533, 527): "1.0",
    (6568, 826, 821): "1.1",
    (6756, 845, 845): "1.2",
    (7405, 926, 926): "1.3",
}
"""By the images of train, dev and test in the repository's label files."""


def read_flowers(request: Request) -> Task:
    """`jpg/`, `imagelabels.mat`, `setid.mat` (or `splits.mat`), also inside torchvision's `flowers-102/`.

    The trap: the *smaller* part trains. Official: trnid 1,020, valid 1,020, tstid 6,149; loaders that train on the
    larger part report another task. Variant `1020` (default, as published) trains on trnid, `2040` on trnid + valid.
    """
    labels_file = request.locate("imagelabels.mat", "*/imagelabels.mat", what="imagelabels.mat")
    split_file = request.locate("setid.mat", "splits.mat", "*/setid.mat", "*/splits.mat", what="setid.mat")
    folder = request.locate("jpg", "*/jpg", "102flowers/jpg", what="jpg/")
    labels = load_mat(labels_file, "labels")[0].reshape(-1).astype(np.int64) - 1  # 1-based in the file
    found = load_mat(split_file, "trnid", "valid", "tstid")
    train, valid, test = (numbers.reshape(-1).astype(np.int64) for numbers in found)
    if not np.isin(np.concatenate([train, valid, test]), np.arange(1, len(labels) + 1)).all():
        raise ValueError(f"{split_file} names images outside the 1 to {len(labels)} that {labels_file.name} labels")
    if len(train) > len(test):
        raise ValueError(
            f"task {request.row.name}: {split_file.name} trains on {len(train)} and tests on {len(test)} images: "
            "training and test are swapped (official: 1,020 and 6,149)"
        )
    if request.variant == "2040":
        train = np.concatenate([train, valid])

    def pick(numbers: np.ndarray) -> ImageSet:
        return listed_images(request, folder, [f"image_{n:05d}.jpg" for n in numbers], labels[numbers - 1])

    classes = [str(number + 1) for number in range(int(labels.max()) + 1)]
    both = "trnid + valid" if request.variant == "2040" else "trnid only; the official validation part is not used"
    return given_split(request, classes, pick(train), pick(test), notes=[f"trained on {both}"])


def read_deepweeds(request: Request) -> Task:
    """`images/`, `[labels/]labels.csv` (Filename, Label, Species); also pictures beside the table."""
    table = request.locate("labels.csv", "labels/labels.csv", "*/labels.csv", "*/labels/labels.csv", what="labels.csv")
    folder = request.locate("images", "*/images", ".", what="images/")
    rows = read_rows(table, ["Filename", "Label"])
    found = [_whole_number(row["Label"], f"{table}, row {number}: Label") for number, row in enumerate(rows, start=2)]
    numbers = sorted(set(found))
    species = {label: row.get("Species") or row["Label"] for label, row in zip(found, rows, strict=True)}
    labels = [numbers.index(label) for label in found]
    images = listed_images(request, folder, [row["Filename"] for row in rows], labels)
    notes = ["half of the images are class Negative: see mean per class beside accuracy"]
    return made_split(request, [species[number] for number in numbers], images, notes=notes)


def read_cub(request: Request) -> Task:
    """`[CUB_200_2011/]images/`, `images.txt`, `image_class_labels.txt` (1-based), `train_test_split.txt` (1 =
    train)."""
    try:
        base = request.locate("train_test_split.txt", "*/train_test_split.txt", what="train_test_split.txt").parent
    except FileNotFoundError:
        if list(request.folder.glob("lists/splits.mat")) or list(request.folder.glob("**/lists/train.txt")):
            raise ValueError(
                f"task {request.row.name}: {request.folder} holds CUB-200-2010 (lists/); the task is CUB_200_2011"
            ) from None
        raise
    names, labels, train = (
        numbered_lines(base / name) for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    if not names.keys() == labels.keys() == train.keys():
        raise ValueError(f"task {request.row.name}: the three lists in {base} do not name the same images")
    place = f"{base / 'image_class_labels.txt'}: class of image"
    numbers = {image: _whole_number(label, f"{place} {image}") for image, label in labels.items()}
    classes = sorted_names({name.split("/")[0] for name in names.values()})
    if (base / "classes.txt").exists():
        classes = [name for _, name in sorted(numbered_lines(base / "classes.txt").items())]

    def pick(flag: str) -> ImageSet:
        picked = [image for image in names if train[image].strip() == flag]
        return listed_images(request, base / "images", [names[n] for n in picked], [numbers[n] - 1 for n in picked])

    return given_split(request, classes, pick("1"), pick("0"))


def read_isic(request: Request) -> Task:
    """ISIC 2018 task 3 (one-hot `..._GroundTruth.csv`) or HAM10000 (`HAM10000_metadata.csv`); lesions are groups.

    Lesions: `..._LesionGroupings.csv`, or the metadata's lesion_id (Dataverse also gives it as `.tab`, or without a
    suffix).
    """
    metadata = [p for p in sorted(request.folder.glob("**/HAM10000_metadata*")) if p.suffix in ("", ".csv", ".tab")]
    truth = sorted(request.folder.glob("**/ISIC2018_Task3_Training_GroundTruth.csv"))
    if not truth and not metadata:
        raise FileNotFoundError(
            f"task {request.row.name}: neither ISIC2018_Task3_Training_GroundTruth.csv nor HAM10000_metadata.csv in "
            f"{request.folder}"
        )
    lesions: dict[str, str] = {}
    for path in [*metadata, *sorted(request.folder.glob("**/*Task3_Training_LesionGroupings.csv"))]:
        column = "image_id" if path in metadata else "image"
        lesions |= {row[column]: row["lesion_id"] for row in read_rows(path, [column, "lesion_id"])}
    if truth:
        rows = read_rows(truth[0], ["image", *ISIC_CLASSES])
        stems = [row["image"] for row in rows]
        marks = [[row[name].strip().removesuffix(".0") for name in ISIC_CLASSES] for row in rows]
        if any(sorted(mark) != ["0"] * 6 + ["1"] for mark in marks):
            raise ValueError(f"task {request.row.name}: {truth[0]} is not one-hot")
        labels = [mark.index("1") for mark in marks]
    else:
        rows = read_rows(metadata[0], ["image_id", "dx"])
        stems = [row["image_id"] for row in rows]
        known = [name.lower() for name in ISIC_CLASSES]
        strange = sorted({row["dx"] for row in rows} - set(known))
        if strange:
            raise ValueError(f"task {request.row.name}: {metadata[0]} has dx {strange[0]!r}; known: {', '.join(known)}")
        labels = [known.index(row["dx"]) for row in rows]
    files = files_by_stem(request.folder)
    names = [files.get(stem, f"{stem}.jpg") for stem in stems]
    groups = [lesions.get(stem, stem) for stem in stems] if lesions else None
    images = listed_images(request, request.folder, names, labels, groups)
    return made_split(request, ISIC_CLASSES, images, notes=["lesions are photographed several times: see `grouped`"])


def read_chestx(request: Request) -> Task:
    """NIH ChestX-ray14: `Data_Entry_2017[_v2020].csv` and pictures in `images/`, `images_0nn/images/` or anywhere.

    Rows with exactly one finding, one of seven: no "No Finding", no Pneumonia. The patient is the name's first part.
    """
    table = request.locate("Data_Entry_2017*.csv", "*/Data_Entry_2017*.csv", what="Data_Entry_2017.csv")
    rows = read_rows(table, ["Image Index", "Finding Labels"])
    kept = [row for row in rows if row["Finding Labels"] in CHESTX_CLASSES]
    if not kept:
        raise ValueError(f"task {request.row.name}: {table} has no row with exactly one of the seven findings")
    files = files_by_stem(request.folder)
    stems = [Path(row["Image Index"]).stem for row in kept]
    names = [files.get(stem, row["Image Index"]) for stem, row in zip(stems, kept, strict=True)]
    labels = [CHESTX_CLASSES.index(row["Finding Labels"]) for row in kept]
    patients = [stem.split("_")[0] for stem in stems]
    images = listed_images(request, request.folder, names, labels, patients)
    return made_split(request, CHESTX_CLASSES, images, notes=["patients have several images: see `grouped`"])


def read_kaokore(request: Request) -> Task:
    """`labels.csv` (image, gender, status, set) and `images_256/`; label = 4 * gender + status; dev is not used."""
    table = request.locate("labels.csv", "*/labels.csv", what="labels.csv")
    folder = request.locate("images_256", "*/images_256", "images", what="images_256/")
    rows = read_rows(table, ["image", "gender", "status", "set"])
    names: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    labels: dict[str, list[int]] = {"train": [], "dev": [], "test": []}
    for row in rows:
        gender = _index_or_number(row["gender"], KAOKORE_GENDERS)
        status = _index_or_number(row["status"], KAOKORE_STATUSES)
        if row["set"] not in names:
            raise ValueError(f"task {request.row.name}: {table} has set {row['set']!r}; known: train, dev, test")
        names[row["set"]].append(row["image"])
        labels[row["set"]].append(4 * gender + status)
    sizes = {part: len(found) for part, found in names.items()}
    version = KAOKORE_VERSIONS.get((sizes["train"], sizes["dev"], sizes["test"]), "unknown")
    if version not in (*request.row.variants, "unknown"):
        raise ValueError(
            f"task {request.row.name}: {table} is version {version}, with other images and labels than the task's; "
            f"allowed: {', '.join(request.row.variants)}"
        )
    if request.variant and request.variant != version:
        raise ValueError(f"task {request.row.name}: {table} is version {version}, not {request.variant}")
    classes = [f"{gender}_{status}" for gender in KAOKORE_GENDERS for status in KAOKORE_STATUSES]
    sets = [listed_images(request, folder, names[part], labels[part]) for part in ("train", "test")]
    return given_split(request, classes, *sets, notes=[f"version {version}; dev ({sizes['dev']} images) is not used"])


def _whole_number(text: str, place: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(f"{place} {text!r} is no whole number") from error


def _index_or_number(value: str, names: tuple[str, ...]) -> int:
    number = names.index(value) if value in names else int(value) if value.isdecimal() else -1
    if not 0 <= number < len(names):
        raise ValueError(f"labels.csv: {value!r} is none of {', '.join(names)}")
    return number
