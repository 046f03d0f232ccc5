"""Deleting and shuffling blocks, and what it shows on a network made for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from transfer.data import ArraySource, image_set
from transfer.pathways.lesion import accuracy, kendall_tau, lesion_study, swappable, with_order, without_blocks
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import GatedResNet, build_gated_resnet


def network(*, plain: bool = False) -> GatedResNet:
    return build_gated_resnet("cifar_resnet20", num_classes=3, seed=0, plain=plain).eval()


def pixels() -> Pixels:
    arrays = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    return load_pixels(image_set([f"{i:02d}" for i in range(12)], labels, ArraySource(arrays)), size=16)


def test_deleting_nothing_and_keeping_the_order_changes_nothing() -> None:
    for plain in (False, True):
        whole, x = network(plain=plain), torch.randn(2, 3, 16, 16)
        with torch.no_grad():
            assert torch.equal(without_blocks(whole, [])(x), whole.features(x))
            assert torch.equal(with_order(whole, range(9))(x), whole.features(x))


def test_a_deleted_block_is_gone_and_a_strided_one_leaves_its_shortcut() -> None:
    whole, x = network(), torch.randn(2, 3, 16, 16)
    expected = whole.stem(x)
    for index, block in enumerate(whole.blocks):
        if index == 3:
            expected = block.shortcut(expected)
        elif index != 7:
            expected = block(expected)
    with torch.no_grad():
        assert torch.equal(without_blocks(whole, [3, 7])(x), whole.tail(expected))


def test_blocks_trade_places_only_within_their_shape() -> None:
    whole = network()
    assert swappable(whole) == [[0, 1, 2], [4, 5], [7, 8]]
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        changed = with_order(whole, [1, 0, 2, 3, 5, 4, 6, 7, 8])(x)
        assert changed.shape == (2, 64) and not torch.equal(changed, whole.features(x))
    with pytest.raises(ValueError, match="block 3 does not fit at place 2"):
        with_order(whole, [0, 1, 3, 2, 4, 5, 6, 7, 8])
    with pytest.raises(ValueError, match="is no order of 9 blocks"):
        with_order(whole, [0, 0, 2, 3, 4, 5, 6, 7, 8])


def test_kendall_tau() -> None:
    assert kendall_tau([0, 1, 2, 3]) == 1.0 and kendall_tau([3, 2, 1, 0]) == -1.0
    assert kendall_tau([1, 0, 2, 3]) == pytest.approx(4 / 6)


def test_blocks_that_add_nothing_can_be_deleted_and_shuffled_without_loss() -> None:
    """Residuals of zero: every lesion of the ResNet keeps all answers; the plain net answers always the same."""
    resnet, plain = network(), network(plain=True)
    for net in (resnet, plain):
        for block in net.blocks:
            nn.init.zeros_(block.residual[4].weight)  # type: ignore[union-attr,index,arg-type]
    data = pixels()
    with torch.no_grad():
        images = next(iter(data.in_order(12)))[1]
        resnet.head.bias -= resnet(images).mean(0)  # so that not all images get the same answer
        answers = torch.cat([resnet(images).argmax(1) for _, images in data.in_order(12)])
    easy = Pixels(data.images, answers, data.size, data.margin, data.stored)
    study = lesion_study(resnet, easy, draws=2, seed=0)
    assert study["full"] == 100 and study["single"] == [100.0] * 9
    assert [row["removed"] for row in study["random_sets"]] == list(range(1, 9))
    assert all(row["mean"] == 100 and row["std"] == 0 for row in study["random_sets"] + study["sequences"])
    assert all(row["mean"] == 100 for row in study["shuffles"]) and study["shuffles"][0]["kendall_tau"] < 1
    assert len(torch.unique(answers)) > 1
    shares = [float((answers == label).float().mean()) * 100 for label in range(3)]
    assert round(accuracy(without_blocks(plain, []), plain.head, easy), 3) in [round(share, 3) for share in shares]
