"""The network: shapes, sums, gradients against finite differences, the exact projection, the optimisers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from controller.policy import (
    action_log_probabilities,
    adam_step,
    backward,
    forward,
    init_weights,
    log_probabilities,
    sgd_step,
    span_of,
)

SIZES = (2, 3, 1, 4)


def network(inputs: int = 5, hidden: int = 7):
    return init_weights(np.random.default_rng(0), inputs, hidden, SIZES)


def test_task2sims_network_has_4007216_parameters() -> None:
    weights = init_weights(np.random.default_rng(0), 9600, 400, (2,) * 8)
    assert sum(weight.size for weight in weights.values()) == 4_007_216


def test_every_head_sums_to_one() -> None:
    likely = np.exp(log_probabilities(network(), np.random.default_rng(1).normal(size=(6, 5)), SIZES))
    heads = np.split(likely, np.cumsum(SIZES)[:-1], axis=1)
    assert len(heads) == 4
    for head in heads:
        np.testing.assert_allclose(head.sum(axis=1), 1, atol=1e-12)


def test_permuting_the_tasks_permutes_the_outputs() -> None:
    x = np.random.default_rng(1).normal(size=(6, 5))
    order = np.array([3, 1, 5, 0, 2, 4])
    np.testing.assert_allclose(
        log_probabilities(network(), x[order], SIZES), log_probabilities(network(), x, SIZES)[order], atol=1e-14
    )


def test_gradients_agree_with_finite_differences() -> None:
    rng = np.random.default_rng(2)
    weights, x, coefficients = network(), rng.normal(size=(4, 5)), rng.normal(size=(4, sum(SIZES)))
    log_probs, cache = forward(weights, x, SIZES)
    gradients = backward(weights, cache, log_probs, coefficients, SIZES)
    checked = 0
    for name, weight in weights.items():
        for index in rng.choice(weight.size, size=min(6, weight.size), replace=False):
            place = np.unravel_index(index, weight.shape)
            values = []
            for step in (1e-6, -1e-6):
                moved = weights | {name: weight.copy()}
                moved[name][place] += step
                values.append(float((coefficients * log_probabilities(moved, x, SIZES)).sum()))
            assert gradients[name][place] == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)
            checked += 1
    assert checked == 36


def test_training_in_the_span_of_the_vectors_is_exact() -> None:
    """SGD with momentum and weight decay on 40 inputs equals the same on the 3 coordinates of the vectors' span."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(3, 40))
    basis, coordinates = span_of(vectors)
    assert basis.shape == (3, 40)
    np.testing.assert_allclose(coordinates @ basis, vectors, atol=1e-12)
    full = init_weights(np.random.default_rng(5), 40, 7, SIZES)
    small = init_weights(np.random.default_rng(5), 40, 7, SIZES, basis)
    assert small["w1"].shape == (7, 3)
    momenta = [{name: np.zeros_like(w) for name, w in weights.items()} for weights in (full, small)]
    for _ in range(25):
        coefficients = rng.normal(size=(3, sum(SIZES)))
        states = []
        for weights, x, momentum in ((full, vectors, momenta[0]), (small, coordinates, momenta[1])):
            log_probs, cache = forward(weights, x, SIZES)
            gradients = backward(weights, cache, log_probs, coefficients, SIZES)
            states.append(sgd_step(weights, gradients, momentum, learning_rate=0.05, decay=0.01, beta=0.9))
        (full, momenta[0]), (small, momenta[1]) = states
    np.testing.assert_allclose(
        log_probabilities(full, vectors, SIZES), log_probabilities(small, coordinates, SIZES), atol=1e-10
    )


def test_vectors_on_a_line_span_one_dimension() -> None:
    basis, coordinates = span_of(np.outer([1.0, 2.0, -3.0], np.arange(1, 6)))
    assert basis.shape == (1, 5) and coordinates.shape == (3, 1)


def test_optimisers_are_torchs() -> None:
    start, gradients = np.array([1.0, -2.0, 3.0]), np.random.default_rng(4).normal(size=(6, 3))
    for kind in ("sgd", "adam"):
        parameter = torch.nn.Parameter(torch.from_numpy(start.copy()))
        optimizer = (
            torch.optim.SGD([parameter], lr=0.1, momentum=0.9, weight_decay=0.01)
            if kind == "sgd"
            else torch.optim.AdamW([parameter], lr=0.1, betas=(0.9, 0.99), weight_decay=0.01)
        )
        weights, first, second = {"w": start}, {"w": np.zeros(3)}, {"w": np.zeros(3)}
        for step, gradient in enumerate(gradients, start=1):
            parameter.grad = torch.from_numpy(gradient)
            optimizer.step()
            if kind == "sgd":
                weights, first = sgd_step(weights, {"w": gradient}, first, learning_rate=0.1, decay=0.01, beta=0.9)
            else:
                weights, first, second = adam_step(
                    weights, {"w": gradient}, first, second, step=step, learning_rate=0.1, decay=0.01
                )
        np.testing.assert_allclose(weights["w"], parameter.detach().numpy(), atol=1e-10)


def test_an_actions_probability_is_the_product_over_parameters() -> None:
    log_probs = log_probabilities(network(), np.ones((2, 5)), SIZES)
    actions = np.array([[0, 2, 0, 3], [1, 0, 0, 1]])
    found = action_log_probabilities(log_probs, actions, SIZES)
    assert found.shape == (2, 2)
    assert found[1, 0] == pytest.approx(log_probs[1, 0] + log_probs[1, 4] + log_probs[1, 5] + log_probs[1, 9])
