"""Trivial stages, importable by name through PYTHONPATH in workers and children."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    if config.how == "hang":
        time.sleep(3600)
    if config.how == "die":
        os.kill(os.getpid(), 9)
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
