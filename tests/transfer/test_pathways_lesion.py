"""Deleting and shuffling blocks, and what it shows on a network made for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from transfer.data import ArraySource, image_set
from transfer.intervals import accuracy as two_stage
from transfer.pathways.lesion import (
    accuracy,
    count_lesions,
    kendall_tau,
    lesion_study,
    sets_of_blocks,
    swappable,
    with_order,
    without_blocks,
)
from transfer.pathways.lesion_curves import curve_intervals
from transfer.pathways.pixels import Pixels, load_pixels
from transfer.pathways.resnet import Block, GatedResNet, build_gated_resnet


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


HARD = 4
"""The block that matters in `one_that_matters`."""


def one_that_matters(*, plain: bool) -> GatedResNet:
    """A network whose blocks hand their input on, but for block 4, which stirs it, and the two that change shape."""
    net = network(plain=plain)
    torch.manual_seed(3)
    for index, block in enumerate(net.blocks):
        assert isinstance(block, Block)
        if not block.keeps_shape:
            continue
        last = block.residual[4]
        assert isinstance(last, nn.BatchNorm2d)
        if index == HARD:
            nn.init.constant_(last.weight, 8.0)
            nn.init.normal_(last.bias)
        elif plain:  # without a shortcut the convolutions themselves hand on what is positive already
            nn.init.dirac_(block.residual[0].weight)  # type: ignore[arg-type]
            nn.init.dirac_(block.residual[3].weight)  # type: ignore[arg-type]
        else:
            nn.init.zeros_(last.weight)
    return net


def with_own_answers(net: GatedResNet) -> Pixels:
    """Images labelled by the network itself, its bias moved so that not all get the same answer."""
    data = pixels()
    with torch.no_grad():
        images = next(iter(data.in_order(12)))[1]
        net.head.bias -= net(images).mean(0)
        answers = net(images).argmax(1)
    assert len(torch.unique(answers)) > 1
    return Pixels(data.images, answers, data.size, data.margin, data.stored)


def accuracy_without(net: GatedResNet, removed: set[int], data: Pixels) -> float:
    """The slow obvious way: block by block, of a removed one the shortcut alone."""
    with torch.no_grad():
        x = net.stem(next(iter(data.in_order(12)))[1])
        for index, block in enumerate(net.blocks):
            x = block.shortcut(x) if index in removed else block(x)  # type: ignore[operator]
        answers = net.head(net.tail(x)).argmax(1)
    return 100 * float((answers == data.labels).double().mean())


@pytest.mark.parametrize("plain", [False, True])
def test_only_the_block_that_matters_is_missed(plain: bool) -> None:
    net = one_that_matters(plain=plain)
    data = with_own_answers(net)
    study, right = lesion_study(net, data, draws=9, seed=0)
    alone = [accuracy_without(net, {index}, data) for index in range(9)]
    assert study["full"] == 100 and study["single"] == pytest.approx(alone)
    assert [alone[index] for index in (0, 1, 2, 5, 7, 8)] == [100.0] * 6 and alone[HARD] < 100
    for row in study["sequences"]:  # nine starts at most: all runs of neighbours
        runs = [set(range(start, start + row["removed"])) for start in range(10 - row["removed"])]
        expected = [accuracy_without(net, run, data) for run in runs]
        assert row["mean"] == pytest.approx(np.mean(expected)) and row["std"] == pytest.approx(np.std(expected))
    ends = {1: [{index} for index in range(9)], 8: [set(range(9)) - {index} for index in range(9)]}
    for count, sets in ends.items():  # nine sets of one block, and nine of eight: all of them
        expected = [accuracy_without(net, chosen, data) for chosen in sets]
        assert study["random_sets"][count - 1]["mean"] == pytest.approx(np.mean(expected))
    assert {kind: rows.shape for kind, rows in right.items()} == {
        "full": (1, 12),
        "single": (9, 12),
        "random_sets": (8, 12),
        "sequences": (8, 12),
        "shuffles": (6, 12),
    }
    assert 100 * right["single"].mean(axis=1) == pytest.approx(alone)
    assert 100 * right["sequences"].mean(axis=1) == pytest.approx([row["mean"] for row in study["sequences"]])


@pytest.mark.parametrize("draws", [1, 3])
def test_as_many_networks_are_tested_as_were_planned(draws: int) -> None:
    notes: list[str] = []
    lesion_study(network(), pixels(), draws=draws, seed=0, tick=notes.append)
    assert len(notes) == count_lesions(9, draws)


def test_random_sets_are_drawn_where_there_are_too_many() -> None:
    rng = np.random.default_rng(0)
    assert sets_of_blocks(3, 2, 3, rng) == [[0, 1], [0, 2], [1, 2]]
    drawn = sets_of_blocks(9, 4, 50, rng)
    assert len(drawn) == 50 and all(len(set(chosen)) == 4 and chosen == sorted(chosen) for chosen in drawn)
    assert len({tuple(chosen) for chosen in drawn}) > 20 and {index for chosen in drawn for index in chosen} == set(
        range(9)
    )


def test_shuffled_blocks_that_do_not_commute_cost_accuracy() -> None:
    net = one_that_matters(plain=False)
    last = net.blocks[5].residual[4]  # type: ignore[union-attr,index]
    nn.init.constant_(last.weight, 8.0)  # type: ignore[arg-type]
    data = with_own_answers(net)
    study, _ = lesion_study(net, data, draws=8, seed=0)
    swapped = accuracy(with_order(net, [0, 1, 2, 3, 5, 4, 6, 7, 8]), net.head, data)
    assert swapped < 100  # all other swaps change nothing: a share of the shuffles pays exactly this
    shares = [(100 - row["mean"]) / (100 - swapped) * 8 for row in study["shuffles"]]
    assert shares == pytest.approx([round(share) for share in shares], abs=1e-6) and max(shares) >= 1
    assert study["shuffles"][0]["kendall_tau"] < 1


def test_blocks_that_add_nothing_can_be_deleted_and_shuffled_without_loss() -> None:
    net = network()
    for block in net.blocks:
        nn.init.zeros_(block.residual[4].weight)  # type: ignore[union-attr,index,arg-type]
    study, _ = lesion_study(net, with_own_answers(net), draws=2, seed=0)
    assert study["full"] == 100 and study["single"] == [100.0] * 9
    assert [row["removed"] for row in study["random_sets"]] == list(range(1, 9))
    assert all(row["mean"] == 100 and row["std"] == 0 for row in study["random_sets"] + study["sequences"])


def test_intervals_of_curves_are_those_of_the_two_stage_bootstrap() -> None:
    rng = np.random.default_rng(0)
    rates = (0.5, 0.7, 0.8)
    single = [(rng.random((2, 300)) < rate).astype(float) for rate in rates]
    none = np.empty((0, 300))
    correct = [
        {"full": np.ones((1, 300)), "single": own, "random_sets": own[:1], "sequences": own[1:], "shuffles": none}
        for own in single
    ]
    found = curve_intervals(correct, seed=0)
    assert found["full"] == [[100.0, 100.0]] and found["shuffles"] == []
    for point in range(2):
        expected = two_stage(np.stack([own[point] for own in single]), seed=1).ci95
        assert found["single"][point] == pytest.approx(expected, abs=2.0)
        assert found["single"][point][1] - found["single"][point][0] > 15  # that of images alone is 6 wide
    assert found["random_sets"] == found["single"][:1] and found["sequences"] == found["single"][1:]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("side", [9, 30])
def test_an_odd_side_within_the_network_is_no_crash(side: int, plain: bool) -> None:
    net = build_gated_resnet("cifar_resnet8", num_classes=3, seed=0, plain=plain).eval()
    with torch.no_grad():
        for removed in ([], [1], [1, 2]):
            assert without_blocks(net, removed)(torch.randn(2, 3, side, side)).shape == (2, 64)
