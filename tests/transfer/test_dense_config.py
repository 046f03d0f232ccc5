"""Settings of dense multi-task learning that cannot work are refused with the field, its value and what is allowed."""

from __future__ import annotations

import math
from typing import Any

import pytest

from transfer.dense.config import AdaShareConfig, BalanceConfig, MultitaskConfig, NetworkConfig, SharingConfig


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (NetworkConfig, {"width": 6}, "width is 6; allowed: multiples of 4 from 4 on"),
        (NetworkConfig, {"head_width": 0}, "head_width is 0; allowed: 1 or more"),
        (NetworkConfig, {"head_rates": ()}, "head_rates is (); allowed: numbers from 1 on, at least one"),
        (NetworkConfig, {"dropout": 1.0}, "dropout is 1.0; allowed: 0 to below 1"),
        (NetworkConfig, {"init_std": 0.0}, "init_std is 0.0; allowed: positive numbers"),
        (SharingConfig, {"soft_weight": -1.0}, "soft_weight is -1.0; allowed: 0 or more"),
        (SharingConfig, {"stitch_alpha": 1.5}, "stitch_alpha is 1.5; allowed: 0 to 1"),
        (SharingConfig, {"sluice_subspaces": 0}, "sluice_subspaces is 0; allowed: 1 or more"),
        (SharingConfig, {"sluice_orthogonality": math.inf}, "sluice_orthogonality is inf; allowed: 0 or more"),
        (SharingConfig, {"mixing_learning_rate": 0.0}, "mixing_learning_rate is 0.0; allowed: positive numbers"),
        (SharingConfig, {"nddr_weight_decay": -0.1}, "nddr_weight_decay is -0.1; allowed: 0 or more"),
        (SharingConfig, {"pad_width": 0}, "pad_width is 0; allowed: 1 or more"),
        (BalanceConfig, {"uncertainty_init": math.nan}, "uncertainty_init is nan; allowed: finite numbers"),
        (BalanceConfig, {"dwa_tau": 0.0}, "dwa_tau is 0.0; allowed: positive numbers"),
        (BalanceConfig, {"gradnorm_alpha": -1.0}, "gradnorm_alpha is -1.0; allowed: 0 or more"),
        (BalanceConfig, {"gradnorm_learning_rate": -1}, "gradnorm_learning_rate is -1; allowed: positive numbers"),
        (BalanceConfig, {"dtp_gamma": -1.0}, "dtp_gamma is -1.0; allowed: 0 or more"),
        (BalanceConfig, {"dtp_decay": 2}, "dtp_decay is 2; allowed: above 0 up to 1"),
        (BalanceConfig, {"dtp_focal_gamma": -2.0}, "dtp_focal_gamma is -2.0; allowed: 0 or more"),
        (AdaShareConfig, {"warmup_iterations": -1}, "warmup_iterations is -1; allowed: 0 or more"),
        (AdaShareConfig, {"policy_phases": 0}, "policy_phases is 0; allowed: 1 or more"),
        (AdaShareConfig, {"weight_iterations": 0}, "weight_iterations is 0; allowed: 1 or more"),
        (AdaShareConfig, {"policy_iterations": 0}, "policy_iterations is 0; allowed: 1 or more"),
        (AdaShareConfig, {"curriculum_speed": 0}, "curriculum_speed is 0; allowed: 1 or more"),
        (AdaShareConfig, {"samples": 0}, "samples is 0; allowed: 1 or more"),
        (AdaShareConfig, {"weight_part": 1.0}, "weight_part is 1.0; allowed: between 0 and 1"),
        (AdaShareConfig, {"temperature": math.nan}, "temperature is nan; allowed: positive numbers"),
        (AdaShareConfig, {"temperature_decay": 0.0}, "temperature_decay is 0.0; allowed: above 0 up to 1"),
        (AdaShareConfig, {"policy_learning_rate": 0.0}, "policy_learning_rate is 0.0; allowed: positive numbers"),
        (AdaShareConfig, {"policy_weight_decay": -1.0}, "policy_weight_decay is -1.0; allowed: 0 or more"),
        (AdaShareConfig, {"sparsity_weight": -1.0}, "sparsity_weight is -1.0; allowed: 0 or more"),
        (AdaShareConfig, {"sharing_weight": math.nan}, "sharing_weight is nan; allowed: 0 or more"),
        (MultitaskConfig, {"batch_size": 1}, "batch_size is 1; allowed: 2 or more"),
        (MultitaskConfig, {"iterations": 0}, "iterations is 0; allowed: 1 or more"),
        (MultitaskConfig, {"crop": 15}, "crop is 15; allowed: 16 or more"),
        (MultitaskConfig, {"learning_rate_step": 0}, "learning_rate_step is 0; allowed: 1 or more"),
        (MultitaskConfig, {"learning_rate_factor": 0.0}, "learning_rate_factor is 0.0; allowed: above 0 up to 1"),
        (MultitaskConfig, {"head_learning_rate": 0.0}, "head_learning_rate is 0.0; allowed: positive numbers"),
        (MultitaskConfig, {"trunk_learning_rate": -1}, "trunk_learning_rate is -1; allowed: positive numbers"),
        (MultitaskConfig, {"weight_decay": -1}, "weight_decay is -1; allowed: 0 or more"),
        (MultitaskConfig, {"validation": 1.0}, "validation is 1.0; allowed: between 0 and 1"),
        (MultitaskConfig, {"scale": (1.0, math.inf)}, "scale is (1.0, inf); allowed: two positive factors, the"),
        (MultitaskConfig, {"seeds": (-1,)}, "seeds is (-1,); allowed: at least one, each once, 0 and up"),
        (
            MultitaskConfig,
            {"loss_weights": (math.nan, 1.0, 1.0)},
            "loss_weights is (nan, 1.0, 1.0); allowed: 3 positive numbers",
        ),
        (
            MultitaskConfig,
            {"architectures": ("sluice",), "sharing": SharingConfig(sluice_subspaces=3)},
            "sharing.sluice_subspaces is 3; allowed: divisors of network.width, 64",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_refused_by_name(config: type, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        config(**changes)
    assert str(caught.value).startswith(message)


def test_settings_at_their_limits_are_allowed() -> None:
    NetworkConfig(width=4, head_width=1, head_rates=(1,), dropout=0.0, init_std=None)
    SharingConfig(soft_weight=0, stitch_alpha=1, sluice_subspaces=1, sluice_orthogonality=0, nddr_weight_decay=0)
    BalanceConfig(uncertainty_init=-3, gradnorm_alpha=0, dtp_gamma=0, dtp_decay=1, graddrop_leak=(0, 1))
    AdaShareConfig(warmup_iterations=0, weight_iterations=1, policy_weight_decay=0, sparsity_weight=0, samples=1)
    MultitaskConfig(batch_size=2, iterations=1, crop=16, learning_rate_step=1, learning_rate_factor=1, weight_decay=0)
