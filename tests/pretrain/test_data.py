from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pretrain.data import SampleReader, ShardError, open_shards, read_index, scan_tar

MakeSet = Callable[..., Path]


def test_every_sample_is_found_with_its_label_and_its_bytes(make_set: MakeSet) -> None:
    directory = make_set(num=24, classes=3, per_shard=10)
    shards = open_shards(directory)
    assert len(shards) == 24
    assert shards.label.tolist() == [index % 3 for index in range(24)]
    assert [key.decode() for key in shards.keys.tolist()] == [f"{index:08d}" for index in range(24)]
    with tarfile.open(directory / "shard-000001.tar") as tar:
        member = tar.extractfile("00000013.jpg")
        assert member is not None
        wanted = member.read()
    assert bytes(SampleReader(shards).read(13)) == wanted
    assert shards.describe(13) == "shard-000001.tar: 00000013"


def test_threads_change_nothing(make_set: MakeSet) -> None:
    directory = make_set()
    one, many = open_shards(directory, threads=1), open_shards(directory, threads=4)
    assert one.digest == many.digest
    assert np.array_equal(one.offset, many.offset)


def test_a_reader_keeps_few_files_open(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.data.OPEN_FILES", 2)
    shards = open_shards(make_set(num=12, per_shard=2))
    reader = SampleReader(shards)
    contents = [bytes(reader.read(index)) for index in range(12)]
    assert len(set(contents)) == 12
    assert contents == [bytes(reader.read(index)) for index in range(12)]


@pytest.mark.parametrize("position", [0, 700, -1])
def test_one_changed_byte_stops_with_the_name_of_the_shard(make_set: MakeSet, position: int) -> None:
    directory = make_set()
    path = directory / "shard-000001.tar"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"^shard-000001\.tar: sha256 is .* index\.json says"):
        open_shards(directory)


def test_a_bad_shard_is_skipped_and_listed_when_asked(make_set: MakeSet) -> None:
    directory = make_set(num=24, per_shard=10)
    whole = open_shards(directory)
    (directory / "shard-000001.tar").write_bytes(b"short")
    shards = open_shards(directory, on_bad_shard="skip")
    assert len(shards) == 14
    assert len(shards.skipped) == 1
    assert shards.skipped[0].startswith("shard-000001.tar: sha256")
    assert shards.digest != whole.digest


def test_a_shard_that_is_left_out_is_not_looked_at(make_set: MakeSet) -> None:
    directory = make_set(num=24, per_shard=10)
    (directory / "shard-000001.tar").rename(directory / "away")
    skipping = open_shards(directory, on_bad_shard="skip")
    (directory / "away").rename(directory / "shard-000001.tar")
    assert len(open_shards(directory)) == 24
    shards = open_shards(directory, leave_out=["shard-000001.tar", "shard-of-another-set.tar"])
    assert len(shards) == 14
    assert shards.digest == skipping.digest
    assert shards.skipped == ("shard-000001.tar: the run was begun without it",)


def test_a_set_without_a_good_shard_is_refused(make_set: MakeSet) -> None:
    directory = make_set(num=4, per_shard=10)
    (directory / "shard-000000.tar").write_bytes(b"")
    with pytest.raises(ShardError, match="none of the 1 shards"):
        open_shards(directory, on_bad_shard="skip")


def test_a_missing_shard_is_named(make_set: MakeSet) -> None:
    directory = make_set()
    (directory / "shard-000002.tar").unlink()
    with pytest.raises(ShardError, match=r"^shard-000002\.tar: index\.json .* names it, but there is no such file"):
        open_shards(directory)


def test_a_directory_without_index_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no index\.json"):
        open_shards(tmp_path)


def test_a_sample_without_label_is_named(make_set: MakeSet) -> None:
    with pytest.raises(ShardError, match=r"shard-000001\.tar: sample 00000015 has no label"):
        open_shards(make_set(drop="00000015.cls"))


def test_a_sample_without_image_is_named(make_set: MakeSet) -> None:
    with pytest.raises(ShardError, match=r"shard-000000\.tar: sample 00000005 needs one image"):
        open_shards(make_set(drop="00000005.jpg"))


@pytest.mark.parametrize(("label", "reason"), [(b"x", "no number"), (b"2", "2 classes"), (b"-1", "2 classes")])
def test_a_label_outside_the_classes_is_named(make_set: MakeSet, label: bytes, reason: str) -> None:
    with pytest.raises(ShardError, match=rf"sample 00000003 has the label .*{reason}"):
        open_shards(make_set(replace={"00000003.cls": label}))


def test_a_count_that_differs_from_the_index_is_refused(make_set: MakeSet) -> None:
    directory = make_set()
    index = json.loads((directory / "index.json").read_text())
    index["shards"][0]["images"] = 11
    (directory / "index.json").write_text(json.dumps(index))
    with pytest.raises(ShardError, match=r"shard-000000\.tar: holds 10 samples, index\.json says 11"):
        open_shards(directory)


def test_what_is_no_tar_is_refused() -> None:
    with pytest.raises(ShardError, match="not a readable tar"):
        scan_tar(b"x" * 2000, "shard-000000.tar", 1, 2)


def test_other_members_are_left_alone() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in (("0.pyd", b"\x80\x04."), ("0.jpg", b"image"), ("0.cls", b"1"), ("folder", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    scan = scan_tar(buffer.getvalue(), "shard", 1, 2)
    assert (scan.label, scan.keys) == ([1], [b"0"])


@pytest.mark.parametrize("name", ["/etc/passwd", "../up.tar", "pipe:ls", "http://host/x.tar", "", "a\\b", "a\0b"])
def test_shard_names_are_plain_relative_paths(name: str) -> None:
    index = {"shards": [{"name": name, "images": 1, "sha256": ""}], "classes": ["a"]}
    with pytest.raises(ValueError, match="not a plain relative path"):
        read_index(json.dumps(index), "here")


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"classes": ["a"]}', "KeyError: 'shards'"),
        ('{"classes": ["a"], "shards": []}', "names no shard"),
        ('{"classes": ["a"], "shards": "a.tar"}', "TypeError: shards is 'a.tar'; allowed: list"),
        ('{"classes": ["a"], "shards": [{"name": 7, "images": 1, "sha256": ""}]}', "name is 7; allowed: str"),
        ('{"classes": ["a"], "shards": [{"name": "a", "images": 1, "sha256": null}]}', "sha256 is None; allowed: str"),
        ('{"classes": ["a"], "shards": [{"name": "a", "images": "1", "sha256": ""}]}', "images is '1'; allowed: int"),
        ('{"classes": "abc", "shards": [{"name": "a", "images": 1, "sha256": ""}]}', "classes is 'abc'; allowed: list"),
        ('{"classes": [0, 1], "shards": [{"name": "a", "images": 1, "sha256": ""}]}', "classes must be distinct texts"),
        ('{"classes": [[]], "shards": [{"name": "a", "images": 1, "sha256": ""}]}', "classes must be distinct texts"),
        ('{"classes": [], "shards": [{"name": "a", "images": 1, "sha256": ""}]}', "classes must be"),
        ('{"classes": ["a", "a"], "shards": [{"name": "a", "images": 1, "sha256": ""}]}', "classes must be"),
    ],
)
def test_a_broken_index_says_what_is_wrong(index: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"^here/index.json.*{reason}") as error:
        read_index(index, "here")
    assert "\n" not in str(error.value)


def test_an_index_in_another_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text('{"classes": ["Käfer"], "shards": []}', encoding="latin-1")
    with pytest.raises(ValueError, match=rf"^{tmp_path}/index\.json is not a data set index: 'utf-8' codec"):
        open_shards(tmp_path)


def test_a_shard_named_twice_is_refused() -> None:
    row = {"name": "a.tar", "images": 1, "sha256": ""}
    with pytest.raises(ValueError, match="names a shard twice"):
        read_index(json.dumps({"shards": [row, row], "classes": ["a"]}), "here")
