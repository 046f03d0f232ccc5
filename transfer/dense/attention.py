"""One trunk with modules per task beside or behind it: MTAN and PAD-Net.

Source: `multitask.md` 2.5 and 2.6 (Liu et al. 2019, ResNet form; Xu et al. 2018).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfer.dense.config import NetworkConfig, SharingConfig
from transfer.dense.sharing import Features, Predictions, SharingNetwork
from transfer.dense.trunk import bottleneck_block, build_trunk, init_weights
from transfer.pathways.resnet import Block


class Mtan(SharingNetwork):
    """Masks per task and stage over the shared features of a stage's last block.

    With u the output of all blocks of a stage but the last and p that of the last: attended = mask([u; e]) * p, where
    e is the previous stage's attended map through a block that all tasks share, pooled where the trunk halves the
    resolution.
    """

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig) -> None:
        super().__init__(tasks, config)
        self.trunk = build_trunk(config)
        channels = self.trunk.channels
        self.masks = nn.ModuleDict(
            {
                task: nn.ModuleList(
                    _mask(width if stage == 0 else 2 * width, width) for stage, width in enumerate(channels)
                )
                for task in tasks
            }
        )
        self.carriers = nn.ModuleList(bottleneck_block(a, b) for a, b in pairwise(channels))
        init_weights(self.masks, config.init_std)
        init_weights(self.carriers, config.init_std)
        self.add_heads(channels[-1])

    def features(self, x: Tensor) -> Features:
        shared = []
        x = self.trunk.stem(x)
        for stage in range(len(self.trunk.stages)):
            *firsts, last = self.trunk.stage(stage)
            for block in firsts:
                x = block(x)
            shared.append((x, last(x)))
            x = shared[-1][1]
        return {task: self._attend(task, shared) for task in self.tasks}

    def _attend(self, task: str, shared: list[tuple[Tensor, Tensor]]) -> Tensor:
        masks = self.masks[task]
        assert isinstance(masks, nn.ModuleList)
        carried: Tensor | None = None
        for stage, (before, after) in enumerate(shared):
            given = before if carried is None else torch.cat([before, carried], dim=1)
            attended: Tensor = masks[stage](given) * after
            if stage + 1 == len(shared):
                return attended
            carried = self.carriers[stage](attended)
            if shared[stage + 1][1].shape[-1] != after.shape[-1]:
                carried = F.max_pool2d(carried, 2, ceil_mode=True)
        raise AssertionError("a trunk has stages")

    def shared_parameters(self) -> list[nn.Parameter]:
        return [*self.trunk.parameters(), *self.carriers.parameters()]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return [*self.masks[task].parameters(), *self.heads[task].parameters()]

    def last_shared_layer(self) -> list[nn.Parameter]:
        return self.trunk.last_layer()


def _mask(inputs: int, channels: int) -> nn.Sequential:
    """Two 1x1 convolutions with BN, a quarter of the channels between them; values in (0, 1)."""
    middle = max(1, channels // 4)
    return nn.Sequential(
        nn.Conv2d(inputs, middle, 1, bias=False),
        nn.BatchNorm2d(middle),
        nn.ReLU(inplace=True),
        nn.Conv2d(middle, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.Sigmoid(),
    )


class PadNet(SharingNetwork):
    """Initial predictions from one trunk, features distilled between tasks through gates, final predictions.

    o_k = F_k + sum over t != k of gate * (W_tk * F_t), gate = sigmoid(conv3x3(F_k)) ("target", the paper's module C) or
    sigmoid(conv3x3_kt(F_t)) ("source"). Auxiliary and final tasks are the same. The heads of the other architectures
    are replaced by two bottlenecks and a 1x1 convolution, twice.
    """

    one_feature = True

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, sharing: SharingConfig) -> None:
        super().__init__(tasks, config)
        self.trunk = build_trunk(config)
        if sharing.pad_gate not in ("target", "source"):
            raise ValueError(f"pad_gate is {sharing.pad_gate!r}; allowed: target, source")
        width, self.gate = sharing.pad_width, sharing.pad_gate
        channels = self.trunk.channels[-1]
        self.initial = nn.ModuleDict({task: _towers(channels, width) for task in tasks})
        self.initial_outputs = nn.ModuleDict({task: nn.Conv2d(width, n, 1) for task, n in tasks.items()})
        pairs = [(to, origin) for to in tasks for origin in tasks if to != origin]
        self.messages = nn.ModuleDict({pair_name(*pair): _conv3x3(width) for pair in pairs})
        gates = {to: _conv3x3(width) for to in tasks} if self.gate == "target" else None
        self.gates = nn.ModuleDict(gates or {pair_name(*pair): _conv3x3(width) for pair in pairs})
        self.heads = nn.ModuleDict(
            {task: nn.Sequential(_towers(width, width), nn.Conv2d(width, n, 1)) for task, n in tasks.items()}
        )
        for module in (self.initial, self.initial_outputs, self.messages, self.gates, self.heads):
            init_weights(module, config.init_std)

    def features(self, x: Tensor) -> Features:
        common = self.trunk(x)
        return dict.fromkeys(self.tasks, common)

    def distil(self, maps: dict[str, Tensor]) -> dict[str, Tensor]:
        """F_k of every task -> o_k. (B, width, h, w) each."""
        result = {}
        for to in self.tasks:
            total = maps[to]
            for origin in self.tasks:
                if origin == to:
                    continue
                pair = pair_name(to, origin)
                opening = self.gates[to](maps[to]) if self.gate == "target" else self.gates[pair](maps[origin])
                total = total + torch.sigmoid(opening) * self.messages[pair](maps[origin])
            result[to] = total
        return result

    def predict(self, features: Features) -> Predictions:
        maps = {task: self.initial[task](features[task]) for task in self.tasks}
        final = self.distil(maps)
        return {task: [self.initial_outputs[task](maps[task]), self.heads[task](final[task])] for task in self.tasks}

    def predictors(self) -> list[nn.Module]:
        return [self.initial, self.initial_outputs, self.messages, self.gates, self.heads]

    def shared_parameters(self) -> list[nn.Parameter]:
        # distillation passes every task's gradient into every other task's initial branch
        crossing = [self.initial, self.messages, self.gates]
        return [*self.trunk.parameters(), *(p for module in crossing for p in module.parameters())]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return [*self.initial_outputs[task].parameters(), *self.heads[task].parameters()]

    def last_shared_layer(self) -> list[nn.Parameter]:
        return self.trunk.last_layer()


def pair_name(to: str, origin: str) -> str:
    """Key of the modules between two tasks."""
    return f"{origin}_to_{to}"


def _towers(inputs: int, width: int) -> nn.Sequential:
    blocks: list[Block] = [bottleneck_block(inputs, width), bottleneck_block(width, width)]
    return nn.Sequential(*blocks)


def _conv3x3(width: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=1, bias=False)
