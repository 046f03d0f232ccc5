"""Networks as after training, for the tests of what runs them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from transfer.pathways.resnet import batch_norms

Network = TypeVar("Network", bound=nn.Module)


def lively(network: Network, seed: int = 0) -> Network:
    """In eval mode, no statistic, scale or shift of a batch norm at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    for norm in batch_norms(network):
        for tensor, low in ((norm.running_mean, -0.5), (norm.running_var, 0.5), (norm.weight, 0.5), (norm.bias, -0.5)):
            assert tensor is not None
            tensor.data.copy_(torch.rand(tensor.shape, generator=generator) + low)
    return network.eval()
