"""What a run says that is no longer finite: the step, and the samples of its global batch."""

from __future__ import annotations

from pathlib import Path

from pretrain.checkpoint import write_atomic
from pretrain.data import ShardSet
from pretrain.order import plan_batches
from pretrain.train import PretrainConfig

DIVERGED_NAME = "diverged.txt"
"""In the run's directory, one `shard: key` a line: all samples of the batch, where a message names only some."""
KEYS_IN_MESSAGE = 32


def describe_divergence(config: PretrainConfig, step: int, epoch: int, loss: float, shards: ShardSet, out: Path) -> str:
    """One line about global batch number `step`, whoever had which share of it; may write DIVERGED_NAME."""
    size = config.batch_size
    (plan,) = plan_batches(num_samples=len(shards), batch_size=size, seed=config.seed, start=step, stop=step + 1)
    keys = [shards.describe(index) for index in plan.indices.tolist()]
    named = ", ".join(keys[:KEYS_IN_MESSAGE])
    if size > KEYS_IN_MESSAGE:
        path = out / DIVERGED_NAME
        write_atomic(path, lambda name: name.write_text("\n".join(keys) + "\n", encoding="utf-8"))
        named = f"{named} and {size - KEYS_IN_MESSAGE} more (all {size} in {path})"
    return (
        f"step {step + 1} (epoch {epoch}): the loss ({loss}) or its gradient is not finite; "
        f"samples of the batch: {named}"
    )
