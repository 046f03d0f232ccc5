"""One optimiser step, and the state that a run carries from step to step."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from pretrain.augment import Mixer, normalize
from pretrain.loader import Batch
from pretrain.model import build_backbone
from pretrain.order import rank_slice, steps_per_epoch
from pretrain.ranks import Ranks
from pretrain.smallmaps import use_products_on_small_maps
from pretrain.train import PretrainConfig

STEP_STREAM = crc32(b"step")


@dataclass(frozen=True)
class StepResult:
    """What one step came to, over all ranks."""

    loss: float
    """Mean over the global batch."""
    accuracy: float | None
    """Share of the batch classified as labelled; None with mixing, where there is no one label."""
    learning_rate: float
    finite: bool
    asked_to_stop: bool


def learning_rate(config: PretrainConfig, step: int, total: int) -> float:
    """Linear warm-up, then half a cosine over the remaining steps, down to `min_learning_rate` at the last one.

    timm's scheduler differs at the warm-up: see deviations 1 and 2 of `PretrainConfig`.
    """
    warmup = round(config.warmup_epochs * (total // config.epochs))
    if step < warmup:
        return config.warmup_learning_rate + (config.learning_rate - config.warmup_learning_rate) * step / warmup
    low = min(config.min_learning_rate, config.learning_rate)
    return low + (config.learning_rate - low) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))


class Trainer:
    """Model, averaged weights and optimiser; `step` counts the global batches consumed."""

    def __init__(
        self,
        config: PretrainConfig,
        num_classes: int,
        num_images: int,
        device: str,
        ranks: Ranks,
        *,
        compile: bool = False,
    ) -> None:
        from timm.optim import create_optimizer_v2  # type: ignore[attr-defined] # not in an __all__

        self.config = config
        self.ranks = ranks
        self.device = torch.device(device, ranks.local_rank) if device == "cuda" else torch.device(device)
        self.num_classes = num_classes
        self.total = config.epochs * steps_per_epoch(num_images, config.batch_size)
        self.step = 0
        self.best = -1.0
        """Highest validation accuracy so far."""
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # shapes do not change, so the fastest kernels are looked for once
        model = build_backbone(
            config.arch,
            num_classes=num_classes,
            seed=config.seed,
            drop_path=config.drop_path,
            zero_init_residual=config.zero_init_residual,
        )
        self.model = model.to(self.device).to(memory_format=torch.channels_last)
        use_products_on_small_maps(self.model)
        self.optimizer = create_optimizer_v2(
            self.model,
            opt=config.optimizer,
            lr=config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=0.9,
            fused=True,
        )
        self.ema: Any = None
        if config.ema_decay:
            from timm.utils.model_ema import ModelEmaV3

            self.ema = ModelEmaV3(self.model, decay=config.ema_decay, use_warmup=True)
        self.mixer = None
        if config.mixes:
            self.mixer = Mixer(
                mixup=config.mixup,
                cutmix=config.cutmix,
                label_smoothing=config.label_smoothing,
                num_classes=num_classes,
                seed=config.seed,
            )
        net: nn.Module = self.model
        if ranks.world_size > 1:
            ids = [ranks.local_rank] if device == "cuda" else None
            net = DistributedDataParallel(net, device_ids=ids, gradient_as_bucket_view=True)
        self._wrapped = net
        self._compiled = compile
        self._net: Any = torch.compile(net) if compile else net
        unit = 2 if config.mixes else 1
        self._first = rank_slice(config.batch_size, ranks.rank, ranks.world_size, unit).start

    @property
    def averaged(self) -> nn.Module:
        """The weights to use: the moving average where there is one."""
        averaged: nn.Module = self.model if self.ema is None else self.ema.module
        return averaged

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bf16")

    def train_step(self, batch: Batch) -> StepResult:
        """One step, waited for."""
        return self.begin_step(batch)()

    def begin_step(self, batch: Batch, *, stop: Callable[[], bool] = lambda: False) -> Callable[[], StepResult]:
        """Forward and backward over the rank's share in micro-batches, one update, one small sum over the ranks.

        On a GPU this only queues the work. The function that it returns waits for the outcome; it may be called after
        the next step has begun, so that the GPU need not wait for Python, and again, with the same result. `stop` is
        asked once, after the backward pass.
        """
        config, world = self.config, self.ranks.world_size
        if not self.model.training:
            self.model.train()
        rate = learning_rate(config, self.step, self.total)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        totals = torch.zeros(2, device=self.device)
        count = len(batch.labels)
        for start in range(0, count, config.micro_batch):
            part = slice(start, min(count, start + config.micro_batch))
            images = batch.images[part].to(self.device, non_blocking=True)
            labels = batch.labels[part].to(self.device, non_blocking=True)
            last = part.stop == count
            with self._no_sync(last):
                totals += self._forward_backward(images, labels, self._first + start, world)
        weights = list(self.model.parameters())
        # not the first layer's alone: a gradient may overflow in one weight and nowhere below it
        norm = nn.utils.get_total_norm([weight.grad for weight in weights if weight.grad is not None])
        if config.clip_norm:
            nn.utils.clip_grads_with_norm_(weights, config.clip_norm, norm)
        bad = (~torch.isfinite(norm)).float()
        sums = self.ranks.sum(torch.cat([totals, torch.stack([bad, torch.full_like(bad, float(stop()))])]))
        arrived = None
        if self.device.type == "cuda":
            sums = sums.to("cpu", non_blocking=True)
            arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            arrived.record()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        if self.ema is not None:
            self.ema.update(self.model, self.step)
        return functools.partial(self._result, sums, arrived, rate)

    def _result(self, sums: Tensor, arrived: torch.cuda.Event | None, rate: float) -> StepResult:
        if arrived is not None:
            arrived.synchronize()
        loss, correct, bad_ranks, stops = sums.tolist()
        return StepResult(
            loss=loss / self.config.batch_size,
            accuracy=None if self.mixer else correct / self.config.batch_size,
            learning_rate=rate,
            finite=math.isfinite(loss) and bad_ranks == 0,
            asked_to_stop=stops > 0,
        )

    def _forward_backward(self, images: Tensor, labels: Tensor, position: int, world: int) -> Tensor:
        """Accumulates gradients; returns (sum of losses, correct answers). `position`: place in the global batch."""
        config = self.config
        if self.mixer is not None:
            pixels, targets = self.mixer(images, labels, self.step)
            smoothing = 0.0  # timm's targets are smoothed already
        else:
            pixels, targets, smoothing = normalize(images), labels, config.label_smoothing
        # stochastic depth and dropout draw from torch's generator
        word = np.random.SeedSequence([config.seed, STEP_STREAM, self.step, position]).generate_state(1, np.uint64)
        torch.manual_seed(int(word[0]))
        with self.autocast():
            logits = self._forward(pixels)
        losses = functional.cross_entropy(logits.float(), targets, label_smoothing=smoothing, reduction="sum")
        # DDP averages gradients over the ranks, whose shares may differ by one unit: so divide by the global batch
        torch.autograd.backward(losses * (world / config.batch_size))
        correct = (logits.argmax(1) == labels).sum()
        return torch.stack([losses.detach(), correct.to(losses.dtype)])

    def _forward(self, pixels: Tensor) -> Tensor:
        """The network, compiled or not; a compiler that fails (no C++ compiler, no memory) says so in one line."""
        if not self._compiled:
            plain: Tensor = self._net(pixels)
            return plain
        from torch._dynamo.exc import TorchDynamoException

        try:
            logits: Tensor = self._net(pixels)
        except TorchDynamoException as error:
            reason = " ".join(str(error).split("\n\n")[0].split())
            raise RuntimeError(f"torch.compile failed: {reason[:300]}; run without compile") from error
        return logits

    def _no_sync(self, last: bool) -> contextlib.AbstractContextManager[None]:
        if last or not isinstance(self._wrapped, DistributedDataParallel):
            return contextlib.nullcontext()
        context: contextlib.AbstractContextManager[None] = self._wrapped.no_sync()
        return context

    @torch.inference_mode()
    def count_correct(self, images: Tensor, labels: Tensor) -> int:
        """uint8 (b, 3, S, S) and (b,): how many the averaged weights classify as labelled."""
        model = self.averaged.eval()
        with self.autocast():
            logits = model(normalize(images.to(self.device)))
        return int((logits.argmax(1).cpu() == labels).sum())

    def state(self) -> dict[str, Any]:
        """Everything that a resume needs; the random state is none, since every draw is a function of the step."""
        return {
            "step": self.step,
            "arch": self.config.arch,
            "num_classes": self.num_classes,
            "best": self.best,
            "model": self.model.state_dict(),
            "ema": None if self.ema is None else self.ema.module.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Puts back what `state` returned, at any world size."""
        self.step = state["step"]
        self.best = state["best"]
        self.model.load_state_dict(state["model"])
        if self.ema is not None:
            self.ema.module.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
