"""A training step on a GPU against the same on the CPU."""

from __future__ import annotations

import pytest
import torch

from pretrain.loader import Batch
from pretrain.ranks import Ranks
from pretrain.step import Trainer
from pretrain.train import PretrainConfig

CONFIG = PretrainConfig(
    arch="resnet18",
    size=64,
    epochs=10,
    batch_size=8,
    micro_batch=4,
    optimizer="sgd",
    learning_rate=0.1,
    warmup_epochs=0,
    clip_norm=1.0,
    drop_path=0.0,
    zero_init_residual=False,
    ema_decay=0.9,
    rand_augment="",
    precision="fp32",
)
"""With mixing, two micro-batches, clipping and the average; every weight moves. SGD, because AdamW's first step is the
sign of gradients that may be rounding noise; no stochastic depth, because its draws differ between devices."""


def one_step(device: str) -> tuple[float, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The loss, and the weights and buffers before and after."""
    trainer = Trainer(CONFIG, 5, 80, device, Ranks())
    before = {name: value.detach().cpu().clone() for name, value in trainer.model.state_dict().items()}
    pixels = torch.randint(0, 256, (8, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(8) % 5
    result = trainer.begin_step(Batch(0, 0, pixels, labels, labels.numpy()))()
    assert result.finite
    averaged = trainer.averaged.state_dict()
    assert all(torch.equal(averaged[name], value) for name, value in trainer.model.state_dict().items())
    return result.loss, before, {name: value.cpu() for name, value in trainer.model.state_dict().items()}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
def test_a_step_on_a_gpu_is_the_one_on_the_cpu() -> None:
    cpu_loss, before, on_cpu = one_step("cpu")
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        gpu_loss, gpu_before, on_gpu = one_step("cuda")
    assert gpu_loss == pytest.approx(cpu_loss, rel=1e-4)
    assert len(before) == 122
    moved = 0
    for name, start in before.items():
        assert torch.equal(gpu_before[name], start)
        cpu_move, gpu_move = (end[name].double() - start.double() for end in (on_cpu, on_gpu))
        assert float((gpu_move - cpu_move).norm()) <= 1e-2 * float(cpu_move.norm()) + 1e-6, name
        moved += bool(cpu_move.norm() > 0)
    assert moved == 122
