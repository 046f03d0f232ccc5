"""What comes back from jobs on a cluster: progress messages, and one outcome for each task that was sent.

An outcome arrives as a message from the worker, like progress. That a task has ended is told apart from it and later;
a task that ended without an outcome is a crash. Knows nothing of Dask: `pipelines.cluster` calls in with its news, from
several threads.
"""

from __future__ import annotations

import json
import queue
from contextlib import suppress
from typing import Any

from pipelines.configs import from_json, to_json
from pipelines.job import Outcome


def outcome_message(task: str, outcome: Outcome) -> dict[str, Any]:
    """The message with which a worker reports how the job of a task ended."""
    # as text: Dask walks through nested data at every hop, to guess its size
    return {"task": task, "outcome": json.dumps(to_json(outcome))}


class Inbox:
    """Invariant: of every expected task one outcome comes out, the first that came in; of others none."""

    def __init__(self) -> None:
        self._expected: set[str] = set()
        self._outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._messages: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

    def expect(self, task: str) -> None:
        """Call before the task is sent."""
        self._expected.add(task)

    def expect_nothing(self) -> None:
        """What still comes from tasks sent so far is dropped."""
        self._expected.clear()

    def receive(self, message: dict[str, Any]) -> None:
        """A message of a worker: progress, or an outcome."""
        if "outcome" in message:
            self._end(message["task"], from_json(Outcome, json.loads(message["outcome"]), "outcome"))
        else:
            self._messages.put(message)

    def ended(self, task: str, digest: str, why: str) -> None:
        """The task has ended; if no outcome came before, the job with this digest has crashed, and `why`."""
        self._end(task, Outcome(digest, "crashed", why))

    def outcomes(self, timeout_s: float) -> list[Outcome]:
        """Those since the last call; waits for the first at most so long."""
        found = []
        with suppress(queue.Empty):
            found.append(self._outcomes.get(timeout=timeout_s))
            while True:
                found.append(self._outcomes.get_nowait())
        return found

    def messages(self) -> list[dict[str, Any]]:
        """Progress since the last call."""
        found = []
        with suppress(queue.Empty):
            while True:
                found.append(self._messages.get_nowait())
        return found

    def _end(self, task: str, outcome: Outcome) -> None:
        with suppress(KeyError):
            self._expected.remove(task)
            self._outcomes.put(outcome)
