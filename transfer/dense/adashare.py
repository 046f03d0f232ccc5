"""AdaShare: one trunk, and for every task and block a learned decision to run the block or to skip it.

In: tasks and `NetworkConfig`. Out: the network, its policy (two logits per task and block), samples of it, and the two
losses of the policy. Training is in `search.py`, the pruned network in `plan.py`.

Source: Sun, Panda, Feris, Saenko, NeurIPS 2020 (`adashare.md` 2.2 and 2.4). A block gives
u0 ReLU(s(x) + F(x)) + u1 s(x) with (u0, u1) the weights of running and skipping. Deviations:

1. Tasks share every computation up to their first different decision, in training too: equal numbers, but batch norm
   moves its running statistics once for the group instead of once per task.
2. `form="paper"`, the default, compares probabilities instead of logits in the sharing loss, lets early blocks weigh
   most, and counts the blocks that the curriculum has opened; the sparsity loss is log alpha, averaged over these
   blocks instead of summed so that the released weights keep their meaning. `form="code"` is the released code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transfer.dense.config import NetworkConfig
from transfer.dense.sharing import Features, SharingNetwork
from transfer.dense.trunk import DenseTrunk, build_trunk, last_convolution
from transfer.pathways.executors import SkipUnit
from transfer.pathways.gates import gumbel_soft, sample_bernoulli
from transfer.pathways.resnet import Block

SELECT, SKIP = 0, 1
"""Columns of the logits."""

Decision = int | Tensor
"""1: run, 0: skip, or (2,) weights of running and skipping."""


class AdaShare(SharingNetwork):
    """One trunk whose blocks each task runs or skips as `decisions` say.

    Attributes:
        logits: (T, L, 2), columns `SELECT` and `SKIP`.
        decisions: T x L; all 1 at first, which is hard sharing.
    """

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig) -> None:
        super().__init__(tasks, config)
        self.trunk = build_trunk(config)
        self.add_heads(self.trunk.channels[-1])
        self.logits = nn.Parameter(torch.full((len(tasks), self.trunk.num_blocks, 2), 0.5))
        self.decisions: Sequence[Sequence[Decision]] = [[1] * self.trunk.num_blocks for _ in tasks]

    @property
    def num_blocks(self) -> int:
        return self.trunk.num_blocks

    def decide(self, policy: Tensor | Sequence[Sequence[int]]) -> None:
        """Fix the decisions. (T, L) of zeros and ones.

        Raises:
            ValueError: another shape or other values.
        """
        rows = policy.int().tolist() if isinstance(policy, Tensor) else [[int(u) for u in row] for row in policy]
        if len(rows) != len(self.tasks) or any(len(row) != self.num_blocks for row in rows):
            raise ValueError(f"a policy for {len(self.tasks)} tasks and {self.num_blocks} blocks, not {len(rows)} rows")
        if any(u not in (0, 1) for row in rows for u in row):
            raise ValueError("a policy holds zeros (skip) and ones (run) only")
        self.decisions = rows

    def decide_softly(self, opened: int, *, temperature: float, generator: torch.Generator) -> None:
        """One relaxed sample per task and block for the last `opened` blocks; earlier ones run."""
        soft = gumbel_soft(self.logits, tau=temperature, generator=generator)  # (T, L, 2)
        closed = self.num_blocks - opened
        self.decisions = [[1] * closed + list(row[closed:].unbind()) for row in soft]

    def features(self, x: Tensor) -> Features:
        return dict(zip(self.tasks, run_tasks(self.trunk, x, self.decisions), strict=True))

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())

    def trunk_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())

    def last_shared_layer(self) -> list[nn.Parameter]:
        """The last convolution of the last block that every task runs; the stem's if there is no such block."""
        for index, block in reversed(list(enumerate(self.trunk.blocks))):
            # a block that is weighed, not decided, is run by all
            if all(isinstance(row[index], Tensor) or row[index] == 1 for row in self.decisions):
                assert isinstance(block, Block)
                return [last_convolution(block.residual)]
        return [last_convolution(self.trunk.stem)]


def run_tasks(trunk: DenseTrunk, x: Tensor, decisions: Sequence[Sequence[Decision]]) -> list[Tensor]:
    """Features of every task; what tasks have in common up to their first difference runs once.

    Args:
        x: (B, 3, H, W).
        decisions: T rows of L decisions.

    Returns:
        T x (B, C, H / 8, W / 8).
    """
    groups = [(list(range(len(decisions))), trunk.stem(x))]
    for index, block in enumerate(trunk.blocks):
        assert isinstance(block, Block)
        groups = [
            part for members, given in groups for part in _branches(SkipUnit(block), given, members, decisions, index)
        ]
    found = {task: features for members, features in groups for task in members}
    return [found[task] for task in range(len(decisions))]


def _branches(
    unit: SkipUnit, x: Tensor, members: list[int], decisions: Sequence[Sequence[Decision]], index: int
) -> list[tuple[list[int], Tensor]]:
    """Tasks with the same features before a block -> groups with the same features after it."""
    runs = [task for task in members if isinstance(decisions[task][index], int) and decisions[task][index] == 1]
    skips = [task for task in members if isinstance(decisions[task][index], int) and decisions[task][index] == 0]
    soft = [(task, weights) for task in members if isinstance(weights := decisions[task][index], Tensor)]
    if not soft and not skips:
        return [(runs, unit.one(x))]
    if not soft and not runs:
        return [(skips, unit.zero(x))]
    skipped, kept = unit.both(x)
    parts = [(group, value) for group, value in ((runs, kept), (skips, skipped)) if group]
    return parts + [([task], weights[SELECT] * kept + weights[SKIP] * skipped) for task, weights in soft]


def initial_logits(logits: Tensor, init: str, *, generator: torch.Generator) -> None:
    """Write the start of a policy in place. (T, L, 2).

    "equal": select and skip alike; "all_chosen": select with probability 0.95; "random": normal with deviation 1e-3.

    Raises:
        ValueError: another name.
    """
    with torch.no_grad():
        if init == "equal":
            logits.fill_(0.5)
        elif init == "all_chosen":
            logits[..., SELECT] = 0.0
            logits[..., SKIP] = -2.9444  # log(0.05 / 0.95)
        elif init == "random":
            logits.copy_(1e-3 * torch.randn(logits.shape, generator=generator))
        else:
            raise ValueError(f"init is {init!r}; allowed: equal, all_chosen, random")


def select_probability(logits: Tensor) -> Tensor:
    """alpha, the probability of running. (T, L, 2) -> (T, L)."""
    return logits.softmax(-1)[..., SELECT]


def sample_policy(logits: Tensor, opened: int, *, generator: torch.Generator) -> Tensor:
    """A Bernoulli draw per task and block, 1 with probability alpha; blocks before the last `opened` run. (T, L)."""
    policy = sample_bernoulli(select_probability(logits.detach()).cpu(), generator)
    policy[:, : policy.shape[1] - opened] = 1
    return policy


def sparsity_loss(logits: Tensor, opened: int, *, form: str) -> Tensor:
    """Pressure to skip, averaged over the last `opened` blocks and summed over tasks. (T, L, 2) -> ().

    "code": -log(1 - alpha), that is cross-entropy against skipping; "paper": log alpha.
    """
    logs = logits[:, logits.shape[1] - opened :].log_softmax(-1)
    if form == "paper":
        return logs[..., SELECT].mean(1).sum()
    if form == "code":
        return -logs[..., SKIP].mean(1).sum()
    raise ValueError(f"sparsity_form is {form!r}; allowed: paper, code")


def sharing_weights(blocks: int, form: str) -> Tensor:
    """Weight of each block in the sharing loss: (L - l) / L ("paper") or (l + 1) / L ("code"). (L,)."""
    rising = torch.arange(1, blocks + 1) / blocks
    return rising.flip(0) if form == "paper" else rising


def sharing_loss(logits: Tensor, opened: int, *, form: str) -> Tensor:
    """Weighted distance between the decisions of every pair of tasks. (T, L, 2) -> ().

    "paper": |alpha_i - alpha_j| over the last `opened` blocks; "code": |logit_i - logit_j| of the select column over
    all blocks.
    """
    if form not in ("paper", "code"):
        raise ValueError(f"sharing_form is {form!r}; allowed: paper, code")
    values = select_probability(logits) if form == "paper" else logits[..., SELECT]  # (T, L)
    first, second = torch.triu_indices(len(values), len(values), offset=1)
    weights = sharing_weights(values.shape[1], form).to(values)
    if form == "paper":
        weights[: len(weights) - opened] = 0
    return (weights * (values[first] - values[second]).abs()).sum()
