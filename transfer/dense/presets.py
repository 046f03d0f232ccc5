"""Ready configurations: AdaShare's published runs, and rendered rooms at a size for two CPU cores. No torch here."""

from __future__ import annotations

from dataclasses import replace

from transfer.dense.config import AdaShareConfig, Architecture, MultitaskConfig, NetworkConfig, SharingConfig


def _presets() -> dict[str, MultitaskConfig]:
    """Hyper-parameters of AdaShare's released configurations (`adashare.md` 3) with all baselines.

    Warm-up and rounds together last the published total. NYUv2 and CityScapes: 20,000 - 4,000 = 16,000 iterations, a
    round is one epoch of either part in batches of 16, and a tenth of the images is held out for validation:

        NYUv2       795 - 80 = 715 = 572 + 143,       35 + 8 = 43 iterations a round,    16,000 / 43 = 372 rounds
        CityScapes  2975 - 298 = 2677 = 2142 + 535,   133 + 33 = 166 iterations a round, 16,000 / 166 = 96 rounds

    Taskonomy: 100,000 - 20,000 = 80,000 iterations in rounds of 400 + 100 are 160 rounds.
    """
    baselines: tuple[Architecture, ...] = ("hard", "cross_stitch", "sluice", "nddr", "mtan", "adashare")
    nyu = MultitaskConfig(layout="nyuv2", architectures=baselines)
    return {
        "nyuv2_2": replace(
            nyu,
            tasks=("segmentation", "normals"),
            loss_weights=(1.0, 20.0),
            network=NetworkConfig(arch="resnet18"),
            adashare=AdaShareConfig(sparsity_weight=0.05, sharing_weight=0.05),
        ),
        "nyuv2_3": nyu,
        "cityscapes": replace(
            nyu,
            layout="cityscapes",
            tasks=("segmentation", "depth"),
            loss_weights=(1.0, 20.0),
            crop=224,
            head_learning_rate=1e-4,
            adashare=AdaShareConfig(policy_phases=96, sparsity_weight=0.01, sharing_weight=0.1),
        ),
        "taskonomy": replace(
            nyu,
            layout="taskonomy",
            tasks=("segmentation", "normals", "depth", "keypoints", "edges"),
            loss_weights=(1.0, 3.0, 2.0, 7.0, 7.0),
            crop=224,
            scale=(1.0, 1.0),
            iterations=30000,
            head_learning_rate=1e-4,
            trunk_learning_rate=1e-4,
            learning_rate_step=12000,
            learning_rate_factor=0.3,
            metrics="taskonomy",
            adashare=AdaShareConfig(
                warmup_iterations=20000,
                policy_phases=160,
                weight_iterations=400,
                policy_iterations=100,
                curriculum_speed=1,
                sparsity_weight=0.001,
                sharing_weight=0.005,
            ),
        ),
        "rooms_small": rooms_small(),
    }


def rooms_small() -> MultitaskConfig:
    """Three tasks on rendered rooms of 96 pixels, every architecture, three seeds, in about an hour on two CPU cores.

    With few policy steps, undecided blocks (0.5) would still be skipped at random at the end: here they start as chosen
    (0.95), no weight decay pulls them back to undecided, and they learn five times as fast.

    The whole experiment, where R is `simpath render --layout room --passes class,normals,depth,keypoints,edges
    --size 96 --samples 4 --catalog.num-classes 12`; no model is in two parts:

        R --out rooms/train --num-images 1200 --models train
        R --out rooms/val --num-images 200 --models train --catalog.seed 8 --seed 1
        R --out rooms/test --num-images 400 --models heldout --seed 2
        simpath multitask --preset rooms_small --data rooms --out multitask --jobs 2
    """
    return MultitaskConfig(
        layout="rooms",
        architectures=("hard", "soft", "cross_stitch", "sluice", "nddr", "mtan", "pad_net", "adashare"),
        network=NetworkConfig(
            arch="resnet18", width=16, head_width=32, head_rates=(1, 2, 3, 4), dropout=0.1, init_std=None
        ),
        sharing=SharingConfig(pad_width=32),
        adashare=AdaShareConfig(
            warmup_iterations=100,
            policy_phases=16,
            weight_iterations=20,
            policy_iterations=10,
            curriculum_speed=2,
            policy_learning_rate=0.05,
            policy_weight_decay=0.0,
            init="all_chosen",
            samples=2,
        ),
        crop=64,
        scale=(0.8, 1.25),
        batch_size=16,
        iterations=320,
        learning_rate_step=110,
        seeds=(0, 1, 2),
    )


PRESETS = _presets()
