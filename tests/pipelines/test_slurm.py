"""On a real SLURM that the tests start on this machine (slurm.sh): workers as jobs, lost jobs, a run as a job."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from pipelines.artifact import Store
from pipelines.batch import BatchConfig, batch_script, submit
from pipelines.care import verify

SCRIPT = Path(__file__).parent / "slurm.sh"
CLIENT = Path(__file__).parent / "trivial" / "trivial_slurm.py"
SHARD_CLIENT = CLIENT.with_name("flat_slurm.py")
MISSING = [name for name in ("slurmctld", "slurmd", "munged", "setpriv") if shutil.which(name) is None]

pytestmark = [
    pytest.mark.slurm,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("slurm"),
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)} (Debian: slurm-wlm munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="SLURM's daemons and their users need root"),
]


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True)
    yield folder / "slurm.conf"
    subprocess.run([SCRIPT, "stop", folder], check=True)


@pytest.fixture
def slurm(daemons: Path, trivial: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SLURM_CONF", str(daemons))
    yield
    subprocess.run(["scancel", "--user=root"], check=True)
    wait_for(lambda: jobs() == [], "an empty queue")


def jobs(states: str = "RUNNING,PENDING,COMPLETING") -> list[str]:
    command = ["squeue", "--noheader", "--format=%i", f"--states={states}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


def wait_for(true: Callable[[], bool], what: str, limit_s: float = 200) -> None:
    deadline = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < deadline, f"no {what} within {limit_s} s"
        time.sleep(0.5)  # each look is a process, or a walk through all of them


def state_of(job: str) -> str:
    command = ["scontrol", "show", "job", job]
    (state,) = re.findall(r"JobState=(\w+)", subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return str(state)


def start_client(folder: Path, *arguments: object, script: Path = CLIENT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(script), str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def stage_children() -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            # by its store, so that other work on this machine is left alone
            if "pipelines.child" in process.cmdline() and "SLURM_JOB_ID" in process.environ():
                found.append(process)
        except psutil.Error:
            continue
    return found


def check_result(client: subprocess.Popen[str], folder: Path) -> None:
    output, errors = client.communicate(timeout=400)
    assert output.splitlines()[-1:] == ["15.0 2"], errors
    store = Store(folder / "store")
    assert len(list(store.artifacts())) == 6
    assert verify(store) == []
    assert list((folder / "store" / "partial").iterdir()) == []
    wait_for(lambda: jobs() == [], "end of the worker jobs")
    wait_for(lambda: stage_children() == [], "end of the children")
    assert list(folder.glob(".tls*")) == []


def test_workers_are_jobs_with_encrypted_connections_and_a_lost_and_a_preempted_one_are_replaced(
    tmp_path: Path, slurm: None
) -> None:
    client = start_client(tmp_path, 4.0)
    assert client.stdout is not None and client.stdout.readline().startswith("tls://127.0.0.1:")
    (key,) = tmp_path.glob(".tls-*/key.pem")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    wait_for(lambda: len(stage_children()) >= 2, "children at work")  # an idle one may be left
    (lost,) = jobs("RUNNING")
    assert len(list((tmp_path / "workers").glob("*.err"))) == 1
    subprocess.run(["scancel", "--signal=KILL", "--full", lost], check=True)
    wait_for(lambda: lost not in jobs("RUNNING"), "end of the job")
    wait_for(lambda: len(jobs("RUNNING")) == 1 and len(stage_children()) >= 2, "children in the next job")
    (preempted,) = jobs("RUNNING")
    assert preempted != lost
    urgent = ["sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap", "sleep 3"]
    subprocess.run(urgent, check=True, stdout=subprocess.DEVNULL)
    wait_for(lambda: stage_children() == [], "pre-emption")
    check_result(client, tmp_path)


def check_shard(client: subprocess.Popen[str], folder: Path, num_images: int) -> None:
    """The shard is whole, and of what a job had rendered at its end no later one rendered any."""
    output, errors = client.communicate(timeout=400)
    assert output.split()[-1:] == ["done"], errors
    (shard,) = Store(folder / "store").artifacts()
    assert verify(Store(folder / "store")) == []
    assert shard.summary["images"] == num_images
    assert sorted(int(line) for line in (folder / "trace").read_text().split()) == list(range(num_images))
    assert len(list((folder / "workers").glob("*.err"))) >= 2


def test_a_shard_goes_on_in_the_next_job_when_its_job_is_over_its_walltime(
    tmp_path: Path, slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPATH_TEST_FLAT", json.dumps({"seconds": 1.0, "trace": str(tmp_path / "trace")}))
    client = start_client(tmp_path, 45, script=SHARD_CLIENT)
    wait_for((tmp_path / "trace").exists, "first image")
    (job,) = jobs("RUNNING")
    # a walltime counts whole minutes, its end can be set to the second; SLURM looks for jobs over theirs every 30 s
    subprocess.run(["scontrol", "update", f"JobId={job}", "EndTime=now+1seconds"], check=True)
    wait_for(lambda: state_of(job) == "TIMEOUT", "end at the walltime")
    check_shard(client, tmp_path, 45)


def test_a_shard_goes_on_in_the_next_job_when_its_worker_ends_before_the_walltime(
    tmp_path: Path, slurm: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIMPATH_TEST_FLAT", json.dumps({"seconds": 1.0, "trace": str(tmp_path / "trace")}))
    client = start_client(tmp_path, 34, 30, script=SHARD_CLIENT)
    wait_for((tmp_path / "trace").exists, "first image")
    (job,) = jobs("RUNNING")
    wait_for(lambda: state_of(job) == "COMPLETED", "end of the first worker")
    check_shard(client, tmp_path, 34)


def test_a_killed_client_takes_its_jobs_along_and_a_second_run_completes(tmp_path: Path, slurm: None) -> None:
    client = start_client(tmp_path, 3.0)
    wait_for(lambda: len(stage_children()) >= 2, "children at work")  # an idle one may be left
    client.kill()
    client.communicate()
    wait_for(lambda: jobs() == [], "end of the worker jobs", limit_s=180)
    wait_for(lambda: stage_children() == [], "end of the children")
    check_result(start_client(tmp_path, 3.0), tmp_path)


RESUMES = """
if [ -f "$0" ]; then echo second; exit 0; fi
sleep 600 &
trap "kill $!; exit 75" TERM
touch "$0"
echo first
wait
"""


def test_a_whole_run_as_a_job_saves_on_sigterm_and_queues_itself_again(tmp_path: Path, slurm: None) -> None:
    config = BatchConfig(cores=1, memory="100MB", walltime="00:10:00", prologue=("echo prologue",))
    log, script = tmp_path / "log.txt", tmp_path / "job.sh"
    command = ["bash", "-c", RESUMES, str(tmp_path / "marker of 'first'")]
    script.write_text(batch_script("slurm", config, command, name="simpath-test", log=log))
    answer = submit("slurm", script)
    assert answer.startswith("Submitted batch job ")
    job = answer.split()[-1]
    wait_for(lambda: log.exists() and "first" in log.read_text(), "first start")
    subprocess.run(["scancel", "--batch", "--signal=TERM", job], check=True)
    # SLURM holds a requeued job back for a while; an administrator's release ends that
    wait_for(lambda: job in jobs("PENDING"), "requeued job")
    # credentials are revoked by the second: one that is made in the second of the requeue would be refused
    time.sleep(2)
    subprocess.run(["scontrol", "update", f"JobId={job}", "StartTime=now"], check=True)
    wait_for(lambda: "second" in log.read_text(), "second start", limit_s=240)
    wait_for(lambda: jobs() == [], "end of the job")
    assert log.read_text().count("prologue") == 2
