"""`simpath demo`, `run`, `submit`, `status` and `report`: whole experiments."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from pipelines.batch import BatchConfig
from pipelines.commands import usage_error
from pipelines.experiment import ExperimentConfig, ExperimentTask
from pipelines.place import LOCAL, ONE_JOB, Place
from pipelines.presets import DEMO, DEMO_TASKS, PRESETS, tasks_under, with_budget
from pipelines.terminal import say
from pipelines.usage import reading_options

# its fields are options of their own: --cluster, --batch.jobs, …
PlaceOptions = Annotated[Place, tyro.conf.arg(name="")]


def demo(
    out: Path = Path("demo"),
    store: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    place: PlaceOptions = LOCAL,
) -> int:
    """Run the whole flow at toy scale, with nothing to download.

    Renders five parameter settings, pre-trains a small ResNet on each, lets the controller choose, and evaluates on
    three small tasks. Ends with a table and OUT/report.html. Run it again to continue, or to finish from its store.

    Args:
        out: directory of the results.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        place: where the work is done.
    """
    return _run("demo", DEMO, DEMO_TASKS, out, store, place, device)


def run(
    preset: tyro.conf.Positional[Literal["small", "paper"]],
    tasks: Path,
    out: Path,
    budget: int | None = None,
    store: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    imagenet: Path | None = None,
    place: PlaceOptions = LOCAL,
) -> int:
    """Run the whole experiment on your own tasks; resumable.

    OUT holds report.html, transfer.csv, transfer_table.csv, .md and .html, trials.csv, summary.json, the chosen
    backbones, logs and the store.

    Args:
        preset: `small` takes one to two hours on 2 cores; `paper` has the published sizes and wants a GPU cluster.
        tasks: a folder with one labelled image folder for each task; one with the name of one of the 20 sets (see
            `simpath tasks list`) holds that set as it is downloaded.
        out: directory of the results.
        budget: settings to render at most; default: the preset's.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        imagenet: file of torchvision's ImageNet weights of the network, for a column of the table; default: those in
            torch's hub cache, where the work is done on this machine and they are there. Nothing is downloaded.
        place: where the work is done.
    """
    if imagenet is not None and not imagenet.is_file():
        return usage_error(f"no file {imagenet}; --imagenet is torchvision's weights, such as resnet50-0676ba61.pth")
    with reading_options():
        config = PRESETS[preset] if budget is None else with_budget(PRESETS[preset], budget)
    return _run(preset, config, tasks_under(tasks), out, store, place, device, imagenet)


def _run(
    name: str,
    config: ExperimentConfig,
    tasks: tuple[ExperimentTask, ...],
    out: Path,
    store: Path | None,
    place: Place,
    device: str,
    imagenet: Path | None = None,
) -> int:
    from pipelines.run import run_experiment

    result = run_experiment(
        name,
        config,
        tasks,
        out=out,
        store=store,
        place=place,
        device=device,
        imagenet=imagenet,
        command=("simpath", *sys.argv[1:]),
    )
    say(result.text)
    return result.status


def report(out: tyro.conf.Positional[Path]) -> int:
    """Write OUT/report.html anew: of a run, of `simpath multitask`, or of SpotTune, BlockDrop and the lesion study.

    Args:
        out: directory of a run or of `simpath multitask`, or of results of `simpath evaluate` with these methods.
    """
    from pipelines.multitask import holds_multitask, write_multitask_report
    from pipelines.pathways import find_runs, write_pathways_report
    from pipelines.report import write_report

    if holds_multitask(out):
        say(write_multitask_report(out))
    else:
        say(write_pathways_report(out) if find_runs(out) else write_report(out))
    return 0


def status(out: tyro.conf.Positional[Path]) -> int:
    """Say how a run, or `simpath render` on a cluster, is doing, from another shell.

    Args:
        out: directory of the run or of the data set.
    """
    from pipelines.status import format_status, read_status

    say(format_status(read_status(out)))
    return 0


def submit(
    command: str,
    script: Path,
    system: Literal["slurm", "pbs", "lsf", "sge"] = "slurm",
    batch: BatchConfig = ONE_JOB,
    dry_run: bool = False,
) -> int:
    """Write a batch script for a whole command and hand it to the batch system.

    The job saves and queues itself again when it is pre-empted or its walltime ends.

    Args:
        command: in quotes, for example --command "simpath run small --tasks DIR --out OUT --cluster slurm".
        script: file to write; the job's output goes to a .log beside it.
        system: the batch system.
        batch: what the job asks for.
        dry_run: only write the script.
    """
    from pipelines.artifact import write_text
    from pipelines.batch import batch_script
    from pipelines.batch import submit as hand_over

    if batch.jobs != 1:
        raise ValueError(
            f"batch.jobs is {batch.jobs}; submit makes one job (the command's own --batch.jobs may differ)"
        )
    text = batch_script(system, batch, shlex.split(command), name=script.stem, log=script.with_suffix(".log"))
    script.parent.mkdir(parents=True, exist_ok=True)
    write_text(script, text)
    say(f"script  {script}")
    if not dry_run:
        say(hand_over(system, script))
    return 0
