"""Prediction heads on the trunk's features, and resizing of labels and predictions to each other's resolution.

Source: AdaShare (`adashare.md` 2.1): the sum of parallel branches, each a dilated 3x3 convolution, a 1x1 convolution
and a 1x1 convolution to the task's channels, ReLU and dropout after the first two.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from transfer.dense.config import NetworkConfig
from transfer.dense.trunk import init_weights


class AsppHead(nn.Module):
    """(B, C, h, w) -> (B, outputs, h, w)."""

    def __init__(self, inputs: int, outputs: int, config: NetworkConfig) -> None:
        super().__init__()
        width = config.head_width
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, width, 3, padding=rate, dilation=rate),
                nn.ReLU(inplace=True),
                nn.Dropout(config.dropout),
                nn.Conv2d(width, width, 1),
                nn.ReLU(inplace=True),
                nn.Dropout(config.dropout),
                nn.Conv2d(width, outputs, 1),
            )
            for rate in config.head_rates
        )
        init_weights(self, config.init_std)

    def forward(self, x: Tensor) -> Tensor:
        first, *others = (cast(Tensor, branch(x)) for branch in self.branches)
        return sum(others, first)


def resize_nearest(x: Tensor, size: tuple[int, int]) -> Tensor:
    """The last two axes resized by nearest neighbour, for every type (labels are integers). (..., H, W) -> (..., h, w).

    Pixel i takes floor(i * H / h), as `interpolate(mode="nearest")` does.
    """
    if x.shape[-2:] == size:
        return x
    rows = torch.arange(size[0], device=x.device) * x.shape[-2] // size[0]
    columns = torch.arange(size[1], device=x.device) * x.shape[-1] // size[1]
    return x[..., rows[:, None], columns]
