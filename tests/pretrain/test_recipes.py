"""Settings: which are refused, what the presets promise, and a step of the large ones."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pretrain import recipes
from pretrain.loader import Batch
from pretrain.ranks import Ranks
from pretrain.recipes import RECIPES
from pretrain.step import Trainer
from pretrain.train import PretrainConfig

TINY = PretrainConfig(epochs=3, warmup_epochs=1, mixup=0.0, cutmix=0.0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"epochs": 0}, "epochs is 0"),
        ({"drop_path": 1.5}, r"drop_path is 1\.5"),
        ({"mixup": -1.0}, "mixup is -1"),
        ({"crop_scale": (0.5, 0.2)}, "crop_scale is"),
        ({"crop_scale": (math.nan, 1.0)}, "crop_scale is"),
        ({"warmup_epochs": 3.0}, "warmup_epochs is 3"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"mixup": 0.8, "batch_size": 7}, "must be even"),
        ({"seed": -1}, "seed is -1; allowed: 0 and more"),
        ({"min_learning_rate": -1e-5}, "min_learning_rate is -1e-05; allowed: 0 and more, finite"),
        ({"warmup_learning_rate": -1.0}, r"warmup_learning_rate is -1\.0; allowed: 0 and more, finite"),
        ({"weight_decay": math.inf}, "weight_decay is inf; allowed: 0 and more, finite"),
        *[
            ({name: math.nan}, f"^{name} is nan; allowed: ")
            for name in ("learning_rate", "min_learning_rate", "warmup_learning_rate", "warmup_epochs", "weight_decay")
        ],
        *[
            ({name: math.nan}, f"^{name} is nan; allowed: ")
            for name in ("clip_norm", "label_smoothing", "mixup", "cutmix", "drop_path", "ema_decay", "grayscale")
        ],
        ({"optimizer": "adam"}, "optimizer is adam; allowed: adamw, sgd"),
        ({"interpolation": "nearest"}, "interpolation is nearest; allowed: bilinear, bicubic"),
        ({"decoder": "PIL"}, "decoder is PIL; allowed: torchvision, pillow"),
        ({"precision": "fp16"}, "precision is fp16; allowed: bf16, fp32"),
        *[
            ({"rand_augment": policy}, f"^rand_augment is {policy}; allowed: nothing, or a policy of timm such as")
            for policy in ("m9", "augmix-m3", "rand-", "rand-m", "rand-x3", "rand-m9-tother", "rand-p.5", "rand-m9 ")
        ],
    ],
)
def test_impossible_settings_name_field_and_value(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    "policy", ["rand", "rand-m9-mstd0.5-inc1", "rand-m7-n1-mstd101-inc0", "rand-p0.5-mmax12-tweights", "rand-p1-t3a"]
)
def test_a_policy_that_is_allowed_is_one_of_timms(policy: str) -> None:
    from timm.data.auto_augment import RandAugment, rand_augment_transform

    assert isinstance(rand_augment_transform(dataclasses.replace(TINY, rand_augment=policy).rand_augment), RandAugment)


def test_settings_are_shown_without_importing_torch() -> None:
    code = "import sys, pretrain.recipes, pretrain.train; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2]).returncode == 0
    assert len(RECIPES) >= 3


def test_each_recipe_says_its_command_cost_and_number() -> None:
    assert recipes.__doc__ is not None
    rows = [line.strip("| ").split(" | ") for line in recipes.__doc__.splitlines() if line.startswith("|")][2:]
    assert [row[0] for row in rows] == list(RECIPES) and len(RECIPES) == 4
    for name, command, cost, number in rows:
        assert f"simpath pretrain --recipe {name}" in command
        assert re.search(r"\d+ minutes|as paper", cost)
        assert re.search(r"\d+\.\d %|not measured", number)
        assert RECIPES[name].arch in ("resnet18", "resnet50")
        # one process decodes a tenth of what a GPU takes
        assert ("--device cuda" in command) == ("--workers 16" in command)


@pytest.mark.parametrize("name", ["paper", "paper-sgd"])
def test_the_papers_recipes_take_a_step_of_resnet50(name: str) -> None:
    """As they stand but for size, batch and precision."""
    from torchvision.models.resnet import Bottleneck

    config = dataclasses.replace(RECIPES[name], size=32, batch_size=4, micro_batch=4, precision="fp32")
    trainer = Trainer(config, 5, 4, "cpu", Ranks())
    trainer.step = trainer.total // 2  # after the warm-up
    blocks = [module for module in trainer.model.modules() if isinstance(module, Bottleneck)]
    assert len(blocks) == 16
    assert not any(block.bn3.weight.any() for block in blocks)  # branches begin at zero
    rates = [hook.rate for block in blocks for hook in block.bn3._forward_hooks.values()]  # type: ignore[attr-defined]
    assert rates == pytest.approx(np.linspace(0, 0.1, 16) if name == "paper" else [])
    before = {key: weight.detach().clone() for key, weight in trainer.model.named_parameters()}
    assert len(before) == 161
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))
    result = trainer.train_step(Batch(50, 50, images, torch.arange(4), np.arange(4)))
    assert result.finite
    assert result.learning_rate > config.learning_rate / 2
    moved = {key for key, weight in trainer.model.named_parameters() if not torch.equal(weight, before[key])}
    wanted = {key for key, weight in before.items() if weight.ndim > 1 or key.endswith("bn3.weight")}
    assert len(wanted) == 54 + 16
    assert wanted <= moved
