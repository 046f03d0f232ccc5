"""Convolutions of wide layers over tiny maps as matrix products, which CPUs train faster.

The last stage of a ResNet sees 2 x 2 positions when the image has 48 or 64 px. oneDNN's gradient of the weights runs
at a tenth of the speed of its other kernels there, and much of a 3 x 3 kernel meets padding: 20 of 36 products with
2 x 2 positions, 32 of 81 with 3 x 3 (docs/decisions.md). Products of views, one for each output position and row of
the kernel, leave the padding out and gather nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

MAX_POSITIONS = 16
MIN_WEIGHTS = 2**17
"""Where products win, measured: maps of up to 4 x 4, kernels from 256 x 512 x 1 x 1 on."""


class SmallMapConv2d(nn.Conv2d):
    """A convolution without bias that multiplies matrices where its output has few positions, in fp32 on the CPU.

    Only where gradients are recorded: FLOPs are counted, and inference is timed, of the plain convolution. Same
    parameters, names and results (up to rounding) as the `nn.Conv2d` it stands in for.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C', H', W')."""
        height, width = (_outputs(side, self.kernel_size[0], self.stride[0]) for side in x.shape[-2:])
        here = x.device.type == "cpu" and torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
        if not here or height * width > MAX_POSITIONS or self.bias is not None:  # a norm that was folded leaves a bias
            return super().forward(x)
        images, kernel, stride = x.permute(0, 2, 3, 1), self.weight.permute(0, 2, 3, 1), self.stride[0]
        if self.kernel_size[0] == 1:
            return functional.linear(images[:, ::stride, ::stride], kernel.flatten(1)).permute(0, 3, 1, 2)
        y: Tensor = _Products.apply(images, kernel, stride)
        return y.permute(0, 3, 1, 2)


class _Products(torch.autograd.Function):
    """Images (B, H, W, C), a kernel (C', k, k, C) and a stride to (B, H', W', C')."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, stride: int) -> Tensor:
        x, kernel = x.contiguous(), kernel.contiguous()  # views in channels_last
        ctx.save_for_backward(x, kernel)
        ctx.stride = stride
        height, width = (_outputs(side, kernel.shape[1], stride) for side in x.shape[1:3])
        y = x.new_zeros(len(x), height, width, len(kernel))
        for position, seen, taps in _products(y, x, kernel, stride):
            position.addmm_(seen, taps.t())
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, kernel = ctx.saved_tensors
        grad = grads[0].contiguous()
        to_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        to_kernel = torch.zeros_like(kernel) if ctx.needs_input_grad[1] else None
        if to_x is not None:
            for position, seen, taps in _products(grad, to_x, kernel, ctx.stride):
                seen.addmm_(position, taps)
        if to_kernel is not None:
            for position, seen, taps in _products(grad, x, to_kernel, ctx.stride):
                taps.addmm_(position.t(), seen)
        return to_x, to_kernel, None


def _products(y: Tensor, x: Tensor, kernel: Tensor, stride: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Views, to read or to add to, for each output position and row of the images that it sees.

    Yields:
        The position (B, C'), the part of the row (B, n C), the taps for it (C', n C).
    """
    k = kernel.shape[1]
    for i in range(y.shape[1]):
        for j in range(y.shape[2]):
            top, left = i * stride - _padding(k), j * stride - _padding(k)
            first, last = max(left, 0), min(left + k, x.shape[2])
            for row in range(max(top, 0), min(top + k, x.shape[1])):
                taps = kernel[:, row - top, first - left : last - left]
                yield y[:, i, j], x[:, row, first:last].view(len(x), -1), taps.view(len(taps), -1)


def _padding(k: int) -> int:
    return (k - 1) // 2


def _outputs(side: int, k: int, stride: int) -> int:
    return (side + 2 * _padding(k) - k) // stride + 1


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
        and conv.padding == (_padding(k), _padding(k))
        and conv.padding_mode == "zeros"
    )
