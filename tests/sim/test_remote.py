"""Data sets at URLs: in memory, and on a real S3 protocol server on the loopback interface."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from sim.assets import CatalogConfig
from sim.dataset import render_dataset
from sim.remote import is_url, render_to_url
from sim.scene import SceneSpec
from sim.shards import RenderConfig

CONFIG = RenderConfig(catalog=CatalogConfig(num_classes=3, models_per_class=2), size=16, images_per_shard=4)


class Flat:
    version = "flat 1"

    def __init__(self, stop_after: int = 10**9) -> None:
        self._left = stop_after

    def render(self, specs: Iterable[SceneSpec]) -> Iterator[tuple[SceneSpec, np.ndarray]]:
        for spec in specs:
            if self._left == 0:
                raise KeyError("stopped")
            self._left -= 1
            yield spec, np.full((16, 16, 3), spec.index * 9 % 256, np.uint8)


def flat(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    return nullcontext(Flat())


def files(url: str) -> dict[str, bytes]:
    system, folder = fsspec.core.url_to_fs(url)
    system.invalidate_cache()
    return {path.rsplit("/", 1)[-1]: system.cat_file(path) for path in system.ls(folder, detail=False)}


def local_files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def s3() -> Iterator[None]:
    moto = pytest.importorskip("moto.server", reason="needs moto")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    # fsspec keeps file systems, and with them the address of a server that another module has stopped
    s3fs.S3FileSystem.clear_instance_cache()
    saved = dict(os.environ)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    fsspec.filesystem("s3").mkdir("rendered")
    yield
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()
    os.environ.clear()
    os.environ.update(saved)


def test_the_same_files_arrive_as_on_disk_and_are_kept(tmp_path: Path) -> None:
    url = "memory://sets/a"
    render_dataset(CONFIG, out=tmp_path / "local", num_images=10, factory=flat)
    summary = render_to_url(CONFIG, url, staging=tmp_path / "staging", num_images=10, workers=2, factory=flat)
    assert summary["complete"] and summary["rendered"] == 10
    assert files(url) == local_files(tmp_path / "local")
    again = render_to_url(CONFIG, url, staging=tmp_path / "other", num_images=10, factory=flat)
    assert again["rendered"] == 0 and files(url) == local_files(tmp_path / "local")


def test_an_interrupted_upload_goes_on_and_has_no_index_before_its_end(tmp_path: Path) -> None:
    url = "memory://sets/b"
    with pytest.raises(KeyError):
        render_to_url(
            CONFIG,
            url,
            staging=tmp_path / "one",
            num_images=10,
            workers=1,
            factory=lambda *_, **__: nullcontext(Flat(stop_after=6)),
        )
    assert sorted(files(url)) == ["shard-000000.json", "shard-000000.tar"]
    rest = render_to_url(CONFIG, url, staging=tmp_path / "two", num_images=10, factory=flat)
    assert rest["rendered"] == 6
    render_dataset(CONFIG, out=tmp_path / "local", num_images=10, factory=flat)
    assert files(url) == local_files(tmp_path / "local")


def test_another_configuration_at_the_url_is_refused(tmp_path: Path) -> None:
    url = "memory://sets/c"
    render_to_url(CONFIG, url, staging=tmp_path / "one", num_images=4, factory=flat)
    other = RenderConfig(catalog=CONFIG.catalog, size=32, images_per_shard=4)
    with pytest.raises(ValueError, match="size is 16 there and 32 here"):
        render_to_url(other, url, staging=tmp_path / "two", num_images=4, factory=flat)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_set_on_an_s3_server_is_the_same_set(tmp_path: Path, s3: None) -> None:
    render_to_url(CONFIG, "s3://rendered/sets/a", staging=tmp_path / "staging", num_images=10, factory=flat)
    render_dataset(CONFIG, out=tmp_path / "local", num_images=10, factory=flat)
    assert files("s3://rendered/sets/a") == local_files(tmp_path / "local")
    with pytest.raises(OSError, match="output s3://nobucket/x cannot be written"):
        render_to_url(CONFIG, "s3://nobucket/x", staging=tmp_path / "no", num_images=4, factory=flat)
    assert not list((tmp_path / "no").glob("*.tar"))


def test_an_unknown_protocol_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="output gopher://x/y cannot be used"):
        render_to_url(CONFIG, "gopher://x/y", staging=tmp_path, num_images=4, factory=flat)
    assert is_url("s3://a/b") and not is_url("/a/b") and not is_url("a") and not is_url("file:///a")
