"""The gated ResNet equals the networks it is made from, and its shapes are those of the papers."""

from __future__ import annotations

import pytest
import torch
from gated_networks import lively
from torch import nn
from torchvision.models import resnet18, resnet50

from pretrain.model import build_backbone, remove_classifier
from transfer.pathways.resnet import (
    ARCHITECTURES,
    Block,
    PolicyNetwork,
    batch_norms,
    build_gated_resnet,
    first_blocks,
    fold_batch_norm,
    gate_backbone,
)


@pytest.mark.parametrize("builder", [resnet18, resnet50])
def test_a_torchvision_backbone_gives_the_same_bits(builder: object) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = lively(builder(num_classes=5))  # type: ignore[operator]
    gated = gate_backbone(backbone, num_classes=7, seed=0).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    backbone.fc = nn.Identity()
    with torch.no_grad():
        assert torch.equal(gated.features(x), backbone(x))
        assert gated(x).shape == (2, 7)


@pytest.mark.parametrize("arch", ["resnet14t", "resnet18d", "resnet26"])
def test_a_backbone_of_timms_gives_the_same_bits(arch: str) -> None:
    backbone = lively(build_backbone(arch, num_classes=5, seed=0))
    remove_classifier(backbone, arch)
    gated = gate_backbone(backbone, num_classes=7, seed=0).eval()
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(gated.features(x), backbone(x))
        assert gated(x).shape == (2, 7)


def test_gating_copies_the_backbone() -> None:
    backbone = resnet18()
    gated = gate_backbone(backbone, num_classes=3, seed=0)
    own = {parameter.untyped_storage().data_ptr() for parameter in backbone.parameters()}
    assert len(own) == 62
    assert not own & {parameter.untyped_storage().data_ptr() for parameter in gated.parameters()}


def test_something_else_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="Linear is no torchvision-style ResNet: it lacks conv1"):
        gate_backbone(nn.Linear(3, 2), num_classes=2, seed=0)
    for arch, part in (("seresnet18", r"se \(SEModule\)"), ("resnetblur18", r"aa \(BlurPool2d\)")):
        with pytest.raises(ValueError, match=f"a block of the ResNet has {part}; allowed: convolutions, batch norms"):
            gate_backbone(build_backbone(arch, num_classes=2, seed=0), num_classes=2, seed=0)
    with pytest.raises(ValueError, match="unknown architecture 'vgg16'; allowed: resnet10"):
        build_gated_resnet("vgg16", num_classes=2, seed=0)
    with pytest.raises(ValueError, match="no plain net of resnet18"):
        build_gated_resnet("resnet18", num_classes=2, seed=0, plain=True)


@pytest.mark.parametrize(
    ("arch", "blocks"),
    [
        ("cifar_resnet32", 15),
        ("cifar_resnet110", 54),
        ("decathlon_resnet26", 12),
        ("resnet18", 8),
        ("resnet34", 16),
        ("resnet50", 16),
        ("resnet101", 33),
    ],
)
def test_number_of_gated_blocks(arch: str, blocks: int) -> None:
    assert sum(ARCHITECTURES[arch].depths) == blocks
    assert build_gated_resnet(arch, num_classes=2, seed=0).num_blocks == blocks


def test_every_stage_of_the_decathlon_network_starts_with_a_parameter_free_stride() -> None:
    network = build_gated_resnet("decathlon_resnet26", num_classes=2, seed=0)
    assert not any(isinstance(part, nn.ReLU) for part in network.stem)
    sizes, x = [], network.stem(torch.randn(1, 3, 64, 64))
    for block in network.blocks:
        x = block(x)
        sizes.append((x.shape[1], x.shape[2]))
    assert sizes == [(64, 32)] * 4 + [(128, 16)] * 4 + [(256, 8)] * 4
    shortcuts = [block.shortcut for block in network.blocks if isinstance(block, Block)]
    assert len(shortcuts) == 12 and not any(list(shortcut.parameters()) for shortcut in shortcuts)
    shortcut = shortcuts[0](torch.ones(1, 32, 4, 4))
    assert shortcut.shape == (1, 64, 2, 2) and shortcut[:, :32].eq(1).all() and shortcut[:, 32:].eq(0).all()


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (build_gated_resnet("cifar_resnet8", num_classes=3, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.head.weight, other.head.weight)


def test_state_dict_round_trip() -> None:
    network = lively(build_gated_resnet("decathlon_resnet8", num_classes=4, seed=0))
    copy = build_gated_resnet("decathlon_resnet8", num_classes=4, seed=1).eval()
    copy.load_state_dict(network.state_dict())
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(network(x), copy(x))


def test_the_plain_net_has_the_same_layers_and_no_shortcuts() -> None:
    plain = lively(build_gated_resnet("cifar_resnet8", num_classes=4, seed=0, plain=True))
    residual = lively(build_gated_resnet("cifar_resnet8", num_classes=4, seed=0))
    assert [p.shape for p in plain.parameters()] == [p.shape for p in residual.parameters()]
    x = plain.stem(torch.randn(2, 3, 16, 16))
    block = plain.blocks[0]
    assert torch.equal(block(x), block.residual(x).relu())


@pytest.mark.parametrize(
    ("trunk", "blocks", "logits", "shape"),
    [
        ("decathlon_resnet8", 12, 1, (3, 12)),
        ("decathlon_resnet8", 12, 2, (3, 12, 2)),
        ("resnet34", 16, 2, (3, 16, 2)),
    ],
)
def test_policy_shapes(trunk: str, blocks: int, logits: int, shape: tuple[int, ...]) -> None:
    network = build_gated_resnet(trunk, num_classes=blocks * logits, seed=0)
    policy = PolicyNetwork(network, num_blocks=blocks, logits_per_block=logits, shrink=2).eval()
    with torch.no_grad():
        assert policy(torch.randn(3, 3, 32, 32)).shape == shape
    outputs = f"the policy's head has {blocks * logits} outputs, 17 blocks need {17 * logits}"
    with pytest.raises(ValueError, match=outputs):
        PolicyNetwork(network, num_blocks=17, logits_per_block=logits)


def test_the_policy_network_stays_in_float32_under_autocast() -> None:
    trunk = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0)
    policy = PolicyNetwork(trunk, num_blocks=3, logits_per_block=1).eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(policy(x), policy.float()(x)) and policy(x).dtype == torch.float32


def test_first_blocks_of_resnet18_are_resnet10_with_its_weights() -> None:
    network = build_gated_resnet("resnet18", num_classes=2, seed=0)
    small = first_blocks(network, num_classes=8, seed=0)
    ten = build_gated_resnet("resnet10", num_classes=8, seed=0)
    assert [p.shape for p in small.parameters()] == [p.shape for p in ten.parameters()]
    assert torch.equal(small.blocks[2].residual[0].weight, network.blocks[4].residual[0].weight)
    assert small.blocks[2].residual[0].weight.data_ptr() != network.blocks[4].residual[0].weight.data_ptr()


@pytest.mark.parametrize("arch", ["resnet18", "decathlon_resnet8"])
def test_folded_batch_norms_change_nothing(arch: str) -> None:
    network = lively(build_gated_resnet(arch, num_classes=4, seed=0)).double()
    folded = fold_batch_norm(network)
    # What is left is the Decathlon tail's norm, which follows no convolution.
    assert len(batch_norms(folded)) == (1 if arch.startswith("decathlon") else 0)
    x = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    torch.testing.assert_close(folded(x), network(x), rtol=1e-10, atol=1e-10)
