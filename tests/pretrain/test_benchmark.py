"""The benchmark's parts for a GPU, rehearsed on the CPU: what breaks there costs no time of a GPU."""

from __future__ import annotations

import os
import subprocess
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
@pytest.mark.timeout(600)
def test_every_part_for_a_gpu_runs_through() -> None:
    """The compiled step is left plain (compiling takes minutes of two cores); see test_step.py for one that is not."""
    done = subprocess.run(
        [sys.executable, "-P", "benchmarks/pretrain.py", "--rehearse", "--seconds", "560"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TORCHDYNAMO_DISABLE": "1"},
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert [line for line in lines if line in PARTS] == PARTS
    assert lines[-1] == "parts that failed or missed their limit: none"
    assert sum(" = " in line and "(wanted: " in line for line in lines) == 5
    assert sum("images/s" in line for line in lines) == 9
