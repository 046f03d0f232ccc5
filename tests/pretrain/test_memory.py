"""Freed memory stays with the process while training lasts, and goes back afterwards."""

from __future__ import annotations

import multiprocessing
import resource
import runpy
import sys

import pytest
import torch

from pretrain.memory import freed_memory_is_kept

BLOCK = 64 << 20
PAGES = BLOCK // resource.getpagesize()

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux's"),
    pytest.mark.xdist_group("forkserver"),
]


def first_touches(repeats: int) -> int:
    """Pages that the system has to provide while a large block is made, filled and freed `repeats` times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.ones(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def again() -> None:
    with freed_memory_is_kept():
        first_touches(16)  # aligned blocks are a little larger than what they leave, so a few are needed
        assert first_touches(8) < PAGES


def afterwards() -> None:
    with freed_memory_is_kept():
        first_touches(1)
    assert first_touches(8) >= 8 * PAGES


def after_a_failure() -> None:
    with pytest.raises(RuntimeError, match="diverged"), freed_memory_is_kept():
        raise RuntimeError("diverged")
    assert first_touches(8) >= 8 * PAGES


CHECKS = {check.__name__: check for check in (again, afterwards, after_a_failure)}


@pytest.mark.parametrize("check", CHECKS)
def test_a_block_is_kept_while_training_lasts_and_no_longer(check: str) -> None:
    """In a process of its own, whose heap has no holes that other tests left."""
    forking = multiprocessing.get_context("forkserver")
    process = forking.Process(target=runpy.run_path, args=(__file__, None, check))
    process.start()
    process.join(120)
    assert process.exitcode == 0


if __name__ in CHECKS:
    CHECKS[__name__]()
