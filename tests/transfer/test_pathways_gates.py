"""Gates: exact values, exact gradients, right probabilities."""

from __future__ import annotations

import pytest
import torch

from transfer.pathways.gates import (
    bernoulli_entropy,
    blend,
    bounded,
    choose,
    gumbel_noise,
    gumbel_soft,
    gumbel_straight_through,
    log_probability,
    sample_bernoulli,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_straight_through_gates_are_exactly_zero_or_one(dtype: torch.dtype) -> None:
    logits = (torch.randn(5000, 2, generator=generator()) * 4).to(dtype)
    gates = gumbel_straight_through(logits, tau=5.0, generator=generator(1))
    assert gates.dtype == dtype
    assert gates.eq(0).logical_or(gates.eq(1)).all() and gates.sum(dim=1).eq(1).all()
    assert 0 < gates[:, 1].float().mean() < 1


def test_straight_through_gradient_equals_its_closed_form() -> None:
    """d/dlogit_1 = d y_1 y_0 / tau and d/dlogit_0 its opposite, with y the relaxed sample of the same noise."""
    tau = 5.0
    logits = torch.randn(64, 2, generator=generator(), dtype=torch.float64, requires_grad=True)
    zero, one = torch.randn(2, 64, 3, 4, 4, generator=generator(1), dtype=torch.float64)
    upstream = torch.randn(64, 3, 4, 4, generator=generator(2), dtype=torch.float64)
    gates = gumbel_straight_through(logits, tau=tau, generator=generator(3))[:, 1]
    (blend(gates, zero, one) * upstream).sum().backward()
    soft = gumbel_soft(logits.detach(), tau=tau, generator=generator(3))
    expected = (upstream * (one - zero)).sum(dim=(1, 2, 3)) * soft[:, 0] * soft[:, 1] / tau
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad[:, 1], expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(logits.grad[:, 0], -expected, rtol=1e-12, atol=1e-14)
    assert expected.abs().min() > 0


@pytest.mark.parametrize("tau", [0.5, 5.0, 50.0])
@pytest.mark.parametrize("gap", [0.0, 1.5])
def test_choice_probability_depends_on_the_gap_and_not_on_the_temperature(tau: float, gap: float) -> None:
    logits = torch.tensor([0.0, gap]).expand(40_000, 2)
    share = gumbel_straight_through(logits, tau=tau, generator=generator(7))[:, 1].mean()
    expected = torch.sigmoid(torch.tensor(gap))
    assert abs(float(share - expected)) < 4 * (0.25 / 40_000) ** 0.5


def test_soft_gates_approach_one_hot_as_the_temperature_falls() -> None:
    logits = torch.randn(1000, 2, generator=generator())
    warm, cold = (gumbel_soft(logits, tau=tau, generator=generator(1)) for tau in (5.0, 0.01))
    assert torch.allclose(warm.sum(dim=1), torch.ones(1000))
    assert cold.max(dim=1).values.mean() > 0.99 > warm.max(dim=1).values.mean()


def test_noise_is_finite_and_reproducible() -> None:
    like = torch.zeros(100_000, dtype=torch.bfloat16)
    assert gumbel_noise(like, generator()).isfinite().all()
    assert torch.equal(gumbel_noise(like, generator(1)), gumbel_noise(like, generator(1)))
    assert abs(float(gumbel_noise(torch.zeros(100_000), generator()).mean()) - 0.5772) < 0.02


def test_choose_takes_the_likelier_way() -> None:
    assert choose(torch.tensor([[[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]]])).tolist() == [[1.0, 0.0, 0.0]]


def test_blend_is_bitwise_the_chosen_branch_even_beside_an_overflow() -> None:
    zero, one = torch.randn(2, 6, 3, 2, 2, generator=generator())
    gate = torch.tensor([0.0, 1.0, 1.0, 0.0, 1.0, 0.0])
    expected = torch.stack([(one if on else zero)[row] for row, on in enumerate(gate.bool())])
    assert torch.equal(blend(gate, zero, one), expected)
    zero[1], one[0] = float("inf"), float("nan")  # each in a row that chose the other branch
    assert torch.equal(blend(gate, zero, one), expected)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_a_gate_beside_an_overflow_gets_no_gradient_and_the_others_their_own(slope: float) -> None:
    """The gradient of the gate holds slope * (one - zero): inf, or NaN where the slope is 0."""
    zero, one = torch.randn(2, 3, 5, generator=generator())
    upstream = torch.ones(3, 5)
    upstream[1] = slope
    gradients = []
    for value in (0.5, float("inf")):
        zero[1, 0] = value
        gate = torch.tensor([0.0, 1.0, 1.0], requires_grad=True)
        blend(gate, zero, one).backward(upstream)  # type: ignore[no-untyped-call]
        assert gate.grad is not None
        gradients.append(gate.grad.tolist())
    assert gradients[1] == [gradients[0][0], 0.0, gradients[0][2]] and 0.0 not in gradients[0][::2]


def test_blend_has_the_gradient_of_the_arithmetic_mixture() -> None:
    values = [torch.randn(4, 3, 2, 2, generator=generator(i), dtype=torch.float64) for i in range(3)]
    gate = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    grads = []
    for mixed in (blend, lambda a, z, o: a.view(-1, 1, 1, 1) * o + (1 - a).view(-1, 1, 1, 1) * z):
        leaves = [tensor.clone().requires_grad_() for tensor in (gate, *values[:2])]
        (mixed(*leaves) * values[2]).sum().backward()
        grads.append([leaf.grad for leaf in leaves])
    for ours, slow in zip(*grads, strict=True):
        torch.testing.assert_close(ours, slow, rtol=1e-12, atol=1e-14)


def test_exploration_keeps_the_probability_between_one_minus_alpha_and_alpha() -> None:
    keep = torch.linspace(0, 1, 101, dtype=torch.float64, requires_grad=True)
    probability = bounded(keep, 0.8)
    assert abs(float(probability.detach().min()) - 0.2) < 1e-12 and abs(float(probability.detach().max()) - 0.8) < 1e-12
    (slope,) = torch.autograd.grad(probability.sum(), keep)
    torch.testing.assert_close(slope, torch.full_like(slope, 0.6))
    assert torch.equal(bounded(keep, 1.0), keep)


def test_bernoulli_draws_have_their_probability() -> None:
    draws = sample_bernoulli(torch.tensor([0.0, 0.3, 1.0]).expand(20_000, 3), generator())
    assert draws[:, 0].sum() == 0 and draws[:, 2].sum() == 20_000
    assert abs(float(draws[:, 1].mean()) - 0.3) < 0.015


def test_log_probability_and_entropies() -> None:
    probability = torch.tensor([[0.25, 0.25]], dtype=torch.float64)
    decisions = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(log_probability(decisions, probability).exp(), torch.tensor([[0.25, 0.75]]).double())
    grid = torch.linspace(0.01, 0.99, 99, dtype=torch.float64)
    assert grid[bernoulli_entropy(grid, "bernoulli").argmax()] == pytest.approx(0.5)
    assert grid[bernoulli_entropy(grid, "one_sided").argmax()] == pytest.approx(0.37)
    assert bernoulli_entropy(torch.tensor([0.0, 1.0]), "bernoulli").eq(0).all()
