"""`tasks verify` says what is missing and which version it is; archives cannot escape; downloads are checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transfer.fetch
from transfer.archives import UnsafeArchive, unpack_archive
from transfer.catalogue import TASKS
from transfer.fetch import download_task, public_files, verify_task
from transfer.tasks import list_tasks, load_task

SIZES = {row.name: (row.train, row.test, row.classes) for row in TASKS}


def tree(folder: Path, classes: list[str], count: int) -> None:
    """Empty files: verifying counts, it does not decode."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.jpg").touch()


def test_a_complete_set_is_complete(tmp_path: Path) -> None:
    tree(tmp_path / "FMD/image", [f"material {k}" for k in range(10)], 100)
    found = verify_task("FMD", tmp_path)
    assert found.ok and (found.train, found.test, found.classes) == (700, 300, 10)
    task = load_task("FMD", root=tmp_path)
    assert "complete" in found.describe() and found.index_digest == task.digest()
    assert f"split: sha256 {task.digest()} of its index" in found.describe()


def test_missing_images_and_classes_are_counted(tmp_path: Path) -> None:
    tree(tmp_path / "FMD/image", [f"material {k}" for k in range(9)], 90)
    found = verify_task("FMD", tmp_path)
    assert not found.ok
    assert found.problems[0] == "558 + 252 images, published are 700 + 300" and "9 classes" in found.problems[1]
    assert "not the published set" in found.describe()


def test_another_version_is_named(tmp_path: Path) -> None:
    header = "image,gender,status,set\n"
    sizes = {"train": 6756, "dev": 845, "test": 845}
    rows = [
        f"{part}{i}.jpg,{('male', 'female')[i % 2]},noble,{part}\n" for part, size in sizes.items() for i in range(size)
    ]
    (tmp_path / "Kaokore/images_256").mkdir(parents=True)
    (tmp_path / "Kaokore/labels.csv").write_text(header + "".join(rows), encoding="utf-8")
    found = verify_task("Kaokore", tmp_path)
    assert any("version 1.2" in problem for problem in found.problems)
    assert any("6756 of 6756 listed training images are missing: images_256/" in p for p in found.problems)
    assert any("6 classes without training images" in problem for problem in found.problems)


def test_an_absent_set_and_a_misspelt_name(tmp_path: Path) -> None:
    found = verify_task("SVHN", tmp_path)
    assert not found.ok and "is missing" in found.problems[0] and "to get it" in found.problems[1]
    with pytest.raises(ValueError, match="did you mean EuroSAT"):
        verify_task("eurosat", tmp_path)
    with pytest.raises(ValueError, match="known: CropDisease"):
        verify_task("MNIST", tmp_path)


def test_the_table_lists_all_twenty_with_steps_and_licences() -> None:
    rows = list_tasks()
    assert len(rows) == 20 and all(row["steps"] and row["license"] and row["citation"] for row in rows)
    assert SIZES["Flowers102"] == (1020, 6149, 102) and SIZES["Omniglot"] == (9226, 3954, 659)


def test_gated_sets_get_their_steps_and_their_archives_unpacked(tmp_path: Path) -> None:
    text = download_task("AID", tmp_path)
    assert "captain-whu.github.io/AID" in text and str(tmp_path) in text and "tasks verify AID" in text
    (tmp_path / "AID").mkdir()
    with zipfile.ZipFile(tmp_path / "AID/AID.zip", "w") as file:
        file.writestr("AID/Beach/beach_1.jpg", b"x")
    assert "unpacked AID.zip" in download_task("AID", tmp_path)
    assert (tmp_path / "AID/AID/Beach/beach_1.jpg").read_bytes() == b"x"
    assert "unpacked" not in download_task("AID", tmp_path).split("\n")[0]
    assert "licence: no licence stated, research use; not verified)" in text
    assert "licence: CC BY 4.0; README of github.com/AlexOlsen/DeepWeeds)" in download_task("DeepWeeds", tmp_path)


def test_public_sets_are_those_that_torchvision_knows() -> None:
    public = [row.name for row in TASKS if row.public]
    assert sorted(public) == ["DTD", "EuroSAT", "Flowers102", "Omniglot", "SVHN", "USPS"]
    for name in public:
        files = public_files(name)
        assert files and all(url.startswith("http") and len(md5) == 32 and file for url, file, md5 in files)
    with pytest.raises(ValueError, match="not public"):
        public_files("AID")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Address and folder of a web server of this test's own."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def test_a_download_is_checked_unpacked_and_not_repeated(
    tmp_path: Path, server: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = server
    archive = zipped(folder / "images_evaluation.zip", {"images_evaluation/Avesta/character01/1.png": b"x"})
    good = hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest()
    table = [(f"{address}/{archive.name}", archive.name, good)]
    monkeypatch.setattr(transfer.fetch, "public_files", lambda name: table)
    calls: list[tuple[int, int, str]] = []
    text = download_task("Omniglot", tmp_path / "root", progress=lambda *call: calls.append(call))
    assert "unpacked images_evaluation.zip" in text and calls
    assert (tmp_path / "root/Omniglot/images_evaluation/Avesta/character01/1.png").exists()
    archive.write_bytes(b"altered")
    download_task("Omniglot", tmp_path / "root")  # complete: nothing is fetched again
    with pytest.raises(ValueError, match="another checksum"):
        download_task("Omniglot", tmp_path / "other")
    archive.unlink()
    with pytest.raises(OSError, match=r"images_evaluation\.zip: File not found"):
        download_task("Omniglot", tmp_path / "other")
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_only_the_web_is_fetched_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer.fetch, "public_files", lambda name: [("file:///etc/hostname", "x", "0" * 32)])
    with pytest.raises(ValueError, match="only http and https"):
        download_task("Omniglot", tmp_path)


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def tarred(path: Path, members: list[tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            file.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size if kind == tarfile.REGTYPE else 0, kind, link
    return info


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"])
def test_no_member_leaves_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnsafeArchive, match="points outside"):
        unpack_archive(zipped(tmp_path / "a.zip", {"good.txt": b"x", name: b"x"}), tmp_path / "to")
    with pytest.raises(UnsafeArchive, match="points outside"):
        unpack_archive(tarred(tmp_path / "a.tgz", [member("good.txt"), member(name)]), tmp_path / "to")
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a.tgz", [member("x", kind=kind, link="/etc/passwd")])
    with pytest.raises(UnsafeArchive, match="link or a device"):
        unpack_archive(archive, tmp_path / "to")


def test_a_link_inside_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(UnsafeArchive, match="link or a device"):
        unpack_archive(tmp_path / "a.zip", tmp_path / "to")


def test_a_link_that_was_in_the_folder_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to/door").symlink_to(tmp_path / "outside")
    with pytest.raises(UnsafeArchive, match="points outside"):
        unpack_archive(zipped(tmp_path / "a.zip", {"door/x.txt": b"x"}), tmp_path / "to")
    assert not list((tmp_path / "outside").iterdir())


def test_bombs_and_crowds_are_refused(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "bomb.zip", {"zeros": bytes(30 << 20)})
    with pytest.raises(UnsafeArchive, match="bytes unpacked"):
        unpack_archive(bomb, tmp_path / "to")
    with pytest.raises(UnsafeArchive, match="more than 2"):
        unpack_archive(zipped(tmp_path / "many.zip", {str(i): b"" for i in range(3)}), tmp_path / "to", max_members=2)
    with pytest.raises(UnsafeArchive, match="bytes unpacked"):
        unpack_archive(zipped(tmp_path / "big.zip", {"a": b"12345"}), tmp_path / "to", max_bytes=4)


def test_a_good_archive_is_unpacked_and_unpacking_again_writes_nothing(tmp_path: Path) -> None:
    file = io.BytesIO()
    Image.new("RGB", (4, 4)).save(file, "PNG")
    archive = zipped(tmp_path / "a.zip", {"a/b.png": file.getvalue(), "c.txt": b"", "ü/é.png": b"1"})
    calls: list[tuple[int, int, str]] = []
    assert unpack_archive(archive, tmp_path / "to", progress=lambda *call: calls.append(call)) == 3
    assert (tmp_path / "to/a/b.png").read_bytes() == file.getvalue() and calls[-1][:2] == (3, 3)
    assert unpack_archive(archive, tmp_path / "to") == 0
    assert sorted(p.name for p in (tmp_path / "to").iterdir()) == ["a", "c.txt", "ü"]


def test_a_truncated_or_foreign_file_is_no_archive(tmp_path: Path) -> None:
    archive = tarred(tmp_path / "a.tgz", [member(f"{i}.bin", 4096) for i in range(20)])
    archive.write_bytes(archive.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.tgz is damaged \(Compressed file ended before"):
        unpack_archive(archive, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())
    (tmp_path / "b.zip").write_bytes(b"text")
    with pytest.raises(ValueError, match="no readable zip or tar"):
        unpack_archive(tmp_path / "b.zip", tmp_path / "to")


def noise(suffix: str, folder: Path) -> Path:
    """Five members of bytes that do not compress, so that damage stays inside one of them."""
    path = folder / f"AID.tar{suffix}"
    with tarfile.open(path, f"w:{suffix.strip('.')}") as file:
        for i in range(5):
            data = np.random.default_rng(i).bytes(50_000)
            file.addfile(member(f"{i}.bin", len(data)), io.BytesIO(data))
    return path


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz"])
def test_a_damaged_archive_is_refused_and_not_remembered_as_unpacked(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "AID").mkdir()
    path = noise(suffix, tmp_path / "AID")
    whole = path.read_bytes()
    middle = len(whole) // 2
    path.write_bytes(whole[:middle] + bytes(200) + whole[middle + 200 :])
    with pytest.raises(ValueError, match=r"AID\.tar\S* is (damaged|no readable)"):
        download_task("AID", tmp_path)
    assert [found.name for found in (tmp_path / "AID").iterdir()] == [path.name]
    path.write_bytes(whole)
    assert f"unpacked {path.name}" in download_task("AID", tmp_path)
    assert (tmp_path / "AID/4.bin").stat().st_size == 50_000


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_zip_is_refused_and_not_remembered_as_unpacked(tmp_path: Path, method: int) -> None:
    path = tmp_path / "AID/AID.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("x.txt", "Beach Park " * 100)
    whole = path.read_bytes()
    start = 30 + len("x.txt") + (9 if method == zipfile.ZIP_LZMA else 0)  # after LZMA's properties
    path.write_bytes(whole[:start] + b"\xff" * 12 + whole[start + 12 :])
    with pytest.raises(ValueError, match=r"AID\.zip( is no readable zip or tar|: x\.txt cannot be read) \("):
        download_task("AID", tmp_path)
    assert [found.name for found in path.parent.iterdir()] == ["AID.zip"]
    path.write_bytes(whole)
    assert "unpacked AID.zip" in download_task("AID", tmp_path)


@pytest.mark.parametrize(
    ("offset", "value", "message"),
    [
        (8, 0x1, r"a\.zip: y\.txt is encrypted; unpack it with its password"),
        (8, 0x20, r"a\.zip is no readable zip or tar \(compressed patched data"),
        (10, 9, r"a\.zip: y\.txt is compressed by method 9, which Python does not read"),
    ],
    ids=["encrypted", "patched", "deflate64"],
)
def test_a_zip_that_needs_another_program_is_named(tmp_path: Path, offset: int, value: int, message: str) -> None:
    path = zipped(tmp_path / "a.zip", {"x.txt": b"x", "y.txt": b"y"})
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + offset] = value  # flags and method in the directory's last entry
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        unpack_archive(path, tmp_path / "to")
    assert not (tmp_path / "to/y.txt").exists()


@pytest.mark.parametrize("damaged", [b"damaged header!!", b""], ids=["header", "end"])
def test_a_tar_that_stops_before_its_end_mark_is_refused(tmp_path: Path, damaged: bytes) -> None:
    """tarfile takes a header that is none, or no header at all, for the end of the archive."""
    path = noise("", tmp_path)
    with tarfile.open(path) as tar:
        third = tar.getmembers()[3].offset
    content = path.read_bytes()
    path.write_bytes(content[:third] + damaged + (content[third + len(damaged) :] if damaged else b""))
    with pytest.raises(ValueError, match="damaged or truncated: its end mark is missing"):
        unpack_archive(path, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_what_follows_the_end_of_a_tar_is_read_within_limits(tmp_path: Path) -> None:
    path = tarred(tmp_path / "a.tgz", [member("x")])
    path.write_bytes(path.read_bytes() + gzip.compress(bytes(30 << 20)))
    with pytest.raises(UnsafeArchive, match="bytes follow its end mark"):
        unpack_archive(path, tmp_path / "to")


def test_a_member_that_fails_leaves_no_partial_file(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.bin", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"012345678X"))
    with pytest.raises(ValueError, match="Bad CRC-32"):
        unpack_archive(path, tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())
