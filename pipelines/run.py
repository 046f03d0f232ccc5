"""One run of an experiment from start to report: what `simpath demo` and `simpath run` do.

In: a config, tasks, a directory. Out in that directory: summary.json, transfer.csv, transfer_table.{csv,md,html},
trials.csv, report.html, pictures/, logs/, backbones/, status.json, identity.json, and the store unless another one is
given. All of it but the store is written anew by every run of the same experiment, as whole files; another experiment
is refused (`pipelines.identity`).
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipelines.artifact import Artifact, Store, write_text
from pipelines.care import run_name
from pipelines.census import dataset_statistics, task_splits
from pipelines.cluster import ClusterLost, open_place
from pipelines.configs import to_json
from pipelines.demo_tasks import MadeConfig
from pipelines.doctor import require_device
from pipelines.experiment import Experiment, ExperimentConfig, ExperimentTask, Found, Setting
from pipelines.flow import Cluster, Flow, StageFailed
from pipelines.identity import claim_directory
from pipelines.locks import alone
from pipelines.machine import describe_machine, machine_rows, package_versions
from pipelines.pictures import task_sheet
from pipelines.place import Place, training_cores
from pipelines.progress import Board, Display
from pipelines.report import write_report
from pipelines.reproduce import pretrain_commands, score_commands
from pipelines.results import CHOSEN, as_csv, busy_seconds, comparisons, format_table, preference, transfer_scores
from pipelines.stages import STAGES, Stage
from pipelines.summary import Score, Summary, Task, Trial
from pipelines.summary import Setting as SettingRow
from pipelines.summary import Stage as StageRow
from pipelines.tables import cached_imagenet, write_run_table

if TYPE_CHECKING:
    from transfer.data import ImageSet

TRANSFER_TABLES = ("transfer.csv", "transfer_table.csv", "transfer_table.md", "transfer_table.html")
SHEET_ROWS, SHEET_COLUMNS = 4, 6
TASK_SHEET_IMAGES = 12


@dataclasses.dataclass(frozen=True)
class RunResult:
    """How a run ended: the exit status of design.md and what is to be printed."""

    status: int
    text: str


def run_experiment(
    name: str,
    config: ExperimentConfig,
    tasks: Sequence[ExperimentTask],
    *,
    out: Path,
    store: Path | None,
    place: Place,
    device: str,
    command: tuple[str, ...],
    imagenet: Path | None = None,
    opened: Callable[[Place, Path], AbstractContextManager[Cluster]] = open_place,
    stages: Mapping[str, Stage] = STAGES,
) -> RunResult:
    """Run an experiment, or what is left of it, and write its results under `out`.

    Args:
        imagenet: torchvision's ImageNet weights of the architecture, for a column of the transfer table; default: those
            in torch's hub cache where the work is done on this machine and they are there.
        opened: opens the cluster; tests put one without Dask here.
        stages: the stage table; tests put stand-ins here.

    Returns:
        Status 0 when complete, 3 when something could not be made: it is listed, what had been asked for beside it is
        done, and nothing further is asked for.

    Raises:
        ValueError: the configuration or a task is wrong, or `out` holds another experiment.
        DirectoryBusy: another command is at work in `out`.
        OSError: a file cannot be read or written.
    """
    started = time.time()
    if place.cluster == "local":
        require_device(device)
    with alone(out):
        for task in tasks:
            _check_task(task, config)
        store_root = store or out / "store"
        claim_directory(out, name, config, tasks, cache=store_root / "folders")
        display = Display(status=out / "status.json", title=f"simpath {name}")
        with opened(place, out) as workers:
            flow = Flow(
                Store(store_root),
                workers,
                run=run_name(name, out),
                progress=display,
                stages=stages,
                logs=out / "logs",
            )
            with flow:
                processes, at_once = place.train_processes, config.controller.in_flight
                cores = training_cores(place, workers.size, at_once=at_once, device=device)
                experiment = Experiment(
                    config,
                    tasks,
                    flow,
                    device=device,
                    train_cores=cores,
                    train_processes=processes,
                    imagenet=imagenet or (cached_imagenet(config.pretrain.arch) if place.cluster == "local" else None),
                )
                parts, missing = _results(experiment, out)
                stage_rows = _stage_rows(display.board)
                made = flow.complete()
                # a store of its own holds this run's work only: what earlier sessions took is part of the run
                before = [_span(artifact) for artifact in made] if store is None else []
        spans = [*before, (started, time.time())]
        summary = Summary(
            experiment=name,
            status="partial" if missing else "complete",
            command=command,
            started=datetime.datetime.fromtimestamp(min(spans)[0], datetime.UTC).isoformat(timespec="seconds"),
            seconds=round(busy_seconds(spans), 1),
            missing=tuple(missing),
            versions=package_versions(),
            machine=describe_machine(),
            machines=machine_rows(artifact.metadata for artifact in made),
            config=to_json(config),
            protocol=_protocol(config),
            stages=stage_rows,
            **parts,
        )
        _remove_stale_tables(summary, out)
        write_text(out / "summary.json", json.dumps(dataclasses.asdict(summary), indent=1) + "\n")
        report = write_report(out)
        return RunResult(3 if missing else 0, _closing_text(summary, tasks, out, report))


def _check_task(task: ExperimentTask, config: ExperimentConfig) -> None:
    """Read a user's folder now: one class, or no picture, should not be found out after an hour of rendering."""
    if task.folder is None or isinstance(task.source, MadeConfig):
        return
    from transfer.tasks import load_task

    loaded = load_task(task.source, root=task.root, seed=config.features.split_seed)
    for split, images in (("training", loaded.train), ("validation", loaded.val), ("test", loaded.test)):
        if images is None or not len(images):
            continue
        tried = np.concatenate([np.flatnonzero(images.labels == label)[:3] for label in np.unique(images.labels)])
        if next(_readable(images, tried), None) is None:
            raise ValueError(
                f"task {task.name}: none of the {len(tried)} {split} images that were tried, "
                f"{images.names[tried[0]]} for one, can be decoded"
            )


def _results(experiment: Experiment, out: Path) -> tuple[dict[str, Any], list[str]]:
    """Summary entries of the search and of the transfer as far as they can be made, and what is missing."""
    parts: dict[str, Any] = {}
    try:
        found = experiment.search()
        parts = _search_parts(experiment, found, out)
        parts |= _transfer_parts(experiment, found, out)
    except StageFailed as error:
        # other settings are under way: a later call will want them, and the list is to name all that fails
        return parts, experiment.flow.drain() or [str(error)]
    except ClusterLost as error:
        return parts, [str(error), *experiment.flow.unfinished()]
    return parts, []


def _search_parts(experiment: Experiment, found: Found, out: Path) -> dict[str, Any]:
    """Summary entries that are known once the search has ended, with their pictures and curves."""
    (out / "pictures").mkdir(exist_ok=True)
    rows = [
        {
            "order": order,
            "task": task.name,
            "setting": setting.id,
            "origin": setting.origin,
            **experiment.params(setting).as_dict(),
            "reward": round(found.rewards[task.name, setting.id], 4),
        }
        for order, setting in enumerate(found.settings)
        for task in experiment.tasks
    ]
    write_text(out / "trials.csv", as_csv(rows))
    trials = (
        Trial(row["order"], row["task"], row["setting"], row["reward"], row["origin"])  # type: ignore[arg-type]
        for row in rows
    )
    return {
        "tasks": tuple(_task_row(experiment, task, found, out) for task in experiment.tasks),
        "settings": tuple(_setting_row(experiment, setting, out) for setting in found.settings),
        "trials": tuple(trials),
        "probabilities": {task: dict(table) for task, table in found.probabilities.items()},
        "chosen": dict(found.chosen),
    }


def _task_row(experiment: Experiment, task: ExperimentTask, found: Found, out: Path) -> Task:
    made = experiment.flow.result(
        experiment.features(task, experiment.backbone(found.settings[0], 0) / "backbone.safetensors")
    )
    features = made.summary
    sheet = out / "pictures" / f"task-{experiment.tasks.index(task)}.png"
    images, labels = _some_images(task, experiment.task_folder(task), experiment.config.features.split_seed)
    if images:
        task_sheet(images, labels, sheet)
    return Task(
        name=task.name,
        description=task.description,
        num_classes=len(features["classes"]),
        n_train=features["n_train"],
        n_test=features["n_test"],
        sheet=str(sheet.relative_to(out)) if images else None,
        splits=task_splits(made.path, features),
    )


def _some_images(task: ExperimentTask, folder: Path | None, seed: int) -> tuple[list[Any], list[str]]:
    """Training images of a task spread over its classes, with their class names; broken files are passed over."""
    from transfer.tasks import load_task

    loaded = load_task(folder if folder is not None else str(task.source), root=task.root, seed=seed)
    # images of each class in turn, as many classes as fit
    shown = range(min(len(loaded.classes), TASK_SHEET_IMAGES))
    images, labels = [], []
    for label in shown:
        readable = _readable(loaded.train, np.flatnonzero(loaded.train.labels == label))
        for image in itertools.islice(readable, max(1, TASK_SHEET_IMAGES // len(shown))):
            images.append(image)
            labels.append(loaded.classes[label])
    return images, labels


def _readable(images: ImageSet, positions: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.uint8]]:
    """The pictures at these positions that can be decoded."""
    from transfer.images import UnreadableImage

    for position in positions:
        try:
            picture = np.asarray(images.read(int(position)).convert("RGB"))
        except (UnreadableImage, OSError):
            continue
        yield picture


def _setting_row(experiment: Experiment, setting: Setting, out: Path) -> SettingRow:
    from sim.inspection import contact_sheet

    flow = experiment.flow
    dataset = flow.result(experiment.dataset(setting))
    backbone = flow.result(experiment.backbone(setting, 0))
    sheet = out / "pictures" / f"{setting.id}.png"
    contact_sheet(dataset.path, sheet, SHEET_ROWS, SHEET_COLUMNS)
    metrics = out / "logs" / f"pretrain-{setting.id}.jsonl"
    metrics.parent.mkdir(exist_ok=True)
    shutil.copyfile(backbone.path / "metrics.jsonl", metrics)
    shards = [flow.store.load(digest) for digest in dataset.metadata["inputs"]["shards"]]
    rendering_s = busy_seconds([_span(shard) for shard in shards])
    config = experiment.config
    return SettingRow(
        id=setting.id,
        name=setting.name,
        params=experiment.params(setting).as_dict(),
        sheet=str(sheet.relative_to(out)),
        num_images=config.num_images,
        num_classes=config.render.catalog.num_classes,
        size=config.render.size,
        images_per_second=round(config.num_images / rendering_s, 2),
        render_seconds=round(rendering_s, 1),
        pretrain_seconds=backbone.metadata["wall_s"],
        metrics=str(metrics.relative_to(out)),
        digest=dataset.digest,
        command=experiment.render_command(setting),
        data=dataset_statistics(dataset.path),
    )


def _transfer_parts(experiment: Experiment, found: Found, out: Path) -> dict[str, Any]:
    config, names = experiment.config, [task.name for task in experiment.tasks]
    table, picks = experiment.transfer(found)
    scores = transfer_scores(table, seed=config.seed)
    experiment.copy_backbones(found, out / "backbones")
    columns = [field.name for field in dataclasses.fields(Score) if field.name != "commands"]
    write_text(out / "transfer.csv", as_csv([{name: getattr(row, name) for name in columns} for row in scores]))
    titles = {setting.id: setting.name for setting in found.settings}
    return {
        "transfer": tuple(dataclasses.replace(row, commands=score_commands(experiment, found, row)) for row in scores),
        "table": write_run_table(experiment.final_directories(found), out, seed=config.seed),
        "commands": pretrain_commands(experiment),
        "comparisons": comparisons(table, names, seed=config.seed),
        "preference": preference(picks, found.chosen, titles, seed=config.seed),
    }


def _span(artifact: Artifact) -> tuple[float, float]:
    """When it was made, from when to when."""
    started = artifact.metadata["started"]
    return started, started + artifact.metadata["wall_s"]


def _stage_rows(board: Board) -> tuple[StageRow, ...]:
    """Of every stage, how many artifacts the run needed, how many of them it had to make, and what that took."""
    return tuple(
        StageRow(
            name,
            row.total,
            row.done,
            row.reused,
            round(row.wall_s, 1),
            round(row.cpu_s, 1) if row.done else None,
            round(row.rss_bytes / 1e6) if row.done else None,
        )
        for name, row in board.rows.items()
    )


def _protocol(config: ExperimentConfig) -> tuple[str, ...]:
    score = config.score
    judged = f"weighted {score.k}-NN" if score.method == "knn" else "a linear probe (logistic regression)"
    where = f"{score.folds}-fold cross-validation" if score.selection == "cv" else "a validation part"
    random = (
        f"the mean over {config.uniform_settings} settings drawn uniformly from all"
        if config.uniform_settings
        else "the mean over the evaluated settings, each as likely"
    )
    stage = config.features.stage
    features = f"images of {config.features.size} px" + ("" if stage is None else f", stage {stage} of the network")
    features += ", generalised mean" if config.features.pool == "gem" else ""
    seeds = f"{config.final_seeds} pre-training seed{'s' if config.final_seeds > 1 else ''}"
    return (
        f"Reward: {judged} on frozen features ({features}), by {where} inside the training split.",
        f"Score: the same probe fitted on the whole training split, once on the test split; {seeds}.",
        f"random is {random}; all_on is domain randomisation.",
        "chosen is the controller's most probable evaluated setting.",
        "Intervals: 95 %, bootstrap over seeds and test images, paired in differences.",
    )


def _remove_stale_tables(summary: Summary, out: Path) -> None:
    """Remove the tables of an earlier run that came further: they are not of this summary."""
    stale = [*(() if summary.transfer else TRANSFER_TABLES), *(() if summary.trials else ("trials.csv",))]
    for name in stale:
        (out / name).unlink(missing_ok=True)


def _closing_text(summary: Summary, tasks: Sequence[ExperimentTask], out: Path, report: Path) -> str:
    lines = []
    if summary.transfer:
        lines += [format_table(summary.transfer, [task.name for task in tasks]), ""]
        for row in summary.comparisons:
            if row.task == "average" and row.ci95 is not None:
                low, high = row.ci95
                lines.append(f"{CHOSEN} - {row.b}: {row.difference:+.1f} points on average [{low:+.1f}, {high:+.1f}]")
        lines += [summary.preference.text if summary.preference else "", ""]
    if summary.missing:
        lines += ["missing:", *(f"  {reason}" for reason in summary.missing), ""]
    lines.append(f"report    {report}")
    tables = ["transfer.csv"] * bool(summary.transfer) + ["trials.csv"] * bool(summary.trials)
    lines.append(f"numbers   {', '.join([str(out / 'summary.json'), *tables])}")
    if summary.transfer:
        lines.append(f"table     {out / 'transfer_table.md'} (means by group, ranks), .csv and .html")
        lines.append(f"backbones {out / 'backbones'}")
    return "\n".join(lines)
