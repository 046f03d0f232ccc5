from __future__ import annotations

import dataclasses
import functools
from typing import Literal

import numpy as np
import pytest
import torch

from pretrain.loader import Batch
from pretrain.ranks import Ranks
from pretrain.step import Trainer, learning_rate
from pretrain.train import PretrainConfig

PLAIN = PretrainConfig(
    arch="resnet18",
    size=16,
    epochs=10,
    batch_size=8,
    micro_batch=8,
    warmup_epochs=2,
    mixup=0.0,
    cutmix=0.0,
    drop_path=0.0,
    rand_augment="",
    precision="fp32",
)


def batch(step: int = 0, count: int = 8) -> Batch:
    images = torch.from_numpy(np.random.default_rng(step).integers(0, 256, (count, 3, 16, 16), dtype=np.uint8))
    return Batch(step, 0, images, torch.arange(count) % 2, np.arange(count))


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = PretrainConfig()
    rates = [learning_rate(config, step, 3900) for step in range(3900)]
    assert rates[0] == pytest.approx(1e-6)
    assert rates[390] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[780] == pytest.approx(1e-3)
    assert rates[780 + 1560] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[-1] == pytest.approx(1e-5, rel=1e-3)
    assert rates[:781] == sorted(rates[:781])
    assert rates[780:] == sorted(rates[780:], reverse=True)


def test_a_step_is_what_plain_pytorch_does() -> None:
    """Three steps against a loop written out, weight decay on matrices and kernels only.

    With SGD, because the first steps of AdamW are the sign of gradients that may be rounding noise.
    """
    config = dataclasses.replace(PLAIN, optimizer="sgd", learning_rate=0.1)
    trainer = Trainer(config, 2, 80, "cpu", Ranks())
    model = Trainer(config, 2, 80, "cpu", Ranks()).model
    kernels = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    assert len(kernels) == 21
    groups = [{"params": kernels, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, nesterov=True)
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    for step in range(3):
        for group in optimizer.param_groups:
            group["lr"] = 1e-6 + (0.1 - 1e-6) * step / 20
        data = batch(step)
        logits = model((data.images / 255 - mean) / std)
        loss = torch.nn.functional.cross_entropy(logits, data.labels, label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result = trainer.train_step(data)
        assert result.loss == pytest.approx(loss.item(), rel=1e-4)
        assert result.accuracy == float((logits.argmax(1) == data.labels).float().mean())
    for ours, theirs in zip(trainer.model.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


def test_adamw_decays_kernels_only() -> None:
    trainer = Trainer(PLAIN, 2, 80, "cpu", Ranks())
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    decays = {p: group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert len(decays) == 62
    assert all(decays[p] == (0.05 if p.ndim > 1 else 0.0) for p in trainer.model.parameters())


@pytest.mark.parametrize("micro_batch", [8, 4])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_gradients_lie_in_memory_as_their_weights_do(micro_batch: int, optimizer: Literal["adamw", "sgd"]) -> None:
    """PyTorch's fused optimisers for the CPU go through memory in order, and are wrong where the layouts differ."""
    trainer = Trainer(dataclasses.replace(PLAIN, micro_batch=micro_batch, optimizer=optimizer), 2, 80, "cpu", Ranks())
    update, checked = trainer.optimizer.step, []

    def checking_update() -> None:
        for weight in trainer.model.parameters():
            assert weight.grad is not None
            assert weight.grad.stride() == weight.stride()
            checked.append(weight)
        update()

    trainer.optimizer.step = checking_update  # type: ignore[method-assign, assignment]
    for step in range(2):
        trainer.train_step(batch(step))
    assert len(checked) == 2 * 62
    for weight, state in trainer.optimizer.state.items():
        assert all(value.stride() == weight.stride() for value in state.values() if value.ndim)


@pytest.mark.parametrize(("precision", "wanted"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_convolutions_have_the_precision_that_was_asked_for_and_are_channels_last(
    precision: Literal["bf16", "fp32"], wanted: torch.dtype
) -> None:
    config = dataclasses.replace(PLAIN, arch="test_resnet", size=48, precision=precision)
    trainer = Trainer(config, 2, 80, "cpu", Ranks())
    convolutions = [module for module in trainer.model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(convolutions) > 10
    seen = []

    def look(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        seen.append((output.dtype, output.is_contiguous(memory_format=torch.channels_last)))

    for convolution in convolutions:
        assert convolution.weight.dtype == torch.float32
        assert convolution.weight.is_contiguous(memory_format=torch.channels_last)
        convolution.register_forward_hook(look)
    images = torch.randint(0, 256, (8, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 2
    trainer.train_step(Batch(0, 0, images, labels, labels.numpy()))
    trainer.count_correct(images, labels)  # validation
    assert seen == [(wanted, True)] * 2 * len(convolutions)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    """With norms in eval mode: their batch statistics are per micro-batch, by design."""
    whole = Trainer(PLAIN, 2, 80, "cpu", Ranks())
    parts = Trainer(dataclasses.replace(PLAIN, micro_batch=3), 2, 80, "cpu", Ranks())
    for trainer in (whole, parts):
        for module in trainer.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.register_forward_pre_hook(lambda norm, inputs: norm.eval() and None)
        trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=1.0)
    assert whole.train_step(batch()).loss == pytest.approx(parts.train_step(batch()).loss, rel=1e-5)
    for one, other in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-9)


@pytest.mark.slow
def test_a_compiled_step_is_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graph capture and its autograd, without the C++ compiler at the end; stochastic depth and mixing are on."""
    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend="aot_eager"))
    config = dataclasses.replace(PLAIN, arch="test_resnet", drop_path=0.2, mixup=0.8, cutmix=1.0)
    compiled = Trainer(config, 2, 80, "cpu", Ranks(), compile=True)
    plain = Trainer(config, 2, 80, "cpu", Ranks())
    for step in range(3):
        assert compiled.train_step(batch(step)).loss == pytest.approx(plain.train_step(batch(step)).loss, rel=1e-5)
    assert list(compiled.state()["model"]) == list(plain.state()["model"])


def test_a_compiler_that_fails_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: object, inputs: object) -> None:
        raise OSError("no g++ here")

    monkeypatch.setattr("torch.compile", functools.partial(torch.compile, backend=broken))
    trainer = Trainer(dataclasses.replace(PLAIN, arch="test_resnet"), 2, 80, "cpu", Ranks(), compile=True)
    with pytest.raises(RuntimeError, match=r"^torch\.compile failed: .*no g\+\+ here.*; run without compile$"):
        trainer.train_step(batch())


def test_clipping_bounds_the_update() -> None:
    config = dataclasses.replace(PLAIN, clip_norm=0.01, optimizer="sgd", weight_decay=0.0, warmup_epochs=0)
    trainer = Trainer(config, 2, 80, "cpu", Ranks())
    before = [p.detach().clone() for p in trainer.model.parameters()]
    result = trainer.train_step(batch())
    moved = torch.stack(
        [(p.detach() - q).norm() for p, q in zip(trainer.model.parameters(), before, strict=True)]
    ).norm()
    # the first Nesterov step moves by lr * (1 + momentum) * gradient
    assert float(moved) == pytest.approx(result.learning_rate * 1.9 * 0.01, rel=1e-2)


def test_the_moving_average_follows_the_weights() -> None:
    trainer = Trainer(dataclasses.replace(PLAIN, ema_decay=0.5, warmup_epochs=0), 2, 80, "cpu", Ranks())
    key = "layer1.0.conv1.weight"
    average: torch.Tensor | None = None
    for step in range(1, 4):
        trainer.train_step(batch(step))
        weights = trainer.model.state_dict()[key].clone()
        # timm's warm-up: the first update copies, then the decay is 1 - (1 + n)^(-2/3), at most 0.5
        decay = 0.0 if step == 1 else min(0.5, 1 - (1 + step - 1) ** (-2 / 3))
        average = weights if average is None else decay * average + (1 - decay) * weights
        torch.testing.assert_close(trainer.averaged.state_dict()[key], average)
    assert not torch.equal(trainer.averaged.state_dict()[key], trainer.model.state_dict()[key])


@pytest.mark.parametrize("clip_norm", [0.0, 1.0])
def test_a_gradient_that_overflows_in_one_weight_only_is_seen(clip_norm: float) -> None:
    trainer = Trainer(dataclasses.replace(PLAIN, clip_norm=clip_norm), 2, 80, "cpu", Ranks())
    assert trainer.train_step(batch()).finite
    last = trainer.model.get_parameter("fc.weight")
    last.register_hook(lambda gradient: torch.full_like(gradient, torch.inf))
    assert not trainer.train_step(batch(1)).finite
