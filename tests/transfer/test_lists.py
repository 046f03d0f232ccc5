"""CSV lists and WebDataset shards as tasks."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfer.loading import stream_pixels
from transfer.tasks import load_task


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (10, 8), shade).save(file, "PNG")
    return file.getvalue()


def listed(root: Path, header: str, rows: list[str]) -> Path:
    for row in rows:
        path = root / row.split(",")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(50))
    (root / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return root / "list.csv"


def test_a_list_with_a_split_column(tmp_path: Path) -> None:
    rows = [f"im/{i}.png,{'犬' if i % 2 else 'кот'},{('train', 'train', 'val', 'test')[i // 2 % 4]}" for i in range(16)]
    task = load_task(listed(tmp_path, "path,label,split", rows))
    assert task.classes == ("кот", "犬") and task.name == "list"
    assert (len(task.train), len(task.test)) == (8, 4) and task.val is not None and len(task.val) == 4
    assert task.train.read(0).size == (10, 8)


def test_a_list_without_one_is_split_and_its_order_does_not_matter(tmp_path: Path) -> None:
    rows = [f"{i:02d}.png,{'ab'[i % 2]}" for i in range(20)]
    first = load_task(listed(tmp_path / "one", "File,Class", rows))
    second = load_task(listed(tmp_path / "two", "File,Class", rows[::-1]))
    assert (len(first.train), len(first.test)) == (14, 6) and first.digest() == second.digest()


def test_groups_of_a_list_are_respected(tmp_path: Path) -> None:
    rows = [f"{i:02d}.png,{'ab'[i % 2]},p{i // 4}" for i in range(40)]
    path = listed(tmp_path, "image,label,patient", rows)
    task = load_task(path, split="grouped")
    assert task.split == "grouped" and task.train.groups is not None and task.test.groups is not None
    assert not set(task.train.groups) & set(task.test.groups)
    assert load_task(path).split == "made"


def test_white_space_around_the_values_of_a_list_does_not_count(tmp_path: Path) -> None:
    rows = ["0.png,cat,p0,train", "1.png, cat ,p1,Training ", "2.png,dog,p2,train", "3.png,cat,p1 , testing"]
    task = load_task(listed(tmp_path, "image, label ,group,split", rows), split="grouped")
    assert task.classes == ("cat", "dog") and task.test.groups is not None and task.test.groups.tolist() == ["p1"]
    assert task.train.names == ("0.png", "2.png")


def test_training_and_validation_lose_the_groups_of_the_test_part_and_a_note_says_so(tmp_path: Path) -> None:
    parts = ("train", "train", "train", "val", "val", "test")
    rows = [f"{i:02d}.png,{'ab'[i % 2]},{parts[i // 4]},p{i % 10}" for i in range(24)]
    path = listed(tmp_path, "image,label,split,patient", rows)
    task = load_task(path, split="grouped")  # the test part shows p0 to p3
    assert (len(task.train), len(task.test)) == (6, 4) and task.val is not None and len(task.val) == 6
    assert task.train.groups is not None and task.val.groups is not None and task.test.groups is not None
    assert not {*task.train.groups, *task.val.groups} & set(task.test.groups) and task.split == "grouped"
    assert task.notes == (
        "6 training images left out: the test part shows the same groups",
        "2 validation images left out: the test part shows the same groups",
    )
    given = load_task(path)
    assert (len(given.train), len(given.test), given.split, given.notes) == (12, 4, "given", ())
    assert given.val is not None and len(given.val) == 8


def test_a_test_part_that_knows_every_group_leaves_nothing_to_train_on(tmp_path: Path) -> None:
    rows = [f"{i}.png,{'ab'[i % 2]},{'train' if i < 4 else 'test'},p{i % 2}" for i in range(8)]
    with pytest.raises(ValueError, match=r"list\.csv: the grouped split leaves no training image"):
        load_task(listed(tmp_path, "image,label,split,group", rows), split="grouped")


@pytest.mark.parametrize("cell", ["", ",", ", "], ids=["short row", "empty", "blank"])
@pytest.mark.parametrize("split", ["published", "grouped"])
def test_an_image_without_a_group_is_named(tmp_path: Path, cell: str, split: str) -> None:
    path = listed(tmp_path, "image,label,patient", ["a.png,x,p", f"b.png,y{cell}", "c.png,y,q"])
    with pytest.raises(ValueError, match=r"list\.csv, line 3: no patient; an image that belongs to no other"):
        load_task(path, split=split)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("path,kind", ["a.png,x"], "needs a column image and a column label; found path, kind"),
        ("path,label", ["a.png,x", "b.png,x"], "needs at least two classes"),
        ("path,label", ["a.png,x", "b.png,"], "line 3: no image or no label"),
        ("path,label", ["a.png,x", "b.png, "], "line 3: no image or no label"),
        ("path,label,note", ['a.png,x,"two\nlines"', "b.png,,"], "line 4: no image or no label"),
        ("path,label", ["../a.png,x", "b.png,y"], "is not below"),
        ("path,label,split", ["a.png,x,train", "b.png,y,later"], "'later'; allowed: train, val, test"),
        ("path,label,split", ["a.png,x,train", "b.png,y,train"], "needs training and test images"),
        ("path,label", ["a.png,x", "a.png,y"], "stand there twice"),
    ],
)
def test_bad_lists_get_one_clear_line(tmp_path: Path, header: str, rows: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        load_task(listed(tmp_path / "in", header, rows))
    assert "\n" not in str(caught.value)


def test_a_grouped_list_needs_groups(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs a column group"):
        load_task(listed(tmp_path, "path,label", ["a.png,x", "b.png,y"]), split="grouped")


@pytest.mark.parametrize("content", [b"image,label\ncaf\xe9.png,x\n", b"image,label\n\xff\xfe"])
def test_a_list_in_another_encoding_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine\.csv is no UTF-8 text \(byte 0x.. at \d+\): save it as UTF-8"):
        load_task(tmp_path / "mine.csv")


def shard(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for key, members in samples:
            for extension, data in members.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    return path


def samples(count: int, start: int = 0) -> list[tuple[str, dict[str, bytes]]]:
    return [(f"{i:06d}", {"png": jpeg(10 * (i % 20)), "cls": str(i % 3).encode()}) for i in range(start, start + count)]


def test_shards_are_a_task_and_their_pixels_are_the_right_ones(tmp_path: Path) -> None:
    shard(tmp_path / "s/shard-0.tar", samples(15))
    shard(tmp_path / "s/shard-1.tar", samples(15, start=15))
    (tmp_path / "s/_info.json").write_text(json.dumps({"classes": ["x", "y", "z"]}), encoding="utf-8")
    task = load_task(tmp_path / "s")
    assert task.classes == ("x", "y", "z") and len(task.train) + len(task.test) == 30
    for name, label, i in zip(task.train.names, task.train.labels, range(len(task.train)), strict=True):
        number = int(name.rpartition("/")[2])
        assert label == number % 3 and task.train.read(i).getpixel((0, 0))[0] == 10 * (number % 20)  # type: ignore[index]
    batches = list(stream_pixels(task.test, np.arange(len(task.test)), size=8, resize=8, batch_size=4))
    assert sum(len(batch.kept) for batch in batches) == len(task.test)


@pytest.mark.parametrize("names", ["train-000 val/000 test-000", "Training/0 VALID-0 Test/0"])
def test_shards_named_after_parts_are_those_parts(tmp_path: Path, names: str) -> None:
    for name, count in zip(names.split(), (12, 3, 6), strict=True):
        shard(tmp_path / f"{name}.tar", samples(count))
    task = load_task(tmp_path)
    assert task.val is not None and (len(task.train), len(task.val), len(task.test)) == (12, 3, 6)


@pytest.mark.parametrize("folders", [("a", "b"), ("train/a", "train/b", "test/a", "test/b")])
def test_class_folders_win_over_an_archive_that_lies_beside_them(tmp_path: Path, folders: tuple[str, ...]) -> None:
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        for i in range(4):
            (tmp_path / folder / f"{i}.png").write_bytes(jpeg(10 * i))
    shard(tmp_path / "download.tar", samples(9))
    task = load_task(tmp_path)
    assert task.classes == ("a", "b") and len(task.train) + len(task.test) == 4 * len(folders)


def test_shards_win_over_a_single_folder_of_pictures(tmp_path: Path) -> None:
    shard(tmp_path / "shard-0.tar", samples(9))
    (tmp_path / "preview").mkdir()
    (tmp_path / "preview/sheet.png").write_bytes(jpeg(9))
    assert load_task(tmp_path).classes == ("0", "1", "2")


def test_labels_in_json_and_other_members(tmp_path: Path) -> None:
    data = [
        (f"{i}", {"jpg": jpeg(9), "json": json.dumps({"label": "ab"[i % 2]}).encode(), "pkl": b"never read"})
        for i in range(8)
    ]
    task = load_task(shard(tmp_path / "one.tar", data))
    assert task.classes == ("a", "b") and len(task.train) + len(task.test) == 8


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_a_truncated_shard_is_refused(tmp_path: Path, keep: float) -> None:
    path = shard(tmp_path / "one.tar", samples(30))
    with tarfile.open(path) as tar:
        end = max(member.offset_data + 512 for member in tar)
    path.write_bytes(path.read_bytes()[: int(keep * end)])
    with pytest.raises(ValueError, match="truncated"):
        load_task(path)
    whole = shard(tmp_path / "two.tar", samples(30))
    whole.write_bytes(whole.read_bytes()[:end])  # cut exactly between two members
    with pytest.raises(ValueError, match="end mark is missing"):
        load_task(whole)


def test_samples_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 images have neither"):
        load_task(shard(tmp_path / "a.tar", [*samples(3), ("9", {"png": jpeg(1)})]))
    with pytest.raises(ValueError, match="is no JSON"):
        load_task(shard(tmp_path / "b.tar", [("9", {"png": jpeg(1), "json": b"{"})]))
    with pytest.raises(ValueError, match="no labelled image"):
        load_task(shard(tmp_path / "c.tar", [("9", {"txt": b"1"})]))


def test_a_sample_with_two_images_is_refused(tmp_path: Path) -> None:
    data = [*samples(3), ("a/9", {"jpg": jpeg(1), "cls": b"0", "png": jpeg(2)})]
    with pytest.raises(ValueError, match=r"one\.tar: sample a/9 has two images; the second is a/9\.png"):
        load_task(shard(tmp_path / "one.tar", data))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is no JSON"),
        (b"[1]", "expected an object whose classes, if there are any, are a list of names"),
        (b'{"classes": {"x": 0}}', "expected an object whose classes, if there are any, are a list of names"),
        (b'{"classes": ["caf\xe9"]}', "is no UTF-8 text"),
    ],
)
def test_an_info_file_that_names_no_classes_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    shard(tmp_path / "shard-0.tar", samples(9))
    (tmp_path / "_info.json").write_bytes(b'{"splits": {}}')
    assert load_task(tmp_path).classes == ("0", "1", "2")
    (tmp_path / "_info.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"_info\.json:? {message}"):
        load_task(tmp_path)
