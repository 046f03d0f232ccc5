"""Configurations of the pathway methods, one frozen dataclass per method, and their names on the command line.

No torch here: the command line shows these without waiting for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


def _refuse_below(config: object, least: float, *names: str) -> None:
    """Raises ValueError for the first of these fields that is smaller than `least`, or no number."""
    for name in names:
        value = getattr(config, name)
        if not value >= least:
            raise ValueError(f"{name} is {value}; allowed: at least {least}")


def _refuse_shrink(factor: int, size: int) -> None:
    """Raises ValueError for an average pooling of the policy's images that leaves no pixel."""
    if not 1 <= factor <= size:
        raise ValueError(f"policy_shrink is {factor}; allowed: 1 to size ({size})")


@dataclass(frozen=True, kw_only=True)
class PathwayConfig:
    """What every trained method has in common: SGD with momentum and a multi-step schedule on cross-entropy."""

    size: int = 224
    """Side of the training view in pixels; evaluation uses the central square of this side."""
    resize: int | None = None
    """Short side after resizing; none: size * 8/7."""
    evaluate_whole: bool = False
    """Evaluate on the whole square of side `resize` instead of its centre."""
    uncut: bool = False
    """Only resize pictures, in training and evaluation: short side to `resize`, no crop; all need one shape."""
    crop_from: Literal["square", "picture"] = "square"
    """Where random crops lie: in the central square of side `resize`, or anywhere in the resized picture."""
    channel_mean: tuple[float, float, float] | None = None
    """Per channel, of pixels in 0 to 1; none: what the backbone was trained with."""
    channel_std: tuple[float, float, float] | None = None
    epochs: int = 40
    batch_size: int = 32
    learning_rates: tuple[float, ...] = (0.01, 0.003)
    """Candidates; the one with the best validation accuracy trains the final networks."""
    momentum: float = 0.9
    weight_decay: float = 5e-4
    milestones: tuple[float, ...] = (0.5, 0.75)
    """Shares of the epochs after which the learning rate falls to a tenth."""
    augment: Literal["none", "crop", "crop_flip"] = "crop"
    """Training view: the centre crop, a random crop, or a random crop with a horizontal flip."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """bf16: autocast of the forward pass, weights stay fp32."""
    freeze_bn: bool = False
    """Keep every batch norm of the pre-trained network as it came: statistics, scale and shift."""
    freeze_stem: bool = False
    """Keep the layers before the first block as they came."""
    split: Literal["published", "grouped"] = "published"
    """`grouped` keeps patients, lesions and leaves on one side, where the task knows them."""
    split_seed: int = 0
    """Of the split (where a task brings none) and of the validation part."""
    validation: float = 0.3
    """Share of the training images held out for choosing hyper-parameters, where the task brings no val part."""
    train_splits: Literal["train+val", "train"] = "train+val"
    """What the final networks train on: all training images, or without those that hyper-parameters were chosen on."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """One final network per seed (head, policy network, order and views of the images)."""

    def __post_init__(self) -> None:
        _refuse_below(self, 8, "size")
        _refuse_below(self, 0, "momentum", "weight_decay")
        if self.momentum >= 1:
            raise ValueError(f"momentum is {self.momentum}; allowed: below 1")
        if self.precision == "bf16" and self.size <= 16:
            raise ValueError(
                f"size is {self.size}; allowed with bf16: above 16 (maps of one pixel have wrong gradients)"
            )
        if self.resize is not None and self.resize < self.size:
            raise ValueError(f"resize is {self.resize}; allowed: at least size ({self.size})")
        if self.uncut and self.augment != "none":
            raise ValueError(f"augment is {self.augment}; allowed with uncut pictures: none")
        if (self.channel_mean is None) != (self.channel_std is None):
            raise ValueError("channel_mean and channel_std: give both or none")
        if self.epochs < 1 or self.batch_size < 2:
            raise ValueError(f"epochs is {self.epochs}, batch_size {self.batch_size}; allowed: >= 1 and >= 2")
        if not self.learning_rates or min(self.learning_rates) <= 0:
            raise ValueError(f"learning_rates is {self.learning_rates}; allowed: at least one, all positive")
        if not 0 < self.validation < 1:
            raise ValueError(f"validation is {self.validation}; allowed: between 0 and 1")
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds is {self.seeds}; allowed: at least one, each once")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds is {self.seeds}; allowed: none negative")
        if any(not 0 < share < 1 for share in self.milestones):
            raise ValueError(f"milestones is {self.milestones}; allowed: shares between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class FeatureExtractorConfig(PathwayConfig):
    """The pre-trained network stays as it is; only a linear classifier is fitted."""

    l2_penalties: tuple[float, ...] = (1e4, 1e3, 1e2, 1e1, 1.0, 1e-1, 1e-2)
    """Candidates of lambda in sum of CE + lambda/2 |W|^2 on standardised features; the validation part chooses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.l2_penalties or min(self.l2_penalties) <= 0:
            raise ValueError(f"l2_penalties is {self.l2_penalties}; allowed: at least one, all positive")


@dataclass(frozen=True, kw_only=True)
class StandardConfig(PathwayConfig):
    """Standard fine-tuning of the whole network, or of its last blocks only."""

    last_blocks: int | None = None
    """Train only the last k residual blocks and the classifier; None trains everything."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.last_blocks is not None:
            _refuse_below(self, 1, "last_blocks")


@dataclass(frozen=True, kw_only=True)
class Last1Config(StandardConfig):
    """Fine-tuning of the last residual block and the classifier."""

    last_blocks: int | None = 1


@dataclass(frozen=True, kw_only=True)
class Last2Config(StandardConfig):
    """Fine-tuning of the last two residual blocks and the classifier."""

    last_blocks: int | None = 2


@dataclass(frozen=True, kw_only=True)
class Last3Config(StandardConfig):
    """Fine-tuning of the last three residual blocks and the classifier."""

    last_blocks: int | None = 3


@dataclass(frozen=True, kw_only=True)
class L2SPConfig(StandardConfig):
    """Fine-tuning with a pull of every pre-trained weight towards where it started."""

    l2_sp_weights: tuple[float, ...] = (0.1, 0.01, 0.001)
    """Candidates of the weight of the pull, each with every learning rate; the validation part chooses."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.l2_sp_weights or min(self.l2_sp_weights) <= 0:
            raise ValueError(f"l2_sp_weights is {self.l2_sp_weights}; allowed: at least one, all positive")


@dataclass(frozen=True, kw_only=True)
class StochasticConfig(PathwayConfig):
    """A random half of the blocks is fine-tuned, the others stay frozen; drawn once per seed."""

    tuned_share: float = 0.5
    """Rounded to whole blocks; a share that rounds to none is refused."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.tuned_share <= 1:
            raise ValueError(f"tuned_share is {self.tuned_share}; allowed: above 0, at most 1")


@dataclass(frozen=True, kw_only=True)
class SpotTuneOptions:
    """What SpotTune adds to the settings of every method."""

    policy_learning_rate: float = 0.1
    """Of the policy network, as a multiple of the main learning rate (published: 0.1 on Decathlon, else 0.01); fixed,
    not chosen on the validation part."""
    policy_weight_decay: float = 1e-3
    """Of the policy network."""
    policy_shrink: int | None = None
    """The policy network sees the image average-pooled by this factor; default 2, with the preset decathlon 1."""
    policy_pretrained: bool | None = None
    """Start the policy network from the first block of each stage of the backbone, else from random weights; default
    True, with the preset decathlon False."""
    policy_initial_tuned: float | None = None
    """Chance that a block is tuned before the policy network has learnt anything; default 0.9, with the preset
    decathlon the published 0.5."""
    tau: float = 5.0
    """Gumbel temperature, constant."""
    sample_at_eval: bool = False
    """Draw the decisions in evaluation too, as the original does; else the likelier way is taken."""
    global_k: int | None = None
    """Share one set of k fine-tuned blocks among all images (Global-k); none leaves the choice to every image."""
    global_k_weight: float = 1.0
    """lambda 1, of (sum over blocks of the share of tuned images - k) squared; fixed (its value was not published)."""
    global_k_entropy: float = 0.1
    """lambda 2, of -sum m log m, which drives each block's share to 0 or 1; fixed (its value was not published)."""
    lr_bug_compat: bool = False
    """The original's schedule: a tenth from the first milestone on, the later ones never take effect."""


@dataclass(frozen=True, kw_only=True)
class SpotTuneConfig(PathwayConfig, SpotTuneOptions):
    """Per image and block a choice between the frozen and the fine-tuned copy (Guo et al., CVPR 2019)."""

    policy_shrink: int = 2
    policy_pretrained: bool = True
    policy_initial_tuned: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tau > 0:
            raise ValueError(f"tau is {self.tau}; allowed: above 0")
        if not 0 < self.policy_initial_tuned < 1:
            raise ValueError(f"policy_initial_tuned is {self.policy_initial_tuned}; allowed: between 0 and 1")
        _refuse_shrink(self.policy_shrink, self.size)
        _refuse_below(self, 0, "policy_learning_rate", "policy_weight_decay", "global_k_weight", "global_k_entropy")
        if self.global_k is not None:
            _refuse_below(self, 0, "global_k")


@dataclass(frozen=True, kw_only=True)
class GlobalKConfig(SpotTuneConfig):
    """SpotTune with one shared set of three fine-tuned blocks (Global-k)."""

    global_k: int | None = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.global_k is None:
            raise ValueError("global_k is None; allowed: a number of blocks, 0 or more (without sharing: spottune)")


@dataclass(frozen=True, kw_only=True)
class RandomPolicyConfig(SpotTuneConfig):
    """SpotTune's two copies of each block, with a coin toss per image and block instead of a policy network."""


@dataclass(frozen=True, kw_only=True)
class BlockDropOptions:
    """What BlockDrop adds to the settings of every method.

    Published epochs and batches of the two stages: CIFAR 5,000 of 2,048 and 2,000 of 256, ImageNet 45 of 2,048 and 10
    of 320. Here their length is counted in updates, rounded up to whole passes over the training images.
    """

    curriculum_updates: int = 1500
    """Policy alone, network frozen; the blocks are opened to it from the end. At least two passes are made, whatever
    this says, and one more than `opening_epochs`."""
    opening_epochs: int | None = None
    """Passes of the curriculum until all K blocks are opened; none: its first third (published: K - 1, a block each)"""
    policy_batch_size: int = 128
    """Images per update of the curriculum, at most all training images; the joint stage takes the batch size of
    fine-tuning."""
    curriculum_learning_rate: float = 1e-3
    """Adam's, of the policy alone."""
    curriculum_penalty: float = 1.0
    """gamma, the punishment of a wrong answer, in the curriculum (published: 1)."""
    joint_updates: int = 600
    """Policy and network together, a tenth of the learning rate after four fifths; 0 leaves this stage out."""
    joint_learning_rate: float = 1e-4
    """Adam's, of policy and network."""
    penalties: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0)
    """Candidates of gamma in the joint stage (published: 5 and 10); all start from the same curriculum."""
    tolerance: float = 1.0
    """Points of the full network's validation accuracy that may be lost for fewer FLOPs when a penalty is chosen."""
    explore: float = 0.8
    """a of q = a s + (1 - a)(1 - s): the keep probability stays within 1 - a and a while training."""
    entropy_weight: float = 0.1
    """beta of the entropy bonus in the curriculum; the joint stage has none."""
    entropy: Literal["bernoulli", "one_sided"] = "bernoulli"
    """`one_sided` is the original's -q log q over all blocks; `bernoulli` has both terms and obeys the curriculum."""
    policy_shrink: int = 2
    """The policy network sees the image average-pooled by this factor (published for ImageNet: 2; CIFAR: 1)."""
    policy_backbone: str | None = None
    """What the policy network is cut from: FILE, random:ARCH or torchvision:ARCH (published for ImageNet's ResNet-101:
    a ResNet-18); none: the backbone itself."""
    policy_pretrained: bool = True
    """Start the policy network from the first block of each stage of that backbone (else random weights)."""


@dataclass(frozen=True, kw_only=True)
class BlockDropConfig(PathwayConfig, BlockDropOptions):
    """A fine-tuned network, then a policy that drops its blocks per image (Wu, Nagarajan et al., CVPR 2018)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.5 < self.explore <= 1:
            raise ValueError(f"explore is {self.explore}; allowed: above 0.5, at most 1")
        if not self.penalties or min(self.penalties) < 0:
            raise ValueError(f"penalties is {self.penalties}; allowed: at least one, none negative")
        _refuse_below(self, 0, "curriculum_penalty", "curriculum_learning_rate", "joint_learning_rate", "joint_updates")
        _refuse_below(self, 0, "entropy_weight", "tolerance")
        _refuse_below(self, 1, "curriculum_updates")
        _refuse_below(self, 2, "policy_batch_size")
        _refuse_shrink(self.policy_shrink, self.size)
        if self.opening_epochs is not None:
            _refuse_below(self, 1, "opening_epochs")


@dataclass(frozen=True, kw_only=True)
class LesionOptions:
    """What the lesion study adds to the settings of every method."""

    arch: Literal["cifar_resnet20", "cifar_resnet32", "cifar_resnet110"] = "cifar_resnet32"
    """Trained from random weights on the task, once with and once without shortcuts."""
    draws: int = 20
    """Random sets of blocks and random shuffles per number of blocks."""


@dataclass(frozen=True, kw_only=True)
class LesionConfig(PathwayConfig, LesionOptions):
    """Blocks deleted and shuffled at test time, a ResNet against a plain net of the same layers (Veit et al., 2016)."""

    size: int = 32
    epochs: int = 100
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (0.1, 0.03)

    def __post_init__(self) -> None:
        super().__post_init__()
        _refuse_below(self, 1, "draws")


METHODS: dict[str, type[PathwayConfig]] = {
    "feature_extractor": FeatureExtractorConfig,
    "standard": StandardConfig,
    "last1": Last1Config,
    "last2": Last2Config,
    "last3": Last3Config,
    "l2sp": L2SPConfig,
    "stochastic": StochasticConfig,
    "random_policy": RandomPolicyConfig,
    "spottune": SpotTuneConfig,
    "spottune_global": GlobalKConfig,
    "blockdrop": BlockDropConfig,
    "lesion": LesionConfig,
}


def method_name(config: PathwayConfig) -> str:
    """The name of the config's method on the command line."""
    for name, kind in METHODS.items():
        if type(config) is kind:
            return name
    raise ValueError(f"{type(config).__name__} belongs to no method; allowed: {', '.join(METHODS)}")
