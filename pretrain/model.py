"""Architectures: classification models of torchvision and timm, built from a seed, with or without their classifier."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

import torch
from torch import Tensor, nn

ONEDNN_BF16_TOO_SMALL = 32
"""At 32 px and less a ResNet's last maps are 1x1, and oneDNN's bf16 weight gradient of the kernel taps outside them is
whatever was in memory (seen with torch 2.15: runs differed, weights became NaN; never at 33, 48 or 64 px)."""


def check_bf16_size(size: int, device: str) -> None:
    """Refuses images (`size` pixels square) that are too small to train on in bf16.

    Raises:
        ValueError: says what is allowed.
    """
    if device == "cpu" and size <= ONEDNN_BF16_TOO_SMALL:
        raise ValueError(
            f"size {size} in bf16 on the CPU: oneDNN leaves gradients undefined where a 3x3 kernel only meets "
            f"padding; allowed: size above {ONEDNN_BF16_TOO_SMALL}, or precision fp32"
        )


def is_torchvision(arch: str) -> bool:
    import torchvision

    return arch in torchvision.models.list_models(module=torchvision.models)


def build_backbone(
    arch: str, *, num_classes: int, seed: int, drop_path: float = 0.0, zero_init_residual: bool = False
) -> nn.Module:
    """A classifier with random weights drawn from `seed` alone: torchvision's model if it has the name, else timm's.

    Stochastic depth (Huang et al., ECCV 2016) is put on the residual branches of torchvision's ResNets with rates that
    grow linearly from 0 to `drop_path`, as timm does; it adds no weights, so keys stay torchvision's.
    `zero_init_residual` starts their residual branches at zero (Goyal et al. 2017; timm's default); other architectures
    keep their own initialisation.

    Raises:
        ValueError: an unknown architecture, or `drop_path` for one that has no such setting.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if is_torchvision(arch):
            return _torchvision_model(arch, num_classes, drop_path, zero_init_residual)
        import timm

        if not timm.is_model(arch):
            raise ValueError(f"architecture {arch!r} is known neither to torchvision nor to timm, for example resnet50")
        rate: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
        try:
            model: nn.Module = timm.create_model(arch, num_classes=num_classes, **rate)
        except TypeError:
            raise ValueError(f"architecture {arch} has no stochastic depth; set drop_path to 0") from None
        return model


def _torchvision_model(arch: str, num_classes: int, drop_path: float, zero_init: bool) -> nn.Module:
    import torchvision
    from torchvision.models.resnet import ResNet

    if arch in ("googlenet", "inception_v3"):
        raise ValueError(f"architecture {arch} has auxiliary classifiers, which are not supported")
    builder = torchvision.models.get_model_builder(arch)
    if not arch.startswith(("resnet", "resnext", "wide_resnet")):
        if drop_path and not arch.startswith(("convnext", "swin", "efficientnet", "maxvit")):
            raise ValueError(f"architecture {arch} has no stochastic depth; set drop_path to 0")
        rate = {"stochastic_depth_prob": drop_path} if drop_path else {}
        other: nn.Module = builder(num_classes=num_classes, **rate)
        return other
    model = builder(num_classes=num_classes, zero_init_residual=zero_init)
    assert isinstance(model, ResNet)
    if drop_path:
        blocks = [block for layer in (model.layer1, model.layer2, model.layer3, model.layer4) for block in layer]
        for number, block in enumerate(blocks):
            last_norm = block.bn3 if hasattr(block, "bn3") else block.bn2
            last_norm.register_forward_hook(_DropPath(drop_path * number / (len(blocks) - 1)))
    classifier: nn.Module = model
    return classifier


class _DropPath:
    """Forward hook on the last norm of a residual branch: whole branches of random images become zero in training."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        from torchvision.ops import stochastic_depth

        dropped: Tensor = stochastic_depth(output, self.rate, mode="row", training=module.training)
        return dropped


def remove_classifier(model: nn.Module, arch: str) -> int:
    """Replaces the final linear layer by the identity, so that the model returns features (B, F); returns F.

    Raises:
        ValueError: the architecture has no final linear layer.
    """
    if not is_torchvision(arch):
        model.reset_classifier(0)  # type: ignore[operator]
        # some have a layer between the pooled features and the classifier, which stays
        return int(getattr(model, "head_hidden_size", None) or model.num_features)  # type: ignore[arg-type]
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError(f"architecture {arch} does not end in a linear classifier, so it gives no features")
    parent, _, name = linears[-1].rpartition(".")
    width = model.get_submodule(linears[-1]).in_features
    setattr(model.get_submodule(parent), name, nn.Identity())
    return int(width)  # type: ignore[arg-type]


class GeneralizedMean(nn.Module):
    """(B, C, H, W), nowhere negative, to (B, C): the cubic mean of each channel over its positions.

    Source: Radenović et al. 2018, Fine-tuning CNN Image Retrieval with No Human Annotation, equation 3, at the p = 3
    that they start from.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.float().pow(3).mean((2, 3)).pow(1 / 3)


def up_to_stage(model: nn.Module, stage: int, pool: Literal["avg", "gem"] = "avg") -> nn.Module:
    """The network as far as a stage, pooled over the image: (B, 3, S, S) to (B, channels of the stage).

    Args:
        model: a ResNet of torchvision or timm, whose stages are called layer1 to layer4.
        stage: 1 to 4, which end in a ReLU.

    Raises:
        ValueError: another network; it may not simply run its parts one after another.
    """
    parts = dict(model.named_children())
    if type(model).__name__ != "ResNet" or f"layer{stage}" not in parts:
        raise ValueError(f"{type(model).__name__} has no stage {stage}; allowed: stages 1 to 4 of a ResNet")
    names = list(parts)
    kept = {name: parts[name] for name in names[: names.index(f"layer{stage}") + 1]}
    pooling = GeneralizedMean() if pool == "gem" else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(OrderedDict(kept, pool=pooling))


def check_backbone(arch: str, *, size: int, drop_path: float) -> None:
    """Refuses what could not be trained at that size, or not be loaded as a backbone afterwards.

    Raises:
        ValueError: what `build_backbone` and `remove_classifier` refuse, or images of `size` px that do not fit.
    """
    model = build_backbone(arch, num_classes=2, seed=0, drop_path=drop_path).eval()
    width = remove_classifier(model, arch)
    try:
        with torch.inference_mode():
            shape = tuple(model(torch.zeros(1, 3, size, size)).shape)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"architecture {arch} takes no images of {size} px: {reason}") from None
    if shape != (1, width):
        raise ValueError(f"architecture {arch} gives no features: its output is {shape}, expected {(1, width)}")


def classifier_keys(model: nn.Module, arch: str) -> tuple[str, ...]:
    """Names of the final layer's weights, for readers that bring their own head."""
    if not is_torchvision(arch):
        return tuple(name for name, _ in model.named_parameters() if name.split(".")[0] in ("fc", "head", "classifier"))
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return (f"{linears[-1]}.weight", f"{linears[-1]}.bias") if linears else ()
