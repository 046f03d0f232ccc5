"""The reader of rendered rooms on shards written by hand in the documented encodings."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.labels import FIRST_OBJECT_CLASS, FLOOR_CLASS, WALL_CLASS
from sim.render import Shot
from sim.scene import SceneSpec
from sim.shards import RenderConfig, open_renderer
from transfer.dense.config import MultitaskConfig
from transfer.dense.metrics import LEAST_DEPTH, valid_normals
from transfer.dense.readers import read_dense
from transfer.dense.rooms import read_rooms

ALL = ("class", "normals", "depth", "keypoints", "edges")


def _png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def _maps(number: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(number)
    normals = np.full((16, 16, 3), (128, 128, 255), np.uint8)
    normals[0] = 0
    depth = rng.integers(500, 4000, (16, 16)).astype(np.uint16)
    depth[0] = 0
    heat = rng.integers(0, 256, (16, 16)).astype(np.uint8)
    classes = rng.integers(1, 5, (16, 16)).astype(np.uint16)
    classes[0] = 0
    return {"class": classes, "normals": normals, "depth": depth, "keypoints": heat, "edges": 255 - heat}


def _write_part(
    folder: Path, *, models: tuple[str, ...], passes: tuple[str, ...] = ALL, seed: int = 7, **changes: Any
) -> None:
    """A rendered data set of three rooms in one shard."""
    folder.mkdir(parents=True)
    path = folder / "shard-000000.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number in range(3):
            maps = _maps(number)
            image = np.full((16, 16, 3), 40 * number, np.uint8)
            record = {"model": models[number % len(models)], "room": {"others": [{"model": models[-1]}]}}
            members = {"jpg": _png(image, "JPEG"), "cls": b"0", "json": json.dumps(record).encode()}
            members |= {f"{name}.png": _png(maps[name]) for name in passes}
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{number:08d}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    content = path.read_bytes()
    shard = {"name": path.name, "images": 3, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    index = {
        "shards": [shard],
        "classes": ["car", "chair"],
        "num_images": 3,
        "class_counts": {"car": 3, "chair": 0},
        "config": {"catalog": {"seed": seed, "assets": None}, "format": "jpg"},
        "failed": [],
    }
    (folder / "index.json").write_text(json.dumps(index | changes))


def _write_rooms(root: Path, **val: Any) -> Path:
    _write_part(root / "train", models=("car/0", "chair/0"))
    _write_part(root / "val", **({"models": ("car/0",), "seed": 8} | val))
    _write_part(root / "test", models=("car/1", "chair/1"))
    return root


def test_rooms_in_three_parts(tmp_path: Path) -> None:
    data = read_rooms(_write_rooms(tmp_path))
    assert [len(part) for part in (data.train, data.val, data.test)] == [3, 3, 3]
    assert data.class_names == ("environment", "floor", "walls", "car", "chair") and data.classes == 5
    assert data.labelled == ("segmentation", "normals", "depth", "keypoints", "edges")
    scene, maps = data.test.read(1), _maps(1)
    assert scene.image.shape == (3, 16, 16) and float(scene.image.mean()) == pytest.approx(40 / 255, abs=0.01)
    assert np.array_equal(scene.labels["segmentation"].numpy(), maps["class"])
    np.testing.assert_allclose(scene.labels["depth"][0].numpy(), maps["depth"] / 1000, rtol=1e-6)
    assert not bool((scene.labels["depth"][:, 0] > LEAST_DEPTH).any())
    valid = valid_normals(scene.labels["normals"][None])[0]
    assert not bool(valid[0].any()) and bool(valid[1:].all())
    assert scene.labels["normals"][:, 5, 5].tolist() == pytest.approx([0, 0, 1], abs=0.01)
    for task in ("keypoints", "edges"):
        np.testing.assert_allclose(scene.labels[task][0].numpy(), maps[task] / 255 * 2 - 1, atol=1e-6)


def test_a_model_in_two_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"train and val share 1 models, among them chair/0 \(seed 7\)"):
        read_rooms(_write_rooms(tmp_path, models=("car/3", "chair/0"), seed=7))


def test_parts_of_other_classes_or_without_labels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="val has other classes"):
        read_rooms(_write_rooms(tmp_path / "a", classes=["car"]))
    with pytest.raises(ValueError, match="no label maps"):
        read_rooms(_write_rooms(tmp_path / "b", passes=()))
    with pytest.raises(FileNotFoundError, match="no complete data set"):
        read_rooms(tmp_path / "c")


def test_tasks_are_those_that_every_part_has(tmp_path: Path) -> None:
    root = _write_rooms(tmp_path, passes=("class", "depth"))
    assert read_rooms(root).labelled == ("segmentation", "depth")
    with pytest.raises(ValueError, match="no labels for normals; it has segmentation, depth"):
        read_dense(MultitaskConfig(), root)


def test_a_model_in_two_parts_is_found_however_its_folder_is_spelled(tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "assets")
    catalog = {"seed": 7, "assets": str(tmp_path / "assets")}
    for name, folder in (("same", "link"), ("same_too", "rooms/../assets"), ("other", "elsewhere")):
        root = tmp_path / name
        for part, models in (("train", ("car/0",)), ("val", ("car/1",)), ("test", ("car/0",))):
            own = {**catalog, "assets": str(tmp_path / folder)} if part == "test" else catalog
            _write_part(root / part, models=models, config={"catalog": own, "format": "jpg"})
        if name == "other":
            assert len(read_rooms(root).test) == 3
        else:
            with pytest.raises(ValueError, match=r"train and test share 1 models, among them car/0"):
                read_rooms(root)


def test_an_altered_or_missing_shard_is_named(tmp_path: Path) -> None:
    root = _write_rooms(tmp_path)
    shard = root / "test" / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"test/shard-000000\.tar was altered"):
        read_rooms(root)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=r"test/shard-000000\.tar is missing"):
        read_rooms(root)


def test_the_digest_is_that_of_the_shards(tmp_path: Path) -> None:
    first = read_rooms(_write_rooms(tmp_path / "a")).digest
    assert read_rooms(_write_rooms(tmp_path / "b")).digest == first
    assert read_rooms(_write_rooms(tmp_path / "c", models=("car/7",))).digest != first


class Flat:
    """Stands in for Blender: every room is a wall behind a floor with one object, labels as Blender would give them."""

    version = "flat"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec, shot in self.shoot(specs):
            yield spec, shot.pixels

    def shoot(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, Shot]]:
        for spec in specs:
            normal = np.zeros((32, 32, 3), np.float32)
            normal[16:] = (0, 1, 0)
            normal[4:16] = (0.6, 0, 0.8)
            depth = np.full((32, 32), 2.5, np.float32)
            depth[:4] = np.inf
            instance, classes = np.zeros((32, 32), np.uint8), np.full((32, 32), WALL_CLASS, np.uint16)
            classes[:4], classes[16:] = 0, FLOOR_CLASS
            instance[10:20, 10:20], classes[10:20, 10:20] = 1, FIRST_OBJECT_CLASS + spec.class_id
            labels = {"normal": normal, "depth": depth, "instance": instance, "class": classes, "part": instance}
            yield spec, Shot(np.full((32, 32, 3), 90, np.uint8), labels, [])


def test_rooms_as_the_renderer_writes_them(tmp_path: Path) -> None:
    catalogs = {"train": CatalogConfig(num_classes=3), "val": CatalogConfig(num_classes=3, seed=8)}
    for part in ("train", "val", "test"):
        config = RenderConfig(
            catalog=catalogs.get(part, catalogs["train"]),
            models="heldout" if part == "test" else "train",
            size=32,
            layout="room",
            passes=ALL,
        )
        render_dataset(
            config, out=tmp_path / part, num_images=4, workers=1, factory=lambda *_, **__: nullcontext(Flat())
        )
    data = read_rooms(tmp_path)
    assert len(data.train) == 4 and data.classes == 6
    labels = data.test.read(1).labels
    assert set(labels) == {"segmentation", "normals", "depth", "keypoints", "edges"}
    assert set(labels["segmentation"].unique().tolist()) == {0, 1, 2, 4}
    assert set(labels["depth"].unique().tolist()) == {0, 2.5}
    assert labels["normals"][:, 8, 0].tolist() == pytest.approx([0.6, 0, 0.8], abs=0.01)
    assert not bool(labels["normals"][:, 0].any()) and float(labels["edges"].max()) == 1


@pytest.mark.blender
@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bpy") is None, reason="needs the bpy wheel (the `render` extra)")
def test_rooms_that_blender_rendered(tmp_path: Path) -> None:
    base = RenderConfig(catalog=CatalogConfig(num_classes=3), size=48, samples=2, layout="room", passes=ALL)
    train, test = replace(base, models="train"), replace(base, models="heldout")
    with open_renderer(train, threads=1) as renderer:
        for config, part in ((train, "train"), (test, "test")):
            out = tmp_path / part
            render_dataset(config, out=out, num_images=3, workers=1, factory=lambda *_, **__: nullcontext(renderer))
    val = replace(train, catalog=CatalogConfig(num_classes=3, seed=8), size=32)
    render_dataset(val, out=tmp_path / "val", num_images=2, workers=1, factory=lambda *_, **__: nullcontext(Flat()))
    data = read_rooms(tmp_path)
    for index in range(3):
        labels = data.train.read(index).labels
        classes = set(labels["segmentation"].unique().tolist())
        assert {1, 2} < classes <= set(range(6))
        floor = labels["segmentation"] == 1
        assert float(labels["depth"][0][floor].min()) > 0.3 and float(labels["depth"].max()) < 10
        upwards = labels["normals"][:, floor]  # the camera looks down, so up is y with some z
        assert float(upwards.std(dim=1).max()) < 0.02 and float(upwards[1].mean()) > 0.5
