"""The artifact store: complete or absent, made once, resumed after a kill, never blocked by the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.artifact import Key, Store, StoreBusy
from sim.params import SimParams

KEY = Key.of("render", "1", SimParams(), {"data": "abc", "parts": ["d", "e"]})


def write_value(out: Path) -> dict[str, int]:
    (out / "sub").mkdir(exist_ok=True)
    (out / "sub" / "value.txt").write_text("7")
    return {"value": 7}


def never(out: Path) -> None:
    raise AssertionError("made again")


@pytest.mark.parametrize(
    "other",
    [
        Key.of("assemble", "1", SimParams(), {"data": "abc", "parts": ["d", "e"]}),
        Key.of("render", "2", SimParams(), {"data": "abc", "parts": ["d", "e"]}),
        Key.of("render", "1", SimParams(background="random"), {"data": "abc", "parts": ["d", "e"]}),
        Key.of("render", "1", SimParams(), {"data": "abd", "parts": ["d", "e"]}),
        Key.of("render", "1", SimParams(), {"data": "abc", "parts": ["e", "d"]}),
        Key.of("render", "1", SimParams(), {"set": "abc", "parts": ["d", "e"]}),
    ],
    ids=["stage", "version", "config", "input", "order of a list", "name of an input"],
)
def test_every_part_of_a_key_changes_its_digest(other: Key) -> None:
    assert other.digest != KEY.digest
    assert Key.of("render", "1", SimParams(), {"parts": ("d", "e"), "data": "abc"}).digest == KEY.digest


def test_an_artifact_is_made_once_and_described(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has(KEY.digest)
    made = store.produce(KEY, write_value, note={"host": "here"})
    assert made.path == store.path(KEY.digest)
    assert made.summary == {"value": 7}
    assert made.metadata["inputs"] == {"data": "abc", "parts": ["d", "e"]}
    assert made.metadata["config"]["background"] == "fixed"
    assert made.metadata["host"] == "here"
    assert list(made.metadata["files"]) == ["sub/value.txt"]
    assert made.metadata["bytes"] == 1
    assert store.produce(KEY, never).summary == {"value": 7}
    assert [artifact.digest for artifact in store.artifacts()] == [KEY.digest]
    assert list((tmp_path / "partial").iterdir()) == []


def test_a_failed_attempt_leaves_nothing_final_and_the_next_resumes(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(out: Path) -> None:
        (out / "half.txt").write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.produce(KEY, fail)
    assert not store.has(KEY.digest)

    def resume(out: Path) -> str:
        return (out / "half.txt").read_text()

    assert store.produce(KEY, resume).summary == "half"


def test_a_link_is_refused(tmp_path: Path) -> None:
    def link(out: Path) -> None:
        (out / "away").symlink_to("/etc/hostname")

    with pytest.raises(ValueError, match="left away, which is no plain file"):
        Store(tmp_path).produce(KEY, link)


def test_if_another_run_was_first_mine_is_dropped(tmp_path: Path) -> None:
    """As on a file system whose locks do not reach other machines."""
    store = Store(tmp_path)

    def overtaken(out: Path) -> str:
        final = store.path(KEY.digest)
        final.mkdir(parents=True)
        (final / "artifact.json").write_text(json.dumps({"summary": "theirs", "digest": KEY.digest}))
        return "mine"

    assert store.produce(KEY, overtaken).summary == "theirs"
    assert not store.partial(KEY.digest).exists()


def test_two_threads_make_one_artifact(tmp_path: Path) -> None:
    made: list[int] = []

    def slow(out: Path) -> int:
        made.append(1)
        time.sleep(0.3)
        return len(made)

    waits: list[tuple[str, float]] = []
    threads = [
        threading.Thread(target=lambda: Store(tmp_path).produce(KEY, slow, on_wait=lambda *w: waits.append(w)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert waits and f"process {os.getpid()}" in waits[-1][0]
    assert not list((tmp_path / "partial").glob("*.lock"))


def test_waiting_is_bounded_and_names_the_holder(tmp_path: Path) -> None:
    store = Store(tmp_path, lock_limit_s=0.2)

    def ask_again(out: Path) -> None:
        with pytest.raises(StoreBusy, match=rf"locked by .* process {os.getpid()} for"):
            store.produce(KEY, never)

    store.produce(KEY, ask_again)


HOLDER = """
import sys, time
from pathlib import Path
from pipelines.artifact import Key, Store
from sim.params import SimParams
def hold(out):
    (out / "kept.txt").write_text("kept")
    print("held", flush=True)
    time.sleep(600)
Store(sys.argv[1]).produce(Key.of("render", "1", SimParams(), {"data": "abc", "parts": ["d", "e"]}), hold)
"""


def test_a_killed_holder_frees_its_lock_and_leaves_its_work(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        store = Store(tmp_path)
        assert store.try_lock(KEY.digest) is None
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert store.produce(KEY, lambda out: (out / "kept.txt").read_text()).summary == "kept"


RACER = """
import os, sys
from pipelines.artifact import Key, Store
for number in range(40):
    Store(sys.argv[1]).produce(Key.of("count", "1", {"number": number}), lambda out: os.getpid())
"""


def test_processes_in_a_race_lose_and_double_nothing(tmp_path: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACER, str(tmp_path)]) for _ in range(3)]
    assert [racer.wait() for racer in racers] == [0, 0, 0]
    assert len(list(Store(tmp_path).artifacts())) == 40
    assert not list((tmp_path / "partial").iterdir())


def test_a_read_only_store_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "partial").write_text("no directory can be made here")
    with pytest.raises(OSError, match="partial"):
        Store(tmp_path).produce(KEY, write_value)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"no artifact {'a' * 12} in the store"):
        Store(tmp_path).load("a" * 64)


@pytest.mark.parametrize("config", [{"rate": float("inf")}, {"path": Path("x")}])
def test_configs_that_json_cannot_hold_have_no_key(config: Any) -> None:
    with pytest.raises(ValueError, match="config holds"):
        Key.of("render", "1", config)
