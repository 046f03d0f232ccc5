"""How a run is asked to stop: SIGTERM, or the caller's `stop`, also while there is no step to end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pretrain.data import Progress
from pretrain.train import SavedAndStoppedError


@contextmanager
def asked_to_stop(stop: Callable[[], bool] | None) -> Iterator[Callable[[], bool]]:
    """`stop` where there is one (the caller minds the signals then); else true from SIGTERM on.

    Signals can be handled in the main thread only. The handler is put back at the end.
    """
    if stop is not None or threading.current_thread() is not threading.main_thread():
        yield stop or (lambda: False)
        return
    heard = threading.Event()
    previous = signal.signal(signal.SIGTERM, lambda number, frame: heard.set())
    try:
        yield heard.is_set
    finally:
        signal.signal(signal.SIGTERM, previous)


def stopping_progress(progress: Progress | None, stop: Callable[[], bool]) -> Progress:
    """`progress` for fetching, hashing and decoding: asks to stop at every call, since nothing is to be saved there.

    Raises:
        SavedAndStoppedError: `stop` was true.
    """

    def tell(done: int, total: int, note: str) -> None:
        if stop():
            raise SavedAndStoppedError(f"stopped while {note}, {done} of {total}; no step was taken")
        if progress is not None:
            progress(done, total, note)

    return tell
