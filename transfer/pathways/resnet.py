"""One gated ResNet: stem, a flat list of residual blocks that expose residual and shortcut, tail, head.

In: an architecture name, or a backbone of `pretrain` or torchvision. Out: a `GatedResNet` whose blocks SpotTune
doubles, BlockDrop drops and the lesion study deletes or swaps. Three families of shapes:

* torchvision's ResNets (basic or bottleneck blocks, 1x1 convolution + BN on the shortcut that changes shape);
* CIFAR: 3x3 stem with BN and ReLU, three stages of 16/32/64 channels, parameter-free shortcuts;
* Visual Decathlon ("ResNet-26"): 3x3 stem with BN and no ReLU, three stages of 64/128/256 channels, each starting with
  stride 2, parameter-free shortcuts, BN and ReLU after the last stage.

Source: BlockDrop (Wu, Nagarajan et al., CVPR 2018) section 3, SpotTune (Guo et al., CVPR 2019) section 4, and the
shapes of their released networks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Architecture:
    """A family of shapes and the number of blocks per stage."""

    family: Literal["torchvision", "cifar", "decathlon"]
    block: Literal["basic", "bottleneck"]
    depths: tuple[int, ...]
    widths: tuple[int, ...]


_TORCHVISION_WIDTHS = (64, 128, 256, 512)
ARCHITECTURES = {
    "resnet10": Architecture("torchvision", "basic", (1, 1, 1, 1), _TORCHVISION_WIDTHS),
    "resnet18": Architecture("torchvision", "basic", (2, 2, 2, 2), _TORCHVISION_WIDTHS),
    "resnet34": Architecture("torchvision", "basic", (3, 4, 6, 3), _TORCHVISION_WIDTHS),
    "resnet50": Architecture("torchvision", "bottleneck", (3, 4, 6, 3), _TORCHVISION_WIDTHS),
    "resnet101": Architecture("torchvision", "bottleneck", (3, 4, 23, 3), _TORCHVISION_WIDTHS),
    "cifar_resnet8": Architecture("cifar", "basic", (1, 1, 1), (16, 32, 64)),
    "cifar_resnet20": Architecture("cifar", "basic", (3, 3, 3), (16, 32, 64)),
    "cifar_resnet32": Architecture("cifar", "basic", (5, 5, 5), (16, 32, 64)),
    "cifar_resnet110": Architecture("cifar", "basic", (18, 18, 18), (16, 32, 64)),
    "decathlon_resnet8": Architecture("decathlon", "basic", (1, 1, 1), (64, 128, 256)),
    "decathlon_resnet26": Architecture("decathlon", "basic", (4, 4, 4), (64, 128, 256)),
}


class PoolPad(nn.Module):
    """Parameter-free shortcut: average pool over stride x stride, then zero channels appended.

    An odd side is rounded up, as the strided convolution beside it does: the last pixel is averaged alone.
    """

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride, self.extra_channels = stride, extra_channels

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C + extra, H / stride, W / stride)
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride, ceil_mode=True)
        return F.pad(x, (0, 0, 0, 0, 0, self.extra_channels))


class Block(nn.Module):
    """One residual block: ReLU(shortcut(x) + residual(x)); `plain` leaves the shortcut out of the sum.

    The residual is an `nn.Sequential` ending in BN: no skip and no last ReLU inside. A plain block keeps its
    (parameter-free) shortcut module because deleting the block still has to produce a tensor of the next block's
    shape.
    """

    def __init__(self, residual: nn.Sequential, shortcut: nn.Module, *, plain: bool = False) -> None:
        super().__init__()
        self.residual, self.shortcut, self.plain = residual, shortcut, plain

    @property
    def keeps_shape(self) -> bool:
        """Whether the block maps a tensor to one of the same shape, so that it can be removed without a trace."""
        return isinstance(self.shortcut, nn.Identity)

    def merge(self, shortcut: Tensor, x: Tensor) -> Tensor:
        """ReLU(shortcut + residual(x)) with the shortcut's value given. (B, C, H, W), (B, D, ...) -> (B, C, H, W)."""
        out: Tensor = self.residual(x)
        if not self.plain:
            out += shortcut  # in place: neither BN nor a convolution needs its own output in the backward pass
        return F.relu(out, inplace=True)

    def merge_into(self, out: Tensor, shortcut: Tensor, x: Tensor) -> None:
        """out = `merge(shortcut, x)`; it may be either of them, or both. No gradient."""
        residual = self.residual(x)
        if self.plain:
            out.copy_(residual)
        else:
            torch.add(residual, shortcut, out=out)
        out.relu_()

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(x if self.plain else self.shortcut(x), x)


class GatedResNet(nn.Module):
    """A ResNet as stem -> L blocks -> tail (pooled features) -> head (classes).

    Attributes:
        blocks: the L residual blocks in one flat list, all of them gateable, the strided first ones of a stage
            included.
        stages: number of blocks per stage.
    """

    def __init__(
        self,
        stem: nn.Module,
        blocks: Iterable[Block],
        tail: nn.Module,
        head: nn.Linear,
        stages: Sequence[int],
    ) -> None:
        super().__init__()
        self.stem = stem
        self.blocks = nn.ModuleList(blocks)
        self.tail = tail
        self.head = head
        self.stages = tuple(stages)
        if sum(self.stages) != len(self.blocks):
            raise ValueError(f"{len(self.blocks)} blocks do not make stages of {self.stages}")

    @property
    def num_blocks(self) -> int:
        return len(self.blocks)

    def features(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, features)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        features: Tensor = self.tail(x)
        return features

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, classes)
        logits: Tensor = self.head(self.features(x))
        return logits


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)


def _small_image_blocks(architecture: Architecture, stem_width: int, *, plain: bool) -> Iterable[Block]:
    inputs = stem_width
    for stage, (depth, width) in enumerate(zip(architecture.depths, architecture.widths, strict=True)):
        for index in range(depth):
            first = index == 0
            stride = 2 if first and (stage > 0 or architecture.family == "decathlon") else 1
            residual = nn.Sequential(
                _conv(inputs, width, stride),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
                _conv(width, width),
                nn.BatchNorm2d(width),
            )
            same = stride == 1 and inputs == width
            yield Block(residual, nn.Identity() if same else PoolPad(stride, width - inputs), plain=plain)
            inputs = width


def _pooled() -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten()]


def build_gated_resnet(arch: str, *, num_classes: int, seed: int, plain: bool = False) -> GatedResNet:
    """A network of `ARCHITECTURES` with random weights (convolutions: He, fan-out).

    Args:
        arch: one of `ARCHITECTURES`.
        num_classes: outputs of the head.
        seed: of the weights; the global generator is left as it was.
        plain: the same layers without shortcuts (the plain net of the lesion study); small-image families only.

    Raises:
        ValueError: unknown architecture; a plain net of a torchvision family (its shortcuts carry parameters).
    """
    if arch not in ARCHITECTURES:
        raise ValueError(f"unknown architecture {arch!r}; allowed: {', '.join(ARCHITECTURES)}")
    architecture = ARCHITECTURES[arch]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture.family == "torchvision":
            if plain:
                raise ValueError(f"no plain net of {arch}; allowed: the cifar and decathlon families")
            from torchvision.models import resnet

            kind = resnet.BasicBlock if architecture.block == "basic" else resnet.Bottleneck
            return gate_backbone(resnet.ResNet(kind, list(architecture.depths)), num_classes=num_classes, seed=seed)
        stem_width = architecture.widths[0] if architecture.family == "cifar" else 32
        stem: list[nn.Module] = [_conv(3, stem_width), nn.BatchNorm2d(stem_width)]
        tail = _pooled()
        last = architecture.widths[-1]
        if architecture.family == "cifar":
            stem.append(nn.ReLU(inplace=True))
        else:
            tail = [nn.BatchNorm2d(last), nn.ReLU(inplace=True), *tail]
        network = GatedResNet(
            nn.Sequential(*stem),
            _small_image_blocks(architecture, stem_width, plain=plain),
            nn.Sequential(*tail),
            nn.Linear(last, num_classes),
            architecture.depths,
        )
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        return network


def gate_backbone(backbone: nn.Module, *, num_classes: int, seed: int) -> GatedResNet:
    """Any ResNet of torchvision's or timm's (with or without its `fc`) as a `GatedResNet` with a fresh head.

    The weights are copied: training the result leaves `backbone` as it was. Without the head the two compute the same
    bits.

    Args:
        backbone: a module with the names conv1, bn1, relu (timm: act1), maxpool, layer1 .. layer4, avgpool (timm:
            global_pool), and blocks with conv1, bn1, … and `downsample`, nothing but ReLUs between.
        num_classes: outputs of the new head, drawn from `seed`.

    Raises:
        ValueError: the module is no such ResNet, or its blocks do more.
    """
    by_timm = hasattr(backbone, "global_pool")
    names = ("conv1", "bn1", "act1" if by_timm else "relu", "maxpool", "global_pool" if by_timm else "avgpool")
    missing = [name for name in (*names, "layer1") if not hasattr(backbone, name)]
    if missing:
        raise ValueError(f"{type(backbone).__name__} is no torchvision-style ResNet: it lacks {', '.join(missing)}")
    source: Any = copy.deepcopy(backbone)
    *stem, pooling = (getattr(source, name) for name in names)
    stages = [getattr(source, f"layer{i}") for i in range(1, 9) if hasattr(source, f"layer{i}")]
    blocks = [_gate_block(block) for stage in stages for block in stage]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last = next(module for module in reversed(blocks[-1].residual) if isinstance(module, nn.BatchNorm2d))
        head = nn.Linear(last.num_features, num_classes)
    network = GatedResNet(
        nn.Sequential(*stem),
        blocks,
        nn.Sequential(pooling, nn.Flatten()),
        head.to(next(source.parameters()).device),
        [len(stage) for stage in stages],
    )
    return network.requires_grad_(True)


def _gate_block(block: Any) -> Block:
    more = [
        f"{name} ({type(part).__name__})"
        for name, part in block.named_children()
        if not isinstance(part, nn.Identity | nn.ReLU | nn.Conv2d | nn.BatchNorm2d) and name != "downsample"
    ]
    if more:
        raise ValueError(f"a block of the ResNet has {', '.join(more)}; allowed: convolutions, batch norms and ReLUs")
    names = [f"{kind}{i}" for i in range(1, 4) for kind in ("conv", "bn") if hasattr(block, f"{kind}{i}")]
    parts: list[nn.Module] = []
    for name in names:
        if parts and name.startswith("conv"):
            parts.append(nn.ReLU(inplace=True))
        parts.append(getattr(block, name))
    shortcut = nn.Identity() if block.downsample is None else block.downsample
    return Block(nn.Sequential(*parts), shortcut)


def first_blocks(network: GatedResNet, *, num_classes: int, seed: int) -> GatedResNet:
    """The network cut to the first block of every stage: ResNet-18 becomes ResNet-10, ResNet-26 the Decathlon policy
    shape.

    Weights are copied, the head is fresh. This is how BlockDrop starts its ResNet-10 policy from a ResNet-18.
    """
    starts = [sum(network.stages[:stage]) for stage in range(len(network.stages))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = nn.Linear(network.head.in_features, num_classes)
    return GatedResNet(
        copy.deepcopy(network.stem),
        [copy.deepcopy(network.blocks[start]) for start in starts],  # type: ignore[misc]
        copy.deepcopy(network.tail),
        head.to(network.head.weight.device),
        [1] * len(starts),
    )


class PolicyNetwork(nn.Module):
    """A small network that looks at the image once and gives one or two logits per gated block.

    Args:
        trunk: its head must have num_blocks * logits_per_block outputs.
        num_blocks: L, blocks of the gated network.
        logits_per_block: 2 for Gumbel gates (SpotTune), 1 for Bernoulli gates (BlockDrop).
        shrink: average pooling of the input by this factor (BlockDrop's ImageNet policy sees half the resolution).
    """

    def __init__(self, trunk: GatedResNet, *, num_blocks: int, logits_per_block: int, shrink: int = 1) -> None:
        super().__init__()
        if trunk.head.out_features != num_blocks * logits_per_block:
            raise ValueError(
                f"the policy's head has {trunk.head.out_features} outputs, "
                f"{num_blocks} blocks need {num_blocks * logits_per_block}"
            )
        self.trunk, self.num_blocks, self.logits_per_block = trunk, num_blocks, logits_per_block
        self.shrink = shrink

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, L) or (B, L, 2)
        if self.shrink > 1:
            x = F.avg_pool2d(x, self.shrink)
        # In float32 also under autocast: it costs little, and on CPUs oneDNN (torch 2.15) returns uninitialised
        # memory as the bf16 weight gradient of a strided 3x3 convolution of a 1x1 map, which a shrunk image soon
        # becomes.
        with torch.autocast(x.device.type, enabled=False):
            logits: Tensor = self.trunk(x)
        if self.logits_per_block == 1:
            return logits
        return logits.view(-1, self.num_blocks, self.logits_per_block)


def batch_norms(module: nn.Module) -> list[nn.BatchNorm2d]:
    """Every batch normalisation inside `module`."""
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A copy for inference in which every Conv2d followed by a BatchNorm2d in a Sequential became one convolution."""
    folded = copy.deepcopy(network).eval()
    for parent in [part for part in folded.modules() if isinstance(part, nn.Sequential)]:
        parts = list(parent)
        for index in range(len(parts) - 1):
            conv, norm = parts[index], parts[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent[index] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                parent[index + 1] = nn.Identity()
    return folded
