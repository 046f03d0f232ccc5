"""Unpacking archives from the internet: no member leaves the folder, no bomb fills the disk."""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import IO

MAX_BYTES = 200 << 30
MAX_MEMBERS = 2_000_000
MAX_RATIO = 200
"""Unpacked size over archive size; pictures hardly compress, and a bomb's ratio is in the thousands."""
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
ENCRYPTED = 0x1
"""Bit of a zip member's flags."""
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
"""What Python unpacks; not Deflate64 (9), which Windows uses beyond 2 GB."""

Member = tuple[str, int, Callable[[], IO[bytes]]]


class UnsafeArchive(ValueError):
    """An archive whose members point outside, or that grows beyond the limits."""


def unpack_archive(
    archive: Path,
    folder: Path,
    *,
    max_bytes: int = MAX_BYTES,
    max_members: int = MAX_MEMBERS,
    progress: Callable[[int, int, str], None] | None = None,
) -> int:
    """Unpack a zip or tar into `folder`; returns the number of files written.

    Everything is checked before the first byte is written. Links, devices and absolute or `..` paths are refused, as
    are more than `max_bytes` or `max_members`, or a suspicious ratio. A tar is read to its end, so that damage shows in
    the checksum of its compression, or in the missing end mark. Files appear under a temporary name first, and a
    member that turns out longer than it declared is cut off with an error. Files that exist with the same size stay.

    Raises:
        UnsafeArchive: as above.
        ValueError: neither a zip nor a tar, a damaged one, or a zip that needs a password or another program.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                return _write_members(archive, folder, _zip_members(archive, zipped), max_bytes, max_members, progress)
        with tarfile.open(archive) as tarred:
            members = _tar_members(archive, tarred, _size_limit(archive, max_bytes))
            return _write_members(archive, folder, members, max_bytes, max_members, progress)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError) as error:
        raise ValueError(f"{archive} is no readable zip or tar ({error})") from error


def _zip_members(archive: Path, zipped: zipfile.ZipFile) -> list[Member]:
    members: list[Member] = []
    for info in zipped.infolist():
        if info.is_dir():
            continue
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000):
            raise UnsafeArchive(f"{archive}: {info.filename} is a link or a device")
        if info.flag_bits & ENCRYPTED:
            raise ValueError(f"{archive}: {info.filename} is encrypted; unpack it with its password by another program")
        if info.compress_type not in ZIP_METHODS:
            raise ValueError(
                f"{archive}: {info.filename} is compressed by method {info.compress_type}, which Python does not read; "
                "unpack it by another program"
            )
        members.append((info.filename, info.file_size, lambda info=info: zipped.open(info)))  # type: ignore[misc]
    return members


def _tar_members(archive: Path, tarred: tarfile.TarFile, limit: int) -> list[Member]:
    members: list[Member] = []
    try:
        infos = tarred.getmembers()
        _read_to_end(archive, tarred, limit)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"{archive} is damaged ({error})") from error
    for info in infos:
        if info.isdir():
            continue
        if not info.isreg():
            raise UnsafeArchive(f"{archive}: {info.name} is a link or a device")

        def read(info: tarfile.TarInfo = info) -> IO[bytes]:
            stream = tarred.extractfile(info)
            assert stream is not None, "regular members have data"
            return stream

        members.append((info.name, info.size, read))
    return members


def _read_to_end(archive: Path, tarred: tarfile.TarFile, limit: int) -> None:
    """Require the end mark, for which tarfile takes any damaged header, then have the stream's checksum checked."""
    stream = tarred.fileobj
    assert stream is not None, "open for reading"
    stream.seek(tarred.offset)  # the first block that was no member
    mark = stream.read(2 * tarfile.BLOCKSIZE)
    if len(mark) < 2 * tarfile.BLOCKSIZE or mark.strip(b"\0"):
        raise ValueError(f"{archive} is damaged or truncated: its end mark is missing")
    rest = 0
    while block := stream.read(1 << 20):
        rest += len(block)
        if rest > limit:
            raise UnsafeArchive(f"{archive}: more than {limit} bytes follow its end mark")


def _size_limit(archive: Path, max_bytes: int) -> int:
    return min(max_bytes, max(1 << 20, MAX_RATIO * archive.stat().st_size))


def _safe_path(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise UnsafeArchive(f"{archive}: {name!r} points outside the folder")
    return path


def _write_members(
    archive: Path,
    folder: Path,
    members: list[Member],
    max_bytes: int,
    max_members: int,
    progress: Callable[[int, int, str], None] | None,
) -> int:
    total = sum(size for _, size, _ in members)
    if len(members) > max_members:
        raise UnsafeArchive(f"{archive}: {len(members)} members, more than {max_members}")
    limit = _size_limit(archive, max_bytes)
    if total > limit:
        raise UnsafeArchive(f"{archive}: {total} bytes unpacked, more than {limit}")
    free = shutil.disk_usage(folder).free
    if total > free:
        raise OSError(f"{archive}: needs {total} bytes, {free} are free in {folder}")
    paths = [_safe_path(archive, name) for name, _, _ in members]
    written = 0
    for number, (path, (name, size, read)) in enumerate(zip(paths, members, strict=True), start=1):
        target = folder.joinpath(*path.parts)
        if not target.resolve().is_relative_to(folder.resolve()):  # a link that was in the folder before
            raise UnsafeArchive(f"{archive}: {name!r} points outside the folder")
        if not (target.is_file() and target.stat().st_size == size):
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.with_name(f".{target.name}.part")
            try:
                with read() as stream, temporary.open("wb") as file:
                    _copy(stream, file, size, f"{archive}: {name}")
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
            written += 1
        if progress is not None and (number % 500 == 0 or number == len(members)):
            progress(number, len(members), f"unpacking {archive.name}")
    return written


def _copy(stream: IO[bytes], file: IO[bytes], size: int, name: str) -> None:
    left = size
    while block := _read(stream, min(1 << 20, left + 1), name):
        left -= len(block)
        if left < 0:
            raise UnsafeArchive(f"{name} is longer than the archive says")
        file.write(block)
    if left:
        raise ValueError(f"{name} is {left} bytes shorter than the archive says")


def _read(stream: IO[bytes], size: int, name: str) -> bytes:
    try:
        return stream.read(size)
    except OSError as error:  # of the disk, or what bzip2 says of a broken stream
        raise ValueError(f"{name} cannot be read ({error})") from error
