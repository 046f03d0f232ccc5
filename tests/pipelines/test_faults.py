"""Faults of the machine: a full disk, a directory that turns read-only, a lost scheduler; nothing lost or doubled."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from pipelines.artifact import Store
from pipelines.care import verify
from pipelines.cluster import ClusterLost, open_cluster, worker_resources
from pipelines.flow import Flow, InProcess, StageFailed
from pipelines.place import TlsFiles


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system of one's own needs root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_named_and_the_run_completes_once_there_is_space(
    small_disk: Path, tmp_path: Path, trivial: ModuleType
) -> None:
    store = Store(small_disk / "store")
    filler = small_disk / "filler"
    with InProcess() as cluster:
        with Flow(store, cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow:
            first = flow.submit("inline", trivial.NumberConfig(1))
            flow.result(first)
            filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * 4096))
            second = flow.submit("inline", trivial.NumberConfig(2, 0.1))
            total = flow.submit("total", trivial.SumConfig(), {"numbers": [first, second]})
            missing = flow.drain()
        assert len(missing) == 2
        assert "No space left on device" in missing[0]
        assert [artifact.digest for artifact in store.artifacts()] == [first.digest]
        filler.unlink()
        with Flow(store, cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow:
            numbers = [
                flow.submit("inline", trivial.NumberConfig(1)),
                flow.submit("inline", trivial.NumberConfig(2, 0.1)),
            ]
            assert flow.result(flow.submit("total", trivial.SumConfig(), {"numbers": numbers})) is not None
            assert flow.result(total).summary == {"total": 3}
    assert verify(store) == []
    assert not list((store.root / "partial").iterdir())


def test_a_store_that_turns_read_only_is_named_and_goes_on_later(
    small_disk: Path, tmp_path: Path, trivial: ModuleType
) -> None:
    store = Store(small_disk / "store")
    with InProcess() as cluster:
        with Flow(store, cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow:
            flow.result(flow.submit("inline", trivial.NumberConfig(1)))
            late = flow.submit("inline", trivial.NumberConfig(2))
            subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
            with pytest.raises(StageFailed, match="Read-only file system"):
                flow.result(late)
            subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        with Flow(store, cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow:
            flow.result(flow.submit("inline", trivial.NumberConfig(2)))
    assert len(list(store.artifacts())) == 2
    assert verify(store) == []


@pytest.fixture
def scheduler(tmp_path: Path, trivial: ModuleType) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A scheduler and a worker that other people run, as processes of their own."""
    port_file = tmp_path / "scheduler.json"
    own = [
        sys.executable,
        "-m",
        "distributed.cli.dask_scheduler",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--no-dashboard",
    ]
    # the logs go to a file: a full pipe would stop them
    with (tmp_path / "dask.log").open("wb") as log:
        first = subprocess.Popen([*own, "--scheduler-file", str(port_file)], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert time.monotonic() < deadline, "no scheduler within 60 s"
            time.sleep(0.1)
        worker_command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(port_file)]
        worker_command += [
            "--nthreads",
            "2",
            "--resources",
            worker_resources(2, 0),
            "--no-dashboard",
            "--host",
            "127.0.0.1",
        ]
        worker = subprocess.Popen(worker_command, stdout=log, stderr=log)
    yield first, json.loads(port_file.read_text())["address"]
    family = [child for process in (first, worker) for child in _family(process.pid)]
    for process in (first, worker):
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert psutil.wait_procs(family, timeout=20)[1] == []


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@pytest.mark.slow
def test_a_run_on_an_existing_scheduler_survives_its_loss_by_running_again(
    tmp_path: Path, trivial: ModuleType, scheduler: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, address = scheduler
    store = Store(tmp_path / "store")
    with (
        pytest.raises(ClusterLost, match="the Dask scheduler is gone; run again"),
        open_cluster(address) as cluster,
        Flow(store, cluster, run="test", stages=trivial.STAGES) as flow,
    ):
        assert (cluster.cores, cluster.workers) == (2, 1)
        flow.result(flow.submit("number", trivial.NumberConfig(1)))
        slow = flow.submit("number", trivial.NumberConfig(2, 60))
        process.kill()
        flow.result(slow)
    with InProcess() as inside, Flow(store, inside, run="test", stages=trivial.STAGES) as flow:
        numbers = [flow.submit("number", trivial.NumberConfig(value)) for value in (1, 3)]
        assert flow.result(flow.submit("total", trivial.SumConfig(), {"numbers": numbers})).summary == {"total": 4}
        assert len(flow.outcomes) == 2
    assert verify(store) == []


@pytest.mark.slow
def test_an_address_without_scheduler_or_credentials_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.cluster._SCHEDULER_S", 1)
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"), open_cluster("tcp://127.0.0.1:9"):
        pass
    with pytest.raises(ValueError, match="needs credentials"), open_cluster("tls://127.0.0.1:9"):
        pass
    files = TlsFiles(Path("absent.pem"), Path("absent.pem"), Path("absent.pem"))
    with pytest.raises(OSError, match=r"absent\.pem"), open_cluster("tls://127.0.0.1:9", tls=files):
        pass
