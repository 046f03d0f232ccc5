"""Executors: one gated network, one policy (B, L), several ways to compute the same numbers.

* `run_masked`: both ways of every block for the whole batch, then a selection. The only one that trains gates and BN.
* `run_subbatch`: each block runs just the samples that need it; one device-to-host copy for the whole policy.
* `run_grouped`: the batch split by distinct policies, each group through a dense sub-network.
* `StaticPlan`: one fixed policy; what nobody runs is not there.

A *unit* is one gated block with its two ways: `zero` for decision 0 and `one` for decision 1. BlockDrop skips or
keeps a block (`SkipUnit`), SpotTune takes the frozen or the tuned copy (`ChoiceUnit`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from transfer.pathways.gates import blend
from transfer.pathways.resnet import Block, GatedResNet, batch_norms


class Unit(Protocol):
    """Two ways through one block. All tensors are (B, C, H, W)."""

    def zero(self, x: Tensor) -> Tensor: ...

    def one(self, x: Tensor) -> Tensor: ...

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def split(self, x: Tensor, zero_rows: Tensor, one_rows: Tensor) -> Tensor: ...

    def modules(self) -> list[nn.Module]: ...


@dataclass(frozen=True)
class SkipUnit:
    """Decision 1 runs the block, decision 0 only its shortcut, without a ReLU."""

    block: Block

    def zero(self, x: Tensor) -> Tensor:
        shortcut: Tensor = self.block.shortcut(x)
        return shortcut

    def one(self, x: Tensor) -> Tensor:
        kept: Tensor = self.block(x)
        return kept

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        shortcut = self.zero(x)
        return shortcut, self.block.merge(shortcut, x)

    def split(self, x: Tensor, zero_rows: Tensor, one_rows: Tensor) -> Tensor:
        out = self.zero(x)
        kept = _take_rows(x, one_rows)
        shortcut = kept if self.block.keeps_shape else _take_rows(out, one_rows)
        # `out` is x itself when the shortcut is the identity: in place only where nobody needs x again.
        return _put_rows(out, one_rows, self.block.merge(shortcut, kept))

    def modules(self) -> list[nn.Module]:
        return [self.block]


@dataclass(frozen=True)
class ChoiceUnit:
    """Decision 1 runs the tuned copy of the block, decision 0 the frozen one."""

    frozen: Block
    tuned: Block

    def zero(self, x: Tensor) -> Tensor:
        out: Tensor = self.frozen(x)
        return out

    def one(self, x: Tensor) -> Tensor:
        out: Tensor = self.tuned(x)
        return out

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.zero(x), self.one(x)

    def split(self, x: Tensor, zero_rows: Tensor, one_rows: Tensor) -> Tensor:
        zero, one = self.zero(_take_rows(x, zero_rows)), self.one(_take_rows(x, one_rows))
        layout = (
            torch.channels_last if zero.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        )
        out = torch.empty((len(x), *zero.shape[1:]), dtype=zero.dtype, device=zero.device, memory_format=layout)
        return _put_rows(_put_rows(out, zero_rows, zero), one_rows, one)

    def modules(self) -> list[nn.Module]:
        return [self.frozen, self.tuned]


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] in x's own memory format: index_select alone would turn channels_last into a strided NCHW copy.

    As rows of a matrix, because index_select of the four-dimensional view is six times slower (7.0 against 1.1 ms for
    16 of 32 maps of 256 x 32 x 32).
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        last = x.permute(0, 2, 3, 1)
        return last.reshape(len(x), -1).index_select(0, rows).view(-1, *last.shape[1:]).permute(0, 3, 1, 2)
    return x.reshape(len(x), -1).index_select(0, rows).view(-1, *x.shape[1:])


def _put_rows(out: Tensor, rows: Tensor, values: Tensor) -> Tensor:
    """out with out[rows] = values; in place when no gradient is recorded."""
    if torch.is_grad_enabled():
        return out.index_copy(0, rows, values)
    if out.is_contiguous(memory_format=torch.channels_last):
        out.permute(0, 2, 3, 1).index_copy_(0, rows, values.permute(0, 2, 3, 1))
        return out
    return out.index_copy_(0, rows, values)


def skip_units(network: GatedResNet) -> list[Unit]:
    """The run-or-skip units of a network, one per block."""
    return [SkipUnit(block) for block in network.blocks if isinstance(block, Block)]


def check_policy(policy: Tensor, *, batch: int, units: int) -> None:
    """Raises ValueError unless the policy is (batch, units) of zeros and ones in shape and size."""
    if policy.shape != (batch, units):
        raise ValueError(f"the policy is {tuple(policy.shape)}, expected (batch, blocks) = ({batch}, {units})")


def run_masked(network: GatedResNet, units: Sequence[Unit], x: Tensor, policy: Tensor) -> Tensor:
    """Both ways for everybody, then the chosen one: features of the gated network. (B, 3, H, W), (B, L) -> (B,
    features).

    Mixing happens after the ReLU, as in the three published codes. The gradient reaches the gates. Samples that do
    not choose a branch still enter its batch statistics in training mode (as in the original).
    """
    check_policy(policy, batch=len(x), units=len(units))
    x = network.stem(x)
    for index, unit in enumerate(units):
        zero, one = unit.both(x)
        x = blend(policy[:, index], zero, one)
    features: Tensor = network.tail(x)
    return features


@dataclass(frozen=True)
class RowPlan:
    """Which rows take which way in every unit, made with one device-to-host copy.

    Attributes:
        order: (B, L) int64 on the policy's device; column l lists the rows that chose 1, then the others.
        counts: rows that chose 1, per unit.
    """

    order: Tensor
    counts: tuple[int, ...]
    batch: int

    def one_rows(self, unit: int) -> Tensor:
        return self.order[: self.counts[unit], unit]

    def zero_rows(self, unit: int) -> Tensor:
        return self.order[self.counts[unit] :, unit]


def plan_rows(policy: Tensor) -> RowPlan:
    """Row lists of a (B, L) policy of zeros and ones; the column sums are the only thing copied to the host."""
    chosen = policy > 0.5
    order = torch.argsort(chosen.to(torch.uint8), dim=0, descending=True, stable=True)
    counts = chosen.sum(dim=0).cpu()  # the one synchronisation
    return RowPlan(order, tuple(counts.tolist()), len(policy))


def refuse_training_norms(network: GatedResNet, units: Sequence[Unit]) -> None:
    """Raises RuntimeError if a batch normalisation would see a part of the batch and normalise by it."""
    parts = [network.stem, network.tail, *(module for unit in units for module in unit.modules())]
    if any(norm.training for part in parts for norm in batch_norms(part)):
        raise RuntimeError(
            "sub-batch execution needs batch norm in eval mode: parts of a batch have other statistics than "
            "the batch; call eval() (or freeze the norms), or use run_masked for training"
        )


def run_subbatch(network: GatedResNet, units: Sequence[Unit], x: Tensor, policy: Tensor) -> Tensor:
    """Every unit runs the rows that chose it and no others. (B, 3, H, W), (B, L) -> (B, features).

    A way that nobody chose is not called. Equal to `run_masked` in eval mode up to the rounding of the convolution
    kernels.

    Raises:
        RuntimeError: a batch norm is in training mode.
    """
    refuse_training_norms(network, units)
    first: Tensor = network.stem(x)
    if first.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
        first = first.clone()  # a stem that passes its input through: rows are written in place below
    return route(network, units, first, policy)


def route(network: GatedResNet, units: Sequence[Unit], x: Tensor, policy: Tensor) -> Tensor:
    """`run_subbatch` after the stem; `x` is used up (written in place). (B, C, H, W), (B, L) -> (B, features)."""
    check_policy(policy, batch=len(x), units=len(units))
    refuse_training_norms(network, units)
    plan = plan_rows(policy)
    for index, unit in enumerate(units):
        kept = plan.counts[index]
        if kept == 0:
            x = unit.zero(x)
        elif kept == plan.batch:
            x = unit.one(x)
        else:
            x = unit.split(x, plan.zero_rows(index), plan.one_rows(index))
    features: Tensor = network.tail(x)
    return features


class StaticPlan(nn.Module):
    """One policy for everybody as a plain chain of modules: skipped identity blocks are gone, nothing is decided at
    run time.

    Args:
        policy: L decisions (0 or 1), one per unit.
    """

    def __init__(self, network: GatedResNet, units: Sequence[Unit], policy: Sequence[int]) -> None:
        super().__init__()
        if len(policy) != len(units):
            raise ValueError(f"a plan of {len(policy)} decisions for {len(units)} blocks")
        chain: list[nn.Module] = []
        for unit, decision in zip(units, policy, strict=True):
            module = _chosen_module(unit, bool(decision))
            if not isinstance(module, nn.Identity):
                chain.append(module)
        self.stem, self.chain, self.tail = network.stem, nn.Sequential(*chain), network.tail

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, H, W) -> (B, features)
        features: Tensor = self.tail(self.chain(self.stem(x)))
        return features


def _chosen_module(unit: Unit, decision: bool) -> nn.Module:
    if isinstance(unit, SkipUnit):
        return unit.block if decision else unit.block.shortcut
    if isinstance(unit, ChoiceUnit):
        return unit.tuned if decision else unit.frozen
    raise TypeError(f"{type(unit).__name__} has no module of its own per decision")


def run_grouped(network: GatedResNet, units: Sequence[Unit], x: Tensor, policy: Tensor) -> Tensor:
    """One dense pass per distinct policy of the batch. (B, 3, H, W), (B, L) -> (B, features).

    Good when few policies serve many samples; with as many policies as samples it is batch-1 inference.

    Raises:
        RuntimeError: a batch norm is in training mode.
    """
    check_policy(policy, batch=len(x), units=len(units))
    refuse_training_norms(network, units)
    distinct, member = torch.unique((policy > 0.5).cpu(), dim=0, return_inverse=True)
    order = torch.argsort(member, stable=True)
    sizes = torch.bincount(member, minlength=len(distinct)).tolist()
    groups = torch.split(_take_rows(x, order.to(x.device)), sizes)
    parts = [
        StaticPlan(network, units, decisions)(group) for decisions, group in zip(distinct.tolist(), groups, strict=True)
    ]
    features = torch.cat(parts)
    return features.index_select(0, torch.argsort(order).to(x.device))
