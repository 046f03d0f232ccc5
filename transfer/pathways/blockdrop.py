"""BlockDrop: a policy network looks at the image once and says which residual blocks of a trained ResNet to run.

Source: Wu, Nagarajan et al., "BlockDrop: Dynamic Inference Paths in Residual Networks", CVPR 2018, section 3, and the
published code for what the paper leaves open. Deviations:

1. The entropy bonus is the Bernoulli's own and obeys the curriculum (`entropy="one_sided"`: the original's -q log q
   over all blocks).
2. Policy term and cross-entropy are both averaged over the batch.
3. In joint fine-tuning the greedy answer comes from eval-mode batch norm; the original updates the statistics twice a
   step. Where the sampled and the greedy policy agree the advantage is 0 by definition and no second forward is made.
4. In the curriculum both policies run as one batch behind a shared stem, each block on the rows that keep it.
5. No value head: the original's enters no loss.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.pathways.config import BlockDropConfig
from transfer.pathways.executors import Unit, refuse_training_norms, route, run_masked, run_subbatch, skip_units
from transfer.pathways.gates import bernoulli_entropy, bounded, log_probability, sample_bernoulli
from transfer.pathways.learning import Learner, freeze, keep_in_eval
from transfer.pathways.resnet import GatedResNet, PolicyNetwork


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
        joint: False: curriculum, only the policy learns, the network stays in eval mode, at epoch t the last t + 1
            blocks are under policy. True: both learn, all blocks are open.
    """

    def __init__(
        self,
        network: GatedResNet,
        policy: PolicyNetwork,
        config: BlockDropConfig,
        *,
        penalty: float,
        joint: bool,
    ) -> None:
        super().__init__()
        self.network, self.policy, self.config = network, policy, config
        self.penalty, self.joint = penalty, joint
        self.register_buffer("open_blocks", torch.ones(network.num_blocks, dtype=torch.bool), persistent=False)
        self.open_blocks: Tensor
        network.requires_grad_(joint)
        if config.freeze_stem:
            freeze(network.stem)

    @property
    def units(self) -> list[Unit]:
        return skip_units(self.network)

    def train(self, mode: bool = True) -> BlockDrop:
        super().train(mode)
        if not self.joint or self.config.freeze_bn:
            keep_in_eval(self.network)
        return self

    def start_epoch(self, epoch: int) -> None:
        """Open the last epoch + 1 blocks to the policy (curriculum), or all of them (joint)."""
        blocks = self.network.num_blocks
        closed = 0 if self.joint else max(0, blocks - epoch - 1)
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
        if self.joint:
            return self._joint_loss(images, labels, keep, sampled, greedy)
        with torch.no_grad():
            refuse_training_norms(self.network, self.units)
            stem = self.network.stem(images)
            differs = (sampled != greedy).any(dim=1)
            again = differs.nonzero().squeeze(1)
            x = torch.cat([stem, stem.index_select(0, again)])
            x = x.contiguous(memory_format=torch.channels_last)
            features = route(self.network, self.units, x, torch.cat([sampled, greedy.index_select(0, again)]))
            answers = self.network.head(features).argmax(1)
            advantage = self._advantage(sampled, greedy, answers, labels, again)
        return policy_loss(
            keep,
            sampled,
            advantage,
            self.open_blocks,
            explore=self.config.explore,
            entropy_weight=self.config.entropy_weight,
            entropy=self.config.entropy,
        )

    def _joint_loss(self, images: Tensor, labels: Tensor, keep: Tensor, sampled: Tensor, greedy: Tensor) -> Tensor:
        logits = self.network.head(run_masked(self.network, self.units, images, sampled))
        with torch.no_grad():
            again = (sampled != greedy).any(dim=1).nonzero().squeeze(1)
            answers = logits.argmax(1)
            if len(again):
                self.network.eval()
                rest = images.index_select(0, again)
                features = run_subbatch(self.network, self.units, rest, greedy.index_select(0, again))
                answers = torch.cat([answers, self.network.head(features).argmax(1)])
                self.train()
            advantage = self._advantage(sampled, greedy, answers, labels, again)
        reinforce = policy_loss(keep, sampled, advantage, self.open_blocks, explore=self.config.explore)
        return F.cross_entropy(logits.float(), labels) + reinforce

    def _advantage(self, sampled: Tensor, greedy: Tensor, answers: Tensor, labels: Tensor, again: Tensor) -> Tensor:
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
