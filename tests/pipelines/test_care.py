"""Listing, collecting and verifying the store; what a run needs stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipelines.artifact import Key, Store
from pipelines.care import RunRecord, collect, forget, run_name, runs, usage, verify
from pipelines.commands import store as commands


def make(store: Store, stage: str, number: int, inputs: dict[str, str | list[str]] | None = None) -> str:
    def write(out: Path) -> int:
        (out / "value.txt").write_text(str(number) * 10)
        return number

    return store.produce(Key.of(stage, "1", {"number": number}, inputs), write).digest


def test_usage_counts_by_stage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    make(store, "a", 1)
    make(store, "a", 2)
    make(store, "b", 3)
    assert [(row.stage, row.artifacts, row.bytes) for row in usage(store)] == [("a", 2, 20), ("b", 1, 10)]


def test_collecting_keeps_what_runs_need_with_all_inputs(tmp_path: Path) -> None:
    store = Store(tmp_path)
    shard = make(store, "shard", 1)
    data = make(store, "data", 2, {"shards": [shard]})
    backbone = make(store, "train", 3, {"data": data})
    features = make(store, "features", 4, {"backbone": f"{backbone}/backbone.safetensors", "task": "text:digits"})
    loose = make(store, "shard", 5)
    RunRecord(store, "demo").add(features)
    assert collect(store, dry_run=True).artifacts == 1
    assert store.has(loose)
    collected = collect(store)
    assert (collected.artifacts, collected.bytes) == (1, 10)
    assert not store.has(loose)
    assert all(store.has(digest) for digest in (shard, data, backbone, features))
    forget(store, "demo")
    assert collect(store).artifacts == 4
    assert list(store.artifacts()) == []


def test_collecting_spares_partial_directories_in_work(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for digest in ("busy", "left", "needed"):
        store.partial(digest).mkdir(parents=True)
        (store.partial(digest) / "x").write_text("12345")
    RunRecord(store, "demo").add("needed")
    lock = store.try_lock("busy")
    assert lock is not None
    try:
        collected = collect(store)
    finally:
        os.close(lock)
    assert (collected.partials, collected.bytes) == (1, 5)
    assert store.partial("busy").is_dir()
    assert store.partial("needed").is_dir()
    assert not store.partial("left").exists()


def test_a_finished_run_needs_only_what_it_used(tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = RunRecord(store, "demo")
    for digest in ("a", "b"):
        first.add(digest)
    second = RunRecord(store, "demo")
    second.add("b")
    second.add("c")
    assert runs(store) == {"demo": {"a", "b", "c"}}
    second.finish()
    assert runs(store) == {"demo": {"b", "c"}}


def test_a_finished_run_leaves_what_another_of_its_name_has_registered_meanwhile(tmp_path: Path) -> None:
    store = Store(tmp_path)
    RunRecord(store, "demo").add("old")
    first, second = RunRecord(store, "demo"), RunRecord(store, "demo")
    first.add("a")
    second.add("b")
    first.finish()
    assert runs(store) == {"demo": {"a", "b"}}
    first.add("c")
    second.finish()
    assert runs(store) == {"demo": {"a", "b", "c"}}


def test_runs_are_named_after_their_directory_and_told_apart_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "my results, 50 %" / "out"
    place.mkdir(parents=True)
    names = [run_name("small", Path(text)) for text in ("out", "a/out", "my results, 50 %", ".", "/", "x" * 200)]
    assert len(set(names)) == 6
    for name in names:
        RunRecord(Store(tmp_path / "store"), name).add("a")  # it is a run's name
    assert set(runs(Store(tmp_path / "store"))) == set(names)
    assert [name[:-8] for name in names[:3]] == ["small-out-", "small-out-", "small-my-results-50-"]
    monkeypatch.chdir(place)
    (tmp_path / "link").symlink_to(place)
    here = {run_name("small", path) for path in (Path(), Path("../out"), place, tmp_path / "link")}
    assert len(here) == 1
    assert here != {run_name("paper", place)}


def test_a_record_cut_off_by_a_kill_still_reads(tmp_path: Path) -> None:
    store = Store(tmp_path)
    RunRecord(store, "demo").add("a")
    with (tmp_path / "runs/demo.jsonl").open("a") as file:
        file.write('{"dig')
    assert runs(store) == {"demo": {"a"}}
    again = RunRecord(store, "demo")
    again.add("b")
    assert runs(store) == {"demo": {"a", "b"}}


@pytest.mark.parametrize("name", ["", "../up", "a/b", ".hidden", "x" * 101])
def test_a_run_name_is_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="run name"):
        RunRecord(Store(tmp_path), name)


@pytest.mark.parametrize("name", ["other", "../kept", ""])
def test_forgetting_an_unknown_run_names_the_known_ones(tmp_path: Path, name: str) -> None:
    store = Store(tmp_path)
    for known in ("demo", "small"):
        RunRecord(store, known).add("a")
    (tmp_path / "kept.jsonl").touch()
    with pytest.raises(FileNotFoundError, match=rf"no run '{name}' in .*; there are: demo, small"):
        forget(store, name)
    assert (tmp_path / "kept.jsonl").exists()
    assert set(runs(store)) == {"demo", "small"}


def test_the_command_forgets_one_run_so_that_gc_frees_what_it_alone_needs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    common, own = make(store, "a", 1), make(store, "a", 2)
    for name, digests in (("kept", [common]), ("unwanted", [common, own])):
        for digest in digests:
            RunRecord(store, name).add(digest)
    assert commands.gc(tmp_path) == 0
    assert capsys.readouterr().out.startswith("removed 0 artifacts")
    assert commands.forget(tmp_path, "unwanted") == 0
    assert capsys.readouterr().out.startswith("forgot unwanted;")
    assert commands.gc(tmp_path) == 0
    assert capsys.readouterr().out.startswith("removed 1 artifacts")
    assert store.has(common) and not store.has(own)


def test_verifying_names_each_kind_of_damage(tmp_path: Path) -> None:
    store = Store(tmp_path)
    changed, missing, extra, unreadable, good = (store.path(make(store, "a", n)) for n in range(5))
    assert verify(store) == []
    (changed / "value.txt").write_text("0000000009")
    (missing / "value.txt").unlink()
    (extra / "more.txt").touch()
    (unreadable / "artifact.json").write_text("{")
    seen: list[int] = []
    problems = "\n".join(verify(store, lambda done, total, note: seen.append(done)))
    assert seen == [1, 2, 3, 4, 5]
    assert f"{changed}: value.txt was changed" in problems
    assert f"{missing}: value.txt is missing" in problems
    assert f"{extra}: more.txt does not belong there" in problems
    assert f"{unreadable}: artifact.json cannot be read" in problems
    assert str(good) not in problems
