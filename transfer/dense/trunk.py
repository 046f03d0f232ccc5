"""A dilated ResNet as a flat list of gateable residual blocks, output stride 8.

In: `NetworkConfig`. Out: a `DenseTrunk` whose blocks are those of the pathway methods (`residual` and `shortcut`).

Source: AdaShare's DeepLab-style trunk (`adashare.md` 2.1): 7x7/2 stem with BN and ReLU, 3x3/2 max-pool with rounding
up, stage strides 1, 2, 1, 1 and dilations 1, 1, 2, 4; 1x1 convolution and BN on the shortcut that changes shape.
Deviations:

1. In bottlenecks the stride is in the 3x3 convolution (as in torchvision).
2. The max-pool does not pad: 224 pixels become 112, 56 and 28 (with a padding of 1: 112, 57, 29). All stages see fewer
   positions, and ResNet-34's trunk takes 34.6 GFLOP at 224 pixels; the reference counts 37.06.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from transfer.dense.config import DEPTHS, NetworkConfig
from transfer.pathways.resnet import Block

STRIDES, DILATIONS = (1, 2, 1, 1), (1, 1, 2, 4)
OUTPUT_STRIDE = 8


class DenseTrunk(nn.Module):
    """Stem and L residual blocks; features at an eighth of the resolution.

    Attributes:
        stages: number of blocks per stage.
        channels: of each stage's output.
    """

    def __init__(
        self, stem: nn.Module, blocks: list[Block], stages: tuple[int, ...], channels: tuple[int, ...]
    ) -> None:
        super().__init__()
        self.stem, self.blocks = stem, nn.ModuleList(blocks)
        self.stages, self.channels = stages, channels

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    def stage(self, index: int) -> list[Block]:
        """The blocks of one stage."""
        start = sum(self.stages[:index])
        return [block for block in self.blocks[start : start + self.stages[index]] if isinstance(block, Block)]

    def run_stage(self, index: int, x: Tensor) -> Tensor:
        for block in self.stage(index):
            x = block(x)
        return x

    def last_layer(self) -> list[nn.Parameter]:
        """The weights of the last convolution."""
        final = self.blocks[-1]
        assert isinstance(final, Block)
        return [last_convolution(final.residual)]

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, C, H / 8, W / 8)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


def last_convolution(part: nn.Module) -> nn.Parameter:
    """The weights of a part's last convolution."""
    return next(p for p in reversed(list(part.parameters())) if p.dim() == 4)


def build_trunk(config: NetworkConfig) -> DenseTrunk:
    """A trunk with weights drawn from torch's global generator; fork and seed it around the call."""
    depths = DEPTHS[config.arch]
    widths = tuple(config.width * factor for factor in (1, 2, 4, 8))
    expansion = 4 if config.arch == "resnet101" else 1
    stem = nn.Sequential(
        nn.Conv2d(3, config.width, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(config.width),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, ceil_mode=True),
    )
    blocks: list[Block] = []
    inputs = config.width
    for depth, width, stride, dilation in zip(depths, widths, STRIDES, DILATIONS, strict=True):
        for index in range(depth):
            step = stride if index == 0 else 1
            layers = _bottleneck if expansion == 4 else _basic
            residual = nn.Sequential(*layers(inputs, width, step, dilation))
            outputs = width * expansion
            same = step == 1 and inputs == outputs
            blocks.append(Block(residual, nn.Identity() if same else downsample(inputs, outputs, step)))
            inputs = outputs
    trunk = DenseTrunk(stem, blocks, depths, tuple(width * expansion for width in widths))
    init_weights(trunk, config.init_std)
    return trunk


def downsample(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    """Shortcut that changes the shape: 1x1 convolution and BN."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


def _basic(inputs: int, width: int, stride: int, dilation: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
    yield nn.BatchNorm2d(width)
    yield nn.ReLU(inplace=True)
    yield nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, bias=False)
    yield nn.BatchNorm2d(width)


def _bottleneck(inputs: int, width: int, stride: int, dilation: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(inputs, width, 1, bias=False)
    yield nn.BatchNorm2d(width)
    yield nn.ReLU(inplace=True)
    yield nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
    yield nn.BatchNorm2d(width)
    yield nn.ReLU(inplace=True)
    yield nn.Conv2d(width, 4 * width, 1, bias=False)
    yield nn.BatchNorm2d(4 * width)


def bottleneck_block(inputs: int, outputs: int) -> Block:
    """A residual bottleneck of any width (a quarter inside), for attention and distillation modules."""
    middle = max(1, outputs // 4)
    residual = nn.Sequential(
        nn.Conv2d(inputs, middle, 1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, middle, 3, padding=1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
    )
    return Block(residual, nn.Identity() if inputs == outputs else downsample(inputs, outputs))


def init_weights(module: nn.Module, std: float | None) -> None:
    """Convolutions N(0, std), or He (fan-out) if none is given; biases 0, BN 1 and 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            if std is None:
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            else:
                nn.init.normal_(part.weight, std=std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's global generator starts from `seed` inside; afterwards it is as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
