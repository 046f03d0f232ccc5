"""Freed memory stays with the process while training lasts, and goes back afterwards."""

from __future__ import annotations

import resource
import sys

import pytest
import torch

from pretrain.memory import freed_memory_is_kept

BLOCK = 64 << 20
PAGES = BLOCK // resource.getpagesize()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc is Linux's")


def first_touches(repeats: int) -> int:
    """Pages that the system has to provide while a large block is made, filled and freed `repeats` times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(repeats):
        torch.ones(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_block_that_is_made_again_gets_the_same_pages() -> None:
    with freed_memory_is_kept():
        first_touches(16)  # aligned blocks are a little larger than what they leave, so a few are needed
        assert first_touches(8) < PAGES


def test_outside_every_block_is_mapped_anew() -> None:
    with freed_memory_is_kept():
        first_touches(1)
    assert first_touches(8) >= 8 * PAGES


def test_it_goes_back_when_training_fails() -> None:
    with pytest.raises(RuntimeError, match="diverged"), freed_memory_is_kept():
        raise RuntimeError("diverged")
    assert first_touches(8) >= 8 * PAGES
