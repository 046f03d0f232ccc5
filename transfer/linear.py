"""Linear probe: multinomial logistic regression on cached features, solved by L-BFGS over a sweep of
regularisations."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import torch

Scaling = Literal["standardise", "normalise", "none"]

SWEEP_45 = tuple(float(value) for value in np.logspace(-6, 5, 45))
"""lambda of Kornblith et al. 2019 ("Do better ImageNet models transfer better?"): 45 values from 1e-6 to
1e5."""


@dataclass(frozen=True)
class Scaler:
    """x -> (x - shift) * scale, then to unit length if `unit`; fitted on training features only."""

    shift: torch.Tensor  # (D,)
    scale: torch.Tensor  # (D,)
    unit: bool

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        from torch.nn.functional import normalize

        scaled = (features.float() - self.shift) * self.scale
        return normalize(scaled, dim=1) if self.unit else scaled


def fit_scaler(features: torch.Tensor, scaling: Scaling) -> Scaler:
    """`standardise`: zero mean, unit deviation per dimension (constant ones become 0). `normalise`: unit
    length."""
    import torch

    zeros, ones = torch.zeros(features.shape[1]), torch.ones(features.shape[1])
    if scaling == "standardise":
        deviation, mean = torch.std_mean(features.float(), dim=0, correction=0)
        floor = 1e-6 * float(deviation.max().clamp_min(1e-12))
        return Scaler(mean, torch.where(deviation > floor, 1 / deviation.clamp_min(floor), zeros), unit=False)
    return Scaler(zeros, ones, unit=scaling == "normalise")


@dataclass(frozen=True)
class Fit:
    """One solved problem of the sweep."""

    l2: float
    weight: torch.Tensor  # (D, C)
    bias: torch.Tensor  # (C,)
    iterations: int
    converged: bool

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        return features @ self.weight + self.bias


class LogisticRegression:
    """Minimise sum_i CE(x_i W + b, y_i) + l2/2 * |W|^2, the bias free, for one training set and any number
    of l2.

    `l2` is 1/C of scikit-learn. Successive calls of `solve` start from the last solution, so go from strong
    to weak.

    Three exact transformations make it fast. 1. Features are centred (the free bias absorbs the shift) and
    rotated into their principal axes (|W| does not change); with fewer images than dimensions this also
    shrinks the problem to their span. 2. There L-BFGS starts from a diagonal inverse Hessian, 1 / (variance
    * curvature + l2/n), which removes most of the ill-conditioning. 3. Logits are linear in the step, so a
    line search costs no matrix product: one iteration is two products.

    Args:
        features: (N, D) float32, scaled already.
        labels: (N,) int64.
        num_classes: C.
        history: pairs that L-BFGS remembers.
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, num_classes: int, *, history: int = 10) -> None:
        import torch

        self.mean = features.mean(0)
        centred = features - self.mean
        count, dims = centred.shape
        # The Gram matrix of the smaller side; float64, because its small eigenvalues decide the weak
        # regularisations.
        if count < dims:
            values, vectors = torch.linalg.eigh((centred @ centred.T).double())
            keep = values > 1e-7 * values[-1].clamp_min(1e-30)
            lengths = values[keep].sqrt()
            self.axes = (centred.T @ (vectors[:, keep] / lengths).float()).contiguous()  # (D, R)
        else:
            values, vectors = torch.linalg.eigh((centred.T @ centred).double())
            keep = values > 1e-7 * values[-1].clamp_min(1e-30)
            self.axes = vectors[:, keep].float().contiguous()  # (D, R)
        self.inputs = centred @ self.axes  # (N, R)
        self.variance = (values[keep] / count).float()  # (R,)
        self.labels = labels
        self.guessing = math.log(num_classes)  # objective of all-zero weights
        self.history = history
        self.solution = torch.zeros(self.axes.shape[1] + 1, num_classes)  # last row: bias
        self.scores = torch.zeros(count, num_classes)  # logits of the solution, kept in step with it

    def solve(self, l2: float, *, tolerance: float = 1e-5, max_iterations: int = 100) -> Fit:
        """L-BFGS until the estimated relative excess of the objective, g' H0 g / (2 f), is below the
        tolerance."""
        import torch

        count = len(self.labels)
        ridge = l2 / count
        objective, probabilities = self._evaluate(self.scores, self.solution, ridge)
        steps: list[torch.Tensor] = []
        changes: list[torch.Tensor] = []
        gradient = self._gradient(probabilities, self.solution, ridge)
        iterations, converged = 0, False
        while iterations < max_iterations:
            # Softmax's mean curvature p(1 - p) falls as the model grows confident; it scales the data term of H0.
            curvature = float((probabilities * (1 - probabilities)).mean()) + 1e-8
            inverse = torch.cat([1 / (self.variance * curvature + ridge), torch.tensor([1 / curvature])])[:, None]
            scale = max(min(objective, self.guessing - objective), 1e-5)
            if float((gradient * gradient * inverse).sum()) < 2 * tolerance * scale:
                converged = True
                break
            direction = -_two_loop(gradient, steps, changes, inverse)
            slope = float((direction * gradient).sum())
            if slope >= 0:  # rounding has spoilt the memory; start it anew
                steps, changes = [], []
                direction = -inverse * gradient
                slope = float((direction * gradient).sum())
            along = self.inputs @ direction[:-1] + direction[-1]  # (N, C)
            found = self._line_search(along, direction, slope, objective, ridge)
            if found is None:  # no decrease that float32 can see
                converged = True
                break
            size, objective, probabilities = found
            step = direction * size
            self.solution = self.solution + step
            self.scores = self.scores + along * size
            new_gradient = self._gradient(probabilities, self.solution, ridge)
            steps.append(step)
            changes.append(new_gradient - gradient)
            gradient = new_gradient
            if len(steps) > self.history:
                steps.pop(0)
                changes.pop(0)
            iterations += 1
        weight = self.axes @ self.solution[:-1]
        return Fit(l2, weight, self.solution[-1] - self.mean @ weight, iterations, converged)

    def _evaluate(self, scores: torch.Tensor, solution: torch.Tensor, ridge: float) -> tuple[float, torch.Tensor]:
        log_p = scores.log_softmax(1)
        loss = -float(log_p.gather(1, self.labels[:, None]).mean())
        return loss + 0.5 * ridge * float(solution[:-1].square().sum()), log_p.exp_()

    def _gradient(self, probabilities: torch.Tensor, solution: torch.Tensor, ridge: float) -> torch.Tensor:
        import torch

        residual = probabilities / len(self.labels)
        residual[torch.arange(len(self.labels)), self.labels] -= 1 / len(self.labels)
        gradient = torch.empty_like(solution)
        torch.matmul(self.inputs.T, residual, out=gradient[:-1])
        gradient[:-1] += ridge * solution[:-1]
        gradient[-1] = residual.sum(0)
        return gradient

    def _line_search(
        self, along: torch.Tensor, direction: torch.Tensor, slope: float, start: float, ridge: float
    ) -> tuple[float, float, torch.Tensor] | None:
        """Weak Wolfe conditions by bisection and secant; (step, objective, probabilities) or None."""
        low, high, low_slope, size = 0.0, float("inf"), slope, 1.0
        weights, shift = self.solution[:-1], direction[:-1]
        cross, square = float((weights * shift).sum()), float(shift.square().sum())
        own = along.gather(1, self.labels[:, None]).mean()
        for _ in range(20):
            objective, probabilities = self._evaluate(
                self.scores + along * size, self.solution + direction * size, ridge
            )
            data_slope = float((probabilities * along).sum() / len(along) - own)
            new_slope = data_slope + ridge * (cross + size * square)
            if objective > start + 1e-4 * size * slope:
                high = size
            elif new_slope < 0.9 * slope:
                low, low_slope = size, new_slope
            else:
                return size, objective, probabilities
            if high == float("inf"):
                size *= 4
            elif new_slope > 0:  # a secant step to the slope's zero, kept inside the bracket
                guess = low + (size - low) * low_slope / (low_slope - new_slope)
                size = min(max(guess, low + 0.1 * (high - low)), high - 0.1 * (high - low))
            else:
                size = (low + high) / 2
        return None


def _two_loop(
    gradient: torch.Tensor, steps: list[torch.Tensor], changes: list[torch.Tensor], inverse: torch.Tensor
) -> torch.Tensor:
    """L-BFGS's product of the inverse Hessian estimate with the gradient; `inverse` is the starting
    diagonal."""
    result = gradient.clone()
    used = []
    for step, change in zip(reversed(steps), reversed(changes), strict=True):
        rho = 1 / float((step * change).sum())
        alpha = rho * float((step * result).sum())
        result -= alpha * change
        used.append((rho, alpha))
    result *= inverse
    if steps:
        last = changes[-1]
        result *= float((steps[-1] * last).sum()) / float((last * inverse * last).sum())
    for (rho, alpha), step, change in zip(reversed(used), steps, changes, strict=True):
        result += step * (alpha - rho * float((change * result).sum()))
    return result
