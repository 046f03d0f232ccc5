"""Logistic regression by L-BFGS against scikit-learn's, whatever the shape and the regularisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Oracle

from transfer.linear import SWEEP_45, LogisticRegression, fit_scaler


def blobs(count: int, dims: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes with strongly unequal variances per direction."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    centres = rng.normal(size=(classes, dims)) * 0.4
    features = (centres[labels] + rng.normal(size=(count, dims))) * np.logspace(0.5, -1.5, dims) + 3
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


@pytest.mark.parametrize(("count", "dims", "classes"), [(300, 20, 4), (60, 120, 3), (200, 15, 2)])
@pytest.mark.parametrize("l2", [100.0, 1.0, 0.01])
def test_probabilities_equal_those_of_scikit_learn(count: int, dims: int, classes: int, l2: float) -> None:
    features, labels = blobs(count + 100, dims, classes)
    train, test = features[:count], features[count:]
    fit = LogisticRegression(train, labels[:count], classes).solve(l2, tolerance=1e-9, max_iterations=500)
    oracle = Oracle(C=1 / l2, solver="newton-cholesky", tol=1e-8, max_iter=200)
    oracle.fit(train.double().numpy(), labels[:count].numpy())
    expected = oracle.predict_proba(test.double().numpy())
    if classes == 2:
        # scikit-learn fits one vector there: two of half its size cost half as much, so twice the penalty is its equal
        fit = LogisticRegression(train, labels[:count], 2).solve(2 * l2, tolerance=1e-9, max_iterations=500)
    np.testing.assert_allclose(fit.logits(test).softmax(1).numpy(), expected, atol=5e-3)
    assert fit.converged


def test_a_warm_started_sweep_ends_where_single_solutions_end() -> None:
    features, labels = blobs(250, 30, 5)
    solver = LogisticRegression(features, labels, 5)
    values = (1000.0, 100.0, 10.0, 1.0, 0.1)
    swept = [solver.solve(l2, tolerance=1e-8) for l2 in values]
    for l2, fit in zip(values, swept, strict=True):
        alone = LogisticRegression(features, labels, 5).solve(l2, tolerance=1e-8, max_iterations=300)
        difference = (fit.logits(features).softmax(1) - alone.logits(features).softmax(1)).abs().max()
        assert float(difference) < 2e-3


def test_a_whole_sweep_takes_few_iterations_and_always_converges() -> None:
    features, labels = blobs(300, 60, 6)
    solver = LogisticRegression(fit_scaler(features, "standardise")(features), labels, 6)
    fits = [solver.solve(l2) for l2 in reversed(SWEEP_45)]
    assert len(fits) == 45 and all(fit.converged for fit in fits)
    assert sum(fit.iterations for fit in fits) < 45 * 25


def test_constant_features_are_ignored() -> None:
    features, labels = blobs(100, 10, 3)
    constant = torch.cat([features, torch.full((100, 2), 7.0)], dim=1)
    fits = [LogisticRegression(fit_scaler(x, "standardise")(x), labels, 3).solve(1.0) for x in (features, constant)]
    scaled = [fit_scaler(x, "standardise")(x) for x in (features, constant)]
    torch.testing.assert_close(fits[0].logits(scaled[0]), fits[1].logits(scaled[1]), rtol=1e-3, atol=1e-3)
    assert float(scaled[1][:, 10:].abs().max()) == 0


def test_features_that_are_all_constant_give_the_class_frequencies() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    fit = LogisticRegression(torch.ones(4, 5), labels, 2).solve(1.0, tolerance=1e-9)
    np.testing.assert_allclose(fit.logits(torch.ones(1, 5)).softmax(1).numpy(), [[0.75, 0.25]], atol=1e-3)


def test_normalised_features_have_unit_length_and_scaling_none_changes_nothing() -> None:
    features, _ = blobs(20, 6, 2)
    torch.testing.assert_close(fit_scaler(features, "normalise")(features).norm(dim=1), torch.ones(20))
    torch.testing.assert_close(fit_scaler(features, "none")(features), features)
