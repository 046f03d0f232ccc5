"""SpotTune: for every image and residual block a choice between the frozen and the fine-tuned copy of the block.

Source: Guo et al., "SpotTune: Transfer Learning through Adaptive Fine-tuning", CVPR 2019, sections 3.1 to 3.3, and the
published training code for what the paper leaves open. Deviations:

1. Evaluation takes the likelier way (`sample_at_eval=True` draws, as the original does).
2. A shortcut with weights (1x1 convolution and BN) belongs to its block: it is frozen in one copy and tuned in the
   other, so that all-zeros is the pre-trained network and all-ones is standard fine-tuning. The released networks
   have none.
3. `freeze_bn` and `freeze_stem` make "frozen" mean what it says; by default batch norms (of both copies) and stem
   learn.
4. The policy network is a plain small ResNet without the original's unused parallel blocks.
5. The policy network sees the image average-pooled by `policy_shrink=2`, a quarter of its cost (the original: the same
   resolution, `policy_shrink=1`, as the Decathlon preset has it).
6. The policy network starts from the first block of each stage of the backbone, `policy_pretrained=True` (the original
   on Visual Decathlon: from random weights, as the preset has it; on the five data sets: an ImageNet network of another
   shape).
7. Global-k's two weights are 1 and 0.1: those of the paper were not published.
8. The policy network starts with a chance of 0.9 for the tuned copy, `policy_initial_tuned` (the original, and the
   Decathlon preset: 0.5). A few hundred images teach it little, and with even chances every tuned block sees half of
   them (docs/decisions.md).
9. The policy network's learning rate is a tenth of the main one, as on Visual Decathlon; on the five data sets it was a
   hundredth (`policy_learning_rate=0.01`).
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfer.pathways.config import SpotTuneConfig
from transfer.pathways.executors import Unit, choice_units, run_masked, run_subbatch
from transfer.pathways.gates import choose, gumbel_straight_through
from transfer.pathways.learning import Learner, freeze, keep_in_eval
from transfer.pathways.resnet import GatedResNet, PolicyNetwork, batch_norms


def freeze_copy(blocks: nn.ModuleList, *, freeze_norms: bool) -> nn.ModuleList:
    """Clones of the blocks with storage of their own whose convolutions do not learn; nor do their norms if told."""
    copies = copy.deepcopy(blocks)
    freeze(copies)
    if not freeze_norms:
        for norm in batch_norms(copies):
            norm.requires_grad_(True)
    return copies


def global_k_losses(shares: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Global-k's two terms of the shares m of tuned images per block. (L,) -> (), ().

    Returns:
        (sum m - k)^2, and sum of -m log m, which is 0 exactly when every share is 0 or 1; finite there, gradient
        included.
    """
    clamped = shares.clamp(min=1e-6)
    return (shares.sum() - k).square(), -(shares * clamped.log()).sum()


def prefer_tuned(policy: PolicyNetwork, chance: float) -> None:
    """Shift the policy's logits, in place, so that it takes the tuned copy with this chance where they were equal."""
    with torch.no_grad():
        policy.trunk.head.bias[1::2] += math.log(chance / (1 - chance))


class SpotTune(Learner):
    """Shared stem, two copies of every block, shared tail and head, and the policy network that picks.

    Args:
        network: the pre-trained network with the target's head; its blocks become the fine-tuned copies (in place).
        policy: two logits per block; None tosses a coin per image and block (the random-policy baseline).
        learning_rate: of the network; the policy network has `config.policy_learning_rate` times it.

    Decision 1 means fine-tuned.
    """

    shared_policy: Tensor | None

    def __init__(
        self,
        network: GatedResNet,
        policy: PolicyNetwork | None,
        config: SpotTuneConfig,
        *,
        learning_rate: float,
    ) -> None:
        super().__init__()
        if config.global_k is not None and config.global_k > network.num_blocks:
            raise ValueError(f"global_k is {config.global_k}; the network has {network.num_blocks} blocks")
        self.network, self.policy, self.config, self.learning_rate = network, policy, config, learning_rate
        self.frozen = freeze_copy(network.blocks, freeze_norms=config.freeze_bn)
        if config.freeze_stem:
            freeze(network.stem)
        if config.freeze_bn:
            freeze(*batch_norms(network))
        self.register_buffer("shared_policy", None)

    @property
    def units(self) -> list[Unit]:
        return choice_units(self.frozen, self.network.blocks)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *more: Any) -> None:
        """A state saved after `share_blocks` brings the shared set along, one from before takes it away."""
        saved = state_dict.get(f"{prefix}shared_policy")
        self.shared_policy = None if saved is None else torch.empty_like(saved, device=self.network.head.weight.device)
        super()._load_from_state_dict(state_dict, prefix, *more)

    def train(self, mode: bool = True) -> SpotTune:
        super().train(mode)
        if self.config.freeze_bn:
            keep_in_eval(self.network, self.frozen)
        elif self.config.freeze_stem:
            keep_in_eval(self.network.stem)
        return self

    def optimizers(self) -> list[torch.optim.Optimizer]:
        config = self.config
        main = [*self.network.parameters(), *self.frozen.parameters()]
        optimizers: list[torch.optim.Optimizer] = [
            torch.optim.SGD(
                [parameter for parameter in main if parameter.requires_grad],
                lr=self.learning_rate,
                momentum=config.momentum,
                weight_decay=config.weight_decay,
            )
        ]
        if self.policy is not None:
            optimizers.append(
                torch.optim.SGD(
                    self.policy.parameters(),
                    lr=self.learning_rate * config.policy_learning_rate,
                    momentum=config.momentum,
                    weight_decay=config.policy_weight_decay,
                )
            )
        return optimizers

    def gates(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Sampled decisions with the straight-through gradient. (B, 3, H, W) -> (B, L) of exactly 0.0 / 1.0."""
        if self.policy is None:
            coin = torch.rand((len(images), self.network.num_blocks), generator=generator)
            return (coin < 0.5).float().to(images.device)
        logits = self.policy(images).float()
        return gumbel_straight_through(logits, tau=self.config.tau, generator=generator)[..., 1]

    def chances(self, images: Tensor) -> Tensor:
        """Chance of every block to be tuned when gates are drawn. (B, 3, H, W) -> (B, L) in (0, 1)."""
        assert self.policy is not None
        logits: Tensor = self.policy(images)
        return logits.float().softmax(dim=-1)[..., 1]

    def decide(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Decisions of evaluation: the shared set of Global-k, else the likelier way, else a draw. (B, L)."""
        if self.shared_policy is not None:
            return self.shared_policy.expand(len(images), -1)
        if self.policy is None or self.config.sample_at_eval:
            return self.gates(images, generator).detach()
        return choose(self.policy(images).float())

    def logits_under(self, images: Tensor, decisions: Tensor) -> Tensor:
        """Logits with given decisions: masked while norms learn or gradients flow, routed otherwise."""
        masked = self.training or torch.is_grad_enabled()
        run = run_masked if masked else run_subbatch
        logits: Tensor = self.network.head(run(self.network, self.units, images, decisions))
        return logits

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        gates = self.gates(images, generator)
        loss = F.cross_entropy(self.logits_under(images, gates).float(), labels)
        if self.config.global_k is None or self.policy is None:
            return loss
        count, entropy = global_k_losses(gates.mean(dim=0), self.config.global_k)
        return loss + self.config.global_k_weight * count + self.config.global_k_entropy * entropy

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        decisions = self.decide(images, generator)
        return self.logits_under(images, decisions), decisions

    def share_blocks(self, shares: Tensor) -> None:
        """Fix the k blocks with the largest shares of tuned images for everybody (Global-k after training). (L,)."""
        if self.config.global_k is None:
            raise ValueError("share_blocks needs global_k")
        best = shares.argsort(descending=True, stable=True)[: self.config.global_k]
        fixed = torch.zeros(len(shares), device=self.network.head.weight.device)
        fixed[best.to(fixed.device)] = 1.0
        self.shared_policy = fixed


class AllTuned(Learner):
    """A trained SpotTune evaluated with the fine-tuned copies everywhere ("running fine-tuned blocks")."""

    def __init__(self, spottune: SpotTune) -> None:
        super().__init__()
        self.spottune = spottune

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        logits: Tensor = self.spottune.network(images)
        return logits, None
