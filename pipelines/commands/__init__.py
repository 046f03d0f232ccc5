"""The commands of `simpath`, one function each; `pipelines.__main__` puts them together.

A command returns its exit status. Heavy libraries are imported inside, so that `--help` answers at once.
"""

from __future__ import annotations

import sys

from pipelines.terminal import say

FAILED, USAGE, PARTIAL, SAVED, INTERRUPTED = 1, 2, 3, 75, 130
"""Exit statuses beside 0 (complete)."""


def usage_error(line: str) -> int:
    """Say what is wrong with the options, where their types alone cannot; returns the exit status."""
    say(f"simpath: {line}", sys.stderr)
    return USAGE
