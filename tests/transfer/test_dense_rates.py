"""Learning rate and weight decay of every group of weights, step by step."""

from __future__ import annotations

import pytest
import torch

from transfer.dense.config import MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.gradients import build_balancer
from transfer.dense.losses import dense_tasks
from transfer.dense.sharing import build_network
from transfer.dense.training import schedule, weight_groups

CONFIG = MultitaskConfig(
    tasks=("segmentation", "depth"),
    loss_weights=(1.0, 2.0),
    network=NetworkConfig(arch="resnet18", width=4, head_width=4, head_rates=(1,)),
    sharing=SharingConfig(mixing_learning_rate=100.0),
    head_learning_rate=3e-3,
    trunk_learning_rate=2e-3,
)
TASKS = dense_tasks(CONFIG, classes=3)

HEADS, TRUNK = (3e-3, 1e-4), (2e-3, 1e-4)


@pytest.mark.parametrize(
    ("architecture", "balancer", "expected", "left_out"),  # rate at the start and decay, by where a weight belongs
    [
        ("hard", "fixed", {"heads": HEADS, "trunk": TRUNK}, set()),
        ("hard", "uncertainty", {"heads": HEADS, "trunk": TRUNK, "log_variance": (2e-3, 0)}, set()),
        ("hard", "gradnorm", {"heads": HEADS, "trunk": TRUNK}, {"values"}),  # it steps its weights itself
        ("adashare", "fixed", {"heads": HEADS, "trunk": TRUNK}, {"logits"}),
        ("cross_stitch", "fixed", {"heads": HEADS, "trunks": TRUNK, "stitches": (0.2, 0)}, set()),
        (
            "sluice",
            "fixed",
            {"heads": HEADS, "projections": HEADS, "trunks": TRUNK, "stitches": (0.2, 0), "beta": (0.2, 0)},
            set(),
        ),
        ("nddr", "fixed", {"heads": HEADS, "trunks": TRUNK, "fusions": (0.2, 5e-4)}, set()),
    ],
)
def test_every_weight_trains_at_its_rate_which_halves_every_4000_steps(
    architecture: str, balancer: str, expected: dict[str, tuple[float, float]], left_out: set[str]
) -> None:
    network = build_network(architecture, TASKS, CONFIG.network, CONFIG.sharing, seed=0)
    rule = build_balancer(balancer, TASKS, CONFIG.balance, architecture=architecture)
    optimizer = torch.optim.Adam(weight_groups(network, rule, CONFIG), weight_decay=CONFIG.weight_decay)
    weights = dict([*network.named_parameters(), *rule.named_parameters()])
    owners = {id(weight): name.split(".")[0] for name, weight in weights.items()}
    for step, factor in ((0, 1), (3999, 1), (4000, 0.5), (7999, 0.5), (8000, 0.25)):
        schedule(optimizer, step, CONFIG)
        found = [
            (owners[id(weight)], (group["lr"], group["weight_decay"]))
            for group in optimizer.param_groups
            for weight in group["params"]
        ]
        assert len(found) == sum(owner not in left_out for owner in owners.values())
        assert {owner for owner, _ in found} == set(expected) == set(owners.values()) - left_out
        for owner, (rate, decay) in found:
            assert (rate, decay) == pytest.approx((expected[owner][0] * factor, expected[owner][1])), (owner, step)
