"""One stage run as data: a `Job` says what to run, `run_job` runs it in this process, an `Outcome` says how
it went.

The same `run_job` serves a child process (`pipelines.child`), a Dask worker for cheap stages, and tests.
"""

from __future__ import annotations

import errno
import functools
import importlib
import inspect
import os
import resource
import socket
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

import psutil

from pipelines.artifact import Key, Store
from pipelines.configs import from_json
from pipelines.machine import describe_machine

T = TypeVar("T")
Emit = Callable[[dict[str, Any]], None]
Kind = Literal["python", "torch", "blender"]
# Ten jobs a worker may report at once; more often than this nobody can read.
EMIT_INTERVAL_S = 0.5


class Stopped(BaseException):
    """Raised in the main thread by SIGTERM: the stage stops where it is and its partial directory stays."""


class ProcessDied(RuntimeError):
    """A process that a stage had started died; the job counts as crashed, and is worth another attempt."""


@dataclass
class StopRequest:
    """SIGTERM as a stage sees it: one that takes `stop` polls it, saves and raises; any other gets Stopped."""

    requested: bool = False
    polled: bool = False
    """Whether the running stage takes `stop`."""

    def __call__(self) -> bool:
        return self.requested


@dataclass(frozen=True)
class Job:
    """Everything that a process anywhere needs to make one artifact."""

    stage: str
    version: str
    function: str
    """`module:function`, importable where the job runs."""
    kind: Kind
    """python: in the worker process itself (cheap, single-threaded); torch, blender: in a child process."""
    config: Any
    """Canonical JSON of the function's first parameter."""
    store: str
    log: str
    """File to which the stage's output and traceback are appended."""
    digests: dict[str, Any] = field(default_factory=dict)
    """Input name -> digest or list of digests: what enters the artifact's key."""
    inputs: dict[str, Any] = field(default_factory=dict)
    """Input name -> path, list of paths, or literal text: what the function gets."""
    input_paths: tuple[str, ...] = ()
    """Names of the inputs that are paths."""
    knobs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments that change no result: device, root, …"""
    cores: int = 1
    gpus: int = 0
    silence_limit_s: float | None = None
    """A child that reports no progress for this long hangs and is killed."""

    @functools.cached_property
    def key(self) -> Key:
        return Key(self.stage, self.version, self.config, self.digests)

    @property
    def name(self) -> str:
        return f"{self.stage} {self.key.digest[:12]}"


@dataclass(frozen=True)
class Outcome:
    """How a job ended. Times in seconds, memory in bytes, of the process that ran it and its children."""

    digest: str
    status: Literal["done", "failed", "stopped", "crashed"]
    """failed: the stage said no (again would say no again); stopped: SIGTERM; crashed: the process died."""
    error: str | None = None
    """One line."""
    wall_s: float = 0.0
    cpu_s: float = 0.0
    rss_bytes: int = 0
    host: str = ""


class Session:
    """Things that outlive a job inside one process, such as a Blender child: one per name, closed with it."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Any, Any, ExitStack]] = {}

    def keep(self, name: str, key: Any, make: Callable[[], AbstractContextManager[T]]) -> T:
        """The thing called `name`; made (and an older one closed) unless the one that is there has this key."""
        if name in self._kept:
            old_key, thing, stack = self._kept[name]
            if old_key == key:
                return thing  # type: ignore[no-any-return]
            self.drop(name)
        stack = ExitStack()
        made = stack.enter_context(make())
        self._kept[name] = (key, made, stack)
        return made

    def drop(self, name: str) -> None:
        """Close the thing, as after an error that may have broken it."""
        if name in self._kept:
            self._kept.pop(name)[2].close()

    def close(self) -> None:
        for name in list(self._kept):
            self.drop(name)


def run_job(job: Job, emit: Emit, session: Session, stop: StopRequest | None = None) -> Outcome:
    """Make the job's artifact in this process. Errors of the stage become a failed Outcome and a log entry."""
    stop = stop or StopRequest()
    started, cpu_before = time.monotonic(), _cpu_s(job.kind)
    status: Literal["done", "failed", "stopped", "crashed"] = "done"
    error = None
    try:
        function = resolve(job.function)
        config = from_json(config_type(function), job.config, job.stage)
        inputs = {name: _input(job, name) for name in job.inputs}
        knobs = _accepted(function, job, emit, session, stop)
        stop.polled = knobs.get("stop") is stop

        def make(out: Path) -> Any:
            return function(config, **inputs, **knobs, out=out)

        Store(job.store).produce(
            job.key,
            make,
            on_wait=lambda holder, waited_s: emit(_message(job, 0, 0, f"waiting {waited_s:.0f} s for {holder}")),
            note={"log": job.log, "host": socket.gethostname(), "cores": job.cores, "machine": describe_machine()},
        )
    except Stopped:
        status, error = "stopped", "stopped by SIGTERM"
    except Exception as caught:
        status, error = "crashed" if isinstance(caught, ProcessDied) else "failed", describe(caught)
        # what an open file raises when the disk is full names no path
        if isinstance(caught, OSError) and caught.errno in (errno.ENOSPC, errno.EDQUOT) and caught.filename is None:
            error += f" (store: {job.store})"
        # a stage that was asked to stop says so by an exception of its own
        if stop.requested:
            status, error = "stopped", "stopped by SIGTERM"
        append_log(job.log, traceback.format_exc())
    return Outcome(
        digest=job.key.digest,
        status=status,
        error=error,
        wall_s=round(time.monotonic() - started, 3),
        cpu_s=round(max(0.0, _cpu_s(job.kind) - cpu_before), 3),
        rss_bytes=_rss_bytes(job.kind),
        host=socket.gethostname(),
    )


def describe(error: BaseException) -> str:
    """One line: the message of an error raised on purpose, with the type's name where it is probably a bug."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    deliberate = isinstance(error, (ValueError, OSError, RuntimeError)) and text
    return text if deliberate else f"{type(error).__name__}: {text}"


def append_log(path: str, text: str) -> None:
    """Append a line, or lines, to a log file, unless the disk is full or will not have it for another reason: an
    error of the log must not hide the outcome of the job."""
    with suppress(OSError), os.fdopen(open_log(path), "a", encoding="utf-8") as log:
        log.write(text if text.endswith("\n") else text + "\n")


def open_log(path: str) -> int:
    """Descriptor of a log file to append to; where it cannot be opened, one that drops what it is given (see above)."""
    with suppress(OSError):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    return os.open(os.devnull, os.O_WRONLY)


def resolve(function: str) -> Callable[..., Any]:
    """The function named `module:function`. Raises ValueError naming what is missing."""
    module, _, name = function.partition(":")
    found = getattr(importlib.import_module(module), name, None)
    if not callable(found):
        raise ValueError(f"no stage function {function}")
    return found  # type: ignore[no-any-return]


@functools.cache
def config_type(function: Callable[..., Any]) -> Any:
    """Type of the first parameter; the others' may exist for type checkers only."""
    first = next(iter(inspect.signature(function).parameters.values()))
    if first.annotation is inspect.Parameter.empty:
        return Any
    holder = type("holder", (), {"__annotations__": {"config": first.annotation}})
    return get_type_hints(holder, globalns=getattr(inspect.unwrap(function), "__globals__", {}))["config"]


def _input(job: Job, name: str) -> Any:
    value = job.inputs[name]
    if name not in job.input_paths:
        return value
    return Path(value) if isinstance(value, str) else [Path(path) for path in value]


def _accepted(
    function: Callable[..., Any], job: Job, emit: Emit, session: Session, stop: StopRequest
) -> dict[str, Any]:
    """The job's own knobs, and of what the runner offers what the function has a parameter for."""
    offered = {
        "progress": _progress(job, emit),
        "threads": job.cores,
        "stop": stop,
        "session": session,
        "log": Path(job.log),
    }
    parameters = _parameters(function)
    return {**{name: value for name, value in offered.items() if name in parameters}, **job.knobs}


@functools.cache
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


def _progress(job: Job, emit: Emit) -> Callable[[int, int, str], None]:
    last = 0.0

    def progress(done: int, total: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if done >= total or now - last >= EMIT_INTERVAL_S:
            last = now
            emit(_message(job, done, total, note))

    return progress


def _message(job: Job, done: int, total: int, note: str) -> dict[str, Any]:
    return {"stage": job.stage, "digest": job.key.digest, "done": done, "total": total, "note": note}


def _family() -> list[psutil.Process]:
    process = psutil.Process(os.getpid())
    return [process, *process.children(recursive=True)]


def _cpu_s(kind: Kind) -> float:
    """CPU time of a child and its own children; of the running thread for a job inside the worker, where others
    run beside it (and where looking at every process would cost more than the job)."""
    if kind == "python":
        return time.thread_time()
    total = 0.0
    for process in _family():
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _rss_bytes(kind: Kind) -> int:
    if kind == "python":
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = 0
    for process in _family():
        with suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total
