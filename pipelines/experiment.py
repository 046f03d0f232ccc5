"""The whole experiment: render, pre-train, score, choose, transfer. A flow of stages around the controller's loop.

In: an `ExperimentConfig` (presets in `pipelines.presets`) and downstream tasks. Out, under one directory:
summary.json (all numbers), transfer.csv, trials.csv, pictures/, logs/, backbones/ and the store. Everything
expensive is an artifact, so running it again continues or finishes at once; the controller is replayed from the stored
rewards.

Protocol. Reward: cross-validated inside a task's training split (see `transfer.score.reward`). Every evaluated setting
is scored on every task, since the backbone is what costs. chosen: the controller's most probable evaluated setting.
random: the mean over settings drawn uniformly (`uniform_settings` of them, else the evaluated ones, all as likely).
The test splits are read once, after the last choice. Final rows pre-train with the seeds 0 to `final_seeds` - 1; seed 0
was also the one that choices were made with.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from controller.reinforce import (
    ReinforceConfig,
    ReinforceState,
    ask,
    chosen,
    controller_start,
    finished,
    probabilities,
    tell,
)
from controller.trials import Action, Trial
from pipelines.demo_tasks import MadeConfig
from pipelines.flow import Flow, Handle, Input
from pipelines.rendering import DatasetConfig, render_command
from pipelines.results import ALL_ON, CHOSEN, RANDOM, RANDOM_WEIGHTS, Answers
from pipelines.training import check_processes
from pretrain.train import PretrainConfig
from sim.params import TASK2SIM_SPACE, ActionSpace, SimParams, all_off, all_on
from sim.shards import RenderConfig
from sim.wire import Device
from transfer.features import FeatureConfig
from transfer.score import ScoreConfig

RANDOM_BACKBONE_SEED = 1000
"""Random-weights rows start their initialisation seeds here, apart from those of pre-training."""


@dataclass(frozen=True)
class ExperimentConfig:
    """Everything that changes the numbers of an experiment."""

    render: RenderConfig
    """Of every setting; its `params` are replaced by the setting's."""
    num_images: int
    """Images rendered for each setting."""
    pretrain: PretrainConfig
    """Its `seed` is replaced by each seed's."""
    features: FeatureConfig
    score: ScoreConfig
    controller: ReinforceConfig
    uniform_settings: int = 0
    """Settings drawn uniformly and evaluated beside the controller's questions; part of its budget."""
    final_seeds: int = 1
    """Pre-training seeds of the final rows."""
    seed: int = 0
    """Of the uniformly drawn settings and the bootstrap."""

    def __post_init__(self) -> None:
        if self.controller.budget is None:
            raise ValueError("controller.budget is not set; allowed: the number of settings to render at most")
        if self.uniform_settings + 2 > self.controller.budget:
            raise ValueError(
                f"controller.budget is {self.controller.budget}; allowed: at least uniform_settings "
                f"({self.uniform_settings}) and two, for all off and all on"
            )
        if self.final_seeds < 1:
            raise ValueError(f"final_seeds is {self.final_seeds}; allowed: 1 and more")


@dataclass(frozen=True)
class ExperimentTask:
    """A downstream task: a named set, a folder, or one that is made on the spot."""

    name: str
    source: str | Path | MadeConfig
    description: str = ""


@dataclass(frozen=True)
class Setting:
    """One evaluated setting, in the order of evaluation."""

    id: str
    name: str
    action: Action
    origin: str
    """all_off, all_on, uniform or asked."""


@dataclass(frozen=True)
class Found:
    """What the search has come to: every reward, and what follows from them."""

    settings: tuple[Setting, ...]
    rewards: Mapping[tuple[str, str], float]
    """(task, setting id) -> percent."""
    chosen: Mapping[str, str]
    """task -> setting id."""
    probabilities: Mapping[str, Mapping[str, Mapping[str, float]]]
    state: ReinforceState = field(compare=False)
    """The controller at the end."""


class Experiment:
    """The stages of one experiment on one flow; each method asks for artifacts and returns handles or numbers."""

    def __init__(
        self,
        config: ExperimentConfig,
        tasks: Sequence[ExperimentTask],
        flow: Flow,
        *,
        device: str = "cpu",
        train_cores: int = 1,
        train_processes: int = 1,
        space: ActionSpace = TASK2SIM_SPACE,
        vectors: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        """`train_processes` share one pre-training, with a GPU each or its part of the `train_cores`. `vectors` are the
        tasks' Task2Vec vectors by name; without, the controller only tells the tasks apart."""
        self.vectors = vectors
        self.config, self.tasks, self.flow, self.space = config, tuple(tasks), flow, space
        self._device, self._train_cores, self._train_processes = device, train_cores, train_processes
        check_processes(config.pretrain, train_processes)
        if not tasks:
            raise ValueError("an experiment needs at least one task")
        names = [task.name for task in tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"two tasks have the same name among {', '.join(names)}")

    def params(self, setting: Setting) -> SimParams:
        return SimParams(**self.space.to_levels(setting.action))  # type: ignore[arg-type]

    def dataset(self, setting: Setting) -> Handle:
        """Rendered images of a setting; equal settings are one artifact."""
        dataset = self._dataset_config(setting)
        device = self._render_device
        shards = [self.flow.submit("render_shard", shard, knobs={"device": device}) for shard in dataset.shards(device)]
        return self.flow.submit("dataset", dataset, {"shards": shards})

    def render_command(self, setting: Setting) -> tuple[str, ...]:
        """Makes the data set of a setting once more, without a store."""
        return render_command(self._dataset_config(setting), device=self._render_device)

    def _dataset_config(self, setting: Setting) -> DatasetConfig:
        render = dataclasses.replace(self.config.render, params=self.params(setting))
        return DatasetConfig(render, self.config.num_images)

    @property
    def _render_device(self) -> Device:
        return "optix" if self._device == "cuda" else "cpu"

    def backbone(self, setting: Setting, seed: int) -> Handle:
        config = dataclasses.replace(self.config.pretrain, seed=seed)
        return self.flow.submit(
            "pretrain",
            config,
            {"data": self.dataset(setting)},
            cores=self._train_cores,
            gpus=self._train_processes,
            knobs={"device": self._device, "processes": self._train_processes},
        )

    def features(self, task: ExperimentTask, backbone: Input) -> Handle:
        knobs = {"device": self._device}
        inputs = {"backbone": backbone, "task": self._task_input(task)}
        return self.flow.submit("features", self.config.features, inputs, knobs=knobs)

    def task_folder(self, task: ExperimentTask) -> Path | None:
        """Where a task's images lie, once a made one is made; None for a set inside a package."""
        if isinstance(task.source, MadeConfig):
            return self.flow.result(self.flow.submit("made_task", task.source)).path / "images"
        return task.source if isinstance(task.source, Path) else None

    def _task_input(self, task: ExperimentTask) -> Input:
        if isinstance(task.source, MadeConfig):
            return self.flow.submit("made_task", task.source) / "images"
        return task.source

    def search(self) -> Found:
        """The controller's loop: ask, render, pre-train, score, tell, until the budget of settings is spent."""
        state = controller_start(self.config.controller, [task.name for task in self.tasks], self.vectors, self.space)
        known = {all_off(self.space): ("all off", "all_off"), all_on(self.space): ("all on", "all_on")}
        settings: dict[Action, Setting] = {}
        rewards: dict[tuple[str, str], float] = {}

        def evaluate(actions: Sequence[Action], origin: str) -> None:
            for action in actions:
                number = sum(setting.origin == origin for setting in settings.values()) + 1
                name, found_origin = known.get(action, (f"{origin} {number}", origin))
                settings[action] = Setting(f"s{len(settings)}", name, action, found_origin)
            wanted = {
                (task.name, settings[action].id): self.reward(task, settings[action])
                for action in actions
                for task in self.tasks
            }
            self.flow.wait(list(wanted.values()))
            rewards.update({pair: float(self.flow.result(h).summary["reward"]) for pair, h in wanted.items()})

        uniform = self._uniform_actions()
        while not finished(state):
            trials = ask(state)
            fresh = [action for action in dict.fromkeys(t.action for t in trials) if action not in settings]
            if uniform and not any(action in known for action in fresh):
                # after all off and all on, before anything is asked: the controller may learn from them too
                fresh, origin, uniform = uniform, "uniform", []
                trials = tuple(Trial(task.name, action) for action in fresh for task in self.tasks)
            else:
                origin = "asked"
            evaluate(fresh, origin)
            state = tell(state, trials, [rewards[trial.task, settings[trial.action].id] for trial in trials])
        return Found(
            tuple(settings.values()),
            rewards,
            {task.name: settings[chosen(state, task.name)].id for task in self.tasks},
            probabilities(state),
            state,
        )

    def _uniform_actions(self) -> list[Action]:
        """Distinct settings drawn uniformly from the whole space but for all off and all on, which are known."""
        rng = np.random.default_rng([self.config.seed, 3])
        others = [action for action in self.space.actions() if action not in (all_off(self.space), all_on(self.space))]
        picks = rng.choice(len(others), size=self.config.uniform_settings, replace=False)
        return [others[int(pick)] for pick in picks]

    def reward(self, task: ExperimentTask, setting: Setting) -> Handle:
        return self._reward(task, self.backbone(setting, 0) / "backbone.safetensors")

    def _reward(self, task: ExperimentTask, backbone: Input) -> Handle:
        return self.flow.submit("reward", self.config.score, {"features_dir": self.features(task, backbone)})

    def final(self, task: ExperimentTask, backbone: Input) -> Handle:
        """The only stage that reads a test split; the regularisation is the one that gave the reward."""
        inputs = {"features_dir": self.features(task, backbone), "selected": self._reward(task, backbone)}
        return self.flow.submit("final", self.config.score, inputs)

    def transfer(self, found: Found) -> tuple[dict[tuple[str, str], Answers], dict[tuple[str, str], Any]]:
        """Test answers by (task, method), and by (setting id, task) for the chosen settings on every task."""
        by_id = {setting.id: setting for setting in found.settings}
        on = next(setting.id for setting in found.settings if setting.origin == "all_on")
        uniform = [setting.id for setting in found.settings if setting.origin == "uniform"] or list(by_id)
        seeds = range(self.config.final_seeds)
        wanted: dict[tuple[str, str], list[Handle]] = {}
        for task in self.tasks:
            initial = [f"random:{self.config.pretrain.arch}:{RANDOM_BACKBONE_SEED + seed}" for seed in seeds]
            wanted[task.name, RANDOM_WEIGHTS] = [self.final(task, backbone) for backbone in initial]
            wanted[task.name, RANDOM] = [
                self.final(task, self.backbone(by_id[name], 0) / "backbone.safetensors") for name in uniform
            ]
            for name in dict.fromkeys([on, *found.chosen.values()]):
                backbones = [self.backbone(by_id[name], seed) / "backbone.safetensors" for seed in seeds]
                wanted[task.name, name] = [self.final(task, backbone) for backbone in backbones]
        self.flow.wait([handle for handles in wanted.values() for handle in handles])
        correct = {pair: np.stack([self._correct(h) for h in handles]) for pair, handles in wanted.items()}

        table: dict[tuple[str, str], Answers] = {}
        for task in self.tasks:
            pick = found.chosen[task.name]
            table[task.name, RANDOM_WEIGHTS] = Answers(correct[task.name, RANDOM_WEIGHTS], (), len(seeds))
            table[task.name, RANDOM] = Answers(correct[task.name, RANDOM], tuple(uniform), 1)
            table[task.name, ALL_ON] = Answers(correct[task.name, on], (on,), len(seeds))
            table[task.name, CHOSEN] = Answers(correct[task.name, pick], (pick,), len(seeds))
        picks = {
            (setting, task.name): correct[task.name, setting]
            for task in self.tasks
            for setting in set(found.chosen.values())
        }
        return table, picks

    def _correct(self, handle: Handle) -> npt.NDArray[np.uint8]:
        from transfer.score import load_correct

        return load_correct(self.flow.result(handle).path)

    def copy_backbones(self, found: Found, out: Path) -> None:
        """The chosen backbone of every task (seed 0) as `out/<task>.safetensors`, replaced as whole files."""
        out.mkdir(parents=True, exist_ok=True)
        by_id = {setting.id: setting for setting in found.settings}
        for task in self.tasks:
            source = self.flow.result(self.backbone(by_id[found.chosen[task.name]], 0)).path / "backbone.safetensors"
            temporary = out / f".{task.name}.tmp"
            shutil.copyfile(source, temporary)
            temporary.replace(out / f"{task.name}.safetensors")
