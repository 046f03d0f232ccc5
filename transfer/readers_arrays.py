"""Readers of the sets that come as arrays (.mat, LIBSVM, HDF5), and of PACS, which comes so or as pictures."""

from __future__ import annotations

import bz2
from pathlib import Path

import numpy as np

from transfer.data import ArraySource, ImageSet, Task, image_set, read_text
from transfer.layouts import Request, class_tree, given_split, listed_images, made_split, text_lines

PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")


def read_svhn(request: Request) -> Task:
    """`{train,test}_32x32.mat`: X (32, 32, 3, N), y (N, 1) with label 10 for the digit 0. `extra` is not used."""
    sets = []
    for part in ("train", "test"):
        path = request.locate(f"{part}_32x32.mat", f"*/{part}_32x32.mat", what=f"{part}_32x32.mat")
        pixels, digits = load_mat(path, "X", "y")
        labels = digits.reshape(-1).astype(np.int64)
        labels[labels == 10] = 0
        sets.append(array_set(path, part, np.ascontiguousarray(np.moveaxis(pixels, -1, 0)), labels))
    return given_split(request, [str(digit) for digit in range(10)], *sets)


def read_usps(request: Request) -> Task:
    """LIBSVM's `usps[.t][.bz2]` (labels 1 to 10 are digits 0 to 9, values -1 to 1) or Kaggle's `usps.h5`."""
    names = [str(digit) for digit in range(10)]
    packed = request.folder / "usps.h5"
    if not list(request.folder.glob("usps.bz2")) and packed.exists():
        sets = []
        for part in ("train", "test"):
            values, digits = load_hdf5(packed, f"{part}/data", f"{part}/target")
            sets.append(array_set(packed, part, _usps_pixels(2 * values - 1), digits))
        return given_split(request, names, *sets)
    sets = []
    for part, stem in (("train", "usps"), ("test", "usps.t")):
        path = request.locate(f"{stem}.bz2", stem, f"*/{stem}.bz2", f"*/{stem}", what=f"{stem}.bz2")
        values, labels = _read_libsvm(path, features=256)
        sets.append(array_set(path, part, _usps_pixels(values), labels - 1))
    return given_split(request, names, *sets)


def _read_libsvm(path: Path, *, features: int) -> tuple[np.ndarray, np.ndarray]:
    """Values (N, features), -1 where a line names none, and labels (N,) of `<label> <position>:<value> ...` lines."""
    try:
        text = bz2.decompress(path.read_bytes()).decode() if path.suffix == ".bz2" else read_text(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    lines = [line.split() for line in text.splitlines() if line.strip()]
    values, labels = np.full((len(lines), features), -1.0), np.zeros(len(lines), dtype=np.int64)
    for i, (label, *entries) in enumerate(lines):
        try:
            labels[i] = int(float(label))
            for position, value in (entry.split(":") for entry in entries):
                if not 1 <= int(position) <= features:
                    raise ValueError(f"position {position}; allowed: 1 to {features}")
                values[i, int(position) - 1] = float(value)
        except ValueError as error:
            raise ValueError(f"{path}, image {i + 1} is no LIBSVM line ({error})") from error
    return values, labels


def _usps_pixels(values: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.round((np.clip(values, -1, 1).reshape(-1, 16, 16) + 1) * 127.5).astype(np.uint8)
    return pixels


def read_pacs(request: Request) -> Task:
    """One PACS domain: `<domain>_{train,val}.hdf5` (images, labels 1 to 7, channels reversed), or pictures with the
    official lists `<domain>_{train,crossval}_kfold.txt` (labels 1 to 7), or pictures alone (made 90/10).
    """
    domain = {"PACS-C": "cartoon", "PACS-S": "sketch"}[request.row.name]
    if list(request.folder.glob(f"**/{domain}_train.hdf5")):
        sets = []
        for part in ("train", "val"):
            path = request.locate(f"{domain}_{part}.hdf5", f"**/{domain}_{part}.hdf5", what=f"{domain}_{part}.hdf5")
            pixels, labels = load_hdf5(path, "images", "labels")
            pixels = np.ascontiguousarray(pixels[..., ::-1].astype(np.uint8))
            sets.append(array_set(path, part, pixels, labels.reshape(-1).astype(np.int64) - 1))
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
        pairs = [line.rpartition(" ") for line in text_lines(path)]
        if not all(label.isdecimal() for _, _, label in pairs):
            raise ValueError(f"task {request.row.name}: {path} is no list of pictures with their labels")
        names, numbers = [name for name, _, _ in pairs], [int(label) - 1 for _, _, label in pairs]
        parts.append(listed_images(request, folder.parent, names, numbers))
    return given_split(request, PACS_CLASSES, *parts, notes=["test is the official validation part, as published"])


def array_set(path: Path, part: str, arrays: np.ndarray, labels: np.ndarray) -> ImageSet:
    """Images that a set keeps as one array, named by part and position."""
    if len(arrays) != len(labels):
        raise ValueError(f"{path}: {len(arrays)} images but {len(labels)} labels ({part})")
    return image_set([f"{part}/{i:06d}" for i in range(len(arrays))], labels, ArraySource(arrays))


def load_mat(path: Path, *keys: str) -> list[np.ndarray]:
    """These variables of a MATLAB file.

    Raises:
        ValueError: no MATLAB file, or a variable is missing; the message names the file.
    """
    from scipy.io import loadmat

    try:
        found = loadmat(path)
    except (ValueError, OSError, NotImplementedError, TypeError) as error:
        raise ValueError(f"{path} is no readable MATLAB file ({error})") from error
    missing = [key for key in keys if key not in found]
    if missing:
        there = ", ".join(key for key in found if not key.startswith("__")) or "nothing"
        raise ValueError(f"{path}: no variable {', '.join(missing)}; found {there}")
    return [found[key] for key in keys]


def load_hdf5(path: Path, *keys: str) -> list[np.ndarray]:
    """These arrays of an HDF5 file.

    Raises:
        ValueError: no HDF5 file, or an array is missing; the message names the file.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = [key for key in keys if not isinstance(file.get(key), h5py.Dataset)]
            if missing:
                raise ValueError(f"{path}: no array {', '.join(missing)}; found {', '.join(file) or 'nothing'}")
            return [np.asarray(file[key]) for key in keys]
    except OSError as error:
        raise ValueError(f"{path} is no readable HDF5 file ({error})") from error
