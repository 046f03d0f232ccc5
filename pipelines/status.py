"""How a run is doing, read from another shell: the `status.json` that its display writes every two seconds.

A run has it in its directory, `simpath render --cluster` in the folder for what is under way.
"""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

STATUS_NAME = "status.json"
WORK = ".cluster"
"""Directory inside a data set's for what is under way while a cluster renders it."""
# The display writes every 2 s; on a network file system a reader may see it this much later.
_STALE_S = 60.0


@dataclass(frozen=True)
class RunStatus:
    """A run as its last record shows it."""

    state: Literal["running", "ended", "lost"]
    """lost: neither ended nor alive; it was killed, and running it again continues."""
    title: str
    elapsed_s: float
    age_s: float
    """Since the record was written."""
    eta_s: float | None
    workers: int
    dashboard: str | None
    stages: dict[str, dict[str, Any]]
    problems: tuple[str, ...]


def read_status(directory: str | Path) -> RunStatus:
    """Status of the run in `directory`. Raises FileNotFoundError, or ValueError for a record of something else."""
    places = (Path(directory) / STATUS_NAME, Path(directory) / WORK / STATUS_NAME)
    path = next((place for place in places if place.exists()), None)
    if path is None and (Path(directory) / "index.json").exists():
        raise FileNotFoundError(f"{directory} holds a complete data set, and nothing is under way there")
    if path is None:
        raise FileNotFoundError(f"{directory} holds no run: {STATUS_NAME} is missing")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        age_s = max(0.0, time.time() - record["time"])
        ended = record["state"] == "ended"
        return RunStatus(
            state="ended" if ended else "running" if _alive(record, age_s) else "lost",
            title=record["title"],
            elapsed_s=record["elapsed_s"],
            age_s=age_s,
            eta_s=record["eta_s"],
            workers=record["workers"],
            dashboard=record["dashboard"],
            stages=record["stages"],
            problems=tuple(record["problems"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is not a run's status: {type(error).__name__} {error}") from None


def format_status(status: RunStatus) -> str:
    """What `simpath status` prints."""
    from pipelines.progress import clock

    heads = {
        "running": f"running for {clock(status.elapsed_s)} on {status.workers} workers",
        "ended": f"ended after {clock(status.elapsed_s)}",
        "lost": f"no longer running, last seen {clock(status.age_s)} ago; run the same command again to continue",
    }
    lines = [f"{status.title or 'run'}: {heads[status.state]}"]
    width = max((len(name) for name in status.stages), default=0)
    for name, row in status.stages.items():
        parts = [f"{row['done']}/{row['total']}"]
        parts += [f"{row['reused']} from the store"] if row["reused"] else []
        parts += [f"{row['running']} running"] if row["running"] and status.state == "running" else []
        parts += [f"{row['failed']} failed"] if row["failed"] else []
        parts += [f"{row['units_per_s']:.3g} {row['unit']}/s"] if row["units_per_s"] else []
        parts += [f"{row['cpu_s']:.0f} CPU-s, {row['rss_bytes'] / 2**20:.0f} MiB"] if row["cpu_s"] else []
        lines.append(f"  {name:<{width}}  {', '.join(parts)}")
    if status.state == "running":
        lines += [f"about {clock(status.eta_s)} left of what was asked for so far"] if status.eta_s else []
        lines += [f"dashboard: {status.dashboard}"] if status.dashboard else []
    lines += [f"problem: {problem}" for problem in status.problems]
    return "\n".join(lines)


def _alive(record: dict[str, Any], age_s: float) -> bool:
    """By its process on this machine, by the record's age on another one."""
    if record["host"] == socket.gethostname():
        return record["pid"] == os.getpid() or psutil.pid_exists(record["pid"])
    return age_s < _STALE_S
