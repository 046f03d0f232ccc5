"""What is asked of a batch system, and the script of a run."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.batch import BATCH_SYSTEMS, BatchConfig, batch_script, submit, worker_options
from pipelines.cluster import worker_resources

CONFIG = BatchConfig(
    cores=8,
    memory="32GB",
    gpus=2,
    walltime="1-02:30:00",
    queue="long",
    account="vision",
    directives=("--nice",),
    prologue=("module load cuda",),
)
COMMAND = ["simpath", "run", "small", "--out", "a folder with 'quotes'; rm -rf x"]


@pytest.mark.parametrize(
    ("system", "expected"),
    [
        ("slurm", ["--time=26:30:00", "--cpus-per-task=8", "--mem=32000M", "--gres=gpu:2", "--partition=long"]),
        ("pbs", ["walltime=26:30:00", "select=1:ncpus=8:mem=32000mb:ngpus=2", "-q long", "-A vision"]),
        ("lsf", ["-W 26:30", "-n 8", "-M 32000MB", '-gpu "num=2"', "-P vision"]),
        ("sge", ["h_rt=26:30:00", "-pe smp 8", "h_vmem=4000M", "gpu=2", "-P vision"]),
    ],
)
def test_every_systems_script_asks_for_the_same_and_is_valid_shell(
    tmp_path: Path, system: Any, expected: list[str]
) -> None:
    text = batch_script(system, CONFIG, COMMAND, name="simpath-small", log=tmp_path / "log.txt")
    header = [line for line in text.splitlines() if line.startswith(("#SBATCH", "#PBS", "#BSUB", "#$"))]
    assert len(header) >= 9
    for part in [*expected, "--nice", "simpath-small", str(tmp_path / "log.txt")]:
        assert any(part in line for line in header), part
    assert "module load cuda" in text
    script = tmp_path / "job.sh"
    script.write_text(text)
    subprocess.run(["bash", "-n", script], check=True)


def test_the_command_reaches_the_shell_as_it_was_given(tmp_path: Path) -> None:
    config = BatchConfig()
    for status in (0, 3):
        command = ["bash", "-c", 'printf "%s\\n" "$@"; exit ' + str(status), "bash", *COMMAND]
        script = tmp_path / "job.sh"
        script.write_text(batch_script("slurm", config, command, name="x", log=tmp_path / "log"))
        done = subprocess.run(["bash", script], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines() == COMMAND
        assert done.returncode == status


SAVES = "trap 'kill $!; exit 75' TERM; touch ready; sleep 600 & wait"
REQUEUED = {"slurm": (75, "scontrol requeue 7"), "pbs": (75, "qrerun 7"), "lsf": (75, ""), "sge": (99, "")}


def start_job(folder: Path, system: Any, command: list[str]) -> subprocess.Popen[bytes]:
    """The script of a batch job, as a batch system starts it, once its command has said that it is ready."""
    for name in ("scontrol", "qrerun"):
        (folder / name).write_text(f'#!/bin/sh\necho {name} "$@" > again\n')
        (folder / name).chmod(0o755)
    script = folder / "job.sh"
    script.write_text(batch_script(system, BatchConfig(walltime="01:00:00"), command, name="x", log=folder / "log"))
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "SLURM_JOB_ID": "7", "PBS_JOBID": "7"}
    job = subprocess.Popen(["bash", script], cwd=folder, env=environment, start_new_session=True)
    wait_for(lambda: (folder / "ready").exists())
    if system == "pbs":  # which forwards signals once it waits for the command that it has started
        wait_for(lambda: clock_of(job).status() == psutil.STATUS_SLEEPING)
    return job


def clock_of(job: subprocess.Popen[bytes]) -> psutil.Process:
    (clock,) = [child for child in psutil.Process(job.pid).children() if child.name() == "timeout"]
    return clock


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def check_requeued(job: subprocess.Popen[bytes], folder: Path, system: str) -> None:
    status, asked = REQUEUED[system]
    assert job.wait(60) == status
    again = folder / "again"
    assert (again.read_text().strip() if again.exists() else "") == asked


@pytest.mark.parametrize("early", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
@pytest.mark.parametrize("system", REQUEUED)
def test_an_early_signal_saves_the_command_and_queues_the_job_again(tmp_path: Path, system: str, early: int) -> None:
    job = start_job(tmp_path, system, ["bash", "-c", SAVES])
    if early == signal.SIGTERM:
        job.send_signal(early)
    else:
        os.killpg(job.pid, early)  # SGE warns every process of the job
    check_requeued(job, tmp_path, system)


def test_on_pbs_the_script_itself_stops_the_command_before_the_walltime(tmp_path: Path) -> None:
    job = start_job(tmp_path, "pbs", ["bash", "-c", SAVES])
    clock = clock_of(job)
    assert "3300" in clock.cmdline()  # the hour less 5 minutes to save
    clock.send_signal(signal.SIGALRM)  # as its timer does
    check_requeued(job, tmp_path, "pbs")


def test_submit_writes_a_script_that_runs_the_command(
    tmp_path: Path, simpath: Callable[..., tuple[int, str, str]]
) -> None:
    script = tmp_path / "a folder" / "job.sh"
    words = ("submit", "--command", "echo run small --out 'my results'", "--script", script, "--dry-run")
    assert simpath(*words, "--batch.cores", "2") == (0, f"script  {script}\n", "")
    text = script.read_text()
    assert "#SBATCH --cpus-per-task=2\n" in text
    assert f'#SBATCH --output="{tmp_path}/a folder/job.log"\n' in text
    ran = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "run small --out my results\n"
    said = f"simpath: the job's log would be '{tmp_path}/a folder/job.log', but pbs takes no ' ' in its path\n"
    assert simpath(*words, "--system", "pbs") == (1, "", said)


@pytest.mark.parametrize(
    ("system", "path", "line"),
    [
        ("slurm", "/plain/log", "#SBATCH --output=/plain/log"),
        ("slurm", "/at 50%/it's #1", '#SBATCH --output="/at 50%%/it\'s #1"'),
        ("lsf", "/a b/log", '#BSUB -o "/a b/log"'),
        ("pbs", "/it-is/log", "#PBS -o /it-is/log"),
        ("sge", "/it-is/log", "#$ -o /it-is/log"),
    ],
)
def test_a_logs_path_is_quoted_where_it_must_be(system: Any, path: str, line: str) -> None:
    assert line in batch_script(system, CONFIG, COMMAND, name="x", log=Path(path)).splitlines()


@pytest.mark.parametrize(
    ("system", "path"),
    [
        *(("slurm", path) for path in ("/a\n#SBATCH --uid=0", '/a"b', "/a\\b")),
        *(("lsf", path) for path in ("/a\rb", '/a"b', "/%J")),
        *(("pbs", path) for path in ("/a b", "/a\tb", "/host:path")),
        *(("sge", path) for path in ("/a b", "/a,b", "/$HOME")),
    ],
)
def test_a_logs_path_that_the_system_would_misread_is_refused(system: Any, path: str) -> None:
    with pytest.raises(ValueError, match=rf"the job's log would be .*, but {system} takes no '.*' in its path"):
        batch_script(system, CONFIG, COMMAND, name="x", log=Path(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"jobs": 0}, "jobs is 0; allowed: 1 and up"),
        ({"memory": "lots"}, "memory is 'lots'"),
        ({"walltime": "4 hours"}, "walltime is '4 hours'"),
        ({"walltime": "00:05:00"}, "allowed: 10 minutes and longer"),
        ({"stagger_s": 8000}, "stagger_s is 8000; allowed: 0 to 7050"),
        ({"queue": "a\n#SBATCH --uid=0"}, "holds a line break"),
    ],
)
def test_what_cannot_be_asked_for_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BatchConfig(**change)


def test_a_missing_batch_system_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="sbatch is not on this machine"):
        submit("slurm", tmp_path / "job.sh")


def test_bad_names_and_empty_commands_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="job name"):
        batch_script("slurm", CONFIG, COMMAND, name="a b", log=tmp_path)
    with pytest.raises(ValueError, match="nothing to submit"):
        batch_script("slurm", CONFIG, [], name="a", log=tmp_path)


@pytest.mark.filterwarnings("ignore")  # dask-jobqueue warns of its own defaults
@pytest.mark.parametrize("system", BATCH_SYSTEMS)
def test_workers_of_every_system_ask_for_cores_and_offer_them(tmp_path: Path, system: str) -> None:
    dask_jobqueue = importlib.import_module("dask_jobqueue")
    classes = {name.lower(): name for name in dir(dask_jobqueue) if name.endswith("Cluster")}
    job_class = getattr(dask_jobqueue, classes[f"{system}cluster"]).job_cls
    config = BatchConfig(cores=6, memory="12GB", gpus=1, walltime="02:00:00", queue="long", account="vision")
    options = worker_options(system, config, worker_resources(6, 1), tmp_path)
    script = job_class("tls://127.0.0.1:1", name="w", **options).job_script()
    assert "--resources core=6,gpu=1" in script
    assert "--nthreads 6" in script
    # 2 hours less 5 minutes to save, less the stagger
    assert "--lifetime 6555s --lifetime-stagger 345s" in script
    if system != "htcondor":
        assert "long" in script and "vision" in script and "2:00" in script


def test_a_stagger_of_ones_own_is_taken_off_the_lifetime(tmp_path: Path) -> None:
    config = BatchConfig(walltime="02:00:00", stagger_s=600)
    words = worker_options("slurm", config, worker_resources(4, 0), tmp_path)["worker_extra_args"]
    assert words[words.index("--lifetime") + 1] == "6300s"
    assert words[words.index("--lifetime-stagger") + 1] == "600s"
