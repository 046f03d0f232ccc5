"""The training loop that all pathway methods share, and what a method has to offer to run in it.

Everything random in an epoch (order, views, gates) is drawn from (seed, epoch), so a run that was interrupted continues
from its checkpoint to the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from pretrain.checkpoint import load_checkpoint, write_atomic
from transfer.pathways.pixels import Augment, Pixels
from transfer.pathways.resnet import batch_norms

Tick = Callable[[str], None]
"""Called once per training step with a note."""


class Diverged(RuntimeError):
    """Training ended in weights that are not finite."""


class Learner(nn.Module):
    """A network with a loss; subclasses say what is trained and how an image is classified."""

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Fresh optimisers over everything that learns; the loop steps and schedules all of them."""
        raise NotImplementedError

    def loss(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Scalar to minimise for a batch. (B, 3, H, W), (B,) -> ()."""
        raise NotImplementedError

    def predict(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """Logits (B, C) and the decisions (B, L) that they rest on, if there are any; called in eval mode."""
        raise NotImplementedError

    def start_epoch(self, epoch: int) -> None:
        """Called before every epoch, for curricula."""


@dataclass(frozen=True)
class Schedule:
    """Epochs, batches and learning-rate steps of one phase."""

    epochs: int
    batch_size: int
    milestones: tuple[float, ...] = ()
    """Shares of the epochs after which the learning rate falls to a tenth."""
    lr_bug_compat: bool = False
    """SpotTune's released code: a tenth from the first milestone on, forever."""
    augment: Augment = "none"
    precision: Literal["fp32", "bf16"] = "fp32"

    def steps(self, images: int) -> int:
        """Steps per epoch on so many images: the last batch is left out if fewer than half of it, or one image, is
        there."""
        whole, rest = divmod(images, self.batch_size)
        return max(1, whole + (rest > 1 and 2 * rest >= self.batch_size))

    def factor(self, epoch: int) -> float:
        """Multiplier of the learning rate in this epoch (from 0)."""
        passed = sum(epoch >= share * self.epochs for share in self.milestones)
        return 0.1 ** (min(passed, 1) if self.lr_bug_compat else passed)


def autocast(precision: str, device: str) -> torch.autocast:
    return torch.autocast(device.split(":")[0], torch.bfloat16, enabled=precision == "bf16")


def freeze(*modules: nn.Module) -> None:
    """No gradient to these modules' parameters (gradients still flow through them)."""
    for module in modules:
        module.requires_grad_(False)


def keep_in_eval(*modules: nn.Module) -> None:
    """Batch norms of these modules use their stored statistics and do not move them."""
    for module in modules:
        for norm in batch_norms(module):
            norm.eval()


def _generator(*words: int) -> torch.Generator:
    state = np.random.SeedSequence(words).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 31 ^ int(state[1]))


def fit(
    learner: Learner,
    pixels: Pixels,
    schedule: Schedule,
    *,
    seed: int,
    device: str = "cpu",
    checkpoint: Path | None = None,
    tick: Tick | None = None,
    checkpoint_every_s: float = 60.0,
) -> None:
    """Train in place for all epochs of the schedule.

    The last batch of an epoch is left out if it has fewer than half the images (batch norm on one or two images harms
    more than the images help; every image has its turn in other epochs).

    Args:
        checkpoint: file to continue from and to save to at the end, and after an epoch once `checkpoint_every_s`
            seconds have passed since; the caller removes it.
        tick: called after every step.

    Raises:
        Diverged: weights are no longer finite.
    """
    optimizers = learner.optimizers()
    initial = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    first = _resume(learner, optimizers, checkpoint)
    saved = time.monotonic()
    for epoch in range(first, schedule.epochs):
        learner.train()
        learner.start_epoch(epoch)
        for optimizer, rates in zip(optimizers, initial, strict=True):
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * schedule.factor(epoch)
        generator = _generator(seed, epoch)
        batches = torch.split(torch.randperm(len(pixels), generator=generator), schedule.batch_size)
        batches = batches[: schedule.steps(len(pixels))]
        for step, rows in enumerate(batches):
            images = pixels.view(rows, schedule.augment, generator).to(device, non_blocking=True)
            labels = pixels.labels[rows].to(device, non_blocking=True)
            with autocast(schedule.precision, device):
                loss = learner.loss(images, labels, generator)
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
            if tick is not None:
                tick(f"epoch {epoch + 1}/{schedule.epochs} step {step + 1}/{len(batches)}")
        if checkpoint is not None and time.monotonic() - saved >= checkpoint_every_s:
            _save(learner, optimizers, checkpoint, epoch + 1)
            saved = time.monotonic()
    if not all(torch.isfinite(parameter).all() for parameter in learner.parameters()):
        raise Diverged("training diverged: weights are not finite; use a smaller learning rate")
    if checkpoint is not None and first < schedule.epochs:
        _save(learner, optimizers, checkpoint, schedule.epochs)


def _save(learner: Learner, optimizers: Sequence[torch.optim.Optimizer], path: Path, epoch: int) -> None:
    state: dict[str, Any] = {
        "learner": learner.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "epoch": epoch,
    }
    write_atomic(path, lambda name: torch.save(state, name))


def _resume(learner: Learner, optimizers: Sequence[torch.optim.Optimizer], path: Path | None) -> int:
    if path is None or not path.exists():
        return 0
    state = load_checkpoint(path)
    learner.load_state_dict(state["learner"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return int(state["epoch"])


@dataclass(frozen=True)
class Predictions:
    """What a trained method says about N images, in order."""

    probabilities: Tensor  # (N, C) float32
    labels: Tensor  # (N,)
    policy: Tensor | None = None  # (N, L) of 0.0 / 1.0

    @property
    def correct(self) -> Tensor:  # (N,) bool
        return self.probabilities.argmax(1) == self.labels

    @property
    def accuracy(self) -> float:
        """Percent."""
        return 100 * float(self.correct.double().mean())


def predict_all(
    learner: Learner,
    pixels: Pixels,
    *,
    seed: int,
    precision: str = "fp32",
    device: str = "cpu",
    batch_size: int = 64,
    classified: Callable[[int], None] | None = None,
) -> Predictions:
    """Classify centre crops in eval mode.

    Args:
        seed: matters only to methods that draw at evaluation time.
        classified: called after every batch with the number of images so far.
    """
    learner.eval()
    probabilities, policies = [], []
    with torch.no_grad(), autocast(precision, device):
        for part, (rows, images) in enumerate(pixels.in_order(batch_size)):
            logits, policy = learner.predict(images.to(device), _generator(seed, part, 1))
            probabilities.append(logits.float().softmax(1).cpu())
            if policy is not None:
                policies.append(policy.float().cpu())
            if classified is not None:
                classified(int(rows[-1]) + 1)
    return Predictions(torch.cat(probabilities), pixels.labels, torch.cat(policies) if policies else None)


def write_predictions(path: Path, named: dict[str, Predictions]) -> None:
    """Several predictions in one safetensors file, each under its name (the empty one is allowed)."""
    from safetensors.torch import save_file

    tensors = {}
    for name, predictions in named.items():
        tensors[f"{name}/probabilities"] = predictions.probabilities.contiguous()
        tensors[f"{name}/labels"] = predictions.labels.clone()
        if predictions.policy is not None:
            tensors[f"{name}/policy"] = predictions.policy.contiguous()
    write_atomic(path, lambda file: save_file(tensors, file))


def read_predictions(path: Path) -> dict[str, Predictions]:
    """The inverse of `write_predictions`."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    names = dict.fromkeys(key.rpartition("/")[0] for key in tensors)
    return {
        name: Predictions(tensors[f"{name}/probabilities"], tensors[f"{name}/labels"], tensors.get(f"{name}/policy"))
        for name in names
    }
