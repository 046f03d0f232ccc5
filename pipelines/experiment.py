"""The whole experiment: render, pre-train, score, choose, transfer. A flow of stages around the controller's loop.

In: an `ExperimentConfig` (presets in `pipelines.presets`) and downstream tasks. Out, under one directory:
summary.json (all numbers), transfer.csv, transfer_table.*, trials.csv, pictures/, logs/, backbones/ and the store.
Everything expensive is an artifact, so running it again continues or finishes at once; the controller is replayed from
the stored rewards.

Protocol. Reward: cross-validated inside a task's training split (see `transfer.score.reward`). Every evaluated setting
is scored on every task, since the backbone is what costs. chosen: the controller's most probable evaluated setting.
random: the mean over settings drawn uniformly (`uniform_settings` of them, else the evaluated ones, all as likely).
The test splits are read once, after the last choice. Final rows pre-train with the seeds 0 to `final_seeds` - 1; seed 0
was also the one that choices were made with.
"""

from __future__ import annotations

import dataclasses
import functools
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
from pipelines.artifact import file_sha256
from pipelines.demo_tasks import MadeConfig
from pipelines.flow import Flow, Given, Handle, Input
from pipelines.folders import digest_folder
from pipelines.rendering import DatasetConfig, render_command
from pipelines.results import ALL_ON, CHOSEN, IMAGENET, RANDOM, RANDOM_WEIGHTS, Answers
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
    """A name is that of a set inside a package, or with `root` of one of the 20 sets."""
    description: str = ""
    root: Path | None = None
    """Where the files of one of the 20 sets lie, under their name."""

    @property
    def folder(self) -> Path | None:
        """The user's folder with the task's files, if there is one."""
        if self.root is not None:
            return self.root / str(self.source)
        return self.source if isinstance(self.source, Path) else None


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
        imagenet: Path | None = None,
    ) -> None:
        """`train_processes` share one pre-training, with a GPU each or its part of the `train_cores`. `vectors` are the
        tasks' Task2Vec vectors by name; without, the controller only tells the tasks apart. `imagenet` is a file of
        torchvision's weights of the architecture, which then have a column in the transfer table."""
        self.vectors, self.imagenet = vectors, imagenet
        self.config, self.tasks, self.flow, self.space = config, tuple(tasks), flow, space
        self.device, self._train_cores, self._train_processes = device, train_cores, train_processes
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
        return "optix" if self.device == "cuda" else "cpu"

    def backbone(self, setting: Setting, seed: int) -> Handle:
        config = dataclasses.replace(self.config.pretrain, seed=seed)
        return self.flow.submit(
            "pretrain",
            config,
            {"data": self.dataset(setting)},
            cores=self._train_cores,
            gpus=self._train_processes,
            knobs={"device": self.device, "processes": self._train_processes},
        )

    def features(self, task: ExperimentTask, backbone: Input) -> Handle:
        knobs = {"device": self.device} if task.root is None else {"device": self.device, "root": str(task.root)}
        inputs = {"backbone": backbone, "task": self._task_input(task)}
        return self.flow.submit("features", self.config.features, inputs, knobs=knobs)

    def task_folder(self, task: ExperimentTask) -> Path | None:
        """Where a task's images lie, once a made one is made; None for a named set."""
        if isinstance(task.source, MadeConfig):
            return self.flow.result(self.flow.submit("made_task", task.source)).path / "images"
        return task.source if isinstance(task.source, Path) else None

    def _task_input(self, task: ExperimentTask) -> Input:
        if isinstance(task.source, MadeConfig):
            return self.flow.submit("made_task", task.source) / "images"
        if task.folder is not None and not isinstance(task.source, Path):
            digest = digest_folder(task.folder, self.flow.store.root / "folders")
            return Given(task.source, f"{task.source}:{digest}")
        return task.source

    @functools.cached_property
    def imagenet_backbone(self) -> Given:
        """torchvision's ImageNet weights."""
        assert self.imagenet is not None, "asked for only where there is a file"
        name = f"torchvision:{self.config.pretrain.arch}"
        return Given(f"{name}:{self.imagenet.absolute()}", f"{name} sha256:{file_sha256(self.imagenet)}")

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
        methods, picks = self._finals(found)
        self.flow.wait([handle for handles in (*methods.values(), *picks.values()) for handle in handles])
        seeds, on = self.config.final_seeds, self._all_on(found)
        table: dict[tuple[str, str], Answers] = {}
        for (task, method), handles in methods.items():
            settings = {ALL_ON: (on,), CHOSEN: (found.chosen[task],), RANDOM: tuple(self._uniform(found))}
            count = {RANDOM: 1, IMAGENET: 1}.get(method, seeds)
            table[task, method] = Answers(self._correct(handles), settings.get(method, ()), count)
        return table, {pair: self._correct(handles) for pair, handles in picks.items()}

    def final_directories(self, found: Found) -> dict[str, dict[str, list[Path]]]:
        """Method -> task -> what `transfer.score.final` left, once `transfer` is complete."""
        by_method: dict[str, dict[str, list[Path]]] = {}
        for (task, method), handles in self._finals(found)[0].items():
            by_method.setdefault(method, {})[task] = [self.flow.result(handle).path for handle in handles]
        return by_method

    def _finals(self, found: Found) -> tuple[dict[tuple[str, str], list[Handle]], dict[tuple[str, str], list[Handle]]]:
        """The final scores by (task, method), and by (setting id, task) for the chosen settings on every task."""
        by_id = {setting.id: setting for setting in found.settings}
        seeds = range(self.config.final_seeds)

        def of_setting(task: ExperimentTask, name: str) -> list[Handle]:
            return [self.final(task, self.backbone(by_id[name], seed) / "backbone.safetensors") for seed in seeds]

        methods: dict[tuple[str, str], list[Handle]] = {}
        for task in self.tasks:
            initial = [f"random:{self.config.pretrain.arch}:{RANDOM_BACKBONE_SEED + seed}" for seed in seeds]
            methods[task.name, RANDOM_WEIGHTS] = [self.final(task, backbone) for backbone in initial]
            if self.imagenet is not None:
                methods[task.name, IMAGENET] = [self.final(task, self.imagenet_backbone)]
            methods[task.name, RANDOM] = [
                self.final(task, self.backbone(by_id[name], 0) / "backbone.safetensors")
                for name in self._uniform(found)
            ]
            methods[task.name, ALL_ON] = of_setting(task, self._all_on(found))
            methods[task.name, CHOSEN] = of_setting(task, found.chosen[task.name])
        picked = dict.fromkeys(found.chosen.values())
        return methods, {(name, task.name): of_setting(task, name) for task in self.tasks for name in picked}

    def _all_on(self, found: Found) -> str:
        return next(setting.id for setting in found.settings if setting.origin == "all_on")

    def _uniform(self, found: Found) -> list[str]:
        """The settings that `random` averages over."""
        uniform = [setting.id for setting in found.settings if setting.origin == "uniform"]
        return uniform or [setting.id for setting in found.settings]

    def _correct(self, handles: Sequence[Handle]) -> npt.NDArray[np.uint8]:
        from transfer.score import load_correct

        return np.stack([load_correct(self.flow.result(handle).path) for handle in handles])

    def copy_backbones(self, found: Found, out: Path) -> None:
        """The chosen backbone of every task (seed 0) as `out/<task>.safetensors`, replaced as whole files."""
        out.mkdir(parents=True, exist_ok=True)
        by_id = {setting.id: setting for setting in found.settings}
        for task in self.tasks:
            source = self.flow.result(self.backbone(by_id[found.chosen[task.name]], 0)).path / "backbone.safetensors"
            temporary = out / f".{task.name}.tmp"
            shutil.copyfile(source, temporary)
            temporary.replace(out / f"{task.name}.safetensors")
