"""Convolutions over tiny maps as matrix products."""

import copy

import pytest
import torch
from torch import nn

from pretrain.smallmaps import SmallMapConv2d, use_products_on_small_maps


@pytest.mark.parametrize(
    ("kernel", "stride", "side"),
    [(3, 1, 2), (3, 2, 3), (3, 2, 8), (1, 2, 3), (1, 1, 4), (3, 1, 5), (2, 2, 4), (5, 1, 3)],
)
def test_results_and_gradients_are_those_of_the_convolution(kernel: int, stride: int, side: int) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(256, 512, kernel, stride, (kernel - 1) // 2, bias=False).to(memory_format=torch.channels_last)
    ours = nn.Conv2d(256, 512, kernel, stride, (kernel - 1) // 2, bias=False).to(memory_format=torch.channels_last)
    ours.load_state_dict(plain.state_dict())
    use_products_on_small_maps(ours)
    assert type(ours) is SmallMapConv2d
    images = torch.randn(6, 256, side, side).to(memory_format=torch.channels_last)
    answers = []
    for conv in (plain, ours):
        x = images.clone().requires_grad_()
        y = conv(x)
        (y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
        assert x.grad is not None and conv.weight.grad is not None
        assert y.is_contiguous(memory_format=torch.channels_last)
        # fused optimisers are wrong where the layouts differ
        assert conv.weight.grad.stride() == conv.weight.stride()
        answers.append((y.detach(), x.grad, conv.weight.grad))
    for expected, got in zip(*answers, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


def test_a_norm_that_was_folded_into_the_kernel_keeps_its_bias() -> None:
    plain = nn.Conv2d(256, 512, 3, padding=1, bias=False)
    network = nn.Sequential(plain).eval()
    use_products_on_small_maps(network)
    assert type(network[0]) is SmallMapConv2d
    norm = nn.BatchNorm2d(512).eval()
    nn.init.normal_(norm.bias)
    folded = nn.utils.fusion.fuse_conv_bn_eval(network[0], norm)
    x = torch.randn(2, 256, 2, 2)
    torch.testing.assert_close(folded(x), norm(network(x)), rtol=1e-4, atol=1e-4)


def test_a_frozen_kernel_and_inference() -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(512, 512, 3, padding=1, bias=False).to(memory_format=torch.channels_last)
    ours = copy.deepcopy(plain).requires_grad_(False)
    use_products_on_small_maps(ours)
    images = torch.randn(3, 512, 2, 2).to(memory_format=torch.channels_last)
    seen = [images.clone().requires_grad_() for _ in range(2)]
    for conv, x in zip((plain, ours), seen, strict=True):
        conv(x).square().sum().backward()
    assert ours.weight.grad is None
    torch.testing.assert_close(seen[1].grad, seen[0].grad, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        assert torch.equal(ours(images), plain(images))  # the very kernel


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(64, 64, 3, padding=1, bias=False),
        nn.Conv2d(512, 512, 3, padding=1),
        nn.Conv2d(512, 512, 3, padding=0, bias=False),
        nn.Conv2d(512, 512, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(1024, 1024, 3, padding=1, groups=2, bias=False),
        nn.Conv2d(512, 512, (1, 3), padding=(0, 1), bias=False),
    ],
)
def test_convolutions_that_do_not_fit_stay(conv: nn.Conv2d) -> None:
    use_products_on_small_maps(conv)
    assert type(conv) is nn.Conv2d


def test_wide_layers_of_a_resnet_fit_and_keep_their_names() -> None:
    from torchvision.models import resnet18

    model = resnet18(num_classes=2)
    names = list(model.state_dict())
    use_products_on_small_maps(model)
    fitting = {name.split(".")[0] for name, module in model.named_modules() if isinstance(module, SmallMapConv2d)}
    assert "layer4" in fitting and "layer1" not in fitting and "conv1" not in fitting
    assert list(model.state_dict()) == names
