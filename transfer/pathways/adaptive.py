"""SpotTune and BlockDrop as methods of the stage: how one run goes, and what is reported about decisions and costs."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path

import torch

from transfer.pathways.baselines import FineTuning
from transfer.pathways.blockdrop import BlockDrop, FixedPolicy, dist_k, first_k
from transfer.pathways.config import (
    BlockDropConfig,
    FeatureExtractorConfig,
    PathwayConfig,
    RandomPolicyConfig,
    SpotTuneConfig,
    StandardConfig,
    StochasticConfig,
)
from transfer.pathways.cost import count_parameters, module_flops, network_cost
from transfer.pathways.learning import Diverged, Learner, Predictions, Schedule
from transfer.pathways.methods import FEATURE_BATCH, Candidate, FeatureExtractor, Method, Report, Setting, Standard
from transfer.pathways.pixels import Pixels
from transfer.pathways.resnet import GatedResNet, PolicyNetwork
from transfer.pathways.spottune import AllTuned, SpotTune, prefer_tuned
from transfer.pathways.start import StartingPoint, starting_point

OPENING_SHARE = 1 / 3
"""Of the curriculum, until all blocks are under policy, where `opening_epochs` does not say how long."""
COMPARING_SEED = 1_000_000
"""Added to the first seed for the networks that choose the learning rate."""


class SpotTuning(Method):
    """SpotTune, its Global-k variant and the random policy."""

    def untrained(self) -> SpotTune:
        return self._untrained(learning_rate=0.0, seed=0)

    def _untrained(self, *, learning_rate: float, seed: int) -> SpotTune:
        config = self.setting.config
        assert isinstance(config, SpotTuneConfig)
        start = self.setting.start(seed)
        policy = None
        if not isinstance(config, RandomPolicyConfig):
            policy = self.setting.policy_network(
                start, logits=2, shrink=config.policy_shrink, pretrained=config.policy_pretrained, seed=seed
            )
            prefer_tuned(policy, config.policy_initial_tuned)
        return SpotTune(start, policy, config, learning_rate=learning_rate)

    def train(self, candidate: Candidate, pixels: Pixels, *, seed: int) -> Learner:
        learner = self._untrained(learning_rate=candidate["learning_rate"], seed=seed)
        schedule = self.setting.schedule(learner.config.epochs)
        self.setting.fit(learner, pixels, schedule, seed=seed, phase="spottune")
        if learner.config.global_k is not None and learner.policy is not None:
            learner.share_blocks(self._chances(learner, pixels))
        return learner

    def _chances(self, learner: SpotTune, pixels: Pixels) -> torch.Tensor:
        """What Global-k's loss counts: the mean chance of every block to be tuned, over these images. (L,)."""
        learner.eval()
        total = torch.zeros(learner.network.num_blocks, dtype=torch.float64)
        with torch.no_grad():
            for _, images in pixels.in_order(FEATURE_BATCH):
                total += learner.chances(images.to(self.setting.device)).double().sum(dim=0).cpu()
        return total / len(pixels)

    def report(self, learner: Learner, pixels: Pixels, predictions: Predictions, *, seed: int) -> Report:
        assert isinstance(learner, SpotTune) and predictions.policy is not None
        network, policy = learner.network, learner.policy
        height, width = pixels.evaluation_shape
        cost = network_cost(network, height=height, width=width)
        shared = learner.shared_policy is not None
        # Global-k needs only one copy of each block, and no policy network, once it is trained.
        stored, frozen = list(network.blocks), list(learner.frozen)
        if learner.shared_policy is not None:
            ways = learner.shared_policy.bool().tolist()
            stored = [block for block, tuned in zip(network.blocks, ways, strict=True) if tuned]
            frozen = [block for block, tuned in zip(learner.frozen, ways, strict=True) if not tuned]
        # Of a frozen copy the norms learn unless told otherwise, and so does the stem.
        learnt = count_parameters([network.stem, *stored, *frozen, network.tail, network.head], trainable_only=True)
        policy_flops = 0 if policy is None or shared else module_flops(policy, height=height, width=width)
        policy_weights = 0 if policy is None or shared else count_parameters(policy)
        numbers = {
            "flops_network": cost.total,
            "flops_policy": policy_flops,
            "flops_total": cost.total + policy_flops,
            "flops_plain": cost.total,
            "parameters_new_per_task": learnt + policy_weights,
            "parameters_plain": count_parameters(network),
            "share_tuned": predictions.policy.mean(dim=0).tolist(),
            "unique_policies": len(torch.unique(predictions.policy, dim=0)),
        }
        return Report(numbers, {"all_tuned": self.setting.predict(AllTuned(learner), pixels, seed=seed)})


class BlockDropping(Method):
    """Standard fine-tuning, then the policy's curriculum, then joint fine-tuning.

    The first two do not know the joint stage's penalty: they are done once per seed, and every penalty starts from
    copies of them.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        assert isinstance(setting.config, BlockDropConfig)
        self.config = setting.config
        self.learning_rate = setting.config.learning_rates[0]
        self.full_accuracy = 0.0
        self.full: GatedResNet | None = None
        shared = {item.name: getattr(setting.config, item.name) for item in dataclasses.fields(PathwayConfig)}
        self._full = Standard(dataclasses.replace(setting, config=StandardConfig(**shared)))
        self._policy_start: StartingPoint | None = None
        if self.config.policy_backbone is not None:
            self._policy_start = starting_point(
                self.config, self.config.policy_backbone, num_classes=setting.num_classes, device=setting.device
            )

    def steps(self, chosen_on: int, final: int) -> int:
        def parts(images: int) -> list[int]:
            """Steps of one network in fine-tuning, curriculum and joint stage."""
            stages = (self.setting.schedule(self.config.epochs), self.curriculum(images), self.joint(images))
            return [stage.epochs * stage.steps(images) for stage in stages]

        total = len(self.config.seeds) * sum(parts(final))
        if self.chooses():
            full, curriculum, joint = parts(chosen_on)
            rates = len(self.config.learning_rates)
            compared = rates if rates > 1 else 0
            total += (compared + 1) * full + curriculum + len(self.candidates()) * joint
        return total

    def chooses(self) -> bool:
        return len(self.candidates()) > 1 or len(self.config.learning_rates) > 1

    def curriculum(self, images: int) -> Schedule:
        """Schedule of the policy's own stage on so many images."""
        schedule = dataclasses.replace(
            self.setting.schedule(2, milestones=False), batch_size=min(self.config.policy_batch_size, images)
        )
        epochs = math.ceil(self.config.curriculum_updates / schedule.steps(images))
        return dataclasses.replace(schedule, epochs=max(2, epochs, (self.config.opening_epochs or 0) + 1))

    def joint(self, images: int) -> Schedule:
        """Schedule of the joint stage on so many images."""
        schedule = dataclasses.replace(self.setting.schedule(0), milestones=(0.8,))
        return dataclasses.replace(schedule, epochs=math.ceil(self.config.joint_updates / schedule.steps(images)))

    def candidates(self) -> list[Candidate]:
        if not self.config.joint_updates:
            return [{"learning_rate": self.learning_rate}]
        return [{"learning_rate": self.learning_rate, "penalty": penalty} for penalty in self.config.penalties]

    def prepare(self, train: Pixels, val: Pixels) -> None:
        """Learning rate of the full network, and the validation accuracy that dropping may not spoil.

        The accuracy is that of the very network that the candidates start from. It takes no part in choosing the rate
        (another seed does): the best of several accuracies on few images would be a bar too high.
        """
        self._refuse_other_colours(train)
        rates, seed = self.config.learning_rates, self.config.seeds[0]
        if len(rates) > 1:
            found = {rate: self._try_full(rate, train, val, seed=seed + COMPARING_SEED) for rate in rates}
            self.learning_rate = max(found, key=lambda rate: found[rate])
        self.full_accuracy = self._try_full(self.learning_rate, train, val, seed=seed)

    def _try_full(self, rate: float, train: Pixels, val: Pixels, *, seed: int) -> float:
        try:
            return self.setting.predict(self._train_full(rate, train, seed=seed), val, seed=0).accuracy
        except Diverged:
            return -1.0

    def _train_full(self, rate: float, pixels: Pixels, *, seed: int) -> FineTuning:
        self._full.setting.files = self._shared_files("full", rate, seed)
        self._full.setting.tick = self.setting.tick
        learner = self._full.train({"learning_rate": rate}, pixels, seed=seed)
        assert isinstance(learner, FineTuning)
        return learner

    def _shared_files(self, stage: str, rate: float, seed: int) -> Path | None:
        """Where a stage that all penalties share leaves its checkpoint: beside the directories of the candidates."""
        files = self.setting.files
        return None if files is None else files.parent / f"{stage}-learning_rate={rate:g}-seed={seed}"

    def _refuse_other_colours(self, pixels: Pixels) -> None:
        start = self._policy_start
        if start is not None and self.config.policy_pretrained and (start.mean, start.std) != (pixels.mean, pixels.std):
            raise ValueError(
                f"policy_backbone {self.config.policy_backbone} was trained on pixels of mean {start.mean}, std "
                f"{start.std}; allowed: those of the network, mean {pixels.mean}, std {pixels.std}"
            )

    def _policy(self, network: GatedResNet, *, seed: int) -> PolicyNetwork:
        start = self.setting.start if self._policy_start is None else self._policy_start.network
        return self.setting.policy_network(
            start(seed),
            logits=1,
            shrink=self.config.policy_shrink,
            pretrained=self.config.policy_pretrained,
            seed=seed,
            blocks=network.num_blocks,
        )

    def untrained(self) -> BlockDrop:
        network = self.setting.start(0)
        return BlockDrop(network, self._policy(network, seed=0), self.config, penalty=0.0, joint=True)

    @property
    def policy_arch(self) -> str | None:
        return None if self._policy_start is None else self._policy_start.arch

    def train(self, candidate: Candidate, pixels: Pixels, *, seed: int) -> Learner:
        self._refuse_other_colours(pixels)
        config, setting, rate = self.config, self.setting, candidate["learning_rate"]
        network = self._train_full(rate, pixels, seed=seed).network
        self.full = copy.deepcopy(network)
        policy = self._policy(network, seed=seed)
        curriculum = self.curriculum(len(pixels))
        opening = config.opening_epochs or max(1, round(OPENING_SHARE * curriculum.epochs))
        alone = BlockDrop(
            network, policy, config, penalty=config.curriculum_penalty, joint=False, opening_epochs=opening
        ).to(setting.device)
        shared = dataclasses.replace(setting, files=self._shared_files("curriculum", rate, seed))
        shared.fit(alone, pixels, curriculum, seed=seed + 1, phase="curriculum")
        if not config.joint_updates:
            return alone
        joint = BlockDrop(network, policy, config, penalty=candidate["penalty"], joint=True).to(setting.device)
        setting.fit(joint, pixels, self.joint(len(pixels)), seed=seed + 2, phase="joint")
        return joint

    def worth(self, learner: Learner, pixels: Pixels, predictions: Predictions) -> float:
        """Accuracy until it is within the tolerance of the full network's, from there on FLOPs saved (always more)."""
        if predictions.accuracy < self.full_accuracy - self.config.tolerance:
            return predictions.accuracy
        return 200.0 - 100.0 * self.facts(learner, pixels, predictions)["flops_share"]

    def facts(self, learner: Learner, pixels: Pixels, predictions: Predictions) -> dict[str, float]:
        assert isinstance(learner, BlockDrop) and predictions.policy is not None
        height, width = pixels.evaluation_shape
        cost = network_cost(learner.network, height=height, width=width)
        return {
            "blocks_kept": float(predictions.policy.sum(dim=1).mean()),
            "flops_share": float(cost.of_policy(predictions.policy).mean()) / cost.total,
        }

    def report(self, learner: Learner, pixels: Pixels, predictions: Predictions, *, seed: int) -> Report:
        assert isinstance(learner, BlockDrop) and predictions.policy is not None
        setting, network, policy = self.setting, learner.network, predictions.policy
        height, width = pixels.evaluation_shape
        cost = network_cost(network, height=height, width=width)
        policy_flops = module_flops(learner.policy, height=height, width=width)
        flops = cost.of_policy(policy)
        kept = policy.sum(dim=1)
        blocks, count = network.num_blocks, round(float(kept.mean()))
        labels = predictions.labels
        assert self.full is not None
        full = FineTuning(self.full, setting.config, learning_rate=self.learning_rate)
        fixed = {
            "full": full,
            "joint_full": FixedPolicy(network, torch.ones(blocks)),
            "first_k": FixedPolicy(network, first_k(blocks, count)),
            "random_k": FixedPolicy(network, torch.ones(blocks), random_count=count),
            "dist_k": FixedPolicy(network, dist_k(blocks, count)),
        }
        others = {name: setting.predict(other, pixels, seed=seed) for name, other in fixed.items()}
        return Report(
            {
                "blocks": blocks,
                "blocks_kept": float(kept.mean()),
                "blocks_kept_std": float(kept.std(correction=0)),
                "share_kept_per_block": policy.mean(dim=0).tolist(),
                "blocks_kept_per_class": [
                    float(kept[labels == label].mean()) if (labels == label).any() else None
                    for label in range(setting.num_classes)
                ],
                "unique_policies": len(torch.unique(policy, dim=0)),
                "flops_network": float(flops.mean()),
                "flops_network_std": float(flops.std(correction=0)),
                "flops_policy": policy_flops,
                "flops_total": float(flops.mean()) + policy_flops,
                "flops_plain": cost.total,
                "flops_others": {
                    name: cost.total if other.policy is None else float(cost.of_policy(other.policy).mean())
                    for name, other in others.items()
                },
                "parameters_new_per_task": count_parameters(self.full, trainable_only=True)
                + count_parameters(learner.policy),
                "parameters_plain": count_parameters(network),
            },
            others,
        )


def method_of(setting: Setting) -> Method:
    """The method that belongs to the setting's config."""
    config = setting.config
    if isinstance(config, FeatureExtractorConfig):
        return FeatureExtractor(setting)
    if isinstance(config, SpotTuneConfig):
        return SpotTuning(setting)
    if isinstance(config, BlockDropConfig):
        return BlockDropping(setting)
    if isinstance(config, StandardConfig | StochasticConfig):
        return Standard(setting)
    raise ValueError(f"{type(config).__name__} trains no network of its own")
