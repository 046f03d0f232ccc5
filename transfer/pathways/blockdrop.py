"""BlockDrop: a policy network looks at the image once and says which residual blocks of a trained ResNet to run.

Source: Wu, Nagarajan et al., "BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR 2018, section 3, and the
published code for what the paper leaves open. Deviations:

1. The entropy bonus is the Bernoulli's own and obeys the curriculum (`entropy="one_sided"`: the original's -q log q
   over all blocks).
2. Policy term and cross-entropy are both averaged over the batch.
3. In joint fine-tuning both rewards come from eval-mode batch norm, so that the baseline does not depend on the
   sample; the pass in training mode serves the cross-entropy alone. The original takes both rewards from training mode
   and updates the statistics twice a step.
4. Both policies run as one batch behind a shared stem, each block on the rows that keep it. Where they agree the
   advantage is 0 and the row runs once.
5. No value head: the original's enters no loss.
6. The curriculum opens the blocks evenly over its first third, the last block first; the original opens one per epoch
   of its data set, which on a few hundred images is no more than a handful of updates (`opening_epochs` = K - 1 of the
   configuration is the original's).
7. Both stages see the views of fine-tuning: centre crops of images that the network was fine-tuned on are all
   answered right.
8. The policy network is the first block of each stage of the backbone itself, with its weights; the original's is a
   ResNet-8 of the CIFAR family, and on ImageNet a ResNet-10 from a ResNet-18 (`policy_backbone`, `policy_pretrained`).
9. It sees the image at half its side whatever the data; the original shrinks on ImageNet alone (`policy_shrink=1`).
10. Both stages are counted in updates, 1,500 of 128 images and 600 of 32; the original counts epochs: CIFAR 5,000 of
    batches of 2,048 and 2,000 of 256, ImageNet 45 of 2,048 and 10 of 320.
11. The joint penalty is chosen on validation images: the candidate that saves most FLOPs within `tolerance` points of
    the full network's accuracy. The original fixes it, 5 or 10.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.pathways.config import BlockDropConfig
from transfer.pathways.executors import Unit, route, run_masked, run_subbatch, skip_units
from transfer.pathways.gates import bernoulli_entropy, bounded, log_probability, sample_bernoulli
from transfer.pathways.learning import Learner, freeze, keep_in_eval
from transfer.pathways.resnet import GatedResNet, PolicyNetwork, batch_norms


def reward(decisions: Tensor, correct: Tensor, *, penalty: float) -> Tensor:
    """1 - (share of blocks kept)^2 for a right answer, -penalty for a wrong one. (B, L), (B,) bool -> (B,)."""
    return torch.where(correct, 1.0 - decisions.mean(dim=1).square(), -penalty)


def policy_loss(
    keep: Tensor,
    decisions: Tensor,
    advantage: Tensor,
    open_blocks: Tensor,
    *,
    explore: float,
    entropy_weight: float = 0.0,
    entropy: str = "bernoulli",
) -> Tensor:
    """Self-critical policy gradient, averaged over the batch, minus the entropy bonus.

    Args:
        keep: (B, L) s, the policy network's keep probabilities.
        decisions: (B, L) sampled u.
        advantage: (B,) R(u) - R(greedy), no gradient.
        open_blocks: (L,) bool; the others are forced to 1 and get no gradient.
    """
    probability = bounded(keep, explore)
    log_q = torch.where(open_blocks, log_probability(decisions, probability), 0.0).sum(dim=1)
    loss = -(log_q * advantage.detach()).mean()
    if not entropy_weight:
        return loss
    if entropy == "one_sided":
        bonus = bernoulli_entropy(probability, "one_sided")
    else:
        bonus = torch.where(open_blocks, bernoulli_entropy(probability, "bernoulli"), 0.0)
    return loss - entropy_weight * bonus.sum(dim=1).mean()


class BlockDrop(Learner):
    """A trained network, its policy network, and the two stages of their training.

    Args:
        network: a `GatedResNet` trained on the task (changed in place by the joint stage only).
        policy: one logit per block.
        penalty: gamma of the reward.
        joint: False: curriculum, only the policy learns and the network stays in eval mode. True: both learn, all
            blocks are under policy.
        opening_epochs: epochs of the curriculum until all blocks are under policy, the last block being so from the
            start.
    """

    def __init__(
        self,
        network: GatedResNet,
        policy: PolicyNetwork,
        config: BlockDropConfig,
        *,
        penalty: float,
        joint: bool,
        opening_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.policy, self.config = network, policy, config
        self.penalty, self.joint, self.opening_epochs = penalty, joint, opening_epochs
        self.register_buffer("open_blocks", torch.ones(network.num_blocks, dtype=torch.bool), persistent=False)
        self.open_blocks: Tensor
        network.requires_grad_(joint)
        if config.freeze_stem:
            freeze(network.stem)
        if config.freeze_bn:
            freeze(*batch_norms(network))

    @property
    def units(self) -> list[Unit]:
        return skip_units(self.network)

    def train(self, mode: bool = True) -> BlockDrop:
        super().train(mode)
        if not self.joint or self.config.freeze_bn:
            keep_in_eval(self.network)
        elif self.config.freeze_stem:
            keep_in_eval(self.network.stem)
        return self

    def start_epoch(self, epoch: int) -> None:
        """Open so many of the last blocks to the policy as belong to this epoch (joint: all of them)."""
        closed = 0
        if not self.joint and epoch < self.opening_epochs:
            more = self.network.num_blocks - 1
            closed = more - epoch * more // self.opening_epochs
        self.open_blocks[:closed] = False
        self.open_blocks[closed:] = True

    def optimizers(self) -> list[torch.optim.Optimizer]:
        if not self.joint:
            return [torch.optim.Adam(self.policy.parameters(), lr=self.config.curriculum_learning_rate)]
        learning = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return [torch.optim.Adam(learning, lr=self.config.joint_learning_rate)]

    def keep_probabilities(self, images: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, L) in (0, 1)
        return torch.sigmoid(self.policy(images).float())

    def sample(self, keep: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sampled and greedy decisions with the closed blocks forced to 1. (B, L) -> (B, L), (B, L)."""
        drawn = sample_bernoulli(bounded(keep.detach(), self.config.explore), generator)
        greedy = (keep.detach() >= 0.5).to(keep.dtype)
        return torch.where(self.open_blocks, drawn, 1.0), torch.where(self.open_blocks, greedy, 1.0)

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        keep = self.keep_probabilities(images)
        sampled, greedy = self.sample(keep, generator)
        return self.loss_under(images, labels, keep, sampled, greedy)

    def loss_under(self, images: Tensor, labels: Tensor, keep: Tensor, sampled: Tensor, greedy: Tensor) -> Tensor:
        """The stage's loss for given decisions. (B, 3, H, W), (B,), (B, L) three times -> ()."""
        loss = policy_loss(
            keep,
            sampled,
            self.advantage(images, labels, sampled, greedy),
            self.open_blocks,
            explore=self.config.explore,
            entropy_weight=0.0 if self.joint else self.config.entropy_weight,
            entropy=self.config.entropy,
        )
        if not self.joint:
            return loss
        logits = self.network.head(run_masked(self.network, self.units, images, sampled))
        return loss + F.cross_entropy(logits.float(), labels)

    @torch.no_grad()
    def advantage(self, images: Tensor, labels: Tensor, sampled: Tensor, greedy: Tensor) -> Tensor:
        """R(sampled) - R(greedy), both answers in eval mode, whatever the stage. (B, 3, H, W), (B,), (B, L) -> (B,)."""
        training = self.training
        self.network.eval()
        again = (sampled != greedy).any(dim=1).nonzero().squeeze(1)
        stem = self.network.stem(images)
        x = torch.cat([stem, stem.index_select(0, again)]).contiguous(memory_format=torch.channels_last)
        features = route(self.network, self.units, x, torch.cat([sampled, greedy.index_select(0, again)]))
        answers = self.network.head(features).argmax(1)
        self.train(training)
        return self._difference(sampled, greedy, answers, labels, again)

    def _difference(self, sampled: Tensor, greedy: Tensor, answers: Tensor, labels: Tensor, again: Tensor) -> Tensor:
        """R(sampled) - R(greedy); `answers` holds B sampled ones, then those of the rows `again` under greedy. (B,)."""
        count = len(labels)
        own = reward(sampled, answers[:count] == labels, penalty=self.penalty)
        baseline = own.clone()
        if len(again):
            right = answers[count:] == labels.index_select(0, again)
            baseline[again] = reward(greedy.index_select(0, again), right, penalty=self.penalty)
        return own - baseline

    def logits_under(self, images: Tensor, decisions: Tensor) -> Tensor:
        """Logits with given keep decisions, really skipping. (B, 3, H, W), (B, L) -> (B, C)."""
        logits: Tensor = self.network.head(run_subbatch(self.network, self.units, images, decisions))
        return logits

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        decisions = (self.keep_probabilities(images) >= 0.5).float()
        return self.logits_under(images, decisions), decisions


class FixedPolicy(Learner):
    """A network under decisions that do not look at the image: the same for all, or one random set per image.

    Args:
        keep: (L,) decisions; ignored where `random_count` is given.
        random_count: keep this many blocks, drawn anew for every image (RandomK).
    """

    def __init__(self, network: GatedResNet, keep: Tensor, *, random_count: int | None = None) -> None:
        super().__init__()
        self.network, self.keep, self.random_count = network, keep, random_count

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        count, blocks = len(images), self.network.num_blocks
        if self.random_count is None:
            decisions = self.keep.to(images.device).expand(count, -1)
        else:
            order = torch.rand((count, blocks), generator=generator).argsort(dim=1)
            decisions = (order < self.random_count).float().to(images.device)
        features = run_subbatch(self.network, skip_units(self.network), images, decisions)
        return self.network.head(features), decisions


def first_k(blocks: int, kept: int) -> Tensor:
    """FirstK: the first `kept` of `blocks` blocks. (L,)."""
    decisions = torch.zeros(blocks)
    decisions[:kept] = 1.0
    return decisions


def dist_k(blocks: int, kept: int) -> Tensor:
    """DistK: `kept` of `blocks` blocks spread evenly, the first always among them (if any is kept). (L,)."""
    decisions = torch.zeros(blocks)
    decisions[[position * blocks // kept for position in range(kept)]] = 1.0
    return decisions
