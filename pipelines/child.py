"""Stage runs in processes of their own: `Child` is the parent's side, `python -m pipelines.child FD` the
other.

Why not in the Dask worker: its processes are daemonic (no DataLoader workers inside), it runs with one
OpenMP thread, a crash of Blender or an out-of-memory kill would take the worker along, and memory comes
back only when a process ends. A child serves jobs of one kind one after another, so that torch is imported
and Blender started once per worker and not once per shard.

Protocol: jobs come as JSON lines on stdin, messages (progress, one outcome per job) go as JSON lines to the
descriptor FD; stdout and stderr are the job's log file. When stdin closes, because the parent is done or
dead, a watchdog thread ends the process at once; Blender ends the same way, its stdin being ours. A stage
killed so leaves a partial directory from which the next attempt resumes. SIGTERM stops the stage and exits
with 75.
"""

from __future__ import annotations

import json
import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

import psutil

from pipelines.configs import from_json, to_json
from pipelines.job import Emit, Job, Outcome, Session, Stopped, StopRequest, append_log, open_log, run_job
from sim.devices import gpu_names, visible_variable

EXIT_SAVED = 75
# A child is replaced after so many jobs or above so much memory: leaks of Blender and torch stay bounded.
MAX_JOBS = 200
MAX_RSS_BYTES = 4 << 30
_STOP_GRACE_S = 20.0


class Child:
    """A running child process for jobs of one kind with one number of threads, and its GPUs."""

    def __init__(self, kind: str, cores: int, gpus: tuple[str, ...], log: str) -> None:
        self.kind, self.cores, self.gpus = kind, cores, gpus
        self.jobs_done = 0
        read_end, write_end = os.pipe()
        try:
            with os.fdopen(open_log(log), "ab") as output:
                # a session of its own: Ctrl-C in the terminal reaches the client, which stops us in order
                self._process = subprocess.Popen(  # nosec B603 # our own module, arguments as a list
                    [sys.executable, "-m", "pipelines.child", str(write_end)],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=(write_end,),
                    env=child_environment(os.environ, cores, gpus),
                    start_new_session=True,
                )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._messages = read_end
        self._buffer = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    def run(self, job: Job, emit: Emit) -> Outcome:
        """Send one job, pass its progress on, wait for its outcome; a dead or silent child is a crash."""
        started = time.monotonic()
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(to_json(job)).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._crashed(job, started)
        last_sign = time.monotonic()
        while True:
            message = self._next_message(timeout_s=1.0)
            if message is not None:
                last_sign = time.monotonic()
                if "outcome" in message:
                    self.jobs_done += 1
                    outcome: Outcome = from_json(Outcome, message["outcome"], "outcome")
                    return outcome
                emit(message)
            elif self._process.poll() is not None:
                return self._crashed(job, started)
            elif job.silence_limit_s is not None and time.monotonic() - last_sign > job.silence_limit_s:
                self._process.kill()
                return self._crashed(job, started, f"no sign of progress for {job.silence_limit_s:.0f} s")

    def worn(self) -> bool:
        """Whether to start a fresh one for the next job."""
        if self._process.poll() is not None or self.jobs_done >= MAX_JOBS:
            return True
        try:
            return bool(psutil.Process(self.pid).memory_info().rss > MAX_RSS_BYTES)
        except psutil.NoSuchProcess:
            return True

    def stop(self) -> None:
        """SIGTERM: the stage saves what it can and the process ends with status 75."""
        if self._process.poll() is None:
            self._process.terminate()

    def close(self, grace_s: float = 5.0) -> None:
        """End the process: its stdin closes, and what does not end by that is killed."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it is gone already
            self._process.stdin.close()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._messages)

    def _next_message(self, timeout_s: float) -> dict[str, Any] | None:
        if b"\n" not in self._buffer:
            if not select.select([self._messages], [], [], timeout_s)[0]:
                return None
            data = os.read(self._messages, 1 << 16)
            if not data:
                time.sleep(0.05)  # closed: the process is about to be reaped by poll()
                return None
            self._buffer += data
        line, newline, rest = self._buffer.partition(b"\n")
        if not newline:
            return None
        self._buffer = rest
        message: dict[str, Any] = json.loads(line)
        return message

    def _crashed(self, job: Job, started: float, why: str | None = None) -> Outcome:
        code = self._process.wait()
        if why is None:
            why = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        append_log(job.log, f"{job.name}: {why}")
        stopped = code == EXIT_SAVED
        return Outcome(
            digest=job.key.digest,
            status="stopped" if stopped else "crashed",
            error="stopped by SIGTERM" if stopped else why,
            wall_s=round(time.monotonic() - started, 3),
            host=os.uname().nodename,
        )


class ChildPool:
    """The children of one worker process: idle ones wait for the next job of their kind."""

    def __init__(self, gpus: Sequence[str] = ()) -> None:
        """`gpus`: what CUDA calls the worker's GPUs (see `visible_gpus`)."""
        self._gpus = tuple(gpus)
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._busy: list[Child] = []
        self._session = Session()
        self._stopping = False

    def run(self, job: Job, emit: Emit) -> Outcome:
        """Run a job where its kind belongs: python in this process, the others in a child."""
        if self._stopping:
            return Outcome(job.key.digest, "stopped", "stopped before it began")
        now = time.strftime("%Y-%m-%d %H:%M:%S %z")
        append_log(job.log, f"--- {job.name} on {os.uname().nodename}, {now}")
        if job.kind == "python":
            return run_job(job, emit, self._session)
        child = self._take(job)
        try:
            return child.run(job, emit)
        finally:
            self._give_back(child)

    def stop(self, *, wait_s: float = _STOP_GRACE_S) -> None:
        """SIGTERM to all children; back when they have ended, at the latest after `wait_s`."""
        with self._lock:
            self._stopping = True
            children = [*self._busy, *self._idle]
        for child in children:
            child.stop()
        deadline = time.monotonic() + wait_s
        while self._busy and time.monotonic() < deadline:
            time.sleep(0.05)

    def close(self) -> None:
        with self._lock:
            children, self._idle = self._idle, []
        for child in children:
            child.close()
        self._session.close()

    def _take(self, job: Job) -> Child:
        with self._lock:
            # GPUs of idle children first: they hold what the job needs already
            idle_gpus = [gpu for child in self._idle for gpu in child.gpus]
            busy_gpus = {gpu for child in self._busy for gpu in child.gpus}
            for child in reversed(self._idle):
                if (child.kind, child.cores, len(child.gpus)) == (job.kind, job.cores, job.gpus):
                    self._idle.remove(child)
                    self._busy.append(child)
                    return child
            free = sorted((gpu for gpu in self._gpus if gpu not in busy_gpus), key=idle_gpus.count)
            gpus = tuple(free[: job.gpus])
            # a child of another kind keeps its GPU's memory as long as it lives
            in_the_way = [child for child in self._idle if set(child.gpus) & set(gpus)]
            self._idle = [child for child in self._idle if child not in in_the_way]
            fresh = Child(job.kind, job.cores, gpus, job.log)
            self._busy.append(fresh)
        for child in in_the_way:
            child.close()
        return fresh

    def _give_back(self, child: Child) -> None:
        worn = self._stopping or child.worn()
        with self._lock:
            self._busy.remove(child)
            if not worn:
                self._idle.append(child)
        if worn:
            child.close()


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of this machine's NVIDIA GPUs as CUDA_VISIBLE_DEVICES has them; batch systems set that variable."""
    if visible_variable("cuda") in environment:
        return gpu_names("cuda", environment)
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def child_environment(environment: Mapping[str, str], cores: int, gpus: Sequence[str]) -> dict[str, str]:
    """The environment with the thread counts of every numeric library set (Dask workers pass on 1) and, for a job
    that has some, the GPUs.

    Dask's MALLOC_TRIM_THRESHOLD_ is left out: with it memory goes back to the system at every free, and a training step
    that gets it anew each time ran at half the speed.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    own = {name: str(cores) for name in names}
    kept = {name: value for name, value in environment.items() if name != "MALLOC_TRIM_THRESHOLD_"}
    return {**kept, **own, **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {})}


def serve(messages: IO[str], jobs: Callable[[], Job]) -> NoReturn:
    """The child's main loop: one job after another until stdin closes (the watchdog ends the process then)."""
    stop = StopRequest()
    signal.signal(signal.SIGTERM, lambda signum, frame: _on_sigterm(stop))
    lock = threading.Lock()

    def send(message: dict[str, Any]) -> None:
        with lock:
            messages.write(json.dumps(message) + "\n")
            messages.flush()

    session = Session()
    try:
        while True:
            job = jobs()
            _redirect_output(job.log)
            outcome = run_job(job, send, session, stop)
            stop.polled = False
            # a full disk: the outcome counts, not what the log misses
            with suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()
            send({"outcome": to_json(outcome)})
            if stop.requested:
                raise Stopped
            if outcome.status == "failed":
                session.close()  # whatever was kept may be what failed
    except Stopped:
        os._exit(EXIT_SAVED)


def _on_sigterm(stop: StopRequest) -> None:
    first, stop.requested = not stop.requested, True
    # once: a second SIGTERM must not interrupt the saving
    if first and not stop.polled:
        raise Stopped


def _redirect_output(log: str) -> None:
    descriptor = open_log(log)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _watch_stdin(jobs: queue.SimpleQueue[Job]) -> None:
    """Jobs from stdin into the queue; ends the process when stdin does."""
    for line in sys.stdin:
        jobs.put(from_json(Job, json.loads(line), "job"))
    # no clean-up on purpose: the parent may be dead, and what is half done is resumed by the next attempt
    os._exit(0)


def main() -> None:
    messages = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    jobs: queue.SimpleQueue[Job] = queue.SimpleQueue()
    threading.Thread(target=_watch_stdin, args=(jobs,), daemon=True).start()
    # a get with a timeout lets the main thread see signals while it is idle
    serve(messages, lambda: _next_job(jobs))


def _next_job(jobs: queue.SimpleQueue[Job]) -> Job:
    while True:
        try:
            return jobs.get(timeout=1.0)
        except queue.Empty:
            continue


if __name__ == "__main__":
    main()
