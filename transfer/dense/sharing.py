"""Who shares which features: the interface of all architectures, and those without units between the tasks.

In: tasks and `NetworkConfig`. Out: a `SharingNetwork`: features per task, predictions per task, and which parameters
are whose. Here: single-task networks, soft sharing (the same with a penalty), hard sharing. Cross-stitch, sluice and
NDDR-CNN are in `columns.py`, MTAN and PAD-Net in `attention.py`, AdaShare in `adashare.py`.

Source: `multitask.md` 2.1. Parameters are counted without the predictors (as in the published tables, whose unit is one
ResNet-34 trunk).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from transfer.dense.config import MultitaskConfig, NetworkConfig, SharingConfig
from transfer.dense.heads import AsppHead
from transfer.dense.losses import DenseTask
from transfer.dense.trunk import DenseTrunk, build_trunk
from transfer.pathways.cost import count_parameters

Features = dict[str, Tensor]
Predictions = dict[str, list[Tensor]]
"""Per task its predictions at the trunk's resolution; the last one counts, earlier ones are supervised too."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share an optimiser setting; `rate` multiplies the trunk's learning rate."""

    parameters: list[nn.Parameter]
    rate: float = 1.0
    weight_decay: float | None = None


class SharingNetwork(nn.Module):
    """T tasks over one or more trunks.

    Args:
        tasks: channels of each task's prediction, in the order of everything else.

    Attributes:
        heads: predictor per task.
        one_feature: whether all heads read the same feature map.
    """

    one_feature = False

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig) -> None:
        super().__init__()
        self.tasks = tuple(tasks)
        self.outputs = dict(tasks)
        self.config = config
        self.heads = nn.ModuleDict()

    def add_heads(self, channels: int) -> None:
        """A predictor per task on feature maps of this many channels."""
        for task, outputs in self.outputs.items():
            self.heads[task] = AsppHead(channels, outputs, self.config)

    def features(self, x: Tensor) -> Features:
        """What each task's predictor reads. (B, 3, H, W) -> (B, C, H / 8, W / 8) each."""
        raise NotImplementedError

    def predict(self, features: Features) -> Predictions:
        """(B, C, h, w) -> (B, outputs, h, w), per task."""
        return {task: [self.heads[task](features[task])] for task in self.tasks}

    def forward(self, x: Tensor) -> Predictions:
        return self.predict(self.features(x))

    def predictors(self) -> list[nn.Module]:
        """Modules that the published parameter counts leave out."""
        return [self.heads]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Parameters that the losses of several tasks reach."""
        return []

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        """Parameters that only this task's loss reaches."""
        return list(self.heads[task].parameters())

    def last_shared_layer(self) -> list[nn.Parameter]:
        """Weights of the last layer that all tasks share; empty if there is none."""
        return []

    def penalty(self) -> Tensor | None:
        """A term of the loss that depends on the weights alone."""
        return None

    def parameter_groups(self) -> list[ParameterGroup]:
        """Everything outside the predictors, by optimiser setting."""
        return [ParameterGroup(self.trunk_parameters())]

    def trunk_parameters(self) -> list[nn.Parameter]:
        """Everything outside the predictors."""
        predictors = {id(p) for module in self.predictors() for p in module.parameters()}
        return [p for p in self.parameters() if id(p) not in predictors]

    def param_ratio(self, reference: int) -> float:
        """Parameters outside the predictors, relative to those of one trunk."""
        return sum(p.numel() for p in self.trunk_parameters()) / reference


class HardSharing(SharingNetwork):
    """One trunk, T heads."""

    one_feature = True

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig) -> None:
        super().__init__(tasks, config)
        self.trunk = build_trunk(config)
        self.add_heads(self.trunk.channels[-1])

    def features(self, x: Tensor) -> Features:
        common = self.trunk(x)
        return dict.fromkeys(self.tasks, common)

    def shared_parameters(self) -> list[nn.Parameter]:
        return list(self.trunk.parameters())

    def last_shared_layer(self) -> list[nn.Parameter]:
        return self.trunk.last_layer()


class SingleTask(SharingNetwork):
    """T networks that know nothing of each other, trained side by side."""

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig) -> None:
        super().__init__(tasks, config)
        self.trunks = nn.ModuleDict({task: build_trunk(config) for task in tasks})
        self.add_heads(self.column(self.tasks[0]).channels[-1])

    def column(self, task: str) -> DenseTrunk:
        """The task's own trunk."""
        trunk = self.trunks[task]
        assert isinstance(trunk, DenseTrunk)
        return trunk

    def features(self, x: Tensor) -> Features:
        return {task: self.trunks[task](x) for task in self.tasks}

    def task_parameters(self, task: str) -> list[nn.Parameter]:
        return [*self.trunks[task].parameters(), *self.heads[task].parameters()]


class SoftSharing(SingleTask):
    """T networks whose trunks are pulled together by a penalty on their weights.

    Args:
        penalty: "l2": sum over layers and task pairs of the squared distance; "trace": sum over layers of the trace
            norm of the T stacked weight vectors.
    """

    def __init__(self, tasks: Mapping[str, int], config: NetworkConfig, *, penalty: str, weight: float) -> None:
        super().__init__(tasks, config)
        if penalty not in ("l2", "trace"):
            raise ValueError(f"soft_penalty is {penalty!r}; allowed: l2, trace")
        self.kind, self.weight = penalty, weight

    def penalty(self) -> Tensor:
        layers = zip(*(self.column(task).parameters() for task in self.tasks), strict=True)
        term = squared_distances if self.kind == "l2" else trace_norm
        return self.weight * torch.stack([term(torch.stack([p.flatten() for p in layer])) for layer in layers]).sum()


def squared_distances(rows: Tensor) -> Tensor:
    """Sum over pairs of rows of their squared distance. (T, N) -> ()."""
    # sum over pairs |a - b|^2 = T sum |a|^2 - |sum a|^2, about the mean so that equal rows give exactly 0
    centred = rows - rows.mean(0)
    return len(rows) * centred.square().sum()


def trace_norm(rows: Tensor) -> Tensor:
    """Sum of the singular values; smallest, for given lengths, when all rows are parallel. (T, N) -> ()."""
    # through the small Gram matrix: N is a layer's number of weights
    gram = (rows @ rows.T).double()
    values = torch.linalg.eigvalsh(gram).clamp_min(1e-12)
    total: Tensor = values.sqrt().sum().to(rows.dtype)
    return total


def build_network(
    architecture: str, tasks: Sequence[DenseTask], network: NetworkConfig, sharing: SharingConfig, *, seed: int
) -> SharingNetwork:
    """An architecture of `config.Architecture` with weights drawn from `seed`.

    Raises:
        ValueError: unknown architecture, or one that the trunk does not admit.
    """
    from transfer.dense.adashare import AdaShare
    from transfer.dense.attention import Mtan, PadNet
    from transfer.dense.columns import CrossStitch, Nddr, Sluice
    from transfer.dense.trunk import seeded

    outputs: dict[str, int] = {task.name: task.outputs for task in tasks}
    with seeded(seed):
        if architecture == "single_task":
            return SingleTask(outputs, network)
        if architecture == "hard":
            return HardSharing(outputs, network)
        if architecture == "soft":
            return SoftSharing(outputs, network, penalty=sharing.soft_penalty, weight=sharing.soft_weight)
        if architecture == "cross_stitch":
            return CrossStitch(outputs, network, sharing)
        if architecture == "sluice":
            return Sluice(outputs, network, sharing)
        if architecture == "nddr":
            return Nddr(outputs, network, sharing)
        if architecture == "mtan":
            return Mtan(outputs, network)
        if architecture == "pad_net":
            return PadNet(outputs, network, sharing)
        if architecture == "adashare":
            return AdaShare(outputs, network)
    raise ValueError(f"unknown architecture {architecture!r}")


def reference_parameters(config: MultitaskConfig) -> int:
    """Parameters of one trunk, the unit of `param_ratio`."""
    with torch.device("meta"):
        return count_parameters(build_trunk(config.network))


def distinct(parameters: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Each parameter once, in order."""
    return list({id(p): p for p in parameters}.values())
