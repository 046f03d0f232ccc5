"""One display for a whole run: what each stage has done, how fast, how long it will still take.

`Board` is the state and its arithmetic (no clock, no output); `Display` shows it on stderr, as a live
table on a terminal and as plain lines otherwise, and writes it to `status.json` for `simpath status`.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.artifact import write_text
from pipelines.job import Outcome
from pipelines.terminal import say
from sim.text import visible, visible_lines

# Plain lines: soon after something changed, and never a minute of silence.
_LINE_S = 5.0
_QUIET_LINE_S = 20.0
_STATUS_S = 2.0
_RATE_WINDOW_S = 30.0


class Progress(Protocol):
    """What a flow reports."""

    def submitted(self, stage: str, unit: str) -> None: ...
    def found(self, stage: str) -> None: ...
    def started(self, stage: str, digest: str) -> None: ...
    def message(self, message: Mapping[str, Any]) -> None: ...
    def finished(self, stage: str, outcome: Outcome) -> None: ...
    def failed(self, stage: str, outcome: Outcome, reason: str, *, again: bool) -> None: ...
    def tick(self, workers: int) -> None: ...
    def link(self, dashboard: str | None) -> None: ...
    def close(self) -> None: ...


class Quiet:
    """No display."""

    def submitted(self, stage: str, unit: str) -> None: ...
    def found(self, stage: str) -> None: ...
    def started(self, stage: str, digest: str) -> None: ...
    def message(self, message: Mapping[str, Any]) -> None: ...
    def finished(self, stage: str, outcome: Outcome) -> None: ...
    def failed(self, stage: str, outcome: Outcome, reason: str, *, again: bool) -> None: ...
    def tick(self, workers: int) -> None: ...
    def link(self, dashboard: str | None) -> None: ...
    def close(self) -> None: ...


@dataclass
class Row:
    """One stage. `total` counts artifacts asked for, `reused` those that were there already."""

    unit: str
    total: int = 0
    reused: int = 0
    done: int = 0
    failed: int = 0
    wall_s: float = 0.0
    """Of the finished jobs together, as CPU time below."""
    cpu_s: float = 0.0
    rss_bytes: int = 0
    """The most that one job had at its end, with its children."""
    active: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """Job that was handed out -> (done, total, note) in units; total is 0 until it says how it is doing."""
    units: int = 0
    """Units counted in this session."""
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    """(time, units) over the last half minute."""

    @property
    def left(self) -> int:
        return self.total - self.reused - self.done - self.failed

    @property
    def running(self) -> int:
        """Jobs that have begun; more are handed out than run, so that no worker waits for its next one."""
        return sum(total > 0 for _, total, _ in self.active.values())

    def rate(self, now: float) -> float | None:
        """Units per second lately; None when nothing moved."""
        while self.samples and now - self.samples[0][0] > _RATE_WINDOW_S:
            self.samples.popleft()
        if len(self.samples) < 2 or self.samples[-1][0] <= self.samples[0][0]:
            return None
        return (self.samples[-1][1] - self.samples[0][1]) / (self.samples[-1][0] - self.samples[0][0])


@dataclass
class Board:
    """State of a run as of the events so far; times are seconds on the caller's clock."""

    rows: dict[str, Row] = field(default_factory=dict)
    workers: int = 0
    dashboard: str | None = None
    """Address of the cluster's own page."""
    problems: list[str] = field(default_factory=list)

    def row(self, stage: str, unit: str = "steps") -> Row:
        return self.rows.setdefault(stage, Row(unit))

    def count(self, stage: str, digest: str, done: int, total: int, note: str, now: float) -> None:
        row = self.row(stage)
        before, seen, _ = row.active.get(digest, (0, 0, ""))
        row.active[digest] = (done, total, note)
        # what a resumed job had done before is no work of now: its first report only sets the mark
        if seen:
            row.units += max(0, done - before)
        row.samples.append((now, row.units))

    def eta_s(self) -> float | None:
        """Seconds until what was asked for so far is done: mean time per job, over the jobs that run at once."""
        seconds = 0.0
        running = sum(row.running for row in self.rows.values())
        for row in self.rows.values():
            if row.left <= 0:
                continue
            fractions = [done / total for done, total, _ in row.active.values() if total]
            if row.done:
                seconds += max(0.0, row.left - sum(fractions)) * row.wall_s / row.done
            else:
                return None
        return seconds / max(1, running)

    def as_json(self, now: float) -> dict[str, Any]:
        stages = {
            name: {
                "unit": row.unit,
                "total": row.total,
                "done": row.reused + row.done,
                "reused": row.reused,
                "failed": row.failed,
                "running": row.running,
                "units_per_s": row.rate(now),
                "wall_s": round(row.wall_s, 1),
                "cpu_s": round(row.cpu_s, 1),
                "rss_bytes": row.rss_bytes,
            }
            for name, row in self.rows.items()
        }
        return {
            "stages": stages,
            "workers": self.workers,
            "dashboard": self.dashboard,
            "eta_s": self.eta_s(),
            "problems": self.problems,
        }


class Display:
    """Shows a board on a stream and in `status`; every method is cheap, `tick` draws when it is time."""

    def __init__(self, stream: TextIO | None = None, *, status: Path | None = None, title: str = "") -> None:
        self.board = Board()
        self.title = title
        self._stream = stream or sys.stderr
        self._status = status
        self._started = time.monotonic()
        self._next_line = self._next_status = 0.0
        self._last_line_at = self._started
        self._last_text = ""
        self._live: Live | None = None
        if self._stream.isatty():
            console = Console(file=self._stream)
            self._live = Live(console=console, auto_refresh=False, transient=False)
            self._live.start()

    def submitted(self, stage: str, unit: str) -> None:
        self.board.row(stage, unit).total += 1

    def found(self, stage: str) -> None:
        self.board.row(stage).reused += 1

    def started(self, stage: str, digest: str) -> None:
        self.board.row(stage).active.setdefault(digest, (0, 0, ""))

    def message(self, message: Mapping[str, Any]) -> None:
        row = self.board.row(message["stage"])
        if message["digest"] in row.active:
            values = (message["done"], message["total"], message["note"])
            self.board.count(message["stage"], message["digest"], *values, time.monotonic())

    def finished(self, stage: str, outcome: Outcome) -> None:
        row = self.board.row(stage)
        row.active.pop(outcome.digest, None)
        row.done += 1
        row.wall_s += outcome.wall_s
        row.cpu_s += outcome.cpu_s
        row.rss_bytes = max(row.rss_bytes, outcome.rss_bytes)

    def failed(self, stage: str, outcome: Outcome, reason: str, *, again: bool) -> None:
        row = self.board.row(stage)
        row.active.pop(outcome.digest, None)
        if not again:
            row.failed += 1
        self.board.problems.append(reason + ("; starting it again" if again else ""))
        self.say(self.board.problems[-1])

    def link(self, dashboard: str | None) -> None:
        """Name the cluster's own page once, and in the status file."""
        self.board.dashboard = dashboard
        if dashboard is not None:
            self.say(f"Dask dashboard: {dashboard}")

    def say(self, text: str) -> None:
        """A line that stays, above the table on a terminal."""
        if self._live is not None:
            self._live.console.print(visible_lines(text), markup=False, highlight=False)
        else:
            say(text, self._stream)

    def tick(self, workers: int) -> None:
        self.board.workers = workers
        now = time.monotonic()
        if self._status is not None and now >= self._next_status:
            self._next_status = now + _STATUS_S
            self._write_status("running")
        if self._live is not None:
            self._live.update(self._table(now), refresh=True)
        elif now >= self._next_line:
            self._next_line = now + _LINE_S
            text = self._line(now)
            if text and (text != self._last_text or now - self._last_line_at >= _QUIET_LINE_S):
                self._last_text, self._last_line_at = text, now
                say(f"[{clock(now - self._started)}] {text}", self._stream)

    def close(self) -> None:
        self._write_status("ended")
        if self._live is not None:
            self._live.update(self._table(time.monotonic()), refresh=True)
            self._live.stop()
            self._live = None

    def _write_status(self, state: str) -> None:
        if self._status is None:
            return
        record = {"state": state, "title": self.title, "pid": os.getpid(), "time": time.time()}
        record["host"] = socket.gethostname()
        now = time.monotonic()
        record |= {"elapsed_s": round(now - self._started, 1), **self.board.as_json(now)}
        # a full disk: the stages say so with their own reasons, which an error from here would hide
        with suppress(OSError):
            self._status.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._status, json.dumps(record, indent=1) + "\n")

    def _line(self, now: float) -> str:
        parts = []
        for name, row in self.board.rows.items():
            if row.left <= 0 and not row.active:
                continue
            text = f"{name} {row.reused + row.done}/{row.total}"
            details = [detail for detail in (_work(row), _speed(row, now)) if detail]
            parts.append(text + (f" ({', '.join(details)})" if details else ""))
        eta = self.board.eta_s()
        if parts and eta is not None:
            parts.append(f"about {clock(eta)} left of this")
        if parts and not self.board.workers:
            parts.append("waiting for workers")
        elif parts and self.board.workers > 1:
            parts.append(f"{self.board.workers} workers")
        return "; ".join(parts)

    def _table(self, now: float) -> Table:
        table = Table(box=None, pad_edge=False, expand=False)
        for heading in (self.title or "stage", "done", "running", "speed", "now"):
            table.add_column(heading, justify="right" if heading in ("done", "running", "speed") else "left")
        for name, row in self.board.rows.items():
            notes = [note for _, _, note in row.active.values() if note]
            done = f"{row.reused + row.done}/{row.total}" + (f" ({row.failed} failed)" if row.failed else "")
            note = " ".join(filter(None, (_work(row), notes[0] if notes else "")))
            table.add_row(name, done, str(row.running or ""), _speed(row, now), Text(visible(note)))
        eta = self.board.eta_s()
        tail = f"{clock(now - self._started)} gone" + (f", about {clock(eta)} left" if eta else "")
        table.add_row(f"{self.board.workers} workers", "", "", "", tail)
        return table


def _work(row: Row) -> str:
    """Units done in the running jobs."""
    done = sum(done for done, _, _ in row.active.values())
    total = sum(total for _, total, _ in row.active.values())
    return f"{done}/{total} {row.unit}" if total else ""


def _speed(row: Row, now: float) -> str:
    rate = row.rate(now)
    return "" if rate is None else f"{rate:.3g} {row.unit}/s"


def clock(seconds: float) -> str:
    """h:mm:ss, or m:ss below an hour."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
