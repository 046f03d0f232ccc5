"""Presets of the whole experiment as values, each headed by its command, its cost and what it should show."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from controller.reinforce import ReinforceConfig
from pipelines.demo_tasks import MadeConfig
from pipelines.experiment import ExperimentConfig, ExperimentTask
from pretrain.recipes import DEMO as PRETRAIN_DEMO
from pretrain.recipes import PAPER as PRETRAIN_PAPER
from pretrain.recipes import SMALL as PRETRAIN_SMALL
from sim.assets import CatalogConfig
from sim.shards import RenderConfig
from transfer.catalogue import task_row
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig
from transfer.tasks import load_task

# simpath demo
# 5 settings x 480 images of 64 px, 15 epochs of ResNet-18 at 48 px, two settings at a time. 8.6 minutes on 2 cores with
# AVX2 only, after installing.
# The goal is that, averaged over its three tasks, the chosen backbone beats random weights: docs/results.md says how
# far it was met.
DEMO = ExperimentConfig(
    render=RenderConfig(size=64, samples=8, denoiser="none", images_per_shard=120),
    num_images=480,
    pretrain=PRETRAIN_DEMO,
    features=FeatureConfig(size=64, resize=64),
    score=ScoreConfig(method="linear", selection="cv"),
    controller=ReinforceConfig(budget=5, in_flight=2),
)

# simpath run small --tasks DIR --out OUT
# 4 settings x 960 images of 64 px, 40 epochs of ResNet-18 at 48 px, three seeds for the final rows; features at 128 px,
# since thin lines are lost at 64, and of stage 3, since the last one is left behind by so short a training, by
# generalised mean, since few places of a drawing say anything (docs/decisions.md). At most 12 pre-trainings: 82 minutes
# of 2 cores. With more time or cores, --budget 10 looks further. The goal is 10 points over random weights on line
# drawings: 22 on omniglot_small and 14 on tuberlin_sketch (docs/results.md).
SMALL = ExperimentConfig(
    render=RenderConfig(
        size=64, samples=16, denoiser="none", images_per_shard=240, catalog=CatalogConfig(num_classes=60)
    ),
    num_images=960,
    pretrain=PRETRAIN_SMALL,
    features=FeatureConfig(size=128, resize=128, stage=3, pool="gem"),
    score=ScoreConfig(method="linear", selection="cv"),
    controller=ReinforceConfig(budget=4, in_flight=2),
    final_seeds=3,
)

# simpath run paper --tasks DIR --out OUT --cluster slurm
# Task2Sim's sizes: 237 classes, 40,000 images of 256 px for each setting, ResNet-50 at 224 px for 100 epochs, reward by
# 5-NN on a validation part. A setting costs about 19 minutes of pre-training on one H100 with 16 cores beside it
# (docs/clusters.md); it is not for two cores.
PAPER = ExperimentConfig(
    render=RenderConfig(size=256, images_per_shard=1000, catalog=CatalogConfig(num_classes=237)),
    num_images=40_000,
    pretrain=PRETRAIN_PAPER,
    features=FeatureConfig(),
    score=ScoreConfig(method="knn", selection="val"),
    controller=ReinforceConfig(budget=64, in_flight=8),
    uniform_settings=8,
    final_seeds=3,
)

PRESETS = {"demo": DEMO, "small": SMALL, "paper": PAPER}

DEMO_TASKS = (
    ExperimentTask("digits", "digits", "Real handwritten digits, 8 x 8 pixels, the copy inside scikit-learn."),
    ExperimentTask(
        "line_drawings",
        MadeConfig("line_drawings"),
        "Made on the spot: pen drawings of procedural shapes that no rendering has shown.",
    ),
    ExperimentTask("textures", MadeConfig("textures"), "Made on the spot: twelve kinds of procedural patterns."),
)


def tasks_under(root: Path) -> tuple[ExperimentTask, ...]:
    """Every folder under `root` as a task, by name; one with the name of one of the 20 sets is read as that set.

    Raises:
        FileNotFoundError: no such folder, or none in it.
        ValueError: a folder has the name of one of the 20 sets and is in none of its layouts.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; --tasks is a folder with one labelled image folder for each task")
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not folders:
        raise FileNotFoundError(f"{root} has no folder inside; it should hold one labelled image folder for each task")
    return tuple(_task(path.absolute()) for path in folders)


def _task(folder: Path) -> ExperimentTask:
    if task_row(folder.name) is None:
        return ExperimentTask(folder.name, folder)
    try:
        load_task(folder.name, root=folder.parent)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(
            f"{folder} has the name of one of the 20 sets, but not its files: {error} (simpath tasks verify "
            f"{folder.name} --root {folder.parent} says more; a folder of other images needs another name)"
        ) from error
    return ExperimentTask(folder.name, folder.name, root=folder.parent)


def with_budget(config: ExperimentConfig, budget: int) -> ExperimentConfig:
    """The same experiment with another number of settings to render at most."""
    return dataclasses.replace(config, controller=dataclasses.replace(config.controller, budget=budget))
