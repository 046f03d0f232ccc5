"""What SpotTune is compared with: standard, last-k, stochastic and L2-SP fine-tuning of one gated ResNet.

Source: SpotTune (Guo et al., CVPR 2019), section 4; L2-SP: Li et al., ICML 2018. The feature extractor needs no
training loop and stands in `methods.py`; the random policy needs SpotTune's two branches and stands in `spottune.py`.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from transfer.pathways.config import PathwayConfig
from transfer.pathways.learning import Learner, freeze, keep_in_eval
from transfer.pathways.resnet import GatedResNet, batch_norms


class FineTuning(Learner):
    """Cross-entropy on the whole network or on a part of its blocks, with an optional pull to the pre-trained weights.

    Args:
        network: changed in place.
        tuned_blocks: indices of the blocks that learn; None: everything, the stem included. Blocks that do not learn
            keep their batch statistics too. The tail (the final BN of the Decathlon family) and the head always
            learn.
        learning_rate: of everything that learns.
        l2_sp: alpha of alpha/2 |w - w0|^2 over the pre-trained weights that learn, which then have no other decay; the
            head keeps `config.weight_decay` (L2-SP's beta).

    Deviations from the source: 1. the pull acts on BN's scale and shift too.
    """

    def __init__(
        self,
        network: GatedResNet,
        config: PathwayConfig,
        *,
        learning_rate: float,
        tuned_blocks: Collection[int] | None = None,
        l2_sp: float = 0.0,
    ) -> None:
        super().__init__()
        self.network, self.config, self.learning_rate, self.l2_sp = network, config, learning_rate, l2_sp
        everything = range(network.num_blocks)
        self.tuned_blocks = frozenset(everything if tuned_blocks is None else tuned_blocks)
        unknown = self.tuned_blocks - set(everything)
        if unknown:
            raise ValueError(f"no block {sorted(unknown)[0]} in a network of {network.num_blocks} blocks")
        freeze(*(block for index, block in enumerate(network.blocks) if index not in self.tuned_blocks))
        self.tune_stem = tuned_blocks is None and not config.freeze_stem
        if not self.tune_stem:
            freeze(network.stem)
        if config.freeze_bn:
            freeze(*batch_norms(network))
        self.start = {
            name: parameter.detach().clone()
            for name, parameter in network.named_parameters()
            if l2_sp and parameter.requires_grad and not name.startswith("head.")
        }

    def train(self, mode: bool = True) -> FineTuning:
        super().train(mode)
        for index, block in enumerate(self.network.blocks):
            if index not in self.tuned_blocks or self.config.freeze_bn:
                keep_in_eval(block)
        if not self.tune_stem or self.config.freeze_bn:
            keep_in_eval(self.network.stem)
        if self.config.freeze_bn:
            keep_in_eval(self.network.tail)
        return self

    def optimizers(self) -> list[torch.optim.Optimizer]:
        head = list(self.network.head.parameters())
        body = [
            parameter
            for name, parameter in self.network.named_parameters()
            if parameter.requires_grad and not name.startswith("head.")
        ]
        decay = self.config.weight_decay
        groups = [
            {"params": head, "weight_decay": decay},
            {"params": body, "weight_decay": 0.0 if self.l2_sp else decay},
        ]
        return [torch.optim.SGD(groups, lr=self.learning_rate, momentum=self.config.momentum)]

    def forward(self, images: Tensor) -> Tensor:
        """The blocks before the first one that learns run without recording gradients."""
        network = self.network
        x, index = images, 0
        if not self.tune_stem:
            with torch.no_grad():
                x = network.stem(x)
                while index < network.num_blocks and index not in self.tuned_blocks:
                    x = network.blocks[index](x)
                    index += 1
        else:
            x = network.stem(x)
        for block in list(network.blocks)[index:]:
            x = block(x)
        logits: Tensor = network.head(network.tail(x))
        return logits

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        loss = F.cross_entropy(self(images).float(), labels)
        if not self.l2_sp:
            return loss
        weights = dict(self.network.named_parameters())
        pull = sum((weights[name] - start).square().sum() for name, start in self.start.items())
        return loss + 0.5 * self.l2_sp * pull

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        return self(images), None


def last_blocks(network: GatedResNet, count: int) -> frozenset[int]:
    """Indices of the last `count` residual blocks.

    Raises:
        ValueError: the network has fewer.
    """
    if count > network.num_blocks:
        raise ValueError(f"last {count} blocks of a network of {network.num_blocks}")
    return frozenset(range(network.num_blocks - count, network.num_blocks))


def random_blocks(network: GatedResNet, share: float, *, seed: int) -> frozenset[int]:
    """A random set of round(share * L) blocks (stochastic fine-tuning).

    Raises:
        ValueError: that would be no block at all.
    """
    count = round(share * network.num_blocks)
    if not count:
        raise ValueError(
            f"tuned_share is {share}; of {network.num_blocks} blocks that is none; "
            f"allowed: more than {0.5 / network.num_blocks:.3g}"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(network.num_blocks, generator=generator).tolist()
    return frozenset(order[:count])
