"""The trivial stages, importable by name in this process and in the workers and children that it starts."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parent / "trivial"


@pytest.fixture
def trivial(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("trivial_stages")
