"""A gated network for inference on CPUs: what PyTorch does anew in every call is done once.

PyTorch's convolutions bring their weights into oneDNN's layout in every call, and bias, sum and ReLU are passes over
memory of their own. Here norms are folded, weights are laid out once, and sum and ReLU happen where a convolution
writes. That matters more to routed execution than to the plain network, as each part of a batch brings weights along
and is small. The operators are those that `torch.compile` makes of a frozen network; PyTorch gives them no public name.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transfer.pathways.resnet import Block, GatedResNet, fold_batch_norm

ROWS = 4
"""Rows of a batch that the layout of the weights is made for; any number can be computed with it."""


class PackedConv(nn.Module):
    """A convolution with weights in oneDNN's layout. (B, C, H, W) float32 -> (B, D, H / stride, W / stride).

    The weights are no parameters: they have no gradient and are in no state dict.
    """

    def __init__(self, conv: nn.Conv2d, shape: torch.Size, *, relu: bool) -> None:
        super().__init__()
        self.relu = relu
        self.geometry = (conv.padding, conv.stride, conv.dilation, conv.groups)
        self.bias = None if conv.bias is None else conv.bias.detach()
        lay_out: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        plain = conv.weight.detach().contiguous().to_mkldnn()
        self.weight: Tensor = lay_out(plain, *self.geometry, (ROWS, *shape[1:]))

    def forward(self, x: Tensor) -> Tensor:
        convolution: Any = torch.ops.mkldnn._convolution_pointwise
        out: Tensor = convolution(x, self.weight, self.bias, *self.geometry, "relu" if self.relu else "none", [], "")
        return out

    def add_relu(self, x: Tensor, shortcut: Tensor) -> Tensor:
        """ReLU(shortcut + self(x)) as a new tensor."""
        convolution: Any = torch.ops.mkldnn._convolution_pointwise.binary
        out: Tensor = convolution(x, shortcut, self.weight, self.bias, *self.geometry, "add", 1.0, "relu", [], "")
        return out

    def add_relu_(self, x: Tensor, out: Tensor) -> None:
        """out = ReLU(out + self(x))."""
        convolution: Any = torch.ops.mkldnn._convolution_pointwise_.binary
        convolution(out, x, self.weight, self.bias, *self.geometry, "add", 1.0, "relu", [], "")


class PackedBlock(Block):
    """A residual block of packed convolutions, the last of which adds the shortcut and takes the ReLU itself."""

    def merge(self, shortcut: Tensor, x: Tensor) -> Tensor:
        last, x = self._before_sum(x)
        return last.add_relu(x, shortcut)

    def merge_into(self, out: Tensor, shortcut: Tensor, x: Tensor) -> None:
        last, x = self._before_sum(x)
        if out.data_ptr() != shortcut.data_ptr():
            out.copy_(shortcut)
        last.add_relu_(x, out)

    def _before_sum(self, x: Tensor) -> tuple[PackedConv, Tensor]:
        """The last convolution and what it is given."""
        *first, last = self.residual
        assert isinstance(last, PackedConv)
        for part in first:
            x = part(x)
        return last, x


def pack_for_inference(network: GatedResNet, *, height: int, width: int | None = None) -> GatedResNet:
    """A copy for inference on CPUs, of which every executor and unit of `executors` takes the blocks.

    It computes what the network does in eval mode up to rounding, without gradients. It cannot be saved: save the
    network.

    Args:
        network: with weights in float32 on the CPU.
        height: of the images, in pixels; others can be computed too, more slowly.
        width: of the images, in pixels; default: height.

    Raises:
        ValueError: other weights, or a plain net, whose blocks have no sum.
        RuntimeError: this PyTorch has no oneDNN.
    """
    one_dnn: Any = torch.backends.mkldnn
    if not one_dnn.is_available():
        raise RuntimeError("this PyTorch was built without oneDNN; run the network itself")
    for name, parameter in network.named_parameters():
        if parameter.device.type != "cpu" or parameter.dtype != torch.float32:
            raise ValueError(f"{name} is {parameter.dtype} on {parameter.device}; allowed: torch.float32 on cpu")
    packed = fold_batch_norm(network).to(memory_format=torch.channels_last)
    assert isinstance(packed, GatedResNet)
    blocks = [block for block in packed.blocks if isinstance(block, Block)]
    if any(block.plain for block in blocks):
        raise ValueError("the network is a plain net; allowed: blocks with a shortcut")
    shapes = _input_shapes(packed, height, height if width is None else width)
    packed.blocks = nn.ModuleList(_packed_block(block, shapes) for block in blocks)
    return packed.requires_grad_(False)


def _input_shapes(network: GatedResNet, height: int, width: int) -> dict[nn.Module, torch.Size]:
    """What every convolution is given for images of this size."""
    shapes: dict[nn.Module, torch.Size] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        shapes[module] = inputs[0].shape

    hooks = [part.register_forward_pre_hook(note) for part in network.modules() if isinstance(part, nn.Conv2d)]
    with torch.inference_mode():
        network.features(torch.zeros(1, 3, height, width))
    for hook in hooks:
        hook.remove()
    return shapes


def _packed_block(block: Block, shapes: dict[nn.Module, torch.Size]) -> PackedBlock:
    residual, shortcut = _packed(block.residual, shapes), block.shortcut
    if not isinstance(residual[-1], PackedConv) or residual[-1].relu:
        raise ValueError(
            f"a block's residual ends in {block.residual[-1]}; allowed: a convolution, or one and its norm"
        )
    return PackedBlock(residual, _packed(shortcut, shapes) if isinstance(shortcut, nn.Sequential) else shortcut)


def _packed(parts: nn.Sequential, shapes: dict[nn.Module, torch.Size]) -> nn.Sequential:
    """With every convolution packed, and the ReLU right after it within it; other parts stay, norms that were folded
    go."""
    kept = [part for part in parts if not isinstance(part, nn.Identity)]
    packed: list[nn.Module] = []
    for before, part, after in zip([None, *kept], kept, [*kept[1:], None], strict=False):
        if isinstance(part, nn.Conv2d):
            packed.append(PackedConv(part, shapes[part], relu=isinstance(after, nn.ReLU)))
        elif not (isinstance(part, nn.ReLU) and isinstance(before, nn.Conv2d)):
            packed.append(part)
    return nn.Sequential(*packed)
