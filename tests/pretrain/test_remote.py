from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest

from pretrain.data import ShardError, open_shards
from pretrain.remote import fetch_shards, is_remote

MakeSet = Callable[..., Path]


class Handler(SimpleHTTPRequestHandler):
    """Like most small servers it does not know Range requests."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def served(make_set: MakeSet) -> Iterator[tuple[str, Path]]:
    """A data set of three shards behind http, and its directory."""
    directory = make_set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(directory)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", directory
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_remote_set_is_the_local_one(served: tuple[str, Path], tmp_path: Path) -> None:
    address, directory = served
    notes: list[tuple[int, int, str]] = []
    local = fetch_shards(address, tmp_path / "cache", progress=lambda *note: notes.append(note))
    assert open_shards(local).digest == open_shards(directory).digest
    assert notes[-1][:2] == (3, 3)
    assert sorted(path.name for path in local.iterdir()) == ["index.json", *(f"shard-00000{n}.tar" for n in range(3))]


def test_what_is_there_is_not_fetched_again(served: tuple[str, Path], tmp_path: Path) -> None:
    address, directory = served
    local = fetch_shards(address, tmp_path / "cache")
    (local / "shard-000001.tar").unlink()
    kept = (local / "shard-000000.tar").stat().st_mtime_ns
    (directory / "shard-000000.tar").unlink()
    assert fetch_shards(address, tmp_path / "cache") == local
    assert (local / "shard-000000.tar").stat().st_mtime_ns == kept
    assert len(open_shards(local)) == 24


def test_large_shards_need_no_server_that_sends_ranges(
    served: tuple[str, Path], make_set: MakeSet, tmp_path: Path
) -> None:
    """fsspec would read an http file in ranges of 5 MiB."""
    address, _ = served
    large = make_set(num=2, name="set/large", replace={"00000001.json": bytes(6 << 20)})
    local = fetch_shards(f"{address}/large", tmp_path / "cache")
    assert (local / "shard-000000.tar").stat().st_size > 6 << 20
    assert open_shards(local).digest == open_shards(large).digest


def test_a_server_that_falls_silent_is_given_up(
    served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, _ = served
    monkeypatch.setattr("pretrain.remote.SILENCE_S", 0.2)
    ended = threading.Event()

    def copyfile(handler: object, source: BinaryIO, target: BinaryIO) -> None:
        content = source.read()
        if content.startswith(b"{"):
            target.write(content)
        else:
            target.write(content[:1000])
            ended.wait()

    monkeypatch.setattr(Handler, "copyfile", copyfile)
    try:
        with pytest.raises(ShardError, match=r"^shard-00000\d\.tar: cannot be fetched from http.*Timeout"):
            fetch_shards(address, tmp_path / "cache")
    finally:
        ended.set()


def test_a_damaged_shard_of_the_cache_is_fetched_again(served: tuple[str, Path], tmp_path: Path) -> None:
    address, directory = served
    local = fetch_shards(address, tmp_path / "cache")
    content = (directory / "shard-000001.tar").read_bytes()
    for damaged in (content[:-512], b"\x00" + content[1:]):
        (local / "shard-000001.tar").write_bytes(damaged)
        fetch_shards(address, tmp_path / "cache")
        assert (local / "shard-000001.tar").read_bytes() == content


def test_half_downloads_of_a_killed_process_go_and_those_of_a_living_one_stay(
    served: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, directory = served
    local = fetch_shards(address, tmp_path / "cache")
    half = local / ".shard-000002.tar.1.tmp"
    half.write_bytes(b"half")
    (local / "shard-000002.tar").unlink()
    began, answer, sent = threading.Event(), threading.Event(), list[int]()

    def copyfile(handler: object, source: BinaryIO, target: BinaryIO) -> None:
        content = source.read()
        if not content.startswith(b"{"):
            sent.append(len(content))
            began.set()
            answer.wait()
        target.write(content)

    monkeypatch.setattr(Handler, "copyfile", copyfile)
    first, second = (threading.Thread(target=fetch_shards, args=(address, tmp_path / "cache")) for _ in range(2))
    first.start()
    assert began.wait(60)
    assert not half.exists()
    second.start()
    second.join(0.3)
    answer.set()
    first.join()
    second.join()
    assert len(sent) == 1
    assert (local / "shard-000002.tar").read_bytes() == (directory / "shard-000002.tar").read_bytes()
    assert not list(local.glob(".*.tmp"))


def test_a_remote_shard_that_is_missing_or_altered_is_named(served: tuple[str, Path], tmp_path: Path) -> None:
    address, directory = served
    (directory / "shard-000002.tar").unlink()
    with pytest.raises(ShardError, match=r"^shard-000002\.tar: .* is not there"):
        fetch_shards(address, tmp_path / "one")
    (directory / "shard-000002.tar").write_bytes(b"other")
    with pytest.raises(ShardError, match=r"^shard-000002\.tar: sha256"):
        fetch_shards(address, tmp_path / "two")
    assert not list(tmp_path.glob("two/*/shard-000002.tar"))
    local = fetch_shards(address, tmp_path / "three", on_bad_shard="skip")
    shards = open_shards(local, on_bad_shard="skip")
    assert len(shards) == 20
    assert len(shards.skipped) == 1
    local = fetch_shards(address, tmp_path / "four", leave_out=["shard-000002.tar"])
    assert open_shards(local, leave_out=["shard-000002.tar"]).digest == shards.digest


def test_an_address_without_a_set_is_refused(served: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = served
    with pytest.raises(FileNotFoundError, match=r"no index\.json"):
        fetch_shards(f"{address}/nothing", tmp_path)
    with pytest.raises(OSError, match=r"index\.json cannot be read"):
        fetch_shards("http://127.0.0.1:9", tmp_path)
    with pytest.raises(ValueError, match="allowed are a directory, http://"):
        fetch_shards("ftp://host/set", tmp_path)


def test_only_addresses_are_remote() -> None:
    assert is_remote("s3://bucket/set")
    assert not is_remote("/data/set")


def test_a_set_on_s3_is_the_local_one(make_set: MakeSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("s3fs", reason="reading s3:// needs s3fs")
    server_module = pytest.importorskip("moto.server", reason="the S3 server of this test is moto's")
    import fsspec

    directory = make_set()
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        fsspec.config.conf.clear()
        system = fsspec.filesystem("s3", skip_instance_cache=True)
        system.mkdir("bucket")
        for path in directory.iterdir():
            system.put_file(str(path), f"bucket/sets/{path.name}")
        local = fetch_shards("s3://bucket/sets", tmp_path / "cache")
        assert open_shards(local).digest == open_shards(directory).digest
    finally:
        server.stop()
