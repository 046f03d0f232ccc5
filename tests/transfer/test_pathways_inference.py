"""A network packed for inference computes what it is made of, in every executor, and nothing of it can be trained."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from gated_networks import lively
from torch import Tensor, nn

from transfer.pathways import inference
from transfer.pathways.executors import (
    StaticPlan,
    Unit,
    choice_units,
    run_grouped,
    run_masked,
    run_subbatch,
    skip_units,
)
from transfer.pathways.inference import PackedConv, pack_for_inference
from transfer.pathways.resnet import GatedResNet, batch_norms, build_gated_resnet

Run = Callable[[GatedResNet, list[Unit], Tensor, Tensor], Tensor]


def trained(arch: str, seed: int) -> GatedResNet:
    return lively(build_gated_resnet(arch, num_classes=4, seed=seed), seed)


def images(count: int, side: int = 32) -> Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("arch", ["resnet18", "resnet50", "cifar_resnet8", "decathlon_resnet26"])
def test_a_packed_network_computes_the_same_features_in_every_executor(arch: str) -> None:
    one, two = trained(arch, 0), trained(arch, 1)
    two.stem = one.stem  # as SpotTune's two ways have
    packed, other = pack_for_inference(one, height=32), pack_for_inference(two, height=32)
    x = images(5).contiguous(memory_format=torch.channels_last)
    decisions = (torch.rand(5, one.num_blocks, generator=torch.Generator().manual_seed(2)) < 0.6).float()
    with torch.inference_mode():
        near(packed.features(x), one.features(x))
        near(packed(x), one(x))
        for plain_units, packed_units in (
            (skip_units(one), skip_units(packed)),
            (choice_units(one.blocks, two.blocks), choice_units(packed.blocks, other.blocks)),
        ):
            expected = run_masked(one, plain_units, x, decisions)
            runs: list[Run] = [run_masked, run_subbatch, run_grouped]
            for run in runs:
                near(run(packed, packed_units, x, decisions), expected)
            fixed = decisions[0].int().tolist()
            near(StaticPlan(packed, packed_units, fixed)(x), StaticPlan(one, plain_units, fixed)(x))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("count", "side"), [(1, 32), (9, 32), (3, 48)])
def test_other_batches_sizes_and_layouts_than_the_packed_ones(
    count: int, side: int, layout: torch.memory_format
) -> None:
    network = trained("resnet18", 0)
    packed = pack_for_inference(network, height=32)
    x = images(count, side).contiguous(memory_format=layout)
    before = x.clone()
    with torch.inference_mode():
        near(packed.features(x), network.features(x))
    assert torch.equal(x, before)


def test_norms_and_activations_are_gone_and_the_network_is_left_as_it_was() -> None:
    network = trained("resnet18", 0).train()
    state = copy.deepcopy(network.state_dict())
    packed = pack_for_inference(network, height=32, width=48)
    assert not batch_norms(packed)
    assert {type(part) for block in packed.blocks for part in block.residual} == {PackedConv}
    assert [part.relu for part in packed.blocks[0].residual] == [True, False]
    assert network.training
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_a_packed_network_has_nothing_to_train() -> None:
    packed = pack_for_inference(trained("resnet18", 0), height=32)
    assert not packed.features(images(2)).requires_grad
    assert not [name for name in packed.state_dict() if name.startswith("blocks.")]


def test_other_parts_than_convolutions_stay_where_they_are() -> None:
    network = trained("resnet18", 0)
    first = network.blocks[2]
    first.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(64, 128, 1), nn.ReLU(), nn.Sigmoid())
    first.residual.insert(0, nn.ReLU())
    first.residual.insert(4, nn.Dropout())
    network.eval()
    packed = pack_for_inference(network, height=32)
    with torch.inference_mode():
        near(packed.features(images(3)), network.features(images(3)))


def test_what_cannot_be_packed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = build_gated_resnet("cifar_resnet8", num_classes=4, seed=0, plain=True)
    with pytest.raises(ValueError, match="the network is a plain net; allowed: blocks with a shortcut"):
        pack_for_inference(plain, height=32)
    active = trained("resnet18", 0)
    active.blocks[0].residual.append(nn.ReLU())
    with pytest.raises(ValueError, match=r"a block's residual ends in ReLU\(\); allowed: a convolution"):
        pack_for_inference(active, height=32)
    half = trained("resnet18", 0).bfloat16()
    with pytest.raises(ValueError, match=r"stem\.0\.weight is torch\.bfloat16 on cpu; allowed: torch\.float32 on cpu"):
        pack_for_inference(half, height=32)
    monkeypatch.setattr(inference.torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match="this PyTorch was built without oneDNN; run the network itself"):
        pack_for_inference(trained("resnet18", 0), height=32)
