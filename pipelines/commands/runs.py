"""`simpath demo`, `run` and `report`: whole experiments."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import tyro

from pipelines.experiment import ExperimentConfig, ExperimentTask
from pipelines.presets import DEMO, DEMO_TASKS, PRESETS, tasks_under, with_budget


def demo(
    out: Path = Path("demo"), store: Path | None = None, device: Literal["cpu", "cuda"] = "cpu", cluster: str = "local"
) -> int:
    """Run the whole flow at toy scale, with nothing to download.

    Renders five parameter settings, pre-trains a small ResNet on each, lets the controller choose, and evaluates on
    three small tasks. Ends with a table and OUT/report.html. Run it again to continue, or to finish from its store.

    Args:
        out: directory of the results.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        cluster: `local`, or the address of a Dask scheduler (tcp://… or tls://…).
    """
    return _run("demo", DEMO, DEMO_TASKS, out, store, cluster, device)


def run(
    preset: tyro.conf.Positional[Literal["small", "paper"]],
    tasks: Path,
    out: Path,
    budget: int | None = None,
    store: Path | None = None,
    device: Literal["cpu", "cuda"] = "cpu",
    cluster: str = "local",
) -> int:
    """Run the whole experiment on your own tasks; resumable.

    OUT holds report.html, transfer.csv, trials.csv, summary.json, the chosen backbones, logs and the store.

    Args:
        preset: `small` takes about an hour on 2 cores; `paper` has the published sizes and wants a GPU cluster.
        tasks: a folder with one labelled image folder for each task.
        out: directory of the results.
        budget: settings to render at most; default: the preset's.
        store: directory of the artifact store; default OUT/store.
        device: where networks train and Blender renders.
        cluster: `local`, or the address of a Dask scheduler (tcp://… or tls://…).
    """
    config = PRESETS[preset] if budget is None else with_budget(PRESETS[preset], budget)
    return _run(preset, config, tasks_under(tasks), out, store, cluster, device)


def _run(
    name: str,
    config: ExperimentConfig,
    tasks: tuple[ExperimentTask, ...],
    out: Path,
    store: Path | None,
    cluster: str,
    device: str,
) -> int:
    from pipelines.run import run_experiment

    result = run_experiment(
        name,
        config,
        tasks,
        out=out,
        store=store,
        cluster=cluster,
        device=device,
        command=("simpath", *sys.argv[1:]),
    )
    print(result.text)
    return result.status


def report(out: tyro.conf.Positional[Path]) -> int:
    """Write OUT/report.html anew from OUT/summary.json.

    Args:
        out: directory of a run.
    """
    from pipelines.report import write_report

    print(write_report(out))
    return 0
