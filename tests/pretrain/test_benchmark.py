"""The benchmark's parts for a GPU, rehearsed on the CPU: what breaks there costs no time of a GPU."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PARTS = [
    "matrix product",
    "step, eager",
    "other batch sizes",
    "loader alone",
    "step from shards",
    "step, torch.compile",
]


@pytest.mark.slow
@pytest.mark.timeout(600, method="thread")  # the benchmark sets the alarm that the other method needs
@pytest.mark.filterwarnings("ignore:This DataLoader will create", "ignore::ResourceWarning")
def test_every_part_for_a_gpu_runs_through(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The compiled step is left plain (compiling takes minutes of two cores); see test_step.py for one that is not."""
    spec = importlib.util.spec_from_file_location("benchmark_of_pretrain", ROOT / "benchmarks" / "pretrain.py")
    assert spec is not None and spec.loader is not None
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.setattr(benchmark, "IMAGES", 32)
    monkeypatch.setattr(benchmark, "PER_SHARD", 16)
    monkeypatch.setattr("torch.compile", lambda module: module)
    monkeypatch.setattr(sys, "argv", ["pretrain.py", "--rehearse", "--seconds", "560"])
    status = benchmark.main()
    said = capsys.readouterr().out
    assert status == 0, said
    lines = said.splitlines()
    assert [line for line in lines if line in PARTS] == PARTS
    assert lines[-1] == "parts that failed or missed their limit: none"
    assert sum(" = " in line and "(wanted: " in line for line in lines) == 5
    assert sum("images/s" in line for line in lines) == 9
