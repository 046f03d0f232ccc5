"""Cost accounting: parameters and FLOPs, counted from what runs and never assumed.

A multiply and an add are 2 FLOPs; convolutions and linear layers count, BN, ReLU, pooling and sums do not (the
convention of `torch.utils.flop_counter`, and of BlockDrop's section 4 up to its factor). Per image, with real
skipping:

    C(u) = C_stem + sum of C_shortcut + C_head + C_policy + sum over l of u_l C_l
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transfer.pathways.resnet import Block, GatedResNet


def count_parameters(modules: nn.Module | Iterable[nn.Module], *, trainable_only: bool = False) -> int:
    """Number of distinct parameters (buffers such as running statistics do not count)."""
    parts = [modules] if isinstance(modules, nn.Module) else modules
    found = {id(p): p.numel() for part in parts for p in part.parameters() if p.requires_grad or not trainable_only}
    return sum(found.values())


def count_flops(function: Callable[[], object]) -> int:
    """FLOPs of the convolutions and matrix products that `function` really executes."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        function()
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class NetworkCost:
    """FLOPs of one image through a `GatedResNet`, part by part.

    Attributes:
        stem, head: outside the blocks (the head includes the tail).
        shortcuts: of each block; run whether the block is kept or not.
        residuals: of each block; run only where the block is kept.
    """

    stem: int
    head: int
    shortcuts: tuple[int, ...]
    residuals: tuple[int, ...]

    @property
    def base(self) -> int:
        """What no policy can skip."""
        return self.stem + self.head + sum(self.shortcuts)

    @property
    def total(self) -> int:
        return self.base + sum(self.residuals)

    def of_policy(self, policy: Tensor) -> Tensor:
        """FLOPs per image under keep (1) / skip (0) decisions. (B, L) -> (B,) float64; the policy network is not
        included.
        """
        residuals = torch.tensor(self.residuals, dtype=torch.float64)
        return self.base + policy.detach().cpu().double() @ residuals


def network_cost(network: GatedResNet, *, height: int, width: int | None = None) -> NetworkCost:
    """Count every part of the network on one RGB image of height x width, on shapes alone (nothing is computed)."""
    shapes = copy.deepcopy(network).to("meta").eval()
    x = torch.empty(1, 3, height, height if width is None else width, device="meta")
    stem = count_flops(lambda: shapes.stem(x))
    shortcuts, residuals = [], []
    with torch.no_grad():
        x = shapes.stem(x)
        for block in shapes.blocks:
            assert isinstance(block, Block)
            residuals.append(count_flops(partial(block.residual, x)))
            shortcuts.append(count_flops(partial(block.shortcut, x)))
            x = block(x)
        head = count_flops(lambda: shapes.head(shapes.tail(x)))
    return NetworkCost(stem, head, tuple(shortcuts), tuple(residuals))


def module_flops(module: nn.Module, *, height: int, width: int | None = None) -> int:
    """FLOPs of one RGB image of height x width through any network; a copy really runs it once on the CPU."""
    runs = copy.deepcopy(module).cpu().eval()
    return count_flops(partial(runs, torch.zeros(1, 3, height, height if width is None else width)))
