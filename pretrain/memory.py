"""Memory that a training step frees, kept for the next step."""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

# glibc's malloc.h
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
NEVER = -1
DEFAULT_MMAP_MAX = 65536
LARGEST_MMAP_THRESHOLD = 32 << 20


@contextlib.contextmanager
def freed_memory_is_kept() -> Iterator[None]:
    """While it lasts, glibc's malloc keeps what is freed instead of giving it back to the system.

    PyTorch has no allocator of its own for the CPU. A step frees some GB of activations, in pieces that malloc by
    default maps and unmaps each time; the kernel then clears every page again, 11 to 15 % of a ResNet-50's step at
    224 px (docs/results.md). At the end the memory goes back. Outside Linux with glibc nothing happens.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_MMAP_MAX, 0)
    libc.mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        # both thresholds where malloc's own adjustment would take them after a large block
        libc.mallopt(M_MMAP_MAX, DEFAULT_MMAP_MAX)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * LARGEST_MMAP_THRESHOLD)
        libc.malloc_trim(0)
