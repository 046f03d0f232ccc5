"""Several shards by several Blender processes: a queue of shards, one worker thread for each process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from sim.devices import cpu_count, gpu_names
from sim.render import Renderer
from sim.shards import Progress, RenderConfig, render_shard
from sim.wire import Device

log = logging.getLogger(__name__)

RendererFactory = Callable[..., AbstractContextManager[Renderer]]
"""Called like `sim.shards.open_renderer`: (config, device=, threads=, gpu=)."""


class ShardRun:
    """The shards of one call, shared among worker threads with one Blender process each.

    Args:
        plan: (first image, number of images) of every shard to render.
        workers: Blender processes, at most one for each shard of `plan`; None: one per CPU core, or one per GPU.
        factory: opens the renderer of one worker.
        on_shard: called with the record of every finished shard, in the worker's thread.
        begin: called once with the renderer's version, before the first shard that is not kept; may refuse.
    """

    def __init__(
        self,
        config: RenderConfig,
        out: Path,
        plan: Sequence[tuple[int, int]],
        workers: int | None,
        device: Device,
        progress: Progress | None,
        factory: RendererFactory,
        on_shard: Callable[[dict[str, Any]], None] | None = None,
        begin: Callable[[str], None] | None = None,
    ) -> None:
        self._on_shard = on_shard
        self._begin = begin
        self._factory = factory
        self._config, self._out, self._device = config, out, device
        self._workers = min(worker_count(workers, device), len(plan))
        if workers is not None and workers > len(plan):
            log.warning(f"{len(plan)} of {workers} workers start: one for each shard")
        self._progress = progress
        self._todo = list(reversed(plan))
        self._total = sum(count for _, count in plan)
        self._done: dict[int, int] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.rendered = 0

    def finish(self) -> None:
        """Render everything; the first error of any worker stops all of them and is raised."""
        with ThreadPoolExecutor(self._workers, thread_name_prefix="render") as pool:
            futures = [pool.submit(self._work, number) for number in range(self._workers)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:  # also for an exception that a signal handler raised in this thread
                self._stop.set()
        for future in futures:
            future.result()

    def _work(self, number: int) -> None:
        threads = max(1, cpu_count() // self._workers)
        gpus = gpu_names(self._device)
        gpu = gpus[number % len(gpus)] if len(gpus) > 1 else None
        try:
            with self._factory(self._config, device=self._device, threads=threads, gpu=gpu) as renderer:
                while (shard := self._next()) is not None:
                    start, count = shard
                    seen = 0

                    def note(done: int, total: int, what: str, start: int = start) -> None:
                        nonlocal seen
                        seen += 1
                        self._report(start, done, what)
                        if self._stop.is_set():
                            raise _Stopped

                    record = render_shard(
                        self._config,
                        out=self._out,
                        start=start,
                        count=count,
                        renderer=renderer,
                        progress=note,
                        begin=self._begin_once,
                    )
                    if self._on_shard is not None:
                        self._on_shard(record)
                    with self._lock:
                        self.rendered += seen
                    self._report(start, count, record["name"])
        except _Stopped:
            return
        except BaseException:
            self._stop.set()
            raise

    def _next(self) -> tuple[int, int] | None:
        with self._lock:
            return self._todo.pop() if self._todo and not self._stop.is_set() else None

    def _begin_once(self, version: str) -> None:
        with self._lock:
            if self._begin is not None:
                self._begin(version)
            self._begin = None

    def _report(self, start: int, done: int, note: str) -> None:
        with self._lock:
            self._done[start] = done
            if self._progress is not None:
                self._progress(sum(self._done.values()), self._total, note)


class _Stopped(Exception):
    """Another worker failed, or the main thread was interrupted."""


def worker_count(workers: int | None, device: Device) -> int:
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; allowed: 1 and up")
    if workers is not None:
        return workers
    return cpu_count() if device == "cpu" else max(1, len(gpu_names(device)))
