"""Stages in child processes: threads, logs, errors, crashes, hangs, and an end with the parent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from pipelines.artifact import Store
from pipelines.child import ChildPool, visible_gpus
from pipelines.configs import canonical, to_json
from pipelines.job import Job, Outcome, describe


@pytest.fixture
def pool() -> Iterator[ChildPool]:
    with_children = ChildPool()
    yield with_children
    with_children.close()


def job(trivial: ModuleType, tmp_path: Path, stage: str, config: Any, **changes: Any) -> Job:
    row = trivial.STAGES[stage]
    values = {
        "stage": stage,
        "version": row.version(),
        "function": row.function,
        "kind": row.kind,
        "config": canonical(config),
        "store": str(tmp_path / "store"),
        "log": str(tmp_path / "logs" / f"{stage}.log"),
        "silence_limit_s": row.silence_limit_s,
    }
    return Job(**{**values, **changes})


def run(pool: ChildPool, work: Job) -> tuple[Outcome, list[dict[str, Any]]]:
    messages: list[dict[str, Any]] = []
    return pool.run(work, messages.append), messages


def summary(work: Job) -> Any:
    return Store(work.store).load(work.key.digest).summary


def test_a_child_makes_the_artifact_with_its_own_threads(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    work = job(trivial, tmp_path, "number", trivial.NumberConfig(3), cores=2)
    outcome, messages = run(pool, work)
    assert (outcome.status, outcome.error) == ("done", None)
    assert outcome.rss_bytes > 1 << 20
    assert summary(work)["pid"] != os.getpid()
    assert (summary(work)["threads"], summary(work)["omp"]) == (2, "2")
    assert messages[-1] | {"digest": ""} == {"stage": "number", "digest": "", "done": 1, "total": 1, "note": "counting"}


def test_a_child_serves_job_after_job_of_one_kind(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    works = [job(trivial, tmp_path, "number", trivial.NumberConfig(value)) for value in range(3)]
    other = job(trivial, tmp_path, "number", trivial.NumberConfig(9), cores=2)
    assert all(run(pool, work)[0].status == "done" for work in [*works, other])
    assert len({summary(work)["pid"] for work in works}) == 1
    assert summary(other)["pid"] != summary(works[0])["pid"]


def test_a_cheap_stage_runs_in_this_process(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    work = job(trivial, tmp_path, "inline", trivial.NumberConfig(3))
    assert run(pool, work)[0].status == "done"
    assert summary(work)["pid"] == os.getpid()


def test_deliberate_errors_come_as_one_line_and_the_traceback_is_logged(
    trivial: ModuleType, tmp_path: Path, pool: ChildPool
) -> None:
    work = job(trivial, tmp_path, "faulty", trivial.FaultConfig("raise"))
    outcome, _ = run(pool, work)
    assert (outcome.status, outcome.error) == ("failed", "the value is 3; allowed: 4")
    log = Path(work.log).read_text()
    assert "about to be raise" in log and "Traceback" in log
    assert not Store(work.store).has(work.key.digest)


def test_a_bug_is_named_with_its_type(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    outcome, _ = run(pool, job(trivial, tmp_path, "faulty", trivial.FaultConfig("bug")))
    assert (outcome.status, outcome.error) == ("failed", "KeyError: 'absent'")
    assert describe(OSError(28, "No space left on device", "x")) == "[Errno 28] No space left on device: 'x'"
    assert describe(RuntimeError()) == "RuntimeError: "


def test_a_child_that_dies_is_a_crash_and_the_next_one_resumes(
    trivial: ModuleType, tmp_path: Path, pool: ChildPool
) -> None:
    work = job(trivial, tmp_path, "faulty", trivial.FaultConfig("die once", str(tmp_path / "marker")))
    outcome, _ = run(pool, work)
    assert (outcome.status, outcome.error) == ("crashed", "killed by SIGKILL")
    assert run(pool, work)[0].status == "done"
    assert summary(work) == {"kept": True}


def test_a_stage_that_lost_a_process_of_its_own_is_a_crash_too(
    trivial: ModuleType, tmp_path: Path, pool: ChildPool
) -> None:
    outcome, _ = run(pool, job(trivial, tmp_path, "faulty", trivial.FaultConfig("lose a process"), kind="python"))
    assert (outcome.status, outcome.error) == ("crashed", "one of two died")


def test_a_silent_child_is_killed(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    work = job(trivial, tmp_path, "faulty", trivial.FaultConfig("hang"), silence_limit_s=1.0)
    outcome, _ = run(pool, work)
    assert (outcome.status, outcome.error) == ("crashed", "no sign of progress for 1 s")


@pytest.mark.parametrize("stage", ["patient", "number"])
def test_sigterm_stops_a_stage_with_status_75(trivial: ModuleType, tmp_path: Path, pool: ChildPool, stage: str) -> None:
    """One that polls `stop` saves first; another is interrupted where it is."""
    config = trivial.TextConfig() if stage == "patient" else trivial.NumberConfig(1, 60)
    work = job(trivial, tmp_path, stage, config)
    outcomes: list[Outcome] = []
    begun = threading.Event()
    thread = threading.Thread(target=lambda: outcomes.append(pool.run(work, lambda message: begun.set())))
    thread.start()
    assert begun.wait(20)
    pool.stop()
    thread.join(20)
    assert [outcome.status for outcome in outcomes] == ["stopped"]
    saved = "saved.txt" if stage == "patient" else "step-0.txt"
    assert (Store(work.store).partial(work.key.digest) / saved).exists()
    assert pool.run(work, lambda message: None).status == "stopped"


PARENT = """
import sys
from pathlib import Path
from pipelines.child import ChildPool
from pipelines.configs import from_json
from pipelines.job import Job
import json
ChildPool().run(from_json(Job, json.loads(sys.argv[1])), lambda message: print("begun", flush=True))
"""


def test_a_child_ends_with_its_parent(trivial: ModuleType, tmp_path: Path) -> None:
    work = job(trivial, tmp_path, "number", trivial.NumberConfig(1, 60))
    command = [sys.executable, "-c", PARENT, json.dumps(to_json(work))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == b"begun\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) == 1
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert (len(gone), alive) == (1, [])


@pytest.mark.parametrize(
    ("visible", "names"),
    [("-1", []), ("", []), ("NoDevFiles", []), ("2", ["2"]), ("3, GPU-5a", ["3", "GPU-5a"]), ("1,-1,0", ["1"])],
)
def test_gpus_are_those_that_cuda_would_see(visible: str, names: list[str]) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": visible}) == names


def test_a_worn_child_is_replaced(
    trivial: ModuleType, tmp_path: Path, pool: ChildPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.child.MAX_JOBS", 1)
    works = [job(trivial, tmp_path, "number", trivial.NumberConfig(value)) for value in range(2)]
    assert all(run(pool, work)[0].status == "done" for work in works)
    assert len({summary(work)["pid"] for work in works}) == 2


def test_a_job_that_waits_for_a_lock_says_so(trivial: ModuleType, tmp_path: Path, pool: ChildPool) -> None:
    work = job(trivial, tmp_path, "inline", trivial.NumberConfig(3))
    store = Store(work.store)
    lock = store.try_lock(work.key.digest)
    assert lock is not None
    threading.Timer(0.5, lambda: os.close(lock)).start()
    started = time.monotonic()
    outcome, messages = run(pool, work)
    assert outcome.status == "done"
    assert time.monotonic() - started >= 0.4
    assert "waiting 0 s for another process" in messages[0]["note"]
