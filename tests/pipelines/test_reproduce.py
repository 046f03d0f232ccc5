"""The printed commands: parsed again they are the configurations of the run, one command for each backbone."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from controller.reinforce import ReinforceConfig
from pipelines.__main__ import build_app
from pipelines.artifact import Store
from pipelines.experiment import Experiment, ExperimentTask
from pipelines.flow import Flow, InProcess
from pipelines.presets import PRESETS, SMALL
from pipelines.reproduce import evaluate_command, pretrain_command, pretrain_commands, score_commands
from pipelines.results import IMAGENET, transfer_scores
from pretrain.train import PretrainConfig
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_the_command_of_a_score_makes_features_and_score_with_the_runs_configurations(
    monkeypatch: pytest.MonkeyPatch, preset: Any
) -> None:
    asked: list[Any] = []
    result = {"task": "t", "metric": "accuracy", "score": 1.0, "ci95": [0, 2], "n_train": 9000, "n_test": 3}

    def extract(config: FeatureConfig, backbone: str, task: str, **_: Any) -> dict[str, Any]:
        asked.append((config, backbone, task))
        return {"n_train": 9000, "n_val": 0}

    def final(config: ScoreConfig, *_: Any, **__: Any) -> dict[str, Any]:
        asked.append(config)
        return result

    monkeypatch.setattr("transfer.features.extract_features", extract)
    monkeypatch.setattr("transfer.score.final", final)
    words = evaluate_command(preset.features, preset.score, "a b.safetensors", "some/task", device="cpu")
    assert words is not None and build_app().cli(prog="simpath", args=list(words[1:])) == 0
    (features, backbone, task), score = asked
    named = evaluate_command(preset.features, preset.score, "b", "EuroSAT", device="cpu", root="sets")
    assert named is not None and named[named.index("--root") + 1] == "sets"
    assert (features, backbone, task) == (preset.features, "a b.safetensors", "some/task")
    ignored = {} if preset.score.method == "linear" else {"selection": "cv", "sweep": "full"}  # k-NN chooses nothing
    assert dataclasses.replace(score, **ignored) == dataclasses.replace(preset.score, **ignored)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_the_command_of_a_pre_training_has_the_runs_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, preset: Any
) -> None:
    asked: list[Any] = []

    def pretrain(config: PretrainConfig, data: str, *, out: Path, **_: Any) -> dict[str, Any]:
        asked.append((config, data, out))
        return {}

    monkeypatch.setattr("pretrain.train.pretrain", pretrain)
    wanted = dataclasses.replace(preset.pretrain, seed=2)
    words = pretrain_command(wanted, device="cpu")
    assert words is not None and build_app().cli(prog="simpath", args=list(words[1:])) == 0
    assert asked == [(wanted, "DIR", Path("NETWORK"))]


def test_a_configuration_that_the_command_line_cannot_say_has_no_command() -> None:
    assert pretrain_command(dataclasses.replace(SMALL.pretrain, warmup_epochs=1), device="cpu") is None
    for features, score in (
        (dataclasses.replace(SMALL.features, max_unreadable=0.5), SMALL.score),
        (SMALL.features, dataclasses.replace(SMALL.score, folds=3)),
        (dataclasses.replace(SMALL.features, split_seed=1), SMALL.score),
    ):
        assert evaluate_command(features, score, "b", "t", device="cpu") is None


def test_every_backbone_behind_a_score_has_its_command(tmp_path: Path, trivial: ModuleType) -> None:
    fakes = importlib.import_module("fake_stages")
    config = dataclasses.replace(SMALL, controller=ReinforceConfig(budget=4), uniform_settings=2, final_seeds=2)
    tasks = (ExperimentTask("a", "a"), ExperimentTask("b", "b"))
    with InProcess() as cluster, Flow(Store(tmp_path), cluster, run="test", stages=fakes.STAGES) as flow:
        weights = tmp_path / "resnet18.pth"
        weights.touch()
        experiment = Experiment(config, tasks, flow, imagenet=weights)
        found = experiment.search()
        rows = transfer_scores(experiment.transfer(found)[0], seed=0)
        commands = {(row.task, row.method): score_commands(experiment, found, row) for row in rows}
        assert len(commands) == 10 and [row.what.split(" on ")[0] for row in pretrain_commands(experiment)] == [
            "Pre-training with seed 0",
            "Pre-training with seed 1",
        ]
        for (task, method), lines in commands.items():
            assert len(lines) == len(set(lines)) == (1 if method == IMAGENET else 2), (task, method)
            assert all(line[line.index("--task") + 1] == task for line in lines)
            backbones = [line[line.index("--backbone") + 1] for line in lines]
            if method == "random weights":
                assert backbones == ["random:resnet18:1000", "random:resnet18:1001"]
            elif method == IMAGENET:
                assert backbones == [f"torchvision:resnet18:{weights}"]
            else:
                assert all(Path(backbone).is_file() for backbone in backbones)
