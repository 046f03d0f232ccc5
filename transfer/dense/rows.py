"""One row and seed of the table: build, train, test, and leave what the table needs.

In: a configuration, scenes, tasks. Out: per row and seed a folder with result.json, weights.safetensors,
statistics.safetensors (per-image statistics of the test scenes) and predictions.png; for AdaShare policy.png and one
such folder per trained policy. A finished folder is read, an interrupted run continues from its checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from pretrain.checkpoint import write_atomic
from pretrain.memory import freed_memory_is_kept
from transfer.dense.adashare import AdaShare, select_probability
from transfer.dense.config import MultitaskConfig
from transfer.dense.data import DenseData, Sampler, Scene, SceneSet, ViewConfig, random_split, stack
from transfer.dense.gradients import build_balancer
from transfer.dense.losses import dense_tasks
from transfer.dense.pictures import policy_grid, prediction_sheet
from transfer.dense.plan import TaskPlan
from transfer.dense.search import Parts, PolicySearch, SearchResult, draw_policies
from transfer.dense.sharing import SharingNetwork, build_network, reference_parameters
from transfer.dense.table import mean_delta
from transfer.dense.training import (
    CHECKPOINT_EVERY_S,
    Evaluation,
    Tick,
    WeightSteps,
    evaluate,
    fit,
    predict,
    refuse_infinite_score,
)
from transfer.pathways.cost import count_flops

SHOWN_SCENES = 6
_TRAIN, _ORDER = 1, 3
"""Names of random streams."""


class Rows:
    """Trains rows of one experiment.

    Args:
        out: folder of all rows.
        tick_of: name of a run -> what is called after each of its steps.
        checkpoint_every_s: seconds between two checkpoints of a run.
    """

    def __init__(
        self,
        config: MultitaskConfig,
        scenes: DenseData,
        *,
        out: Path,
        device: str,
        tick_of: Callable[[str], Tick],
        checkpoint_every_s: float = CHECKPOINT_EVERY_S,
    ) -> None:
        self.config, self.scenes, self.out, self.device = config, scenes, out, device
        self.tasks = dense_tasks(config, classes=scenes.classes, class_weights=scenes.class_weights)
        self.tick_of, self.checkpoint_every_s = tick_of, checkpoint_every_s
        self.view = ViewConfig(config.crop, config.scale, config.flip, scenes.depth)
        self.parts = scenes.parts or random_split(scenes.train, 1 - config.adashare.weight_part, seed=1)
        self.reference_parameters = reference_parameters(config)
        self.reference: dict[int, dict[str, Any]] = {}
        """Results of the single-task networks, by seed."""

    def total_steps(self) -> int:
        """Training steps of all rows and seeds."""
        config, search = self.config, self.config.adashare
        weight, policy = (self._sampler(part).batches_per_epoch for part in self.parts)
        weight = weight if search.weight_iterations is None else search.weight_iterations
        policy = policy if search.policy_iterations is None else search.policy_iterations
        rounds = search.policy_phases * (weight + policy)
        adashare = search.warmup_iterations + rounds + search.samples * config.iterations
        per_seed = sum(adashare if name == "adashare" else config.iterations for name, _ in config.runs)
        return per_seed * len(config.seeds)

    def folder(self, row: str, seed: int) -> Path:
        return self.out / row / f"seed-{seed}"

    @freed_memory_is_kept()
    def train(self, architecture: str, balancer: str, seed: int) -> dict[str, Any]:
        """One row and seed: found on disk, or trained."""
        row = row_name(architecture, balancer)
        folder = self.folder(row, seed)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "result.json").exists():
            began = time.monotonic()
            if architecture == "adashare":
                result = self._adashare(folder, balancer, row, seed)
            else:
                steps = self._steps(architecture, balancer, seed)
                self._fit(steps, folder / "checkpoint.pt", f"{row}, seed {seed}", seed)
                validation = self._evaluate(steps.network, self.scenes.val)
                result = self._finish(folder, steps.network, validation)
            seconds = round(time.monotonic() - began, 1)
            write_record(folder / "result.json", {"row": row, "seed": seed, **result, "seconds": seconds})
            for checkpoint in folder.glob("checkpoint*.pt"):
                checkpoint.unlink()
        found: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        if architecture == "single_task":
            self.reference[seed] = found
            for part in ("validation", "test"):
                unknown = [name for name, values in found[part].items() if None in values.values()]
                if unknown:  # there are labels (`checks.py`): mIoU without a single hit, say
                    raise ValueError(
                        f"the single-task networks of seed {seed} have an undefined metric on the {part} scenes for "
                        f"{', '.join(unknown)}; train for more iterations"
                    )
        return found

    def _steps(self, architecture: str, balancer: str, seed: int) -> WeightSteps:
        config = self.config
        network = build_network(architecture, self.tasks, config.network, config.sharing, seed=seed)
        network = network.to(self.device)
        if config.network.width >= 8:  # torch 2.14's oneDNN writes out of bounds in channels_last with 4 channels
            network = network.to(memory_format=torch.channels_last)
        rule = build_balancer(balancer, self.tasks, config.balance, architecture=architecture).to(self.device)
        return WeightSteps(network, rule, self.tasks, config)

    def _sampler(self, scenes: SceneSet, *words: int) -> Sampler:
        """Batches of a part; of AdaShare's two parts, one with fewer scenes than a batch is a batch of its own."""
        names = tuple(task.name for task in self.tasks)
        return Sampler(scenes, names, self.view, min(self.config.batch_size, len(scenes)), (_ORDER, *words))

    def _fit(self, steps: WeightSteps, checkpoint: Path, note: str, seed: int) -> None:
        fit(
            steps,
            self._sampler(self.scenes.train, seed, 0),
            iterations=self.config.iterations,
            seed=(_TRAIN, seed),
            device=self.device,
            checkpoint=checkpoint,
            tick=self.tick_of(note),
            checkpoint_every_s=self.checkpoint_every_s,
        )

    def _evaluate(
        self, network: SharingNetwork, scenes: SceneSet, before_batch: Callable[[int], None] | None = None
    ) -> Evaluation:
        return evaluate(
            network,
            self.tasks,
            scenes,
            batch_size=self.config.batch_size,
            precision=self.config.precision,
            device=self.device,
            before_batch=before_batch,
        )

    def _finish(self, folder: Path, network: SharingNetwork, validation: Evaluation) -> dict[str, Any]:
        """Test a trained network and leave its weights, statistics and pictures."""
        test = self._evaluate(network, self.scenes.test)
        weights = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
        write_atomic(folder / "weights.safetensors", lambda path: save_file(weights, path))
        tables = {name: torch.from_numpy(table) for name, table in test.statistics.items()}
        write_atomic(folder / "statistics.safetensors", lambda path: save_file(tables, path))
        chosen = np.linspace(0, len(self.scenes.test) - 1, min(SHOWN_SCENES, len(self.scenes.test))).round().astype(int)
        shown = [self.scenes.test.read(int(index)) for index in chosen]
        prediction_sheet(shown, self._predict(network, shown), self.tasks, out=folder / "predictions.png")
        return {
            "validation": validation.metrics,
            "test": test.metrics,
            "parameters": self._parameters(network),
            "flops": self._flops(network, shown[0].image.shape[-2], shown[0].image.shape[-1]),
        }

    def _predict(self, network: SharingNetwork, scenes: list[Scene]) -> dict[str, Tensor]:
        network.eval()
        batch = stack(scenes, [task.name for task in self.tasks]).to(self.device)
        return {name: value.cpu() for name, value in predict(network, batch.images).items()}

    def _parameters(self, network: SharingNetwork) -> dict[str, float]:
        """`ratio` and `trunk` leave the predictors out, as the published tables do."""
        trunk = sum(p.numel() for p in network.trunk_parameters())
        total = sum(p.numel() for name, p in network.named_parameters() if name != "logits")
        return {"ratio": network.param_ratio(self.reference_parameters), "trunk": trunk, "total": total}

    def _flops(self, network: SharingNetwork, height: int, width: int) -> dict[str, int]:
        """Of one test image through the trunk and through everything."""
        network.eval()
        image = torch.zeros(1, 3, height, width, device=self.device)
        trunk = count_flops(lambda: network.features(image))
        return {"trunk": trunk, "total": count_flops(lambda: network(image))}

    def _adashare(self, folder: Path, balancer: str, row: str, seed: int) -> dict[str, Any]:
        """Learn the policy, train the policies drawn from it, keep the one that validates best."""
        search = self._search(folder, balancer, row, seed)
        policies = draw_policies(search.logits, self.config.adashare.samples, seed=seed)
        samples, best, best_score = [], -1, -math.inf
        for number, policy in enumerate(policies):
            steps = self._steps("adashare", balancer, seed)
            network = steps.network
            assert isinstance(network, AdaShare)
            network.decide(policy)
            own = folder / f"sample-{number}"
            own.mkdir(exist_ok=True)
            if not (own / "result.json").exists():
                run = f"{row}, seed {seed}, policy {number + 1}"
                self._fit(steps, own / "checkpoint.pt", run, seed)
                validation = self._evaluate(network, self.scenes.val)
                score = self._score(validation, seed)
                refuse_infinite_score(score, run)
                result = {"policy": policy, "score": score}
                result |= self._finish(own, network, validation) | {"pruned": self._pruned(network, policy)}
                write_record(own / "result.json", result)
                (own / "checkpoint.pt").unlink(missing_ok=True)
            samples.append(json.loads((own / "result.json").read_text(encoding="utf-8")))
            if samples[-1]["score"] > best_score:
                best, best_score = number, samples[-1]["score"]
        for name in ("weights.safetensors", "statistics.safetensors", "predictions.png"):
            copy_file(folder / f"sample-{best}" / name, folder / name)
        probabilities = select_probability(search.logits).tolist()
        names = [task.name for task in self.tasks]
        policy_grid(probabilities, policies[best], names, out=folder / "policy.png")
        return {
            **{key: value for key, value in samples[best].items() if key != "score"},
            "probabilities": probabilities,
            "chosen_sample": best,
            "samples": samples,
            "sample_deltas": [self._delta(sample["test"], "test", seed) for sample in samples],
            "best_round": search.best_round,
            "rounds": [asdict(record) for record in search.rounds],
        }

    def _search(self, folder: Path, balancer: str, row: str, seed: int) -> SearchResult:
        steps = self._steps("adashare", balancer, seed)
        first, second = self.parts
        parts = Parts(
            self._sampler(self.scenes.train, seed, 0),
            self._sampler(first, seed, 1),
            self._sampler(second, seed, 2),
        )
        search = PolicySearch(
            steps,
            parts,
            seed=seed,
            validate=lambda draw: self._score(self._evaluate(steps.network, self.scenes.val, draw), seed),
            device=self.device,
        )
        return search.run(
            checkpoint=folder / "checkpoint-search.pt",
            tick=self.tick_of(f"{row}, seed {seed}"),
            checkpoint_every_s=self.checkpoint_every_s,
        )

    def _score(self, evaluation: Evaluation, seed: int) -> float:
        """What policies are chosen by."""
        return self._delta(evaluation.metrics, "validation", seed)

    def _delta(self, metrics: dict[str, dict[str, float]], part: str, seed: int) -> float:
        """Delta_T over the single-task networks of the same seed on the validation or test scenes, percent."""
        meters = {task.name: task.meter() for task in self.tasks}
        return mean_delta(metrics, self.reference[seed][part], meters)

    def _pruned(self, network: SharingNetwork, policy: list[list[int]]) -> dict[str, Any]:
        """What is left when blocks that no task runs are deleted."""
        assert isinstance(network, AdaShare)
        plan = TaskPlan(network.trunk, dict(network.heads.items()), policy)
        return {
            "trunk_parameters": plan.trunk_parameters(),
            "ratio": plan.trunk_parameters() / self.reference_parameters,
            "blocks_per_task": [sum(row) for row in policy],
        }


def row_name(architecture: str, balancer: str) -> str:
    """`hard`, or `hard+dwa` with another balancer than fixed weights."""
    return architecture if balancer == "fixed" else f"{architecture}+{balancer}"


def write_record(path: Path, value: dict[str, Any]) -> None:
    """JSON, moved into place; numbers that are not finite become null."""
    write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """JSON has no NaN and no tuples: a metric without a labelled pixel becomes null."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    write_atomic(path, lambda name: name.write_text(text, encoding="utf-8"))


def copy_file(source: Path, target: Path) -> None:
    write_atomic(target, lambda name: name.write_bytes(source.read_bytes()))
