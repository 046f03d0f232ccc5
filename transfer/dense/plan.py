"""AdaShare's policy as a plain network: shared prefixes run once, blocks that nobody runs are not there.

In: trunk, heads and a fixed policy. Out: a module without decisions at run time; its state has no deleted block.

Source: `adashare.md` 8. The tasks' paths form a trie: a path runs once up to where tasks part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from transfer.dense.trunk import DenseTrunk
from transfer.pathways.resnet import Block


@dataclass(frozen=True)
class Step:
    """registers[target] = parts[name](registers[source]).

    Attributes:
        shortcut: register that holds the block's shortcut already (where some tasks skip the block).
        last: nobody reads the source again.
    """

    name: str
    source: int
    target: int
    last: bool
    shortcut: int | None = None


class TaskPlan(nn.Module):
    """A trunk with one fixed policy, as a list of steps; shares the weights of what it is made from.

    Equal to the gated network bit for bit in eval mode. `fold_batch_norm(plan)` gives a copy for inference.

    Args:
        policy: T x L of 1 (run) and 0 (skip), in the order of the heads.
    """

    def __init__(self, trunk: DenseTrunk, heads: Mapping[str, nn.Module], policy: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.tasks = tuple(heads)
        if len(policy) != len(self.tasks) or any(len(row) != trunk.num_blocks for row in policy):
            raise ValueError(
                f"a plan for {len(self.tasks)} tasks and {trunk.num_blocks} blocks, not {len(policy)} rows"
            )
        self.stem = trunk.stem
        self.parts = nn.ModuleDict()
        self.heads = nn.ModuleDict(heads)
        self.program: list[Step] = []
        groups, registers = [(list(range(len(policy))), 0)], 1
        for index, block in enumerate(trunk.blocks):
            assert isinstance(block, Block)
            following = []
            for members, source in groups:
                runs, skips = ([task for task in members if policy[task][index] == u] for u in (1, 0))
                skipped = source
                if skips and not block.keeps_shape:
                    skipped = registers
                    self.parts[f"shortcut{index}"] = block.shortcut
                    self.program.append(Step(f"shortcut{index}", source, skipped, last=not runs))
                    registers += 1
                if skips:
                    following.append((skips, skipped))
                if runs:
                    self.parts[f"block{index}"] = block
                    last, shortcut = skipped != source or not skips, skipped if skips else None
                    self.program.append(Step(f"block{index}", source, registers, last, shortcut))
                    following.append((runs, registers))
                    registers += 1
            groups = following
        self.register_of = {task: register for members, register in groups for task in members}

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(B, 3, H, W) -> (B, outputs, H / 8, W / 8) per task."""
        registers = self.trunk_features(x)
        return {
            task: cast(Tensor, self.heads[task](registers[self.register_of[number]]))
            for number, task in enumerate(self.tasks)
        }

    def trunk_features(self, x: Tensor) -> dict[int, Tensor]:
        """Register -> features; the task number's register is in `register_of`."""
        registers: dict[int, Tensor] = {0: self.stem(x)}
        for step in self.program:
            given = registers.pop(step.source) if step.last else registers[step.source]
            part = self.parts[step.name]
            if step.shortcut is None:
                registers[step.target] = part(given)
            else:
                assert isinstance(part, Block)
                registers[step.target] = part.merge(registers[step.shortcut], given)
        return registers

    def trunk_parameters(self) -> int:
        """Parameters outside the heads."""
        parts = [self.stem, self.parts]
        return sum(p.numel() for part in parts for p in part.parameters())
