"""Linear probe: multinomial logistic regression on cached features, solved by L-BFGS over a sweep of regularisations.

Protocol, as `transfer.score.final` runs it: features of a frozen network in eval mode, no augmentation, every dimension
brought to mean 0 and deviation 1; cross-entropy summed over images plus l2/2 |W|^2, the bias free, so that l2 is 1/C of
scikit-learn; 45 values of l2, evenly spaced in log from 1e-6 to 1e5. The value with the best top-1 on held-out training
images (of equal ones the strongest) is fitted again on all training images, a validation part included, and predicts
the test images once; top-1 in percent.
Source: Kornblith et al. 2019, "Do better ImageNet models transfer better?", logistic regression on fixed features.
Deviations:
1. Features are standardised, by the training images of each fit (`ScoreConfig.scaling`: normalise or none instead).
2. The value is chosen by 5-fold cross-validation, in `simpath run` always, in `simpath evaluate` up to 5,000 training
   images; beyond, as in the paper on a validation part, 30 % of the training images where the task has none.
3. `simpath run` tries 15 values, from 1e-3 to 1e4 (`transfer.score.SWEEP_SHORT`).
4. The path goes from strong to weak, and a start is made from the last three solutions instead of being the last one.
5. A solution is final when the objective is estimated to be 1e-5 of its value above the minimum.
6. The test transform is that of Task2Sim's downstream tasks (Resize 256, centre crop 224; reference task2sim.md,
   section 3), not the whole image.
7. Top-1 for every task; the paper has the mean per class for some. It is reported beside top-1 where a task's community
   does (`also_report`).
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import scipy.linalg
from threadpoolctl import threadpool_limits

from transfer.curvature import Memory, add_ridge
from transfer.softmax import class_curvature, cross_entropy

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

    `l2` is 1/C of scikit-learn. Call `solve` from strong to weak: each solution starts from the ones before.

    What makes a sweep fast, all of it exact. 1. Features are centred (the free bias absorbs the shift) and rotated into
    their principal axes (|W| does not change); with fewer images than dimensions this also shrinks the problem to their
    span. 2. There L-BFGS starts from a diagonal inverse Hessian, 1 / (variance * curvature of the class + l2/n), which
    removes most of the ill-conditioning. 3. L-BFGS's pairs live on from one l2 to the next: what l2 adds to a pair is
    known, so only the data's part is kept, and that part is scaled as each class's curvature falls while the model
    grows confident. 4. The start is extrapolated from the last three solutions along log l2, moved by a Newton step in
    the plane that they span, and taken if its objective is lower. 5. Logits are linear in the step, so neither a line
    search nor the start's choice costs a matrix product: one iteration is two products. Losses and residuals are
    computed without cancellation, so that weak values, whose losses are 1e-6, converge in float32 too.

    Args:
        features: (N, D) float32, scaled already.
        labels: (N,) int64.
        num_classes: C.
        history: pairs that L-BFGS remembers.

    Raises:
        ValueError: a feature is not finite.
    """

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, num_classes: int, *, history: int = 40) -> None:
        import torch

        self.mean = features.mean(0)
        if not bool(torch.isfinite(self.mean).all()):
            raise ValueError("features hold values that are not finite")
        with _blas_threads():
            self._rotate(features - self.mean)
        self.count = len(features)
        self.labels = labels[None]  # (1, N)
        self.guessing = math.log(num_classes)  # objective of all-zero weights
        self.memory = Memory(history)
        rank = self.axes.shape[1]
        self.at = self._point(torch.zeros(num_classes, rank + 1), torch.zeros(num_classes, self.count))
        self.slope = self._data_gradient(self.at)
        self.curvature = class_curvature(self.at.residual)
        self.path: list[_Solved] = []  # the last three

    def _rotate(self, centred: torch.Tensor) -> None:
        """Principal axes (D, R) of the features, how they vary (R,), and the features in them, both ways."""
        import torch

        count, dims = centred.shape
        # The Gram matrix of the smaller side; float64, because its small eigenvalues decide the weak
        # regularisations.
        gram = _product(centred, centred.T) if count < dims else _product(centred.T, centred)
        values, vectors = map(
            torch.from_numpy, scipy.linalg.eigh(gram.double().numpy(), driver="evd", overwrite_a=True)
        )
        keep = values > 1e-7 * values[-1].clamp_min(1e-30)
        values, vectors = values[keep], vectors[:, keep]
        if count < dims:
            self.axes = _product(centred.T, (vectors / values.sqrt()).float())
        else:
            self.axes = vectors.float().contiguous()
        self.inputs = _product(centred, self.axes)
        self.inputs_by_axis = self.inputs.T.contiguous()  # (R, N): the copy makes the forward product a seventh faster
        self.variance = (values / count).float()

    def solve(self, l2: float, *, tolerance: float = 1e-5, max_iterations: int = 500) -> Fit:
        """L-BFGS until the estimated relative excess of the objective, g' H0 g / (2 f), is below the
        tolerance.

        Raises:
            ValueError: l2 is not above 0.
        """
        if not l2 > 0:
            raise ValueError(f"l2 {l2}: must be above 0")
        with _blas_threads():
            return self._solve(l2, tolerance, max_iterations)

    def _solve(self, l2: float, tolerance: float, max_iterations: int) -> Fit:
        ridge = l2 / self.count
        before = self.curvature
        moved = self._extrapolate(math.log(l2), ridge)
        self.memory.adapt(ridge, (self.curvature / before)[:, None], newest_fits=moved)
        iterations, converged = 0, False
        while True:
            objective = self.at.objective(ridge)
            gradient = add_ridge(self.slope, self.at.solution, ridge)
            inverse = self._inverse_diagonal(ridge)
            scale = max(min(objective, self.guessing - objective), 1e-30)
            converged = float((gradient.square() * inverse).sum()) < 2 * tolerance * scale
            if converged or iterations == max_iterations:
                break
            found = self._search(self.memory.direction(gradient, inverse), gradient, ridge)
            if found is None:  # no decrease that float32 can see
                converged = True
                break
            self._move(found)
            iterations += 1
        place = math.log(l2)
        others = [known for known in self.path if known.place != place]
        self.path = [*others[-2:], _Solved(place, self.at.solution, self.at.scores)]
        weight = _product(self.axes, self.at.solution[:, :-1].T)
        return Fit(l2, weight, self.at.solution[:, -1] - self.mean @ weight, iterations, converged)

    def _point(self, solution: torch.Tensor, scores: torch.Tensor) -> _Point:
        loss, residual = cross_entropy(scores, self.labels)
        return _Point(solution, scores, loss, residual)

    def _move(self, point: _Point) -> None:
        """Go there, and remember how the data's gradient changed on the way."""
        slope = self._data_gradient(point)
        self.memory.add(point.solution - self.at.solution, slope - self.slope)
        self.at, self.slope, self.curvature = point, slope, class_curvature(point.residual)

    def _extrapolate(self, position: float, ridge: float) -> bool:
        """Move to the polynomial through the last solutions (Lagrange, in log l2), if that lowers the objective.

        Of the polynomial and what a Newton step in the plane of the solutions makes of it, the better one counts.
        """
        places = [known.place for known in self.path]
        if len(places) < 2 or position in places:
            return False
        shares = [
            math.prod((position - other) / (place - other) for other in places if other != place) for place in places
        ]
        polynomial = self._combination(shares)
        newton = self._combination(self._newton_shares(shares, polynomial, ridge))
        guess = min(polynomial, newton, key=lambda point: point.objective(ridge))
        better = guess.objective(ridge) < self.at.objective(ridge)
        if better:
            self._move(guess)
        return better

    def _combination(self, shares: list[float]) -> _Point:
        """A share of each of the last solutions; logits are linear, so this costs no matrix product."""
        solution, scores = shares[0] * self.path[0].solution, shares[0] * self.path[0].scores
        for share, known in zip(shares[1:], self.path[1:], strict=True):
            solution.add_(known.solution, alpha=share)
            scores.add_(known.scores, alpha=share)
        return self._point(solution, scores)

    def _newton_shares(self, shares: list[float], point: _Point, ridge: float) -> list[float]:
        """Shares of the last solutions after a Newton step from a point that has the given ones; their sum stays 1."""
        import torch

        moves = list(pairwise(self.path))
        logits = [new.scores - old.scores for old, new in moves]
        # softmax sees no shift; with the true class's logit at 0 nothing cancels where residuals are tiny
        for moved in logits:
            moved -= moved.gather(0, self.labels)
        weighted = [point.residual * moved for moved in logits]
        means = torch.stack([part.sum(0) for part in weighted])  # (K, N)
        second = torch.tensor([[torch.vdot(a.flatten(), b.flatten()) for b in logits] for a in weighted])
        weights = torch.stack([(new.solution - old.solution)[:, :-1].flatten() for old, new in moves])
        gradient = means.sum(1) / self.count + ridge * (weights @ point.solution[:, :-1].flatten())
        hessian = ((second - means @ means.T) / self.count + ridge * (weights @ weights.T)).double()
        size = hessian.diagonal().clamp_min(1e-30).sqrt()
        scaled = hessian / size[:, None] / size + 1e-6 * torch.eye(len(moves), dtype=torch.float64)
        steps = (torch.linalg.solve(scaled, -gradient.double() / size) / size).tolist()
        before, after = [0.0, *steps], [*steps, 0.0]
        return [share + came - went for share, came, went in zip(shares, before, after, strict=True)]

    def _data_gradient(self, point: _Point) -> torch.Tensor:
        import torch

        gradient = torch.cat([_product(point.residual, self.inputs), point.residual.sum(1)[:, None]], dim=1)
        return gradient.div_(self.count)  # (C, R + 1)

    def _inverse_diagonal(self, ridge: float) -> torch.Tensor:
        """H0 (C, R + 1): 1 / (variance * curvature of the class + ridge); the bias has no ridge."""
        import torch

        curvature = self.curvature[:, None]
        return torch.cat([1 / (curvature * self.variance + ridge), 1 / curvature], dim=1)

    def _search(self, direction: torch.Tensor, gradient: torch.Tensor, ridge: float) -> _Point | None:
        """The first of the steps 1, then those that a parabola suggests, that decreases the objective enough.

        Armijo's condition alone: the problem is convex, so any pair is fit for the memory.
        """
        along = _product(direction[:, :-1], self.inputs_by_axis)
        along += direction[:, -1:]  # (C, N)
        start, slope, size = self.at.objective(ridge), float((direction * gradient).sum()), 1.0
        for _ in range(20):
            point = self._point(self.at.solution.add(direction, alpha=size), self.at.scores.add(along, alpha=size))
            excess = point.objective(ridge) - start - size * slope  # >= 0, by convexity
            if excess + (1 - 1e-4) * size * slope <= 0:
                return point
            size *= min(max(-slope * size / (2 * excess), 0.1), 0.9)
        return None


class _Solved(NamedTuple):
    """What is kept of a solved problem for the starts of the next ones."""

    place: float  # log l2
    solution: torch.Tensor  # (C, R + 1)
    scores: torch.Tensor  # (C, N)


@dataclass(frozen=True)
class _Point:
    """Weights in principal axes and what they give on the training set."""

    solution: torch.Tensor  # (C, R + 1), last column: bias
    scores: torch.Tensor  # (C, N) logits
    loss: float
    residual: torch.Tensor  # (C, N) probabilities minus one-hot labels

    def objective(self, ridge: float) -> float:
        return self.loss + 0.5 * ridge * float(self.solution[:, :-1].square().sum())


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Matrix product by NumPy's BLAS: PyTorch's reaches half its speed on AMD processors (docs/decisions.md)."""
    import torch

    return torch.from_numpy(left.numpy() @ right.numpy())


def _blas_threads() -> AbstractContextManager[object]:
    """NumPy's BLAS with as many threads as PyTorch."""
    import torch

    limits: AbstractContextManager[object] = threadpool_limits(torch.get_num_threads(), user_api="blas")
    return limits
