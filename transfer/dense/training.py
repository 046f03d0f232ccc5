"""Weight steps shared by every architecture, a loop over them that can be taken up at any step, and evaluation.

In: a network, a balancer and numbered training batches. Out: trained weights; per-image statistics of every task.
Everything random in a step is drawn from (seed, step), so that a run that was interrupted continues to the same bits.

Source: AdaShare (`adashare.md` 2.3): Adam(0.5, 0.999), weight decay, separate rates for heads and trunk, step schedule.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pretrain.checkpoint import load_checkpoint, write_atomic
from pretrain.train import TrainingDivergedError
from transfer.dense.balance import LossBalancer, Losses
from transfer.dense.config import MultitaskConfig
from transfer.dense.data import Batch, Sampler, SceneSet, in_order, seeded_generator
from transfer.dense.gradients import Balancer, GradNorm, backward
from transfer.dense.heads import resize_nearest
from transfer.dense.losses import DenseTask
from transfer.dense.metrics import Meter
from transfer.dense.sharing import Predictions, SharingNetwork
from transfer.dense.trunk import seeded
from transfer.pathways.learning import autocast

Tick = Callable[[str], None]
"""Called once per training step with a note."""
CHECKPOINT_EVERY_S = 60.0


def weight_groups(network: SharingNetwork, balancer: nn.Module, config: MultitaskConfig) -> list[dict[str, Any]]:
    """Optimiser groups of everything but a policy: predictors, trunk (by setting), learned loss weights."""
    heads = [p for module in network.predictors() for p in module.parameters()]
    groups: list[dict[str, Any]] = [{"params": heads, "lr": config.head_learning_rate}]
    for group in network.parameter_groups():
        decay = config.weight_decay if group.weight_decay is None else group.weight_decay
        rate = config.trunk_learning_rate * group.rate
        groups.append({"params": group.parameters, "lr": rate, "weight_decay": decay})
    if not isinstance(balancer, GradNorm):  # that one steps its weights itself
        groups.append({"params": list(balancer.parameters()), "lr": config.trunk_learning_rate, "weight_decay": 0.0})
    return [{**group, "initial_lr": group["lr"]} for group in groups if group["params"]]


def schedule(optimizer: torch.optim.Optimizer, step: int, config: MultitaskConfig) -> None:
    """Learning rates of this step."""
    factor = config.learning_rate_factor ** (step // config.learning_rate_step)
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


class WeightSteps:
    """Steps of the weights under a balancer, with what the balancer wants to hear after every epoch."""

    def __init__(
        self, network: SharingNetwork, balancer: Balancer, tasks: Sequence[DenseTask], config: MultitaskConfig
    ) -> None:
        self.network, self.balancer, self.tasks, self.config = network, balancer, tuple(tasks), config
        self.sums, self.counts = [0.0] * len(self.tasks), [0] * len(self.tasks)

    def step(self, optimizer: torch.optim.Optimizer, batch: Batch, *, seed: tuple[int, ...]) -> list[float | None]:
        """One step; a batch without any label leaves everything as it was. Returns the weighted losses."""
        if not any(bool(task.valid(batch.labels[task.name]).any()) for task in self.tasks):
            return [None] * len(self.tasks)
        self.network.train()
        optimizer.zero_grad(set_to_none=True)
        generator = seeded_generator(*seed)
        with seeded(generator.initial_seed()):  # dropout draws from the global generator
            losses = backward(
                self.balancer,
                self.network,
                batch.images,
                lambda predictions: self._losses(predictions, batch.labels),
                generator=generator,
                context=autocast(self.config.precision, batch.images.device.type),
            )
        optimizer.step()
        return losses

    def _losses(self, predictions: Predictions, labels: Mapping[str, Tensor]) -> Losses:
        if isinstance(self.balancer, LossBalancer) and self.balancer.needs_performance:
            for number, task in enumerate(self.tasks):
                value = task.performance(predictions[task.name][-1].detach(), labels[task.name])
                if value is not None:
                    self.sums[number] += value
                    self.counts[number] += 1
        return weighted_losses(self.tasks, predictions, labels)

    def epoch_end(self) -> None:
        if isinstance(self.balancer, LossBalancer):
            self.balancer.epoch_end()
            if self.balancer.needs_performance:
                self.balancer.observe([s / n if n else None for s, n in zip(self.sums, self.counts, strict=True)])
                self.sums, self.counts = [0.0] * len(self.tasks), [0] * len(self.tasks)

    def state(self) -> dict[str, Any]:
        return {"balancer": self.balancer.state_dict(), "sums": self.sums, "counts": self.counts}

    def load_state(self, state: Mapping[str, Any]) -> None:
        self.balancer.load_state_dict(state["balancer"])
        self.sums, self.counts = list(state["sums"]), list(state["counts"])


def weighted_losses(tasks: Sequence[DenseTask], predictions: Predictions, labels: Mapping[str, Tensor]) -> Losses:
    """lambda_t times the loss of each task, summed over its supervised predictions; None without a label."""
    losses: list[Tensor | None] = []
    for task in tasks:
        parts = [task.loss(prediction, labels[task.name]) for prediction in predictions[task.name]]
        present = [part for part in parts if part is not None]
        losses.append(task.weight * torch.stack(present).sum() if len(present) == len(parts) else None)
    return losses


def fit(
    steps: WeightSteps,
    sampler: Sampler,
    *,
    iterations: int,
    seed: tuple[int, ...],
    device: str = "cpu",
    checkpoint: Path | None = None,
    tick: Tick | None = None,
    checkpoint_every_s: float = CHECKPOINT_EVERY_S,
) -> None:
    """Train in place for this many batches.

    Args:
        checkpoint: file to continue from and to save to every `checkpoint_every_s` seconds and on a signal to end; the
            caller removes it.

    Raises:
        TrainingDivergedError: the weights are not finite when a checkpoint is due or at the end.
    """
    network, config = steps.network, steps.config
    optimizer = torch.optim.Adam(
        weight_groups(network, steps.balancer, config), betas=(0.5, 0.999), weight_decay=config.weight_decay
    )
    first = 0
    if checkpoint is not None and checkpoint.exists():
        state = load_checkpoint(checkpoint)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        steps.load_state(state["steps"])
        first = int(state["iteration"])
    saved = time.monotonic()
    for iteration in range(first, iterations):
        with held_signals() as ending:
            schedule(optimizer, iteration, config)
            steps.step(optimizer, sampler.batch(iteration).to(device), seed=(*seed, iteration))
            if (iteration + 1) % sampler.batches_per_epoch == 0:
                steps.epoch_end()
            if checkpoint is not None and (ending() or time.monotonic() - saved >= checkpoint_every_s):
                refuse_infinite(network)
                state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps.state()}
                write_state(checkpoint, {**state, "iteration": iteration + 1})
                saved = time.monotonic()
            if tick is not None:
                tick(f"iteration {iteration + 1}/{iterations}")
    refuse_infinite(network)


@contextmanager
def held_signals() -> Iterator[Callable[[], bool]]:
    """SIGTERM and SIGINT wait for the end of the block, here a training step; yields whether one does.

    Weights, optimiser and batch statistics that a signal left in the middle of a step could not be continued from.
    Outside the main thread, where Python handles no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    heard: list[int] = []
    handlers = {
        number: signal.signal(number, lambda received, frame: heard.append(received))
        for number in (signal.SIGTERM, signal.SIGINT)
        if signal.getsignal(number) != signal.SIG_IGN  # a process that runs jobs leaves Ctrl-C to its parent
    }
    try:
        yield lambda: bool(heard)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


def write_state(path: Path, state: dict[str, Any]) -> None:
    write_atomic(path, lambda name: torch.save(state, name))


def refuse_infinite(network: nn.Module) -> None:
    """Raises TrainingDivergedError unless all weights are finite."""
    if not all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters()):
        raise TrainingDivergedError("training diverged: weights are not finite; use a smaller learning rate")


def refuse_infinite_score(score: float, what: str) -> None:
    """Raises ValueError unless a score is finite: no other compares as better than NaN."""
    if not math.isfinite(score):
        raise ValueError(
            f"{what} scores {score} on the validation scenes: training diverged, or a metric is undefined; use a "
            "smaller learning rate or more iterations"
        )


@dataclass(frozen=True)
class Evaluation:
    """Per task the statistics of every image, (N, S) float64, and the metrics over all of them."""

    statistics: dict[str, np.ndarray]
    metrics: dict[str, dict[str, float]]


def evaluate(
    network: SharingNetwork,
    tasks: Sequence[DenseTask],
    scenes: SceneSet,
    *,
    batch_size: int,
    precision: str = "fp32",
    device: str = "cpu",
    before_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Metrics of whole scenes in eval mode, predictions enlarged by nearest neighbour to the labels' resolution.

    Args:
        before_batch: called with the number of every batch (AdaShare draws decisions anew).
    """
    network.eval()
    rows: dict[str, list[np.ndarray]] = {task.name: [] for task in tasks}
    meters: dict[str, Meter] = {task.name: task.meter() for task in tasks}
    for number, batch in enumerate(in_order(scenes, [task.name for task in tasks], batch_size)):
        if before_batch is not None:
            before_batch(number)
        predictions = predict(network, batch.to(device).images, precision=precision)
        for name, meter in meters.items():
            label = batch.labels[name]
            enlarged = resize_nearest(predictions[name].cpu(), (label.shape[-2], label.shape[-1]))
            rows[name].append(meter.per_image(enlarged, label).numpy())
    statistics = {name: np.concatenate(parts) for name, parts in rows.items()}
    return Evaluation(statistics, {name: meters[name].compute(table.sum(0)) for name, table in statistics.items()})


def predict(network: SharingNetwork, images: Tensor, *, precision: str = "fp32") -> dict[str, Tensor]:
    """The final prediction of every task in float32, at an eighth of the resolution."""
    with torch.no_grad(), autocast(precision, images.device.type):
        return {task: parts[-1].float() for task, parts in network(images).items()}
