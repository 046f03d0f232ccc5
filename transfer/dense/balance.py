"""Balancers of several losses: how T losses become one scalar.

In: the losses of a step, None where a task has no label. Out: a scalar to back-propagate, in which such a task
contributes exactly 0. `gradients.py` has the balancers that need gradients.

Source: `multitask.md` 2.7: fixed weights, uncertainty (Kendall et al. 2018), dynamic weight average (Liu et al. 2019),
dynamic task prioritisation (Guo et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

Losses = Sequence[Tensor | None]
"""One scalar per task, None without a label."""


class LossBalancer(nn.Module):
    """losses -> scalar."""

    needs_performance = False
    """Whether `observe` wants each task's performance at the end of an epoch."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.tasks = tasks

    def weights(self) -> Tensor:
        """(T,) current factor of each loss, without gradient."""
        raise NotImplementedError

    def forward(self, losses: Losses) -> Tensor:
        present = self._present(losses)
        weights = self.weights()
        return torch.stack([weights[task].to(loss) * loss for task, loss in present]).sum()

    def epoch_end(self) -> None:
        """Called after every pass over the training images."""

    def observe(self, performance: Sequence[float | None]) -> None:
        """Performance of each task in 0 to 1 over the last epoch, None if it was not measured."""

    def _present(self, losses: Losses) -> list[tuple[int, Tensor]]:
        if len(losses) != self.tasks:
            raise ValueError(f"{len(losses)} losses for {self.tasks} tasks")
        present = [(task, loss) for task, loss in enumerate(losses) if loss is not None]
        if not present:
            raise ValueError("no task has a label in this batch")
        return present


class FixedWeights(LossBalancer):
    """sum w_i L_i."""

    def __init__(self, weights: Sequence[float]) -> None:
        super().__init__(len(weights))
        self.register_buffer("fixed", torch.tensor(weights, dtype=torch.float32))

    def weights(self) -> Tensor:
        return self.get_buffer("fixed")


class Uncertainty(LossBalancer):
    """L_i / (2 e^s_i) + s_i / 2 for regression, L_i / e^s_i + s_i / 2 for classification, s_i = log sigma_i^2 learned.

    Args:
        regression: per task.
        init: of s; 0 is neutral, -0.5 what mtan and LibMTL use.
    """

    def __init__(self, regression: Sequence[bool], *, init: float = -0.5) -> None:
        super().__init__(len(regression))
        self.log_variance = nn.Parameter(torch.full((len(regression),), init))
        self.register_buffer("share", torch.tensor([0.5 if one else 1.0 for one in regression]))

    def weights(self) -> Tensor:
        return (self.get_buffer("share") * torch.exp(-self.log_variance)).detach()

    def forward(self, losses: Losses) -> Tensor:
        present = self._present(losses)
        factors = self.get_buffer("share") * torch.exp(-self.log_variance)
        return torch.stack([factors[task] * loss + self.log_variance[task] / 2 for task, loss in present]).sum()


class DynamicWeightAverage(LossBalancer):
    """T softmax(r / tau), r_i = mean loss of the last epoch over that of the one before; 1 during two epochs."""

    def __init__(self, tasks: int, *, tau: float = 2.0) -> None:
        super().__init__(tasks)
        self.tau = tau
        self.register_buffer("sums", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("counts", torch.zeros(tasks, dtype=torch.float64))
        self.register_buffer("means", torch.full((2, tasks), torch.nan, dtype=torch.float64))

    def forward(self, losses: Losses) -> Tensor:
        with torch.no_grad():
            for task, loss in self._present(losses):
                self.get_buffer("sums")[task] += loss.detach().double()
                self.get_buffer("counts")[task] += 1
        return super().forward(losses)

    def weights(self) -> Tensor:
        before, last = self.get_buffer("means")
        ratios = torch.where(before.isnan() | last.isnan(), 1.0, last / before)
        return (self.tasks * torch.softmax(ratios / self.tau, dim=0)).float()

    def epoch_end(self) -> None:
        sums, counts, means = (self.get_buffer(name) for name in ("sums", "counts", "means"))
        # a task without a label in this epoch keeps its last mean, so that its ratio is 1
        last = torch.where(counts > 0, sums / counts.clamp_min(1), means[1])
        means.copy_(torch.stack([means[1], last]))
        sums.zero_()
        counts.zero_()


class TaskPrioritisation(LossBalancer):
    """-(1 - k_i)^gamma log k_i with k_i the moving average of the task's performance; 1 before any measurement.

    Args:
        decay: share of the newest measurement in the average.
    """

    needs_performance = True
    LEAST = 1e-4

    def __init__(self, tasks: int, *, gamma: float = 1.0, decay: float = 0.5) -> None:
        super().__init__(tasks)
        self.gamma, self.decay = gamma, decay
        self.register_buffer("performance", torch.full((tasks,), torch.nan, dtype=torch.float64))

    def weights(self) -> Tensor:
        known = self.get_buffer("performance")
        return torch.where(known.isnan(), 1.0, priority(known.nan_to_num(1.0), self.gamma)).float()

    def observe(self, performance: Sequence[float | None]) -> None:
        known = self.get_buffer("performance")
        for task, value in enumerate(performance):
            if value is not None:
                newest = min(1.0, max(self.LEAST, value))
                old = float(known[task])
                known[task] = newest if old != old else self.decay * newest + (1 - self.decay) * old


def priority(performance: Tensor, gamma: float) -> Tensor:
    """-(1 - k)^gamma log k: 0 at k = 1, falling in k."""
    return -((1 - performance) ** gamma) * torch.log(performance)
