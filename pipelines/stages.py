"""The stage table: what the pipeline can run, under which name, in which version, by which function, where.

A stage function has the signature `(config, *, <inputs by name>, out: Path, <knobs>) -> JSON summary`; of
the knobs `progress`, `threads`, `session` and `log` are offered to those that have such a parameter. Raise
a stage's version whenever its result changes for the same config and inputs: old artifacts then stay where
they are, unused.
"""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.job import Kind


@dataclass(frozen=True)
class Stage:
    function: str
    """`module:function`; not imported before a job runs."""
    version: Callable[[], str]
    kind: Kind
    unit: str = "steps"
    """What its progress counts."""
    silence_limit_s: float | None = None
    """Longer without progress means that it hangs."""


def fixed(version: str) -> Callable[[], str]:
    return lambda: version


@functools.cache
def bpy_version() -> str:
    """Version of the bpy wheel: pixels differ between versions. Raises RuntimeError where it is missing."""
    try:
        return importlib.metadata.version("bpy")
    except importlib.metadata.PackageNotFoundError:
        raise RuntimeError("rendering needs the bpy wheel: pip install 'simpath[render]' on Python 3.11") from None


STAGES: dict[str, Stage] = {}
