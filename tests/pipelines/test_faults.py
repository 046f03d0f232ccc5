"""Faults of the machine: a full disk, a directory that turns read-only, a lost scheduler; nothing lost or doubled."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import psutil
import pytest
from PIL import Image

from pipelines.artifact import Store, write_text
from pipelines.care import verify
from pipelines.cluster import ClusterLost, open_cluster, worker_resources
from pipelines.flow import Flow, InProcess, StageFailed
from pipelines.locks import LOCK, alone
from pipelines.place import TlsFiles
from pipelines.progress import Display


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


def fill(disk: Path) -> Path:
    """A file that leaves no byte free."""
    filler = disk / "filler"
    filler.write_bytes(bytes(os.statvfs(disk).f_bavail * 4096))
    return filler


def test_a_full_disk_is_named_and_the_run_completes_once_there_is_space(
    small_disk: Path, tmp_path: Path, trivial: ModuleType
) -> None:
    store = Store(small_disk / "store")
    with InProcess() as cluster:
        with Flow(store, cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow:
            first = flow.submit("inline", trivial.NumberConfig(1))
            flow.result(first)
            filler = fill(small_disk)
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


@pytest.mark.parametrize("stage", ["inline", "number"])
def test_a_full_disk_that_holds_logs_and_status_too_hides_no_reason(
    small_disk: Path, trivial: ModuleType, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)  # with it the faulty stage would already fail in its print
    store, status, said = Store(small_disk / "store"), small_disk / "out" / "status.json", io.StringIO()
    with InProcess() as cluster:
        with Flow(store, cluster, run="test", stages=trivial.STAGES, progress=Display(said, status=status)) as flow:
            flow.result(flow.submit(stage, trivial.NumberConfig(1)))
            filler = fill(small_disk)
            wrong = flow.submit("faulty", trivial.FaultConfig("raise"))
            number = flow.submit(stage, trivial.NumberConfig(2, 0.1))
            reasons = {name: line for line in flow.drain() for name in ("faulty", stage) if line.startswith(name)}
        assert reasons["faulty"].startswith(f"faulty {wrong.digest[:12]}: the value is 3; allowed: 4 (log: ")
        full = f"[Errno 28] No space left on device (store: {store.root})"
        assert reasons[stage].startswith(f"{stage} {number.digest[:12]}: {full} (log: ")
        assert full in said.getvalue()
        filler.unlink()
        with Flow(store, cluster, run="test", stages=trivial.STAGES, progress=Display(said, status=status)) as flow:
            flow.result(flow.submit(stage, trivial.NumberConfig(2, 0.1)))
    assert json.loads(status.read_text(encoding="utf-8"))["state"] == "ended"
    assert verify(store) == []


def test_a_log_that_cannot_be_opened_costs_no_artifact(tmp_path: Path, trivial: ModuleType) -> None:
    (tmp_path / "logs").write_text("a file where the folder of the logs should be")
    with (
        InProcess() as cluster,
        Flow(Store(tmp_path / "store"), cluster, run="test", stages=trivial.STAGES, logs=tmp_path / "logs") as flow,
    ):
        assert flow.result(flow.submit("number", trivial.NumberConfig(1))).summary["threads"] == 1


def test_a_checkpoint_that_does_not_fit_on_the_disk_is_named(small_disk: Path) -> None:
    import torch

    from pretrain.checkpoint import checkpoints, save_checkpoint

    save_checkpoint(small_disk, 1, {"weights": torch.zeros(1000)}, keep=2)
    with pytest.raises(OSError, match=r"the disk is full: step-00000002\.pt could not be written"):
        save_checkpoint(small_disk, 2, {"weights": torch.zeros(300_000), "more": torch.zeros(300_000)}, keep=2)
    assert [path.name for path in checkpoints(small_disk)] == ["step-00000001.pt"]
    assert [path.name for path in small_disk.iterdir()] == ["step-00000001.pt"]


def test_features_that_do_not_fit_on_the_disk_are_one_line_of_evaluate(
    small_disk: Path, tmp_path: Path, simpath: Callable[..., tuple[int, str, str]]
) -> None:
    rng = np.random.default_rng(0)
    for number in range(300):  # 0.6 MB of features beside 0.6 MB that lie there
        folder = tmp_path / "task" / ("train" if number < 290 else "test") / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (small_disk / "filler").write_bytes(bytes(600_000))
    words = ["evaluate", "--backbone", "random:resnet18", "--task", str(tmp_path / "task"), "--size", "8"]
    out = small_disk / "out"
    status, _, err = simpath(*words, "--out", out)
    file = out / "features" / "features.safetensors"
    assert status == 1
    assert err.splitlines()[-1] == f"simpath: the disk is full: features.safetensors could not be written: {file}"
    assert "Traceback" not in err and not file.exists()


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


def test_a_text_that_does_not_fit_on_the_disk_leaves_the_old_one_and_nothing_else(small_disk: Path) -> None:
    path = small_disk / "summary.json"
    write_text(path, "old")
    fill(small_disk)
    with pytest.raises(OSError, match=rf"No space left on device: '{path}'"):
        write_text(path, "new" * 10_000)
    assert sorted(file.name for file in small_disk.iterdir()) == ["filler", "summary.json"]
    assert path.read_text() == "old"


def test_an_output_directory_that_turns_read_only_is_named_and_hides_no_reason(small_disk: Path) -> None:
    out = small_disk / "out"
    with pytest.raises(ValueError, match="the reason"), alone(out):
        # over itself: a file system with a file that is open for writing cannot be made read-only as a whole
        subprocess.run(["mount", "--bind", out, out], check=True)
        subprocess.run(["mount", "-o", "remount,ro,bind", out], check=True)
        raise ValueError("the reason")
    with pytest.raises(OSError, match=rf"Read-only file system: '{out / LOCK}'"), alone(out):
        raise AssertionError("a directory that cannot be written was taken")
    subprocess.run(["umount", out], check=True)
    with alone(out):
        (out / "result.txt").touch()
    assert [file.name for file in out.iterdir()] == ["result.txt"]


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
