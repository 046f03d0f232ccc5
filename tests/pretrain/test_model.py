from __future__ import annotations

import pytest
import torch
from torch import nn

from pretrain.model import build_backbone, check_backbone, remove_classifier


@pytest.mark.parametrize(("arch", "width"), [("resnet18", 512), ("resnet50", 2048), ("regnet_y_400mf", 440)])
def test_a_torchvision_model_gives_pooled_features(arch: str, width: int) -> None:
    model = build_backbone(arch, num_classes=5, seed=0).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert model(images).shape == (2, 5)
        assert remove_classifier(model, arch) == width
        assert model(images).shape == (2, width)


def test_a_timm_name_is_accepted() -> None:
    model = build_backbone("resnet10t", num_classes=5, seed=0, drop_path=0.1).eval()
    width = remove_classifier(model, "resnet10t")
    with torch.inference_mode():
        assert model(torch.randn(1, 3, 64, 64)).shape == (1, width)


@pytest.mark.parametrize("arch", ["mobilenetv3_small_050", "test_efficientnet", "regnet_x_400mf", "mobilenet_v3_small"])
def test_the_width_is_that_of_the_features(arch: str) -> None:
    check_backbone(arch, size=48, drop_path=0.0)
    model = build_backbone(arch, num_classes=5, seed=0).eval()
    width = remove_classifier(model, arch)
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 48, 48)).shape == (1, width)


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ("squeezenet1_1", "squeezenet1_1 does not end in a linear classifier, so it gives no features"),
        ("vit_tiny_patch16_224", "vit_tiny_patch16_224 takes no images of 48 px: Input height"),
        ("alexnet", "alexnet takes no images of 48 px: Given input size"),
    ],
)
def test_what_could_not_be_trained_or_loaded_is_refused_in_one_line(arch: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"architecture {reason}") as error:
        check_backbone(arch, size=48, drop_path=0.0)
    assert "\n" not in str(error.value)


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = build_backbone("resnet18", num_classes=3, seed=4).state_dict()
    torch.manual_seed(2)
    again = build_backbone("resnet18", num_classes=3, seed=4).state_dict()
    other = build_backbone("resnet18", num_classes=3, seed=5).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])


def test_stochastic_depth_adds_no_keys_and_drops_whole_branches() -> None:
    plain = build_backbone("resnet18", num_classes=3, seed=0)
    dropping = build_backbone("resnet18", num_classes=3, seed=0, drop_path=0.5)
    assert list(plain.state_dict()) == list(dropping.state_dict())
    norm: nn.Module = dropping.get_submodule("layer4.1.bn2")
    inputs = torch.randn(400, 512, 2, 2)
    norm.train()
    torch.manual_seed(0)
    zero = (norm(inputs).flatten(1) == 0).all(1)
    assert 150 <= int(zero.sum()) <= 250
    norm.eval()
    assert not bool((norm(inputs).flatten(1) == 0).all(1).any())
    first: nn.Module = dropping.get_submodule("layer1.0.bn2").train()
    assert not bool((first(torch.randn(50, 64, 4, 4)).flatten(1) == 0).all(1).any())


@pytest.mark.parametrize(
    ("arch", "drop_path", "reason"),
    [
        ("resnet51", 0.0, "known neither to torchvision nor to timm"),
        ("googlenet", 0.0, "auxiliary classifiers"),
        ("vgg11", 0.1, "no stochastic depth"),
    ],
)
def test_an_impossible_architecture_is_refused(arch: str, drop_path: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_backbone(arch, num_classes=2, seed=0, drop_path=drop_path)
