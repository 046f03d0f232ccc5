"""Where a run's workers are, as a person asks for it; `pipelines.cluster.open_cluster` brings it about.

Apart from there because this module loads no Dask: the command line shows these fields as options, and help must
answer at once.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from pipelines.batch import BATCH_SYSTEMS, BatchConfig
from pipelines.usage import UsageError

ADDRESSES = ("tcp://", "tls://")
NEEDS_BOKEH = "needs bokeh, which is not installed: pip install -c constraints.txt bokeh"


def has_bokeh() -> bool:
    """Dask draws its dashboard and its performance report with it, and is complete without."""
    return importlib.util.find_spec("bokeh") is not None


class BadPlace(UsageError):
    """A place that is not known, or whose options cannot be meant together."""


def unknown_cluster(name: str) -> BadPlace:
    names = ", ".join(["local", *BATCH_SYSTEMS, "tcp://HOST:PORT", "tls://HOST:PORT"])
    return BadPlace(f"cluster {name!r}; allowed: {names}")


@dataclass(frozen=True)
class TlsFiles:
    """Credentials for a `tls://` scheduler."""

    ca: Path | None = None
    """PEM file of the authority that signed the scheduler's certificate."""
    cert: Path | None = None
    """PEM file of this client's certificate."""
    key: Path | None = None
    """PEM file of this client's private key."""

    def check(self, address: str) -> None:
        """Raises ValueError unless all three are given, FileNotFoundError for one that does not exist."""
        given = [path for path in (self.ca, self.cert, self.key) if path is not None]
        if len(given) < 3:
            raise ValueError(f"{address} needs credentials: --tls.ca, --tls.cert and --tls.key")
        if missing := [path for path in given if not path.is_file()]:
            raise FileNotFoundError(f"{missing[0]} does not exist")


ONE_JOB, NO_TLS = BatchConfig(), TlsFiles()


@dataclass(frozen=True)
class Place:
    """Where the work is done."""

    cluster: str = "local"
    """local; a batch system: slurm, pbs, lsf, sge, oar, moab, htcondor; or a scheduler: tls://HOST:PORT, tcp://HOST:PORT."""
    cores: int | None = None
    """Cores of this machine to use, only for `--cluster local`; default: all that this process may run on."""
    workers: int = 1
    """Worker processes that share these cores, only for `--cluster local`; no job spans two."""
    train_processes: int = 1
    """Processes that share one pre-training on one worker, each with a GPU of its own or its part of the cores."""
    batch: BatchConfig = ONE_JOB
    """What is asked of the batch system, only for `--cluster slurm` and the like."""
    tls: TlsFiles = NO_TLS
    """Credentials, only for `--cluster tls://HOST:PORT`."""
    performance_report: bool = False
    """Also write OUT/performance.html, Dask's record of what every worker did when; needs bokeh."""

    def __post_init__(self) -> None:
        if self.cluster != "local" and self.cluster not in BATCH_SYSTEMS and not self.cluster.startswith(ADDRESSES):
            raise unknown_cluster(self.cluster)
        if self.train_processes < 1:
            raise BadPlace(f"train_processes is {self.train_processes}; allowed: 1 and up")
        # an option that would be ignored is a misunderstanding: say so before hours are spent
        if self.cluster != "local" and (self.cores is not None or self.workers != 1):
            raise BadPlace(f"cores and workers are for the cluster local, not for {self.cluster}")
        if self.cluster not in BATCH_SYSTEMS and self.batch != ONE_JOB:
            raise BadPlace(f"batch options are for the clusters {', '.join(BATCH_SYSTEMS)}, not for {self.cluster}")
        if not self.cluster.startswith("tls://") and self.tls != NO_TLS:
            raise BadPlace(f"tls options are for a cluster tls://HOST:PORT, not for {self.cluster}")


LOCAL = Place()


def training_cores(place: Place, size: tuple[int, int], *, at_once: int, device: str) -> int:
    """Cores for one pre-training where `at_once` settings are asked for together.

    A worker of a cluster is left to one training, and so is a GPU. The cores of this machine are shared: two trainings
    of one thread are 1.7 times as fast as one after the other with two (docs/decisions.md).

    Args:
        size: cores and GPUs of the largest worker.

    Raises:
        BadPlace: that worker has fewer GPUs, or cores where there is no GPU, than a training is to have processes.
    """
    cores, gpus = size
    limit, what = (cores, "cores") if device == "cpu" else (gpus, "GPUs")
    # one process is always allowed: where there is no GPU at all, the stage says so
    if place.train_processes > max(1, limit):
        raise BadPlace(
            f"train_processes is {place.train_processes}, but the largest worker has {limit} {what}; "
            f"allowed: 1 to {max(1, limit)}"
        )
    if place.cluster != "local" or device != "cpu":
        return cores
    return max(place.train_processes, cores // at_once)
