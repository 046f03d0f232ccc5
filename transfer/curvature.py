"""L-BFGS's memory of curvature for objectives with a ridge term whose weight changes from problem to problem."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def add_ridge(data: torch.Tensor, weights: torch.Tensor, ridge: float) -> torch.Tensor:
    """data + ridge * weights, except for the last column, the bias, which is free; (C, R + 1)."""
    total = data.add(weights, alpha=ridge)
    total[:, -1] = data[:, -1]
    return total


class Memory:
    """Pairs (step, change of the gradient), newest last.

    Of a change the data's part is kept apart. The ridge's part is ridge * step, so the pairs of one problem are exact
    secants of the next one's ridge too.

    Args:
        size: pairs remembered.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.ridge = 0.0
        self.steps: list[torch.Tensor] = []
        self.data_changes: list[torch.Tensor] = []
        self.changes: list[torch.Tensor] = []
        self.products: list[float] = []  # of steps with changes, all above 0

    def adapt(self, ridge: float, ratio: torch.Tensor, *, newest_fits: bool) -> None:
        """Turn all pairs into pairs of the next problem.

        Its data's Hessian is taken to be D^1/2 H D^1/2 with the old one's H, whose secants are D^-1/2 step and
        D^1/2 change.

        Args:
            ridge: the next problem's.
            ratio: D, what the curvature of each class is multiplied by, (C, 1) above 0.
            newest_fits: the newest pair is of the next problem already, up to its ridge.
        """
        root, stale = ratio.sqrt(), len(self.steps) - newest_fits
        steps = [step / root for step in self.steps[:stale]] + self.steps[stale:]
        data_changes = [change * root for change in self.data_changes[:stale]] + self.data_changes[stale:]
        self.ridge = ridge
        self.steps, self.data_changes, self.changes, self.products = [], [], [], []
        for step, data_change in zip(steps, data_changes, strict=True):
            self.add(step, data_change)

    def add(self, step: torch.Tensor, data_change: torch.Tensor) -> None:
        """Remember a pair, unless rounding has left it no positive curvature."""
        change = add_ridge(data_change, step, self.ridge)
        product = float((step * change).sum())
        if product <= 0:
            return
        self.steps.append(step)
        self.data_changes.append(data_change)
        self.changes.append(change)
        self.products.append(product)
        if len(self.steps) > self.size:
            for kept in (self.steps, self.data_changes, self.changes, self.products):
                del kept[0]

    def direction(self, gradient: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        """Minus the estimated inverse Hessian times the gradient (Nocedal and Wright 2006, algorithm 7.4).

        Args:
            gradient: (C, R + 1).
            inverse: diagonal of the inverse Hessian that the pairs correct, (C, R + 1) above 0. It is scaled
                so that it fits the newest pair.
        """
        result, shares = gradient.clone(), []
        for step, change, product in zip(
            reversed(self.steps), reversed(self.changes), reversed(self.products), strict=True
        ):
            shares.append(float((step * result).sum()) / product)
            result.sub_(change, alpha=shares[-1])
        result *= inverse
        if self.changes:
            result *= self.products[-1] / float((self.changes[-1].square() * inverse).sum())
        for step, change, product, share in zip(self.steps, self.changes, self.products, reversed(shares), strict=True):
            result.add_(step, alpha=share - float((change * result).sum()) / product)
        if float((result * gradient).sum()) <= 0:  # rounding has spoilt the pairs
            result = inverse * gradient
        return result.neg_()
