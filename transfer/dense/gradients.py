"""Balancers that work on gradients: GradNorm, PCGrad and gradient sign dropout; and the backward pass of a step.

In: the losses of a step and the network. Out: gradients in `.grad` of every parameter.

Source: `multitask.md` 2.7 (Chen et al. 2018; Yu et al. 2020; Chen et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from transfer.dense.balance import (
    DynamicWeightAverage,
    FixedWeights,
    LossBalancer,
    Losses,
    TaskPrioritisation,
    Uncertainty,
)
from transfer.dense.config import ADMITTED, BalanceConfig
from transfer.dense.losses import DenseTask
from transfer.dense.sharing import Predictions, SharingNetwork, distinct


class GradNorm(LossBalancer):
    """Weights that bring the gradient norms of all tasks at the last shared layer to one scale (paper's version).

    L_grad = sum |G_i - mean(G) r_i^alpha| with the target constant, G_i = w_i ||dL_i / dW||, r_i the loss relative to
    its first value, over the mean of these. The weights have an optimiser of their own (Adam), stay positive and
    sum to T.
    """

    LEAST = 1e-3

    def __init__(self, tasks: int, *, alpha: float = 1.5, learning_rate: float = 0.025) -> None:
        super().__init__(tasks)
        self.alpha = alpha
        self.values = nn.Parameter(torch.ones(tasks))
        self.register_buffer("first", torch.full((tasks,), torch.nan))
        self.optimizer = torch.optim.Adam([self.values], lr=learning_rate)

    def weights(self) -> Tensor:
        return self.values.detach().clone()

    def update(self, losses: Losses, layer: Sequence[nn.Parameter]) -> None:
        """One step of the weights; leaves the network's gradients alone. Call before the graph is freed."""
        present = self._present(losses)
        norms = [
            _norm(torch.autograd.grad(loss, layer, retain_graph=True, allow_unused=True), loss) for _, loss in present
        ]
        self.update_from([task for task, _ in present], torch.stack([loss.detach() for _, loss in present]), norms)

    def update_from(self, tasks: Sequence[int], losses: Tensor, norms: Sequence[Tensor]) -> None:
        """`update` with the gradient norms ||dL_i / dW|| of the labelled tasks given."""
        first = self.get_buffer("first")
        for task, loss in zip(tasks, losses, strict=True):
            if bool(first[task].isnan()):
                first[task] = loss
        rows = torch.tensor(tasks)
        loss = gradnorm_loss(
            self.values[rows], torch.stack(list(norms)).to(first), losses.to(first), first[rows], self.alpha
        )
        self.optimizer.zero_grad()
        (self.values.grad,) = torch.autograd.grad(loss, [self.values])
        self.optimizer.step()
        with torch.no_grad():
            self.values.clamp_(min=self.LEAST)
            self.values.mul_(self.tasks / self.values.sum())

    def get_extra_state(self) -> dict[str, Any]:
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state)


def gradnorm_loss(weights: Tensor, norms: Tensor, losses: Tensor, first: Tensor, alpha: float) -> Tensor:
    """L_grad with a gradient to the weights alone. (T,) each; `norms` of the unweighted losses' gradients."""
    scaled = weights * norms
    relative = losses / first
    target = scaled.mean() * (relative / relative.mean()) ** alpha
    return (scaled - target.detach()).abs().sum()


class GradientBalancer(nn.Module):
    """Per-task gradients of the shared parameters -> one gradient."""

    def combine(self, gradients: Tensor, *, generator: torch.Generator) -> Tensor:
        """(T', N) of the T' labelled tasks -> (N,)."""
        raise NotImplementedError


class PCGrad(GradientBalancer):
    """Each task's gradient loses what points against another task's (taken in random order); the results are summed."""

    def combine(self, gradients: Tensor, *, generator: torch.Generator) -> Tensor:
        return project_conflicts(gradients, generator=generator).sum(0)


def project_conflicts(gradients: Tensor, *, generator: torch.Generator) -> Tensor:
    """PCGrad's projected gradients. (T, N) -> (T, N)."""
    projected = gradients.clone()
    squares = gradients.square().sum(1)
    for task in range(len(gradients)):
        for other in torch.randperm(len(gradients), generator=generator).tolist():
            if other == task:
                continue
            product = projected[task] @ gradients[other]
            if product < 0:  # the other's gradient is not 0 then
                projected[task] -= product / squares[other] * gradients[other]
    return projected


class FeatureGradientBalancer(nn.Module):
    """Per-task gradients at the one feature map that all heads read -> one gradient."""

    def combine(
        self, features: Tensor, gradients: Tensor, tasks: Sequence[int], *, generator: torch.Generator
    ) -> Tensor:
        """(B, ...) features, (T', B, ...) gradients of the labelled tasks, their numbers -> (B, ...)."""
        raise NotImplementedError


class GradDrop(FeatureGradientBalancer):
    """Gradient sign dropout: at each position only gradients of one drawn sign pass, the same for the whole batch.

    Args:
        leak: share of each gradient that passes whatever its sign, for all tasks or one for each; 1 protects a task.
    """

    def __init__(self, tasks: int, *, leak: float | Sequence[float] = 0.0) -> None:
        super().__init__()
        self.leak = (float(leak),) * tasks if isinstance(leak, (int, float)) else tuple(leak)
        if len(self.leak) != tasks:
            raise ValueError(f"graddrop_leak is {leak}; allowed: one number or {tasks}, one per task")

    def combine(
        self, features: Tensor, gradients: Tensor, tasks: Sequence[int], *, generator: torch.Generator
    ) -> Tensor:
        votes = (features.sign() * gradients).sum(1, keepdim=True)
        uniform = torch.rand(votes.shape[1:], generator=generator, device=generator.device).to(votes)
        passed = sign_mask(votes, uniform)
        leak = gradients.new_tensor([self.leak[task] for task in tasks]).view(-1, *[1] * features.dim())
        return ((leak + (1 - leak) * passed) * gradients).sum(0)


def sign_purity(votes: Tensor) -> Tensor:
    """P = (1 + sum s / sum |s|) / 2, 1/2 where all votes are 0. (T, ...) -> (...)."""
    total, size = votes.sum(0), votes.abs().sum(0)
    return torch.where(size > 0, (1 + total / size.clamp_min(torch.finfo(size.dtype).tiny)) / 2, 0.5)


def sign_mask(votes: Tensor, uniform: Tensor) -> Tensor:
    """1 where a vote has the drawn sign (positive with probability P) or is 0. (T, ...), (...) -> (T, ...)."""
    positive = sign_purity(votes) > uniform
    return torch.where(positive, votes >= 0, votes <= 0).to(votes)


Balancer = LossBalancer | GradientBalancer | FeatureGradientBalancer


def build_balancer(name: str, tasks: Sequence[DenseTask], config: BalanceConfig, *, architecture: str) -> Balancer:
    """A balancer of `config.Balancer` for losses that carry their fixed weights already.

    Raises:
        ValueError: unknown, or it does not work with the architecture.
    """
    if architecture not in ADMITTED.get(name, (architecture,)):
        raise ValueError(f"balancer {name} does not work with {architecture}; allowed: {', '.join(ADMITTED[name])}")
    count = len(tasks)
    builders: dict[str, Callable[[], Balancer]] = {
        "fixed": lambda: FixedWeights([1.0] * count),
        "uncertainty": lambda: Uncertainty([task.regression for task in tasks], init=config.uncertainty_init),
        "dwa": lambda: DynamicWeightAverage(count, tau=config.dwa_tau),
        "dtp": lambda: TaskPrioritisation(count, gamma=config.dtp_gamma, decay=config.dtp_decay),
        "gradnorm": lambda: GradNorm(count, alpha=config.gradnorm_alpha, learning_rate=config.gradnorm_learning_rate),
        "graddrop": lambda: GradDrop(count, leak=config.graddrop_leak),
        "pcgrad": PCGrad,
    }
    if name not in builders:
        raise ValueError(f"unknown balancer {name!r}; allowed: {', '.join(builders)}")
    return builders[name]()


def backward(
    balancer: Balancer,
    network: SharingNetwork,
    images: Tensor,
    losses_of: Callable[[Predictions], Losses],
    *,
    generator: torch.Generator,
    context: AbstractContextManager[object] | None = None,
) -> list[float | None]:
    """Forward and backward pass of one step; gradients are added to `.grad`.

    Parameters that no labelled task reaches keep `.grad` None, so that an optimiser leaves them alone.

    Args:
        losses_of: predictions -> one loss per task, None without a label.
        generator: of the balancer's draws.
        context: of the forward pass (autocast).

    Returns:
        The losses as numbers.
    """
    if isinstance(balancer, FeatureGradientBalancer):
        losses = _backward_at_features(balancer, network, images, losses_of, generator, context or nullcontext())
    else:
        with context or nullcontext():
            predictions = network(images)
        losses = losses_of(predictions)
        if all(loss is None for loss in losses):
            raise ValueError("no task has a label in this batch")
        if isinstance(balancer, GradientBalancer):
            _backward_at_parameters(balancer, network, losses, generator)
        else:
            total = balancer(losses)
            if isinstance(balancer, GradNorm):
                balancer.update(losses, network.last_shared_layer())
            total.backward()
    penalty = network.penalty()
    if penalty is not None:
        penalty.backward()  # type: ignore[no-untyped-call]
    return [None if loss is None else float(loss.detach()) for loss in losses]


def _backward_at_features(
    balancer: FeatureGradientBalancer,
    network: SharingNetwork,
    images: Tensor,
    losses_of: Callable[[Predictions], Losses],
    generator: torch.Generator,
    context: AbstractContextManager[object],
) -> Losses:
    """One backward pass per task down to the common features, one through the trunk."""
    if not network.one_feature:
        raise ValueError(f"{type(network).__name__} has no feature map that all heads read")
    with context:
        features = network.features(images)[network.tasks[0]]
        leaf = features.detach().requires_grad_()
        predictions = network.predict(dict.fromkeys(network.tasks, leaf))
    losses = losses_of(predictions)
    trunk = {id(p) for p in network.trunk_parameters()}
    behind = [p for p in network.parameters() if id(p) not in trunk and p.requires_grad]
    per_task, tasks = [], []
    for number, loss in enumerate(losses):
        if loss is not None:
            tasks.append(number)
            gradient, *others = torch.autograd.grad(loss, [leaf, *behind], retain_graph=True, allow_unused=True)
            per_task.append(torch.zeros_like(leaf) if gradient is None else gradient)
            _add_gradients(behind, others)
    if not per_task:
        raise ValueError("no task has a label in this batch")
    combined = balancer.combine(leaf.detach(), torch.stack(per_task), tasks, generator=generator)
    features.backward(combined)  # type: ignore[no-untyped-call]
    return losses


def _backward_at_parameters(
    balancer: GradientBalancer, network: SharingNetwork, losses: Losses, generator: torch.Generator
) -> None:
    """One backward pass per task; the shared parameters' gradients are combined, the others' added."""
    shared = distinct(network.shared_parameters())
    known = {id(p) for p in shared}
    own = [p for p in network.parameters() if id(p) not in known and p.requires_grad]
    rows, touched = [], [False] * len(shared)
    for loss in losses:
        if loss is None:
            continue
        gradients = torch.autograd.grad(loss, [*shared, *own], retain_graph=True, allow_unused=True)
        touched = [old or new is not None for old, new in zip(touched, gradients, strict=False)]
        row = [torch.zeros_like(p) if g is None else g for p, g in zip(shared, gradients, strict=False)]
        rows.append(torch.cat([part.flatten() for part in row]))
        _add_gradients(own, gradients[len(shared) :])
    combined = balancer.combine(torch.stack(rows), generator=generator)
    parts = torch.split(combined, [p.numel() for p in shared])
    _add_gradients(
        shared, [part.view_as(p) if used else None for p, part, used in zip(shared, parts, touched, strict=True)]
    )


def _add_gradients(parameters: Sequence[nn.Parameter], gradients: Sequence[Tensor | None]) -> None:
    for parameter, gradient in zip(parameters, gradients, strict=True):
        if gradient is not None:
            parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad + gradient


def _norm(gradients: Sequence[Tensor | None], like: Tensor) -> Tensor:
    """Length of a gradient, 0 if the loss does not reach the parameters."""
    present = [g.square().sum() for g in gradients if g is not None]
    return torch.stack(present).sum().sqrt() if present else like.new_zeros(())
