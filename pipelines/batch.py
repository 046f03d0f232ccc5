"""Batch systems as data: what one batch job asks for, and the script that runs a whole command as a batch job.

`BatchConfig` serves both ways to use a cluster: `--cluster slurm` starts workers as batch jobs from wherever the
client runs (`pipelines.cluster`), and `simpath submit` makes the client itself a batch job (`batch_script`).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import tyro

BatchSystem = Literal["slurm", "pbs", "lsf", "sge", "oar", "moab", "htcondor"]
BATCH_SYSTEMS: tuple[str, ...] = get_args(BatchSystem)
ScriptSystem = Literal["slurm", "pbs", "lsf", "sge"]

_WALLTIME = re.compile(r"(?:(\d+)-)?(\d{1,3}):(\d{2}):(\d{2})")
# What the path of a job's log may not hold: it would end there, or a part of it would be replaced.
_BAD_IN_LOG: dict[ScriptSystem, str] = {
    "slurm": r'[\x00-\x1f"\\]',
    "lsf": r'[\x00-\x1f"\\%]',
    "pbs": r"""[\x00-\x20"'\\:^]""",
    "sge": r"""[\x00-\x20"'\\:,$]""",
}
# What a worker needs to save a checkpoint and to hand back its tasks before the batch system kills it.
_SAVING_S = 300


@dataclass(frozen=True)
class BatchConfig:
    """What to ask a batch system for; one job holds one worker, on one node."""

    jobs: int = 1
    """Batch jobs to hold, each one worker on one node; a lost one is replaced."""
    cores: int = 4
    """Cores of each job; a render takes one core (or GPU), pre-training all of them."""
    memory: str = "16GB"
    """Memory of each job, such as 16GB."""
    gpus: int = 0
    """GPUs of each job: so many render children at a time; a pre-training takes one, or as many as it has processes."""
    walltime: str = "04:00:00"
    """Longest run of each job, [days-]hours:minutes:seconds; before its end the work is saved."""
    stagger_s: int | None = None
    """Seconds over which the ends of the workers are spread; default: a twentieth of the walltime."""
    queue: str | None = None
    """Queue or partition."""
    account: str | None = None
    """Account or project that pays."""
    directives: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A further directive without the `#SBATCH`, such as --batch.directives=--qos=high; may be repeated."""
    prologue: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A shell line before the work, such as "module load cuda"; may be repeated."""
    interface: str | None = None
    """Network interface that scheduler and workers use, such as ib0; default: the one of the host's name."""

    def __post_init__(self) -> None:
        for name, low in (("jobs", 1), ("cores", 1), ("gpus", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {low} and up")
        if not re.fullmatch(r"\d+(\.\d+)? ?[KMGT]i?B", self.memory):
            raise ValueError(f"memory is {self.memory!r}; allowed: a number with KB, MB, GB or TB, such as 16GB")
        if self.walltime_s < 2 * _SAVING_S:
            raise ValueError(f"walltime is {self.walltime!r}; allowed: {2 * _SAVING_S // 60} minutes and longer")
        if self.stagger_s is not None and not 0 <= self.stagger_s <= self.lifetime_s // 2:
            raise ValueError(f"stagger_s is {self.stagger_s}; allowed: 0 to {self.lifetime_s // 2} for this walltime")
        for text in (*self.directives, *filter(None, (self.queue, self.account, self.interface))):
            if "\n" in text:
                raise ValueError(f"{text!r} holds a line break; allowed: one line")

    @property
    def walltime_s(self) -> int:
        match = _WALLTIME.fullmatch(self.walltime)
        if match is None:
            raise ValueError(f"walltime is {self.walltime!r}; allowed: [days-]hours:minutes:seconds")
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total: int = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
        return total

    @property
    def lifetime_s(self) -> int:
        """When a worker stops taking tasks and saves, before the batch system kills it."""
        return self.walltime_s - _SAVING_S

    @property
    def memory_mb(self) -> int:
        number, unit = re.fullmatch(r"([\d.]+) ?([KMGT])i?B", self.memory).groups()  # type: ignore[union-attr]
        return max(1, round(float(number) * 1000.0 ** ("KMGT".index(unit) - 1)))

    def gpu_directives(self, system: str) -> list[str]:
        """Directives that ask for the GPUs, where all sites of a system write them alike."""
        if not self.gpus:
            return []
        if system == "slurm":
            return [f"--gres=gpu:{self.gpus}"]
        if system == "lsf":
            return [f'-gpu "num={self.gpus}"']
        return []  # sites of the other systems name their GPUs differently: they are given in `directives`

    def accounting(self, system: str) -> dict[str, str | None]:
        """Queue, account and walltime under the names that dask-jobqueue has for them."""
        if system == "htcondor":
            return {"disk": self.memory}  # it has none of the three, and wants a disk size
        account = "account" if system in ("slurm", "pbs", "moab") else "project"
        return {"walltime": self.clock(seconds=system != "lsf"), "queue": self.queue, account: self.account}

    def clock(self, *, seconds: bool = True) -> str:
        """The walltime as hours:minutes[:seconds]."""
        minutes, rest = divmod(self.walltime_s, 60)
        text = f"{minutes // 60:02d}:{minutes % 60:02d}"
        return f"{text}:{rest:02d}" if seconds else text


def worker_options(system: str, config: BatchConfig, resources: str, logs: Path) -> dict[str, Any]:
    """What a worker's batch job is made from, as dask-jobqueue's job classes take it; `resources` is what it offers."""
    stagger_s = config.lifetime_s // 20 if config.stagger_s is None else config.stagger_s
    return {
        "cores": config.cores,
        "processes": 1,
        "memory": config.memory,
        "interface": config.interface,
        "log_directory": str(logs),
        "death_timeout": 120,
        "job_extra_directives": [*config.gpu_directives(system), *config.directives],
        "job_script_prologue": list(config.prologue),
        "worker_extra_args": [
            *("--resources", resources),
            # the stagger keeps all workers from saving and starting again at the same moment
            *("--lifetime", f"{config.lifetime_s - stagger_s}s"),
            *("--lifetime-stagger", f"{stagger_s}s"),
            # without the dashboard too a worker serves HTTP in clear, by itself on all interfaces
            *("--no-dashboard", "--dashboard-address", "127.0.0.1:0"),
        ],
        **config.accounting(system),
    }


def batch_script(system: ScriptSystem, config: BatchConfig, command: Sequence[str], *, name: str, log: Path) -> str:
    """A shell script that runs `command` as one batch job, saves on pre-emption or walltime, and queues again.

    An early signal (SLURM and LSF: SIGTERM; SGE: SIGUSR1 and SIGUSR2; PBS has none, there the script's own clock sends
    SIGTERM) goes to the command as SIGTERM. It saves and ends with status 75; the job then queues itself again (where
    the system can), and the command finds its finished work in the store.

    Raises:
        ValueError: no command, or a name or a log's path that the system cannot take.
    """
    if not command:
        raise ValueError("nothing to submit: the command is empty")
    header = _directives(system, config, name, _log_path(system, log))
    again = {
        "slurm": 'scontrol requeue "$SLURM_JOB_ID"',
        "pbs": 'qrerun "$PBS_JOBID"',
        "lsf": "exit 75",
        "sge": "exit 99",
    }
    # in the foreground the signal goes to the command alone, not to the children that it has yet to stop itself
    clock = f"timeout --foreground --preserve-status {config.lifetime_s} " if system == "pbs" else ""
    lines = [
        "#!/usr/bin/env bash",
        *header,
        "",
        *config.prologue,
        "client= early= signalled=yes",
        "forward() { signalled=yes; if [ $client ]; then kill -TERM $client; else early=yes; fi; }",
        "trap forward TERM USR1 USR2",
        "# where USR1 and USR2 reach the command too, they must not end it unsaved",
        f"(trap '' USR1 USR2; exec {clock}env {shlex.join(command)}) &",
        "client=$!",
        "if [ $early ]; then kill -TERM $client; fi",
        "# a trapped signal ends `wait` early: wait until none has",
        "while [ $signalled ]; do signalled=; wait $client; status=$?; done",
        f"if [ $status -eq 75 ]; then {again[system]}; fi",
        "exit $status",
    ]
    return "\n".join(lines) + "\n"


def submit(system: ScriptSystem, script: Path) -> str:
    """Hand the script to the batch system; its answer, which names the job. Raises OSError, RuntimeError."""
    command = {"slurm": ["sbatch"], "pbs": ["qsub"], "lsf": ["bsub"], "sge": ["qsub"]}[system]
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(f"{command[0]} is not on this machine; the script is {script}")
    with script.open("rb") as text:
        # bsub reads the script on stdin, the others take its path
        arguments = command if system == "lsf" else [*command, str(script)]
        done = subprocess.run(  # nosec B603 # one of four programs, and the script that the user asked for
            arguments, stdin=text, capture_output=True, text=True, check=False
        )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} refused {script}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def _log_path(system: ScriptSystem, log: Path) -> str:
    """The path as a directive takes it: SLURM and LSF read quotes, the others read up to the first blank."""
    if bad := re.search(_BAD_IN_LOG[system], str(log)):
        raise ValueError(f"the job's log would be {str(log)!r}, but {system} takes no {bad[0]!r} in its path")
    text = str(log).replace("%", "%%") if system == "slurm" else str(log)
    return text if shlex.quote(text) == text else f'"{text}"'


def _directives(system: ScriptSystem, config: BatchConfig, name: str, log: str) -> list[str]:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ValueError(f"job name {name!r}; allowed: letters, digits, dot, dash, underscore")
    clock = config.clock()
    if system == "slurm":
        own = [
            f"--job-name={name}",
            f"--output={log}",
            "--open-mode=append",
            "--nodes=1",
            "--ntasks=1",
            f"--cpus-per-task={config.cores}",
            f"--mem={config.memory_mb}M",
            f"--time={clock}",
            "--requeue",
            f"--signal=B:TERM@{_SAVING_S}",
        ]
        own += config.gpu_directives(system)
        own += [f"--partition={config.queue}"] if config.queue else []
        own += [f"--account={config.account}"] if config.account else []
        return [f"#SBATCH {text}" for text in (*own, *config.directives)]
    if system == "pbs":
        gpus = f":ngpus={config.gpus}" if config.gpus else ""
        own = [f"-N {name}", f"-o {log}", "-j oe", f"-l select=1:ncpus={config.cores}:mem={config.memory_mb}mb{gpus}"]
        own += [f"-l walltime={clock}", "-r y"]
        own += [f"-q {config.queue}"] if config.queue else []
        own += [f"-A {config.account}"] if config.account else []
        return [f"#PBS {text}" for text in (*own, *config.directives)]
    if system == "lsf":
        own = [f"-J {name}", f"-o {log}", f"-n {config.cores}", '-R "span[hosts=1]"', f"-M {config.memory_mb}MB"]
        own += [f"-W {config.clock(seconds=False)}", "-r", '-Q "75"', "-wa TERM", f"-wt {_SAVING_S // 60}"]
        own += config.gpu_directives(system)
        own += [f"-q {config.queue}"] if config.queue else []
        own += [f"-P {config.account}"] if config.account else []
        return [f"#BSUB {text}" for text in (*own, *config.directives)]
    own = [
        f"-N {name}",
        f"-o {log}",
        "-j y",
        f"-pe smp {config.cores}",
        f"-l h_vmem={config.memory_mb // config.cores}M",
    ]
    own += [f"-l h_rt={clock}", f"-l s_rt={max(0, config.lifetime_s)}", "-r y", "-notify"]
    own += [f"-l gpu={config.gpus}"] if config.gpus else []
    own += [f"-q {config.queue}"] if config.queue else []
    own += [f"-P {config.account}"] if config.account else []
    return [f"#$ {text}" for text in (*own, *config.directives)]
