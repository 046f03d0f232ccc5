"""Configurations of dense multi-task learning.

No torch here: the command line shows these without waiting for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

TaskName = Literal["segmentation", "normals", "depth", "keypoints", "edges"]
Layout = Literal["rooms", "nyuv2", "cityscapes", "taskonomy"]
Architecture = Literal[
    "single_task", "hard", "soft", "cross_stitch", "sluice", "nddr", "mtan", "pad_net", "adashare"
]  # fmt: skip
Balancer = Literal["fixed", "uncertainty", "dwa", "gradnorm", "dtp", "graddrop", "pcgrad"]

DEPTHS: dict[str, tuple[int, ...]] = {
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
"""Residual blocks per stage, all of them gated: 8, 16 and 33."""

ADMITTED: dict[str, tuple[str, ...]] = {
    "gradnorm": ("hard", "mtan", "pad_net", "adashare"),
    "graddrop": ("hard", "pad_net"),
    "pcgrad": ("hard", "cross_stitch", "sluice", "nddr", "mtan", "pad_net", "adashare"),
}
"""Architectures that a balancer works with; one that is not listed works with all. GradNorm needs a last shared
layer, GradDrop one feature map that all heads read, PCGrad shared parameters."""

RANGES: dict[str, Callable[[float], bool]] = {
    "finite numbers": lambda value: True,
    "positive numbers": lambda value: value > 0,
    "between 0 and 1": lambda value: 0 < value < 1,
    "0 to 1": lambda value: 0 <= value <= 1,
    "0 to below 1": lambda value: 0 <= value < 1,
    "above 0 up to 1": lambda value: 0 < value <= 1,
    "0 or more": lambda value: value >= 0,
    "1 or more": lambda value: value >= 1,
    "2 or more": lambda value: value >= 2,
    "16 or more": lambda value: value >= 16,
    "multiples of 4 from 4 on": lambda value: value >= 4 and value % 4 == 0,
}
"""What a number may be, in the words of the error."""


def _require(config: object, allowed: str, *names: str) -> None:
    """Refuse a field that is not finite or not in this one of `RANGES`; one that may be None and is None stays."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (math.isfinite(value) and RANGES[allowed](value)):
            raise ValueError(f"{name} is {value}; allowed: {allowed}")


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Trunk and heads; the defaults are the published sizes."""

    arch: Literal["resnet18", "resnet34", "resnet101"] = "resnet34"
    """Of the trunk."""
    width: int = 64
    """Channels of the first stage; the others have 2, 4 and 8 times as many."""
    head_width: int = 1024
    """Channels inside the heads."""
    head_rates: tuple[int, ...] = (6, 12, 18, 24)
    """Dilation of each parallel branch of a head."""
    dropout: float = 0.5
    """Inside the heads."""
    init_std: float | None = 0.01
    """Of convolution weights; none: He initialisation, which small networks need."""

    def __post_init__(self) -> None:
        _require(self, "multiples of 4 from 4 on", "width")
        _require(self, "1 or more", "head_width")
        _require(self, "0 to below 1", "dropout")
        _require(self, "positive numbers", "init_std")
        if not self.head_rates or min(self.head_rates) < 1:
            raise ValueError(f"head_rates is {self.head_rates}; allowed: numbers from 1 on, at least one")


@dataclass(frozen=True, kw_only=True)
class SharingConfig:
    """Details of the architectures that AdaShare is compared with."""

    soft_penalty: Literal["l2", "trace"] = "l2"
    """Between the tasks' networks: squared distance of the weights, or trace norm of the stacked weights."""
    soft_weight: float = 1e-4
    """Of this penalty."""
    stitch_alpha: float = 0.9
    """Share of its own features that a task starts with (cross-stitch, sluice, NDDR)."""
    stitch_per_channel: bool = True
    """One weight for each channel instead of one for each pair of tasks."""
    sluice_subspaces: int = 2
    """Into which the channels of a task are cut."""
    sluice_orthogonality: float = 0.1
    """Weight of the penalty on what the subspaces of a layer have in common."""
    mixing_learning_rate: float = 1.0
    """Of the units between networks, as a multiple of the trunk's (100 to 1000 were published for plain SGD)."""
    nddr_weight_decay: float = 5e-4
    """Of NDDR's fusions."""
    pad_width: int = 256
    """Channels of PAD-Net's maps between initial and final predictions."""
    pad_gate: Literal["target", "source"] = "target"
    """Which task's features open the gates of PAD-Net's distillation (paper: target)."""

    def __post_init__(self) -> None:
        _require(self, "0 or more", "soft_weight", "sluice_orthogonality", "nddr_weight_decay")
        _require(self, "0 to 1", "stitch_alpha")
        _require(self, "1 or more", "sluice_subspaces", "pad_width")
        _require(self, "positive numbers", "mixing_learning_rate")


@dataclass(frozen=True, kw_only=True)
class BalanceConfig:
    """Details of the balancers."""

    uncertainty_init: float = -0.5
    """Start of log sigma^2; 0 is neutral."""
    dwa_tau: float = 2.0
    """Temperature of DWA's softmax over the tasks' loss ratios."""
    gradnorm_alpha: float = 1.5
    """How much GradNorm favours tasks that learn slowly."""
    gradnorm_learning_rate: float = 0.025
    """Of GradNorm's weights."""
    dtp_gamma: float = 1.0
    """How much dynamic task prioritisation favours tasks that do badly."""
    dtp_decay: float = 0.5
    """Share of the newest measurement in the moving average of a task's performance."""
    dtp_focal_gamma: float = 0.0
    """Focal exponent inside segmentation's cross-entropy; 0 is plain cross-entropy."""
    graddrop_leak: float | tuple[float, ...] = 0.0
    """1 keeps every gradient, 0 drops by sign; one number, or one per task."""

    def __post_init__(self) -> None:
        _require(self, "finite numbers", "uncertainty_init")
        _require(self, "positive numbers", "dwa_tau", "gradnorm_learning_rate")
        _require(self, "0 or more", "gradnorm_alpha", "dtp_gamma", "dtp_focal_gamma")
        _require(self, "above 0 up to 1", "dtp_decay")
        leaks = self.graddrop_leak if isinstance(self.graddrop_leak, tuple) else (self.graddrop_leak,)
        if not leaks or not all(0 <= leak <= 1 for leak in leaks):
            raise ValueError(f"graddrop_leak is {self.graddrop_leak}; allowed: 0 to 1, one number or one per task")


@dataclass(frozen=True, kw_only=True)
class AdaShareConfig:
    """Learning which blocks each task executes (Sun et al., NeurIPS 2020); the defaults are NYUv2's."""

    warmup_iterations: int = 4000
    """Hard sharing before the policy starts to learn."""
    policy_phases: int = 372
    """Rounds of weights first, policy second; see `presets.py` for the arithmetic of NYUv2's."""
    weight_iterations: int | None = None
    """Per round; none: one epoch of the larger part of the training images."""
    policy_iterations: int | None = None
    """Per round; none: one epoch of the smaller part."""
    weight_part: float = 0.8
    """Share of the training images that the weights see while the policy learns on the others."""
    curriculum_speed: int = 3
    """Rounds after which one more block, counted from the end, follows the policy."""
    temperature: float = 5.0
    """Of the Gumbel softmax in the first round."""
    temperature_decay: float = 0.965
    """Per round."""
    policy_learning_rate: float = 0.01
    """Of the policy's logits, under Adam."""
    policy_weight_decay: float = 5e-4
    """Of the logits of open blocks."""
    init: Literal["equal", "all_chosen", "random"] = "equal"
    """all_chosen: 0.95 for every block; equal: 0.5; random: near 0.5."""
    sparsity_weight: float = 0.001
    """Of the loss on blocks that are run."""
    sharing_weight: float = 0.05
    """Of the loss on tasks that run different blocks."""
    sparsity_form: Literal["paper", "code"] = "paper"
    """paper: mean log alpha; code: mean -log(1 - alpha)."""
    sharing_form: Literal["paper", "code"] = "paper"
    """paper: distances of probabilities, early blocks weigh most; code: of raw logits, late blocks weigh most."""
    samples: int = 8
    """Binary policies drawn after the search; each is trained from scratch, validation chooses."""

    def __post_init__(self) -> None:
        _require(self, "1 or more", "policy_phases", "weight_iterations", "policy_iterations")
        _require(self, "1 or more", "curriculum_speed", "samples")
        _require(self, "0 or more", "warmup_iterations", "policy_weight_decay", "sparsity_weight", "sharing_weight")
        _require(self, "between 0 and 1", "weight_part")
        _require(self, "positive numbers", "temperature", "policy_learning_rate")
        _require(self, "above 0 up to 1", "temperature_decay")

    def opened(self, phase: int, blocks: int) -> int:
        """Blocks, counted from the end, that follow the policy after `phase` complete rounds."""
        return min(blocks, phase // self.curriculum_speed + 1)


@dataclass(frozen=True, kw_only=True)
class MultitaskConfig:
    """Which architectures and balancers are trained on which tasks, and how."""

    layout: Layout = "rooms"
    """How the data lie on disk."""
    list_file: str | None = None
    """Name of the list file (.json) that splits NYUv2 or Tiny-Taskonomy, where the folder has several."""
    cityscapes_classes: Literal[2, 7, 19] = 19
    """Which of CityScapes' label maps."""
    tasks: tuple[TaskName, ...] = ("segmentation", "normals", "depth")
    loss_weights: tuple[float, ...] = (1.0, 20.0, 3.0)
    """One per task (lambda)."""
    architectures: tuple[Architecture, ...] = ("hard", "adashare")
    """Rows of the table; single-task networks, the reference, are always trained."""
    balancers: tuple[Balancer, ...] = ("fixed",)
    """Every architecture is trained with each of these that works with it."""
    network: NetworkConfig = field(default_factory=NetworkConfig)
    sharing: SharingConfig = field(default_factory=SharingConfig)
    balance: BalanceConfig = field(default_factory=BalanceConfig)
    adashare: AdaShareConfig = field(default_factory=AdaShareConfig)

    crop: int = 321
    """Side of the training view in pixels; whole images are tested."""
    scale: tuple[float, float] = (0.5, 1.5)
    """Range of the random factor by which training images are resized."""
    flip: bool = True
    batch_size: int = 16
    iterations: int = 20000
    """Of every network, and of each retrained policy."""
    head_learning_rate: float = 1e-3
    trunk_learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    learning_rate_step: int = 4000
    """Iterations after which both learning rates fall by `learning_rate_factor`."""
    learning_rate_factor: float = 0.5
    precision: Literal["fp32", "bf16"] = "fp32"
    validation: float = 0.1
    """Share of the training images held out where the data bring no validation part."""
    normals_space: Literal["decoded", "uint8"] = "decoded"
    """uint8: compare undecoded bytes, as the published NYUv2 tables do."""
    miou_drop_zero_tp: bool = False
    """Leave classes without a true positive out of mIoU, as AdaShare's code does."""
    metrics: Literal["standard", "taskonomy"] = "standard"
    """taskonomy: losses instead of accuracies (cross-entropy, cosine, L1)."""
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        if self.list_file is not None and self.layout not in ("nyuv2", "taskonomy"):
            raise ValueError(
                f"list_file is {self.list_file}; allowed: none, the layout {self.layout} has no list files"
            )
        if not self.tasks or len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"tasks is {self.tasks}; allowed: at least one, each once")
        if len(self.loss_weights) != len(self.tasks) or not all(0 < weight < math.inf for weight in self.loss_weights):
            raise ValueError(f"loss_weights is {self.loss_weights}; allowed: {len(self.tasks)} positive numbers")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds is {self.seeds}; allowed: at least one, each once, 0 and up")
        _require(self, "2 or more", "batch_size")
        _require(self, "1 or more", "iterations", "learning_rate_step")
        _require(self, "16 or more", "crop")
        _require(self, "positive numbers", "head_learning_rate", "trunk_learning_rate")
        _require(self, "above 0 up to 1", "learning_rate_factor")
        _require(self, "0 or more", "weight_decay")
        _require(self, "between 0 and 1", "validation")
        if not 0 < self.scale[0] <= self.scale[1] < math.inf:
            raise ValueError(f"scale is {self.scale}; allowed: two positive factors, the smaller first")
        if not self.balancers or not self.runs:
            raise ValueError(f"no architecture of {self.architectures} works with a balancer of {self.balancers}")
        for balancer in self.balancers:
            if not any(name in ADMITTED.get(balancer, (name,)) for name in self.architectures):
                raise ValueError(
                    f"balancer {balancer} works with none of {', '.join(self.architectures)}; "
                    f"allowed: {', '.join(ADMITTED[balancer])}"
                )
        leak = self.balance.graddrop_leak
        if isinstance(leak, tuple) and len(leak) != len(self.tasks):
            raise ValueError(f"balance.graddrop_leak is {leak}; allowed: one number or {len(self.tasks)}, one per task")
        subspaces, width = self.sharing.sluice_subspaces, self.network.width
        if "sluice" in self.architectures and width % subspaces:
            raise ValueError(f"sharing.sluice_subspaces is {subspaces}; allowed: divisors of network.width, {width}")
        blocks = sum(DEPTHS[self.network.arch])
        search = self.adashare
        if "adashare" in self.architectures and search.opened(search.policy_phases - 1, blocks) < blocks:
            raise ValueError(
                f"adashare.policy_phases is {search.policy_phases}; allowed: more than "
                f"{search.curriculum_speed * (blocks - 1)}, so that all {blocks} blocks come to follow the policy"
            )

    @property
    def runs(self) -> tuple[tuple[Architecture, Balancer], ...]:
        """Rows of the table: single-task networks first, then every admitted pair."""
        pairs = [
            (architecture, balancer)
            for architecture in dict.fromkeys(self.architectures)
            for balancer in dict.fromkeys(self.balancers)
            if architecture != "single_task" and architecture in ADMITTED.get(balancer, (architecture,))
        ]
        return (("single_task", "fixed"), *pairs)
