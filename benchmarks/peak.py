"""Wall time, CPU time and peak memory of a command with everything that it starts.

    python -P benchmarks/peak.py make demo

Memory is the sum of the proportional set sizes (shared pages counted once) of the command's process and all of its
descendants, sampled every 5 seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import subprocess
import sys
import time

import psutil

SAMPLE_S = 5.0
GB = 1e9


def tree_memory(root: psutil.Process) -> int:
    """Bytes of the process and all its descendants; those that end meanwhile count for nothing."""
    total = 0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="the command and its arguments")
    command = parser.parse_args().command
    if not command:
        parser.error("a command is needed, such as: make demo")
    start, peak, at = time.monotonic(), 0, 0.0
    with subprocess.Popen(command) as process:  # nosec B603 # the command that the user asked to measure
        root = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                now = tree_memory(root)
            except psutil.NoSuchProcess:
                break
            if now > peak:
                peak, at = now, time.monotonic() - start
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SAMPLE_S)
    wall = time.monotonic() - start
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = spent.ru_utime + spent.ru_stime
    print(
        f"wall {wall / 60:.1f} min, CPU {cpu / 60:.1f} min, peak memory {peak / GB:.2f} GB after {at / 60:.1f} min, "
        f"exit status {process.returncode}",
        file=sys.stderr,
    )
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
