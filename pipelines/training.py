"""The pre-training stage of an experiment: in this process, or in several that torchrun starts on this machine.

In and out as `pretrain.train.pretrain`. The processes of one training (ranks) are children of this one. They speak to
it through two pipes that torchrun hands on: stdin ends when this process is done or dead, which ends them at once; on
stdout go progress, warnings and errors as JSON lines. What else they print goes to stderr, the job's log. A file that
appears is the word to stop.

Why not torchrun by hand: it answers SIGTERM with status 1, whatever its ranks have saved, and kills after 30 s.

This module as a program, `python -m pipelines.training WORK` started by torchrun, is one rank. On CPUs torchrun forks
the ranks from a process that has imported all they need, for importing takes longer than a short training; on GPUs
each starts an interpreter of its own.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pipelines.child import child_environment, visible_gpus
from pipelines.configs import from_json, to_json
from pipelines.job import ProcessDied, describe
from pretrain.train import (
    SUMMARY_NAME,
    PretrainConfig,
    Progress,
    SavedAndStoppedError,
    TrainingDivergedError,
    pretrain,
)

log = logging.getLogger(__name__)

STOP_NAME, PRINTED_NAME = "stop", "printed"
_POLL_S = 0.5
_END_GRACE_S = 20.0
_FORKING = "import pretrain.run, timm.optim, torchvision; from torch.distributed.run import main; main()"


def check_processes(config: PretrainConfig, processes: int) -> None:
    """Refuse a number of processes that would change the result by more than rounding.

    Batch norm sees the images of one pass, so every process must have whole passes, as one process would make them.

    Raises:
        ValueError: names the numbers that are allowed.
    """
    size = min(config.micro_batch, config.batch_size)
    passes = config.batch_size // size
    allowed = [number for number in range(1, passes + 1) if config.batch_size % (number * size) == 0] or [1]
    if processes not in allowed:
        raise ValueError(
            f"a training by {processes} processes; allowed: {', '.join(map(str, allowed))}, because a batch of "
            f"{config.batch_size} images takes passes of {size}, which cannot be torn apart"
        )


def pretrain_stage(
    config: PretrainConfig,
    *,
    data: Path,
    out: Path,
    device: Literal["cpu", "cuda"] = "cpu",
    processes: int = 1,
    threads: int = 1,
    checkpoint_every_s: float = 120.0,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> dict[str, Any]:
    """Stage `pretrain`: a backbone from a data set directory; no checkpoints stay after the end.

    On a GPU all cores of a process but one read and augment images, because a core makes a few hundred a second and the
    GPU takes thousands. They hand over whole batches through /dev/shm, two for each core at most.

    Args:
        processes: that share every batch, each with a GPU of this job, or with its part of the threads (see
            `check_processes`). A training may be resumed with another number of them.
        threads: of all processes together.
        checkpoint_every_s: time between checkpoints.

    Raises:
        ValueError: a number of processes that does not fit batch or GPUs, or what `pretrain` refuses.
        RuntimeError: what else a rank gave as the reason of its end.
        SavedAndStoppedError: `stop` was true, and a checkpoint is saved.
        ProcessDied: a rank died without a reason.
    """
    check_processes(config, processes)
    knobs = {
        "device": device,
        "threads": threads,
        "workers": max(0, threads // processes - 1) if device == "cuda" else 0,
        "keep_checkpoints": 0,
        "checkpoint_every_s": checkpoint_every_s,
        "tensorboard": False,
    }
    return train_in_processes(config, data, out, processes, knobs, progress, stop)


def train_in_processes(
    config: PretrainConfig,
    data: Path | str,
    out: Path,
    processes: int,
    knobs: dict[str, Any],
    progress: Progress | None,
    stop: Callable[[], bool] | None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """`pretrain` by several processes of this machine; returns and raises what `pretrain_stage` does.

    Args:
        knobs: of `pretrain`, as plain JSON values; `threads` are those of all processes together.
        quiet: show what the processes print, torchrun's report among it, only if one died without a reason.
    """
    check_processes(config, processes)
    device = knobs["device"]
    knobs = {**knobs, "threads": max(1, knobs["threads"] // processes)}
    if processes > 1 and not (out / SUMMARY_NAME).is_file():
        gpus = visible_gpus(os.environ)
        if device == "cuda" and len(gpus) < processes:
            raise ValueError(f"{processes} processes train with a GPU each, but this job has {len(gpus)}")
        _train_in_ranks(config, data, out, processes, knobs, progress, stop, quiet)
    # after ranks this finds a finished training and reads its summary
    return pretrain(config, data, out=out, progress=progress, stop=stop, **knobs)


def _train_in_ranks(
    config: PretrainConfig,
    data: Path | str,
    out: Path,
    processes: int,
    knobs: dict[str, Any],
    progress: Progress | None,
    stop: Callable[[], bool] | None,
    quiet: bool,
) -> None:
    work = {"config": to_json(config), "data": str(data), "out": str(out), "knobs": knobs}
    ends: dict[str, str] = {}
    with (
        tempfile.TemporaryDirectory(prefix="simpath-ranks-") as folder,
        _torchrun(processes, work, Path(folder), quiet) as group,
    ):
        for message in _messages(group):
            if stop is not None and stop():
                (Path(folder) / STOP_NAME).touch()
            if "progress" in message and progress is not None:
                progress(*message["progress"])
            if "warning" in message:
                log.warning("%s", message["warning"])
            for end in ("error", "stopped"):
                if end in message:
                    ends.setdefault(end, message[end])
        printed = (Path(folder) / PRINTED_NAME).read_text(encoding="utf-8", errors="replace")
    if "error" in ends:
        raise RuntimeError(ends["error"])
    if "stopped" in ends:
        raise SavedAndStoppedError(ends["stopped"])
    if group.returncode != 0:
        sys.stderr.write(printed)
        raise ProcessDied(f"one of the {processes} training processes died")


@contextmanager
def _torchrun(processes: int, work: dict[str, Any], folder: Path, quiet: bool) -> Iterator[subprocess.Popen[bytes]]:
    """The ranks and the process that watches over them: if one fails, it ends the others."""
    # torchrun leaves a directory of log files, all empty here, wherever it is told to
    options = ["--standalone", f"--nproc-per-node={processes}", f"--log-dir={folder}"]
    if work["knobs"]["device"] == "cuda":
        launcher = ["-m", "torch.distributed.run", *options, "-m", "pipelines.training"]
    else:
        launcher = ["-c", _FORKING, *options, "--start-method=fork", "--run-path", str(Path(__file__).absolute())]
    work = {**work, "stop": str(folder / STOP_NAME)}
    with (folder / PRINTED_NAME).open("wb") as printed:
        group = subprocess.Popen(  # nosec B603 # our own module, arguments as a list
            [sys.executable, *launcher, json.dumps(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed if quiet else None,
            env=child_environment(os.environ, work["knobs"]["threads"], ()),
            bufsize=0,
            start_new_session=True,  # Ctrl-C and a signal to the whole group reach this process, which stops the ranks
        )
        assert group.stdin is not None and group.stdout is not None
        try:
            yield group
        finally:
            group.stdin.close()
            try:
                group.wait(_END_GRACE_S)
            except subprocess.TimeoutExpired:
                group.kill()
                group.wait()
            group.stdout.close()


def _messages(group: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """Messages of the ranks until all have ended; an empty one now and then while there is none."""
    assert group.stdout is not None
    unfinished = b""
    while True:
        yield {}
        if not select.select([group.stdout], [], [], _POLL_S)[0]:
            continue
        read = os.read(group.stdout.fileno(), 1 << 16)
        if not read:
            return
        *lines, unfinished = (unfinished + read).split(b"\n")
        yield from map(json.loads, lines)


def train_as_rank(
    work: dict[str, Any], send: Callable[[dict[str, Any]], None], stop: Callable[[], bool], *, first: bool = True
) -> int:
    """Train as one of several; the exit status. The reason of an end is sent where it is the training's own.

    Any other error may come from the death of another rank, which is not the training's fault. That the loss is not
    finite all ranks find in the same step: only the first one sends it, as it may be long.
    """
    config = from_json(PretrainConfig, work["config"], "pretrain")

    def progress(done: int, total: int, note: str) -> None:
        send({"progress": [done, total, note]})

    try:
        pretrain(
            config,
            work["data"],  # text, because a path would make one slash of an address's two
            out=Path(work["out"]),
            progress=progress,
            stop=stop,
            **work["knobs"],
        )
    except SavedAndStoppedError as stopped:
        send({"stopped": str(stopped)})
    except (ValueError, OSError, TrainingDivergedError) as error:
        traceback.print_exc()
        if first or not isinstance(error, TrainingDivergedError):
            send({"error": describe(error)})
        return 1
    return 0


def main() -> int:
    channel = os.dup(1)
    os.dup2(2, 1)
    work = json.loads(sys.argv[1])
    heard = threading.Event()
    # a batch system may signal every process there is, torchrun too, which leaves its ranks 30 s
    signal.signal(signal.SIGTERM, lambda number, frame: heard.set())
    threading.Thread(target=_end_with_stdin, daemon=True).start()

    def send(message: dict[str, Any]) -> None:
        # in one piece, so that lines of several ranks do not mix: up to PIPE_BUF, 4 KiB
        os.write(channel, json.dumps(message).encode() + b"\n")

    first = os.environ["RANK"] == "0"
    if first:  # the others would say the same
        logging.getLogger().addHandler(_Sender(send))
    return train_as_rank(work, send, lambda: heard.is_set() or Path(work["stop"]).exists(), first=first)


class _Sender(logging.Handler):
    """Warnings as messages to the process that started the ranks."""

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send({"warning": record.getMessage()})


def _end_with_stdin() -> None:
    """The process that started the ranks is gone when stdin ends, whose Python object a forked rank has lost."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    from pretrain.ranks import end_process

    status = main()
    # a forked rank has to return; what Python would clean up afterwards it leaves alone anyway
    if status or multiprocessing.parent_process() is None:
        end_process(status)
