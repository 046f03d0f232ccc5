"""Where a run starts: a backbone file, a name or a module as a gated network with a fresh head per seed."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pretrain.checkpoint import load_backbone, load_weights, read_backbone, save_backbone, sha256_file
from pretrain.smallmaps import use_products_on_small_maps
from transfer.images import IMAGENET_MEAN, IMAGENET_STD
from transfer.pathways.config import LesionConfig, PathwayConfig
from transfer.pathways.resnet import ARCHITECTURES, GatedResNet, build_gated_resnet, gate_backbone


@dataclass(frozen=True)
class StartingPoint:
    """The pre-trained network and what it expects.

    Attributes:
        network: seed of the head -> a copy with that head, on the device, channels last.
        source: what the backbone is called in summaries; it names the weights, so that others are another run.
        arch: the name that `random:ARCH` takes for a network of this shape; None of a module in memory.
    """

    network: Callable[[int], GatedResNet]
    source: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    arch: str | None = None


def save_gated(
    path: Path,
    network: GatedResNet,
    arch: str,
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
) -> None:
    """A network of a small-image family as safetensors, with what it was trained with; a backbone as any other."""
    header = {"arch": arch, "num_classes": str(network.head.out_features), "mean": json.dumps(mean)}
    save_backbone(path, network, {**header, "std": json.dumps(std)})


def load_gated(path: Path) -> tuple[GatedResNet, str, tuple[float, float, float], tuple[float, float, float]] | None:
    """Network, architecture, mean and deviation per channel; None where the file's architecture is no small-image one.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no backbone of ours, or weights that do not fit the architecture that it names.
    """
    weights, header = read_backbone(path)
    arch = header["arch"]
    if not is_small_image(arch):
        return None
    try:
        mean, std = (read_channels(header[name]) for name in ("mean", "std"))
        classes = int(header["num_classes"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"backbone {path}: its header is broken: {type(error).__name__} {error}") from None
    network = build_gated_resnet(arch, num_classes=classes, seed=0)
    load_weights(network, weights, f"backbone {path}", arch)
    return network, arch, mean, std


def read_channels(text: str) -> tuple[float, float, float]:
    """A value for each channel, of a header. Raises ValueError or TypeError for other text."""
    red, green, blue = map(float, json.loads(text))
    return red, green, blue


def is_small_image(arch: str | None) -> bool:
    """Whether networks of this name are saved and read here; torchvision's ResNets are in `pretrain.checkpoint`."""
    return arch in ARCHITECTURES and ARCHITECTURES[arch].family != "torchvision"


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
        use_products_on_small_maps(network)
        return network

    if isinstance(config, LesionConfig):
        own = config.arch
        return StartingPoint(
            lambda seed: placed(build_gated_resnet(own, num_classes=num_classes, seed=seed)), f"random:{own}"
        )
    kind, _, rest = str(backbone).partition(":")
    arch, _, own_seed = rest.partition(":")
    if kind == "random" and is_small_image(arch):
        if own_seed and not own_seed.isdecimal():
            raise ValueError(f"backbone {backbone}: the seed {own_seed!r} is no number; allowed: random:<arch>[:seed]")
        fixed = build_gated_resnet(arch, num_classes=num_classes, seed=int(own_seed or 0))
        return StartingPoint(lambda seed: placed(_with_head(fixed, num_classes, seed)), str(backbone), arch=arch)
    file = None if isinstance(backbone, nn.Module) or kind in ("random", "torchvision") else Path(backbone)
    gated = None if file is None else load_gated(file)
    if file is not None and gated is not None:
        trained, arch, mean, std = gated
        source = f"{arch} sha256:{sha256_file(file)}"
        return StartingPoint(lambda seed: placed(_with_head(trained, num_classes, seed)), source, mean, std, arch)
    if isinstance(backbone, GatedResNet):
        own_network, source = backbone, _weights_name(backbone)
        return StartingPoint(lambda seed: placed(_with_head(own_network, num_classes, seed)), source)
    if isinstance(backbone, nn.Module):
        model, source, mean, std, name = backbone, _weights_name(backbone), IMAGENET_MEAN, IMAGENET_STD, None
    else:
        model, info = load_backbone(backbone)
        source, mean, std, name = f"{info.arch} sha256:{info.digest}", info.mean, info.std, info.arch
    gate_backbone(model, num_classes=num_classes, seed=0)  # no ResNet: refused before any image is read
    return StartingPoint(
        lambda seed: placed(gate_backbone(model, num_classes=num_classes, seed=seed)), source, mean, std, name
    )


def _weights_name(module: nn.Module) -> str:
    """The class of a network in memory and a digest of its weights and buffers: names, types, shapes, values."""
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return f"{type(module).__name__} sha256:{digest.hexdigest()}"


def _with_head(network: GatedResNet, num_classes: int, seed: int) -> GatedResNet:
    changed = copy.deepcopy(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed.head = nn.Linear(network.head.in_features, num_classes)
    return changed.requires_grad_(True)
