"""The commands of `simpath`, one function each; `pipelines.__main__` puts them together.

A command returns its exit status. Heavy libraries are imported inside, so that `--help` answers at once.
"""

from __future__ import annotations

FAILED, PARTIAL, SAVED, INTERRUPTED = 1, 3, 75, 130
"""Exit statuses beside 0 (complete) and 2 (usage)."""
