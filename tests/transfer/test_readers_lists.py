"""Sets whose labels stand in tables and lists, in their true layouts, and their traps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import set_layouts as layouts
from scipy.io import savemat

from transfer.tasks import load_task

put, table, counts, ISIC = layouts.put, layouts.table, layouts.counts, layouts.ISIC
write_flowers, write_isic, write_kaokore = layouts.write_flowers, layouts.write_isic, layouts.write_kaokore


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


def test_swapped_flower_splits_are_refused(tmp_path: Path) -> None:
    write_flowers(tmp_path / "Flowers102", train=12, test=4)
    with pytest.raises(ValueError, match="swapped"):
        load_task("Flowers102", root=tmp_path)


@pytest.mark.parametrize("number", [0, 19])
def test_flower_numbers_without_a_label_are_refused(tmp_path: Path, number: int) -> None:
    write_flowers(tmp_path / "Flowers102")
    ids = {"trnid": [[1, 2, number]], "valid": [[3]], "tstid": [[4, 5, 6, 7]]}
    savemat(tmp_path / "Flowers102/setid.mat", ids)
    with pytest.raises(ValueError, match=r"setid\.mat names images outside the 1 to 18 that imagelabels\.mat labels"):
        load_task("Flowers102", root=tmp_path)


def test_a_mat_file_without_its_variable_is_named(tmp_path: Path) -> None:
    write_flowers(tmp_path / "Flowers102")
    savemat(tmp_path / "Flowers102/setid.mat", {"trnid": [[1]], "tstid": [[2]]})
    with pytest.raises(ValueError, match=r"setid\.mat: no variable valid; found trnid, tstid"):
        load_task("Flowers102", root=tmp_path)


@pytest.mark.parametrize("place", ["labels.csv", "labels/labels.csv"])
def test_deepweeds(tmp_path: Path, place: str) -> None:
    layouts.write_deepweeds(tmp_path / "DeepWeeds", place)
    task = load_task("DeepWeeds", root=tmp_path)
    assert counts(task) == (21, 9, 2) and task.classes == ("Chinee apple", "Negative")
    assert task.also_report == ("mean_per_class",)


def test_a_label_that_is_no_number_is_named_with_its_file(tmp_path: Path) -> None:
    layouts.write_deepweeds(tmp_path / "DeepWeeds")
    path = tmp_path / "DeepWeeds/labels.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("2016-1.jpg,8", "2016-1.jpg,eight"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"labels\.csv, row 3: Label 'eight' is no whole number"):
        load_task("DeepWeeds", root=tmp_path)
    layouts.write_cub(tmp_path / "CUB")
    path = tmp_path / "CUB/image_class_labels.txt"
    path.write_text(path.read_text(encoding="utf-8").replace("12 3\n", "12 3a\n"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"image_class_labels\.txt: class of image 12 '3a' is no whole number"):
        load_task("CUB", root=tmp_path)


@pytest.mark.parametrize("folder", ["", "CUB_200_2011"])
def test_cub(tmp_path: Path, folder: str) -> None:
    layouts.write_cub(tmp_path / "CUB" / folder)
    task = load_task("CUB", root=tmp_path)
    assert counts(task) == (6, 6, 3) and task.classes[0] == "001.Bird_1"
    pairs = zip(task.train.names, task.train.labels, strict=True)
    labels = {name.split("/")[-2]: task.classes[label] for name, label in pairs}
    assert len(labels) == 3 and all(folder == class_name for folder, class_name in labels.items())


@pytest.mark.parametrize("number", ["two", "²"])
def test_a_line_of_cub_without_its_number_is_named(tmp_path: Path, number: str) -> None:
    layouts.write_cub(tmp_path / "CUB")
    path = next((tmp_path / "CUB").rglob("images.txt"))
    path.write_text(f"{number} 001.Bird_1/a.jpg\n", encoding="utf-8")
    with pytest.raises(ValueError, match=rf"images\.txt: '{number} 001.Bird_1/a.jpg' is no line of a number and what"):
        load_task("CUB", root=tmp_path)


def test_the_older_cub_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "CUB/lists").mkdir(parents=True)
    (tmp_path / "CUB/lists/train.txt").write_text("001.Bird/a.jpg\n", encoding="utf-8")
    with pytest.raises(ValueError, match="CUB-200-2010"):
        load_task("CUB", root=tmp_path)


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


@pytest.mark.parametrize("name", ["HAM10000_metadata.tab", "HAM10000_metadata"])
def test_the_metadata_of_dataverse_gives_isic_its_lesions(tmp_path: Path, name: str) -> None:
    write_isic(tmp_path / "ISIC", groups=False)
    rows = [[f"HAM_{i % 7}_{i // 14}", f"ISIC_{i:07d}", "nv"] for i in range(70)]
    header, delimiter = ["lesion_id", "image_id", "dx"], "\t" if name.endswith(".tab") else ","
    table(tmp_path / "ISIC" / name, header, rows, delimiter)
    (tmp_path / "ISIC/HAM10000_metadata.pdf").write_bytes(b"%PDF-1.4 \xff")
    assert counts(load_task("ISIC", root=tmp_path)) == (49, 21, 7)
    grouped = load_task("ISIC", root=tmp_path, split="grouped")
    assert grouped.train.groups is not None and grouped.test.groups is not None
    assert not set(grouped.train.groups) & set(grouped.test.groups)
    assert len(set(grouped.train.groups) | set(grouped.test.groups)) == 35


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"lesion_id,image_id,dx\nHAM_0,ISIC_0,caf\xe9\n", r" is no UTF-8 text \(byte 0xe9 at 38\): save it as UTF-8"),
        (b"lesion_id,image_id,dx\nHAM_0,ISIC_0\n", ", row 2: fewer columns than the header"),
        (b"lesion_id,image_id,dx\nHAM_0,ISIC_0,scar\n", " has dx 'scar'; known: mel, nv"),
        (b"lesion_id,image,dx\nHAM_0,ISIC_0,nv\n", ": no column image_id; found lesion_id, image, dx"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "ISIC").mkdir()
    (tmp_path / "ISIC/HAM10000_metadata.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"HAM10000_metadata\.csv{message}"):
        load_task("ISIC", root=tmp_path)


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
