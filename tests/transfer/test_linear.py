"""Logistic regression by L-BFGS against scikit-learn's, whatever the shape and the regularisation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Oracle

from transfer.linear import SWEEP_45, LogisticRegression, fit_scaler
from transfer.softmax import cross_entropy


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


@pytest.mark.parametrize(("count", "dims", "classes"), [(300, 20, 4), (50, 60, 3)])
def test_accuracy_at_the_default_tolerance_is_that_of_the_converged_solution(
    count: int, dims: int, classes: int
) -> None:
    """Over a sweep as it is run, warm-started; the second shape can be separated, so that weak values overfit."""
    features, labels = blobs(count + 4000, dims, classes)
    scaled = fit_scaler(features[:count], "standardise")(features)
    solver = LogisticRegression(scaled[:count], labels[:count], classes)
    test, answers = scaled[count:].double().numpy(), labels[count:].numpy()
    differences, accuracies = [], []
    for l2 in np.logspace(5, -6, 8):
        oracle = Oracle(C=1 / l2, solver="newton-cholesky", tol=1e-8, max_iter=200)
        oracle.fit(scaled[:count].double().numpy(), labels[:count].numpy())
        expected = 100 * oracle.score(test, answers)
        ours = solver.solve(float(l2)).logits(scaled[count:]).argmax(1).numpy()
        accuracies.append(expected)
        differences.append(abs(100 * float((ours == answers).mean()) - expected))
    assert len(differences) == 8 and max(differences) <= 0.2
    assert max(accuracies) - min(accuracies) > 3  # the regularisation matters here


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
    assert sum(fit.iterations for fit in fits) < 45 * 6


def test_extrapolated_and_carried_sweeps_still_end_at_the_minimum() -> None:
    features, labels = blobs(400, 40, 8)
    solver, exact = LogisticRegression(features, labels, 8), features.double()
    excesses = []
    for l2 in np.logspace(4, -3, 29):
        fit = solver.solve(float(l2), tolerance=1e-8, max_iterations=1000)
        oracle = Oracle(C=1 / l2, solver="newton-cholesky", tol=1e-10, max_iter=200).fit(exact.numpy(), labels.numpy())
        theirs = (torch.from_numpy(oracle.coef_.T), torch.from_numpy(oracle.intercept_))
        reached, least = (
            float(torch.nn.functional.cross_entropy(exact @ weight + bias, labels, reduction="sum"))
            + 0.5 * l2 * float(weight.square().sum())
            for weight, bias in ((fit.weight.double(), fit.bias.double()), theirs)
        )
        excesses.append(reached / least - 1)
    assert len(excesses) == 29 and min(excesses) > -1e-9 and max(excesses) < 1e-5


def test_the_same_value_twice_needs_no_further_step() -> None:
    features, labels = blobs(200, 20, 4)
    solver = LogisticRegression(features, labels, 4)
    fits = [solver.solve(l2) for l2 in (10.0, 10.0, 1.0, 1.0, 0.1)]
    assert fits[1].iterations == fits[3].iterations == 0 and fits[4].converged


def test_losses_and_residuals_keep_their_precision_when_tiny_or_huge() -> None:
    scores = torch.tensor([[30.0, 0.0, -5.0], [-200.0, 0.0, 100.0], [1.0, 2.0, 0.5]])
    labels = torch.tensor([[0], [0], [1]])
    losses = torch.nn.functional.cross_entropy(scores.double(), labels[:, 0], reduction="none")
    expected = scores.double().softmax(1).scatter(1, labels, 0.0)
    expected.scatter_(1, labels, -expected.sum(1, keepdim=True))
    for row in range(3):
        loss, residual = cross_entropy(scores[row, :, None], labels[row, :, None])
        assert loss == pytest.approx(float(losses[row]), rel=1e-6)
        torch.testing.assert_close(residual[:, 0].double(), expected[row], rtol=1e-6, atol=1e-30)


def test_a_regularisation_that_is_not_positive_is_refused() -> None:
    features, labels = blobs(20, 4, 2)
    with pytest.raises(ValueError, match="must be above 0"):
        LogisticRegression(features, labels, 2).solve(0.0)


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


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = blobs(20, 4, 2)
    features[3, 1] = float("nan")
    with pytest.raises(ValueError, match="not finite"):
        LogisticRegression(features, labels, 2)


def test_scores_stay_those_of_the_solution_over_a_whole_sweep() -> None:
    features, labels = blobs(300, 60, 6)
    solver = LogisticRegression(fit_scaler(features, "standardise")(features), labels, 6)
    for l2 in reversed(SWEEP_45):
        solver.solve(l2)
    scores = solver.inputs @ solver.at.solution[:, :-1].T + solver.at.solution[:, -1]
    spread = float(scores.max() - scores.min())
    assert float((scores.T - solver.at.scores).abs().max()) < 1e-4 * spread
