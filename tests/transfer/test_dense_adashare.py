"""AdaShare's policy, its losses and the pruned network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from transfer.dense.adashare import (
    AdaShare,
    initial_logits,
    sample_policy,
    select_probability,
    sharing_loss,
    sharing_weights,
    sparsity_loss,
)
from transfer.dense.config import AdaShareConfig, NetworkConfig
from transfer.dense.plan import TaskPlan
from transfer.dense.sharing import HardSharing
from transfer.pathways.cost import count_flops
from transfer.pathways.resnet import fold_batch_norm

TINY = NetworkConfig(arch="resnet18", width=4, head_width=8, head_rates=(1, 2), dropout=0.5, init_std=None)
TASKS = {"a": 2, "b": 3, "c": 1}
POLICY = [[1, 0, 1, 1, 0, 1, 1, 0], [1, 0, 1, 0, 0, 1, 1, 1], [1, 0, 1, 1, 0, 1, 0, 0]]


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _images() -> Tensor:
    return torch.randn(2, 3, 32, 32, generator=_generator())


def _network() -> AdaShare:
    torch.manual_seed(0)
    network = AdaShare(TASKS, TINY)
    for name, value in network.named_buffers():  # statistics as after training: shortcuts can be negative
        if name.endswith("running_mean"):
            value.normal_(generator=_generator(1))
    return network


def test_all_selected_is_hard_sharing() -> None:
    gated, hard = _network().eval(), HardSharing(TASKS, TINY).eval()
    hard.load_state_dict({name: value for name, value in gated.state_dict().items() if name != "logits"})
    expected = hard(_images())
    assert len(expected) == 3
    for task, (value,) in gated(_images()).items():
        assert torch.equal(value, expected[task][0])


def test_all_skipped_leaves_stem_and_downsampling() -> None:
    network = _network().eval()
    network.decide([[0] * 8] * 3)
    expected = network.trunk.stem(_images())
    for stage in (1, 2, 3):
        expected = network.trunk.stage(stage)[0].shortcut(expected)
    features = network.features(_images())
    assert len(features) == 3 and all(torch.equal(value, expected) for value in features.values())
    assert float(expected.detach().min()) < 0


def test_a_task_alone_gets_what_it_gets_among_others() -> None:
    network = _network().eval()
    network.decide(POLICY)
    together = network(_images())
    for number, task in enumerate(TASKS):
        network.decide([POLICY[number]] * 3)
        assert torch.equal(network(_images())[task][0], together[task][0])


@pytest.mark.parametrize("policy", [POLICY, [[1] * 8] * 3, [[0] * 8] * 3])
def test_the_pruned_plan_is_the_gated_network_bit_for_bit(policy: list[list[int]]) -> None:
    network = _network().eval()
    network.decide(policy)
    plan = TaskPlan(network.trunk, dict(network.heads.items()), policy).eval()
    expected = network(_images())
    for task, value in plan(_images()).items():
        assert torch.equal(value, expected[task][0])
    for task, value in fold_batch_norm(plan)(_images()).items():
        torch.testing.assert_close(value, expected[task][0], rtol=1e-3, atol=1e-3)


def test_blocks_that_nobody_runs_are_not_in_the_plan() -> None:
    network = _network().eval()
    plan = TaskPlan(network.trunk, dict(network.heads.items()), POLICY).eval()
    names = set(plan.parts)
    assert not {"block1", "block4"} & names  # in no row of the policy; block 4 is the third stage's downsampling one
    assert "shortcut4" in names and "shortcut1" not in names
    unused = sum(p.numel() for p in network.trunk.blocks[1].parameters())
    unused += sum(p.numel() for p in network.trunk.blocks[4].residual.parameters())  # type: ignore[union-attr]
    assert plan.trunk_parameters() == sum(p.numel() for p in network.trunk.parameters()) - unused


def test_shared_prefixes_run_once() -> None:
    network = _network().eval()
    runs = [0] * 8
    for index, block in enumerate(network.trunk.blocks):

        def count(*_: object, index: int = index) -> None:
            runs[index] += 1

        block.residual.register_forward_hook(count)  # type: ignore[union-attr]
    plan = TaskPlan(network.trunk, dict(network.heads.items()), POLICY).eval()
    plan(_images())
    # a and c run together until block 6, b leaves them at block 3
    assert runs == [1, 0, 1, 1, 0, 2, 2, 1]
    runs[:] = [0] * 8
    network.decide(POLICY)
    network(_images())
    assert runs == [1, 0, 1, 1, 0, 2, 2, 1]
    image = _images()[:1]
    assert count_flops(lambda: plan(image)) == count_flops(lambda: network(image))


def test_decisions_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="3 tasks and 8 blocks"):
        _network().decide([[1] * 7] * 3)
    with pytest.raises(ValueError, match="zeros"):
        _network().decide([[2] * 8] * 3)
    with pytest.raises(ValueError, match="3 tasks and 8 blocks"):
        network = _network()
        TaskPlan(network.trunk, dict(network.heads.items()), POLICY[:2])


@pytest.mark.parametrize(
    ("skipped", "block"),
    [
        (set(), 7),  # (task, block) -> the last block that all run
        ({(1, 7)}, 6),
        ({(0, 7), (1, 6), (2, 6)}, 5),
        ({(0, index) for index in range(8)}, None),
    ],
)
def test_gradnorm_measures_every_task_at_a_layer_that_all_run(skipped: set[tuple[int, int]], block: int | None) -> None:
    network = _network()
    network.decide([[int((task, index) not in skipped) for index in range(8)] for task in range(3)])
    (layer,) = network.last_shared_layer()
    part = network.trunk.stem if block is None else network.trunk.blocks[block].residual
    assert layer is [p for p in part.parameters() if p.dim() == 4][-1]
    predictions = network(_images())
    for task in TASKS:
        (gradient,) = torch.autograd.grad(predictions[task][-1].square().mean(), [layer], retain_graph=True)
        assert float(gradient.norm()) > 0


def test_blocks_that_are_weighed_count_as_run_by_all() -> None:
    network = _network()
    network.decide_softly(2, temperature=5.0, generator=_generator())
    assert network.last_shared_layer() == network.trunk.last_layer()


def test_soft_decisions_mix_both_ways_after_the_relu() -> None:
    network = _network().eval()
    network.decide_softly(8, temperature=2.0, generator=_generator())
    x = network.trunk.stem(_images())
    for index in range(8):
        block = network.trunk.blocks[index]
        weights = network.decisions[1][index]
        assert isinstance(weights, Tensor) and float(weights.detach().sum()) == pytest.approx(1)
        shortcut = block.shortcut(x)  # type: ignore[operator,union-attr]
        kept = torch.relu(shortcut + block.residual(x))  # type: ignore[operator,union-attr]
        x = weights[0] * kept + weights[1] * shortcut
    torch.testing.assert_close(network.features(_images())["b"], x)


@pytest.mark.parametrize(("phase", "opened"), [(0, 1), (2, 1), (3, 2), (44, 15), (45, 16), (60, 16)])
def test_the_curriculum_opens_a_block_every_third_round(phase: int, opened: int) -> None:
    assert AdaShareConfig().opened(phase, 16) == opened


@pytest.mark.parametrize("opened", [1, 3, 8])
def test_closed_blocks_get_no_gradient(opened: int) -> None:
    network = _network()
    network.decide_softly(opened, temperature=5.0, generator=_generator())
    predictions = network(_images())
    loss = sum(parts[0].square().mean() for parts in predictions.values())
    loss = (
        loss + sparsity_loss(network.logits, opened, form="code") + sparsity_loss(network.logits, opened, form="paper")
    )
    loss = loss + sharing_loss(network.logits, opened, form="paper")
    loss.backward()
    gradient = network.logits.grad
    assert gradient is not None
    assert bool((gradient[:, : 8 - opened] == 0).all()) and bool((gradient[:, 8 - opened :] != 0).all())


def test_the_codes_sharing_loss_reaches_closed_blocks() -> None:
    logits = torch.randn(2, 8, 2, requires_grad=True)
    sharing_loss(logits, 1, form="code").backward()
    assert logits.grad is not None and bool((logits.grad[:, 0, 0] != 0).all())


def test_losses_of_an_undecided_policy() -> None:
    logits = torch.full((3, 16, 2), 0.5, requires_grad=True)
    assert float(sparsity_loss(logits, 16, form="code").detach()) == pytest.approx(3 * math.log(2))
    assert float(sparsity_loss(logits, 16, form="paper").detach()) == pytest.approx(-3 * math.log(2))
    for form in ("paper", "code"):
        loss = sharing_loss(logits, 16, form=form)
        (gradient,) = torch.autograd.grad(loss, [logits])
        assert float(loss.detach()) == 0 and not bool(gradient.any())


@pytest.mark.parametrize("form", ["paper", "code"])
def test_sparsity_pushes_towards_skipping_and_sharing_does_not_depend_on_the_order(form: str) -> None:
    logits = torch.randn(3, 8, 2, generator=_generator(), requires_grad=True)
    (gradient,) = torch.autograd.grad(sparsity_loss(logits, 8, form=form), [logits])
    assert bool((gradient[..., 0] > 0).all())  # descent lowers the select logit
    value = sharing_loss(logits, 8, form=form)
    assert float(value.detach()) > 0
    torch.testing.assert_close(sharing_loss(logits.flip(0), 8, form=form), value)


def test_only_probabilities_tell_equal_decisions_from_different_ones() -> None:
    logits = torch.tensor([[[1.0, 0.0]], [[2.0, 1.0]]])
    assert select_probability(logits).flatten().tolist() == pytest.approx([0.731, 0.731], abs=1e-3)
    assert float(sharing_loss(logits, 1, form="paper")) == pytest.approx(0, abs=1e-7)
    assert float(sharing_loss(logits, 1, form="code")) == pytest.approx(1)


def test_weights_of_the_blocks_run_in_opposite_directions() -> None:
    paper, code = sharing_weights(16, "paper"), sharing_weights(16, "code")
    assert float(paper.sum()) == float(code.sum()) == 8.5
    assert torch.equal(paper.flip(0), code) and paper[0] == 1
    values = [[float(a), 0.0] for a in torch.randn(4)]
    logits = torch.tensor([values, torch.randn(4, 2).tolist()])
    alpha = select_probability(logits)
    expected = sum((4 - l) / 4 * abs(float(alpha[0, l] - alpha[1, l])) for l in range(4))  # noqa: E741
    assert float(sharing_loss(logits, 4, form="paper")) == pytest.approx(expected, rel=1e-5)


def test_sampled_policies_follow_the_probabilities_and_the_curriculum() -> None:
    logits = torch.randn(3, 8, 2, generator=_generator())
    draws = torch.stack([sample_policy(logits, 5, generator=_generator(seed)) for seed in range(2000)])
    assert bool((draws[:, :, :3] == 1).all())
    assert float((draws.mean(0) - select_probability(logits))[:, 3:].abs().max()) < 0.05


def test_starts_of_the_policy() -> None:
    logits = torch.empty(2, 8, 2)
    initial_logits(logits, "equal", generator=_generator())
    assert bool((select_probability(logits) == 0.5).all())
    initial_logits(logits, "all_chosen", generator=_generator())
    assert select_probability(logits).flatten().tolist() == pytest.approx([0.95] * 16, abs=1e-4)
    initial_logits(logits, "random", generator=_generator())
    assert 0 < float((select_probability(logits) - 0.5).abs().max()) < 0.01
    with pytest.raises(ValueError, match="allowed: equal, all_chosen, random"):
        initial_logits(logits, "zero", generator=_generator())
