"""Counted parameters and FLOPs against the published and independently checked numbers."""

from __future__ import annotations

import pytest
import torch

from transfer.pathways.cost import count_flops, count_parameters, module_flops, network_cost
from transfer.pathways.resnet import PolicyNetwork, build_gated_resnet


@pytest.mark.parametrize(
    ("arch", "size", "classes", "flops"),
    [
        ("cifar_resnet8", 32, 10, 24_478_976),
        ("cifar_resnet32", 32, 10, 137_725_184),
        ("cifar_resnet110", 32, 10, 505_775_360),
        ("resnet50", 224, 1000, 8_178_368_512),
    ],
)
def test_exact_flops_of_a_network(arch: str, size: int, classes: int, flops: int) -> None:
    assert network_cost(build_gated_resnet(arch, num_classes=classes, seed=0), height=size).total == flops


def test_blocks_of_the_cifar_networks() -> None:
    cost = network_cost(build_gated_resnet("cifar_resnet32", num_classes=10, seed=0), height=32)
    firsts = {5, 10}
    assert len(cost.residuals) == 15
    assert [cost.residuals[i] for i in range(15)] == [7_077_888 if i in firsts else 9_437_184 for i in range(15)]
    assert cost.base == 886_016 and sum(cost.shortcuts) == 0


def test_blocks_of_resnet101() -> None:
    cost = network_cost(build_gated_resnet("resnet101", num_classes=1000, seed=0), height=224)
    assert 1 - 1.25e10 / cost.total == pytest.approx(0.20, abs=0.005)  # BlockDrop's published saving
    assert cost.total == pytest.approx(1.560e10, rel=1e-3) and cost.base == pytest.approx(0.96e9, rel=1e-3)
    assert {round(value / 1e8, 2) for value in cost.residuals} == {
        3.60,
        4.37,
        5.39,
    }  # the document rounds 5.395 to 5.40


def test_decathlon_network_and_its_policy() -> None:
    trunk = build_gated_resnet("decathlon_resnet26", num_classes=1000, seed=0)
    policy = PolicyNetwork(
        build_gated_resnet("decathlon_resnet8", num_classes=24, seed=0), num_blocks=12, logits_per_block=2
    )
    total, head, blocks = count_parameters(trunk), count_parameters(trunk.head), count_parameters(trunk.blocks)
    assert (total - head) / 1e6 == pytest.approx(5.815, abs=6e-4)
    assert total / 1e6 == pytest.approx(6.072, abs=6e-4)
    assert blocks / 1e6 == pytest.approx(5.813, abs=6e-4)
    assert count_parameters(policy) / 1e6 == pytest.approx(1.171, abs=6e-4)
    assert count_parameters(policy) / total == pytest.approx(0.193, abs=1e-3)
    flops, policy_flops = network_cost(trunk, height=64).total, module_flops(policy, height=64)
    assert flops / 1e9 == pytest.approx(1.706, abs=1e-3) and policy_flops / 1e8 == pytest.approx(3.47, abs=1e-2)
    naive = (flops + sum(network_cost(trunk, height=64).residuals) + policy_flops) / flops
    assert naive == pytest.approx(2.20, abs=0.01)
    routed = (flops + policy_flops) / flops
    assert routed == pytest.approx(1.20, abs=0.01) and naive / routed == pytest.approx(1.83, abs=0.005)
    per_task = [(size + count_parameters(policy)) / size for size in (total, total - head)]
    assert per_task == pytest.approx([1.193, 1.201], abs=5e-4)  # "1.19-1.20x", with and without a 1000-way head
    assert 1 + 9 * (blocks + count_parameters(policy)) / total == pytest.approx(11.40, abs=0.06)


def test_resnet50_with_the_policy_networks_of_spottune() -> None:
    cost = network_cost(build_gated_resnet("resnet50", num_classes=1000, seed=0), height=224)
    large = network_cost(build_gated_resnet("resnet34", num_classes=32, seed=0), height=224).total
    small = network_cost(build_gated_resnet("resnet10", num_classes=32, seed=0), height=112)
    assert len(cost.residuals) == 16
    assert (cost.total + sum(cost.residuals) + large) / cost.total == pytest.approx(2.78, abs=0.005)
    assert (cost.total + large) / cost.total == pytest.approx(1.90, abs=0.005)
    # torchvision's ResNet-10 is a little dearer than the document's, see the next test
    leaner = small.total - sum(small.shortcuts) - small.residuals[3] * 7 / 16
    assert (cost.total + leaner) / cost.total == pytest.approx(1.05, abs=0.005)


def test_policy_networks_of_blockdrop_cost_what_the_paper_says() -> None:
    small = module_flops(build_gated_resnet("cifar_resnet8", num_classes=10, seed=0), height=32)
    totals = {}
    for arch, share in (("cifar_resnet110", 0.048), ("cifar_resnet32", 0.178)):
        totals[arch] = network_cost(build_gated_resnet(arch, num_classes=10, seed=0), height=32).total
        assert small / totals[arch] == pytest.approx(share, abs=5e-4)
    assert 1 - 1.81e8 / totals["cifar_resnet110"] == pytest.approx(0.64, abs=0.005)  # BlockDrop's published saving
    # ResNet-10 at 112 pixels. The document's 4.2e8 holds with a last stage of 3x3; torchvision's strided convolutions
    # round 7/2 up to 4x4 and have 1x1 shortcuts: 4.72e8, 3.0 % of ResNet-101.
    ten = build_gated_resnet("resnet10", num_classes=33, seed=0)
    cost = network_cost(ten, height=112)
    assert cost.total == 471_917_568
    assert cost.total - sum(cost.shortcuts) - cost.residuals[3] * 7 / 16 == pytest.approx(4.2e8, rel=0.02)
    assert module_flops(PolicyNetwork(ten, num_blocks=33, logits_per_block=1, shrink=2), height=224) == cost.total


def test_parts_add_up_to_what_runs() -> None:
    network = build_gated_resnet("resnet18", num_classes=7, seed=0).eval()
    cost = network_cost(network, height=48, width=32)
    assert cost.total == count_flops(lambda: network(torch.zeros(1, 3, 48, 32)))


def test_cost_is_linear_in_the_kept_blocks() -> None:
    cost = network_cost(build_gated_resnet("cifar_resnet8", num_classes=2, seed=0), height=32)
    policies = torch.tensor([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    expected = [cost.base, cost.base + cost.residuals[0] + cost.residuals[2], cost.total]
    assert cost.of_policy(policies).tolist() == expected


def test_shared_parameters_count_once_and_frozen_ones_not_as_trained() -> None:
    network = build_gated_resnet("cifar_resnet8", num_classes=2, seed=0)
    assert count_parameters([network, network.head]) == count_parameters(network)
    network.requires_grad_(False)
    network.head.requires_grad_(True)
    assert count_parameters(network, trainable_only=True) == 64 * 2 + 2
