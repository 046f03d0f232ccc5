"""A flow of stages through the store: submit what is wanted, wait for what is needed, read the results.

    store = Store("demo/store")
    with open_cluster("local") as cluster, Flow(store, cluster, run="demo", progress=show) as flow:
        shards = [flow.submit("render_shard", RenderShardConfig(render, start, count)) for start, count in
        …] dataset = flow.submit("assemble", AssembleConfig(render, 480), inputs={"shards": shards})
        backbone = flow.submit("pretrain", PretrainConfig(), inputs={"data": dataset}, cores=2)
        features = flow.submit(
            "features", FeatureConfig(), inputs={"backbone": backbone / "backbone.safetensors", "task":
            Path(folder)}
        )
        reward = flow.submit("reward", ScoreConfig(), inputs={"features_dir": features})
        print(flow.result(reward).summary)

`submit` returns at once. An artifact's digest follows from its stage, config and inputs alone, so the whole
graph is known before anything runs: equal requests are one job, complete ones none. Inputs are a Handle
(or a file inside one: `handle / "name"`), a Path that the user gave (digested by content), a text that
stands for itself (`random:resnet18`, a task's name), or a list of these.

Nothing runs outside `result`, `wait` and `drain`: they start jobs, at most `window` at a time, and take in
what comes back, so memory does not grow with the number of jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pipelines.artifact import Artifact, Key, Store
from pipelines.care import RunRecord
from pipelines.child import ChildPool
from pipelines.folders import digest_folder
from pipelines.job import Job, Outcome
from pipelines.plan import Plan
from pipelines.progress import Progress, Quiet
from pipelines.stages import STAGES, Stage

# A process that died (crash, out of memory, lost node) is tried so often again; a stage that raises is not.
RETRIES = 3
# A network file system may show a rename made on another machine only after its attribute cache has
# expired.
_PATIENCE_S = 60.0


class StageFailed(RuntimeError):
    """A stage could not be run; the message names the stage, the artifact, the reason and the log."""


@dataclass(frozen=True)
class Part:
    """A file or folder inside an artifact, as an input."""

    handle: Handle
    name: str


@dataclass(frozen=True)
class Handle:
    """An artifact that was asked for, whether it exists yet or not."""

    stage: str
    digest: str

    def __truediv__(self, name: str) -> Part:
        return Part(self, name)


@dataclass(frozen=True)
class Given:
    """A text whose meaning lies elsewhere (a task's name under a root): the stage gets the text, the digest says
    what it stands for."""

    text: str
    digest: str


Input = Handle | Part | Path | Given | str
Inputs = Mapping[str, Input | Sequence[Input]]


class Cluster(Protocol):
    """Where jobs run: `pipelines.cluster` on Dask, `InProcess` here."""

    @property
    def cores(self) -> int:
        """Cores of all workers together, now."""

    @property
    def size(self) -> tuple[int, int]:
        """Cores and GPUs that a job can have."""

    @property
    def workers(self) -> int: ...

    @property
    def dashboard(self) -> str | None:
        """Address of a page that shows the cluster at work."""

    def start(self, job: Job) -> None: ...

    def finished(self, timeout_s: float) -> list[Outcome]:
        """Jobs that ended since the last call; waits for the first at most so long."""

    def messages(self) -> list[dict[str, Any]]:
        """Progress messages since the last call."""

    def stop(self) -> None:
        """Stop the jobs that run (SIGTERM), and wait a little for them."""


class InProcess:
    """A cluster without workers: jobs run in this process, or in children of it, one after another."""

    def __init__(self, cores: int = 1) -> None:
        self.cores = cores
        self.size = (cores, 0)
        self.workers = 1
        self.dashboard = None
        self._pool = ChildPool()
        self._queue: list[Job] = []
        self._messages: list[dict[str, Any]] = []

    def __enter__(self) -> InProcess:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pool.close()

    def start(self, job: Job) -> None:
        self._queue.append(job)

    def finished(self, timeout_s: float) -> list[Outcome]:
        if not self._queue:
            return []
        job = self._queue.pop(0)
        cut = replace(job, cores=min(job.cores, self.cores), gpus=0)
        return [self._pool.run(cut, self._messages.append)]

    def messages(self) -> list[dict[str, Any]]:
        messages, self._messages = self._messages, []
        return messages

    def stop(self) -> None:
        self._pool.stop()


class Flow:
    """See the module's docstring. One flow serves one run; close it (or leave the `with`) when done."""

    def __init__(
        self,
        store: Store,
        cluster: Cluster,
        *,
        run: str,
        progress: Progress | None = None,
        stages: Mapping[str, Stage] = STAGES,
        logs: Path | None = None,
        window: int | None = None,
        retries: int = RETRIES,
    ) -> None:
        """`run` names the run in the store (its artifacts survive `store gc`); `window` bounds the jobs
        that are with the cluster at once (default: four per core, at least 16)."""
        self.store, self.cluster, self.stages = store, cluster, stages
        self.progress = progress or Quiet()
        self.logs = (logs or store.root / "logs").absolute()
        self.record = RunRecord(store, run)
        self._window = window
        self._plan = Plan(retries)
        self.progress.link(cluster.dashboard)
        self.outcomes: list[Outcome] = []
        """What ran in this session, in the order of finishing (nothing that came from the store)."""

    def submit(
        self,
        stage: str,
        config: Any,
        inputs: Inputs | None = None,
        *,
        cores: int = 1,
        gpus: int = 1,
        knobs: Mapping[str, Any] | None = None,
    ) -> Handle:
        """Ask for an artifact; `cores` of the cluster run it, and `gpus` if its knob `device` is not `cpu` (both at
        most what one worker has).

        Raises ValueError for an unknown stage or a config that JSON cannot hold, OSError for an input path
        that cannot be read.
        """
        if stage not in self.stages:
            raise ValueError(f"unknown stage {stage!r}; allowed: {', '.join(self.stages)}")
        row = self.stages[stage]
        inputs = {name: _plain(value) for name, value in (inputs or {}).items()}
        read = {name: _each(value, self._read) for name, value in inputs.items()}
        digests = {name: _each(value, lambda r: r[0]) for name, value in read.items()}
        key = Key.of(stage, row.version(), config, {**digests, **row.depends(config)})
        handle = Handle(stage, key.digest)
        self.record.add(key.digest)
        if key.digest in self._plan.done or key.digest in self._plan.nodes:
            return handle
        self.progress.submitted(stage, row.unit)
        if self.store.has(key.digest):
            self._plan.complete(key.digest)
            self.progress.found(stage)
            return handle
        all_knobs = {**row.knobs, **(knobs or {})}
        job = Job(
            stage=stage,
            version=key.version,
            function=row.function,
            kind=row.kind,
            config=key.config,
            store=str(self.store.root),
            log=str(self.logs / stage / f"{key.digest[:16]}.log"),
            digests=dict(key.inputs),
            inputs={name: _each(value, lambda r: r[1]) for name, value in read.items()},
            input_paths=tuple(name for name, value in inputs.items() if not isinstance(value, str | Given)),
            knobs=all_knobs,
            cores=max(1, cores),
            gpus=0 if row.kind == "python" or all_knobs.get("device", "cpu") == "cpu" else max(1, gpus),
            silence_limit_s=row.silence_limit_s,
        )
        self._plan.add(job, _handles(inputs.values()))
        return handle

    def result(self, handle: Handle) -> Artifact:
        """The artifact, once it is complete. Raises StageFailed if it or what it needs failed."""
        self.wait([handle])
        return self.store.load(handle.digest, patience_s=_PATIENCE_S)

    def wait(self, handles: Iterable[Handle]) -> None:
        """Run until all of them are complete. Raises StageFailed for the first that cannot be."""
        for handle in handles:
            while handle.digest not in self._plan.done:
                self._raise_if_broken(handle)
                self._step()

    def drain(self) -> list[str]:
        """Run everything that can run; one line for each artifact that is missing then, with the reason."""
        while not self._plan.idle():
            self._step()
        return self.missing()

    def missing(self) -> list[str]:
        """What cannot be made and why, one line each: first what failed, then what needs it."""
        nodes = sorted(self._plan.nodes.values(), key=lambda node: node.state != "failed")
        return [self._reason(node.job, node.why) for node in nodes if node.state in ("failed", "blocked")]

    def unfinished(self) -> list[str]:
        """`missing`, and what was still to be made: for the end of a run whose cluster is gone."""
        left = [node.job for node in self._plan.nodes.values() if node.state not in ("failed", "blocked", "done")]
        return self.missing() + [self._reason(job, "not made before the cluster was lost") for job in left]

    def complete(self) -> list[Artifact]:
        """Every artifact that was asked for and is there, made in this session or before."""
        return [self.store.load(digest, patience_s=_PATIENCE_S) for digest in sorted(self._plan.done)]

    def close(self, *, complete: bool) -> None:
        """End the run: stop what still runs; a complete run's record keeps only what this run used."""
        if self._plan.running:
            self.cluster.stop()
        # what a partial run asked for before stays registered: the next attempt will want it
        if complete and not self._plan.nodes:
            self.record.finish()
        self.progress.close()

    def __enter__(self) -> Flow:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(complete=kind is None)

    def _step(self) -> None:
        window = self._window or max(16, 4 * self.cluster.cores)
        for job in self._plan.start(window):
            self.progress.started(job.stage, job.key.digest)
            self.cluster.start(job)
        for outcome in self.cluster.finished(timeout_s=0.5):
            self._take(outcome)
        for message in self.cluster.messages():
            self.progress.message(message)
        self.progress.tick(self.cluster.workers)

    def _take(self, outcome: Outcome) -> None:
        node = self._plan.nodes.get(outcome.digest)
        if node is None:
            return  # finished twice: Dask ran it again after a lost connection
        self.outcomes.append(outcome)
        stage = node.job.stage
        if outcome.status == "done":
            self._plan.complete(outcome.digest)
            self.progress.finished(stage, outcome)
            return
        why = outcome.error or outcome.status
        if outcome.status == "failed":
            self._plan.fail(outcome.digest, why)
            again = False
        elif outcome.status == "stopped":
            self._plan.stopped(outcome.digest)
            again = True
        else:
            again = self._plan.died(outcome.digest, why)
        self.progress.failed(stage, outcome, self._reason(node.job, why), again=again)

    def _raise_if_broken(self, handle: Handle) -> None:
        broken = self._plan.broken(handle.digest)
        if broken is not None:
            raise StageFailed(self._reason(broken.job, broken.why))

    def _reason(self, job: Job, why: str | None) -> str:
        return f"{job.name}: {why} (log: {job.log})"

    def _read(self, value: Input) -> tuple[str, str]:
        """(what enters the digest, what the stage gets) of one input."""
        if isinstance(value, Handle):
            return value.digest, str(self.store.path(value.digest))
        if isinstance(value, Part):
            handle, name = value.handle, value.name
            return f"{handle.digest}/{name}", str(self.store.path(handle.digest) / name)
        if isinstance(value, Path):
            return digest_folder(value, self.store.root / "folders"), str(value.absolute())
        if isinstance(value, Given):
            return value.digest, value.text
        return f"text:{value}", value


def _each(value: Any, of: Callable[[Any], Any]) -> Any:
    """`of` applied to a value, or to each of a list."""
    return [of(item) for item in value] if isinstance(value, list) else of(value)


def _plain(value: Input | Sequence[Input]) -> Input | list[Input]:
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value


def _handles(values: Iterable[Input | Sequence[Input]]) -> set[str]:
    found: set[str] = set()
    for value in values:
        if isinstance(value, Handle):
            found.add(value.digest)
        elif isinstance(value, Part):
            found.add(value.handle.digest)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            found |= _handles(value)
    return found
