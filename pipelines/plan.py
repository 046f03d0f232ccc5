"""The pure core of a flow: which jobs may start now. Events in (added, finished, failed), decisions out.

No clock, no files, no processes. Every artifact is one node however often it is asked for; a failed one
blocks what needs it and nothing else, so that a run that cannot complete has done all that it could.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from pipelines.job import Job

State = Literal["waiting", "ready", "running", "done", "failed", "blocked"]


@dataclass
class Node:
    job: Job
    needs: frozenset[str]
    """Digests that are not complete yet."""
    state: State
    attempts: int = 0
    why: str | None = None
    """What went wrong, for failed and blocked nodes."""
    cause: str | None = None
    """Digest of the failed node that blocks this one; its own when it failed itself."""


@dataclass
class Plan:
    """Invariants: `waiting` nodes need at least one unfinished node; `blocked` ones need a failed one;
    done nodes are forgotten but for their digest, so that memory follows what is left to do."""

    retries: int
    """How often a job whose process died is started again."""
    nodes: dict[str, Node] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    running: set[str] = field(default_factory=set)
    _ready: deque[str] = field(default_factory=deque)
    _dependents: dict[str, list[str]] = field(default_factory=dict)

    def add(self, job: Job, needs: Iterable[str]) -> Node | None:
        """Add a job that needs the artifacts `needs`; None if it is done. Adding twice changes nothing."""
        digest = job.key.digest
        if digest in self.done:
            return None
        if digest in self.nodes:
            return self.nodes[digest]
        open_needs = frozenset(need for need in needs if need not in self.done)
        if unknown := [need for need in open_needs if need not in self.nodes]:
            raise ValueError(f"{job.name} needs {unknown[0][:12]}, which was never submitted")
        node = self.nodes[digest] = Node(job, open_needs, "waiting")
        for need in open_needs:
            self._dependents.setdefault(need, []).append(digest)
        causes = [cause for need in sorted(open_needs) if (cause := self.nodes[need].cause) is not None]
        if causes:
            self._block(digest, causes[0])
        elif not open_needs:
            self._make_ready(digest)
        return node

    def complete(self, digest: str) -> None:
        """The artifact exists (it was made, or found in the store)."""
        self.done.add(digest)
        self.running.discard(digest)
        self.nodes.pop(digest, None)
        for dependent in self._dependents.pop(digest, []):
            node = self.nodes[dependent]
            node.needs -= {digest}
            if not node.needs and node.state == "waiting":
                self._make_ready(dependent)

    def start(self, limit: int) -> list[Job]:
        """Jobs to start now, in the order in which they became ready, so that at most `limit` are running."""
        started = []
        while self._ready and len(self.running) < limit:
            digest = self._ready.popleft()
            node = self.nodes[digest]
            node.state = "running"
            node.attempts += 1
            self.running.add(digest)
            started.append(node.job)
        return started

    def died(self, digest: str, why: str) -> bool:
        """The job's process died. True if it will be started again, False if it has failed now."""
        node = self.nodes[digest]
        if node.attempts > self.retries:
            self.fail(digest, f"{why} ({node.attempts} attempts)")
            return False
        self.running.discard(digest)
        self._make_ready(digest)
        return True

    def stopped(self, digest: str) -> None:
        """The job saved and ended when it was told to (a walltime, a pre-emption): no attempt, it goes on later."""
        self.nodes[digest].attempts -= 1
        self.running.discard(digest)
        self._make_ready(digest)

    def fail(self, digest: str, why: str) -> None:
        """The stage said no; starting it again would not help."""
        self.running.discard(digest)
        node = self.nodes[digest]
        node.state, node.why, node.cause = "failed", why, digest
        self._block_dependents(digest)

    def broken(self, digest: str) -> Node | None:
        """The failed node that keeps this one from completing, if there is one."""
        cause = self.nodes[digest].cause
        return None if cause is None else self.nodes[cause]

    def idle(self) -> bool:
        """Nothing runs and nothing can start."""
        return not self.running and not self._ready

    def _make_ready(self, digest: str) -> None:
        self.nodes[digest].state = "ready"
        self._ready.append(digest)

    def _block(self, digest: str, cause: str) -> None:
        node = self.nodes[digest]
        node.state, node.cause = "blocked", cause
        node.why = f"needs {self.nodes[cause].job.name}"
        self._block_dependents(digest)

    def _block_dependents(self, digest: str) -> None:
        cause = self.nodes[digest].cause
        assert cause is not None
        for dependent in self._dependents.get(digest, []):
            if self.nodes[dependent].state == "waiting":
                self._block(dependent, cause)
