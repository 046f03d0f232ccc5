"""Gates: from a policy network's logits to one decision per (sample, block), with a gradient or a log-probability.

Three kinds (BlockDrop document, section 2.0): Gumbel with a straight-through gradient (SpotTune), soft Gumbel
(AdaShare) and Bernoulli with a policy gradient (BlockDrop). All draws come from the generator that is handed in.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

_TINY = 1e-20


def gumbel_noise(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise of the shape, type and device of `like`: -log(-log(U)).

    Drawn in float32 at least, on the generator's device: U in bfloat16 would be exactly 0 or 1 now and then.
    """
    dtype = torch.promote_types(like.dtype, torch.float32)
    uniform = torch.rand(like.shape, generator=generator, dtype=dtype, device=generator.device)
    return -torch.log(-torch.log(uniform + _TINY) + _TINY).to(like.device, like.dtype)


def gumbel_soft(logits: Tensor, *, tau: float, generator: torch.Generator) -> Tensor:
    """Relaxed one-hot sample softmax((logits + g) / tau) over the last axis. (..., n) -> (..., n)."""
    return torch.softmax((logits + gumbel_noise(logits, generator)) / tau, dim=-1)


def gumbel_straight_through(logits: Tensor, *, tau: float, generator: torch.Generator) -> Tensor:
    """One-hot of arg max(logits + g) forward, the gradient of `gumbel_soft` backward. (..., n) -> (..., n).

    The value is exactly 0.0 or 1.0 in every floating type: the relaxed sample is subtracted from itself, not from one.
    """
    soft = gumbel_soft(logits, tau=tau, generator=generator)
    hard = torch.zeros_like(soft).scatter_(-1, soft.argmax(dim=-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())


def choose(logits: Tensor) -> Tensor:
    """Deterministic decision of two-way logits: 1 where the second is larger. (..., 2) -> (...)."""
    return (logits[..., 1] > logits[..., 0]).to(logits.dtype)


class _Blend(torch.autograd.Function):
    """Hard selection forward, the product rule of a * one + (1 - a) * zero backward.

    Written out because the arithmetic form turns an overflow in the branch that was *not* chosen into NaN (0 * inf);
    here the chosen branch passes bit for bit whatever the other one holds. The gate of a sample with such an overflow
    gets no gradient (where the chosen branch overflows, loss and weights tell).
    """

    @staticmethod
    def forward(ctx: Any, gate: Tensor, zero: Tensor, one: Tensor) -> Tensor:
        chosen = (gate > 0.5).view(-1, *[1] * (zero.dim() - 1))
        ctx.gate_dtype = gate.dtype
        ctx.save_for_backward(chosen, zero, one)
        return torch.where(chosen, one, zero)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        chosen, zero, one = ctx.saved_tensors
        for_gate = None
        if ctx.needs_input_grad[0]:
            # Summed in float32 at least: under autocast the branches are bfloat16 and a block has 10^5 values.
            product = (gradient * (one - zero)).flatten(1)
            for_gate = product.sum(dim=1, dtype=torch.promote_types(product.dtype, torch.float32)).to(ctx.gate_dtype)
            for_gate = torch.where(for_gate.isfinite(), for_gate, 0.0)
        for_zero = gradient.masked_fill(chosen, 0.0) if ctx.needs_input_grad[1] else None
        for_one = gradient.masked_fill(~chosen, 0.0) if ctx.needs_input_grad[2] else None
        return for_gate, for_zero, for_one


def blend(gate: Tensor, zero: Tensor, one: Tensor) -> Tensor:
    """`one` where the sample's gate is 1, `zero` where it is 0, with the gradient of the arithmetic mixture.

    Args:
        gate: (B,) exactly 0.0 or 1.0.
        zero, one: (B, ...) of one shape.
    """
    return _Blend.apply(gate, zero, one)  # type: ignore[no-any-return]


def bounded(keep: Tensor, alpha: float) -> Tensor:
    """Exploration bound of BlockDrop: q = alpha * s + (1 - alpha) * (1 - s), so q lies in [1 - alpha, alpha]."""
    return alpha * keep + (1.0 - alpha) * (1.0 - keep)


def sample_bernoulli(probability: Tensor, generator: torch.Generator) -> Tensor:
    """0.0 / 1.0 draws of the given probabilities; no gradient."""
    uniform = torch.rand(probability.shape, generator=generator, device=generator.device)
    return (uniform.to(probability.device) < probability).to(probability.dtype)


def log_probability(decisions: Tensor, probability: Tensor) -> Tensor:
    """log q(u) per block of Bernoulli decisions u in {0, 1} with q = probability of 1. (B, L), (B, L) -> (B, L)."""
    return torch.log(torch.where(decisions > 0.5, probability, 1.0 - probability))


def bernoulli_entropy(probability: Tensor, kind: Literal["bernoulli", "one_sided"]) -> Tensor:
    """Entropy per block: the Bernoulli's own, or the original's one-sided -q log q. (B, L) -> (B, L)."""
    entropy = -torch.xlogy(probability, probability)
    if kind == "one_sided":
        return entropy
    return entropy - torch.xlogy(1.0 - probability, 1.0 - probability)
