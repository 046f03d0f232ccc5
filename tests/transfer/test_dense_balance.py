"""Balancers against the numbers of their papers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from transfer.dense.balance import (
    DynamicWeightAverage,
    FixedWeights,
    LossBalancer,
    TaskPrioritisation,
    Uncertainty,
    priority,
)
from transfer.dense.config import ADMITTED, Architecture, BalanceConfig, MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.gradients import (
    GradDrop,
    GradNorm,
    PCGrad,
    backward,
    build_balancer,
    gradnorm_loss,
    project_conflicts,
    sign_mask,
    sign_purity,
)
from transfer.dense.losses import DenseTask
from transfer.dense.sharing import Predictions, SharingNetwork, build_network

TINY = NetworkConfig(arch="resnet18", width=4, head_width=8, head_rates=(1,), dropout=0.0, init_std=None)
TASKS = (DenseTask("segmentation", 4), DenseTask("normals", 3), DenseTask("depth", 1))
NAMES = ("fixed", "uncertainty", "dwa", "gradnorm", "dtp", "graddrop", "pcgrad")


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _dwa(epochs: list[tuple[float, ...]], *, tau: float = 2.0) -> DynamicWeightAverage:
    balancer = DynamicWeightAverage(len(epochs[0]), tau=tau)
    for losses in epochs:
        balancer([torch.tensor(loss) for loss in losses])
        balancer.epoch_end()
    return balancer


def test_dwa_waits_for_two_epochs() -> None:
    for epochs in ([], [(3.0, 5.0)]):
        weights = (_dwa(epochs) if epochs else DynamicWeightAverage(2)).weights()
        assert weights.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("ratios", "expected"),
    [((0.9, 0.5, 1.2), (1.0065, 0.8241, 1.1694)), ((0.1, 0.2), (0.9750, 1.0250)), ((0.7, 0.7), (1, 1))],
)
def test_dwa_weights_of_known_ratios(ratios: tuple[float, ...], expected: tuple[float, ...]) -> None:
    weights = _dwa([(1.0,) * len(ratios), ratios]).weights()
    assert weights.tolist() == pytest.approx(expected, abs=5e-5)
    assert float(weights.sum()) == pytest.approx(len(ratios))


def test_dwa_does_not_see_the_scale_of_a_loss_and_flattens_with_tau() -> None:
    plain, scaled = _dwa([(1.0, 2.0), (0.9, 1.0)]), _dwa([(100.0, 2.0), (90.0, 1.0)])
    assert plain.weights().tolist() == pytest.approx(scaled.weights().tolist())
    assert plain.weights()[0] > plain.weights()[1]
    assert _dwa([(1.0, 2.0), (0.9, 1.0)], tau=1e6).weights().tolist() == pytest.approx([1, 1], abs=1e-5)


def test_dwa_averages_over_the_epoch() -> None:
    balancer = DynamicWeightAverage(2)
    for epoch in ([(1.0, 1.0)], [(0.8, 1.0), (1.0, 1.4)]):
        for losses in epoch:
            balancer([torch.tensor(loss) for loss in losses])
        balancer.epoch_end()
    assert balancer.weights().tolist() == pytest.approx(_dwa([(1.0, 1.0), (0.9, 1.2)]).weights().tolist())


@pytest.mark.parametrize(("loss", "minimum"), [(2.0, 0.846574), (0.5, 0.153426)])
def test_uncertainty_is_least_at_the_logarithm_of_the_loss(loss: float, minimum: float) -> None:
    balancer = Uncertainty([True], init=math.log(loss))
    value = balancer([torch.tensor(loss)])
    value.backward()
    assert float(value.detach()) == pytest.approx(minimum, abs=1e-6)
    assert balancer.log_variance.grad is not None and float(balancer.log_variance.grad) == pytest.approx(0, abs=1e-6)


def test_uncertainty_at_its_usual_start() -> None:
    balancer = Uncertainty([True])
    value = balancer([torch.tensor(2.0)])
    value.backward()
    assert float(value.detach()) == pytest.approx(1.398721, abs=1e-6)
    assert float(balancer.log_variance.grad) == pytest.approx(-1.148721, abs=1e-6)  # type: ignore[arg-type]
    assert float(balancer.weights()) == pytest.approx(0.824361, abs=1e-6)
    assert float(Uncertainty([False]).weights()) == pytest.approx(2 * 0.824361, abs=1e-5)
    assert all(float(Uncertainty([True], init=s).weights()) > 0 for s in (-20.0, 0.0, 20.0))


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 3.0), (1.5, 1.833935)])
def test_gradnorm_toy(alpha: float, expected: float) -> None:
    weights = torch.ones(2, requires_grad=True)
    norms = torch.stack([torch.tensor([2.0, 0]).norm(), torch.tensor([3.0, 4]).norm()])
    losses = torch.tensor([12.0, 15.0], requires_grad=True)
    value = gradnorm_loss(weights, norms, losses, torch.tensor([20.0, 20]), alpha)
    value.backward()
    assert float(value.detach()) == pytest.approx(expected, abs=1e-6)
    assert weights.grad is not None and weights.grad.tolist() == pytest.approx([-2, 5])
    assert losses.grad is None


def test_gradnorm_makes_weighted_norms_equal() -> None:
    balancer = GradNorm(3, alpha=0.0, learning_rate=0.003)
    norms = [torch.tensor(norm) for norm in (2.0, 5.0, 1.0)]
    for _ in range(1500):
        balancer.update_from([0, 1, 2], torch.ones(3), norms)
        assert float(balancer.weights().sum()) == pytest.approx(3, abs=1e-5)
    assert balancer.weights().tolist() == pytest.approx([0.882, 0.353, 1.765], abs=0.02)


def test_gradnorm_leaves_the_networks_gradients_alone() -> None:
    layer = nn.Parameter(torch.tensor([1.0, 2.0]))
    losses = [layer.square().sum(), (3 * layer).sum()]
    balancer = GradNorm(2)
    balancer.update(losses, [layer])
    assert layer.grad is None and balancer.weights().tolist() != [1, 1]


@pytest.mark.parametrize(
    ("performance", "gamma", "expected"), [(0.5, 1, 0.346574), (0.1, 2, 1.865094), (0.9, 2, 0.00105361), (1.0, 2, 0.0)]
)
def test_priority_of_known_performances(performance: float, gamma: float, expected: float) -> None:
    value = float(priority(torch.tensor(performance, dtype=torch.float64), gamma))
    assert value == pytest.approx(expected, rel=1e-5)


def test_priority_falls_with_performance_and_averages_over_epochs() -> None:
    values = priority(torch.linspace(0.01, 1, 50), 1.0)
    assert bool((values[1:] < values[:-1]).all())
    newest = TaskPrioritisation(1, gamma=1.0, decay=1.0)
    for value in (0.2, 0.5):
        newest.observe([value])
    assert float(newest.weights()) == pytest.approx(0.346574, abs=1e-6)
    slow = TaskPrioritisation(1, gamma=1.0, decay=0.5)
    for value in (0.2, 0.8):
        slow.observe([value])
    assert float(slow.weights()) == pytest.approx(0.346574, abs=1e-6)


def test_pcgrad_projects_conflicts_and_leaves_agreement_alone() -> None:
    gradients = torch.tensor([[1.0, 0], [-1, 1]])
    projected = project_conflicts(gradients, generator=_generator())
    torch.testing.assert_close(projected, torch.tensor([[0.5, 0.5], [0, 1]]))
    assert PCGrad().combine(gradients, generator=_generator()).tolist() == pytest.approx([0.5, 1.5])
    agreeing = torch.tensor([[1.0, 0, 2], [0, 1, 1], [1, 1, 0]])
    torch.testing.assert_close(PCGrad().combine(agreeing, generator=_generator()), agreeing.sum(0))


def test_sign_dropout_of_a_known_pair() -> None:
    gradients = torch.tensor([[-4.0, 1, 1], [6, 1, 1]])
    torch.testing.assert_close(sign_purity(gradients), torch.tensor([0.6, 1, 1]))
    uniform = torch.rand(3, 200_000, generator=_generator())
    many = gradients[:, :, None].expand(2, 3, 200_000)
    passed = (sign_mask(many, uniform) * many).sum(0)
    assert set(passed[0].tolist()) == {-4, 6} and set(passed[1:].flatten().tolist()) == {2}
    assert float(passed[0].mean()) == pytest.approx(2, abs=0.05)


def test_sign_dropout_passes_one_sign_per_position_of_the_batch() -> None:
    features, gradients = torch.randn(2, 4, 5), torch.randn(3, 2, 4, 5)
    mixed = GradDrop(3).combine(features, gradients, range(3), generator=_generator())
    votes = (features.sign() * gradients).sum(1)
    options = [(torch.where(keep, 1.0, 0.0)[:, None] * gradients).sum(0) for keep in (votes >= 0, votes <= 0)]
    fits = torch.isclose(mixed, options[0]).all(0) | torch.isclose(mixed, options[1]).all(0)
    assert bool(fits.all())


def test_sign_dropout_leaves_agreement_and_leaks_alone() -> None:
    features = torch.rand(2, 3) + 0.1
    same, mixed, nothing = torch.rand(3, 2, 3), torch.randn(3, 2, 3), torch.zeros(3, 2, 3)
    for leak, gradients in ((0.0, same), (1.0, mixed), (0.0, nothing)):
        combined = GradDrop(3, leak=leak).combine(features, gradients, range(3), generator=_generator())
        torch.testing.assert_close(combined, gradients.sum(0))


def test_a_protected_task_passes_sign_dropout_unchanged() -> None:
    generator = _generator()
    features = torch.randn(2, 4, 5, generator=generator)
    units, hundreds = (torch.randint(-9, 10, (3, 2, 4, 5), generator=generator).float() * size for size in (1, 100))
    gradients = torch.cat([units[:1], hundreds[1:]])
    dropped, kept = (
        GradDrop(3, leak=leak).combine(features, gradients, range(3), generator=_generator()) - gradients[0]
        for leak in (0.0, (1.0, 0.0, 0.0))
    )
    assert bool((kept % 100 == 0).all()) and not bool((dropped % 100 == 0).all())
    assert not torch.equal(kept, gradients[1:].sum(0))  # the others are dropped as ever


def test_a_leak_stays_with_its_task_where_another_has_no_label() -> None:
    features, gradients = torch.randn(2, 6), torch.randn(2, 2, 6)
    drop, alone = GradDrop(3, leak=(0.0, 0.5, 1.0)), GradDrop(2, leak=(0.5, 1.0))
    expected = alone.combine(features, gradients, [0, 1], generator=_generator())
    assert torch.equal(drop.combine(features, gradients, [1, 2], generator=_generator()), expected)


@pytest.mark.parametrize("leak", [(1.0, 0.0), -0.5, (0.0, 0.0, 2.0)])
def test_leaks_that_fit_no_task_are_refused(leak: float | tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"graddrop_leak is .*; allowed: .*one number or"):
        MultitaskConfig(balance=BalanceConfig(graddrop_leak=leak))


def _balancer(name: str) -> nn.Module:
    return build_balancer(name, TASKS, BalanceConfig(), architecture="hard")


def _step(
    balancer: nn.Module, network: SharingNetwork, missing: tuple[int, ...] = (), order: tuple[int, ...] = (0, 1, 2)
) -> list[float | None]:
    """One backward pass; predictions squared are the losses."""

    def losses_of(predictions: Predictions) -> list[Tensor | None]:
        means = [torch.stack([part.square().mean() for part in predictions[task.name]]) for task in TASKS]
        return [None if number in missing else (1 + number) * means[number].sum() for number in order]

    network.zero_grad(set_to_none=True)
    images = torch.randn(2, 3, 32, 32, generator=_generator())
    return backward(balancer, network, images, losses_of, generator=_generator())  # type: ignore[arg-type]


def _hard(architecture: str = "hard") -> SharingNetwork:
    return build_network(architecture, TASKS, TINY, SharingConfig(pad_width=8), seed=0).eval()


@pytest.mark.parametrize("name", NAMES)
def test_a_task_without_labels_contributes_exactly_nothing(name: str) -> None:
    network = _hard()
    losses = _step(_balancer(name), network, missing=(1,))
    assert losses[1] is None and losses[0] is not None
    assert all(p.grad is None for p in network.heads["normals"].parameters())
    with_two = [p.grad.clone() for p in network.trunk.parameters() if p.grad is not None]  # type: ignore[union-attr]
    assert len(with_two) > 10
    for p in network.heads["normals"].parameters():
        p.data.mul_(1000)
    _step(_balancer(name), network, missing=(1,))
    again = [p.grad for p in network.trunk.parameters()]  # type: ignore[union-attr]
    assert all(g is not None and torch.equal(g, h) for g, h in zip(again, with_two, strict=True))


@pytest.mark.parametrize("name", ["fixed", "uncertainty", "dwa", "dtp", "gradnorm"])
def test_a_batch_without_any_label_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no task has a label"):
        _step(_balancer(name), _hard(), missing=(0, 1, 2))


@pytest.mark.parametrize("name", NAMES)
def test_state_goes_through_a_file(name: str, tmp_path: object) -> None:
    balancer, network = _balancer(name), _hard()
    for _ in range(3):
        _step(balancer, network)
        if isinstance(balancer, LossBalancer):
            balancer.epoch_end()
            balancer.observe([0.2, 0.4, 0.6])
    path = f"{tmp_path}/state.pt"
    torch.save(balancer.state_dict(), path)
    restored = _balancer(name)
    restored.load_state_dict(torch.load(path, weights_only=True))
    for one in (balancer, restored):
        _step(one, network)
    if isinstance(balancer, LossBalancer) and isinstance(restored, LossBalancer):
        assert torch.equal(balancer.weights(), restored.weights())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("pcgrad", "graddrop")])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1:4])
def test_the_order_of_the_tasks_does_not_matter(name: str, order: tuple[int, ...]) -> None:
    builders: dict[str, Callable[[tuple[int, ...]], LossBalancer]] = {
        "fixed": lambda rows: FixedWeights([(1.0, 2.0, 3.0)[i] for i in rows]),
        "uncertainty": lambda rows: Uncertainty([(False, True, True)[i] for i in rows]),
        "dwa": lambda rows: DynamicWeightAverage(3),
        "dtp": lambda rows: TaskPrioritisation(3),
        "gradnorm": lambda rows: GradNorm(3),
    }
    found = []
    for rows in ((0, 1, 2), order):
        balancer, network = builders[name](rows), _hard()
        for values in ((3.0, 2.0, 4.0), (1.0, 2.0, 1.0), (1.0, 0.5, 1.0)):
            balancer([torch.tensor(values[i]) for i in rows])
            balancer.epoch_end()
            balancer.observe([(0.1, 0.5, 0.8)[i] for i in rows])
        _step(balancer, network, order=rows)
        found.append({i: float(w) for i, w in zip(rows, balancer.weights(), strict=True)})
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_permuted_gradients_give_the_same_combination() -> None:
    gradients = torch.randn(2, 6)
    first, second = (PCGrad().combine(rows, generator=_generator()) for rows in (gradients, gradients.flip(0)))
    torch.testing.assert_close(first, second)
    features, at_features = torch.randn(2, 6), torch.randn(3, 2, 6)
    one, two = (
        GradDrop(3).combine(features, rows, range(3), generator=_generator())
        for rows in (at_features, at_features.flip(0))
    )
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("architecture", ["hard", "cross_stitch", "mtan", "pad_net", "adashare"])
def test_pcgrad_without_conflict_is_the_plain_sum(architecture: str) -> None:
    network = _hard(architecture)

    class Agreeing(PCGrad):
        def combine(self, gradients: Tensor, *, generator: torch.Generator) -> Tensor:
            return gradients.sum(0)

    _step(Agreeing(), network)
    summed = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    _step(FixedWeights([1.0] * 3), network)
    plain = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    assert len(plain) > 10 and summed.keys() == plain.keys()
    for name, value in summed.items():
        torch.testing.assert_close(value, plain[name], rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", ["hard", "pad_net"])
def test_graddrop_that_leaks_everything_is_the_plain_sum(architecture: str) -> None:
    network = _hard(architecture)
    _step(GradDrop(3, leak=1.0), network)
    leaked = {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}
    _step(FixedWeights([1.0] * 3), network)
    assert len(leaked) > 10
    for name, p in network.named_parameters():
        torch.testing.assert_close(leaked[name], p.grad, rtol=5e-3, atol=1e-4)


@pytest.mark.parametrize("architecture", get_args(Architecture))
@pytest.mark.parametrize("name", ["uncertainty", "dwa"])
def test_balancers_of_losses_work_with_every_architecture(name: str, architecture: str) -> None:
    network = _hard(architecture)
    _step(build_balancer(name, TASKS, BalanceConfig(), architecture=architecture), network)
    assert all(p.grad is not None for p in network.parameters() if p is not getattr(network, "logits", None))


@pytest.mark.parametrize("name", sorted(ADMITTED))
def test_a_balancer_refuses_what_it_cannot_balance(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} does not work with single_task; allowed: hard"):
        build_balancer(name, TASKS, BalanceConfig(), architecture="single_task")
    for architecture in ADMITTED[name]:
        _step(build_balancer(name, TASKS, BalanceConfig(), architecture=architecture), _hard(architecture))
