"""On a real Dask cluster: several processes, several cores, and a kill of any one of them."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from pipelines.artifact import Store
from pipelines.batch import BatchConfig, worker_options
from pipelines.care import verify
from pipelines.cluster import DaskCluster, open_cluster, worker_resources
from pipelines.flow import Flow

FLOW = Path(__file__).parent / "trivial" / "trivial_flow.py"
# those that share the cluster below
shared = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def cluster(trivial: ModuleType) -> Iterator[DaskCluster]:
    with open_cluster(cores=2) as opened:
        yield opened


def flow_on(tmp_path: Path, cluster: DaskCluster, trivial: ModuleType) -> Flow:
    return Flow(Store(tmp_path / "store"), cluster, run="test", stages=trivial.STAGES)


@shared
def test_small_jobs_run_side_by_side_and_a_large_one_has_all_cores(
    tmp_path: Path, cluster: DaskCluster, trivial: ModuleType
) -> None:
    assert (cluster.cores, cluster.size, cluster.workers) == (2, (2, 0), 1)
    with flow_on(tmp_path, cluster, trivial) as flow:
        small = [flow.submit("number", trivial.NumberConfig(value, 1.5)) for value in range(2)]
        first, second = (flow.result(handle).metadata for handle in small)
        assert first["started"] < second["started"] + second["wall_s"]
        assert second["started"] < first["started"] + first["wall_s"]
        assert {flow.result(handle).summary["threads"] for handle in small} == {1}
        large = flow.submit("number", trivial.NumberConfig(7), cores=2)
        larger = flow.submit("number", trivial.NumberConfig(8), cores=64)
        assert flow.result(large).summary["threads"] == flow.result(larger).summary["threads"] == 2
        total = flow.submit("total", trivial.SumConfig(), {"numbers": [*small, large, larger]})
        assert flow.result(total).summary == {"total": 16}


def test_several_worker_processes_share_the_work(tmp_path: Path, trivial: ModuleType) -> None:
    with open_cluster(cores=2, workers=2) as cluster, flow_on(tmp_path, cluster, trivial) as flow:
        assert (cluster.cores, cluster.size, cluster.workers) == (2, (1, 0), 2)
        handles = [flow.submit("inline", trivial.NumberConfig(value, 0.3)) for value in range(8)]
        flow.wait(handles)
        assert len({flow.result(handle).summary["pid"] for handle in handles}) == 2


@shared
def test_a_killed_worker_costs_one_attempt(tmp_path: Path, cluster: DaskCluster, trivial: ModuleType) -> None:
    with flow_on(tmp_path, cluster, trivial) as flow:
        config = trivial.FaultConfig("kill parent once", str(tmp_path / "marker"))
        assert flow.result(flow.submit("faulty", config)).summary == {"kept": True}


@shared
def test_an_interrupt_is_left_to_the_client_to_answer(
    tmp_path: Path, cluster: DaskCluster, trivial: ModuleType
) -> None:
    """Ctrl-C reaches workers too; one that ended by it would be started again while the client ends."""
    with flow_on(tmp_path, cluster, trivial) as flow:
        before = flow.result(flow.submit("inline", trivial.NumberConfig(1))).summary["pid"]
        os.kill(before, signal.SIGINT)
        after = flow.result(flow.submit("inline", trivial.NumberConfig(2, 0.5))).summary["pid"]
    assert before == after != os.getpid()


@shared
def test_progress_comes_back_from_the_children(tmp_path: Path, cluster: DaskCluster, trivial: ModuleType) -> None:
    seen: list[dict[str, object]] = []
    with flow_on(tmp_path, cluster, trivial) as flow:
        flow.progress.message = seen.append  # type: ignore[assignment, method-assign]
        flow.result(flow.submit("number", trivial.NumberConfig(1, 2.0)))
    assert len(seen) >= 2
    assert {message["total"] for message in seen} == {20}


@shared
@pytest.mark.filterwarnings("ignore")  # dask-jobqueue warns of its own defaults
def test_the_worker_of_a_batch_job_listens_for_http_on_loopback_only(tmp_path: Path, cluster: DaskCluster) -> None:
    """What its nodes say to each other is TLS; its HTTP server is in clear, and Dask opens it on all interfaces."""
    config = BatchConfig(cores=1, memory="1GB", interface="lo")
    options = worker_options("slurm", config, worker_resources(1, 0), tmp_path)
    job = importlib.import_module("dask_jobqueue.slurm").SLURMJob(cluster.address, name="w", **options)
    (tmp_path / "job.sh").write_text(job.job_script())
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen(["bash", tmp_path / "job.sh"], stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while cluster.workers < 2:
            assert worker.poll() is None and time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        family = [psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)]
        sockets = [socket for process in family for socket in process.net_connections("inet")]
        hosts = [socket.laddr.ip for socket in sockets if socket.status == psutil.CONN_LISTEN]
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
    assert len(hosts) >= 3  # nanny, worker, HTTP
    assert set(hosts) == {"127.0.0.1"}


def test_a_second_run_on_a_batch_system_leaves_the_credentials_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, answer in (("sbatch", "Submitted batch job 7"), ("scancel", "")):
        (programs / name).write_text(f"#!/bin/sh\necho {answer}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    out, batch = tmp_path / "out", BatchConfig(interface="lo")
    with open_cluster("slurm", batch=batch, scratch=out):
        (first,) = out.glob(".tls-*/key.pem")
        with open_cluster("slurm", batch=batch, scratch=out):
            assert len(list(out.glob(".tls-*/key.pem"))) == 2
        assert list(out.glob(".tls-*/key.pem")) == [first]
    assert list(out.glob(".tls*")) == []


def test_unknown_clusters_and_dead_addresses_are_named(trivial: ModuleType) -> None:
    with pytest.raises(ValueError, match="cluster 'pbspro2'; allowed: local"), open_cluster("pbspro2"):
        pass
    with pytest.raises(ValueError, match="3 workers on 2 cores"), open_cluster(cores=2, workers=3):
        pass


@pytest.mark.parametrize("name", ["my results", "a\nb", "it's", "50%", "$HOME"])
def test_a_directory_that_would_break_the_jobs_scripts_is_refused(tmp_path: Path, name: str) -> None:
    what = "directory .*; allowed on a batch system: letters, digits, "
    with pytest.raises(ValueError, match=what), open_cluster("slurm", scratch=tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_performance_report_without_bokeh_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bokeh", None)  # type: ignore[arg-type]
    what = r"performance report needs bokeh, which is not installed: pip install -c constraints\.txt bokeh"
    with pytest.raises(ValueError, match=what), open_cluster(report=tmp_path / "performance.html"):
        pass


def start_client(store: Path, seconds: float) -> subprocess.Popen[str]:
    client = subprocess.Popen(
        [sys.executable, str(FLOW), str(store), str(seconds)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert client.stdout is not None
    # byte by byte: `readline` would buffer what follows, and `communicate` never see it
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(client.stdout.fileno(), 1)):
        line += byte
    assert line == b"started\n"
    return client


def is_child(process: psutil.Process) -> bool:
    try:
        return "pipelines.child" in process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return False


def children_of(client: subprocess.Popen[str], but: Collection[psutil.Process] = ()) -> list[psutil.Process]:
    """The stage children, once both cores are busy; none of them is of those that were killed before."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        family = psutil.Process(client.pid).children(recursive=True)
        children = [process for process in family if process not in but and is_child(process)]
        if len(children) == 2:
            return children
        time.sleep(0.05)
    raise AssertionError("no two children within 30 s")


def check_sum(output: str, errors: str, folder: Path) -> None:
    """Everything is there, once and whole."""
    assert output == "10.0\n", errors
    store = Store(folder / "store")
    assert verify(store) == []
    values = [json.loads((artifact.path / "value.json").read_text()) for artifact in store.artifacts()]
    assert sorted(values) == [1, 2, 3, 4, 10]
    assert list((folder / "store" / "partial").iterdir()) == []


@pytest.mark.slow
def test_a_run_completes_though_a_child_and_then_a_worker_is_killed(tmp_path: Path, trivial: ModuleType) -> None:
    client = start_client(tmp_path / "store", 1.5)
    killed: list[psutil.Process] = []
    for _ in range(2):
        children = children_of(client, killed)
        family = psutil.Process(client.pid).children(recursive=True)
        killed.append(children[0].parent() if killed else children[0])
        time.sleep(0.3)
        killed[-1].kill()
    check_sum(*client.communicate(timeout=60), tmp_path)
    assert psutil.wait_procs(family, timeout=15)[1] == []


@pytest.mark.slow
def test_after_the_client_was_killed_a_second_run_completes(tmp_path: Path, trivial: ModuleType) -> None:
    client = start_client(tmp_path / "store", 0.6)
    children_of(client)
    family = psutil.Process(client.pid).children(recursive=True)
    time.sleep(0.3)
    client.kill()
    client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL
    assert psutil.wait_procs(family, timeout=15)[1] == [], "processes outlive the client"
    with start_client(tmp_path / "store", 0.6) as again:
        check_sum(*again.communicate(timeout=60), tmp_path)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_a_stopped_client_ends_at_once_and_takes_all_with_it(tmp_path: Path, trivial: ModuleType, how: int) -> None:
    """Ctrl-C in a terminal reaches the whole process group."""
    client = start_client(tmp_path / "store", 600.0)
    children_of(client)
    family = psutil.Process(client.pid).children(recursive=True)
    if how == signal.SIGINT:
        os.killpg(client.pid, how)
    else:
        client.send_signal(how)
    # 2 s alone, 11 s beside three busy processes: the limit is for a loaded machine; a job would take 600 s
    assert client.communicate(timeout=120)[0] == ""
    assert client.returncode != 0
    assert psutil.wait_procs(family, timeout=60)[1] == []
    assert list((tmp_path / "store" / "artifacts").glob("*/*")) == []


def test_two_runs_at_once_share_the_work(tmp_path: Path, trivial: ModuleType) -> None:
    clients = [start_client(tmp_path / "store", 0.6) for _ in range(2)]
    results = [client.communicate(timeout=60) for client in clients]
    assert [output for output, _ in results] == ["10.0\n", "10.0\n"], results
    assert len(list(Store(tmp_path / "store").artifacts())) == 5
    assert verify(Store(tmp_path / "store")) == []
