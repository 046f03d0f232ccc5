"""How each method trains one network from a backbone, and what it has to say about itself afterwards.

In: a config, a pre-trained network, pixels. Out: a trained `Learner`. Choosing hyper-parameters, seeds, files on disk
and the test split are the business of `stage.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transfer.linear import LogisticRegression, fit_scaler
from transfer.pathways.baselines import FineTuning, last_blocks, random_blocks
from transfer.pathways.config import (
    FeatureExtractorConfig,
    L2SPConfig,
    PathwayConfig,
    SpotTuneConfig,
    StandardConfig,
    StochasticConfig,
)
from transfer.pathways.cost import count_parameters, network_cost
from transfer.pathways.learning import Learner, Predictions, Schedule, Tick, autocast, fit, predict_all
from transfer.pathways.pixels import Pixels
from transfer.pathways.resnet import GatedResNet, PolicyNetwork, first_blocks

Candidate = dict[str, float]
"""Hyper-parameter values by name; the validation part chooses among candidates."""
FEATURE_BATCH = 64


@dataclass
class Setting:
    """What all runs of one stage share.

    Attributes:
        start: seed of the head -> the pre-trained network with a fresh head for the task's classes, on the device.
        files: directory of the run's checkpoints; None keeps none.
    """

    config: PathwayConfig
    start: Callable[[int], GatedResNet]
    num_classes: int
    device: str = "cpu"
    tick: Tick | None = None
    files: Path | None = None

    def schedule(self, epochs: int, *, milestones: bool = True) -> Schedule:
        config = self.config
        return Schedule(
            epochs=epochs,
            batch_size=config.batch_size,
            milestones=config.milestones if milestones else (),
            lr_bug_compat=isinstance(config, SpotTuneConfig) and config.lr_bug_compat,
            augment=config.augment,
            precision=config.precision,
        )

    def fit(self, learner: Learner, pixels: Pixels, schedule: Schedule, *, seed: int, phase: str) -> None:
        """`fit` with a checkpoint of its own per phase; a phase that is through is read back instead of repeated."""
        checkpoint = None if self.files is None else self.files / f"{phase}.pt"
        fit(learner, pixels, schedule, seed=seed, device=self.device, checkpoint=checkpoint, tick=self.tick)

    def predict(self, learner: Learner, pixels: Pixels, *, seed: int) -> Predictions:
        return predict_all(learner, pixels, seed=seed, precision=self.config.precision, device=self.device)

    def policy_network(
        self, start: GatedResNet, *, logits: int, shrink: int, pretrained: bool, seed: int, blocks: int | None = None
    ) -> PolicyNetwork:
        """The first block of each stage of a pre-trained network (or of its shape with random weights) as policy over
        so many blocks (None: its own)."""
        blocks = start.num_blocks if blocks is None else blocks
        trunk = first_blocks(start, num_classes=blocks * logits, seed=seed)
        if not pretrained:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                for module in trunk.modules():
                    if isinstance(module, torch.nn.Conv2d):
                        torch.nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                    elif isinstance(module, torch.nn.BatchNorm2d):
                        module.reset_parameters()
        policy = PolicyNetwork(trunk, num_blocks=blocks, logits_per_block=logits, shrink=shrink)
        return policy.requires_grad_(True).to(self.device)


@dataclass
class Report:
    """What a trained method says about itself beside its predictions.

    Attributes:
        numbers: JSON values.
        others: predictions of comparisons on the same images, by name.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    others: dict[str, Predictions] = field(default_factory=dict)


class Method:
    """Training of one kind of learner. Subclasses override what differs from standard fine-tuning."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def steps(self, chosen_on: int, final: int) -> int:
        """Training steps of the whole stage, for progress.

        Args:
            chosen_on: training images of the networks that choose among candidates.
            final: training images of the final networks.
        """
        config = self.setting.config
        schedule = self.setting.schedule(config.epochs)
        candidates = len(self.candidates()) if self.chooses() else 0
        return schedule.epochs * (candidates * schedule.steps(chosen_on) + len(config.seeds) * schedule.steps(final))

    def chooses(self) -> bool:
        """Whether there is anything that the validation part has to choose among."""
        return len(self.candidates()) > 1

    def candidates(self) -> list[Candidate]:
        return [{"learning_rate": rate} for rate in self.setting.config.learning_rates]

    def prepare(self, train: Pixels, val: Pixels) -> None:
        """Choices that come before the candidates, on the training and validation parts."""

    def train(self, candidate: Candidate, pixels: Pixels, *, seed: int) -> Learner:
        raise NotImplementedError

    @property
    def policy_arch(self) -> str | None:
        """What the policy network is cut from, where there is one and that is not the backbone."""
        return None

    def untrained(self) -> Learner:
        """What `train` starts from, for weights to be read into."""
        return FineTuning(self.setting.start(0), self.setting.config, learning_rate=0.0)

    def worth(self, learner: Learner, pixels: Pixels, predictions: Predictions) -> float:
        """Which of several candidates is best on the validation part: the highest worth."""
        return predictions.accuracy

    def facts(self, learner: Learner, pixels: Pixels, predictions: Predictions) -> dict[str, float]:
        """What the table of candidates says beside the accuracy on the validation part."""
        return {}

    def report(self, learner: Learner, pixels: Pixels, predictions: Predictions, *, seed: int) -> Report:
        raise NotImplementedError


class FeatureExtractor(Method):
    """Logistic regression (L-BFGS to convergence) on standardised features of the frozen network, put into its head."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._known: tuple[Pixels, Tensor] | None = None

    def steps(self, chosen_on: int, final: int) -> int:
        """Batches of features; they are the same for all candidates and for all seeds."""
        return -(-chosen_on // FEATURE_BATCH) * self.chooses() + -(-final // FEATURE_BATCH)

    def candidates(self) -> list[Candidate]:
        assert isinstance(self.setting.config, FeatureExtractorConfig)
        return [{"l2": value} for value in sorted(self.setting.config.l2_penalties, reverse=True)]

    def train(self, candidate: Candidate, pixels: Pixels, *, seed: int) -> Learner:
        config = self.setting.config
        network = self.setting.start(seed)
        features = self._features(network, pixels)
        scaler = fit_scaler(features, "standardise")
        fitted = LogisticRegression(scaler(features), pixels.labels, self.setting.num_classes).solve(candidate["l2"])
        weight = fitted.weight * scaler.scale[:, None]  # (D, C): the scaling goes into the head
        with torch.no_grad():
            network.head.weight.copy_(weight.T)
            network.head.bias.copy_(fitted.bias - scaler.shift @ weight)
        return FineTuning(network, config, learning_rate=config.learning_rates[0], tuned_blocks=())

    def _features(self, network: GatedResNet, pixels: Pixels) -> Tensor:
        if self._known is None or self._known[0] is not pixels:
            network.eval()
            parts = []
            with torch.no_grad(), autocast(self.setting.config.precision, self.setting.device):
                for _, images in pixels.in_order(FEATURE_BATCH):
                    parts.append(network.features(images.to(self.setting.device)).float().cpu())
                    if self.setting.tick is not None:
                        self.setting.tick("features")
            self._known = (pixels, torch.cat(parts))
        return self._known[1]

    def report(self, learner: Learner, pixels: Pixels, predictions: Predictions, *, seed: int) -> Report:
        assert isinstance(learner, FineTuning)
        return Report(
            _plain_cost(learner.network, pixels.evaluation_shape, trained=count_parameters(learner.network.head))
        )


class Standard(Method):
    """Standard, last-k, stochastic and L2-SP fine-tuning."""

    def candidates(self) -> list[Candidate]:
        config, rates = self.setting.config, super().candidates()
        if isinstance(config, L2SPConfig):
            return [{**rate, "l2_sp": weight} for rate in rates for weight in config.l2_sp_weights]
        return rates

    def train(self, candidate: Candidate, pixels: Pixels, *, seed: int) -> Learner:
        config = self.setting.config
        network = self.setting.start(seed)
        blocks, pull = None, 0.0
        if isinstance(config, StandardConfig):
            pull = candidate.get("l2_sp", 0.0)
            blocks = None if config.last_blocks is None else last_blocks(network, config.last_blocks)
        elif isinstance(config, StochasticConfig):
            blocks = random_blocks(network, config.tuned_share, seed=seed)
        learner = FineTuning(network, config, learning_rate=candidate["learning_rate"], tuned_blocks=blocks, l2_sp=pull)
        self.setting.fit(learner, pixels, self.setting.schedule(config.epochs), seed=seed, phase="finetune")
        return learner

    def report(self, learner: Learner, pixels: Pixels, predictions: Predictions, *, seed: int) -> Report:
        assert isinstance(learner, FineTuning)
        trained = count_parameters(learner.network, trainable_only=True)
        numbers = _plain_cost(learner.network, pixels.evaluation_shape, trained=trained)
        return Report({**numbers, "tuned_blocks": sorted(learner.tuned_blocks)})


def _plain_cost(network: GatedResNet, shape: tuple[int, int], *, trained: int) -> dict[str, Any]:
    cost = network_cost(network, height=shape[0], width=shape[1]).total
    return {
        "flops_network": cost,
        "flops_policy": 0,
        "flops_total": cost,
        "flops_plain": cost,
        "parameters_new_per_task": trained,
        "parameters_plain": count_parameters(network),
    }
