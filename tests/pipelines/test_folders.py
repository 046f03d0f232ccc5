"""Digests of the user's folders: by content, and cheap the second time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.folders import digest_folder

LONG_AGO_S = 1_000_000_000


def make_folder(root: Path) -> Path:
    for name, text in (("train/cat/1.png", "a"), ("train/dog/2.png", "b"), ("test/cat/3.png", "c")):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    return root


def test_equal_contents_have_equal_digests_wherever_they_lie(tmp_path: Path) -> None:
    one, two = make_folder(tmp_path / "one"), make_folder(tmp_path / "two")
    assert digest_folder(one) == digest_folder(two)


def test_contents_and_names_count(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "one")
    before = digest_folder(folder)
    (folder / "train/cat/1.png").write_text("z")
    changed = digest_folder(folder)
    (folder / "train/cat/1.png").rename(folder / "train/cat/9.png")
    assert len({before, changed, digest_folder(folder)}) == 3


def test_the_index_spares_reading_and_notices_a_change(tmp_path: Path) -> None:
    folder, cache = make_folder(tmp_path / "one"), tmp_path / "cache"
    before = digest_folder(folder, cache)
    path = folder / "train/cat/1.png"
    path.write_text("z")
    os.utime(path, (LONG_AGO_S, LONG_AGO_S))
    # same size and time as before: the index answers, which shows that nothing was read
    assert digest_folder(folder, cache) == before
    os.utime(path, (LONG_AGO_S + 1, LONG_AGO_S + 1))
    assert digest_folder(folder, cache) != before


def test_a_file_changed_just_now_is_not_trusted_to_the_index(tmp_path: Path) -> None:
    folder, cache = make_folder(tmp_path / "one"), tmp_path / "cache"
    path = folder / "train/cat/1.png"
    path.write_text("x")
    now = path.stat().st_mtime_ns
    before = digest_folder(folder, cache)
    path.write_text("y")
    os.utime(path, ns=(now, now))
    assert digest_folder(folder, cache) != before


def test_a_broken_index_is_made_anew(tmp_path: Path) -> None:
    folder, cache = make_folder(tmp_path / "one"), tmp_path / "cache"
    before = digest_folder(folder, cache)
    (index,) = cache.iterdir()
    index.write_text("{broken")
    assert digest_folder(folder, cache) == before


def test_one_file_has_a_digest_too(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    (tmp_path / "b").write_text("1")
    assert digest_folder(tmp_path / "a") == digest_folder(tmp_path / "b")


def test_what_is_no_regular_file_is_left_out_as_the_readers_do(tmp_path: Path) -> None:
    """Reading a FIFO without a writer never returns, nor does an endless device."""
    folder = make_folder(tmp_path / "one")
    before = digest_folder(folder)
    os.mkfifo(folder / "train/cat/pipe.png")
    (folder / "train/cat/endless.png").symlink_to("/dev/zero")
    (folder / "train/cat/gone.png").symlink_to(tmp_path / "absent")
    assert digest_folder(folder) == before
    (tmp_path / "more.png").write_text("d")
    (folder / "train/cat/more.png").symlink_to(tmp_path / "more.png")
    assert digest_folder(folder) != before
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe holds no file"):
        digest_folder(tmp_path / "pipe")


def test_nothing_and_empty_folders_and_loops_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="absent does not exist"):
        digest_folder(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no file"):
        digest_folder(tmp_path / "empty")
    folder = make_folder(tmp_path / "one")
    (folder / "loop").symlink_to(folder)
    with pytest.raises(ValueError, match="reached twice"):
        digest_folder(folder)
