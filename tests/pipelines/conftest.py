"""Command lines in this process; and the trivial stages, importable by name here and in what this process starts."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import ModuleType

import pytest

from pipelines.__main__ import main

FOLDER = Path(__file__).parent / "trivial"


@pytest.fixture(scope="module")
def trivial() -> Iterator[ModuleType]:
    paths = [str(FOLDER), os.environ.get("PYTHONPATH", "")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("trivial_stages")


@pytest.fixture
def forking(trivial: ModuleType) -> ForkServerContext:
    """Starts processes that find PyTorch imported already: what they are to do is in the trivial module `forked`."""
    return multiprocessing.get_context("forkserver")


@pytest.fixture
def simpath(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs `simpath WORDS` in this process, which has PyTorch imported already: exit status, stdout and stderr."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*words: str | Path) -> tuple[int, str, str]:
        # as in a terminal: a test run that a script started in the background would pass on that SIGINT is ignored
        before = {signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler)}
        before[signal.SIGTERM] = signal.getsignal(signal.SIGTERM)
        monkeypatch.setattr(sys, "argv", ["simpath", *map(str, words)])
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capfd.readouterr()

    return run
