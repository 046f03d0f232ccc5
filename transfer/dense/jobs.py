"""Rows and seeds trained in several processes at a time.

In: an experiment and how many processes. Out: the folders of `rows.py`, with the bytes that one process with as many
threads would leave. Networks of this size keep one core busier than they keep two: on two cores two processes get 1.3
to 1.4 times as many steps done as one with two threads (docs/decisions.md).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from transfer.dense.config import MultitaskConfig

NEWS_EVERY_S = 0.5
Report = Callable[[str, str], None]
"""Called with the name of a run and a note once per training step."""


def train_side_by_side(
    config: MultitaskConfig, data: Path, *, out: Path, device: str, jobs: int, threads: int, report: Report
) -> None:
    """Train every row and seed; what is finished is found on disk.

    The single-task networks of a seed come first, because AdaShare is scored against them, and then AdaShare, which
    takes longest.

    Args:
        out: folder of all rows.
        threads: torch's threads of each process.

    Raises:
        RuntimeError: a process was killed. What a row raises is raised here too.
    """
    context = multiprocessing.get_context("spawn")
    news = context.SimpleQueue()
    before = set(multiprocessing.active_children())
    others = sorted(config.runs[1:], key=lambda run: run[0] != "adashare")
    with ProcessPoolExecutor(jobs, context, _open, (config, data, out, device, threads, news)) as pool:
        try:
            waiting: dict[Future[None], int | None] = {
                pool.submit(_train, *config.runs[0], seed): seed for seed in config.seeds
            }
            while waiting:
                done, _ = wait(waiting, NEWS_EVERY_S, FIRST_COMPLETED)
                while not news.empty():
                    report(*news.get())
                for future in done:
                    future.result()
                    seed = waiting.pop(future)
                    if seed is not None:
                        waiting |= {pool.submit(_train, *run, seed): None for run in others}
        except BrokenProcessPool:
            raise RuntimeError(
                "a training process was killed, perhaps for want of memory; run again to go on"
            ) from None
        except BaseException:
            for process in set(multiprocessing.active_children()) - before:
                process.terminate()  # one that trains finishes its step and saves first (`training.held_signals`)
            raise


_rows: Any = None
"""What `_open` leaves for `_train`, in a training process."""


def _open(config: MultitaskConfig, data: Path, out: Path, device: str, threads: int, news: Any) -> None:
    import torch

    from transfer.dense.readers import read_dense
    from transfer.dense.rows import Rows

    global _rows
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends all in order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(threads)
    scenes = read_dense(config, data)
    _rows = Rows(config, scenes, out=out, device=device, tick_of=lambda run: lambda note: news.put((run, note)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _train(architecture: str, balancer: str, seed: int) -> None:
    """One row and seed in a training process."""
    if architecture != "single_task":
        _rows.train("single_task", "fixed", seed)  # on disk; the reference of this seed
    _rows.train(architecture, balancer, seed)
