"""One progress bar for one stage run from the command line: a bar on a terminal, plain lines otherwise, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipelines.terminal import say
from sim.text import visible

LINE_EVERY_S = 10.0


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Callable[[int, int, str], None]]:
    """A `progress(done, total, note)` for a stage; `unit` is what it counts."""
    if not sys.stderr.isatty():
        yield _plain_lines(title, unit)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None, note="", rate="")
        started = time.monotonic()
        first: int | None = None

        def show(done: int, total: int, note: str) -> None:
            nonlocal first
            first = done if first is None else first
            seconds = time.monotonic() - started
            rate = f"{(done - first) / seconds:.1f} {unit}/s" if seconds > 1 and done > first else ""
            bar.update(task, completed=done, total=total or None, note=visible(note), rate=rate)

        yield show


def _plain_lines(title: str, unit: str) -> Callable[[int, int, str], None]:
    last = time.monotonic() - LINE_EVERY_S

    def show(done: int, total: int, note: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_EVERY_S or done == total:
            last = now
            say(f"{title}: {done}/{total} {unit} {note}".rstrip(), sys.stderr)

    return show
