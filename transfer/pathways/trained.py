"""A trained network with its policy in one file, and images classified with it: this is where skipping saves time.

`save_trained` writes what a method has trained; `load_trained` makes the learner anew and `classify` runs it, each
block on the images that want it and, in float32 on a CPU, with the convolutions of `inference`.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pretrain.checkpoint import load_weights, read_backbone, save_backbone
from transfer.pathways.adaptive import method_of
from transfer.pathways.blockdrop import BlockDrop
from transfer.pathways.config import METHODS, BlockDropConfig, PathwayConfig, method_name
from transfer.pathways.cost import module_flops, network_cost
from transfer.pathways.inference import pack_for_inference
from transfer.pathways.learning import Learner, Predictions, predict_all
from transfer.pathways.methods import Setting
from transfer.pathways.pixels import Pixels
from transfer.pathways.resnet import Block, GatedResNet, fold_batch_norm
from transfer.pathways.spottune import SpotTune
from transfer.pathways.start import read_channels, starting_point

FORMAT = "simpath.pathway.1"


@dataclass(frozen=True)
class Trained:
    """A learner as it was trained, and what it was trained with.

    Attributes:
        arch: of the network, a name that `random:ARCH` takes.
        mean: of each channel of the pixels, in 0 to 1; `std` likewise.
        seed: of the training; the methods that draw when they classify draw from it.
    """

    learner: Learner
    config: PathwayConfig
    arch: str
    task: str
    classes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int

    @property
    def method(self) -> str:
        return method_name(self.config)


def save_trained(path: Path, trained: Trained, *, policy_arch: str | None = None) -> None:
    """Write the learner as safetensors; optimisers and the weights that it started from are left out.

    Args:
        policy_arch: what the policy network was cut from, where that is no copy of the network's own backbone.
    """
    config = trained.config
    if policy_arch is not None and isinstance(config, BlockDropConfig):
        config = dataclasses.replace(config, policy_backbone=f"random:{policy_arch}")  # its shape is all that counts
    header = {
        "format": FORMAT,
        "method": trained.method,
        "config": json.dumps(dataclasses.asdict(config)),
        "arch": trained.arch,
        "task": json.dumps(trained.task),
        "num_classes": str(len(trained.classes)),
        "classes": json.dumps(trained.classes),
        "mean": json.dumps(trained.mean),
        "std": json.dumps(trained.std),
        "seed": str(trained.seed),
    }
    save_backbone(path, trained.learner, header)


def load_trained(path: Path, *, device: str = "cpu") -> Trained:
    """The inverse of `save_trained`, in eval mode.

    Raises:
        FileNotFoundError: no such file.
        ValueError: another file, or one that was damaged (values that are not finite included).
    """
    weights, header = read_backbone(path, what="network")
    if header.get("format") != FORMAT:
        raise ValueError(f"network {path} is a backbone; allowed: what `simpath evaluate --keep-networks` leaves")
    try:
        values = {name: _as_tuple(value) for name, value in json.loads(header["config"]).items()}
        config = METHODS[header["method"]](**values)
        arch, classes = header["arch"], tuple(json.loads(header["classes"]))
        task, seed = json.loads(header["task"]), int(header["seed"])
        mean, std = (read_channels(header[name]) for name in ("mean", "std"))
        start = starting_point(config, f"random:{arch}", num_classes=len(classes), device=device)
        learner = method_of(Setting(config, start.network, len(classes), device)).untrained()
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"network {path}: its header is broken: {type(error).__name__} {error}") from None
    if isinstance(learner, SpotTune) and "shared_policy" in weights:
        learner.shared_policy = torch.zeros(learner.network.num_blocks)
    load_weights(learner, weights, f"network {path}", arch)
    broken = next((name for name, value in weights.items() if not value.isfinite().all()), None)
    if broken is not None:
        raise ValueError(f"network {path}: {broken} has values that are not finite; the file is damaged")
    return Trained(learner.eval().to(device), config, arch, task, classes, mean, std, seed)


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def classify(
    trained: Trained, pixels: Pixels, *, device: str = "cpu", classified: Callable[[int], None] | None = None
) -> tuple[Predictions, dict[str, float]]:
    """Predictions for the evaluation views, and what they cost.

    Args:
        classified: called after every batch with the number of images so far.

    Returns:
        Predictions, and in float operations per image `flops_plain` of the network with all blocks, `flops_network` of
        what was run of it (mean) and `flops_policy` of the policy network, 0 where none was asked.
    """
    height, width = pixels.evaluation_shape
    learner, precision = trained.learner, trained.config.precision
    assert isinstance(learner.network, GatedResNet)
    cost = network_cost(learner.network, height=height, width=width)
    policy = learner.policy if isinstance(learner, SpotTune | BlockDrop) else None
    if isinstance(learner, SpotTune) and learner.shared_policy is not None:
        policy = None  # Global-k has decided for all images
    one_dnn: Any = torch.backends.mkldnn
    if device == "cpu" and precision == "fp32" and one_dnn.is_available():
        learner = _packed(learner, height, width)
    predictions = predict_all(
        learner, pixels, seed=trained.seed, precision=precision, device=device, classified=classified
    )
    ran = predictions.policy if isinstance(learner, BlockDrop) else None
    return predictions, {
        "flops_plain": cost.total,
        "flops_network": cost.total if ran is None else float(cost.of_policy(ran).mean()),
        "flops_policy": 0 if policy is None else module_flops(policy, height=height, width=width),
    }


def _packed(learner: Learner, height: int, width: int) -> Learner:
    """A copy of the learner whose networks `inference` has prepared for images of this size."""
    ready = copy.copy(learner)
    ready._modules = dict(learner._modules)
    network = learner.network
    assert isinstance(network, GatedResNet)
    ready.network = pack_for_inference(network, height=height, width=width)
    if isinstance(learner, SpotTune):
        frozen = (block for block in learner.frozen if isinstance(block, Block))
        other = GatedResNet(network.stem, frozen, network.tail, network.head, network.stages)
        ready.frozen = pack_for_inference(other, height=height, width=width).blocks
    if isinstance(learner, SpotTune | BlockDrop) and learner.policy is not None:
        ready.policy = fold_batch_norm(learner.policy)
    return ready
