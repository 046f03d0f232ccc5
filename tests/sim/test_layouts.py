"""Tables of categories that come with ShapeNet and Objaverse: what is damaged in one is said with its name."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from sim import layouts
from sim.assetfolder import LISTED_SUFFIXES, SUFFIXES, license_note, scan_models
from sim.layouts import category_problem, find_models

SHAPENET = r"wanted: \[\{\"synsetId\""
LVIS = r"wanted: \{\"<category>\""


def found(root: Path) -> list[tuple[str, str]]:
    """(category, path) of the models; nothing is opened."""
    return [
        (category, path.relative_to(root).as_posix())
        for category, path in find_models(root, SUFFIXES + LISTED_SUFFIXES)
    ]


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is no JSON"),
        (b"[{", "it is no JSON"),
        (b"\xff\xfe\xfd", "it is no text"),
        (b"{}", "it holds an object"),
        (b"null", "it holds nothing"),
        (b'["a"]', "entry 0 is a text"),
        (b'[{"synsetId": "1", "name": "a"}, {"synsetId": "2"}]', "entry 1 has no text 'name'"),
        (b'[{"synsetId": 2691156, "name": "a"}]', "entry 0 has no text 'synsetId'"),
        pytest.param(b"[" * 200_000, "its lists are nested too deeply", id="nested"),
    ],
)
def test_a_malformed_taxonomy_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, message: str) -> None:
    touch(tmp_path / "02691156" / "id1" / "models" / "model_normalized.obj")
    (tmp_path / "taxonomy.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"taxonomy\.json cannot be used: {message}.*; {SHAPENET}") as caught:
        scan_models(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lvis-annotations.json", b"{", "it is no JSON"),
        ("lvis-annotations.json", b'[["mug", "abc"]]', "it holds a list"),
        ("lvis-annotations.json", b'{"mug": "abc"}', "'mug' holds no list of texts"),
        ("lvis-annotations.json", b'{"mug": [1]}', "'mug' holds no list of texts"),
        ("lvis-annotations.json.gz", b'{"mug": ["abc"]}', "it cannot be unpacked"),
        ("lvis-annotations.json.gz", gzip.compress(b'{"mug": ["abc"]}', mtime=0)[:-9], "it cannot be unpacked"),
        ("lvis-annotations.json.gz", gzip.compress(b"{", mtime=0), "it is no JSON"),
    ],
)
def test_a_malformed_list_of_annotations_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    touch(tmp_path / "glbs" / "000-001" / "abc.glb")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} cannot be used: {message}.*; {LVIS}"):
        scan_models(tmp_path)


def test_a_packed_list_of_annotations_is_read(tmp_path: Path) -> None:
    touch(tmp_path / "glbs" / "000-001" / "abc.glb")
    (tmp_path / "lvis-annotations.json.gz").write_bytes(gzip.compress(b'{"mug": ["abc"]}'))
    assert found(tmp_path) == [("mug", "glbs/000-001/abc.glb")]


def test_a_table_that_unpacks_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "glbs" / "abc.glb")
    (tmp_path / "lvis-annotations.json.gz").write_bytes(gzip.compress(b" " * (2 << 20) + b"{}"))
    assert found(tmp_path) == []
    monkeypatch.setattr(layouts, "MAX_TABLE_BYTES", 1 << 20)
    with pytest.raises(ValueError, match="it has more than 1 MB"):
        found(tmp_path)


@pytest.mark.parametrize("name", ["a/b", "../up", "/", "..", ".", "", " ", "two\nlines", "tab\t", "\udcff"])
def test_names_that_are_no_names_are_refused(name: str) -> None:
    problem = category_problem(name)
    assert problem is not None and f"its category is {name!r}; allowed: " in problem and "\n" not in problem


@pytest.mark.parametrize("name", ["a.b", "..a", "two words", "Stühle", "椅子", "می‌خواهم", "bow_(ribbon)", "a\\b"])
def test_other_names_are_names(name: str) -> None:
    assert category_problem(name) is None


def test_a_taxonomy_cannot_give_a_category_a_path_for_a_name(tmp_path: Path) -> None:
    touch(tmp_path / "02691156" / "id1" / "models" / "model_normalized.obj")
    (tmp_path / "taxonomy.json").write_text(json.dumps([{"synsetId": "02691156", "name": "../plane,aeroplane"}]))
    message = (
        r"category '\.\./plane' is left without a model; first reason: 02691156/id1/models/model_normalized\.obj: "
    )
    with pytest.raises(ValueError, match=message + r"its category is '\.\./plane'; allowed: a name without slashes"):
        scan_models(tmp_path)


def test_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    root = tmp_path / "assets"
    touch(root / "shoe" / "meshes" / "model.obj")
    secret = tmp_path / "secret"
    secret.write_text('categories {\n  first: "secret"\n}')
    (root / "shoe" / "metadata.pbtxt").symlink_to(secret)
    (root / "LICENSE").symlink_to(secret)
    assert found(root) == [("shoe", "shoe/meshes/model.obj")]
    assert license_note(root) == "not stated"
    (root / "taxonomy.json").symlink_to(secret)
    with pytest.raises(ValueError, match=r"taxonomy\.json cannot be used: it is a link that leads outside"):
        found(root)
