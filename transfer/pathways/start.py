"""Where a run starts: a backbone file, a name or a module as a gated network with a fresh head per seed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pretrain.checkpoint import load_backbone
from transfer.images import IMAGENET_MEAN, IMAGENET_STD
from transfer.pathways.config import LesionConfig, PathwayConfig
from transfer.pathways.resnet import ARCHITECTURES, GatedResNet, build_gated_resnet, gate_backbone


@dataclass(frozen=True)
class StartingPoint:
    """The pre-trained network and what it expects.

    Attributes:
        network: seed of the head -> a copy with that head, on the device, channels last.
        source: what the backbone is called in summaries.
    """

    network: Callable[[int], GatedResNet]
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD


def starting_point(
    config: PathwayConfig, backbone: str | Path | nn.Module, *, num_classes: int, device: str = "cpu"
) -> StartingPoint:
    """See `stage.train_pathway` for what a backbone may be.

    Raises:
        ValueError: not a ResNet, or an unknown name.
        FileNotFoundError: no such file.
    """

    def placed(network: GatedResNet) -> GatedResNet:
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    if isinstance(config, LesionConfig):
        own = config.arch
        return StartingPoint(
            lambda seed: placed(build_gated_resnet(own, num_classes=num_classes, seed=seed)), f"random:{own}"
        )
    kind, _, rest = str(backbone).partition(":")
    arch, _, own_seed = rest.partition(":")
    if kind == "random" and arch in ARCHITECTURES and ARCHITECTURES[arch].family != "torchvision":
        if own_seed and not own_seed.isdecimal():
            raise ValueError(f"backbone {backbone}: the seed {own_seed!r} is no number; allowed: random:<arch>[:seed]")
        fixed = build_gated_resnet(arch, num_classes=num_classes, seed=int(own_seed or 0))
        return StartingPoint(lambda seed: placed(_with_head(fixed, num_classes, seed)), str(backbone))
    if isinstance(backbone, nn.Module):
        model, source, mean, std = backbone, type(backbone).__name__, IMAGENET_MEAN, IMAGENET_STD
    else:
        model, info = load_backbone(backbone)
        source, mean, std = f"{info.arch} sha256:{info.digest}", info.mean, info.std
    gate_backbone(model, num_classes=num_classes, seed=0)  # no ResNet: refused before any image is read
    return StartingPoint(
        lambda seed: placed(gate_backbone(model, num_classes=num_classes, seed=seed)), source, mean, std
    )


def _with_head(network: GatedResNet, num_classes: int, seed: int) -> GatedResNet:
    changed = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed.head = nn.Linear(network.head.in_features, num_classes)
    return changed
