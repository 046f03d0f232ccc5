"""Sets that come as arrays, and PACS: labels, channels, and what a damaged file is told."""

from __future__ import annotations

import bz2
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import set_layouts as layouts

from transfer.fetch import verify_task
from transfer.tasks import load_task

put, counts, PACS = layouts.put, layouts.counts, layouts.PACS


def test_svhn_calls_label_ten_the_digit_zero(tmp_path: Path) -> None:
    pixels = layouts.write_svhn(tmp_path / "SVHN")
    task = load_task("SVHN", root=tmp_path)
    assert counts(task) == (20, 20, 10) and task.train.labels.tolist()[:10] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert np.array_equal(np.asarray(task.train.read(3)), pixels[..., 3])


def test_a_broken_mat_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "SVHN").mkdir()
    (tmp_path / "SVHN/train_32x32.mat").write_bytes(b"not a mat file" * 20)
    with pytest.raises(ValueError, match=r"train_32x32\.mat is no readable MATLAB file"):
        load_task("SVHN", root=tmp_path)


def test_a_label_that_no_class_has_is_refused(tmp_path: Path) -> None:
    layouts.write_svhn(tmp_path / "SVHN", labels=np.arange(20) % 11 + 1)
    with pytest.raises(ValueError, match=r"1 labels are out of range, first train/000010 with 11; allowed: 0 to 9"):
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
    (tmp_path / "USPS").mkdir()
    with h5py.File(tmp_path / "USPS/usps.h5", "w") as file:
        for part in ("train", "test"):
            file[f"{part}/data"] = np.linspace(0, 1, 20 * 256).reshape(20, 256).astype(np.float32)
            file[f"{part}/target"] = np.arange(20) % 10
    task = load_task("USPS", root=tmp_path)
    assert counts(task) == (20, 20, 10) and task.train.labels.tolist()[:3] == [0, 1, 2]
    assert np.asarray(task.train.read(0)).max() < 20


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 1:1", r"1 labels are out of range, first train/000020 with -1; allowed: 0 to 9, counted from 0"),
        ("11 1:1", r"first train/000020 with 10; allowed: 0 to 9"),
        ("1 257:1", r"usps, image 21 is no LIBSVM line \(position 257; allowed: 1 to 256\)"),
        ("1 0:1", r"usps, image 21 is no LIBSVM line \(position 0; allowed: 1 to 256\)"),
        ("1 1", r"usps, image 21 is no LIBSVM line"),
        ("one 1:1", r"usps, image 21 is no LIBSVM line"),
    ],
)
def test_lines_that_are_no_usps_are_refused_by_load_and_verify(tmp_path: Path, line: str, message: str) -> None:
    layouts.write_usps(tmp_path / "USPS")
    with (tmp_path / "USPS/usps").open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match=message):
        load_task("USPS", root=tmp_path)
    found = verify_task("USPS", tmp_path)
    assert not found.ok and re.search(message, found.problems[0])


@pytest.mark.parametrize("data", [b"not bz2", bz2.compress(b"1 1:1\n" * 100)[:-9]], ids=["foreign", "truncated"])
def test_a_damaged_bz2_is_named(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "USPS").mkdir()
    (tmp_path / "USPS/usps.bz2").write_bytes(data)
    with pytest.raises(ValueError, match=r"usps\.bz2 cannot be read"):
        load_task("USPS", root=tmp_path)


def test_an_hdf5_file_that_is_none_or_lacks_an_array_is_named(tmp_path: Path) -> None:
    (tmp_path / "USPS").mkdir()
    path = tmp_path / "USPS/usps.h5"
    path.write_bytes(b"not HDF5" * 100)
    with pytest.raises(ValueError, match=r"usps\.h5 is no readable HDF5 file"):
        load_task("USPS", root=tmp_path)
    with h5py.File(path, "w") as file:
        file["train/data"] = np.zeros((2, 256))
    found = verify_task("USPS", tmp_path)
    assert found.problems[0].endswith("usps.h5: no array train/target; found train")


@pytest.mark.parametrize("shift", [-1, 1], ids=["from 0", "from 2"])
def test_pacs_labels_of_another_count_are_refused(tmp_path: Path, shift: int) -> None:
    write_pacs_lists(tmp_path / "PACS-S", shift=shift)
    wrong = "with -1" if shift < 0 else "with 7"
    with pytest.raises(ValueError, match=rf"4 labels are out of range, first kfold/sketch/.* {wrong}; allowed: 0 to 6"):
        load_task("PACS-S", root=tmp_path)


def write_pacs_lists(base: Path, *, shift: int = 0) -> None:
    lists: dict[str, list[str]] = {"train": [], "crossval": [], "test": []}
    for label, class_name in enumerate(PACS, start=1 + shift):
        for i in range(5):
            put(base / "kfold/sketch" / class_name / f"{i}.png")
            part = "crossval" if i == 4 else "train"
            for key in (part, "test"):
                lists[key].append(f"sketch/{class_name}/{i}.png {label}")
    for part, lines in lists.items():
        (base / f"sketch_{part}_kfold.txt").write_text("\n".join(lines), encoding="utf-8")


def test_pacs_with_its_official_lists(tmp_path: Path) -> None:
    write_pacs_lists(tmp_path / "PACS-S")
    task = load_task("PACS-S", root=tmp_path)
    assert counts(task) == (28, 7, 7) and task.classes == PACS
    assert all(task.classes[label] in name for name, label in zip(task.test.names, task.test.labels, strict=True))


def test_pacs_as_hdf5_has_its_channels_turned_back(tmp_path: Path) -> None:
    (tmp_path / "PACS-C").mkdir()
    pixels = np.zeros((14, 8, 8, 3), dtype=np.uint8)
    pixels[..., 0] = 250  # blue first in the file
    for part in ("train", "val"):
        with h5py.File(tmp_path / "PACS-C" / f"cartoon_{part}.hdf5", "w") as file:
            file["images"], file["labels"] = pixels, np.arange(14) % 7 + 1
    task = load_task("PACS-C", root=tmp_path)
    assert counts(task) == (14, 14, 7) and task.train.labels.tolist()[:3] == [0, 1, 2]
    assert task.train.read(0).getpixel((0, 0)) == (0, 0, 250)
