"""Data set directories that are gone on with: what is another set, what is not complete. Flat colours, no Blender."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from sim.assets import CatalogConfig
from sim.dataset import assemble_dataset, render_dataset
from sim.inspection import verify_dataset
from sim.remote import render_to_url
from sim.render import RenderError
from sim.scene import SceneSpec
from sim.shards import RenderConfig, catalog_of, finished_shard

CONFIG = RenderConfig(catalog=CatalogConfig(num_classes=3, models_per_class=2), size=16, images_per_shard=5)


class Flat:
    version = "flat 1"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            yield spec, np.full((16, 16, 3), spec.index * 9 % 256, np.uint8)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    return nullcontext(Flat())


def untouched(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    raise AssertionError("rendering began")


def make(out: Path, num_images: int, config: RenderConfig = CONFIG, **knobs: Any) -> dict[str, Any]:
    return render_dataset(config, out=out, num_images=num_images, **{"factory": flat, "workers": 1, **knobs})


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture
def two_classes(tmp_path: Path, one_importer: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An asset folder with the classes `crate` and `tube`, a model each."""
    trimesh = pytest.importorskip("trimesh", reason="needs simpath[render]")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "assets"
    for name, shape in {"crate": trimesh.creation.box(), "tube": trimesh.creation.cylinder(1, 2)}.items():
        (root / name).mkdir(parents=True)
        shape.export(root / name / "m.glb")
    return root


def add_a_class(root: Path) -> None:
    shutil.copytree(root / "crate", root / "bin")  # stands before the others, so that every class gets another number


def remove_a_class(root: Path) -> None:
    shutil.rmtree(root / "crate")


CHANGES = [add_a_class, remove_a_class]


@pytest.mark.parametrize("change", CHANGES)
def test_a_set_is_not_gone_on_with_when_its_asset_folder_has_changed(
    two_classes: Path, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Its labels are numbers of the classes as they were."""
    config = dataclasses.replace(CONFIG, catalog=CatalogConfig(assets=str(two_classes)))
    url = f"memory://sets/{change.__name__}"
    make(tmp_path / "set", 7, config)
    render_to_url(config, url, staging=tmp_path / "a", num_images=7, factory=flat)
    before = digests(tmp_path / "set")
    change(two_classes)
    catalog_of.cache_clear()  # as in another process
    said = f"holds data of other assets: what is in {two_classes} has changed since"
    for num_images in (7, 12):
        with pytest.raises(ValueError, match=f"{tmp_path / 'set'} {said}"):
            make(tmp_path / "set", num_images, config, factory=untouched)
    with pytest.raises(ValueError, match=said):
        finished_shard(config, tmp_path / "set", 0, 5)
    with pytest.raises(ValueError, match=f"{tmp_path / 'set'} {said}"):
        assemble_dataset(config, [tmp_path / "set"], out=tmp_path / "linked", num_images=7)
    with pytest.raises(ValueError, match=f"{url} {said}"):
        render_to_url(config, url, staging=tmp_path / "b", num_images=7, factory=untouched)
    assert digests(tmp_path / "set") == before
    assert not list((tmp_path / "linked").iterdir())


class Other(Flat):
    version = "flat 1, cuda"

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        raise AssertionError("rendering began")


def other(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    return nullcontext(Other())


def unable(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    class Unable(Flat):
        @property
        def version(self) -> str:  # type: ignore[override]
            raise RenderError("Blender did not start")

    return nullcontext(Unable())


OTHER_RENDERER = "holds shards made with flat 1, here it is flat 1, cuda; choose another output directory"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("factory", "said"), [(other, OTHER_RENDERER), (unable, "Blender did not start")])
def test_a_set_that_another_renderer_or_none_would_go_on_with_stays_complete(
    tmp_path: Path, workers: int, factory: Callable[..., Any], said: str
) -> None:
    make(tmp_path / "set", 7)
    before = digests(tmp_path / "set")
    for num_images in (12, 30):
        with pytest.raises((ValueError, RenderError), match=said):
            make(tmp_path / "set", num_images, workers=workers, factory=factory)
    assert digests(tmp_path / "set") == before
    assert make(tmp_path / "set", 7, factory=factory)["rendered"] == 0  # nothing to do: no renderer is asked
    assert make(tmp_path / "set", 12)["rendered"] == 7


def test_a_damaged_shard_is_not_made_again_by_another_renderer(tmp_path: Path) -> None:
    make(tmp_path, 12)
    (tmp_path / "shard-000001.tar").write_bytes(b"damaged")
    before = digests(tmp_path)
    with pytest.raises(ValueError, match=OTHER_RENDERER):
        make(tmp_path, 12, factory=other)
    assert digests(tmp_path) == before


@pytest.mark.parametrize(("factory", "said"), [(other, OTHER_RENDERER), (unable, "Blender did not start")])
def test_a_set_at_a_url_that_another_renderer_would_go_on_with_stays_complete(
    tmp_path: Path, factory: Callable[..., Any], said: str
) -> None:
    url = f"memory://sets/{factory.__name__}"
    render_to_url(CONFIG, url, staging=tmp_path / "a", num_images=7, factory=flat)
    system = fsspec.filesystem("memory")
    folder = f"/sets/{factory.__name__}"
    before = {path: system.cat_file(path) for path in system.ls(folder, detail=False)}
    assert len(before) == 2 * 2 + 3
    with pytest.raises((ValueError, RenderError), match=said):
        render_to_url(CONFIG, url, staging=tmp_path / "b", num_images=12, factory=factory)
    assert {path: system.cat_file(path) for path in system.ls(folder, detail=False)} == before
    assert render_to_url(CONFIG, url, staging=tmp_path / "c", num_images=12, factory=flat)["rendered"] == 7


def test_shards_of_two_renderers_are_no_set(tmp_path: Path) -> None:
    make(tmp_path / "a", 5)
    make(tmp_path / "b", 7, shards=(1, 2), factory=lambda *_, **__: nullcontext(Newer()))
    with pytest.raises(ValueError, match="made with different versions of the renderer: flat 1, flat 2"):
        assemble_dataset(CONFIG, [tmp_path / "a", tmp_path / "b"], out=tmp_path / "linked", num_images=7)
    assert not (tmp_path / "linked" / "index.json").exists()


class Newer(Flat):
    version = "flat 2"


def test_a_set_that_grows_in_parts_has_no_index_before_every_shard_is_full(tmp_path: Path) -> None:
    make(tmp_path / "set", 3)
    summary = make(tmp_path / "set", 15, shards=(1, 3))
    assert not summary["complete"] and summary["images"] == 13
    assert not (tmp_path / "set" / "index.json").exists()
    assert make(tmp_path / "set", 15, shards=(0, 1))["complete"]
    make(tmp_path / "whole", 15)
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")
    assert verify_dataset(tmp_path / "set").num_images == 15


def test_a_tar_whose_json_was_not_written_any_more_is_made_again(tmp_path: Path) -> None:
    def stop(done: int, total: int, note: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    make(tmp_path / "whole", 7)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "set", 7, progress=stop)
    shutil.copy(tmp_path / "whole" / "shard-000000.tar", tmp_path / "set")
    assert make(tmp_path / "set", 7)["rendered"] == 4
    assert digests(tmp_path / "set") == digests(tmp_path / "whole")


@pytest.mark.parametrize("name", ["index.json", "_info.json", "README.md"])
def test_files_of_another_project_are_not_written_over(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(ValueError, match=f"{tmp_path} holds {name}, which was not made here"):
        make(tmp_path, 4, factory=untouched)
    system = fsspec.filesystem("memory")
    system.pipe_file(f"/sets/mine/{name}", b"{}")
    with pytest.raises(ValueError, match=f"memory://sets/mine holds {name}, which was not made here"):
        render_to_url(CONFIG, "memory://sets/mine", staging=tmp_path / "staging", num_images=4, factory=untouched)
    assert [path.rsplit("/", 1)[-1] for path in system.ls("/sets/mine", detail=False)] == [name]
    system.rm("/sets/mine", recursive=True)


@pytest.mark.parametrize("text", ["[]", '{"name": "shard-000000.tar"}', json.dumps({"config": {}, "start": 0})])
def test_a_shards_json_of_another_program_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "shard-000000.json").write_text(text)
    with pytest.raises(ValueError, match=r"shard-000000\.json is no record of a rendered shard; choose another"):
        make(tmp_path, 4, factory=untouched)
    assert (tmp_path / "shard-000000.json").read_text() == text
