"""Data sets at URLs: in memory, and on a real S3 protocol server on the loopback interface."""

from __future__ import annotations

import json
import os
import threading
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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


def untouched(config: RenderConfig, **_: Any) -> AbstractContextManager[Flat]:
    raise AssertionError("rendering began")


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


@pytest.fixture
def read_only_s3(s3: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same server for a user who may read the bucket and not write to it."""
    boto3 = pytest.importorskip("boto3", reason="needs boto3")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs")
    address = os.environ["AWS_ENDPOINT_URL"]
    iam = boto3.client("iam")
    iam.create_user(UserName="reader")
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    s3fs.S3FileSystem.clear_instance_cache()
    requests_without_check(address, "0")
    yield
    requests_without_check(address, "inf")
    s3fs.S3FileSystem.clear_instance_cache()


def requests_without_check(address: str, count: str) -> None:
    """Moto's switch: from the next so many requests on it looks at who asks for what."""
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", count.encode(), headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_bucket_that_may_not_be_written_is_named_before_anything_is_rendered(
    tmp_path: Path, read_only_s3: None
) -> None:
    with pytest.raises(
        OSError, match=r"output s3://rendered/mine cannot be written: .*(Access Denied|not authorized)"
    ) as caught:
        render_to_url(CONFIG, "s3://rendered/mine", staging=tmp_path, num_images=4, factory=untouched)
    assert "\n" not in str(caught.value)


class Refusing(BaseHTTPRequestHandler):
    """A web server that serves nothing and takes nothing."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(403)

    do_POST = do_PUT
    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_web_server_that_takes_no_uploads_is_named_before_anything_is_rendered(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="needs aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/mine"
        with pytest.raises(OSError, match=f"output {url} cannot be written: .*403") as caught:
            render_to_url(CONFIG, url, staging=tmp_path, num_images=4, factory=untouched)
        server.shutdown()
    assert "\n" not in str(caught.value)


def test_a_class_that_is_too_small_for_its_half_is_named_before_anything_is_uploaded(tmp_path: Path) -> None:
    lonely = RenderConfig(catalog=CatalogConfig(num_classes=2, models_per_class=1), models="heldout")
    with pytest.raises(ValueError, match="'chair' has too few models for models = 'heldout'"):
        render_to_url(lonely, "memory://sets/lonely", staging=tmp_path, num_images=4, factory=untouched)
    assert not fsspec.filesystem("memory").exists("/sets/lonely")
