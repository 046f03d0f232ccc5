"""Commands that make the numbers of a run again, one stage each; `pipelines.rendering` has the one that renders.

A configuration that the command line has no options for has no command: its numbers come from the whole run's.
"""

from __future__ import annotations

import dataclasses

from pipelines.experiment import RANDOM_BACKBONE_SEED, Experiment, Found
from pipelines.results import IMAGENET
from pipelines.summary import NamedCommand, Score
from pretrain.recipes import RECIPES
from pretrain.train import PretrainConfig
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig

Words = tuple[str, ...]


def pretrain_command(config: PretrainConfig, *, device: str) -> Words | None:
    """The `simpath pretrain` on a data set in DIR that leaves its results in NETWORK."""
    names = (name for name, recipe in RECIPES.items() if dataclasses.replace(recipe, seed=config.seed) == config)
    recipe = next(names, None)
    if recipe is None:
        return None
    words = ("simpath", "pretrain", "--recipe", recipe, "--data", "DIR", "--out", "NETWORK")
    return (*words, "--seed", str(config.seed), *_on(device))


def evaluate_command(
    features: FeatureConfig,
    score: ScoreConfig,
    backbone: str,
    task: str,
    *,
    device: str,
    root: str | None = None,
) -> Words | None:
    """The `simpath evaluate` whose score is that of the stages `features` and `final`."""
    sayable = FeatureConfig(
        features.size, features.resize, stage=features.stage, pool=features.pool, split=features.split
    )
    if features != sayable:
        return None
    if score != ScoreConfig(score.method, score.selection, sweep=score.sweep, k=score.k, seed=score.seed):
        return None
    words: Words = ("simpath", "evaluate", "--backbone", backbone, "--task", task, "--method", score.method)
    words += () if root is None else ("--root", root)
    words += ("--size", str(features.size), "--resize", str(features.resize), "--split", features.split)
    words += () if features.stage is None else ("--stage", str(features.stage))
    words += () if features.pool == "avg" else ("--pool", features.pool)
    if score.method == "linear":
        words += ("--selection", score.selection, "--sweep", score.sweep)
    else:
        words += ("--k", str(score.k))
    return (*words, "--seed", str(score.seed), *_on(device))


def pretrain_commands(experiment: Experiment) -> tuple[NamedCommand, ...]:
    """One for each seed of the final rows."""
    rows = []
    for seed in range(experiment.config.final_seeds):
        command = pretrain_command(dataclasses.replace(experiment.config.pretrain, seed=seed), device=experiment.device)
        if command is not None:
            rows.append(
                NamedCommand(f"Pre-training with seed {seed} on the images of a setting, rendered in DIR", command)
            )
    return tuple(rows)


def score_commands(experiment: Experiment, found: Found, row: Score) -> tuple[Words, ...]:
    """One for each backbone behind a row of the transfer table."""
    task = next(task for task in experiment.tasks if task.name == row.task)
    folder = experiment.task_folder(task)
    source = str(task.source) if folder is None else str(folder)
    config, root = experiment.config, None if task.root is None else str(task.root)
    commands = (
        evaluate_command(config.features, config.score, backbone, source, device=experiment.device, root=root)
        for backbone in _backbones(experiment, found, row)
    )
    return tuple(command for command in commands if command is not None)


def _backbones(experiment: Experiment, found: Found, row: Score) -> list[str]:
    assert row.seeds is not None, "every measured row says its seeds"
    if row.method == IMAGENET:
        return [experiment.imagenet_backbone.text]
    if not row.settings:
        return [f"random:{experiment.config.pretrain.arch}:{RANDOM_BACKBONE_SEED + n}" for n in range(row.seeds)]
    settings = {setting.id: setting for setting in found.settings}
    handles = [experiment.backbone(settings[name], seed) for name in row.settings for seed in range(row.seeds)]
    return [str(experiment.flow.store.path(handle.digest) / "backbone.safetensors") for handle in handles]


def _on(device: str) -> Words:
    return () if device == "cpu" else ("--device", device)
