"""Where jobs run: Dask, on this machine, on a batch system, or behind a scheduler's address. The only file
with Dask.

The Dask task is thin: a worker's thread hands the job to a child process (`pipelines.child`) and waits.
So there is one worker process per node (or several, when asked for), with one thread per core, and the
resource `core` says how many jobs of which size fit. Scheduler and workers listen on loopback for a
local cluster; its workers end with the client, however that ends, because their nannies live in the
client and the workers watch them.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster, get_worker

from pipelines.child import ChildPool
from pipelines.configs import from_json, to_json
from pipelines.job import Job, Outcome

_CORE = "core"
# Two busy cores answer late: Dask's own limits (10 to 30 s) would take a slow node for a lost one.
_SETTINGS = {
    "distributed.comm.timeouts.connect": "90s",
    "distributed.comm.timeouts.tcp": "120s",
    "distributed.scheduler.worker-ttl": "10 minutes",
    "distributed.scheduler.allowed-failures": 3,
    "distributed.scheduler.work-stealing": True,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.admin.log-length": 1000,
}
_WORKERS_REFRESH_S = 2.0


class ClusterLost(RuntimeError):
    """The scheduler is gone; what was made is in the store, and a second run continues."""


class DaskCluster:
    """Jobs on the workers of a Dask client (see `pipelines.flow.Cluster`)."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._run = uuid.uuid4().hex
        self._topic = f"simpath-{self._run}"
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._running: dict[str, Any] = {}
        self._starts = 0
        self._refreshed_at = 0.0
        self._worker_cores: list[int] = []
        client.subscribe_topic(self._topic, self._on_event)

    @property
    def dashboard(self) -> str:
        return str(self._client.dashboard_link)

    @property
    def cores(self) -> int:
        return max(1, sum(self._look()))

    @property
    def cores_per_job(self) -> int:
        return max(self._look(), default=1)

    @property
    def workers(self) -> int:
        return len(self._look())

    def start(self, job: Job) -> None:
        self._starts += 1
        cores = min(job.cores, self.cores_per_job)
        future = self._client.submit(
            _run_on_worker,
            {**to_json(job), "cores": cores},
            self._run,
            key=f"{job.stage}-{job.key.digest[:16]}-{self._starts}-{self._run[:8]}",
            resources={_CORE: cores},
            pure=False,
        )
        self._running[job.key.digest] = future
        future.add_done_callback(lambda done: self._on_done(job.key.digest, done))

    def finished(self, timeout_s: float) -> list[Outcome]:
        outcomes = []
        try:
            outcomes.append(self._outcomes.get(timeout=timeout_s))
            while True:
                outcomes.append(self._outcomes.get_nowait())
        except queue.Empty:
            pass
        for outcome in outcomes:
            self._running.pop(outcome.digest, None)
        if not outcomes and self._client.status not in ("running", "connecting", "newly-created"):
            raise ClusterLost("the Dask scheduler is gone; run again to continue from the store")
        return outcomes

    def messages(self) -> list[dict[str, Any]]:
        messages = []
        while not self._messages.empty():
            messages.append(self._messages.get())
        return messages

    def stop(self) -> None:
        """SIGTERM to the children of this run on all workers; waits until they have saved."""
        try:
            self._client.cancel(list(self._running.values()))
            self._client.run(_stop_run, self._run)
        except (OSError, TimeoutError):
            return  # the scheduler is gone, and its workers with it
        self._running.clear()

    def _look(self) -> list[int]:
        now = time.monotonic()
        if now - self._refreshed_at > _WORKERS_REFRESH_S or not self._worker_cores:
            workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            self._worker_cores = [int(worker["resources"].get(_CORE, worker["nthreads"])) for worker in workers]
            self._refreshed_at = now
        return self._worker_cores

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        self._messages.put(event[1])

    def _on_done(self, digest: str, future: Any) -> None:
        """In the client's own thread pool: the outcome, or a crash for a task that Dask gave up."""
        if future.status == "finished":
            self._outcomes.put(from_json(Outcome, future.result(), "outcome"))
        elif future.status == "error":
            error = future.exception()
            why = f"the worker died ({type(error).__name__})"
            self._outcomes.put(Outcome(digest, "crashed", why))
        else:
            self._outcomes.put(Outcome(digest, "crashed", f"the scheduler dropped the task ({future.status})"))


@contextmanager
def open_cluster(spec: str = "local", *, cores: int | None = None, workers: int = 1) -> Iterator[DaskCluster]:
    """A cluster by name: `local`, or the address `tcp://…` or `tls://…` of a running scheduler.

    `cores`: of this machine to use (default: all that this process may run on), split among `workers`
    processes. Raises ValueError for an unknown name, OSError when nobody answers at an address.
    """
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        if spec == "local":
            client = stack.enter_context(_local(cores or len(os.sched_getaffinity(0)), workers))
        elif spec.startswith(("tcp://", "tls://")):
            client = stack.enter_context(_client(spec, timeout="30s"))
        else:
            raise ValueError(f"cluster {spec!r}; allowed: local, tcp://HOST:PORT, tls://HOST:PORT")
        cluster = DaskCluster(client)
        try:
            yield cluster
        finally:
            cluster.stop()


@contextmanager
def _local(cores: int, workers: int) -> Iterator[Client]:
    if not 1 <= workers <= cores:
        raise ValueError(f"{workers} workers on {cores} cores; allowed: 1 to {cores}")
    share = cores // workers
    # a lost worker is reported by us, once, with the job that it ran
    for name in ("distributed", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    local_cluster: Any = LocalCluster
    with (
        local_cluster(
            n_workers=workers,
            threads_per_worker=share,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            worker_dashboard_address=None,
            memory_limit=0,
            resources={_CORE: share},
            silence_logs=logging.CRITICAL,
        ) as cluster,
        _client(cluster, timeout="90s") as client,
    ):
        yield client


def _client(address: Any, timeout: str) -> Any:
    client: Any = Client
    return client(address, timeout=timeout, set_as_default=False)


_pools: dict[str, ChildPool] = {}
_pools_lock = threading.Lock()


def _pool(run: str) -> ChildPool:
    """The children of a run on this worker."""
    with _pools_lock:
        return _pools.setdefault(run, ChildPool())


def _run_on_worker(job_json: dict[str, Any], run: str) -> Any:
    """The Dask task: runs the job, sends its progress to the client. Module-level: it pickles by name."""
    worker = get_worker()
    job = from_json(Job, job_json, "job")
    outcome = _pool(run).run(job, lambda message: worker.log_event(f"simpath-{run}", message))
    return to_json(outcome)


def _stop_run(run: str) -> None:
    with _pools_lock:
        pool = _pools.pop(run, None)
    if pool is not None:
        pool.stop()
        pool.close()
