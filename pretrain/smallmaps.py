"""Convolutions of wide layers over tiny maps as matrix products, which CPUs train faster.

The last stage of a ResNet sees 2 x 2 positions when the image has 48 or 64 px. oneDNN's gradient of the weights runs
at a tenth of the speed of its other kernels there (docs/decisions.md); one product over all images and positions does
not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_POSITIONS = 16
MIN_WEIGHTS = 2**17
"""Where products win, measured: maps of up to 4 x 4, kernels from 256 x 512 x 1 x 1 on."""


class SmallMapConv2d(nn.Conv2d):
    """A convolution without bias that multiplies matrices where its output has few positions, in fp32 on the CPU.

    Same parameters, names and results (up to rounding) as the `nn.Conv2d` it stands in for.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        k, stride, padding = int(self.kernel_size[0]), int(self.stride[0]), (self.kernel_size[0] - 1) // 2
        height, width = ((side + 2 * padding - k) // stride + 1 for side in x.shape[-2:])
        if height * width > MAX_POSITIONS or x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
            return super().forward(x)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
        rows, columns = stride * (height - 1) + 1, stride * (width - 1) + 1
        shifted = [padded[:, i : i + rows : stride, j : j + columns : stride] for i in range(k) for j in range(k)]
        patches = torch.cat(shifted, 3).flatten(0, 2)  # (B H' W', k k C)
        kernel = self.weight.permute(0, 2, 3, 1).flatten(1)  # (C', k k C), a view in channels_last
        return functional.linear(patches, kernel).view(len(x), height, width, -1).permute(0, 3, 1, 2)


def use_products_on_small_maps(model: nn.Module) -> None:
    """Makes every fitting convolution of `model` a `SmallMapConv2d`, its parameters as they are."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _fits(module):
            module.__class__ = SmallMapConv2d


def _fits(conv: nn.Conv2d) -> bool:
    k = conv.kernel_size[0]
    return (
        conv.weight.numel() >= MIN_WEIGHTS
        and conv.bias is None
        and conv.groups == 1
        and conv.dilation == (1, 1)
        and conv.kernel_size == (k, k)
        and conv.stride[0] == conv.stride[1]
        and conv.padding == ((k - 1) // 2, (k - 1) // 2)
        and conv.padding_mode == "zeros"
    )
