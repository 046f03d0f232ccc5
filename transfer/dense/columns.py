"""One network per task, mixed after every stage: cross-stitch, sluice and NDDR-CNN.

Source: `multitask.md` 2.2 to 2.4 (Misra et al. 2016; Ruder et al. 2017; Gao et al. 2019). Common deviations:

1. Columns start from random weights like every other architecture of the comparison; the originals start from trained
   single-task networks.
2. The mixing units learn at the trunk's rate (times `mixing_learning_rate`) under Adam; the originals use plain SGD at
   100 to 1000 times the rate.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfer.dense.config import NetworkConfig, SharingConfig
from transfer.dense.sharing import Features, ParameterGroup, SingleTask, distinct
from transfer.dense.trunk import init_weights, last_convolution


class Columns(SingleTask):
    """T trunks side by side; after each stage every task takes a mixture of all tasks' features."""

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, sharing: SharingConfig) -> None:
        super().__init__(tasks, config)
        self.sharing = sharing
        self.stage_channels = self.column(self.tasks[0]).channels

    def mix(self, stage: int, maps: list[Tensor]) -> list[Tensor]:
        """Features of all tasks after a stage -> what the next stage of each task reads. T x (B, C, h, w)."""
        raise NotImplementedError

    def mixers(self) -> list[nn.Parameter]:
        """Parameters of the units between the columns."""
        raise NotImplementedError

    def stage_maps(self, x: Tensor) -> list[list[Tensor]]:
        """Mixed features of every stage, by stage and task."""
        maps = [self.column(task).stem(x) for task in self.tasks]
        stages = []
        for stage in range(len(self.stage_channels)):
            maps = [self.column(task).run_stage(stage, given) for task, given in zip(self.tasks, maps, strict=True)]
            maps = self.mix(stage, maps)
            stages.append(maps)
        return stages

    def features(self, x: Tensor) -> Features:
        return dict(zip(self.tasks, self.stage_maps(x)[-1], strict=True))

    def shared_parameters(self) -> list[nn.Parameter]:
        return distinct([*self.trunks.parameters(), *self.mixers()])

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return list(self.heads[task].parameters())

    def parameter_groups(self) -> list[ParameterGroup]:
        mixers = {id(p) for p in self.mixers()}
        plain = [p for p in self.trunk_parameters() if id(p) not in mixers]
        return [
            ParameterGroup(plain),
            ParameterGroup(self.mixers(), self.sharing.mixing_learning_rate, self.mixer_weight_decay()),
        ]

    def mixer_weight_decay(self) -> float | None:
        return 0.0  # decay would pull the rows of the mixing matrices away from sum 1


def mixing_matrix(tasks: int, subspaces: int, alpha: float) -> Tensor:
    """Rows sum to 1: alpha on the diagonal, the rest spread evenly. (T G, T G)."""
    size = tasks * subspaces
    if size == 1:
        return torch.ones(1, 1)
    matrix = torch.full((size, size), (1 - alpha) / (size - 1))
    return matrix.fill_diagonal_(alpha)


class CrossStitch(Columns):
    """x'_t = sum over s of A_ts F_s after each of the four stages, A per channel (T, T, C) or one number per pair."""

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, sharing: SharingConfig) -> None:
        super().__init__(tasks, config, sharing)
        start = mixing_matrix(len(tasks), 1, sharing.stitch_alpha)[:, :, None]
        self.stitches = nn.ParameterList(
            nn.Parameter(start.repeat(1, 1, channels if sharing.stitch_per_channel else 1))
            for channels in self.stage_channels
        )

    def mix(self, stage: int, maps: list[Tensor]) -> list[Tensor]:
        stacked = torch.stack(maps)  # (T, B, C, h, w)
        weights = self.stitches[stage].expand(-1, -1, stacked.shape[2])
        return list(torch.einsum("tsc,sbchw->tbchw", weights, stacked).unbind())

    def mixers(self) -> list[nn.Parameter]:
        return list(self.stitches)


class Sluice(Columns):
    """Cross-stitch between G subspaces of each task's channels, subspaces kept apart, predictors on all layers.

    1. Features are cut into G equal parts of their channels; the mixing matrix is (T G) x (T G) per stage.
    2. Penalty: ||W_1 W_2^T||_F^2 over the output halves of each stage's last convolution (the original's LSTM matrices
       have the outputs as columns), for every pair of subspaces.
    3. The predictor of task t reads sum over stages of beta_tl F_tl, brought to the last stage's shape by average
       pooling and a 1x1 convolution (part of the predictor). beta starts at 0.9 on the last stage.
    4. With several subspaces the mixing matrix starts between the two published starts: `stitch_alpha` on the diagonal
       and the rest spread evenly, (1 - alpha) / (T G - 1). The balanced start is 1 / (T G) everywhere; the imbalanced
       one (0.95 and 0.05) is made for two tasks.
    """

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, sharing: SharingConfig) -> None:
        super().__init__(tasks, config, sharing)
        self.subspaces = sharing.sluice_subspaces
        if any(channels % self.subspaces for channels in self.stage_channels):
            raise ValueError(f"sluice_subspaces is {self.subspaces}; allowed: divisors of {self.stage_channels[0]}")
        start = mixing_matrix(len(tasks), self.subspaces, sharing.stitch_alpha)
        self.stitches = nn.ParameterList(nn.Parameter(start.clone()) for _ in self.stage_channels)
        stages = len(self.stage_channels)
        beta = torch.full((len(tasks), stages), 0.1 / (stages - 1))
        beta[:, -1] = 0.9
        self.beta = nn.Parameter(beta)
        last = self.stage_channels[-1]
        self.projections = nn.ModuleDict(
            {
                task: nn.ModuleList(nn.Conv2d(channels, last, 1, bias=False) for channels in self.stage_channels[:-1])
                for task in tasks
            }
        )
        init_weights(self.projections, config.init_std)

    def mix(self, stage: int, maps: list[Tensor]) -> list[Tensor]:
        batch, channels, height, width = maps[0].shape
        size = len(maps) * self.subspaces
        parts = torch.stack(maps).view(len(maps), batch, self.subspaces, channels // self.subspaces, height, width)
        parts = parts.transpose(1, 2).reshape(size, -1)
        mixed = (self.stitches[stage] @ parts).view(len(maps), self.subspaces, batch, -1, height, width)
        return list(mixed.transpose(1, 2).reshape(len(maps), batch, channels, height, width).unbind())

    def features(self, x: Tensor) -> Features:
        stages = self.stage_maps(x)
        result = {}
        for number, task in enumerate(self.tasks):
            last = stages[-1][number]
            mixture = self.beta[number, -1] * last
            projections = self.projections[task]
            assert isinstance(projections, nn.ModuleList)
            for stage, project in enumerate(projections):
                pooled = F.adaptive_avg_pool2d(stages[stage][number], (last.shape[-2], last.shape[-1]))
                mixture = mixture + self.beta[number, stage] * project(pooled)
            result[task] = mixture
        return result

    def penalty(self) -> Tensor | None:
        if self.sharing.sluice_orthogonality == 0 or self.subspaces == 1:
            return None
        terms = []
        for task in self.tasks:
            column = self.column(task)
            for stage in range(len(self.stage_channels)):
                residual = column.stage(stage)[-1].residual
                terms.append(common_directions(last_convolution(residual).flatten(1), self.subspaces))
        return self.sharing.sluice_orthogonality * torch.stack(terms).sum()

    def mixers(self) -> list[nn.Parameter]:
        return [*self.stitches, self.beta]

    def predictors(self) -> list[nn.Module]:
        return [self.heads, self.projections]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return [*self.heads[task].parameters(), *self.projections[task].parameters()]


def common_directions(weight: Tensor, subspaces: int) -> Tensor:
    """Sum over pairs of subspaces of ||W_a W_b^T||_F^2, W cut along its outputs; 0 if inputs are disjoint.

    (O, I) -> ().
    """
    parts = weight.chunk(subspaces)
    terms = [(a @ b.T).square().sum() for i, a in enumerate(parts) for b in parts[:i]]
    return torch.stack(terms).sum()


class Nddr(Columns):
    """x'_t = ReLU(BN(conv1x1_t(all tasks' features))) after each stage, starting near the identity."""

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, sharing: SharingConfig) -> None:
        super().__init__(tasks, config, sharing)
        self.fusions = nn.ModuleList(
            nn.ModuleList(_fusion(channels, task, len(tasks), sharing.stitch_alpha) for task in range(len(tasks)))
            for channels in self.stage_channels
        )

    def mix(self, stage: int, maps: list[Tensor]) -> list[Tensor]:
        fusions = self.fusions[stage]
        assert isinstance(fusions, nn.ModuleList)
        joined = torch.cat(maps, dim=1)
        return [fuse(joined) for fuse in fusions]

    def mixers(self) -> list[nn.Parameter]:
        return list(self.fusions.parameters())

    def mixer_weight_decay(self) -> float | None:
        return self.sharing.nddr_weight_decay

    def _own_fusion(self, task: str) -> nn.Module:
        """The last stage's unit of a task, which no other task reads."""
        fusions = self.fusions[-1]
        assert isinstance(fusions, nn.ModuleList)
        return fusions[self.tasks.index(task)]

    def shared_parameters(self) -> list[nn.Parameter]:
        own = {id(p) for task in self.tasks for p in self._own_fusion(task).parameters()}
        return [p for p in super().shared_parameters() if id(p) not in own]

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return [*self._own_fusion(task).parameters(), *super().task_parameters(task)]


def _fusion(channels: int, task: int, tasks: int, alpha: float) -> nn.Sequential:
    """1x1 convolution from T C to C channels that starts as the mixture of `mixing_matrix`, BN, ReLU."""
    conv = nn.Conv2d(tasks * channels, channels, 1, bias=False)
    row = mixing_matrix(tasks, 1, alpha)[task]
    with torch.no_grad():
        conv.weight.copy_(torch.cat([share * torch.eye(channels) for share in row], dim=1)[:, :, None, None])
    return nn.Sequential(conv, nn.BatchNorm2d(channels, momentum=0.05), nn.ReLU(inplace=True))
