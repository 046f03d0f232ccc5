"""The controller on live rewards: what it asks for is rendered, pre-trained and scored through the artifact store.

Both functions use the stages of `pipelines.experiment`, so a setting that any run on the same store has evaluated with
the same configuration costs nothing here, and a stopped command continues where it was.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.artifact import Store, write_text
from pipelines.bar import progress_bar
from pipelines.care import run_name
from pipelines.cluster import ClusterLost, open_place
from pipelines.configs import to_json
from pipelines.controllers import check_vectors, read_controller, what_was_learnt, write_state
from pipelines.demo_tasks import MadeConfig
from pipelines.doctor import require_device
from pipelines.experiment import Experiment, ExperimentConfig, ExperimentTask, Found, Setting
from pipelines.flow import Flow, StageFailed
from pipelines.locks import alone
from pipelines.place import Place, training_cores
from pipelines.progress import Display
from pipelines.recommend import Recommendation, recommend
from pipelines.replay import write_table
from sim.params import TASK2SIM_SPACE, ActionSpace, parameter_levels
from transfer.catalogue import task_row
from transfer.embedding import MIN_IMAGES, EmbeddingConfig, embed_task, load_vector, save_vectors
from transfer.tasks import load_task

Vectors = Mapping[str, npt.NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class LiveResult:
    """How a live search ended: an exit status of design.md and what is to be printed."""

    status: int
    text: str


@contextmanager
def open_experiment(
    title: str,
    config: ExperimentConfig,
    tasks: Sequence[ExperimentTask],
    *,
    out: Path,
    store: Path | None,
    place: Place,
    device: str,
    space: ActionSpace = TASK2SIM_SPACE,
    vectors: Vectors | None = None,
) -> Iterator[Experiment]:
    """The stages of an experiment on the workers of `place`, with its logs and status under `out`, which is kept from
    other commands (see `pipelines.locks.alone`) by the caller."""
    if place.cluster == "local":
        require_device(device)
    out.mkdir(parents=True, exist_ok=True)
    display = Display(status=out / "status.json", title=f"simpath {title}")
    with (
        open_place(place, out) as workers,
        Flow(
            Store(store or out / "store"), workers, run=run_name(title, out), progress=display, logs=out / "logs"
        ) as flow,
    ):
        processes, at_once = place.train_processes, config.controller.in_flight
        cores = training_cores(place, workers.size, at_once=at_once, device=device)
        yield Experiment(
            config,
            tasks,
            flow,
            device=device,
            space=space,
            vectors=vectors,
            train_cores=cores,
            train_processes=processes,
        )


def train_live(
    config: ExperimentConfig,
    tasks: Sequence[ExperimentTask],
    embedding: EmbeddingConfig,
    probe: str,
    *,
    out: Path,
    store: Path | None,
    place: Place,
    device: str,
    threads: int | None = None,
) -> LiveResult:
    """Learn on tasks within a budget of distinct settings, and leave a controller's directory that `recommend` reads.

    The search is that of `simpath run` without its uniformly drawn settings and without its final rows: the whole
    budget is the controller's, and no test split is read. A larger budget on the same `out` continues it.

    Args:
        config: its controller's budget and settings in flight bound the search.
        tasks: two or more folders; every setting is scored on each.
        embedding, probe: how their vectors are made; kept under OUT/vectors.
        device: of the stages; also of the vectors, which are made here, unless the stages run elsewhere (then the CPU).
        threads: of the vectors.

    Returns:
        Status 0, or 3 with what is missing and why.

    Raises:
        ValueError, OSError: a task cannot be read or has too few images; `out` holds a vector of another probe, or a
            controller of a recorded table.
        DirectoryBusy: another command is at work in `out`.
    """
    if len(tasks) < 2:
        raise ValueError(f"{len(tasks)} task; a controller learns from two or more")
    for task in tasks:
        if isinstance(task.source, MadeConfig):
            raise ValueError(f"task {task.name} is made by the demo; a controller learns from folders and named sets")
        _check_images(task, config.features.split_seed)
    if (out / "summary.json").is_file() and "experiment" not in json.loads((out / "summary.json").read_text("utf-8")):
        raise ValueError(f"{out} holds a controller of a recorded table; choose another directory")
    config = dataclasses.replace(config, uniform_settings=0)
    here = _vector_device(place, device)
    with alone(out):
        vectors: dict[str, npt.NDArray[np.float32]] = {}
        about: dict[str, Any] = {}
        for task in tasks:
            assert not isinstance(task.source, MadeConfig), "refused above"
            folder = out / "vectors" / task.name
            places: dict[str, Any] = {"out": folder, "root": task.root, "device": here, "threads": threads}
            with progress_bar("embed", "images") as progress:
                about = embed_task(embedding, probe, task.source, progress=progress, **places)
            vectors[task.name] = load_vector(folder)[0]
        with open_experiment(
            "controller", config, tasks, out=out, store=store, place=place, device=device, vectors=vectors
        ) as experiment:
            return search_and_keep(experiment, vectors, {"probe": about["probe"], "embedding": about["config"]}, out)


def search_and_keep(experiment: Experiment, vectors: Vectors, vectors_by: Mapping[str, Any], out: Path) -> LiveResult:
    """The search of an experiment, kept as a controller's directory; `vectors_by` says how the vectors were made."""
    try:
        found = experiment.search()
    except StageFailed as error:
        return LiveResult(3, _missing_text(experiment.flow.drain() or [str(error)]))
    except ClusterLost as error:
        return LiveResult(3, _missing_text([str(error), *experiment.flow.unfinished()]))
    _write_controller(experiment.config, found, vectors, vectors_by, out)
    names = {setting.id: setting for setting in found.settings}
    lines = [f"{len(found.settings)} settings x {len(found.chosen)} tasks evaluated; chosen for each task:"]
    for task, pick in found.chosen.items():
        lines.append(f"  {task:24} {found.rewards[task, pick]:6.2f} with {_in_words(experiment.space, names[pick])}")
    return LiveResult(0, "\n".join([*lines, f"controller  {out}"]))


def _write_controller(
    config: ExperimentConfig, found: Found, vectors: Vectors, vectors_by: Mapping[str, Any], out: Path
) -> None:
    space = found.state.space
    rows = [
        (task, *space.to_levels(setting.action).values(), repr(found.rewards[task, setting.id]))
        for task in found.state.tasks
        for setting in found.settings
    ]
    write_table(out / "table.csv", space.names, rows)
    save_vectors(out / "vectors.npz", vectors)
    identity = {"experiment": to_json(config), **vectors_by}
    write_state(out / "state.safetensors", found.state, identity)
    summary = {**identity, "settings": len(found.settings), **what_was_learnt(found.state)}
    write_text(out / "summary.json", json.dumps(summary, indent=1) + "\n")


def recommend_task(
    config: ExperimentConfig,
    task: str,
    embedding: EmbeddingConfig,
    probe: str,
    controller: Path,
    *,
    budget: int,
    num_images: int,
    out: Path,
    store: Path | None,
    place: Place,
    device: str,
    root: Path | None = None,
    threads: int | None = None,
) -> Recommendation:
    """A recommendation for a task, refined by `budget` settings that are evaluated live.

    Args:
        config: with a budget: how settings are rendered, pre-trained and scored: as those that the controller learnt
            from, for its rewards are the prior. Its own controller and final rows play no part.
        task: as `transfer.tasks.load_task`; with a budget a folder, or a set that comes inside a package.
        out: receives recommendation.json and vector/, with a budget also logs/, status.json and the store.
        root: of named tasks, without a budget.
        num_images: of the printed render command.
        device: as `train_live`.

    Raises:
        ValueError, OSError: as `embed_task` and `recommend`; the vector cannot be compared with the controller's, or
            there is a budget and the controller's parameters are not simpath's.
        DirectoryBusy: another command is at work in `out`.
    """
    space = read_controller(controller).space
    known = parameter_levels()
    foreign = [
        f"{name}={level}" for name, levels in space.levels for level in levels if level not in known.get(name, ())
    ]
    if budget and foreign:
        raise ValueError(
            f"controller {controller} varies {foreign[0]}, which simpath cannot render; ask without a budget"
        )
    here = _vector_device(place, device)
    folder = out / "vector"
    with alone(out):
        with progress_bar("embed", "images") as progress:
            embed_task(embedding, probe, task, out=folder, root=root, device=here, threads=threads, progress=progress)
        vector, about = load_vector(folder)
        check_vectors(controller, about)
        name = str(about["task"])
        if not budget:
            result = recommend(controller, name, vector, num_images=num_images)
        else:
            source = ExperimentTask(name, task if task_row(task) or not Path(task).exists() else Path(task).absolute())
            with open_experiment(
                "recommend", config, [source], out=out, store=store, place=place, device=device, space=space
            ) as experiment:
                evaluate = Evaluator(experiment, source)
                result = recommend(controller, name, vector, budget=budget, evaluate=evaluate, num_images=num_images)
        write_text(out / "recommendation.json", json.dumps(dataclasses.asdict(result), indent=1) + "\n")
        return result


class Evaluator:
    """Levels by parameter name -> the reward of one task, through the stages of an experiment."""

    def __init__(self, experiment: Experiment, task: ExperimentTask) -> None:
        self.experiment, self.task = experiment, task
        self.asked = 0

    def __call__(self, levels: dict[str, str]) -> float:
        setting = Setting(
            f"s{self.asked}", f"asked {self.asked + 1}", self.experiment.space.from_levels(levels), "asked"
        )
        self.asked += 1
        return float(self.experiment.flow.result(self.experiment.reward(self.task, setting)).summary["reward"])


def _check_images(task: ExperimentTask, split_seed: int) -> None:
    """Read a task now: one that cannot have a vector should not be found out after hours of others' work."""
    assert not isinstance(task.source, MadeConfig), "refused before"
    images = len(load_task(task.source, root=task.root, seed=split_seed).train)
    if images < MIN_IMAGES:
        raise ValueError(f"task {task.name} has {images} training images; a task vector needs {MIN_IMAGES} or more")


def _vector_device(place: Place, device: str) -> str:
    if place.cluster != "local":
        return "cpu"
    require_device(device)
    return device


def _in_words(space: ActionSpace, setting: Setting) -> str:
    """The parameters that are not at their first level, which is "off"."""
    levels = space.to_levels(setting.action)
    on = [f"{name}={levels[name]}" for name, known in space.levels if levels[name] != known[0]]
    if not on:
        return "everything off"
    return f"{' '.join(on)}{', the rest off' if len(on) < len(levels) else ''}"


def _missing_text(missing: Sequence[str]) -> str:
    return "\n".join(["missing:", *(f"  {reason}" for reason in missing)])
