"""The part of `benchmarks/pretrain.py --device cuda`: step, images/s and loader on one GPU, inside a time limit.

Every part prints as soon as it is done; one that fails or runs out of time says so, the others go on, and the exit
status is 1. Wall time between two synchronisations counts, the sides take turns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import signal
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pretrain.augment import MEAN, STD, Augmentation
from pretrain.data import ShardSet, open_shards
from pretrain.loader import Batch, ImageSource, load_batches
from pretrain.order import plan_batches
from pretrain.ranks import Ranks
from pretrain.recipes import PAPER
from pretrain.run import STEPS_AHEAD
from pretrain.step import StepResult, Trainer
from pretrain.train import PretrainConfig

FLOPS_PER_IMAGE = 3 * 2 * 4.09e9
"""ResNet-50 at 224 px: 4.09 G multiply-adds forward, two FLOPs each, backward counted as two forwards. That is what
convolutions and classifier need; norms, mixing and the optimiser are not counted."""
RESERVE_S = 2.0
"""Kept for ending in time."""


@dataclass(frozen=True)
class Plan:
    """How large the parts are; `REHEARSAL` is for a machine without a GPU, its numbers mean nothing."""

    device: str = "cuda"
    arch: str = "resnet50"
    size: int = 224
    batch: int = 256
    others: tuple[int, ...] = (128, 512)
    """Batch sizes that are tried besides."""
    steps: int = 6
    """In each turn."""
    turns: int = 5
    workers: int = 16
    drained: int = 36
    """Batches that are not counted at first: what 16 workers have ready, and a little."""
    counted: int = 48
    matrix: int = 8192
    precision: Literal["bf16", "fp32"] = "bf16"
    rehearsal: bool = False
    """No goal is judged, and no part has a limit of its own."""


REHEARSAL = Plan("cpu", "test_resnet", 64, 8, (4,), 1, 2, 2, 5, 3, 512, "fp32", rehearsal=True)


def measure(plan: Plan, shards: Path, num_classes: int, seconds: float) -> int:
    """All parts in their order; returns the exit status."""
    run = _Run(plan, shards, num_classes, time.monotonic() + seconds)
    if plan.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        print(f"{properties.name}, {properties.multi_processor_count} multiprocessors; torch {torch.__version__}")
    run.part("matrix product", 15, run.matrix_peak)
    run.part("step, eager", 40, lambda: run.compare_steps(compile=False))
    run.part("other batch sizes", 25, run.other_batches)
    run.part("loader alone", 30, run.loader_alone)
    run.part("step from shards", 40, run.from_shards)
    run.part("step, torch.compile", 600, lambda: run.compare_steps(compile=True))
    print(f"\nparts that failed or missed their limit: {', '.join(run.failed) or 'none'}", flush=True)
    return 1 if run.failed else 0


class _Run:
    def __init__(self, plan: Plan, shards: Path, num_classes: int, ends: float) -> None:
        self.plan, self.directory, self.num_classes, self.ends = plan, shards, num_classes, ends
        self.failed: list[str] = []
        self.peak: float | None = None
        self.step_rate: float | None = None

    def part(self, name: str, limit_s: float, work: Callable[[], None]) -> None:
        begun = time.monotonic()
        left = self.ends - begun - RESERVE_S
        if not self.plan.rehearsal:
            left = min(left, limit_s)
        print(f"\n{name}", flush=True)
        try:
            with time_limit(left):
                work()
        except Exception as error:  # one part's failure must not cost the others
            self.failed.append(name)
            lines = str(error).splitlines() or ["no message"]
            print(
                f"  FAILED after {time.monotonic() - begun:.1f} s: {type(error).__name__}: {lines[0][:300]}", flush=True
            )
        else:
            print(f"  ({time.monotonic() - begun:.1f} s)", flush=True)
        if self.plan.device == "cuda":
            torch.cuda.empty_cache()

    def wanted(self, text: str, ratios: list[float], limit: float) -> None:
        """Prints the turns' ratios, their median first, and remembers one that misses the limit."""
        ratio = statistics.median(ratios)
        missed = ratio < limit and not self.plan.rehearsal
        turns = f", {min(ratios):.3f} to {max(ratios):.3f} in {len(ratios)} turns" if len(ratios) > 1 else ""
        print(f"  {text} = {ratio:.3f} (wanted: {limit}){' MISSED' if missed else ''}{turns}", flush=True)
        if missed:
            self.failed.append(text)

    def say(self, side: str, rate: float) -> None:
        share = ""
        if self.peak is not None and self.plan.arch == "resnet50":
            share = (
                f", {rate * FLOPS_PER_IMAGE / 1e12:.0f} TFLOP/s, {rate * FLOPS_PER_IMAGE / self.peak:.1%} of the peak"
            )
        print(f"  {side:<34} {rate:8.0f} images/s{share}", flush=True)

    def matrix_peak(self) -> None:
        """bf16 product of two square random matrices: the machine's measured peak."""
        side = self.plan.matrix
        dtype = torch.bfloat16 if self.plan.precision == "bf16" else torch.float32
        a, b = (torch.randn(side, side, device=self.plan.device, dtype=dtype) for _ in range(2))
        times = []
        for _ in range(6):
            self.wait()
            begun = time.perf_counter()
            for _ in range(10):
                a @ b
            self.wait()
            times.append((time.perf_counter() - begun) / 10)
        self.peak = 2 * side**3 / statistics.median(times[1:])
        print(f"  {side}^3 in {self.plan.precision}: {self.peak / 1e12:.1f} TFLOP/s (median of 5 x 10)", flush=True)

    def wait(self) -> None:
        if self.plan.device == "cuda":
            torch.cuda.synchronize()

    def config(self, batch: int) -> PretrainConfig:
        plan = self.plan
        return dataclasses.replace(
            PAPER,
            arch=plan.arch,
            size=plan.size,
            batch_size=batch,
            micro_batch=batch,
            drop_path=0.0,
            precision=plan.precision,
        )

    def ours(self, batch: int, *, compile: bool = False) -> tuple[Trainer, Callable[[], None]]:
        trainer = Trainer(self.config(batch), self.num_classes, 10**6, self.plan.device, Ranks(), compile=compile)
        data, step_on = self.synthetic(batch), self.begin(trainer)
        return trainer, lambda: step_on(data)

    def begin(self, trainer: Trainer) -> Callable[[Batch], None]:
        """Steps as a run makes them: on a GPU the next one is begun before the last one is looked at."""
        begun: deque[Callable[[], StepResult]] = deque()

        def step(batch: Batch) -> None:
            begun.append(trainer.begin_step(batch))
            while len(begun) > STEPS_AHEAD[self.plan.device]:
                begun.popleft()()

        return step

    def synthetic(self, batch: int) -> Batch:
        """In pinned host memory, where the loader puts its batches: every step copies it to the GPU."""
        images = torch.randint(0, 256, (batch, 3, self.plan.size, self.plan.size), dtype=torch.uint8)
        data = Batch(0, 0, images, torch.arange(batch) % self.num_classes, np.arange(batch))
        return data.pin_memory() if self.plan.device == "cuda" else data

    def theirs(self, batch: int, *, compile: bool) -> Callable[[], None]:
        """In the order of timm's training script: normalize, mix, autocast, soft-target loss, AdamW; never waits."""
        import timm
        from timm.data.mixup import Mixup
        from timm.loss import SoftTargetCrossEntropy
        from timm.optim import create_optimizer_v2

        device = self.plan.device
        model = timm.create_model(self.plan.arch, num_classes=self.num_classes)
        model = model.to(device).to(memory_format=torch.channels_last).train()
        optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3, weight_decay=0.05, fused=True)
        mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=self.num_classes)
        loss_function = SoftTargetCrossEntropy()
        net = torch.compile(model) if compile else model
        mean, std = (torch.tensor(x, device=device).view(1, 3, 1, 1) * 255 for x in (MEAN, STD))
        data = self.synthetic(batch)

        def step() -> None:
            images, labels = (x.to(device, non_blocking=True) for x in (data.images, data.labels))
            pixels, targets = mixup(images.float().sub_(mean).div_(std), labels)
            with torch.autocast(device, torch.bfloat16, enabled=self.plan.precision == "bf16"):
                loss = loss_function(net(pixels.contiguous(memory_format=torch.channels_last)), targets)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        return step

    def rate(self, step: Callable[[], None], steps: int, batch: int) -> float:
        self.wait()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        self.wait()
        return steps * batch / (time.perf_counter() - begun)

    def compare_steps(self, *, compile: bool) -> None:
        plan = self.plan
        setting = f"{plan.arch} at {plan.size} px, batch {plan.batch}, {plan.precision}"
        print(f"  {setting}, channels_last, mixup and cutmix, fused AdamW")
        _, ours = self.ours(plan.batch, compile=compile)
        begun = time.monotonic()
        self.rate(ours, 3, plan.batch)  # compiles, warms kernels and allocators
        theirs = self.theirs(plan.batch, compile=compile)
        between = time.monotonic()
        self.rate(theirs, 3, plan.batch)
        print(f"  first steps: ours {between - begun:.1f} s, timm's {time.monotonic() - between:.1f} s", flush=True)
        rates: dict[str, list[float]] = {"ours": [], "timm's factories": []}
        for turn in range(plan.turns):
            for side, step in [("ours", ours), ("timm's factories", theirs)][:: 1 if turn % 2 == 0 else -1]:
                rates[side].append(self.rate(step, plan.steps, plan.batch))
        for side, values in rates.items():
            self.say(side + (", compiled" if compile else ""), statistics.median(values))
        if not compile:
            self.step_rate = statistics.median(rates["ours"])
        ratios = [a / b for a, b in zip(rates["ours"], rates["timm's factories"], strict=True)]
        self.wanted(f"step: ours / timm's factories{', compiled' if compile else ''}", ratios, 1.0)

    def other_batches(self) -> None:
        for batch in self.plan.others:
            _, step = self.ours(batch)
            self.rate(step, 3, batch)
            values = [self.rate(step, self.plan.steps, batch) for _ in range(3)]
            self.say(f"ours, batch {batch}", statistics.median(values))

    def batches(self, shards: ShardSet, rand_augment: str) -> Iterator[Batch]:
        plan = self.plan
        policy = Augmentation(plan.size, rand_augment=rand_augment)
        plans = plan_batches(num_samples=len(shards), batch_size=plan.batch, seed=0, start=0, stop=10**6, unit=2)
        pin = plan.device == "cuda"
        return load_batches(ImageSource(shards, policy, seed=0), plans, workers=plan.workers, pin=pin)

    def loader_alone(self) -> None:
        shards = open_shards(self.directory)
        print(f"  {self.plan.workers} workers, pinned; pictures of 256 px, {shards.length.mean() / 1000:.1f} kB each")
        for name, policy in (("crop, flip", ""), ("crop, flip, RandAugment", PAPER.rand_augment)):
            batches = self.batches(shards, policy)
            for _ in range(self.plan.drained):
                next(batches)
            begun = time.perf_counter()
            for _ in range(self.plan.counted):
                next(batches)
            rate = self.plan.counted * self.plan.batch / (time.perf_counter() - begun)
            batches.close()  # type: ignore[attr-defined]
            print(f"  {name:<34} {rate:8.0f} images/s", flush=True)
            if self.step_rate is not None:
                self.wanted(f"loader ({name}) / step in memory", [rate / self.step_rate], 1.0)

    def from_shards(self) -> None:
        """The recipe's loader over the step on synthetic tensors, which is measured before and after."""
        plan = self.plan
        trainer, step = self.ours(plan.batch)
        step_on = self.begin(trainer)
        self.rate(step, 3, plan.batch)
        memory = [self.rate(step, plan.steps, plan.batch) for _ in range(2)]
        batches = self.batches(open_shards(self.directory), PAPER.rand_augment)
        waited = 0.0

        def fed() -> None:
            nonlocal waited
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            step_on(batch)

        self.rate(fed, plan.drained, plan.batch)
        waited = 0.0
        fed_rate = self.rate(fed, plan.counted, plan.batch)
        share = waited * fed_rate / (plan.counted * plan.batch)
        batches.close()  # type: ignore[attr-defined]
        memory += [self.rate(step, plan.steps, plan.batch) for _ in range(2)]
        self.say("ours, from memory", statistics.median(memory))
        self.say(f"ours, from shards, {plan.workers} workers", fed_rate)
        print(f"  share of time waiting for data: {share:.1%}")
        self.wanted("step: from shards / from memory", [fed_rate / rate for rate in memory], 0.95)


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread once the time is over."""
    if seconds <= 0:
        raise TimeoutError("no time left")

    def over(number: int, frame: object) -> None:
        raise TimeoutError(f"not done within {seconds:.0f} s")

    previous = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
