"""Readers of the sets whose labels stand in a table, a .mat file or an array."""

from __future__ import annotations

import bz2
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from transfer.data import ArraySource, ImageSet, Task, image_set
from transfer.layouts import (
    Request,
    class_tree,
    files_by_stem,
    given_split,
    listed_images,
    made_split,
    numbered_lines,
    read_rows,
    sorted_names,
)

ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
CHESTX_CLASSES = ("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax")
KAOKORE_GENDERS = ("male", "female")
KAOKORE_STATUSES = ("noble", "warrior", "incarnation", "commoner")
PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def read_flowers(request: Request) -> Task:
    """`jpg/`, `imagelabels.mat`, `setid.mat` (or `splits.mat`), also inside torchvision's `flowers-102/`.

    The trap: the *smaller* part trains. Official: trnid 1,020, valid 1,020, tstid 6,149; loaders that train on the
    larger part report another task. Variant `1020` (default, as published) trains on trnid, `2040` on trnid + valid.
    """
    if request.variant not in ("", "1020", "2040"):
        raise ValueError(f"task {request.row.name}: variant {request.variant}; allowed: 1020, 2040")
    labels_file = request.locate("imagelabels.mat", "*/imagelabels.mat", what="imagelabels.mat")
    split_file = request.locate("setid.mat", "splits.mat", "*/setid.mat", "*/splits.mat", what="setid.mat")
    folder = request.locate("jpg", "*/jpg", "102flowers/jpg", what="jpg/")
    labels = load_mat(labels_file)["labels"].reshape(-1).astype(np.int64) - 1  # 1-based in the file
    parts = {key: load_mat(split_file)[key].reshape(-1).astype(np.int64) for key in ("trnid", "valid", "tstid")}
    if len(parts["trnid"]) > len(parts["tstid"]):
        raise ValueError(
            f"task {request.row.name}: {split_file.name} trains on {len(parts['trnid'])} and tests on "
            f"{len(parts['tstid'])} images: training and test are swapped (official: 1,020 and 6,149)"
        )
    train = np.concatenate([parts["trnid"], parts["valid"]]) if request.variant == "2040" else parts["trnid"]

    def pick(numbers: np.ndarray) -> ImageSet:
        return listed_images(request, folder, [f"image_{n:05d}.jpg" for n in numbers], labels[numbers - 1])

    classes = [str(number + 1) for number in range(int(labels.max()) + 1)]
    both = "trnid + valid" if request.variant == "2040" else "trnid only; the official validation part is not used"
    return given_split(request, classes, pick(train), pick(parts["tstid"]), notes=[f"trained on {both}"])


def read_deepweeds(request: Request) -> Task:
    """`images/`, `[labels/]labels.csv` (Filename, Label, Species); also pictures beside the table."""
    table = request.locate("labels.csv", "labels/labels.csv", "*/labels.csv", "*/labels/labels.csv", what="labels.csv")
    folder = request.locate("images", "*/images", ".", what="images/")
    rows = read_rows(table, ["Filename", "Label"])
    numbers = sorted({int(row["Label"]) for row in rows})
    species = {int(row["Label"]): row.get("Species") or row["Label"] for row in rows}
    labels = [numbers.index(int(row["Label"])) for row in rows]
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
    classes = sorted_names({name.split("/")[0] for name in names.values()})
    if (base / "classes.txt").exists():
        classes = [name for _, name in sorted(numbered_lines(base / "classes.txt").items())]

    def pick(flag: str) -> ImageSet:
        numbers = [number for number in names if train[number].strip() == flag]
        return listed_images(
            request, base / "images", [names[n] for n in numbers], [int(labels[n]) - 1 for n in numbers]
        )

    return given_split(request, classes, pick("1"), pick("0"))


def read_svhn(request: Request) -> Task:
    """`{train,test}_32x32.mat`: X (32, 32, 3, N), y (N, 1) with label 10 for the digit 0. `extra` is not used."""
    sets = []
    for part in ("train", "test"):
        data = load_mat(request.locate(f"{part}_32x32.mat", f"*/{part}_32x32.mat", what=f"{part}_32x32.mat"))
        arrays = np.ascontiguousarray(data["X"].transpose(3, 0, 1, 2))
        sets.append(array_set(part, arrays, data["y"].reshape(-1).astype(np.int64) % 10))
    return given_split(request, [str(digit) for digit in range(10)], *sets)


def read_usps(request: Request) -> Task:
    """LIBSVM's `usps[.t][.bz2]` (labels 1 to 10 are digits 0 to 9, values -1 to 1) or Kaggle's `usps.h5`."""
    names = [str(digit) for digit in range(10)]
    if not list(request.folder.glob("usps.bz2")) and (request.folder / "usps.h5").exists():
        with open_hdf5(request.folder / "usps.h5") as file:
            sets = [
                array_set(part, _usps_pixels(2 * file[part]["data"][:] - 1), file[part]["target"][:].astype(np.int64))
                for part in ("train", "test")
            ]
        return given_split(request, names, *sets)
    sets = []
    for part, stem in (("train", "usps"), ("test", "usps.t")):
        path = request.locate(f"{stem}.bz2", stem, f"*/{stem}.bz2", f"*/{stem}", what=f"{stem}.bz2")
        text = bz2.decompress(path.read_bytes()).decode() if path.suffix == ".bz2" else path.read_text(encoding="utf-8")
        lines = [line.split() for line in text.splitlines() if line.strip()]
        pixels = np.full((len(lines), 256), -1.0)
        for i, line in enumerate(lines):
            for entry in line[1:]:
                position, _, value = entry.partition(":")
                pixels[i, int(position) - 1] = float(value)
        sets.append(array_set(part, _usps_pixels(pixels), np.array([int(float(line[0])) - 1 for line in lines])))
    return given_split(request, names, *sets)


def _usps_pixels(values: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.round((np.clip(values, -1, 1).reshape(-1, 16, 16) + 1) * 127.5).astype(np.uint8)
    return pixels


def read_isic(request: Request) -> Task:
    """ISIC 2018 task 3 (one-hot `..._GroundTruth.csv`) or HAM10000 (`HAM10000_metadata.csv`); lesions are groups.

    Lesions: `..._LesionGroupings.csv`, or the metadata's lesion_id.
    """
    metadata = sorted(request.folder.glob("**/HAM10000_metadata*"))
    truth = sorted(request.folder.glob("**/ISIC2018_Task3_Training_GroundTruth.csv"))
    if not truth and not metadata:
        raise FileNotFoundError(
            f"task {request.row.name}: neither ISIC2018_Task3_Training_GroundTruth.csv nor HAM10000_metadata.csv in "
            f"{request.folder}"
        )
    lesions: dict[str, str] = {}
    for path in [*metadata, *sorted(request.folder.glob("**/*Task3_Training_LesionGroupings.csv"))]:
        rows = read_rows(path, ["lesion_id"])
        lesions |= {row.get("image") or row["image_id"]: row["lesion_id"] for row in rows}
    if truth:
        rows = read_rows(truth[0], ["image", *ISIC_CLASSES])
        stems = [row["image"] for row in rows]
        labels = [int(np.argmax([float(row[name]) for name in ISIC_CLASSES])) for row in rows]
        if any(sum(float(row[name]) for name in ISIC_CLASSES) != 1 for row in rows):
            raise ValueError(f"task {request.row.name}: {truth[0]} is not one-hot")
    else:
        rows = read_rows(metadata[0], ["image_id", "dx"])
        stems = [row["image_id"] for row in rows]
        labels = [[name.lower() for name in ISIC_CLASSES].index(row["dx"]) for row in rows]
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
    versions = {(4238, 533, 527): "1.0", (6568, 826, 821): "1.1", (6756, 845, 845): "1.2"}
    version = versions.get((sizes["train"], sizes["dev"], sizes["test"]), "unknown")
    if request.variant and request.variant != version:
        raise ValueError(f"task {request.row.name}: {table} is version {version}, not {request.variant}")
    classes = [f"{gender}_{status}" for gender in KAOKORE_GENDERS for status in KAOKORE_STATUSES]
    sets = [listed_images(request, folder, names[part], labels[part]) for part in ("train", "test")]
    return given_split(request, classes, *sets, notes=[f"version {version}; dev ({sizes['dev']} images) is not used"])


def _index_or_number(value: str, names: tuple[str, ...]) -> int:
    number = names.index(value) if value in names else int(value) if value.isdigit() else -1
    if not 0 <= number < len(names):
        raise ValueError(f"labels.csv: {value!r} is none of {', '.join(names)}")
    return number


def read_pacs(request: Request) -> Task:
    """One PACS domain: `<domain>_{train,val}.hdf5` (images, labels 1 to 7, channels reversed), or pictures with the
    official lists `<domain>_{train,crossval}_kfold.txt` (labels 1 to 7), or pictures alone (made 90/10).
    """
    domain = {"PACS-C": "cartoon", "PACS-S": "sketch"}[request.row.name]
    if list(request.folder.glob(f"**/{domain}_train.hdf5")):
        sets = []
        for part in ("train", "val"):
            path = request.locate(f"{domain}_{part}.hdf5", f"**/{domain}_{part}.hdf5", what=f"{domain}_{part}.hdf5")
            with open_hdf5(path) as file:
                pixels = np.ascontiguousarray(np.asarray(file["images"])[..., ::-1].astype(np.uint8))
                sets.append(array_set(part, pixels, np.asarray(file["labels"]).reshape(-1).astype(np.int64) - 1))
        return given_split(request, PACS_CLASSES, *sets)
    folder = request.locate(domain, f"PACS/{domain}", f"kfold/{domain}", f"**/{domain}", what=f"{domain}/")
    lists = sorted(request.folder.glob(f"**/{domain}_train_kfold.txt"))
    if not lists:
        notes = [f"made 90/10: without {domain}_train_kfold.txt the official split is unknown"]
        return made_split(request, *class_tree(request, folder, classes=PACS_CLASSES), fraction=0.9, notes=notes)
    parts = []
    for part in ("train", "crossval"):
        path = lists[0].with_name(f"{domain}_{part}_kfold.txt")
        if not path.exists():
            raise FileNotFoundError(f"task {request.row.name}: {path} is missing")
        pairs = [line.rsplit(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        names = [name for name, _ in pairs]
        parts.append(listed_images(request, folder.parent, names, [int(label) - 1 for _, label in pairs]))
    return given_split(request, PACS_CLASSES, *parts, notes=["test is the official validation part, as published"])


def array_set(part: str, arrays: np.ndarray, labels: np.ndarray) -> ImageSet:
    """Images that a set keeps as one array, named by part and position."""
    if len(arrays) != len(labels):
        raise ValueError(f"{len(arrays)} images but {len(labels)} labels ({part})")
    return image_set([f"{part}/{i:06d}" for i in range(len(arrays))], labels, ArraySource(arrays))


def load_mat(path: Path) -> dict[str, Any]:
    """A MATLAB file; a broken one is named."""
    from scipy.io import loadmat

    try:
        found: dict[str, Any] = loadmat(path)
    except (ValueError, OSError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{path} is no readable MATLAB file ({error})") from error
    return found


def open_hdf5(path: Path) -> Any:
    """An HDF5 file, through h5py, which only this format needs."""
    try:
        h5py = import_module("h5py")
    except ModuleNotFoundError as error:
        raise RuntimeError(f"{path.name} needs the package h5py: pip install h5py") from error
    return h5py.File(path, "r")
