"""Settings of this package's tests."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import dense_scenes
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
    return dense_scenes
