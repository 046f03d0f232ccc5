"""What is asked of a batch system, and the script of a run."""

from __future__ import annotations

import importlib
import subprocess
from pathlib import Path
from typing import Any

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
