"""Shards and data set directories, with a renderer that paints flat colours instead of Blender."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image
from timm.data.readers.reader_wds import ReaderWds

from sim.assets import CatalogConfig
from sim.dataset import assemble_dataset, render_dataset, shard_plan
from sim.inspection import DataSetDamaged, contact_sheet, read_index, verify_dataset
from sim.journal import Journal, ShardBusy
from sim.params import SimParams
from sim.render import SceneFailure, ScenesFailed
from sim.samples import encode_image
from sim.scene import SceneSpec
from sim.shards import RenderConfig, render_shard

CONFIG = RenderConfig(catalog=CatalogConfig(num_classes=3, models_per_class=2), size=16, images_per_shard=5)


class FlatRenderer:
    """Every image one colour that depends on its index; can stop, or fail some scenes."""

    version = "flat 1"

    def __init__(self, stop_after: int | None = None, error: Exception | None = None, bad: tuple[int, ...] = ()):
        self.stop_after, self.error, self.bad = stop_after, error, bad
        self.rendered: list[int] = []

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        failures = []
        for spec in specs:
            if self.error is not None and len(self.rendered) == self.stop_after:
                raise self.error
            if spec.index in self.bad:
                failures.append(SceneFailure(spec.index, spec.model, "it is bad"))
                continue
            self.rendered.append(spec.index)
            yield spec, np.full((16, 16, 3), (spec.index * 40 % 256, spec.class_id * 90, 128), np.uint8)
        if failures:
            raise ScenesFailed(failures)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[FlatRenderer]:
    return nullcontext(FlatRenderer())


def make(out: Path, num_images: int = 12, config: RenderConfig = CONFIG, **knobs: Any) -> dict[str, Any]:
    return render_dataset(config, out=out, num_images=num_images, factory=knobs.pop("factory", flat), **knobs)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


def test_a_shard_is_a_plain_tar_without_times_or_owners(tmp_path: Path) -> None:
    record = render_shard(CONFIG, out=tmp_path, start=5, count=5, renderer=FlatRenderer())
    with tarfile.open(tmp_path / "shard-000001.tar") as tar:
        members = tar.getmembers()
        names = [member.name for member in members]
        sample = json.loads(tar.extractfile("00000007.json").read())  # type: ignore[union-attr]
        label = tar.extractfile("00000007.cls").read()  # type: ignore[union-attr]
        picture = Image.open(io.BytesIO(tar.extractfile("00000007.jpg").read()))  # type: ignore[union-attr]
    assert names == [f"{index:08d}.{suffix}" for index in range(5, 10) for suffix in ("jpg", "cls", "json")]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o644)}
    assert label == b"1" and sample["class_id"] == 1 and sample["index"] == 7
    assert sample["params"] == SimParams().as_dict()
    assert picture.size == (16, 16)
    assert record["images"] == 5 and sum(record["classes"].values()) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shard-000001.json", "shard-000001.tar"]


def test_bytes_do_not_depend_on_workers_or_order(tmp_path: Path) -> None:
    make(tmp_path / "one", workers=1)
    make(tmp_path / "two", workers=2)
    make(tmp_path / "parts", workers=1, shards=(1, 3))
    assert not (tmp_path / "parts" / "index.json").exists()
    summary = make(tmp_path / "parts", workers=1, shards=(0, 1))
    assert summary["complete"] and summary["rendered"] == 5
    assert digests(tmp_path / "one") == digests(tmp_path / "two") == digests(tmp_path / "parts")
    assert len(digests(tmp_path / "one")) == 3 * 2 + 3


def test_an_interrupted_shard_goes_on_where_it_was(tmp_path: Path) -> None:
    whole = render_shard(CONFIG, out=tmp_path / "whole", start=0, count=5, renderer=FlatRenderer())
    with pytest.raises(KeyError):
        render_shard(
            CONFIG, out=tmp_path / "cut", start=0, count=5, renderer=FlatRenderer(stop_after=3, error=KeyError("x"))
        )
    journal = tmp_path / "cut" / "shard-000000.journal"
    journal.write_bytes(journal.read_bytes()[:-7])  # the last sample is torn
    rest = FlatRenderer()
    again = render_shard(CONFIG, out=tmp_path / "cut", start=0, count=5, renderer=rest)
    assert len(rest.rendered) == 3
    assert again == whole
    assert digests(tmp_path / "whole") == digests(tmp_path / "cut")


def test_a_finished_shard_is_kept_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    render_shard(CONFIG, out=tmp_path, start=0, count=5, renderer=FlatRenderer())
    before = digests(tmp_path)
    idle = FlatRenderer()
    render_shard(CONFIG, out=tmp_path, start=0, count=5, renderer=idle)
    assert idle.rendered == []
    flip_byte(tmp_path / "shard-000000.tar", 700)
    busy = FlatRenderer()
    render_shard(CONFIG, out=tmp_path, start=0, count=5, renderer=busy)
    assert len(busy.rendered) == 5 and digests(tmp_path) == before


def test_a_set_grows_by_its_prefix(tmp_path: Path) -> None:
    make(tmp_path / "a", num_images=7)
    grown = make(tmp_path / "a", num_images=12)
    make(tmp_path / "b", num_images=12)
    assert grown["rendered"] == 7  # the shard of two images is made again with five, another two are added
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_another_configuration_is_refused_by_the_first_field_that_differs(tmp_path: Path) -> None:
    make(tmp_path)
    other = RenderConfig(
        params=SimParams(background="random"), catalog=CONFIG.catalog, size=16, images_per_shard=5, seed=3
    )
    before = digests(tmp_path)
    with pytest.raises(ValueError, match=r"params.background is 'fixed' there and 'random' here"):
        make(tmp_path, config=other)
    assert digests(tmp_path) == before


def test_a_directory_with_strange_shards_or_more_images_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(ValueError, match="holds 12 images already"):
        make(tmp_path / "a", num_images=6)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "shard-000000.tar").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"shard-000000\.tar, which was not made here"):
        make(tmp_path / "b")


def test_failed_scenes_are_listed_and_tried_again_later(tmp_path: Path) -> None:
    summary = make(tmp_path, factory=lambda config, **_: nullcontext(FlatRenderer(bad=(1, 8))))
    assert [failure["index"] for failure in summary["failed"]] == [1, 8]
    assert summary["images"] == 10 and summary["complete"]
    assert [failure["index"] for failure in verify_dataset(tmp_path).failed] == [1, 8]
    assert "2 scenes could not be rendered" in (tmp_path / "README.md").read_text()
    again = make(tmp_path)
    make(tmp_path / "fresh")
    assert again["failed"] == [] and again["images"] == 12
    assert (
        digests(tmp_path / "fresh").items()
        <= {
            name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in digests(tmp_path / "fresh")
        }.items()
    )


def test_a_full_disk_ends_with_one_line_and_no_shard(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="the disk is full: shard-000000 could not be finished") as caught:
        render_shard(CONFIG, out=tmp_path, start=0, count=5, renderer=FlatRenderer(2, full))
    assert caught.value.errno == errno.ENOSPC
    assert [path.suffix for path in tmp_path.iterdir()] == [".journal"]


@pytest.mark.parametrize("name", ["index.json", "README.md", "shard-000001.json", "contact_sheet.png"])
def test_a_disk_that_is_full_outside_a_shard_names_the_file_and_leaves_no_part_of_it(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "contact_sheet.png":
        make(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    flush = os.fsync

    def full(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").readlink().name == f"{name}.tmp":
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(number)

    monkeypatch.setattr("sim.files.os.fsync", full)
    with pytest.raises(OSError, match=r"the disk is full: .* could not be") as caught:
        if name == "contact_sheet.png":
            contact_sheet(tmp_path, tmp_path / name)
        else:
            make(tmp_path, workers=1)
    if name.startswith("shard"):
        assert "shard-000001 could not be finished" in str(caught.value)
    else:
        assert caught.value.filename == str(tmp_path / name)
    assert not list(tmp_path.glob("*.tmp")) and not (tmp_path / name).exists()
    if before:
        assert {path.name for path in tmp_path.iterdir()} == before


def test_more_workers_than_shards_are_said_to_be_fewer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    make(tmp_path / "a", workers=5)
    assert [record.getMessage() for record in caplog.records] == ["3 of 5 workers start: one for each shard"]
    make(tmp_path / "b", workers=3)
    make(tmp_path / "c", workers=None)
    assert len(caplog.records) == 1


def test_the_first_error_of_a_worker_stops_all(tmp_path: Path) -> None:
    def failing(config: RenderConfig, **_: Any) -> AbstractContextManager[FlatRenderer]:
        return nullcontext(FlatRenderer(1, RuntimeError("Blender is gone")))

    with pytest.raises(RuntimeError, match="Blender is gone"):
        make(tmp_path, workers=2, factory=failing)
    assert not list(tmp_path.glob("*.tar"))


def test_two_processes_cannot_write_one_shard(tmp_path: Path) -> None:
    with (
        Journal(tmp_path / "shard-000000.journal", {"a": 1}),
        pytest.raises(ShardBusy, match="shard-000000 is being rendered by another process"),
    ):
        Journal(tmp_path / "shard-000000.journal", {"a": 1})


def test_a_journal_of_something_else_is_started_afresh(tmp_path: Path) -> None:
    with Journal(tmp_path / "j", {"a": 1}) as journal:
        journal.append(3, {"jpg": b"abc", "cls": b"0"})
    with Journal(tmp_path / "j", {"a": 1}) as journal:
        assert len(journal) == 1 and journal.read(3) == {"jpg": b"abc", "cls": b"0"}
    with Journal(tmp_path / "j", {"a": 2}) as journal:
        assert len(journal) == 0


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
def test_verification_names_a_bad_shard(tmp_path: Path, damage: str) -> None:
    make(tmp_path)
    path = tmp_path / "shard-000001.tar"
    if damage == "truncate":
        path.write_bytes(path.read_bytes()[:-512])
    elif damage == "flip":
        flip_byte(path, path.stat().st_size // 2)
    else:
        path.unlink()
    with pytest.raises(DataSetDamaged, match=r"shard-000001\.tar") as caught:
        verify_dataset(tmp_path)
    assert "shard-000000" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("trick", ["link", "compressed"])
def test_a_shard_that_is_no_plain_tar_of_files_is_refused(tmp_path: Path, trick: str) -> None:
    make(tmp_path)
    path = tmp_path / "shard-000001.tar"
    if trick == "link":
        with tarfile.open(path, "w") as tar:
            link = tarfile.TarInfo("00000004.jpg")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(link)
    else:
        path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(DataSetDamaged, match=r"shard-000001\.tar(: 00000004\.jpg is a link| is no readable tar)"):
        contact_sheet(tmp_path, tmp_path / "sheet.png")


@pytest.mark.parametrize("name", ["../shard-000001.tar", "/shard-000001.tar", ".."])
def test_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    index["shards"][1]["name"] = name
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataSetDamaged, match=r"is not the plain name of a \.tar beside it"):
        verify_dataset(tmp_path)


DAMAGE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "is damaged: index is list": lambda index: [index],
    "is damaged: index lacks 'failed'": lambda index: index.pop("failed"),
    "is damaged: 'shards' of index is dict; allowed: list": lambda index: index.update(shards={}),
    "is damaged: shards[1] lacks 'bytes'": lambda index: index["shards"][1].pop("bytes"),
    "is damaged: shards[2] is str": lambda index: index["shards"].__setitem__(2, "shard-000002.tar"),
    "is damaged: 'sha256' of shards[0] is int": lambda index: index["shards"][0].update(sha256=5),
    "is damaged: config lacks 'format'": lambda index: index["config"].pop("format"),
    "is damaged: it names no shard": lambda index: index.update(shards=[]),
    "is damaged: it names no shard, no class": lambda index: index.update(classes=[{}]),
    "is damaged: class_counts lacks ": lambda index: index["class_counts"].popitem(),
}


@pytest.mark.parametrize("message", DAMAGE)
def test_a_damaged_index_is_one_line_that_names_what_is_wrong(tmp_path: Path, message: str) -> None:
    make(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    changed = DAMAGE[message](index)
    (tmp_path / "index.json").write_text(json.dumps(changed if changed == [index] else index))
    for read in (verify_dataset, read_index, lambda data: contact_sheet(data, data / "sheet.png")):
        with pytest.raises(DataSetDamaged) as caught:
            read(tmp_path)
        assert str(caught.value).startswith(f"{tmp_path / 'index.json'} {message}")
        assert "\n" not in str(caught.value)


def test_an_index_without_parameters_is_damaged(tmp_path: Path) -> None:
    make(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    del index["config"]["params"]
    (tmp_path / "index.json").write_text(json.dumps(index))
    with pytest.raises(DataSetDamaged, match=r"index\.json is damaged: config lacks 'params'"):
        verify_dataset(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b'{"classes": ["K\xe4fer"]}', b"3"])
def test_an_index_that_is_no_json_object_is_one_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "index.json").write_bytes(text)
    with pytest.raises(DataSetDamaged, match=r"index\.json is damaged: ") as caught:
        verify_dataset(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"classes": ["chair"]}, {"config": {"params": {}, "format": "webp"}}])
def test_a_sample_that_does_not_fit_the_index_is_named(tmp_path: Path, change: dict[str, Any]) -> None:
    make(tmp_path)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps(index | change))
    with pytest.raises(DataSetDamaged, match=r"sample 0000000\d does not fit its index\.json"):
        contact_sheet(tmp_path, tmp_path / "sheet.png")


def test_verification_counts_what_is_there(tmp_path: Path) -> None:
    make(tmp_path)
    found = verify_dataset(tmp_path)
    assert (found.num_images, found.num_shards) == (12, 3)
    assert list(found.class_counts.values()) == [4, 4, 4]
    assert found.config == CONFIG.as_json()


def test_an_unfinished_set_is_no_data_set(tmp_path: Path) -> None:
    make(tmp_path, shards=(0, 1))
    with pytest.raises(FileNotFoundError, match="run the same `simpath render` again"):
        verify_dataset(tmp_path)


def test_assembled_shards_are_the_same_data_set(tmp_path: Path) -> None:
    make(tmp_path / "whole")
    folders = []
    for number, (start, count) in enumerate(shard_plan(CONFIG, 12)):
        folders.append(tmp_path / f"part{number}")
        render_shard(CONFIG, out=folders[-1], start=start, count=count, renderer=FlatRenderer())
    summary = assemble_dataset(CONFIG, folders, out=tmp_path / "linked", num_images=12)
    assert summary["images"] == 12
    assert digests(tmp_path / "whole") == digests(tmp_path / "linked")
    assert (tmp_path / "linked" / "shard-000000.tar").stat().st_nlink == 2
    with pytest.raises(ValueError, match="shard-000002 with images 10 to 11 is in none"):
        assemble_dataset(CONFIG, folders[:2], out=tmp_path / "short", num_images=12)
    assert not (tmp_path / "short" / "index.json").exists()


# webdataset leaves its tar files to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_and_timm_read_the_set_as_it_is(tmp_path: Path) -> None:
    make(tmp_path)
    pattern = str(tmp_path / "shard-{000000..000002}.tar")
    samples = list(webdataset.WebDataset(pattern, shardshuffle=False).decode("pil").to_tuple("jpg", "cls", "json"))
    assert [label for _, label, _ in samples] == [index % 3 for index in range(12)]
    assert samples[0][0].size == (16, 16) and samples[5][2]["index"] == 5
    reader = ReaderWds(str(tmp_path), split="train")
    labels = [target for _, target in reader]
    assert len(reader) == 12 and sorted(labels) == sorted(index % 3 for index in range(12))


def test_the_contact_sheet_shows_every_class(tmp_path: Path) -> None:
    make(tmp_path)
    contact_sheet(tmp_path, tmp_path / "sheet.png", rows=2, columns=3, tile=40)
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    blues = {tuple(pixel) for pixel in sheet.reshape(-1, 3) if pixel[2] in range(120, 137) and pixel[0] != pixel[2]}
    greens = {90 * round(int(pixel[1]) / 90) for pixel in blues}
    assert sheet.shape == (32 + 2 * 58 + 8, 32 + 3 * 40 + 2 * 8, 3)
    assert {0, 90, 180} <= greens


@pytest.mark.parametrize("file_format", ["jpg", "webp", "png"])
def test_pictures_are_encoded_reproducibly(file_format: str) -> None:
    ramp = np.arange(0, 256, 8, dtype=np.uint8)
    pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, :], np.uint8(99)), axis=-1)
    first, second = (encode_image(pixels, file_format, 95) for _ in range(2))
    decoded = np.asarray(Image.open(io.BytesIO(first)).convert("RGB")).astype(int)
    assert first == second
    assert np.abs(decoded - pixels).mean() < (1e-9 if file_format == "png" else 4)


def test_a_bad_configuration_is_named() -> None:
    for field, value in (("format", "gif"), ("quality", 0), ("images_per_shard", 0), ("seed", -1), ("models", "some")):
        with pytest.raises(ValueError, match=f"{field} is {value!r}; allowed:"):
            RenderConfig(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_images is 0"):
        shard_plan(CONFIG, 0)


def test_a_class_that_is_too_small_for_its_half_is_named_before_anything_is_opened(tmp_path: Path) -> None:
    def untouched(config: RenderConfig, **_: Any) -> AbstractContextManager[FlatRenderer]:
        raise AssertionError("rendering began")

    lonely = RenderConfig(catalog=CatalogConfig(num_classes=2, models_per_class=1), models="heldout")
    with pytest.raises(ValueError, match="'chair' has too few models for models = 'heldout': it needs at least two"):
        make(tmp_path / "set", config=lonely, factory=untouched)
    assert not (tmp_path / "set").exists()


def flip_byte(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
