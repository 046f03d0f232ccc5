"""Trivial stages, importable by name through PYTHONPATH in workers and children."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.job import ProcessDied
from pipelines.stages import Stage, fixed

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class NumberConfig:
    value: float = 0.0
    seconds: float = 0.0


def number(config: NumberConfig, *, out: Path, progress: Progress, threads: int) -> dict[str, Any]:
    """A file with the value; takes its time, and says which process made it."""
    steps = max(1, round(config.seconds / 0.1))
    for step in range(steps):
        (out / f"step-{step}.txt").write_text(str(step))
        progress(step + 1, steps, "counting")
        time.sleep(config.seconds / steps)
    (out / "value.json").write_text(json.dumps(config.value))
    return {"pid": os.getpid(), "threads": threads, "omp": os.environ.get("OMP_NUM_THREADS")}


@dataclass(frozen=True)
class SumConfig:
    offset: float = 0.0


def total(config: SumConfig, numbers: list[Path], *, out: Path) -> dict[str, float]:
    result = config.offset + sum(json.loads((path / "value.json").read_text()) for path in numbers)
    (out / "value.json").write_text(json.dumps(result))
    return {"total": result}


@dataclass(frozen=True)
class TextConfig:
    pass


def lengths(config: TextConfig, *, text: str, file: Path, folder: Path, out: Path) -> list[int]:
    (out / "seen.txt").write_text(f"{text} {file.read_text()}")
    return [len(text), len(file.read_text()), len(list(folder.iterdir()))]


@dataclass(frozen=True)
class FaultConfig:
    how: str
    marker: str = ""
    """A path outside the store: what happens depends on whether it exists (so a second attempt differs)."""


def faulty(config: FaultConfig, *, out: Path, progress: Progress) -> dict[str, Any]:
    print("about to be", config.how)
    if config.how == "raise":
        raise ValueError("the value is 3; allowed: 4\nand more")
    if config.how == "bug":
        raise KeyError("absent")
    if config.how == "lose a process":
        raise ProcessDied("one of two died")
    if config.how == "hang":
        time.sleep(3600)
    if config.how == "die":
        os.kill(os.getpid(), 9)
    if config.how == "shout":
        for line in range(1000):
            print("line", line)
    first = not Path(config.marker).exists()
    Path(config.marker).touch()
    if config.how == "die once" and first:
        (out / "kept.txt").write_text("from the first attempt")
        os.kill(os.getpid(), 9)
    if config.how == "kill parent once" and first:
        (out / "kept.txt").write_text("from the first attempt")
        os.kill(os.getppid(), 9)
        time.sleep(3600)
    return {"kept": (out / "kept.txt").exists()}


def patient(config: TextConfig, *, out: Path, stop: Callable[[], bool], progress: Progress) -> None:
    """Saves and raises when it is asked to stop, as a training loop does."""
    progress(0, 1, "waiting")
    while not stop():
        time.sleep(0.02)
    (out / "saved.txt").write_text("saved")
    raise RuntimeError("saved and stopped")


STAGES = {
    "number": Stage("trivial_stages:number", fixed("1"), "torch"),
    "inline": Stage("trivial_stages:number", fixed("1"), "python"),
    "total": Stage("trivial_stages:total", fixed("1"), "python"),
    "lengths": Stage("trivial_stages:lengths", fixed("1"), "python"),
    "faulty": Stage("trivial_stages:faulty", fixed("1"), "torch", silence_limit_s=60.0),
    "patient": Stage("trivial_stages:patient", fixed("1"), "torch"),
}
