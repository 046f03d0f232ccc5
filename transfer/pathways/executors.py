"""Executors: one gated network, one policy (B, L), several ways to compute the same numbers.

* `run_masked`: both ways of every block for the whole batch, then a selection. The only one that trains gates and BN.
* `run_subbatch`: each block runs just the samples that need it; one device-to-host copy for the whole policy.
* `run_grouped`: the batch split by distinct policies, each group through a dense sub-network.
* `StaticPlan`: one fixed policy; what nobody runs is not there.

A *unit* is one gated block with its two ways: `zero` for decision 0 and `one` for decision 1. BlockDrop skips or
keeps a block (`SkipUnit`), SpotTune takes the frozen or the tuned copy (`ChoiceUnit`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from transfer.pathways.gates import blend
from transfer.pathways.resnet import Block, GatedResNet, batch_norms


class Unit(Protocol):
    """Two ways through one block. All tensors are (B, C, H, W)."""

    def zero(self, x: Tensor) -> Tensor: ...

    def one(self, x: Tensor) -> Tensor: ...

    def both(self, x: Tensor) -> tuple[Tensor, Tensor]: ...

    def split(self, x: Tensor, ones: int) -> Tensor:
        """The first `ones` rows take decision 1, the others 0; may write to x unless gradients are recorded."""

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

    def split(self, x: Tensor, ones: int) -> Tensor:
        out = self.zero(x)  # x itself where the shortcut is the identity
        if torch.is_grad_enabled():
            return torch.cat([self.block.merge(out[:ones], x[:ones]), out[ones:]])
        kept = out[:ones]
        self.block.merge_into(kept, kept, x[:ones])
        return out

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

    def split(self, x: Tensor, ones: int) -> Tensor:
        if torch.is_grad_enabled():
            return torch.cat([self.one(x[:ones]), self.zero(x[ones:])])
        ways = ((self.tuned, slice(ones)), (self.frozen, slice(ones, None)))
        if self.tuned.keeps_shape:
            for block, rows in ways:  # overwritten: no second buffer to fetch into the cache
                block.merge_into(x[rows], x[rows], x[rows])
            return x
        shortcuts = [block.shortcut(x[rows]) for block, rows in ways]
        last = shortcuts[0].is_contiguous(memory_format=torch.channels_last)
        layout = torch.channels_last if last else torch.contiguous_format
        shape, dtype = (len(x), *shortcuts[0].shape[1:]), shortcuts[0].dtype
        out = torch.empty(shape, dtype=dtype, device=x.device, memory_format=layout)
        for (block, rows), shortcut in zip(ways, shortcuts, strict=True):
            block.merge_into(out[rows], shortcut, x[rows])
        return out

    def modules(self) -> list[nn.Module]:
        return [self.frozen, self.tuned]


def _take_rows(x: Tensor, rows: Tensor) -> Tensor:
    """x[rows] in x's own memory format: index_select alone would turn channels_last into a strided NCHW copy.

    As rows of a matrix, because index_select of the four-dimensional view is six times slower (7.0 against 1.1 ms for
    16 of 32 maps of 256 x 32 x 32).
    """
    if x.is_contiguous(memory_format=torch.channels_last):
        taken = x.permute(0, 2, 3, 1).reshape(len(x), -1).index_select(0, rows)
        return taken.view(-1, x.shape[2], x.shape[3], x.shape[1]).permute(0, 3, 1, 2)
    return x.reshape(len(x), -1).index_select(0, rows).view(-1, *x.shape[1:])


def _swap_rows(x: Tensor, pairs: Sequence[tuple[int, int]]) -> None:
    """Exchange rows of x in place, one pair after the other: what a row is copied through stays in the cache."""
    rows = x.permute(0, 2, 3, 1) if x.is_contiguous(memory_format=torch.channels_last) else x
    held = torch.empty_like(rows[0])
    for one, other in pairs:
        held.copy_(rows[one])
        rows[one].copy_(rows[other])
        rows[other].copy_(held)


def skip_units(network: GatedResNet) -> list[Unit]:
    """The run-or-skip units of a network, one per block."""
    return [SkipUnit(block) for block in network.blocks if isinstance(block, Block)]


def choice_units(frozen: Iterable[nn.Module], tuned: Iterable[nn.Module]) -> list[Unit]:
    """The frozen-or-tuned units of two copies of a network's blocks, one per block."""
    return [
        ChoiceUnit(one, other)
        for one, other in zip(frozen, tuned, strict=True)
        if isinstance(one, Block) and isinstance(other, Block)
    ]


def check_policy(policy: Tensor, *, batch: int, units: int) -> None:
    """Raises ValueError unless the policy is (batch, units).

    That it holds zeros and ones alone is checked where values come to the host anyway, in sub-batch and grouped
    execution; masked execution would have to wait for the device to know.
    """
    if policy.shape != (batch, units):
        raise ValueError(f"the policy is {tuple(policy.shape)}, expected (batch, blocks) = ({batch}, {units})")


def refuse_other_values(wrong: Sequence[int]) -> None:
    """Raises ValueError if any unit has decisions that are neither 0 nor 1; `wrong` counts them per unit."""
    for unit, count in enumerate(wrong):
        if count:
            raise ValueError(f"the policy has {count} decisions of block {unit} that are neither 0 nor 1")


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
    """In which order the rows pass through every unit, made with one device-to-host copy.

    A unit whose rows go two ways wants those that chose 1 first, so that each way is a slice. Rows that lie on the
    right side already stay where they are, each other one changes places with one from the other side.

    Attributes:
        counts: rows that chose 1, per unit.
        swaps: per unit the places that change rows; None where all rows go one way and any order will do.
        moves: the same as (B,) int64 on the policy's device: which of the rows, as they lie, comes first, second, ….
        restore: the way back into the batch's order; None where no unit splits the batch.
    """

    counts: tuple[int, ...]
    swaps: tuple[tuple[tuple[int, int], ...] | None, ...]
    moves: tuple[Tensor | None, ...]
    restore: Tensor | None


def plan_rows(policy: Tensor) -> RowPlan:
    """Row orders of a (B, L) policy, which is copied to the host for it.

    Raises:
        ValueError: a decision that is neither 0 nor 1.
    """
    decisions = policy.detach().cpu()  # the one synchronisation
    chosen = decisions > 0.5
    refuse_other_values((decisions != chosen).sum(dim=0).tolist())
    batch, units = chosen.shape
    columns = chosen.numpy()
    rows = np.arange(batch)  # which row of the batch lies where
    counts: list[int] = []
    swaps: list[tuple[tuple[int, int], ...] | None] = []
    orders = []
    for unit in range(units):
        wants_one = columns[rows, unit]
        ones = int(wants_one.sum())
        counts.append(ones)
        if ones in (0, batch):
            swaps.append(None)
            continue
        early, late = np.flatnonzero(~wants_one[:ones]), ones + np.flatnonzero(wants_one[ones:])
        swaps.append(tuple(zip(early.tolist(), late.tolist(), strict=True)))
        order = np.arange(batch)
        order[early], order[late] = late, early
        orders.append(order)
        rows = rows[order]
    if not orders:
        return RowPlan(tuple(counts), tuple(swaps), (None,) * units, None)
    *found, restore = torch.from_numpy(np.stack([*orders, np.argsort(rows)])).to(policy.device, non_blocking=True)
    moves = iter(found)
    return RowPlan(
        tuple(counts), tuple(swaps), tuple(None if pairs is None else next(moves) for pairs in swaps), restore
    )


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
        ValueError: a policy of another shape, or with other values than 0 and 1.
    """
    return route(network, units, network.stem(x), policy)


def route(network: GatedResNet, units: Sequence[Unit], x: Tensor, policy: Tensor) -> Tensor:
    """`run_subbatch` after the stem. (B, C, H, W), (B, L) -> (B, features).

    The first unit that splits the batch gets a copy of its rows in its order, so what units write to is never the
    caller's. Where no gradient is recorded, rows of a CPU's tensor then change places within it, since half of them
    need not move at all; a GPU, which would start three kernels for each row, gathers every time.
    """
    check_policy(policy, batch=len(x), units=len(units))
    refuse_training_norms(network, units)
    plan = plan_rows(policy)
    in_place = x.device.type == "cpu" and not torch.is_grad_enabled()
    copied = False
    for unit, ones, move, pairs in zip(units, plan.counts, plan.moves, plan.swaps, strict=True):
        if move is not None and pairs is not None:
            if copied and in_place:
                _swap_rows(x, pairs)
            else:
                x, copied = _take_rows(x, move), True
            x = unit.split(x, ones)
        elif ones:
            x = unit.one(x)
        else:
            x = unit.zero(x)
    features: Tensor = network.tail(x)
    return features if plan.restore is None else features.index_select(0, plan.restore)


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
        ValueError: a policy of another shape, or with other values than 0 and 1.
    """
    check_policy(policy, batch=len(x), units=len(units))
    refuse_training_norms(network, units)
    decisions = policy.cpu()
    refuse_other_values((decisions != (decisions > 0.5)).sum(dim=0).tolist())
    distinct, member = torch.unique(decisions > 0.5, dim=0, return_inverse=True)
    order = torch.argsort(member, stable=True)
    sizes = torch.bincount(member, minlength=len(distinct)).tolist()
    groups = torch.split(_take_rows(x, order.to(x.device)), sizes)
    parts = [StaticPlan(network, units, chosen)(group) for chosen, group in zip(distinct.tolist(), groups, strict=True)]
    features = torch.cat(parts)
    return features.index_select(0, torch.argsort(order).to(x.device))
