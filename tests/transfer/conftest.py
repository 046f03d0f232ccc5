"""Settings of this package's tests."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Toy-sized operations on several threads wait for each other, most of all when tests run in parallel."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """`dense_scenes.py`: generated scenes in the layouts that the readers expect."""
    spec = importlib.util.spec_from_file_location("dense_scenes", Path(__file__).with_name("dense_scenes.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
