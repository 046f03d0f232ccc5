"""The trivial stages, importable by name in this process and in the workers and children that it starts."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent / "trivial"


@pytest.fixture(scope="module")
def trivial() -> Iterator[ModuleType]:
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("trivial_stages")
