"""Where jobs run: Dask, on this machine, on a batch system, or behind a scheduler's address.

The only file with Dask. Its task is thin: a worker's thread hands the job to a child process (`pipelines.child`)
and waits. So there is one worker process per node (or several, when asked for), with one thread per core, and the
resources `core` and `gpu` say how many jobs of which size fit.

Scheduler and workers of a local cluster listen on loopback; its workers end with the client, however that ends,
because their nannies live in the client and the workers watch them. On a batch system the scheduler must be
reachable from other nodes, so everything there is encrypted with credentials made for this one run.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import dask
from distributed import Client, LocalCluster, Security, WorkerPlugin, get_worker

from pipelines.batch import BATCH_SYSTEMS, BatchConfig, worker_options
from pipelines.child import ChildPool, visible_gpus
from pipelines.configs import from_json, to_json
from pipelines.credentials import private_folder, write_private
from pipelines.inbox import Inbox, outcome_message
from pipelines.job import Job, Outcome
from pipelines.place import ADDRESSES, NEEDS_BOKEH, NO_TLS, Place, TlsFiles, has_bokeh, unknown_cluster

_CORE, _GPU = "core", "gpu"
# Two busy cores answer late: Dask's own limits (10 to 30 s) would take a slow node for a lost one.
_SETTINGS = {
    "distributed.comm.timeouts.connect": "90s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.scheduler.worker-ttl": "10 minutes",
    "distributed.scheduler.allowed-failures": 3,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.log-length": 1000,
    "distributed.admin.tick.interval": "500ms",
}
# Fifty ticks and a hundred looks at the stack a second are a tenth of a core, for jobs that take seconds and more.
_UNPROFILED = {"distributed.worker.profile.enabled": False}
_WORKERS_REFRESH_S = 2.0
_SCHEDULER_S = 15
_FIRST_WORKER_S = 30


class ClusterLost(RuntimeError):
    """The scheduler is gone; what was made is in the store, and a second run continues."""


class DaskCluster:
    """Jobs on the workers of a Dask client (see `pipelines.flow.Cluster`)."""

    def __init__(self, client: Any, planned: tuple[int, int] = (1, 0), *, ours: bool = False) -> None:
        """`planned`: cores and GPUs of a worker while there is none; `ours`: workers are children of this process."""
        self._client = client
        self._planned = planned
        self._run = uuid.uuid4().hex
        self._inbox = Inbox()
        self._running: dict[str, Any] = {}
        self._starts = 0
        self._refreshed_at = 0.0
        self._sizes: list[tuple[int, int]] = []  # (cores, gpus) of every worker
        client.subscribe_topic(_name(self._run), lambda event: self._inbox.receive(event[1]))
        client.register_plugin(_Children(ours), name=_name(self._run))

    @property
    def address(self) -> str:
        """Where the scheduler listens."""
        return str(self._client.scheduler.address)

    @property
    def dashboard(self) -> str | None:
        """The page's address; None without bokeh, which Dask needs for it."""
        return str(self._client.dashboard_link) if has_bokeh() else None

    @property
    def cores(self) -> int:
        return max(1, sum(cores for cores, _ in self._look()))

    @property
    def size(self) -> tuple[int, int]:
        """Cores and GPUs that a job can have: those of the largest worker."""
        cores, gpus = zip(*self._look() or [self._planned], strict=True)
        return max(cores), max(gpus)

    @property
    def workers(self) -> int:
        return len(self._look())

    def start(self, job: Job) -> None:
        """Send a job; what it asks for is cut down to what the largest worker has."""
        self._starts += 1
        cores, gpus = (min(asked, there) for asked, there in zip((job.cores, job.gpus), self.size, strict=True))
        key = f"{job.stage}-{job.key.digest[:16]}-{self._starts}-{self._run[:8]}"
        self._inbox.expect(key)
        future = self._client.submit(
            _run_on_worker,
            # as text: Dask walks through nested data at every hop, to find futures and to guess its size
            json.dumps({**to_json(job), "cores": cores, "gpus": gpus}),
            self._run,
            key=key,
            resources={_CORE: cores, **({_GPU: gpus} if gpus else {})},
            pure=False,
        )
        self._running[job.key.digest] = future
        future.add_done_callback(lambda done: self._inbox.ended(key, job.key.digest, _why(done)))

    def finished(self, timeout_s: float) -> list[Outcome]:
        outcomes = self._inbox.outcomes(timeout_s)
        # a client that connects again has lost its tasks: nothing is to be waited for
        if self._client.status != "running":
            raise ClusterLost("the Dask scheduler is gone; run again to continue from the store")
        for outcome in outcomes:
            self._running.pop(outcome.digest, None)
        return outcomes

    def messages(self) -> list[dict[str, Any]]:
        return self._inbox.messages()

    def stop(self) -> None:
        """SIGTERM to the children of this run on all workers; waits until they have saved."""
        if self._client.status != "running":
            return  # the scheduler is gone; workers of ours end with it, and their children with them
        self._inbox.expect_nothing()
        try:
            self._client.cancel(list(self._running.values()))
            self._client.run(_stop_children, _name(self._run))
        except (OSError, TimeoutError, ValueError):
            return  # gone in this very moment
        self._running.clear()

    def _look(self) -> list[tuple[int, int]]:
        now = time.monotonic()
        if now - self._refreshed_at > _WORKERS_REFRESH_S or not self._sizes:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._sizes = [
                (int(worker["resources"].get(_CORE, 0)), int(worker["resources"].get(_GPU, 0))) for worker in workers
            ]
            self._refreshed_at = now
        return self._sizes


@contextmanager
def open_cluster(
    spec: str = "local",
    *,
    cores: int | None = None,
    workers: int = 1,
    batch: BatchConfig | None = None,
    scratch: Path | None = None,
    tls: TlsFiles = NO_TLS,
    report: Path | None = None,
) -> Iterator[DaskCluster]:
    """A cluster by name: `local`, a batch system, or the address `tcp://…` or `tls://…` of a running scheduler.

    Args:
        spec: `local`, `slurm` and the other names in `pipelines.batch`, or an address.
        cores: of this machine to use (default: all that this process may run on), split among the workers.
        workers: worker processes of a local cluster; each job runs on one.
        batch: what each batch job asks for.
        scratch: directory that this machine and the batch nodes share, for worker logs and credentials.
        tls: credentials for a `tls://` address.
        report: write Dask's performance report (HTML) there; needs bokeh.

    Raises:
        ValueError: an unknown name, settings that do not fit, or a report without bokeh. OSError: nobody answers at an
            address.
    """
    # before anything is started or queued
    if report is not None and not has_bokeh():
        raise ValueError(f"a performance report {NEEDS_BOKEH}")
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS if report else _SETTINGS | _UNPROFILED))
        planned = (1, 0)
        # a lost worker is reported by us, once, with the job that it ran
        for name in ("distributed", "tornado", "dask_jobqueue"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        if spec == "local":
            client = stack.enter_context(_local(cores or len(os.sched_getaffinity(0)), workers))
        elif spec in BATCH_SYSTEMS:
            if scratch is None:
                raise ValueError(f"cluster {spec!r} needs a directory that this machine and the nodes share")
            if not re.fullmatch(r"[\w@+=,./:-]+", str(scratch)):
                # dask-jobqueue writes it into the jobs' scripts as it is
                raise ValueError(f"directory {str(scratch)!r}; allowed on a batch system: letters, digits, _@+=,./:-")
            batch = batch or BatchConfig()
            planned = (batch.cores, batch.gpus)
            client = stack.enter_context(_batch(spec, batch, scratch))
        elif spec.startswith(ADDRESSES):
            client = stack.enter_context(_existing(spec, tls))
        else:
            raise unknown_cluster(spec)
        if report is not None:
            stack.enter_context(_performance_report(client, report))
        cluster = DaskCluster(client, planned, ours=spec == "local")
        try:
            yield cluster
        finally:
            cluster.stop()


def open_place(place: Place, out: Path) -> AbstractContextManager[DaskCluster]:
    """The cluster that a run asked for; `out` holds its worker logs, its credentials and its performance report."""
    return open_cluster(
        place.cluster,
        cores=place.cores,
        workers=place.workers,
        batch=place.batch,
        scratch=out.absolute(),
        tls=place.tls,
        report=out / "performance.html" if place.performance_report else None,
    )


def worker_resources(cores: int, gpus: int) -> str:
    """The `--resources` argument with which workers of one's own scheduler are to be started."""
    return f"{_CORE}={cores}" + (f",{_GPU}={gpus}" if gpus else "")


@contextmanager
def _local(cores: int, workers: int) -> Iterator[Any]:
    if not 1 <= workers <= cores:
        raise ValueError(f"{workers} workers on {cores} cores; allowed: 1 to {cores}")
    share = cores // workers
    gpus = len(visible_gpus(os.environ)) // workers
    with (
        cast("Any", LocalCluster)(
            n_workers=workers,
            threads_per_worker=share,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
            memory_limit=0,
            resources={_CORE: share, **({_GPU: gpus} if gpus else {})},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        _client(cluster, timeout="90s") as client,
    ):
        yield client


@contextmanager
def _batch(system: str, config: BatchConfig, scratch: Path) -> Iterator[Any]:
    """Workers as batch jobs; always as many as asked for, a lost one is queued again."""
    import dask_jobqueue

    classes = {name.removesuffix("Cluster").lower(): name for name in dir(dask_jobqueue) if name.endswith("Cluster")}
    logs = scratch / "workers"
    logs.mkdir(parents=True, exist_ok=True)
    options = worker_options(system, config, worker_resources(config.cores, config.gpus), logs)
    options |= {"scheduler_options": {"dashboard_address": "127.0.0.1:0"}, "silence_logs": logging.CRITICAL}
    with private_folder(scratch) as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # dask-jobqueue warns of its own defaults
            cluster = getattr(dask_jobqueue, classes[system])(**options, security=_temporary_credentials(folder))
        with cluster, _client(cluster, timeout="90s") as client:
            cluster.adapt(minimum_jobs=config.jobs, maximum_jobs=config.jobs, interval="5s", wait_count=10**9)
            yield client


def _temporary_credentials(folder: Path) -> Any:
    """Keys for one run, as files in its private folder; they are worth nothing after it."""
    made = cast("Any", Security).temporary()
    texts = {"ca.pem": made.tls_ca_file, "cert.pem": made.tls_worker_cert, "key.pem": made.tls_worker_key}
    write_private(folder, texts)
    roles = ("client", "scheduler", "worker")
    pairs = {f"tls_{role}_{name}": str(folder / f"{name}.pem") for role in roles for name in ("cert", "key")}
    return cast("Any", Security)(require_encryption=True, tls_ca_file=str(folder / "ca.pem"), **pairs)


@contextmanager
def _existing(address: str, tls: TlsFiles) -> Iterator[Any]:
    security = None
    if address.startswith("tls://"):
        tls.check(address)
        files = {"tls_ca_file": str(tls.ca), "tls_client_cert": str(tls.cert), "tls_client_key": str(tls.key)}
        security = cast("Any", Security)(require_encryption=True, **files)
    with _client(address, timeout=f"{_SCHEDULER_S}s", security=security) as client:
        try:
            client.wait_for_workers(1, timeout=_FIRST_WORKER_S)
        except TimeoutError:
            raise OSError(f"{address} has had no worker for {_FIRST_WORKER_S} s") from None
        workers = client.scheduler_info(n_workers=-1)["workers"].values()
        if not any(_CORE in worker["resources"] for worker in workers):
            raise ValueError(f"the workers of {address} offer no cores; start them with --resources {_CORE}=N")
        yield client


def _client(address: Any, timeout: str, security: Any = None) -> Any:
    keywords = {} if security is None else {"security": security}
    return cast("Any", Client)(address, timeout=timeout, set_as_default=False, **keywords)


@contextmanager
def _performance_report(client: Any, path: Path) -> Iterator[None]:
    from distributed import performance_report

    path.parent.mkdir(parents=True, exist_ok=True)
    with client.as_current(), cast("Any", performance_report)(filename=str(path)):
        yield


class _Children(WorkerPlugin):
    """The children of one run on a worker; they save and end when the worker closes (lifetime, SIGTERM)."""

    pool: ChildPool

    def __init__(self, local: bool) -> None:
        self._local = local

    def setup(self, worker: Any) -> None:
        if self._local:
            # Ctrl-C reaches the client too, which stops all in order. A worker that it reached hung in its next job,
            # and one that starts anew while the client ends would outlive it by the time that a worker takes to start.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.pool = ChildPool(visible_gpus(os.environ))

    def teardown(self, worker: Any) -> None:
        self.pool.stop()
        self.pool.close()


def _name(run: str) -> str:
    """Of a run's events, and of its plugin on the workers."""
    return f"simpath-{run}"


def _why(future: Any) -> str:
    """Why there is no outcome of a task that has ended."""
    if future.status == "error":
        return f"the worker died ({type(future.exception()).__name__})"
    if future.status == "finished":
        return "the worker's message on how it ended was lost"
    return f"the scheduler dropped the task ({future.status})"


def _run_on_worker(job_json: str, run: str) -> None:
    """The Dask task: runs the job. Module-level: it pickles by name.

    The outcome goes the way of progress, as an event, and over the same connections as the news that the task has
    ended, before it. Fetching it as the task's result took a third of the processor time of a short task.
    """
    worker = get_worker()
    children = cast("_Children", worker.plugins[_name(run)])

    def send(message: dict[str, Any]) -> None:
        worker.log_event(_name(run), message)

    outcome = children.pool.run(from_json(Job, json.loads(job_json), "job"), send)
    send(outcome_message(str(worker.get_current_task()), outcome))


def _stop_children(plugin: str, dask_worker: Any) -> None:
    """SIGTERM to a run's children; a later flow on the same cluster gets new ones."""
    children: _Children = dask_worker.plugins[plugin]
    children.teardown(dask_worker)
    children.setup(dask_worker)
